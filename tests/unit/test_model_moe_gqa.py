"""gpt-oss, MiniMax-M2.5, Qwen3.5: what they refuse, precisions, pools, defaults, whole runs."""

import pandas as pd
import pytest

from calibration.fit.files import fit_entry
from calibration.importers.aiconfigurator import find_tables
from calibration.importers.aiconfigurator_linear import read_delta_net
from calibration.kernels.work import delta_net_work
from hwmodels.engine_files import kernel_table
from hwmodels.fitted import fitted_level
from hwmodels.sku import load_sku
from hwmodels.software import load_software
from simulator.cli.main import run
from simulator.engines.atom.engine import AtomSettings
from simulator.engines.default_engine import default_engine
from simulator.engines.kv_pools import pool_layout, size_pool
from simulator.engines.pools import DoesNotFitError, PoolLayout
from simulator.engines.registry import bind_engine
from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.trtllm.engine import TrtllmSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.prediction.assembly import assemble, execution_plan
from simulator.prediction.run import simulate_run
from simulator.prediction.transfer_link import transfer_link
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario
from simulator.scenario.table_rows import configure_row
from workloads.architectures.catalog import load_architecture, repository_of
from workloads.architectures.names import canonical_model, default_precision
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.kv_bytes import kv_bytes_per_context_token, linear_state_bytes

NAMES = ("gpt-oss-120b", "minimax-m2.5", "qwen3.5")


def configured(*, model, sku="b200", tp=8, concurrency=8, **settings):
    scenario = Scenario(sku=sku, model=model, **{"isl": 1024, "osl": 64, **settings})
    configuration, _ = configure_run(
        scenario,
        pools=(PoolLayout(layout=Layout(tp=tp)),),
        concurrency=concurrency,
    )
    return configuration


def plan_of(model, precision, sku):
    chip = load_sku(sku)
    configuration = configured(model=model, sku=sku, precision=precision)
    return execution_plan(
        software=load_software(engine="vllm", sku=chip, model=model, specification=True),
        pool=configuration.pools[0],
        precision=precision,
        sku=chip,
        architecture=load_architecture(model),
    )


@pytest.mark.parametrize(
    ("model", "layout", "message"),
    [
        ("gpt-oss-120b", Layout(tp=128), "tp is 128, which does not divide the 64 attention heads"),
        ("gpt-oss-120b", Layout(tp=16, pp=40), "pp is 40; gpt-oss-120b has only 36"),
        ("minimax-m2.5", Layout(tp=32), "tp is 32, which does not divide the 48 attention heads"),
        ("minimax-m2.5", Layout(tp=12), "which neither divides the 8 KV heads of minimax-m2.5"),
        ("qwen3.5", Layout(tp=32), "tp is 32, which does not divide the 16 key heads of linear"),
        ("qwen3.5", Layout(tp=3), "tp is 3, which does not divide the 32 attention heads"),
        ("gpt-oss-120b", Layout(tp=3, ep=3, dp_attention=True), "does not divide the 128 routed"),
    ],
)
def test_layouts_that_do_not_divide_a_model(model, layout, message):
    with pytest.raises(UserError, match=message):
        bind(architecture=load_architecture(model), layout=layout, plan=ExecutionPlan())


@pytest.mark.parametrize("model", ["minimax-m2.5", "qwen3-235b-a22b"])
def test_models_without_published_draft_weights_refuse_drafts(model):
    with pytest.raises(UserError, match="has no draft module"):
        bind(
            architecture=load_architecture(model),
            layout=Layout(tp=1),
            plan=ExecutionPlan(),
            drafts=1,
        )


def test_the_mtp_block_is_a_layer_with_full_attention():
    architecture = load_architecture("qwen3.5")
    plain, drafting = (
        bind(
            architecture=architecture,
            layout=Layout(tp=8),
            plan=ExecutionPlan(kv_storage="bf16"),
            drafts=drafts,
        )
        for drafts in (0, 3)
    )
    assert plain.draft_ops(requests=4.0, group_requests=4.0, drafts=0) == []
    with pytest.raises(UserError, match="drafts is 2"):
        plain.draft_ops(requests=4.0, group_requests=4.0, drafts=2)
    assert drafting.kv_bytes_per_token() * 15 == plain.kv_bytes_per_token() * 16
    heads = drafting.draft_ops(requests=4.0, group_requests=4.0, drafts=1)
    passes = drafting.draft_ops(requests=4.0, group_requests=4.0, drafts=3)
    assert {op.name.split(".")[1] for op in heads} == {"head"}
    assert {"draft.next.gqa.qkv_proj", "draft.next.moe.router"} <= {op.name for op in passes}
    names = {
        op.name for op in drafting.prefill_attention_ops(new_tokens=64.0, prefix_tokens=0.0)
    } - {op.name for op in plain.prefill_attention_ops(new_tokens=64.0, prefix_tokens=0.0)}
    assert names == {"draft.first.gqa.prefill"}
    decode = drafting.decode_attention_ops(requests=2.0, queries_per_request=4, context=100.0)
    assert {"draft.first.gqa.decode", "draft.next.gqa.decode"} <= {op.name for op in decode}
    weights = drafting.weight_bytes_per_rank(speculative=True)
    assert weights["draft module"] > weights["routed experts"] / 100


def test_norms_over_all_heads_cost_a_reduction_where_heads_are_divided():
    architecture = load_architecture("minimax-m2.5")

    def names(tp):
        model = bind(architecture=architecture, layout=Layout(tp=tp), plan=ExecutionPlan())
        return [op.name for op in model.token_ops(rank_tokens=8.0, group_tokens=8.0)]

    assert "gqa.qk_norm" in names(1)
    assert "gqa.qk_norm.all_reduce" not in names(1)
    assert "gqa.qk_norm.all_reduce" in names(4)
    other = bind(
        architecture=load_architecture("qwen3.5"), layout=Layout(tp=4), plan=ExecutionPlan()
    )
    ops = [op.name for op in other.token_ops(rank_tokens=8.0, group_tokens=8.0)]
    assert "gqa.qk_norm" in ops
    assert "gqa.qk_norm.all_reduce" not in ops


@pytest.mark.parametrize(
    ("model", "precision", "sku", "expert", "dense", "kv"),
    [
        ("gpt-oss-120b", "fp4", "b200", "mxfp4xfp8", "bf16", "fp8"),  # as its guide serves it
        ("gpt-oss-120b", "fp4", "h200", "w4a16", "bf16", "bf16"),
        ("gpt-oss-120b", "fp4", "mi300x", "w4a16", "bf16", "bf16"),
        ("minimax-m2.5", "fp8", "h100", "fp8", "fp8", "bf16"),
        ("minimax-m2.5", "fp4", "b300", "nvfp4", "bf16", "fp8"),
        ("minimax-m2.5", "fp4", "mi355x", "mxfp4", "bf16", "fp8"),
        ("qwen3.5", "bf16", "b200", "bf16", "bf16", "bf16"),
        ("qwen3.5", "fp8", "mi355x", "fp8", "fp8", "bf16"),
        ("qwen3.5", "fp4", "b200", "nvfp4", "bf16", "fp8"),
    ],
)
def test_precisions_name_a_release(model, precision, sku, expert, dense, kv):
    plan = plan_of(model, precision, sku)
    assert (plan.expert_path, plan.dense_path, plan.kv_storage) == (expert, dense, kv)


def test_a_precision_without_a_release_is_refused():
    with pytest.raises(UserError, match=r"precision is bf16; gpt-oss-120b comes in fp4"):
        plan_of("gpt-oss-120b", "bf16", "b200")


@pytest.mark.parametrize(
    ("name", "canonical", "precision"),
    [
        ("gptoss", "gpt-oss-120b", "fp4"),
        ("openai/gpt-oss-120b", "gpt-oss-120b", "fp4"),
        ("MiniMaxAI/MiniMax-M2.5", "minimax-m2.5", "fp8"),
        ("nvidia/MiniMax-M2.5-NVFP4", "minimax-m2.5", "fp4"),
        ("Qwen/Qwen3.5-397B-A17B", "qwen3.5", "bf16"),
        ("Qwen/Qwen3.5-397B-A17B-FP8", "qwen3.5", "fp8"),
    ],
)
def test_names_and_the_precision_they_mean(name, canonical, precision):
    assert canonical_model(name) == canonical
    assert default_precision(name) == precision


@pytest.mark.parametrize(
    ("model", "precision", "vendor", "repository"),
    [
        ("gpt-oss-120b", "fp4", "nvidia", "openai/gpt-oss-120b"),
        ("minimax-m2.5", "fp4", "nvidia", "nvidia/MiniMax-M2.5-NVFP4"),
        ("minimax-m2.5", "fp4", "amd", "amd/MiniMax-M2.5-MXFP4"),
        ("qwen3.5", "fp8", "nvidia", "Qwen/Qwen3.5-397B-A17B-FP8"),
        ("deepseek-v4-pro", "fp4", "nvidia", "deepseek-ai/DeepSeek-V4-Pro"),
    ],
)
def test_the_repository_that_a_server_loads(model, precision, vendor, repository):
    assert repository_of(model, precision=precision, vendor=vendor) == repository


def test_default_engines():
    assert default_engine(sku="mi355x", model="gpt-oss-120b")[0] == "vllm"
    assert default_engine(sku="b200", model="minimax-m2.5")[0] == "vllm"
    engine, reason = default_engine(sku="b200", model="qwen3.5")
    assert engine == "sglang"
    assert "InferenceX" in reason


def test_a_fitted_model_rests_on_more_than_kernel_tables():
    found = assemble(configured(model="minimax-m2.5")).software
    assert found.kind in ("calibrated", "transferred")
    assert not any("kernel tables only" in message for message in found.messages)


def test_a_fit_of_the_model_gives_it_runs_of_its_own():
    level = fitted_level(
        engine="vllm",
        sku=load_sku("b200"),
        model="gpt-oss-120b",
        precision="fp4",
        date=None,
        median=False,
    )
    assert level.runs > 0
    assert level.basis == "own runs"


def test_a_fit_knows_the_family_of_each_model():
    class Empty:
        observations = ()
        space = type("Space", (), {"columns": {}, "parameters": ()})

    families = fit_entry(Empty(), models=[], source="none")["families"]
    assert {families[name] for name in NAMES} == {"moe_gqa"}


def pool_of(model, settings, *, tp=8, drafts=0):
    return pool_layout(
        architecture=load_architecture(model),
        layout=Layout(tp=tp),
        plan=ExecutionPlan(kv_storage="bf16"),
        engine=bind_engine(settings),
        drafts=drafts,
    )


def test_vllm_gives_windows_blocks_of_the_shared_pool():
    """18 full and 18 sliding layers: a block is a page of 18 layers, 2 groups share them."""
    pool = pool_of("gpt-oss-120b", VllmSettings(block_size=16), tp=1)
    assert pool.block_bytes == 18 * 16 * 2 * 8 * 64 * 2
    (window,) = pool.windows
    assert window.window_tokens == 128
    assert pool.request_blocks(context_tokens=1600) == 100 + -(-128 // 16) + 1
    # a chunk of 8192 tokens holds its window's blocks until the next step
    assert pool.fixed_blocks(in_flight_tokens=8192) == -(-(127 + 8192) // 16) + 1
    assert pool.state_blocks == 0


def test_vllm_grows_its_block_until_a_page_holds_a_state():
    """533 kB of state over 8 ranks beside 1,024 B a token: 521 tokens, in steps of 16."""
    pool = pool_of("qwen3.5", VllmSettings(block_size=16))
    assert pool.block_tokens == 528
    assert pool.windows == ()
    assert pool.state_blocks == 3  # 45 linear layers in groups of 15
    assert pool.request_blocks(context_tokens=529) == 2 + 3
    drafting = pool_of("qwen3.5", VllmSettings(block_size=16), drafts=3)
    assert drafting.state_blocks == 3 * 4  # groups of 16; a state after each draft
    assert drafting.block_bytes == pool.block_bytes / 15 * 16
    assert pool_of("qwen3.5", VllmSettings(block_size=1024)).block_tokens == 1024


def test_sglang_keeps_windows_and_states_beside_the_full_pool():
    settings = SglangSettings(page_size=64, swa_full_tokens_ratio=0.8)
    pool = pool_of("gpt-oss-120b", settings, tp=1)
    entry = 2 * 8 * 64 * 2
    assert pool.block_bytes == pytest.approx(64 * entry * (18 + 0.8 * 18))
    assert pool.request_slots(total_blocks=1000) == int(1000 * 64 / (3 * 64 / 0.8))
    linear = pool_of("qwen3.5", settings)
    state = linear_state_bytes(architecture=load_architecture("qwen3.5"), attention_tp=8)
    assert linear.request_bytes == state
    assert linear.request_slots(total_blocks=1000) is None
    assert pool_of("qwen3.5", settings, drafts=3).request_bytes == 5 * state


def test_other_engines_keep_whole_sequences_or_windows():
    full = kv_bytes_per_context_token(
        architecture=load_architecture("gpt-oss-120b"), kv="bf16", index="bf16"
    )
    trt = pool_of("gpt-oss-120b", TrtllmSettings(tokens_per_block=32), tp=1)
    assert trt.block_bytes == 32 * 2 * full
    assert trt.request_bytes == 0
    atom = pool_of("gpt-oss-120b", AtomSettings(block_size=16), tp=1)
    assert atom.block_bytes == 16 * full
    assert atom.request_bytes == 128 * full


class Memory:
    def __init__(self, pool_bytes):
        self.pool_bytes = self.usable_bytes = pool_bytes

    def table(self):
        return "table"


def sized(pool_bytes, **settings):
    return size_pool(
        memory=Memory(pool_bytes),
        architecture=load_architecture("qwen3.5"),
        layout=Layout(tp=8),
        plan=ExecutionPlan(kv_storage="bf16"),
        engine=bind_engine(SglangSettings(page_size=64, **settings)),
        drafts=0,
        longest_context=2048,
        label="qwen3.5",
    )


def test_sglang_bounds_running_requests_by_its_state_pool():
    state = linear_state_bytes(architecture=load_architecture("qwen3.5"), attention_tp=8)
    assert sized(100e9).request_slots == 512
    assert sized(100e9, max_running_requests=64).request_slots == 64
    small = sized(10 * state)
    assert small.request_slots == int(10 * 0.9 / 1.9)
    with pytest.raises(DoesNotFitError, match="left for KV"):
        sized(0.5 * state)


def test_states_travel_once_and_kv_heads_with_their_copies():
    architecture = load_architecture("qwen3.5")
    sku = load_sku("b200")
    software = load_software(engine="sglang", sku=sku, model="qwen3.5", specification=True)
    plan = ExecutionPlan(kv_storage="bf16")

    def link(tp):
        model = bind(architecture=architecture, layout=Layout(tp=tp), plan=plan)
        return transfer_link(
            architecture=architecture,
            skus=(sku, sku),
            software=(software, software),
            sender=model,
            receiver=model,
            block_tokens=64,
            context=1024,
        )

    assert link(8).token_bytes == 4 * link(2).token_bytes == 4 * 30720
    assert link(8).request_bytes == link(2).request_bytes
    assert link(8).request_bytes == linear_state_bytes(architecture=architecture)


@pytest.mark.parametrize(
    ("settings", "tp"),
    [
        ({"model": "gpt-oss-120b", "engine": "vllm", "precision": "fp4"}, 2),
        ({"model": "gpt-oss-120b", "engine": "trt", "precision": "fp4"}, 1),
        ({"model": "minimax-m2.5", "engine": "vllm", "precision": "fp8"}, 4),
        ({"model": "qwen3.5", "engine": "sglang", "precision": "fp8"}, 8),
        ({"model": "qwen3.5", "engine": "vllm", "precision": "fp4", "spec": "mtp:1"}, 4),
        ({"model": "qwen3.5", "engine": "atom", "precision": "fp8", "sku": "mi355x"}, 8),
    ],
    ids=lambda value: (
        " ".join(map(str, value.values())) if isinstance(value, dict) else f"TP{value}"
    ),
)
def test_runs_end_to_end(settings, tp):
    metrics = simulate_run(configured(**settings, tp=tp)).metrics.to_dict()
    assert metrics["total_tput_per_gpu"] > 0
    assert 0 < metrics["median_tpot_s"] < 0.2
    assert 0 < metrics["median_ttft_s"] < 5


def test_drafts_of_sglang_are_three():
    row = {
        "model": "qwen3.5",
        "sku": "b200",
        "engine": "sglang",
        "precision": "fp8",
        "spec_decoding": "mtp",
        "decode_tp": 8,
        "isl": 1024,
        "osl": 1024,
        "concurrency": 4,
    }
    found, messages = configure_row(row)
    assert found.drafts == 3
    assert "sglang mtp: 3 drafts per step from the recipe" in messages


def test_graphs_cover_batches_of_more_than_512():
    """The engine's default where nothing is recorded; a recorded size stays."""

    def largest_graph(sku, concurrency):
        found = configured(model="minimax-m2.5", sku=sku, precision="fp8", concurrency=concurrency)
        return found.pools[0].settings.max_cudagraph_capture_size

    assert largest_graph("h200", 64) == 512
    assert largest_graph("h200", 2048) == 2048
    assert largest_graph("b200", 64) == 2048


def test_a_model_that_does_not_fit_shows_where_memory_goes():
    with pytest.raises(DoesNotFitError, match="weights: routed experts"):
        assemble(configured(model="qwen3.5", sku="h100", precision="bf16"))


@pytest.mark.parametrize("model", NAMES)
def test_models_are_shown_with_their_releases(capsys, model):
    assert run(["show", "model", model]) == 0
    shown = capsys.readouterr().out
    assert "moe_gqa" in shown
    assert "--precision fp4" in shown


def test_kernel_families_of_the_delta_rule_are_those_of_its_operations():
    table = kernel_table()["families"]
    model = bind(
        architecture=load_architecture("qwen3.5"), layout=Layout(tp=4), plan=ExecutionPlan()
    )
    ops = [
        *model.decode_attention_ops(requests=2.0, queries_per_request=1, context=9.0),
        *model.prefill_attention_ops(new_tokens=64.0, prefix_tokens=0.0),
    ]
    linear = [op for op in ops if op.name.startswith("gdn.")]
    assert {op.variant for op in linear} == {"conv", "gdn_decode", "gdn_prefill"}
    for op in linear:
        assert op.variant in table[op.kind.value]


def table_row(kernel, **changes):
    return {
        "framework": "VLLM",
        "device": "NVIDIA H200",
        "kernel_source": kernel,
        "phase": "generation",
        "batch_size": 8,
        "seq_len": 1,
        "num_k_heads": 4,
        "head_k_dim": 128,
        "num_v_heads": 16,
        "head_v_dim": 128,
        "d_conv": 4,
        "latency": 0.01,
        **changes,
    }


def test_op_tables_of_linear_attention_and_the_work_of_their_rows(tmp_path):
    prefill = {"phase": "context", "batch_size": 2, "seq_len": 512}
    rows = [
        table_row("causal_conv1d_update"),
        table_row("fused_recurrent_gated_delta_rule_packed_decode"),
        table_row("fused_recurrent_gated_delta_rule_packed_decode", latency=0.03),
        table_row("causal_conv1d_fn", **prefill),
        table_row("chunk_gated_delta_rule_flashinfer", **prefill),
    ]
    path = tmp_path / "h200_sxm/linear_attention/vllm/0.24.0/gdn_perf.parquet"
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(path)
    frame = delta_net_work(read_delta_net(find_tables(tmp_path), skus=["h200"]))
    work = frame.set_index(["part", "phase"])
    assert len(work) == 4
    assert work.loc[("rule", "decode"), "time_s"] == pytest.approx(0.02e-3)  # the median
    model = bind(
        architecture=load_architecture("qwen3.5"), layout=Layout(tp=4), plan=ExecutionPlan()
    )
    decode = model.decode_attention_ops(requests=8.0, queries_per_request=1, context=9.0)
    chunk = model.prefill_attention_ops(new_tokens=512.0, prefix_tokens=0.0)
    for ops, phase, share in ((decode, "decode", 1.0), (chunk, "prefill", 2.0)):
        for part, name in (("rule", f"gdn.{phase}"), ("conv", f"gdn.{phase}_conv")):
            (op,) = (op for op in ops if op.name == name)
            counted = work.loc[(part, phase)]
            assert counted["flops"] == pytest.approx(share * op.flops)
            assert counted["hbm_bytes"] == pytest.approx(share * op.hbm_bytes)
            assert counted["kernels"] == op.kernels
