"""Which points of competing deployments are run: estimates first, then what runs show."""

from math import inf

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.analysis.objectives import NO_LIMIT, Objectives
from simulator.analysis.pareto import frontier_indices
from simulator.prediction.steady import SteadyState
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings import build_scenario
from simulator.studies.concurrency import FULL
from simulator.studies.curve.run import explore_curve
from simulator.studies.sweep.choosing import Choice, Point
from simulator.studies.sweep.chosen import ChosenPoints, estimated
from simulator.studies.sweep.deployments import plan_sweep
from simulator.studies.sweep.run import run_sweep

LIMITS = Objectives(ttft_p90_s=10.0)
CLIENTS = (1, 4, 16, 64, 256, 1024)
MORE_CLIENTS = (*CLIENTS, 512, 2048, 4096)


def served(*, alone, most, wait_s=0.3, limit_s=inf, clients=CLIENTS):
    """A deployment whose throughput saturates and whose speed falls as 1 / (1 + n / most)."""
    return {
        n: Point(
            interactivity=alone / (1 + n / most),
            tput=10 * alone * n / (1 + n / most),
            slo_use=wait_s * (1 + n / most) / limit_s,
        )
        for n in clients
    }


def chosen(truth, guesses, **settings):
    choice = Choice(estimates=guesses, **settings)
    while points := choice.next_points():
        for name, concurrency in points:
            assert (name, concurrency) not in choice.shown
            choice.shown[name, concurrency] = truth[name][concurrency]
    return choice.shown


def frontier(points):
    allowed = [point for point in points if point.slo_use <= 1]
    best = frontier_indices([p.interactivity for p in allowed], [p.tput for p in allowed])
    return {(allowed[i].interactivity, allowed[i].tput) for i in best}


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(
        st.tuples(st.floats(10, 200), st.floats(2, 500), st.floats(0.86, 1.2), st.floats(0.9, 1.1)),
        min_size=2,
        max_size=8,
    ),
    limit_s=st.sampled_from([inf, 2.0]),
)
def test_what_estimates_miss_by_a_seventh_is_still_found(shapes, limit_s):
    """Estimates err by -14 to +20 %: nothing that is left out beats the frontier by 15 %."""
    truth = {
        n: served(alone=alone, most=most, limit_s=limit_s)
        for n, (alone, most, *_) in enumerate(shapes)
    }
    guesses = {
        n: {
            c: Point(interactivity=p.interactivity * x, tput=p.tput * y, slo_use=p.slo_use)
            for c, p in truth[n].items()
        }
        for n, (_, _, y, x) in enumerate(shapes)
    }
    shown = chosen(truth, guesses)
    every = [p for points in truth.values() for p in points.values() if p.slo_use <= 1]
    found = [p for p in shown.values() if p.slo_use <= 1]
    for point in every:
        assert any(
            p.interactivity >= point.interactivity / 1.15 and p.tput >= point.tput / 1.15
            for p in found
        )


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(
        st.tuples(st.floats(10, 200), st.floats(2, 500), st.floats(0.94, 3.3)),
        min_size=2,
        max_size=8,
    )
)
def test_estimates_far_too_high_hide_nothing(shapes):
    """Of vLLM's lockstep ranks mean values are up to 3.3 times too high, and never far too low."""
    truth = {n: served(alone=alone, most=most) for n, (alone, most, _) in enumerate(shapes)}
    guesses = {
        n: {
            c: Point(interactivity=p.interactivity, tput=p.tput * y, slo_use=p.slo_use)
            for c, p in truth[n].items()
        }
        for n, (_, _, y) in enumerate(shapes)
    }
    found = list(chosen(truth, guesses).values())
    for points in truth.values():
        for point in points.values():
            assert any(
                p.interactivity >= point.interactivity / 1.15 and p.tput >= point.tput / 1.15
                for p in found
            )


@settings(max_examples=60, deadline=None)
@given(
    shapes=st.lists(
        st.tuples(st.floats(10, 200), st.floats(2, 5000), st.floats(0.95, 1.05)),
        min_size=2,
        max_size=8,
    ),
    alike=st.floats(1.0, 1.2),
)
def test_pools_whose_estimates_err_alike_need_fewer_runs(shapes, alike):
    """Estimates of pools err by 0 to 20 % together and by 5 % each: a tenth is found, for less."""
    truth = {
        n: served(alone=alone, most=most, clients=MORE_CLIENTS)
        for n, (alone, most, _) in enumerate(shapes)
    }
    guesses = {
        n: {
            c: Point(interactivity=p.interactivity, tput=p.tput * alike * y, slo_use=p.slo_use)
            for c, p in truth[n].items()
        }
        for n, (_, _, y) in enumerate(shapes)
    }
    shown = chosen(truth, guesses, pooled=frozenset(truth))
    for points in truth.values():
        for point in points.values():
            assert any(
                p.interactivity >= point.interactivity / 1.1 and p.tput >= point.tput / 1.1
                for p in shown.values()
            )
    assert sum(c >= 512 for _, c in shown) <= sum(c >= 512 for _, c in chosen(truth, guesses))


def test_runs_of_some_pools_correct_the_guess_of_others():
    """A guess a tenth too high is no reason for a run where that of others was as much too high."""
    first = {
        c: Point(interactivity=50.0 - c / 100, tput=tput) for c, tput in ((256, 900), (512, 1100))
    }
    behind = {512: Point(interactivity=44.0, tput=1040)}  # 0.945 times 1100, and 0.86 corrected
    ran = {c: Point(interactivity=p.interactivity, tput=p.tput / 1.1) for c, p in first.items()}
    for pooled, wanted in ((frozenset(), [("behind", 512)]), (frozenset({"first", "behind"}), [])):
        choice = Choice(estimates={"first": first, "behind": behind}, pooled=pooled)
        choice.shown |= {("first", c): point for c, point in ran.items()}
        assert choice.next_points() == wanted


def test_exact_estimates_find_the_very_frontier_with_fewer_runs():
    truth = {n: served(alone=50 + 10 * n, most=400 / (n + 1)) for n in range(12)}
    shown = chosen(truth, truth)
    every = [point for points in truth.values() for point in points.values()]
    assert frontier(shown.values()) == frontier(every)
    assert len(shown) < len(every) / 2


def test_a_run_beyond_the_limit_does_not_hide_what_is_within_it():
    slow = served(alone=100, most=1000, wait_s=50.0, limit_s=2.0)
    fast = served(alone=80, most=500, limit_s=2.0)
    hoped = served(alone=100, most=1000, limit_s=2.0)
    shown = chosen({"slow": slow, "fast": fast}, {"slow": hoped, "fast": fast})
    assert any(name == "fast" for name, _ in shown)
    assert frontier(shown.values()) == frontier(fast.values())


def test_points_that_cannot_run_are_passed_over():
    truth = {"a": served(alone=50, most=64), "b": dict.fromkeys(CLIENTS)}
    shown = chosen(truth, {"a": truth["a"], "b": served(alone=60, most=64)})
    assert frontier([p for p in shown.values() if p]) == frontier(truth["a"].values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        {"sku": "b200", "engine": "vllm", "isl": 1024, "osl": 256},
        {"sku": "gb200", "engine": "dynamo-vllm", "isl": 8192, "osl": 256},
        {"sku": "mi355x", "isl": 4096, "osl": 256},
    ],
    ids=["one engine", "pools", "as best deployed"],
)
def test_chosen_points_leave_the_frontier_as_it_is(asked):
    """Against a sweep of everything: no point of its frontier is missed by more than 5 %.

    Which points run to their end does not depend on the number of processes.
    """
    built = build_sweep(flags=asked)
    few = run_sweep(built, as_deployed=True, limits=LIMITS)
    alone = run_sweep(built, as_deployed=True, limits=LIMITS, workers=1)
    pd.testing.assert_frame_equal(few.runs, alone.runs, check_exact=True)
    every = run_sweep(built, as_deployed=True, limits=LIMITS, prunes=False)
    assert len(few.runs) < 0.5 * len(every.runs)
    columns = ["interactivity", "total_tput_per_gpu"]
    found = few.runs.loc[few.runs["meets_limits"], columns].to_numpy()
    within = every.runs[every.runs["meets_limits"]]
    for speed, rate in within[columns].to_numpy():
        near = (found[:, 0] >= speed / 1.05) & (found[:, 1] >= rate / 1.05)
        assert near.any(), (speed, rate)


@pytest.mark.slow
@pytest.mark.parametrize("limits", [LIMITS, NO_LIMIT], ids=["a TTFT limit", "any TTFT"])
def test_a_curve_of_chosen_points_is_that_of_all(limits):
    """No frontier point of `every` is missed by more than 5 %; points that run are the same."""
    source = build_scenario(flags={"sku": "b200", "engine": "vllm", "isl": 1024, "osl": 1024})
    few = explore_curve(source, limits=limits, keep_records=False)
    every = explore_curve(source, limits=limits, every=True, keep_records=False)
    assert len(few.points) < 0.7 * len(every.points)
    assert few.left_out > 0 == every.left_out
    assert {each.label for each in few.refused} == {each.label for each in every.refused}
    place = ("label", "concurrency")
    known = {tuple(point[name] for name in place): point for point in every.points}
    for point in few.points:
        same = known[tuple(point[name] for name in place)]
        assert {**same, "on_frontier": None} == {**point, "on_frontier": None}
    for point in every.frontier:
        assert any(
            one["interactivity"] >= point["interactivity"] / 1.05
            and one["total_tput_per_gpu"] >= point["total_tput_per_gpu"] / 1.05
            for one in few.frontier
        )


def test_many_clients_wait_for_fewer_where_a_limit_is_set():
    """1,024 clients run after 512, none once fewer have waited too long."""
    clients = (512, 1024)

    def rising(slo_use):
        return {c: Point(interactivity=5e4 / c, tput=c, slo_use=slo_use) for c in clients}

    choice = Choice(estimates={"one": rising(0.1)})
    shown = rising(0.6)
    assert choice.next_points() == [("one", 512)]
    choice.shown["one", 512] = shown[512]
    assert choice.next_points() == [("one", 1024)]
    choice.shown["one", 512] = Point(interactivity=1e2, tput=512, slo_use=1.1)
    assert choice.next_points() == []
    assert len(Choice(estimates={"one": rising(0.0)}).next_points()) == 2


def test_nothing_more_is_run_where_two_doublings_gained_nothing():
    flat = {c: Point(interactivity=1e3 / c, tput=100.0) for c in (1, 4, 16)}
    choice = Choice(estimates={"one": flat}, shown={("one", c): flat[c] for c in (1, 4)})
    assert choice.next_points() == []
    choice.shown["one", 4] = Point(interactivity=250.0, tput=102.0)
    assert choice.next_points() == [("one", 16)]


def test_estimates_of_powers_of_two_end_with_the_memory():
    """A sweep over powers of two ends with the first point whose KV pool is nine tenths full."""
    flags = {"sku": "a100", "model": "llama-3.x-70b", "engine": "vllm", "tp": 2, "isl": 4096}
    full = estimated(_only(flags | {"osl": 64}))
    stated = estimated(_only(flags | {"osl": 64, "concurrency": (1, 64)}))
    assert max(full) < 64
    assert full[max(full)].kv_fill > FULL
    assert all(mean.kv_fill <= FULL for c, mean in full.items() if c < max(full))
    assert set(stated) == {1, 64}


def _only(flags):
    (sweep,) = plan_sweep(build_sweep(flags=flags)).sweeps
    return sweep


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(
        st.tuples(
            st.floats(10, 200), st.floats(2, 500), st.floats(0.9, 1.1), st.floats(0.95, 1.05)
        ),
        min_size=2,
        max_size=8,
    ),
    followed=st.sampled_from(CLIENTS),
)
def test_the_best_at_a_followed_concurrency_runs_wherever_it_stands(shapes, followed) -> None:
    """Estimates err by a tenth: what runs there is short of the best by no more than that."""
    truth = {n: served(alone=alone, most=most) for n, (alone, most, *_) in enumerate(shapes)}
    guesses = {
        n: {
            c: Point(interactivity=p.interactivity * tilt, tput=p.tput * factor)
            for c, p in truth[n].items()
        }
        for n, (_, _, factor, tilt) in enumerate(shapes)
    }
    choice = Choice(estimates=guesses, followed=(followed,))
    while points := choice.next_points():
        assert len(set(points)) == len(points)
        for name, concurrency in points:
            choice.shown[name, concurrency] = truth[name][concurrency]
    there = [point.tput for (_, c), point in choice.shown.items() if c == followed]
    assert max(there) >= 0.85 * max(points[followed].tput for points in truth.values())
    assert {point for point, _ in choice.shown} <= set(truth)


def test_what_cannot_run_does_not_choose_for_others():
    """A deployment that is refused leaves the first round as it is."""
    flags = {"sku": "a100", "model": "llama-3.x-70b", "engine": "vllm", "isl": 4096, "osl": 64}
    sweeps = plan_sweep(build_sweep(flags=flags)).sweeps[:2]
    means = {
        c: SteadyState(interactivity=100.0 / c, total_tput_per_gpu=rate, ttft_s=0.1, kv_fill=0.1)
        for c, rate in ((1, 10.0), (4, 39.0), (16, 40.0))
    }
    rounds = []
    for tries_refused in (False, True):
        planner = ChosenPoints(sweeps, estimates=[means, "no room"])
        if tries_refused:
            planner.take(planner.sweeps[1], {1: {"status": "does_not_fit"}})
        rounds.append([(each.sweep.label, part.concurrencies) for each, part in planner.segments()])
    assert rounds[0] == rounds[1] == [(sweeps[0].label, (1, 4, 16))]
