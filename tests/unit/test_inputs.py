"""No inert input: what a user may set moves a figure, or is refused with the reason."""

import json

import pytest
import yaml

import simulator as sim
from hwmodels.economics import list_economics, load_economics
from hwmodels.sku import figure_fields, informative_fields, load_sku
from simulator.analysis.costs import with_costs
from simulator.cli.main import run
from simulator.engines.registry import ENGINES
from simulator.engines.settings import INFORMATIVE
from simulator.prediction.agentic import configure_agentic
from simulator.prediction.assembly import assemble
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.declared import SCENARIO
from simulator.scenario.settings import Scenario, build_scenario
from simulator.studies.agentx.request import build_agentx
from simulator.studies.plan.fleet import Fleet, buying_unit
from workloads.errors import UserError

CLOSED = {"deployment": "DEP8", "concurrency": 32, "requests": 64, "isl": 2048, "osl": 24}
BASES = {
    "vllm": {"sku": "b200", "engine": "vllm", **CLOSED},
    "sglang": {"sku": "b200", "engine": "sglang", **CLOSED},
    "trtllm": {"sku": "b200", "engine": "trtllm", "model": "deepseek-r1", **CLOSED},
    "atom": {"sku": "mi355x", "engine": "atom", **CLOSED},
}
SHARED = "shared prefixes"
"""In place of a value: the setting is tried on prompts that begin alike."""

SMALL = {"isl": 8192, "osl": 512, "concurrency": 160, "requests": 200}
GPT_OSS = {"sku": "b200", "model": "gpt-oss-120b", "deployment": "TP1", "isl": 512, "osl": 24}
BUSY = {**GPT_OSS, "concurrency": 16, "requests": 48}
RANKS = {**GPT_OSS, "deployment": "DEP4", "osl": 128, "concurrency": 128, "requests": 256}
DELAYED = {
    "enable_prefill_delayer": True,
    "max_running_requests": 64,
    "prefill_delayer_max_delay_passes": 10,
}
HOPPER = {"sku": "h200", "model": "deepseek-v4-flash", "precision": "fp4", "deployment": "TP8"}
FULL = {
    **GPT_OSS,
    "isl": 4096,
    "osl": 512,
    "concurrency": 64,
    "requests": 96,
    "overrides": {"hbm_usable_bytes": 76.5e9},
}
DENSE = {"sku": "h100", "model": "llama-3.1-8b", "precision": "bf16", "deployment": "TP1"}
SHOWN_BY = {
    ("sglang", "keeps_loader_scales"): (
        {**HOPPER, "isl": 256, "osl": 8, "concurrency": 2, "requests": 4},
        {},
    ),
    ("sglang", "prefill_delayer_bounds_slots"): (RANKS, DELAYED),
    ("sglang", "prefill_delayer_window"): (
        RANKS,
        DELAYED | {"prefill_delayer_bounds_slots": False},
    ),
    ("sglang", "piecewise_cuda_graph_max_tokens"): (BUSY, {"enable_piecewise_cuda_graph": True}),
    ("trtllm", "batch_wait_max_tokens_ratio"): (BUSY, {"batch_wait_timeout_iters": 32}),
    ("trtllm", "batch_wait_timeout_iters"): (BUSY, {"batch_wait_max_tokens_ratio": 0.9}),
    ("trtllm", "capture_num_tokens"): (BUSY, {"enable_piecewise_cuda_graph": True}),
    ("trtllm", "enable_piecewise_cuda_graph"): (BUSY, {"capture_num_tokens": 8192}),
    ("vllm", "admission_steps_in_flight"): (
        FULL,
        {"gpu_memory_utilization": 0.95, "max_num_batched_tokens": 1024},
    ),
    ("vllm", "scheduler_reserve_full_isl"): (
        {**DENSE, "isl": 16384, "osl": 400, "concurrency": 40, "requests": 80},
        {"max_num_batched_tokens": 2048},
    ),
    ("vllm", "prefill_interval_without_dp"): (BUSY, {"prefill_schedule_interval": 8}),
}
"""Loads and companions of settings that no load of `PANEL` brings into play."""

PANEL = (
    {},
    {"isl": 16384, "concurrency": 64, "requests": 96},
    {"deployment": "TP8", "isl": 8192, "concurrency": 48, "requests": 96},
    {"deployment": "TP8", "concurrency": None, "rate": 12.0, "isl": 8192, "requests": 60},
    {"concurrency": None, "rate": 60.0, "isl": 8192, "osl": 4, "requests": 120},
    {"isl": 16384, "osl": 512, "concurrency": 160, "requests": 200},
)
"""Loads on which a setting is tried, one after the other, until a figure moves."""
MOVED = {
    "vllm": {
        "exchange_library": ("deepep", "nccl_ep"),
        "admission_steps_in_flight": (1, 2),
        "async_scheduling": (False, True),
        "cudagraph_mode": ("NONE", "FULL_AND_PIECEWISE"),
        "data_parallel_routing": ("round_robin", "least_requests"),
        "kv_cache_dtype": ("fp8", "bf16"),
        "prefill_interval_without_dp": (False, True),
        "max_num_batched_tokens": (2048, 4096),
        "max_num_seqs": (1, 64),
        "block_size": (64, 256),
        "gpu_memory_utilization": (0.85, 0.92),
        "enable_chunked_prefill": (False, True),
        "enable_prefix_caching": (False, True, SHARED),
        "prefill_cadence_min_running": (0, 64),
        "prefill_cadence_steps": (0, 8),
        "prefill_schedule_interval": (1, 8),
        "long_prefill_token_threshold": (0, 256),
        "scheduler_reserve_full_isl": (False, True),
        "prefix_retention_interval": (0, 512, SHARED),
        "kv_offloading": ("none", "eager", SHARED),
        "max_cudagraph_capture_size": (0, 512),
        "enforce_eager": (False, True),
        "redundant_experts": (0, 32),
    },
    "sglang": {
        "exchange_library": ("deepep", "nccl_ep"),
        "data_parallel_routing": ("round_robin", "least_requests"),
        "disable_overlap_schedule": (False, True),
        "keeps_loader_scales": (False, True),
        "enable_piecewise_cuda_graph": (False, True),
        "piecewise_cuda_graph_max_tokens": (64, 4096),
        "kv_cache_dtype": ("fp8", "bf16"),
        "prefill_delayer_bounds_slots": (False, True),
        "prefill_delayer_counts_chunks": (False, True),
        "prefill_delayer_window": (1, 16),
        "chunked_prefill_size": (1024, 8192),
        "max_prefill_tokens": (512, 16384),
        "max_running_requests": (2, 64),
        "mem_fraction_static": (0.8, 0.9),
        "page_size": (64, 256),
        "swa_full_tokens_ratio": (0.1, 0.5),
        "enable_mixed_chunk": (False, True),
        "enable_two_batch_overlap": (False, True),
        "redundant_experts": (0, 32),
        "enable_prefill_delayer": (False, True),
        "prefill_delayer_max_delay_passes": (1, 30),
        "scheduler_recv_interval": (1, 8),
        "prefill_decode_interval": (0, 20),
        "hicache_ratio": (1.0, 2.0, SHARED),
        "hicache_write_policy": ("write_back", "write_through", SHARED),
        "disable_radix_cache": (False, True, SHARED),
        "cuda_graph_max_bs": (1, 256),
    },
    "trtllm": {
        "exchange_library": ("deepep", "nvlink_one_sided"),
        "capture_num_tokens": (64, 4096),
        "attention_dp_enable_balance": (False, True),
        "attention_dp_timeout_iters": (0, 50),
        "batch_wait_max_tokens_ratio": (0.1, 0.9),
        "batch_wait_timeout_iters": (0, 32),
        "data_parallel_routing": ("round_robin", "least_requests"),
        "disable_overlap_scheduler": (False, True),
        "enable_piecewise_cuda_graph": (False, True),
        "kv_cache_dtype": ("fp8", "bf16"),
        "max_batch_size": (1, 64),
        "max_num_tokens": (2048, 4096),
        "tokens_per_block": (32, 128),
        "kv_free_gpu_memory_fraction": (0.5, 0.9),
        "capacity_policy": ("max_utilization", "guaranteed_no_evict"),
        "enable_chunked_prefill": (False, True),
        "enable_block_reuse": (False, True, SHARED),
        "attention_dp_batching_wait_iters": (0, 16),
        "cuda_graph_max_batch_size": (1, 256),
        "redundant_experts": (0, 32),
    },
    "atom": {
        "exchange_library": ("mori", "uccl"),
        "data_parallel_routing": ("round_robin", "least_requests"),
        "deferred_output": (False, True),
        "enable_tbo": (False, True),
        "enable_chunked_prefill": (False, True),
        "kv_cache_dtype": ("fp8", "bf16"),
        "prefill_align_fill": (0.1, 0.9),
        "prefill_align_max_ticks": (1, 200),
        "prefill_align_partial_ticks": (1, 100),
        "prefill_align_stall_ticks": (1, 10),
        "prefill_alignment": ("none", "coalescer"),
        "max_num_batched_tokens": (512, 16384),
        "max_num_seqs": (1, 64),
        "block_size": (64, 256),
        "gpu_memory_utilization": (0.8, 0.9),
        "enable_prefix_caching": (False, True, SHARED),
        "cudagraph_max_capture_size": (0, 512),
    },
}
"""Two values of every engine setting that must give different figures."""


def figures(**settings):
    """What a load gives: latencies, rates, memory, the blocks that it leaves and the host's."""
    result = sim.run_load(**settings)
    pools = [(pool.kv_pool.total_blocks, pool.kv_pool.offload) for pool in result.assembly.pools]
    return str((result.metrics, result.assembly.memory, pools))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_setting_is_moved_or_refused(engine):
    fields = set(ENGINES[engine].settings_class.model_fields) - {"scheduler"}
    assert set(MOVED[engine]) | set(INFORMATIVE.get(engine, {})) == fields
    assert not set(MOVED[engine]) & set(INFORMATIVE.get(engine, {}))


@pytest.mark.parametrize(
    ("engine", "name"), [(engine, name) for engine, names in MOVED.items() for name in names]
)
def test_an_engine_setting_moves_a_figure(engine, name, tmp_path):
    base = dict(BASES[engine])
    low, high, *how = MOVED[engine][name]
    if SHARED in how:
        rows = [
            {"timestamp": 100 * row, "input_length": 2048, "output_length": 24}
            | {"hash_ids": [0, 1, 2, 100 + row]}
            for row in range(48)
        ]
        path = tmp_path / "trace.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        base = {key: base[key] for key in ("sku", "engine", "deployment")} | {"workload": str(path)}
    if name == "max_num_batched_tokens":
        base |= {"isl": 16384, "concurrency": 64}
    if name == "block_size" and engine == "vllm":
        base |= {"model": "deepseek-r1"}  # the hybrid pool of V4 has pages of its own
    if name in ("enable_two_batch_overlap", "enable_tbo", "exchange_library"):
        base |= {"model": "deepseek-r1"}  # V4's fused kernel leaves nothing to overlap
    if name == "capacity_policy":
        base |= SMALL | {"overrides": {"hbm_usable_bytes": 115e9}}
    extra = {"max_num_tokens": 16384} if name == "capacity_policy" else {}
    if name == "prefill_cadence_min_running":
        extra = {"prefill_cadence_steps": 8}
    if engine == "vllm" and name == "enable_prefix_caching":
        extra = {"prefix_retention_interval": 512}  # the prompts share less than a recipe's

    own = SHOWN_BY.get((engine, name))
    if own is not None:
        base, extra = {"engine": engine, **own[0]}, own[1]

    def moves(changes):
        asked = {key: value for key, value in {**base, **changes}.items() if value is not None}
        low_figures, high_figures = (
            figures(**asked, engine_settings={**extra, name: value}) for value in (low, high)
        )
        return low_figures != high_figures

    assert any(moves(changes) for changes in (({},) if own is not None else PANEL))


@pytest.mark.parametrize(
    ("engine", "name"), [(engine, name) for engine, names in INFORMATIVE.items() for name in names]
)
def test_a_recorded_engine_setting_is_refused_with_the_reason(engine, name, tmp_path, capsys):
    base = BASES[engine]
    command = ["--sku", base["sku"], "--engine", engine, "--tp", "8", "--concurrency", "4"]
    out = ["--out", str(tmp_path / "run")]
    assert run([*command, "--engine-set", f"{name}=true", *out]) == 2
    assert f"setting {name} of {engine} is recorded only" in capsys.readouterr().err
    assert run(["search", *command, "--vary", f"{name}=true,false", *out]) == 2
    assert f"setting {name} of {engine} is recorded only" in capsys.readouterr().err


STEPS = {
    "flops_fp4": {"sku": "b200", "tp": 8, "ep": 8, "phase": "prefill"},
    "flops_fp8": {"sku": "b200", "tp": 8, "ep": 8, "phase": "prefill"},
    "flops_bf16": {"sku": "b200", "tp": 8, "ep": 8, "phase": "prefill"},
    "hbm_usable_bytes": {"sku": "b200", "model": "llama-3.1-8b", "tp": 1},
    "hbm_bytes_per_s": {"sku": "b200", "tp": 8, "ep": 8},
    "scaleup_bytes_per_s": {"sku": "b200", "tp": 8, "ep": 8, "phase": "prefill"},
    "scaleup_pair_bytes_per_s": {"sku": "mi355x", "engine": "sglang", "tp": 8},
    "scaleup_world": {"sku": "b200", "tp": 8, "ep": 8},
    "scaleout_bytes_per_s": {"sku": "b200", "tp": 16, "ep": 16, "phase": "prefill"},
    "sm_count": {
        "sku": "mi355x",
        "engine": "sglang",
        "dp_attention": True,
        "model": "deepseek-r1",
        "tp": 8,
        "ep": 8,
        "phase": "prefill",
        "engine_settings": {"enable_two_batch_overlap": True},
    },
}
"""A step in which each figure of a SKU shows."""
FLEETS = {"node_gpus": "b200", "rack_gpus": "gb200"}


HOST = {"host_memory_bytes": 100e9, "host_link_bytes_per_s": 30e9}
"""Figures of the memory behind the KV pool, and other values of them than B200's."""


@pytest.mark.parametrize("name", HOST)
def test_a_figure_of_the_host_moves_what_is_behind_the_pool(name):
    asked = {"spec": "mtp:3", "concurrency": (4,)}
    found = []
    for overrides in ({}, {name: HOST[name]}):
        request = build_agentx(["b200:vllm"], flags=asked | {"overrides": overrides})
        configuration, _ = configure_agentic(
            request.systems[0].scenario,
            pools=(PoolRequest(workers=1),),
            sessions=4,
            workload=request.workload,
        )
        found.append(assemble(configuration).pools[0].kv_pool.offload)
    assert found[0] != found[1]


def test_every_sku_figure_is_moved_or_refused():
    assert {*STEPS, *FLEETS, *HOST, *informative_fields()} == set(figure_fields())
    assert not {*STEPS, *FLEETS, *HOST} & set(informative_fields())


@pytest.mark.parametrize("name", STEPS)
def test_a_sku_figure_moves_a_figure_of_a_step(name):
    asked = {"engine": "vllm", "clients": 8, **STEPS[name]}
    half = load_sku(asked["sku"]).figures[name].si / 2

    def step(**changes):
        found = sim.explain(**asked, **changes).explanation.to_dict()
        return found["step_s"], found["requests_that_fit"]

    assert step() != step(overrides={name: half})


@pytest.mark.parametrize(("name", "sku"), FLEETS.items())
def test_a_size_moves_what_a_fleet_is_bought_in(name, sku):
    chip = load_sku(sku)
    other = chip.override({name: chip.figures[name].si / 2})
    assert buying_unit(sku=chip, replica_gpus=4) != buying_unit(sku=other, replica_gpus=4)


@pytest.mark.parametrize("name", informative_fields())
def test_a_recorded_sku_figure_is_refused_with_the_reason(name):
    with pytest.raises(UserError, match=f"{name} is on record only"):
        load_sku("b200").override({name: 0.5})


def test_a_recorded_sku_figure_is_refused_by_the_command(tmp_path, capsys):
    command = ["--sku", "b200", "--set", "hbm_efficiency=0.9", "--out", str(tmp_path / "run")]
    assert run(command) == 2
    assert "hbm_efficiency is on record only" in capsys.readouterr().err


def costs(path, frame, tier):
    priced = with_costs(frame, economics=str(path), tier=tier).drop(columns="economics")
    fleet = Fleet(
        unit=buying_unit(sku=load_sku("b200"), replica_gpus=8),
        units=2,
        spare=0,
        costs=load_economics(str(path)).for_sku("b200"),
        tier=tier,
    )
    return priced.to_json(), fleet.it_mw, fleet.utility_mw


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("inferencex_kw", "hyperscaler"),
        ("it_kw", "hyperscaler"),
        ("pue", "hyperscaler"),
        ("hyperscaler_usd_per_h", "hyperscaler"),
        ("neocloud_usd_per_h", "neocloud"),
        ("rental_usd_per_h", "rental"),
    ],
)
def test_an_economics_figure_moves_a_cost(name, tier, tmp_path):
    frame = sim.curve(sku="b200", engine="vllm", tp=8, ep=8, concurrency=(4,)).frame()
    frame = frame.assign(sku="b200")
    shipped = load_economics(list_economics()[-1])
    figures = {
        field: figure.model_dump(mode="json", exclude_none=True)
        for field, figure in shipped.skus["b200"].items()
    }
    figures.setdefault(name, {"value": 3.0, "unit": "USD/h", "kind": "user"})

    def written(file, changed):
        content = {"effective_from": "2026-09", "note": "", "skus": {"b200": changed}}
        path = tmp_path / file
        path.write_text(yaml.safe_dump(content))
        return path

    double = figures[name] | {"value": 2 * figures[name]["value"]}
    double.pop("si_range", None)
    before = costs(written("before.yaml", figures), frame, tier)
    assert before != costs(written("after.yaml", figures | {name: double}), frame, tier)


SETTINGS = {
    "sku": "h200",
    "model": "deepseek-v4-flash",
    "engine": "sglang",
    "precision": "fp8",
    "gpus": 4,
    "tp": 4,
    "ep": 1,
    "dp_attention": True,
    "isl": 4096,
    "osl": 64,
    "length_distribution": "fixed",
    "lengths": "mlperf-llama3.1-8b",
    "concurrency": (2,),
    "spec": "mtp:1",
    "acceptance_length": 1.2,
    "engine_settings": {"max_num_seqs": 1},
    "kv_precision": "bf16",
    "economics": "2026-04",
    "overrides": {"hbm_bytes_per_s": 4e12},
    "seed": 5,
    "client_overhead_s": 0.02,
    "client_turnaround_s": 0.5,
    "tokenise_s_per_token": 2e-5,
}
"""Another value of every setting of a scenario; a calibration and a chip for prefill
pools are tried in their own tests."""


def test_every_setting_of_a_scenario_is_moved():
    own = {"calibration", "prefill_sku"}
    assert {*SETTINGS, *own} == set(SCENARIO) == set(Scenario.model_fields)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_a_scenario_moves_a_figure(name):
    base = {"sku": "b200", "engine": "vllm", "isl": 1024, "osl": 32, "concurrency": (4,)}
    if name not in ("gpus", "tp", "ep"):
        base |= {"tp": 8, "ep": 8, "dp_attention": False}
    if name == "precision":
        base |= {"model": "llama-3.1-8b", "precision": "bf16", "tp": 1, "ep": 1}
    if name == "acceptance_length":
        base |= {"spec": "mtp:1"}
    if name in ("gpus", "tp", "ep", "model"):
        base |= {"model": "deepseek-v4-flash"}
    if name == "lengths":
        base = {key: value for key, value in base.items() if key not in ("isl", "osl")}
    moved = {**base, name: SETTINGS[name]}
    if name == "model":
        base["model"] = "deepseek-v4-pro"
    first, second = (sim.curve(**each).frame() for each in (base, moved))
    columns = [name for name in first if name not in ("version", "economics")]
    assert first[columns].to_json() != second[columns].to_json()


def test_a_scenario_with_an_unknown_engine_setting_names_the_nearest():
    source = build_scenario(flags={"sku": "b200", "engine_settings": {"max_num_seq": 4}})
    with pytest.raises(UserError, match="did you mean max_num_seqs"):
        sim.curve(
            **replace_none(source.scenario.model_dump()) | {"engine": "vllm", "tp": 8, "ep": 8}
        )


def replace_none(values):
    return {name: value for name, value in values.items() if value is not None}
