"""The planner keeps points in order and ends a sweep where more clients gain nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from simulator.analysis.objectives import Objectives
from simulator.analysis.pareto import frontier_indices
from simulator.engines.pools import PoolLayout
from simulator.prediction.bottleneck import KV_CAPACITY
from simulator.scenario.settings import build_scenario
from simulator.scenario.target import resolve_target
from simulator.studies.sweep import side_by_side
from simulator.studies.sweep.planner import PointPlanner, SweepProgress
from simulator.studies.sweep.points import ConcurrencySweep
from simulator.studies.sweep.side_by_side import run_side_by_side
from workloads.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT = (1, 2, 4, 8, 16)
LONG = (64, 128, 256, 512, 1024)


def cells(
    rate: float | None,
    *,
    bottleneck: str = "compute",
    speed: float = 1.0,
    kv_fill: float = 0.0,
    ttft_s: float = 0.1,
) -> dict[str, Any]:
    """A point with this throughput, or one that memory refuses."""
    if rate is None:
        return {"status": "does_not_fit", "reason": "too large"}
    return {
        "status": "ok",
        "total_tput_per_gpu": rate,
        "interactivity": speed,
        "p90_ttft_s": ttft_s,
        "bottleneck": bottleneck,
        "kv_fill": kv_fill,
    }


def sweep_of(concurrencies: Sequence[int], *, stated: bool = False) -> Any:
    return SimpleNamespace(
        concurrencies=tuple(concurrencies),
        load=SimpleNamespace(concurrency=tuple(concurrencies) if stated else None),
        pools=(PoolLayout(layout=Layout(tp=8)),),
        gpus=8,
        label="TP8",
    )


def progress(*, stated: bool = False) -> SweepProgress:
    return SweepProgress(sweep=sweep_of(SHORT, stated=stated))


def test_points_beyond_the_first_missing_one_are_not_told() -> None:
    sweep = progress()
    sweep.take(1, cells(1.0))
    sweep.take(4, cells(4.0))
    assert list(sweep.known) == [1]
    sweep.take(2, cells(2.0))
    assert list(sweep.known) == [1, 2, 4]


def test_points_beyond_the_end_are_dropped_whichever_came_first() -> None:
    rates = {1: 1.0, 2: 2.0, 4: 2.001, 8: 2.002, 16: 9.0}
    told = []
    for order in (SHORT, SHORT[::-1]):
        sweep = progress()
        for concurrency in order:
            sweep.take(concurrency, cells(rates[concurrency]))
        told.append(list(sweep.known))
        assert not sweep.wants(16)
    assert told == [[1, 2, 4, 8], [1, 2, 4, 8]]


def test_a_full_kv_pool_ends_a_sweep_but_not_a_stated_list() -> None:
    for stated, last in ((False, 2), (True, 16)):
        sweep = progress(stated=stated)
        for concurrency in SHORT:
            if sweep.wants(concurrency):
                full = KV_CAPACITY if concurrency >= 2 else "compute"
                sweep.take(concurrency, cells(float(concurrency), bottleneck=full))
        assert list(sweep.known)[-1] == last


def test_a_pool_that_is_nearly_full_ends_a_sweep() -> None:
    sweep = progress()
    sweep.take(1, cells(1.0, kv_fill=0.89))
    assert sweep.wants(2)
    sweep.take(2, cells(2.0, kv_fill=0.91))
    assert not sweep.wants(4)


def test_memory_that_refuses_ends_a_sweep_and_a_defect_does_not() -> None:
    refused, broken = progress(), progress()
    refused.take(1, cells(None))
    broken.take(1, {"status": "failed", "reason": "ZeroDivisionError"})
    assert refused.wanted() == ()
    assert broken.wanted() == (2, 4, 8, 16)
    stated = progress(stated=True)
    stated.take(1, cells(None))
    assert stated.wanted() == (2, 4, 8, 16)


def planned(
    *,
    slow: list[float],
    fast: list[float],
    stated: bool = False,
    speed: float = 1.0,
    ttft_s: float = 0.1,
    ttft_p90_s: float | None = None,
    prunes: bool = True,
) -> tuple[PointPlanner, SweepProgress, SweepProgress]:
    """A slow layout and a fast one whose clients have twice the speed, up to some points."""
    sweeps = [sweep_of(LONG, stated=stated) for _ in range(2)]
    planner = PointPlanner(sweeps, limits=Objectives(ttft_p90_s=ttft_p90_s), prunes=prunes)
    one, other = planner.sweeps
    planner.take(one, dict(zip(LONG, (cells(r, speed=speed) for r in slow), strict=False)))
    rates = (cells(r, speed=2.0, ttft_s=ttft_s) for r in fast)
    planner.take(other, dict(zip(LONG, rates, strict=False)))
    return planner, one, other


def test_a_layout_ends_where_nothing_it_could_reach_is_on_the_frontier() -> None:
    """Two doublings gained 4 times, two more and 5 % slack would make 16.8 of the slow one's 4."""
    slow, fast = [1.0, 2.0, 4.0], [4.0, 8.0, 12.0]
    _, one, other = planned(slow=slow, fast=[*fast, 16.9])
    assert not one.wants(512)
    assert other.wants(1024)
    _, one, _ = planned(slow=slow, fast=[*fast, 16.7])
    assert one.wants(512)
    for kept in ({"stated": True}, {"prunes": False}):
        _, one, _ = planned(slow=slow, fast=[*fast, 16.9], **kept)
        assert one.wants(512)


def test_points_beyond_the_ttft_limit_end_no_other_layout() -> None:
    _, one, _ = planned(
        slow=[1.0, 2.0, 4.0], fast=[4.0, 8.0, 12.0, 16.9], ttft_s=2.0, ttft_p90_s=1.0
    )
    assert one.wants(512)


def test_one_weak_doubling_does_not_end_a_layout() -> None:
    """Ranks that wait for each other may gain nothing once: 4 times still, of both together."""
    _, one, _ = planned(slow=[1.0, 4.0, 4.0], fast=[4.0, 8.0, 12.0, 16.7])
    assert one.wants(512)


def test_a_layout_goes_on_while_its_clients_may_be_faster_than_those_who_gain_more() -> None:
    """At 4 tok/s/user of the fast one's 2 the slow one is on the frontier whatever it gains."""
    slow, fast = [1.0, 1.1, 1.2], [4.0, 8.0, 12.0, 16.9]
    assert not planned(slow=slow, fast=fast)[1].wants(512)
    assert planned(slow=slow, fast=fast, speed=4.0)[1].wants(512)


def test_few_clients_end_no_layout() -> None:
    planner = PointPlanner([sweep_of(SHORT), sweep_of(SHORT)])
    for sweep, rate in zip(planner.sweeps, (1.0, 1000.0), strict=True):
        planner.take(sweep, {c: cells(rate * c**0.1) for c in SHORT[:-1]})
    assert planner.sweeps[0].wants(16)


def test_a_layout_is_not_ended_by_points_beyond_its_next() -> None:
    """Else the points told would depend on which were simulated first."""
    _, one, _ = planned(slow=[1.0, 2.0, 4.0], fast=[4.0, 8.0, 12.0, 12.5, 200.0])
    assert one.wants(512)


def test_a_long_run_waits_until_the_layout_of_most_throughput_has_gone_first() -> None:
    planner, one, other = planned(slow=[1.0, 2.0, 4.0], fast=[4.0, 8.0, 12.0])
    assert planner.next_point(busy=[], processes=1) == (other, 512)
    assert planner.next_point(busy=[(other, 512)], processes=1) is None
    assert planner.next_point(busy=[(other, 512)], processes=2) == (one, 512)
    assert [(s, seg.concurrencies) for s, seg in planner.segments()] == [(other, (512,))]
    planner.take(other, {512: cells(12.5, speed=2.0)})
    assert planner.next_point(busy=[], processes=1) == (one, 512)
    assert [(s, seg.concurrencies) for s, seg in planner.segments()] == [(one, (512,))]


def test_the_first_segment_holds_all_points_that_nothing_can_end_from_outside() -> None:
    planner = PointPlanner([sweep_of(LONG), sweep_of(LONG)])
    found = [segment.concurrencies for _, segment in planner.segments()]
    assert found == [(64, 128, 256)] * 2
    planner = PointPlanner([sweep_of(LONG, stated=True)])
    ((_, segment),) = planner.segments()
    assert segment.concurrencies == LONG
    assert not segment.is_open


DOUBLING = tuple(1 << power for power in range(12))


def invented(rng: np.random.Generator, *, sweeps: int) -> list[dict[int, dict[str, Any]]]:
    """Throughput over clients of some layouts, each with its own saturation and top."""
    found = []
    for top, half in zip(rng.uniform(1e3, 9e3, sweeps), rng.uniform(30, 900, sweeps), strict=True):
        rates = [top * c / (c + half) for c in DOUBLING]
        found.append({c: cells(r, speed=9 * r / c) for c, r in zip(DOUBLING, rates, strict=True)})
    return found


@pytest.mark.parametrize("seed", range(5))
def test_points_do_not_depend_on_who_runs_them_and_in_which_order(seed: int) -> None:
    """Rounds of segments, as a sweep runs them, and single points, as a curve does."""
    rng = np.random.default_rng(seed)
    runs = invented(rng, sweeps=6)
    ends = []
    for processes in (0, 1, 2, 8):
        planner = PointPlanner([sweep_of(DOUBLING) for _ in runs])
        known = dict(zip(planner.sweeps, runs, strict=True))
        if processes == 0:
            while ready := list(planner.segments()):
                for sweep, segment in ready:
                    planner.take(sweep, {c: known[sweep][c] for c in segment.concurrencies})
        busy: list[tuple[SweepProgress, int]] = []
        while processes:
            while len(busy) < processes and (
                task := planner.next_point(busy=busy, processes=processes)
            ):
                busy.append(task)
            if not busy:
                break
            sweep, concurrency = busy.pop(int(rng.integers(len(busy))))
            planner.take(sweep, {concurrency: known[sweep][concurrency]})
        ends.append([list(each.known) for each in planner.sweeps])
        assert planner.points()[0] == planner.points()[1]
    assert ends[0] == ends[1] == ends[2] == ends[3]
    assert sum(map(len, ends[0])) < len(runs) * len(DOUBLING)


def asked(**flags: Any) -> list[ConcurrencySweep]:
    source = build_scenario(flags={"sku": "mi355x", "engine": "sglang", **flags})
    target = resolve_target(source.scenario)
    layouts = (Layout(tp=8, ep=8), Layout(tp=8, ep=8, dp_attention=True))
    return [
        ConcurrencySweep(load=source.scenario, target=target, pools=(PoolLayout(layout=each),))
        for each in layouts
    ]


@pytest.mark.slow
def test_layouts_that_end_early_leave_the_frontier_as_it_is() -> None:
    found = []
    for prunes in (True, False):
        told = run_side_by_side(PointPlanner(asked(isl=1024, osl=64), prunes=prunes))
        runs = [point.cells for points in told.values() for point in points.values()]
        xy = [(run["interactivity"], run["total_tput_per_gpu"]) for run in runs]
        best = frontier_indices(*zip(*xy, strict=True))
        found.append(({xy[i] for i in best}, len(xy)))
    (cut, few), (whole, many) = found
    assert cut == whole
    assert few < many


def test_processes_give_the_points_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = asked(concurrency=(4, 1, 32), isl=512, osl=64)
    outcomes = []
    for long in (1, 1000):
        monkeypatch.setattr(side_by_side, "LONG", long)
        told = run_side_by_side(PointPlanner(sweeps))
        outcomes.append([[(c, p.cells) for c, p in points.items()] for points in told.values()])
    assert outcomes[0] == outcomes[1]
    assert [concurrency for concurrency, _ in outcomes[0][0]] == [4, 1, 32]


def test_no_layout_gives_no_points() -> None:
    assert run_side_by_side(PointPlanner(cast("Any", []))) == {}
