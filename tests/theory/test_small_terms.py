"""Terms of a prediction that are small or rare, by closed forms: each was once changed unseen."""

from dataclasses import replace

import pytest

from hwmodels.exchange_libraries import load_library
from hwmodels.exchanges import links_s
from hwmodels.roofline import traffic_bytes
from hwmodels.sku import load_sku
from simulator.engines.atom.engine import AtomSettings
from simulator.engines.kv_offload import parse_kv_offload
from simulator.engines.launch_flags import LaunchRequest
from simulator.engines.registry import bind_engine
from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.trtllm.engine import TrtllmSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.prediction.assembly import assemble
from simulator.prediction.run import simulate_run
from simulator.prediction.steady import steady_state
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario, build_scenario
from simulator.studies.explain.run import explain_scenario
from workloads.layout import Layout
from workloads.ops import Component, Op, OpKind


def configured(concurrency=8, **settings):
    scenario = build_scenario(flags=settings, file=None).scenario
    pools = [PoolRequest(tp=8, ep=1, dp_attention=False)]
    return configure_run(scenario, pools=pools, concurrency=concurrency)[0]


def assembled(**settings):
    return assemble(configured(**settings))


def test_a_level_that_reads_half_of_the_experts_moves_half_of_their_weights():
    """Activations and KV move as they are: 40 + 20 + 7 B of 80 + 20 + 7 B."""
    level = assembled(sku="b200", model="deepseek-r1", engine="sglang@specification").software
    op = Op(
        name="experts",
        component=Component.EXPERTS,
        kind=OpKind.GROUPED_GEMM,
        precision="fp8",
        weight_bytes=80.0,
        activation_bytes=20.0,
        kv_bytes=7.0,
    )
    assert traffic_bytes(op=op, software=level) == 107.0
    halved = {key: replace(fit, weight_traffic=0.5) for key, fit in level.kernels.items()}
    assert traffic_bytes(op=op, software=replace(level, kernels=halved)) == 67.0


@pytest.mark.parametrize(("model", "kind"), [("glm-5.1", "calibrated"), ("glm-5.2", "transferred")])
def test_a_model_of_the_same_layers_is_as_well_known_as_the_one_that_was_fitted(model, kind):
    """GLM-5.1 has the layers, width and vocabulary of GLM-5; GLM-5.2 shares its indexer's keys."""
    assert assembled(sku="b200", model=model, engine="sglang").software.kind == kind


# exchanges -----------------------------------------------------------------------------------


def test_an_exchange_at_half_the_efficiency_takes_twice_as_long():
    library = load_library("deepep")
    mode, sku = library.modes["normal"], load_sku("b200")
    taken = {"copies": (2.0, 0.0), "tokens": 4096.0, "copy_bytes": 7168.0, "sku": sku, "ranks": 8}
    whole = float(links_s(mode=mode, **taken))
    assert float(links_s(mode=mode, efficiency_scale=0.5, **taken)) == pytest.approx(2 * whole)


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_parts_of_a_component_sum_to_it_where_an_exchange_takes_multiprocessors(phase):
    scenario = Scenario(
        sku="mi355x",
        model="deepseek-r1",
        engine="sglang@specification",
        precision="fp8",
        tp=8,
        ep=8,
        dp_attention=True,
        engine_settings={"exchange_library": "mori", "enable_two_batch_overlap": True},
    )
    found = explain_scenario(scenario, concurrency=512, phase=phase, sensitivities=False)
    for part in found.components:
        limits = (part.floor_s, part.compute_s, part.memory_s, part.network_s, part.host_s)
        assert sum(limits) == pytest.approx(part.seconds, rel=1e-9), part.component


# settings ------------------------------------------------------------------------------------


def test_marlin_pads_experts_to_256_by_128():
    """gpt-oss on 8 ranks: 2,880 hidden and 360 inner units become 3,072 and 384."""
    engine = bind_engine(VllmSettings())
    padded = engine.loaded_experts(hidden_size=2880, width=360, path="w4a16")
    assert padded == pytest.approx(3072 / 2880 * 384 / 360)
    assert engine.loaded_experts(hidden_size=2880, width=360, path="mxfp4xfp8") == 1.0


def test_a_budget_that_is_raised_holds_a_token_and_all_drafts_of_each_request():
    engine = bind_engine(TrtllmSettings())
    raised = engine.with_room_for(requests=5000, drafts=3, attention_dp=1, recorded=())
    assert (raised.max_batch_size, raised.max_num_tokens) == (5000, 20_000)


def test_graphs_of_sglang_hold_a_token_and_all_drafts_of_each_request():
    engine = bind_engine(SglangSettings(cuda_graph_max_bs=100))
    assert (engine.graph_tokens(drafts=0), engine.graph_tokens(drafts=3)) == (100, 400)


def test_sglang_is_launched_with_one_chain_of_drafts_and_its_stream_interval():
    """A chain of three drafts is checked in a pass of four tokens."""
    engine = bind_engine(SglangSettings(stream_interval=2))
    request = LaunchRequest(
        layout=Layout(tp=8), longest_context=9216, speculation="mtp", drafts=3, plan={}
    )
    words = engine.launch_flags(request).words
    for name, value in (
        ("--speculative-num-steps", "3"),
        ("--speculative-eagle-topk", "1"),
        ("--speculative-num-draft-tokens", "4"),
        ("--stream-interval", "2"),
    ):
        assert words[words.index(name) + 1] == value


def test_defaults_are_those_of_the_servers():
    """SGLang's server_args.py, TensorRT-LLM's llm_args.py, ATOM's arg_utils.py."""
    assert SglangSettings().cuda_graph_max_bs == 256
    assert (TrtllmSettings().max_num_tokens, TrtllmSettings().max_batch_size) == (8192, 2048)
    assert AtomSettings().cudagraph_max_capture_size == 512


def test_units_of_host_memory_are_decimal_or_binary_as_written():
    for unit, size in (("GB", 1e9), ("TB", 1e12), ("GiB", 2**30), ("TiB", 2**40)):
        assert parse_kv_offload(f"cpu:3{unit}").total_bytes == 3 * size
        assert parse_kv_offload(f"cpu,nvme:3{unit}").nvme_bytes == 3 * size


@pytest.mark.parametrize(
    ("model", "asked", "stored"),
    [
        ("deepseek-v4-pro", "fp8", "fp8_ds_mla"),
        ("deepseek-v4-pro", "bf16", "bf16"),
        ("deepseek-r1", "fp8", "fp8"),
        ("deepseek-r1", "bf16", "bf16"),
    ],
)
def test_entries_are_stored_in_the_format_that_is_asked_for(model, asked, stored):
    found = assembled(sku="b300", model=model, engine="vllm@specification", kv_precision=asked)
    assert found.models[0].plan.kv_storage == stored


# estimates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [1, 16])
def test_an_estimate_of_a_closed_loop_is_near_its_run(clients):
    """Within what the mean of one or two turns of the clients is off by."""
    configuration = configured(
        clients, sku="b200", model="deepseek-r1", engine="sglang@specification", isl=1024, osl=128
    )
    estimate = steady_state(configuration)
    metrics = simulate_run(replace(configuration, requests_per_client=4)).metrics
    assert estimate.interactivity == pytest.approx(1.0 / metrics.tpot.median_s, rel=0.15)
    assert estimate.total_tput_per_gpu == pytest.approx(metrics.total_tput_per_gpu, rel=0.3)
