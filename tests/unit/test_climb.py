"""A climb keeps its rungs in order and ends where more clients gain nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from simulator.prediction.bottleneck import KV_CAPACITY
from simulator.scenario.settings import build_scenario
from simulator.studies.curve import climb as climbing
from simulator.studies.curve.climb import Climb, Rung, climb_layouts
from simulator.studies.curve.stopping import end_dominated
from workloads.layout import Layout

if TYPE_CHECKING:
    import pytest

LADDER = (1, 2, 4, 8, 16)


def rung(
    rate: float | None,
    *,
    bottleneck: str = "compute",
    speed: float = 1.0,
    kv_fill: float = 0.0,
) -> Rung:
    """A rung with this throughput, or one that memory refuses."""
    run = None
    if rate is not None:
        run = SimpleNamespace(
            metrics=SimpleNamespace(total_tput_per_gpu=rate, interactivity=speed),
            bottleneck=bottleneck,
            kv_fill=kv_fill,
        )
    return Rung(
        run=cast("Any", run),
        refusal="" if run else "too large",
        messages=[],
        settings={},
        software_name="",
    )


def climb_of(scenario: Any) -> Climb:
    return Climb(scenario=scenario, target=cast("Any", None), layout=Layout(tp=8), ladder=LADDER)


OPEN = SimpleNamespace(concurrency=None)
STATED = SimpleNamespace(concurrency=LADDER)


def test_rungs_beyond_the_first_missing_one_are_not_told() -> None:
    climb = climb_of(OPEN)
    climb.take(1, rung(1.0))
    climb.take(4, rung(4.0))
    assert [concurrency for concurrency, _ in climb.runs] == [1]
    climb.take(2, rung(2.0))
    assert [concurrency for concurrency, _ in climb.runs] == [1, 2, 4]


def test_rungs_beyond_the_end_are_dropped_whichever_came_first() -> None:
    rates = {1: 1.0, 2: 2.0, 4: 2.001, 8: 2.002, 16: 9.0}
    told = []
    for order in (LADDER, LADDER[::-1]):
        climb = climb_of(OPEN)
        for concurrency in order:
            climb.take(concurrency, rung(rates[concurrency]))
        told.append([concurrency for concurrency, _ in climb.runs])
        assert not climb.wants(16)
    assert told == [[1, 2, 4, 8], [1, 2, 4, 8]]


def test_a_full_kv_pool_ends_a_climb_but_not_a_stated_list() -> None:
    for scenario, last in ((OPEN, 2), (STATED, 16)):
        climb = climb_of(scenario)
        for concurrency in LADDER:
            if climb.wants(concurrency):
                full = KV_CAPACITY if concurrency >= 2 else "compute"
                climb.take(concurrency, rung(float(concurrency), bottleneck=full))
        assert climb.runs[-1][0] == last


def test_a_pool_that_is_nearly_full_ends_a_climb() -> None:
    climb = climb_of(OPEN)
    climb.take(1, rung(1.0, kv_fill=0.89))
    assert climb.wants(2)
    climb.take(2, rung(2.0, kv_fill=0.91))
    assert not climb.wants(4)


LONG = (64, 128, 256, 512, 1024)


def climbed(scenario: Any, *, slow: list[float], fast: list[float]) -> list[Climb]:
    """A slow layout and a fast one whose clients have twice the speed, up to some rungs."""
    climbs = [
        Climb(scenario=scenario, target=cast("Any", None), layout=Layout(tp=8), ladder=LONG)
        for _ in range(2)
    ]
    for climb, rates, speed in zip(climbs, (slow, fast), (1.0, 2.0), strict=True):
        for concurrency, rate in zip(LONG, rates, strict=False):
            climb.take(concurrency, rung(rate, speed=speed))
    end_dominated(climbs)
    return climbs


def test_a_layout_ends_where_nothing_it_could_reach_is_on_the_frontier() -> None:
    """Two doublings gained 4 times, two more and 5 % slack would make 16.8 of the slow one's 4."""
    slow, fast = [1.0, 2.0, 4.0], [4.0, 8.0, 12.0]
    one, other = climbed(OPEN, slow=slow, fast=[*fast, 16.9])
    assert not one.wants(512)
    assert other.wants(1024)
    one, _ = climbed(OPEN, slow=slow, fast=[*fast, 16.7])
    assert one.wants(512)
    one, _ = climbed(STATED, slow=slow, fast=[*fast, 16.9])
    assert one.wants(512)


def test_one_weak_doubling_does_not_end_a_layout() -> None:
    """Ranks that wait for each other may gain nothing once: 4 times still, of both together."""
    one, _ = climbed(OPEN, slow=[1.0, 4.0, 4.0], fast=[4.0, 8.0, 12.0, 16.7])
    assert one.wants(512)


def test_a_layout_goes_on_while_its_clients_may_be_faster_than_those_who_gain_more() -> None:
    """At 4 tok/s/user of the fast one's 2 the slow one is on the frontier whatever it gains."""
    climbs = climbed(OPEN, slow=[1.0, 1.1, 1.2], fast=[4.0, 8.0, 12.0, 16.9])
    assert not climbs[0].wants(512)
    climbs = climbed(OPEN, slow=[], fast=[4.0, 8.0, 12.0, 16.9])
    for concurrency, rate in zip(LONG, (1.0, 1.1, 1.2), strict=False):
        climbs[0].take(concurrency, rung(rate, speed=4.0))
    end_dominated(climbs)
    assert climbs[0].wants(512)


def test_few_clients_end_no_layout() -> None:
    climbs = [climb_of(OPEN), climb_of(OPEN)]
    for climb, rate in zip(climbs, (1.0, 1000.0), strict=True):
        for concurrency in LADDER[:-1]:
            climb.take(concurrency, rung(rate * concurrency**0.1))
    end_dominated(climbs)
    assert climbs[0].wants(16)


def test_a_layout_is_not_ended_by_points_beyond_its_next() -> None:
    """Else the points told would depend on which were simulated first."""
    one, _ = climbed(OPEN, slow=[1.0, 2.0, 4.0], fast=[4.0, 8.0, 12.0, 12.5, 200.0])
    assert one.wants(512)


def test_layouts_that_end_early_leave_the_frontier_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from simulator.analysis.pareto import frontier_indices
    from simulator.scenario.target import resolve_target

    source = build_scenario(flags={"sku": "mi355x", "isl": 1024, "osl": 64})
    target = resolve_target(source.scenario)
    layouts = [Layout(tp=8), Layout(tp=8, ep=8, dp_attention=True)]

    def climb() -> tuple[set[tuple[float, float]], int]:
        climbs = climb_layouts(scenario=source.scenario, target=target, layouts=layouts)
        metrics = [run.metrics for each in climbs for _, run in each.runs]
        points = [(each.interactivity, each.total_tput_per_gpu) for each in metrics]
        speeds, rates = zip(*points, strict=True)
        return {points[i] for i in frontier_indices(speeds, rates)}, len(points)

    cut, few = climb()
    monkeypatch.setattr(climbing, "end_dominated", lambda climbs: None)
    whole, many = climb()
    assert cut == whole
    assert few < many


def test_a_layout_that_never_fits_is_refused_and_one_that_once_fitted_is_not() -> None:
    never, once = climb_of(OPEN), climb_of(OPEN)
    never.take(1, rung(None))
    once.take(1, rung(1.0))
    once.take(2, rung(None))
    assert never.refusal == "too large"
    assert never.runs == []
    assert once.refusal == ""
    assert not once.wants(4)


def test_processes_give_the_points_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    source = build_scenario(
        flags={"sku": "mi355x", "ep": 8, "concurrency": (4, 1, 32), "isl": 512, "osl": 64}
    )
    from simulator.scenario.target import resolve_target

    target = resolve_target(source.scenario)
    layouts = [Layout(tp=8, ep=8), Layout(tp=8, ep=8, dp_attention=True)]
    outcomes = []
    for worth in (1, 1000):
        monkeypatch.setattr(climbing, "WORTH_FORKING", worth)
        climbs = climb_layouts(scenario=source.scenario, target=target, layouts=layouts)
        outcomes.append([[(c, run.metrics) for c, run in climb.runs] for climb in climbs])
    assert outcomes[0] == outcomes[1]
    assert [concurrency for concurrency, _ in outcomes[0][0]] == [4, 1, 32]


def test_a_long_run_waits_until_the_most_promising_layout_has_gone_first() -> None:
    one, other = climbs = climbed(OPEN, slow=[1.0, 2.0, 4.0], fast=[4.0, 8.0, 12.0])
    assert climbing._next_point(climbs, busy=[], processes=1) == (other, 512)
    assert climbing._next_point(climbs, busy=[(other, 512)], processes=1) is None
    assert climbing._next_point(climbs, busy=[(other, 512)], processes=2) == (one, 512)
    other.take(512, rung(12.5, speed=2.0))
    end_dominated(climbs)
    assert climbing._next_point(climbs, busy=[], processes=1) == (one, 512)


def test_no_layout_gives_no_climb() -> None:
    scenario = build_scenario(flags={"sku": "b200"}).scenario
    assert climb_layouts(scenario=scenario, target=cast("Any", None), layouts=[]) == []
