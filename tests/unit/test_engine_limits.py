"""Limits of servers: which follow the load, where recorded settings hold, what is refused."""

from dataclasses import dataclass, replace

import pandas as pd
import pytest

from simulator.engines.base import EngineSettings
from simulator.engines.pools import parse_deployment
from simulator.engines.registry import ENGINES, bind_engine, engine_class
from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.trtllm.engine import TrtllmSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.prediction.assembly import assemble
from simulator.prediction.notes import binding_limits, merged
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario
from simulator.studies.compare.budgets import budgets_that_differ
from simulator.studies.compare.request import build_systems
from simulator.studies.explain.run import explain_configuration
from workloads.errors import UserError


def configured(deployment, *, concurrency=64, longest_prompt=None, **fields):
    return configure_run(
        Scenario(**fields),
        pools=parse_deployment(deployment),
        concurrency=concurrency,
        longest_prompt=longest_prompt,
    )


def decode_step_s(deployment, *, concurrency, **fields):
    configuration, _ = configured(deployment, concurrency=concurrency, **fields)
    assembly = assemble(configuration)
    pool = assembly.pools[-1]
    rank = -(-concurrency // (pool.workers * pool.layout.attention_dp))
    seconds = pool.cost.fixed_s(
        rank_tokens=rank,
        group_tokens=concurrency,
        rank_samples=rank,
        group_samples=concurrency,
        has_prefill=False,
    )
    return seconds, binding_limits(assembly, configuration)


# registry ----------------------------------------------------------------------------------


class OtherSettings(EngineSettings):
    scheduler: str = "other"


class FakeVllm(EngineSettings):
    scheduler: str = "vllm"


def test_unknown_engines_and_settings_are_errors():
    with pytest.raises(UserError, match="scheduler"):
        engine_class("other")
    with pytest.raises(UserError, match="scheduler"):
        bind_engine(OtherSettings())
    with pytest.raises(TypeError, match="FakeVllm, not VllmSettings"):
        bind_engine(FakeVllm())


@pytest.mark.parametrize("key", ENGINES)
def test_limit_settings_are_fields_of_the_engine(key):
    engine = engine_class(key)
    for name in (engine.budget_setting, engine.cap_setting, engine.graph_setting, *engine.varied):
        assert name in engine.settings_class.model_fields


# limits follow the load --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        (VllmSettings(), {"max_num_seqs": 2000, "max_cudagraph_capture_size": 4000}),
        (
            SglangSettings(max_running_requests=64),
            {"max_running_requests": 16000, "cuda_graph_max_bs": 2000},
        ),
        (TrtllmSettings(max_batch_size=64), {"max_batch_size": 2000}),
    ],
)
def test_limits_are_raised_to_what_a_rank_is_asked(settings, changed):
    found = bind_engine(settings).with_room_for(
        requests=2000, drafts=1, attention_dp=8, recorded=()
    )
    assert {name: getattr(found, name) for name in changed} == changed


def test_recorded_limits_stay():
    settings = VllmSettings(max_num_seqs=64)
    found = bind_engine(settings).with_room_for(
        requests=2000, drafts=0, attention_dp=1, recorded={"max_num_seqs"}
    )
    assert found == settings  # graphs need not be larger than what may run


def test_a_graph_is_no_larger_than_the_step():
    settings = VllmSettings(max_num_batched_tokens=1024)
    found = bind_engine(settings).with_room_for(
        requests=4096, drafts=0, attention_dp=1, recorded=()
    )
    assert found.max_cudagraph_capture_size == 1024


def test_no_cliff_where_a_borrowed_graph_would_end():
    """VR200, R1, DEP8: 4,096 requests a worker are 512 a rank, the borrowed graphs' size."""
    load = {"sku": "vr200", "model": "deepseek-r1", "engine": "sglang"}
    at, _ = decode_step_s("DEP8", concurrency=4096, **load)
    beyond, told = decode_step_s("DEP8", concurrency=4104, **load)
    assert at <= beyond <= 1.01 * at
    assert told == ()


def test_what_follows_the_load_is_told():
    _, recipe = configured("DEP8", concurrency=8192, sku="vr200", model="deepseek-r1")
    assert any("follows the load" in message for message in recipe.messages)


H200 = {
    "sku": "h200",
    "model": "deepseek-r1",
    "engine": "dynamo-trt@2026-02-14",
    "precision": "fp8",
    "isl": 1024,
}


def test_a_cap_recorded_for_other_loads_gives_way_and_is_told():
    """R1 on H200, 1xTEP8+9xTEP8: the last script on record serves one client a worker."""
    found, recipe = configured("1xTEP8+9xTEP8", concurrency=144, **H200)
    decode = found.pools[-1]
    assert decode.settings.max_batch_size == 144 / decode.workers
    assert decode.settings.max_num_tokens >= decode.settings.max_batch_size
    told = "decode.max_batch_size follows the load: recorded for other loads only"
    assert told in recipe.messages
    alone, recipe = configured("1xTEP8+9xTEP8", concurrency=9, **H200)
    assert alone.pools[-1].settings.max_batch_size == 1
    assert not any("other loads" in message for message in recipe.messages)


def test_a_binding_limit_names_the_flag_that_lifts_it():
    configuration, _ = configured(
        "TP8",
        concurrency=256,
        sku="b200",
        engine="vllm",
        engine_settings={"max_num_seqs": 64, "max_cudagraph_capture_size": 32},
    )
    cap, graph = binding_limits(assemble(configuration), configuration)
    assert "64 requests a rank" in cap
    assert "--engine-set max_num_seqs=N" in cap
    assert "32 tokens a rank" in graph
    assert "--engine-set max_cudagraph_capture_size=N" in graph


# recorded lengths --------------------------------------------------------------------------


@pytest.mark.parametrize("sku", ["b300", "gb300"])
@pytest.mark.parametrize("model", ["deepseek-v4-flash", "deepseek-v4-pro"])
def test_a_million_tokens_are_served(sku, model):
    """vllm-project/vllm#51799, vllm-project/recipes#762: budgets of 8,192 to 16,384 tokens."""
    configuration, recipe = configured(
        "TEP8", concurrency=1, sku=sku, model=model, engine="vllm", isl=1_000_000, osl=1000
    )
    (pool,) = configuration.pools
    assert 8192 <= pool.engine.step_token_budget(attention_dp=1) <= 16384
    assert assemble(configuration).kv_tokens[0] > 10_000_000
    assert any("no settings recorded at isl 1000000" in text for text in recipe.messages)


def test_long_prompts_have_like_budgets_on_related_chips():
    budgets = []
    for sku in ("b300", "b200"):
        configuration, _ = configured(
            "TEP8", concurrency=10, sku=sku, engine="vllm", isl=131072, osl=1024
        )
        budgets.append(configuration.pools[0].engine.step_token_budget(attention_dp=1))
    assert max(budgets) <= 2 * min(budgets)


@pytest.mark.parametrize("isl", [8000, 8191, 8193, 8200])
def test_a_percent_more_length_keeps_the_budget(isl):
    at, _ = configured("TEP8", sku="b200", engine="vllm", isl=8192)
    near, _ = configured("TEP8", sku="b200", engine="vllm", isl=isl)
    assert near.pools[0].settings == at.pools[0].settings


@pytest.mark.parametrize("isl", [1024, 8192])
def test_at_recorded_lengths_nothing_is_told(isl):
    _, recipe = configured("TEP8", sku="b200", engine="vllm", isl=isl)
    assert not any("recorded at isl" in text for text in recipe.messages)


@pytest.mark.parametrize("model", ["deepseek-r1", "gpt-oss-120b"])
def test_tensorrt_llm_takes_the_longest_prompt(model):
    """Without chunked context a prompt is computed whole: max_num_tokens covers the longest."""
    configuration, _ = configured(
        "TP8", sku="b200", engine="trt", model=model, isl=2000, longest_prompt=30_000
    )
    settings = configuration.pools[0].settings
    assert settings.enable_chunked_prefill or settings.max_num_tokens >= 30_000


@dataclass
class BestOnly:
    """A side of a comparison of which only the best points are known."""

    best: pd.DataFrame


def test_a_comparison_names_unequal_budgets():
    """b300's budget is twice the length, b200's once: as recorded at 8,192 tokens."""
    flags = {"isl": 131072, "osl": 1024, "engine": "vllm"}
    systems = build_systems(["b300", "b200"], flags=flags)
    point = {"label": "TEP8", "concurrency": 10, "total_tput_per_gpu": 1.0}
    sides = [BestOnly(pd.DataFrame([point]))] * 2
    (told,) = budgets_that_differ(systems, sides)
    assert "b300 16,384 (TEP8); b200 8,192 (TEP8)" in told
    assert "--engine-set max_num_batched_tokens=N" in told
    assert budgets_that_differ(systems[:1], sides[:1]) == ()


# precision ---------------------------------------------------------------------------------


def weights_gib(deployment, **fields):
    configuration, _ = configured(deployment, **fields)
    return sum(assemble(configuration).memory[0].weights.values()) / 2**30


def test_fp8_experts_are_loaded_as_fp8():
    """sgl-project/sglang#28620: 35.5 GiB a GPU, FP4 experts are 19.2."""
    load = {"sku": "h200", "model": "deepseek-v4-flash", "engine": "sglang"}
    assert weights_gib("TP8", precision="fp8", **load) == pytest.approx(35.5, rel=0.05)
    assert weights_gib("TP8", precision="fp4", **load) == pytest.approx(19.2, rel=0.05)


def test_a_precision_without_a_path_is_refused_with_alternatives():
    configuration, _ = configured(
        "TP8", sku="a100", model="deepseek-v4-flash", engine="vllm", precision="fp8"
    )
    with pytest.raises(UserError, match="no FP8 units; take --precision fp4 or bf16"):
        assemble(configuration)


def test_a_label_of_the_released_checkpoint_is_told():
    _, recipe = configured("TP8", sku="h200", engine="sglang", precision="fp8")
    assert any("experts run as w4a16" in message for message in recipe.messages)


@pytest.mark.parametrize(("stored", "share"), [("fp8", 1.0), ("bf16", 0.5)])
def test_kv_precision_sets_the_bytes_of_an_entry(stored, share):
    load = {"sku": "b200", "model": "llama-3.3-70b", "engine": "vllm"}
    tokens = {}
    for name in ("fp8", stored):
        configuration, _ = configured("TP4", kv_precision=name, **load)
        tokens[name] = assemble(configuration).kv_tokens[0]
    assert tokens[stored] == pytest.approx(share * tokens["fp8"], rel=0.01)


@pytest.mark.parametrize(
    ("engine", "stated", "replays"),
    [
        ("vllm", {"cudagraph_mode": "FULL_DECODE_ONLY"}, False),
        ("vllm", {"cudagraph_mode": "FULL_AND_PIECEWISE"}, True),
        ("sglang", {"enable_piecewise_cuda_graph": True}, True),
        ("trt", {"enable_piecewise_cuda_graph": True}, True),
    ],
)
def test_graphs_of_prompts_are_a_setting(engine, stated, replays):
    """A step with a prompt that replays pieces waits for no launches."""
    configuration, _ = configured("TP8", sku="b200", engine=engine, engine_settings=stated)
    cost = assemble(configuration).pools[0].cost
    step = {"rank_tokens": 64, "group_tokens": 64, "rank_samples": 1, "group_samples": 1}
    mixed, plain = (cost.fixed_s(**step, has_prefill=prefill) for prefill in (True, False))
    assert (mixed == plain) is replays


@pytest.mark.parametrize(
    ("engine", "decode", "pieces"),
    [
        ("trt", "cuda_graph_max_batch_size", {"capture_num_tokens": 2048}),
        ("sglang", "cuda_graph_max_bs", {}),  # its own default, with latent attention
        ("sglang", "cuda_graph_max_bs", {"piecewise_cuda_graph_max_tokens": 2048}),
    ],
)
def test_pieces_of_prompts_reach_further_than_the_graphs_of_decoding(engine, decode, pieces):
    """They are captured up to a size of their own."""
    stated = {"enable_piecewise_cuda_graph": True, decode: 32, **pieces}
    configuration, _ = configured("TP8", sku="b200", engine=engine, engine_settings=stated)
    cost = assemble(configuration).pools[0].cost
    for tokens, replays in ((32, True), (2048, True), (2049, False)):
        step = {"rank_tokens": tokens, "group_tokens": tokens}
        step |= {"rank_samples": 1, "group_samples": 1}
        waits = cost.fixed_s(**step, has_prefill=True) - cost.fixed_s(**step, has_prefill=False)
        eager = tokens > 32
        assert (waits < 0.0) is (eager and replays), tokens


@pytest.mark.parametrize(
    ("engine", "stated", "tokens", "told"),
    [
        ("vllm", {"max_cudagraph_capture_size": 512}, 512, ""),
        ("vllm", {"max_cudagraph_capture_size": 512}, 513, "raise max_cudagraph_capture_size with"),
        ("vllm", {"cudagraph_mode": "NONE"}, 512, "cudagraph_mode=FULL_AND_PIECEWISE has pieces"),
        (
            "sglang",
            {"enable_piecewise_cuda_graph": True},
            2049,
            "raise piecewise_cuda_graph_max_tokens with",
        ),
    ],
)
def test_a_prompt_beyond_the_graphs_is_told_with_the_flag_that_lifts_it(
    engine, stated, tokens, told
):
    configuration, _ = configured("TP8", sku="b200", engine=engine, engine_settings=stated)
    explained = explain_configuration(
        configuration, phase="prefill", new_tokens=tokens, sensitivities=False
    )
    found = [message for message in explained.messages if "steps with prompts" in message]
    assert [told in message for message in found] == ([True] if told else [])


# what is told ------------------------------------------------------------------------------


def test_kv_tokens_of_layouts_stand_in_one_line():
    lines = [
        "a note",
        "KV of TP8: 1,000 tokens a rank, vLLM's own count",
        "KV of DEP8: 2,000 tokens a rank, vLLM's own count",
        "a note",
    ]
    assert merged(lines) == [
        "a note",
        "KV tokens a rank, vLLM's own count: TP8 1,000; DEP8 2,000",
    ]


def test_the_byte_table_adds_up():
    configuration, _ = configured("TP8", sku="b200", engine="sglang")
    for memory in assemble(configuration).memory:
        table = memory.to_dict()
        usable = table.pop("usable_bytes")
        assert sum(table.values()) == pytest.approx(usable)


def test_one_more_request_never_costs_a_step_without_a_reason():
    """Around the graph sizes of shipped recipes, on each engine."""
    for sku, engine, model in (
        ("b200", "vllm", "deepseek-v4-pro"),
        ("b300", "trt", "deepseek-v4-pro"),
        ("mi355x", "atom", "deepseek-v4-pro"),
        ("b200", "sglang", "deepseek-r1"),
    ):
        load = {"sku": sku, "engine": engine, "model": model}
        configuration, _ = configured("DEP8", concurrency=64, **load)
        settings = configuration.pools[0].settings
        size = getattr(settings, configuration.pools[0].engine.graph_setting)
        at, _ = decode_step_s("DEP8", concurrency=8 * size, **load)
        beyond, told = decode_step_s("DEP8", concurrency=8 * (size + 1), **load)
        assert beyond <= 1.1 * at or told, (sku, engine)


def test_pools_change_settings_and_graphs_together():
    configuration, _ = configured("TP8", sku="b200", engine="vllm")
    (pool,) = configuration.pools
    settings = pool.settings.model_copy(update={"max_cudagraph_capture_size": 77})
    changed = pool.with_settings(settings, drafts=0)
    assert changed.plan["graph_max_tokens"] == 77
    assert replace(changed, settings=pool.settings, plan=pool.plan) == pool
