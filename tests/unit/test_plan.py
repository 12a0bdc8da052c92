"""Capacity plans: requests, fleets, what they say and what would change them."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.economics import load_economics
from hwmodels.sku import load_sku
from simulator.analysis.objectives import ONLINE_TTFT_S, Objectives
from simulator.cli.main import run
from simulator.scenario.candidates import candidate_deployments
from simulator.scenario.deployed_forms import competing, is_open
from simulator.scenario.target import resolve_target
from simulator.serving.records import COLUMNS, Records
from simulator.studies.plan.break_even import break_even_of
from simulator.studies.plan.fleet import (
    HOURS_PER_MONTH,
    Fleet,
    buying_unit,
    fleet_for,
    fleet_within,
    meter_kw,
    smallest_that,
)
from simulator.studies.plan.planned_sku import PlannedLoad
from simulator.studies.plan.request import build_plan
from simulator.studies.plan.result import PlanResult
from simulator.studies.plan.run import plan
from simulator.studies.plan.sizing import ClosedPoint, Sketch, load_test
from simulator.studies.plan.text import advice, print_plan, summary_of
from simulator.studies.plan.traffic import (
    LEAST_JUDGED,
    MANY_JUDGED,
    RecordedTraffic,
    SyntheticTraffic,
)
from workloads.errors import UserError
from workloads.requests.catalog import TraceWorkload
from workloads.requests.request import Request

SMALL = {
    "isl": 1024,
    "osl": 64,
    "tp": 8,
    "ep": 8,
    "dp_attention": False,
    "concurrency": (4, 16, 64),
}
QUICK = {"replications": 3, "layouts": 1, "engine": "vllm"}
SLOS = {"interactivity": 30.0, "ttft_p90": 2.0}


def records(ttft_s, tpot_s, *, output_tokens=11):
    count = len(ttft_s)
    columns = {column.name: np.zeros(count) for column in COLUMNS}
    columns["first_token_s"] = np.array(ttft_s)
    columns["finish_s"] = np.array(ttft_s) + np.array(tpot_s) * (output_tokens - 1)
    columns["output_tokens"] = np.full(count, output_tokens)
    return Records.from_columns(columns)


def test_slo_uses_are_latencies_over_their_limits():
    asked = Objectives(interactivity=50.0, interactivity_p90=25.0, ttft_p90_s=2.0, goodput=0.9)
    slo_use = asked.slo_use(records([1.0] * 10, [0.01] * 10))
    assert slo_use["interactivity"] == pytest.approx(0.5)
    assert slo_use["interactivity p90"] == pytest.approx(0.25)
    assert slo_use["TTFT p90"] == pytest.approx(0.5)
    assert slo_use["goodput"] == pytest.approx(0.9)


def test_goodput_counts_requests_that_meet_both_limits():
    asked = Objectives(interactivity=50.0, ttft_p50_s=2.0, goodput=0.5)
    # one is late, another slow: two of four meet both
    slo_use = asked.slo_use(records([1.0, 3.0, 1.0, 1.0], [0.01, 0.01, 0.03, 0.01]))
    assert slo_use["goodput"] == pytest.approx(1.0)
    none = asked.slo_use(records([3.0], [0.01]))
    assert none["goodput"] == math.inf


def test_no_ttft_means_that_of_an_online_service():
    asked, notes = Objectives(interactivity=20.0).online()
    assert asked.ttft_limits == {90.0: ONLINE_TTFT_S}
    assert "no TTFT is asked for" in notes[0]
    stated = Objectives(ttft_p50_s=1.0)
    assert stated.online() == (stated, ())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"interactivity": -1.0}, "interactivity is -1.0; it must be positive"),
        ({"ttft_p90_s": math.inf}, "ttft_p90_s is inf"),
        ({"goodput": 1.5, "ttft_p50_s": 1.0}, "at most 1"),
        ({"goodput": 0.9}, "goodput needs a limit"),
    ],
)
def test_objectives_refuse_nonsense(fields, message):
    with pytest.raises(UserError, match=message):
        Objectives(**fields)


@pytest.mark.parametrize(
    ("sku", "replica_gpus", "whole", "expected"),
    [
        # (unit, its GPUs and nodes, replicas in it, units of a replica, lost with a node)
        ("b200", 8, "racks", ("node", 8, 1, 1, 1, 1)),
        ("b200", 4, "racks", ("node", 8, 1, 2, 1, 2)),
        ("b200", 16, "racks", ("node", 8, 1, 0, 2, 1)),
        ("gb200", 8, "racks", ("rack", 72, 18, 9, 1, 1)),
        ("gb200", 32, "racks", ("rack", 72, 18, 2, 1, 1)),
        ("gb200", 60, "racks", ("rack", 72, 18, 1, 1, 1)),
        ("gb200", 144, "racks", ("rack", 72, 18, 0, 2, 1)),
        ("gb200", 2, "nodes", ("node", 4, 1, 2, 1, 2)),
        ("gb200", 32, "nodes", ("node", 4, 1, 0, 8, 1)),
    ],
)
def test_buying_units(sku, replica_gpus, whole, expected):
    unit = buying_unit(sku=load_sku(sku), replica_gpus=replica_gpus, whole=whole)
    found = (unit.name, unit.gpus, unit.nodes, unit.replicas, unit.span, unit.lost_with_node)
    assert found == expected


@given(
    sku=st.sampled_from(["b200", "gb200", "tpu7x"]),
    replica_gpus=st.integers(1, 160),
    replicas=st.integers(1, 400),
    spare=st.booleans(),
    whole=st.sampled_from(["racks", "nodes"]),
)
def test_a_fleet_is_the_smallest_that_holds_its_replicas(sku, replica_gpus, replicas, spare, whole):
    unit = buying_unit(sku=load_sku(sku), replica_gpus=replica_gpus, whole=whole)
    costs = load_economics("2026-09").for_sku(sku)
    fleet = fleet_for(replicas, unit=unit, costs=costs, tier="hyperscaler", one_node_spare=spare)
    assert fleet.counted >= replicas
    assert fleet.gpus == fleet.units * unit.gpus == fleet.nodes * unit.gpus // unit.nodes
    assert fleet.replicas * replica_gpus <= fleet.gpus
    assert fleet.spare == (unit.lost_with_node if spare else 0)
    smaller = fleet_within(
        fleet.gpus - 1, unit=unit, costs=costs, tier="hyperscaler", one_node_spare=spare
    )
    assert smaller.units < fleet.units
    assert unit.held_by(fleet.units - unit.span) - fleet.spare < replicas


@pytest.mark.parametrize("near", [1, 2, 7, 40, 300])
@pytest.mark.parametrize("needed", [1, 2, 6, 7, 8, 45, 290])
def test_the_smallest_fleet_is_found_from_any_guess(near, needed):
    tested = []

    def meets(units):
        tested.append(units)
        return units >= needed

    found = smallest_that(meets, near=near)
    if needed > 8 * near:
        assert found is None
        return
    assert needed <= found <= max(needed, 1.011 * needed)
    assert len(tested) == len(set(tested)) <= 16
    assert min(tested) >= 1


def test_a_fleet_above_one_that_misses_by_chance_counts():
    assert smallest_that(lambda units: units != 9 and units >= 8, near=9) == 10
    assert smallest_that(lambda units: units >= 3, near=2, least=4) == 4


def test_money_and_power_of_a_fleet():
    unit = buying_unit(sku=load_sku("gb200"), replica_gpus=8)
    costs = load_economics("2026-09").for_sku("gb200")
    fleet = Fleet(unit=unit, units=2, spare=0, costs=costs, tier="hyperscaler")
    assert (fleet.gpus, fleet.nodes, fleet.racks) == (144, 36, 2)
    assert fleet.usd_per_h == pytest.approx(144 * 1.86)
    assert fleet.usd_per_month == pytest.approx(144 * 1.86 * HOURS_PER_MONTH)
    assert fleet.it_mw == pytest.approx(144 * 1.87e-3)
    assert fleet.utility_mw == pytest.approx(144 * 1.87e-3 * 1.1)
    undated = load_economics("2026-04").for_sku("gb200")
    assert undated.it_kw is None
    assert meter_kw(undated) == pytest.approx(2.10)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"rate": 4.0}, "no speed is asked"),
        ({"interactivity": 50.0}, "no demand is given"),
        ({"interactivity": 50.0, "rate": 4.0, "mw": 2.0}, "rate and mw are given"),
        ({"interactivty": 50.0}, "did you mean interactivity"),
        ({"interactivity": 50.0, "rate": -1.0}, "rate is -1.0"),
        ({"interactivity": 50.0, "rate": 1.0, "sku": "b20"}, "did you mean b200"),
        ({"interactivity": 50.0, "rate": 1.0, "workload": "agentic"}, "no arrival times"),
        ({"interactivity": 50.0, "rate": 1.0, "workload": "no.jsonl"}, "does not exist"),
        ({"interactivity": 50.0, "rate": 1.0, "peak": 2.5}, "peak is 2.5"),
        ({"interactivity": 50.0, "rate": 1.0, "tier": "street"}, "tier is 'street'"),
        ({"interactivity": 50.0, "rate": 1.0, "replications": 2}, "replications is 2"),
    ],
)
def test_requests_refuse_what_makes_no_plan(flags, message):
    with pytest.raises(UserError, match=message):
        build_plan(flags=flags)


def test_a_file_and_flags_make_one_request(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("sku: [b200, gb200]\ninteractivity: 40\nrate: 9\nisl: 2048\n")
    request = build_plan(flags={"rate": 12.0, "osl": 256}, file=file)
    assert request.question.rate == 12.0
    assert request.question.interactivity == 40
    load = next(request.loads())
    assert (load.sku, load.isl, load.osl) == ("b200", 2048, 256)
    assert request.resolved["rate"] == {"value": 12.0, "origin": "flag"}
    assert request.resolved["isl"]["origin"] == f"file {file}"
    assert request.resolved["tier"]["origin"] == "default"


def test_a_plan_takes_the_lengths_of_a_benchmark():
    flags = {"sku": ("b200",), "rate": 20.0, "interactivity": 30.0}
    asked = build_plan(flags={**flags, "workload": "mlperf-llama2-70b-server"})
    (load,) = list(asked.loads())[:1]
    traffic = asked.traffic(load)
    assert (load.isl, load.osl) == (285, 289)
    assert traffic.longest_tokens == (1024, 1024)
    assert traffic.prompt_tokens == pytest.approx(285, abs=1)
    window = traffic.window(rate_per_s=20.0, share=1.0, latency_s=10.0)
    made = traffic.requests(rate_per_s=20.0, share=1.0, window=window, rng=np.random.default_rng(0))
    drawn = [request.output_tokens for request in made]
    assert np.mean(drawn) == pytest.approx(289, rel=0.06)
    assert max(drawn) > 800


def test_limits_of_a_benchmark_are_objectives_where_none_is_stated(tmp_path):
    flags = {"sku": ("b200",), "rate": 20.0, "workload": "mlperf-llama2-70b-interactive"}
    asked = build_plan(flags=flags)
    assert asked.objectives.interactivity_p99 == pytest.approx(1 / 0.040)
    assert asked.objectives.ttft_p99_s == pytest.approx(0.450)
    origin = "workload mlperf-llama2-70b-interactive"
    assert asked.resolved["ttft_p99"] == {"value": 0.45, "origin": origin}
    stated = build_plan(flags={**flags, "interactivity": 9.0, "ttft_p90": 3.0})
    assert stated.objectives.interactivity_p99 is stated.objectives.ttft_p99_s is None
    file = tmp_path / "resolved.yaml"
    file.write_text(yaml.safe_dump(dict(asked.resolved)), encoding="utf-8")
    assert build_plan(flags={}, file=file).resolved == asked.resolved
    with pytest.raises(UserError, match="no speed is asked for users"):
        build_plan(flags={**flags, "workload": "mlperf-llama2-70b"})


def test_skus_default_to_those_that_ship_and_have_a_price():
    request = build_plan(flags={"interactivity": 40.0, "rate": 1.0, "economics": "2026-04"})
    named = request.settings.values["sku"]
    assert "b200" in named
    assert "vr200" not in named  # no price before September
    request = build_plan(flags={"interactivity": 40.0, "rate": 1.0, "workload": "1k1k"})
    assert next(request.loads()).isl == 1024


def test_engines_default_to_all_that_serve_the_sku():
    request = build_plan(flags={"interactivity": 40.0, "rate": 1.0, "sku": "gb200"})
    (load,) = request.loads()
    assert load.engine is None
    assert is_open(request.settings, load)
    field = competing(request.settings, load)
    engines = {each.load.engine for each in field.competitors}
    assert {"dynamo-vllm", "dynamo-sglang"} <= engines
    assert not any("trt" in engine for engine in engines)  # nobody ran it there
    assert {each.load.spec for each in field.competitors} == {"none", "mtp"}
    assert field.message.startswith("gb200 as best deployed, of dynamo-vllm")


def test_a_named_engine_competes_alone():
    request = build_plan(flags={"sku": "gb200", "rate": 1.0, "engine": "sglang", **SLOS})
    (load,) = request.loads()
    assert not is_open(request.settings, load)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({}, "as best deployed"),
        ({"engine": ("sglang",)}, "no speculation"),
        ({"spec": ("mtp:2",)}, "mtp:2"),
    ],
)
def test_a_caption_names_the_speculation_only_where_it_is_stated(flags, named):
    request = build_plan(flags={"sku": ("b200",), "rate": 1.0, **SLOS, **flags})
    result = PlanResult(request=request, rows=(), rejected=(), messages=(), economics="2026-09")
    assert f"8192/1024, {named}, " in result.caption


def test_bursts_and_cycles_exclude_each_other():
    with pytest.raises(UserError, match="give one of the two"):
        SyntheticTraffic(isl=8, osl=8, burstiness=0.5, peak=1.5)


@pytest.mark.parametrize("rate_per_s", [0.1, 5.0, 500.0])
def test_windows_judge_enough_requests(rate_per_s):
    window = SyntheticTraffic(isl=8, osl=8).window(rate_per_s=rate_per_s, share=0.1, latency_s=20.0)
    assert window.start_s == 30.0
    judged = rate_per_s * (window.end_s - window.start_s)
    assert judged >= LEAST_JUDGED
    assert judged <= max(MANY_JUDGED, 3 * 20.0 * rate_per_s) * 1.001


def test_a_long_cycle_is_judged_at_its_peak():
    traffic = SyntheticTraffic(isl=64, osl=8, peak=1.5, period_s=86_400.0)
    window = traffic.window(rate_per_s=10.0, share=0.1, latency_s=1.0)
    assert window.end_s - window.start_s < 1_000.0
    requests = traffic.requests(
        rate_per_s=10.0, share=0.1, window=window, rng=np.random.default_rng(0)
    )
    assert len(requests) == pytest.approx(15.0 * window.stop_s, rel=0.05)
    short = SyntheticTraffic(isl=64, osl=8, peak=1.5, period_s=100.0)
    whole = short.window(rate_per_s=1.0, share=0.1, latency_s=30.0)
    assert (whole.end_s - whole.start_s) % 100.0 == pytest.approx(0.0)


def recorded(count=200, *, sessions=False):
    requests = [
        Request(
            index=index,
            prompt_tokens=100,
            output_tokens=10,
            decode_steps=9,
            arrival_s=None if sessions and index % 2 else index * 0.5,
            session=index // 2 if sessions else -1,
            turn=index % 2 if sessions else 0,
        )
        for index in range(count)
    ]
    return TraceWorkload(recorded=tuple(requests), bad_rows=(), name="trace.jsonl")


def test_a_trace_is_sped_up_and_thinned_to_a_replicas_part():
    traffic = RecordedTraffic(recorded())
    assert traffic.rate_per_s == pytest.approx(200 / 99.5)
    window = traffic.window(rate_per_s=1.0, share=0.25, latency_s=1.0)
    assert window.stop_s == pytest.approx(50.0)  # 200 requests at 4 a second
    mine = traffic.requests(rate_per_s=1.0, share=0.25, window=window, rng=np.random.default_rng(3))
    assert 30 < len(mine) < 70
    assert [request.index for request in mine] == list(range(len(mine)))
    arrivals = [request.arrival_s for request in mine]
    assert arrivals == sorted(arrivals)
    assert max(arrivals) <= 50.0


def test_conversations_of_a_trace_stay_together():
    traffic = RecordedTraffic(recorded(sessions=True))
    window = traffic.window(rate_per_s=1.0, share=0.5, latency_s=1.0)
    mine = traffic.requests(rate_per_s=1.0, share=0.5, window=window, rng=np.random.default_rng(3))
    sessions = [request.session for request in mine]
    assert all(sessions.count(session) == 2 for session in sessions)


def test_a_trace_without_times_says_no_rate():
    untimed = TraceWorkload(
        recorded=(Request(index=0, prompt_tokens=1, output_tokens=1, decode_steps=0),),
        bad_rows=(),
        name="x",
    )
    with pytest.raises(UserError, match="no arrival times"):
        RecordedTraffic(untimed)


def test_a_load_test_repeats_to_the_last_digit():
    request = build_plan(flags={"sku": "b200", "rate": 5.0, **SMALL, **QUICK, **SLOS})
    (load,) = request.loads()
    planned = PlannedLoad(request=request, load=load)
    (pools,) = candidate_deployments(
        settings=request.settings, load=load, target=resolve_target(load)
    ).deployments
    one = planned.sketch(pools)
    near = one.fastest_with(30.0)
    results = [
        load_test(
            one,
            near=near,
            traffic=planned.traffic,
            objectives=request.objectives,
            replications=3,
            replicas=2,
        ).at(3.0, share=0.5)
        for _ in range(2)
    ]
    assert results[0] == results[1]
    assert results[0].rate_per_s == 3.0


@pytest.fixture(scope="module")
def demand():
    engines = ["vllm", "atom"]  # each on its vendor's chips
    return plan(sku=["b200", "mi355x"], rate=60.0, **SMALL, **QUICK | {"engine": engines}, **SLOS)


def test_a_plan_carries_its_demand_in_whole_nodes(demand):
    assert {row.sku for row in demand.rows} == {"b200", "mi355x"}
    for row in demand.rows:
        assert row.rate_per_s == pytest.approx(60.0)
        assert row.capacity_per_s >= 60.0 * (1.0 - 1e-12)  # replicas times the rate of each
        assert row.headroom >= -1e-12
        assert row.fleet.gpus % 8 == 0
        assert row.capacity.met
        assert row.operating.interactivity >= 30.0
        assert row.operating.ttft.p90_s <= 2.0
        # one node less would not carry it
        less = row.fleet.unit.held_by(row.fleet.units - 1)
        assert less * row.capacity.rate_per_s < 60.0
        assert row.users == pytest.approx(60.0 * row.operating.e2el.mean_s)


def test_a_plan_ranks_by_cost(demand):
    costs = [row.fleet.usd_per_h for row in demand.rows]
    assert costs == sorted(costs)
    frame = demand.frame()
    assert frame["rank"].tolist() == [1, 2]
    assert frame["usd_per_month"].tolist() == pytest.approx([730 * cost for cost in costs])
    tokens_per_h = frame["tokens_per_s"] * 3600
    assert frame["usd_per_million_tokens"].tolist() == pytest.approx(
        (frame["usd_per_h"] / tokens_per_h * 1e6).tolist()
    )
    assert set(frame["economics"]) == {"2026-09"}


def test_what_would_turn_the_order_does_turn_it(demand):
    turn = break_even_of(demand)
    first, second = turn.winner, turn.runner_up
    price = second.fleet.usd_per_h * turn.price_factor
    assert price == pytest.approx(first.fleet.usd_per_h)
    # with that much more throughput the runner-up's fleet costs no more than the winner's
    for factor, dearer in ((1.001, False), (0.99, True)):
        rate = second.capacity.rate_per_s * turn.runner_up_factor * factor
        units = second.fleet.unit.holding(math.ceil(60.0 / rate))
        cost = units * second.fleet.unit.gpus * second.fleet.usd_per_h / second.fleet.gpus
        assert (cost > first.fleet.usd_per_h * 1.000001) == dearer
    if first.band is None or second.band is None:
        assert turn.is_certain is None
    else:
        inside = second.band[1] >= turn.runner_up_factor or first.band[0] <= turn.winner_factor
        assert turn.is_certain == (not inside)
    assert any("the order turns if" in line for line in advice(demand))


def closed(concurrency, rate, speed):
    return ClosedPoint(
        concurrency=concurrency, requests_per_s=rate, interactivity=speed, latency_s=1.0
    )


POINTS = (closed(1, 1.0, 100.0), closed(16, 10.0, 40.0), closed(64, 20.0, 20.0))


def banded(low, high, points=POINTS, gpus=8):
    return Sketch(
        load=None,
        pools=(SimpleNamespace(gpus=gpus),),
        points=points,
        kind="calibrated",
        level="",
        band=(low, high),
        messages=(),
    )


def test_a_slower_machine_keeps_a_speed_only_for_fewer_users():
    """All 20 % slower: R(40 / 0.8 = 50) of the curve, and 0.8 of that."""
    low, high = banded(0.8, 1.25).capacity_band(40.0)
    between = 10.0 ** (1 - math.log(50 / 40) / math.log(100 / 40))
    assert low == pytest.approx(0.8 * between / 10.0)
    assert high == pytest.approx(1.25 * 10.0 * 2 ** (math.log(40 / 32) / math.log(2)) / 10.0)
    assert low < 0.8 < 1.25 < high
    assert banded(0.5, 1.0).capacity_band(60.0)[0] == 0.0  # 120 tok/s is out of reach
    same = banded(1.0, 1.0)
    assert same.capacity_band(40.0) == pytest.approx((1.0, 1.0))
    assert same.speed_band(5.0) == pytest.approx((1.0, 1.0))
    assert banded(0.8, 1.25).speed_band(10.0)[0] < 0.8


def test_a_band_takes_the_deployment_that_is_then_best():
    """A fast deployment of four chips that carries 3 req/s at up to 200 tok/s."""
    wide = banded(0.5, 1.25)
    fast = banded(0.5, 1.25, points=(closed(1, 1.0, 200.0), closed(4, 3.0, 130.0)), gpus=4)
    low, high = wide.capacity_band(60.0, among=[fast])
    assert low == pytest.approx(0.5 * fast.rate_at(120.0) / 4 / (wide.rate_at(60.0) / 8))
    assert low > wide.capacity_band(60.0)[0] == 0.0
    assert high == wide.capacity_band(60.0)[1]


def test_a_band_of_capacity_becomes_one_of_chips(demand):
    for row in demand.rows:
        if row.band is None:
            continue
        fewest, most = row.gpus_band
        assert fewest <= row.fleet.gpus <= most
        assert (most == math.inf) == (row.band[0] == 0.0)


def test_a_plan_prints_and_exports(demand, capsys, tmp_path):
    print_plan(demand, directory=tmp_path)
    text = capsys.readouterr().out
    assert "best:" in text
    assert "runner-up:" in text
    assert "simulated" in text
    summary = json.loads(json.dumps(summary_of(demand)))
    assert summary["rows"][0]["rank"] == 1
    assert len(demand.load_tests()) > 6
    demand.plot(tmp_path / "plan.png")
    assert (tmp_path / "plan.png").stat().st_size > 10_000


def test_a_spare_node_is_added(demand):
    spare = plan(sku="b200", rate=60.0, spare=True, **SMALL, **QUICK, **SLOS)
    (row,) = spare.rows
    base = next(each for each in demand.rows if each.sku == "b200")
    assert row.fleet.spare == 1
    assert row.fleet.nodes == base.fleet.nodes + 1
    assert row.rate_per_s == pytest.approx(60.0)


def test_a_power_budget_is_used_up_and_kept():
    result = plan(sku="b200", mw=0.1, **SMALL, **QUICK, **SLOS)
    (row,) = result.rows
    each = row.fleet.utility_mw / row.fleet.units
    assert row.fleet.utility_mw <= 0.1 < row.fleet.utility_mw + each
    assert row.headroom == pytest.approx(0.0)
    assert row.rate_per_s == pytest.approx(row.fleet.replicas * row.capacity.rate_per_s)


def test_users_and_their_pauses_follow_littles_law():
    result = plan(sku="b200", users=100.0, think=5.0, **SMALL, **QUICK, **SLOS)
    (row,) = result.rows
    assert row.users == pytest.approx(100.0, rel=0.02)
    assert row.rate_per_s == pytest.approx(100.0 / (row.operating.e2el.mean_s + 5.0), rel=0.02)


def test_the_fastest_service_within_a_price():
    cheap, dear = (
        plan(sku="b200", max_cost=cost, ttft_p90=5.0, **SMALL, **QUICK).rows[0]
        for cost in (2.0, 6.0)
    )
    for row, cost in ((cheap, 2.0), (dear, 6.0)):
        assert row.usd_per_million_tokens == pytest.approx(cost, rel=0.03)
    assert dear.operating.interactivity > cheap.operating.interactivity


def test_what_cannot_be_is_rejected_with_its_reason(capsys):
    result = plan(sku=["b200", "h100"], rate=1.0, interactivity=3000.0, isl=1024, osl=64)
    assert result.rows == ()
    reasons = {(each.sku, each.status) for each in result.rejected}
    assert ("h100", "does_not_fit") in reasons
    assert ("b200", "misses") in reasons
    print_plan(result)
    assert "nothing can do it" in capsys.readouterr().out
    assert break_even_of(result) is None


def test_a_dear_fleet_is_rejected():
    result = plan(sku="b200", rate=5.0, max_cost=0.001, **SMALL, **QUICK, **SLOS)
    assert result.rows == ()
    assert "are needed to pay" in result.rejected[-1].reason
    assert result.load_tests().empty


def test_break_evens_of_budgets_are_ratios():
    row = SimpleNamespace(
        sku="a", rate_per_s=30.0, band=(0.9, 1.05), operating=SimpleNamespace(interactivity=9.0)
    )
    other = SimpleNamespace(
        sku="b", rate_per_s=20.0, band=(0.8, 1.2), operating=SimpleNamespace(interactivity=6.0)
    )
    asked = SimpleNamespace(rate=None, users=None, mw=1.0, fleet_gpus=None)
    result = SimpleNamespace(best=(row, other), request=SimpleNamespace(question=asked))
    turn = break_even_of(result)
    assert turn.runner_up_factor == pytest.approx(1.5)
    assert turn.winner_factor == pytest.approx(1 / 1.5)
    assert turn.is_certain  # neither 1.2 nor 0.9 reaches so far
    other.band = (0.8, 1.6)
    assert not break_even_of(result).is_certain


def test_the_command_writes_its_files(tmp_path, capsys):
    line = (
        "plan --skus b200 --rate 20 --interactivity 30 --ttft-p90 2 --isl 1024 --osl 64 --tp 8 "
        "--ep 8 --no-dp-attention --engine vllm --replications 3 --json --scenario"
    )
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("concurrency: [4, 16, 64]")
    out = tmp_path / "plan"
    assert run([*line.split(), str(scenario), "--out", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"][0]["sku"] == "b200"
    names = {file.name for file in out.iterdir()}
    assert names == {
        "plan.csv",
        "rejected.csv",
        "load_tests.csv",
        "plan.png",
        "resolved.yaml",
        "summary.json",
    }
    resolved = yaml.safe_load((out / "resolved.yaml").read_text())
    assert resolved["rate"] == {"value": 20.0, "origin": "flag"}
    assert resolved["economics"]["value"] == "2026-09"


def test_the_command_says_what_is_wrong_in_a_line(tmp_path, capsys):
    out = tmp_path / "plan"
    assert run(["plan", "--interactivity", "50", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no demand is given")
    assert error.count("\n") == 1
    assert not out.exists()
