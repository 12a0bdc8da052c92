"""Where a layout's ladder of concurrencies ends: no gain, no memory, or no hope of the frontier."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

from simulator.analysis.pareto import frontier_indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.studies.curve.climb import Climb

WORTH_BOUNDING = 256
"""Concurrency from which throughput grows evenly enough for what a layout may yet reach."""
SLACK = 1.05
"""How far a run with more clients may exceed the bounds of one with fewer."""
_STEPS_PER_DOUBLING = 8


def is_bounded(climbs: Sequence[Climb], index: int) -> bool:
    """Whether layouts end before this rung where others reach further: high on open ladders."""
    ladder = climbs[0].ladder
    open_ladder = climbs[0].scenario.concurrency is None
    return open_ladder and index >= 3 and ladder[index - 1] >= WORTH_BOUNDING


def by_promise(climbs: Sequence[Climb], index: int) -> list[Climb]:
    """Layouts that go on to a rung, by their throughput on the one below, the best first."""
    known = [climb for climb in climbs if climb.reaches(index) and len(climb.runs) >= index]
    return sorted(known, key=lambda climb: -climb.runs[index - 1][1].metrics.total_tput_per_gpu)


def is_settled(climbs: Sequence[Climb], index: int) -> bool:
    """Whether it is known which layouts go on to a rung."""
    if not is_bounded(climbs, index):
        return True
    below = climbs[0].ladder[:index]
    if any(climb.wants(concurrency) for climb in climbs for concurrency in below):
        return False
    return not any(climb.wants(climb.ladder[index]) for climb in by_promise(climbs, index)[:1])


def end_dominated(climbs: Sequence[Climb]) -> None:
    """End layouts that more clients cannot bring to the frontier of what all have shown.

    The most promising layout goes first on every rung from 512 clients. Another one ends where
    nothing that it could still reach would be on the frontier of all points below and of the
    first one's next point. What it could reach: with n times the requests decoding, throughput
    is ``n^a`` times as high, where the last two doublings together gained ``4^a``, and each
    request has ``n^(a-1)`` of its speed; n is anything up to the top of the ladder, for memory
    may admit fewer; both with some slack, though gains shrink. Only doubling ladders are cut.
    """
    for index in range(len(climbs[0].ladder) if climbs else 0):
        if not is_bounded(climbs, index):
            continue
        if not is_settled(climbs, index):
            return
        ladder = climbs[0].ladder
        leaders = by_promise(climbs, index)[:1]
        shown = _frontier(
            [
                (run.metrics.interactivity, run.metrics.total_tput_per_gpu)
                for climb in climbs
                for concurrency, run in climb.runs
                if concurrency in ladder[:index]
                or (climb in leaders and concurrency == ladder[index])
            ]
        )
        for climb in climbs:
            if climb in leaders or not climb.reaches(index):
                continue
            rates = [run.metrics.total_tput_per_gpu for _, run in climb.runs[index - 3 : index]]
            speed = climb.runs[index - 1][1].metrics.interactivity
            doublings = len(ladder) - index
            if _falls_short(speed=speed, rates=rates, doublings=doublings, shown=shown):
                climb.end = index


def _frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    speeds, rates = zip(*points, strict=True)
    return [points[i] for i in frontier_indices(speeds, rates)]


def _falls_short(
    *, speed: float, rates: Sequence[float], doublings: int, shown: list[tuple[float, float]]
) -> bool:
    """Whether all that a layout could reach in some doublings lies under points that others have.

    Parameters
    ----------
    speed:
        Interactivity of its last point. [tok/s/user]
    rates:
        Throughput of its last three points. [tok/s/chip]
    shown:
        Interactivity and throughput of others' points.
    """
    exponent = min(max(0.5 * log2(rates[-1] / rates[0]), 0.0), 1.0)
    for step in range(_STEPS_PER_DOUBLING * doublings + 1):
        more = 2.0 ** (step / _STEPS_PER_DOUBLING)
        x = SLACK * speed * more ** (exponent - 1.0)
        y = SLACK * rates[-1] * more**exponent
        if not any(px >= x and py >= y for px, py in shown):
            return False
    return True
