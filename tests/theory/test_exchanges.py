"""Exchanges of routed tokens: copies that travel, against counting, and what bounds their time."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.exchange_buffers import buffer_bytes
from hwmodels.exchange_libraries import (
    check_library,
    default_library,
    exchange_libraries,
    exchange_libraries_data,
    gathers_instead,
    load_library,
)
from hwmodels.exchanges import (
    copies_of_token,
    exchange_s,
    place_share,
    scope_of,
    taken_multiprocessors,
)
from hwmodels.sku import load_sku
from simulator.cli.main import run
from simulator.engines.pools import PoolConfiguration, parse_deployment
from simulator.engines.registry import ENGINES
from simulator.prediction.assembly import assemble
from simulator.prediction.exchange_plan import exchange_messages, with_exchange
from simulator.scenario.configure import ClosedLoad, configure
from simulator.scenario.settings import build_scenario
from simulator.scenario.target import resolve_target
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.ops import TokenExchange

FEW = settings(max_examples=60, deadline=None)
EXCHANGE = TokenExchange(operation="combine", tokens=512.0, choices=6, copy_bytes=2 * 7168.0)


def test_distinct_ranks_are_those_of_counting_all_choices():
    places, choices = 3, 4
    draws = list(itertools.product(range(places), repeat=choices))
    hit = sum(0 in draw for draw in draws) / len(draws)
    assert place_share(places=places, choices=choices) == pytest.approx(hit)


@pytest.mark.parametrize("places", [2, 4, 8, 16])
def test_limited_routing_is_that_of_counting_all_choices(places):
    groups, limit, choices = 4, 2, 3
    hits = total = 0
    for chosen in itertools.combinations(range(groups), limit):
        # ranks, numbered so that a rank holds groups / places groups or a part of one
        slots = max(places, groups)
        of_group = slots // groups
        allowed = [g * of_group + i for g in chosen for i in range(of_group)]
        for draw in itertools.product(allowed, repeat=choices):
            total += 1
            hits += any(slot * places // slots == 0 for slot in draw)
    share = place_share(places=places, choices=choices, groups=groups, group_limit=limit)
    assert share == pytest.approx(hits / total)


@given(places=st.integers(2, 64), choices=st.integers(1, 12))
@FEW
def test_limited_routing_never_reaches_more_places(places, choices):
    free = place_share(places=places, choices=choices)
    assert place_share(places=places, choices=choices, groups=8, group_limit=4) <= free + 1e-12
    assert place_share(places=places, choices=choices, groups=8, group_limit=8) == free


def test_published_copies_of_deepseek_v4():
    """k = 6: 4.41 distinct ranks a token at EP8, 5.14 at EP16 (CollectiveX payloads 4.43, 5.16)."""
    for ranks, distinct in ((8, 4.41), (16, 5.14)):
        assert ranks * place_share(places=ranks, choices=6) == pytest.approx(distinct, abs=0.01)


def test_a_token_crosses_the_network_once_per_distinct_domain():
    """B200 EP16, 8192 tokens in 2.7 ms: 43 GB/s a GPU; 112 per distinct rank, 131 per pair."""
    per_domain = copies_of_token(ranks=16, domain=8, choices=6, per_pair=False)[1]
    per_pair = copies_of_token(ranks=16, domain=8, choices=6, per_pair=True)[1]
    per_rank = 8 * place_share(places=16, choices=6)
    assert per_pair / per_domain == pytest.approx(131 / 43, rel=0.02)
    assert per_rank / per_domain == pytest.approx(112 / 43, rel=0.02)


@given(ranks=st.sampled_from([2, 4, 8, 16, 32, 64]), choices=st.integers(1, 12))
@FEW
def test_one_copy_per_rank_is_never_more_than_one_per_pair(ranks, choices):
    rank = copies_of_token(ranks=ranks, domain=8, choices=choices, per_pair=False)
    pair = copies_of_token(ranks=ranks, domain=8, choices=choices, per_pair=True)
    assert rank[1] <= pair[1] + 1e-12
    assert sum(pair) == pytest.approx(choices * (ranks - 1) / ranks)


@pytest.mark.parametrize("name", ["deepep", "nccl_ep", "uccl", "mori"])
@pytest.mark.parametrize("ranks", [2, 8, 16])
def test_no_exchange_beats_its_links(name, ranks):
    library = load_library(name)
    sku = load_sku("mi355x" if name == "mori" else "b200")
    huge = replace(EXCHANGE, tokens=1e9)
    for mode in library.modes:
        seconds = float(
            exchange_s(exchange=replace(huge, mode=mode), ranks=ranks, sku=sku, library=library)
        )
        up, network = copies_of_token(
            ranks=ranks, domain=8, choices=6, per_pair=library.modes[mode].per_pair
        )
        sent = 1e9 * EXCHANGE.copy_bytes
        assert seconds > up * sent / sku.scaleup_bytes_per_s
        assert seconds > network * sent / sku.scaleout_bytes_per_s


def test_the_rack_beats_islands_where_large_and_not_where_small():
    """NVL72 is slower than an island at 8 tokens and faster than two at 8192 (CollectiveX).

    A drained GPU waits longer for the rack's host; behind other work that is hidden.
    """
    library = load_library("deepep")
    small = library.modes["low_latency"].latency_s
    assert small["rack", "combine"] > small["island", "combine"]

    def seconds(sku, ranks, tokens, mode):
        exchange = replace(EXCHANGE, tokens=tokens, mode=mode)
        return float(exchange_s(exchange=exchange, ranks=ranks, sku=load_sku(sku), library=library))

    assert seconds("gb200", 8, 8.0, "low_latency") == seconds("b200", 8, 8.0, "low_latency")
    assert seconds("gb200", 16, 8192.0, "normal") < seconds("b200", 16, 8192.0, "normal") / 1.5


def test_one_rank_costs_nothing_and_time_grows_with_tokens():
    library, sku = load_library("deepep"), load_sku("h100")
    tokens = np.array([1.0, 64.0, 4096.0])
    for mode in ("normal", "low_latency"):
        exchange = replace(EXCHANGE, tokens=tokens, mode=mode)
        assert not exchange_s(exchange=exchange, ranks=1, sku=sku, library=library).any()
        assert (
            np.diff(exchange_s(exchange=exchange, ranks=16, sku=sku, library=library)) > 0
        ).all()


def test_a_library_of_one_mode_takes_it_whatever_is_asked():
    known = [load_library(name) for name in exchange_libraries_data()]
    single = [library for library in known if len(library.modes) == 1]
    assert single
    for library in single:
        (only,) = library.modes
        counts = {
            float(taken_multiprocessors(exchange=replace(EXCHANGE, mode=mode), library=library))
            for mode in (only, "auto", "low_latency", "normal")
        }
        assert counts == {float(library.modes[only].multiprocessors)}


def test_auto_takes_low_latency_up_to_its_buffers():
    library, sku = load_library("deepep"), load_sku("h100")
    tokens = np.array([library.low_latency_tokens, library.low_latency_tokens + 1.0])

    def seconds(mode):
        exchange = replace(EXCHANGE, tokens=tokens, mode=mode)
        return exchange_s(exchange=exchange, ranks=8, sku=sku, library=library)

    auto = seconds("auto")
    assert auto[0] == seconds("low_latency")[0]
    assert auto[1] == seconds("normal")[1]


@pytest.mark.parametrize(
    ("sku", "engine", "ranks", "expected"),
    [
        ("b200", "trtllm", 8, "nvlink_one_sided"),
        ("b200", "trtllm", 16, None),
        ("gb200", "trtllm", 32, "nvlink_one_sided"),
        ("mi355x", "sglang", 16, "mori"),
        ("h100", "vllm", 16, "deepep"),
        ("ascend950dt", "vllm", 16, None),
    ],
)
def test_the_library_of_an_engine(sku, engine, ranks, expected):
    library = default_library(engine=engine, sku=load_sku(sku), ranks=ranks)
    assert (library.key if library else None) == expected


@pytest.mark.parametrize(
    ("sku", "engine", "ranks", "expected"),
    [
        ("h100", "trtllm", 16, True),
        ("h100", "trtllm", 8, False),
        ("gb200", "trtllm", 32, False),
        ("h100", "sglang", 16, False),
        ("ascend950dt", "vllm", 16, False),
    ],
)
def test_tensorrt_llm_gathers_where_nvlink_ends(sku, engine, ranks, expected):
    """DeepEP is off by default (``TRTLLM_CAN_USE_DEEP_EP``), and NVLink ends at the node."""
    chip = load_sku(sku)
    assert gathers_instead(engine=engine, sku=chip, ranks=ranks) == expected
    pool = PoolConfiguration(
        role="prefill",
        layout=Layout(tp=ranks, ep=ranks, dp_attention=True),
        settings=ENGINES[engine].settings_class(),
    )
    plan = ExecutionPlan(expert_path="fp8")
    got = with_exchange(plan, pool=pool, sku=chip, engine=engine)
    assert (got.moe_backend, got.dispatch_bytes_per_value == 2.0) == (
        ("allgather", True) if expected else ("dispatch_combine", False)
    )
    named = replace(plan, exchange_library="deepep")
    if chip.vendor == "nvidia":
        kept = with_exchange(named, pool=pool, sku=chip, engine=engine)
        assert kept.moe_backend == "dispatch_combine"


@pytest.mark.parametrize(
    ("name", "mode", "sku", "ranks", "message"),
    [
        ("deepep", "normal", "mi355x", 8, "deepep does not run on mi355x; use one of mori, uccl"),
        ("deepep", "normal", "ascend950dt", 8, "none does: leave it out"),
        ("nvlink_one_sided", "normal", "b200", 16, "ep is 16.*8 chips on b200.*deepep"),
        ("deepep", "normal", "h100", 192, "ep is 192.*at most 160"),
    ],
)
def test_a_library_that_does_not_fit_is_named_with_what_would(name, mode, sku, ranks, message):
    with pytest.raises(UserError, match=message):
        check_library(library=load_library(name), mode=mode, sku=load_sku(sku), ranks=ranks)


def test_more_ranks_than_the_usual_library_supports_are_refused():
    """DeepEP's normal mode ends at 160 ranks, its low-latency mode at 256."""
    pool = PoolConfiguration(
        role="aggregated",
        layout=Layout(tp=256, ep=256, dp_attention=True),
        settings=ENGINES["vllm"].settings_class(),
    )
    asked = {"sku": load_sku("h100"), "engine": "vllm"}
    with pytest.raises(UserError, match="DeepEP in its normal mode supports at most 160"):
        with_exchange(ExecutionPlan(), pool=pool, **asked)
    assert with_exchange(ExecutionPlan(), pool=replace(pool, role="decode"), **asked)


@pytest.mark.parametrize(
    ("sku", "name", "message"),
    [
        ("mi355x", "deepep", "deepep does not run on mi355x; use one of mori, uccl"),
        ("b200", "deep_ep", "did you mean deepep"),
    ],
)
def test_a_stated_library_that_does_not_fit_is_refused(sku, name, message, tmp_path, capsys):
    command = ["--sku", sku, "--engine", "vllm", "--model", "deepseek-r1", "--dp-attention"]
    stated = ["--engine-set", f"exchange_library={name}", "--out", str(tmp_path / "run")]
    assert run([*command, "--tp", "8", "--ep", "8", "--concurrency", "8", *stated]) == 2
    assert message in capsys.readouterr().err


def test_a_stated_library_without_exchange_is_told():
    settings = ENGINES["vllm"].settings_class(exchange_library="deepep")
    pool = PoolConfiguration(role="aggregated", layout=Layout(tp=8), settings=settings)
    plan = ExecutionPlan()
    chip = load_sku("b200")
    (told,) = exchange_messages([pool], plan=plan, engine="vllm", sku=chip)
    assert "exchange_library deepep has no effect as TP8" in told
    spread = replace(pool, layout=Layout(tp=8, ep=8, dp_attention=True))
    assert exchange_messages([spread], plan=plan, engine="vllm", sku=chip) == []
    fused = replace(plan, moe_backend="fused")
    got = with_exchange(fused, pool=spread, sku=chip, engine="vllm")
    assert (got.moe_backend, got.exchange_library) == ("dispatch_combine", "deepep")


def test_an_unknown_library_is_told_with_the_nearest():
    with pytest.raises(UserError, match=r"deep_ep.*deepep"):
        load_library("deep_ep")


def test_what_an_exchange_spans():
    assert scope_of(ranks=8, sku=load_sku("b200")) == "island"
    assert scope_of(ranks=16, sku=load_sku("b200")) == "islands"
    assert scope_of(ranks=4, sku=load_sku("gb200")) == "island"
    assert scope_of(ranks=8, sku=load_sku("gb200")) == "rack"


def test_queued_latencies_are_below_those_of_a_drained_gpu():
    for library in exchange_libraries().values():
        for mode in library.modes.values():
            for (operation, generation), seconds in mode.queued_s.items():
                drained = mode.latency_s["island", operation]
                assert seconds <= 1.05 * drained, (library.key, mode.mode, generation)


def test_buffers_are_those_of_the_libraries_own_formulas():
    """DeepSeek-R1: 256 experts of 7,168 values, 8 ranks.

    DeepEP ``csrc/config.hpp``, TensorRT-LLM ``calculate_required_workspace_size``, MoRI
    ``InitializeShmemBuf``, counted by hand.
    """
    work = {"ranks": 8, "experts": 256, "hidden": 7168, "step_tokens": 8192.0}
    deepep = load_library("deepep")
    low = buffer_bytes(library=deepep, mode="low_latency", decode_tokens=0.0, **work)
    assert low == 4 * 256 * 128 * (14336 + 56 * 4)
    twice = buffer_bytes(library=deepep, mode="low_latency", decode_tokens=256.0, **work)
    assert twice == 2 * low
    most = buffer_bytes(library=deepep, mode="low_latency", decode_tokens=1e6, **work)
    assert most == 8 * low
    normal = buffer_bytes(library=deepep, mode="normal", decode_tokens=0.0, **work)
    assert normal == 12 * 8 * 256 * (14336 + 8 + 128 * 16)
    both = buffer_bytes(library=deepep, mode="auto", decode_tokens=0.0, **work)
    assert both == low + normal
    one_sided = load_library("nvlink_one_sided")
    assert buffer_bytes(library=one_sided, mode="auto", decode_tokens=0.0, **work) == (
        2 * 8 * 8192 * 14336
    )
    mori = buffer_bytes(library=load_library("mori"), mode="normal", decode_tokens=0.0, **work)
    assert mori == 5 * 8 * 4096 * 14336
    alone = {**work, "ranks": 1}
    assert buffer_bytes(library=deepep, mode="auto", decode_tokens=0.0, **alone) == 0.0


def test_buffers_leave_less_for_kv():
    """Two libraries on one worker: what one's buffers take more, its KV pool has less."""
    plans = {}
    for name in ("deepep", "nccl_ep"):
        scenario = build_scenario(
            flags={
                "sku": "b200",
                "model": "deepseek-r1",
                "engine": "vllm",
                "engine_settings": {"exchange_library": name},
            }
        ).scenario
        configuration, _ = configure(
            resolve_target(scenario),
            pools=parse_deployment("DEP8"),
            load=ClosedLoad.of(scenario, concurrency=64),
        )
        (plans[name],) = assemble(configuration).memory
    deepep, nccl_ep = plans["deepep"], plans["nccl_ep"]
    more = deepep.exchange_bytes - nccl_ep.exchange_bytes
    assert more > 1e9  # expert slots of the low-latency mode, which NCCL-EP has not
    assert nccl_ep.pool_bytes - deepep.pool_bytes == pytest.approx(more)
    assert deepep.to_dict()["exchange_bytes"] == deepep.exchange_bytes
    assert "buffers of exchanges" in deepep.table()
