"""The one planner of points: which concurrency of which deployment is simulated next.

A sweep over powers of two ends where throughput has stalled or memory is full
(`simulator.studies.concurrency`), and where more clients cannot bring its deployment to the
frontier. Stated concurrencies are all simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log2
from typing import TYPE_CHECKING, Any

from simulator.analysis.pareto import frontier_indices
from simulator.studies.concurrency import ends_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from simulator.analysis.objectives import Objectives
    from simulator.studies.sweep.bar import Bar
    from simulator.studies.sweep.points import ConcurrencySweep

    Cells = Mapping[str, Any]

WORTH_BOUNDING = 256
"""Concurrency from which throughput grows evenly enough for what a layout may yet reach."""
BOUNDING_PER_GPU = 8
"""The same for each GPU of a large deployment. [requests]"""
SLACK = 1.05
"""How far a run with more clients may exceed the bounds of one with fewer."""
LONG = 256
"""Concurrency from which points take so long that they run in processes of their own."""
_STEPS_PER_DOUBLING = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Consecutive points of one sweep that can run one after the other.

    Parameters
    ----------
    is_open:
        Whether it ends early where its sweep does.
    bar:
        What each of its points has to come near; ``None``: all run to their end.
    whole:
        Concurrencies whose points run to their end all the same. [requests]
    """

    sweep: ConcurrencySweep
    concurrencies: tuple[int, ...]
    is_open: bool
    bar: Bar | None = None
    whole: tuple[int, ...] = ()


def ends_with(points: Sequence[Cells]) -> bool:
    """Whether an open concurrency sweep ends with the last of its points.

    Parameters
    ----------
    points:
        By ascending concurrency, with ``status``, ``total_tput_per_gpu``, ``bottleneck`` and
        ``kv_fill``.
    """
    last = points[-1]
    if last["status"] != "ok":
        return bool(last["status"] == "does_not_fit")
    rates = [point["total_tput_per_gpu"] for point in points if point["status"] == "ok"]
    return ends_after(rates, bottleneck=last["bottleneck"], kv_fill=last["kv_fill"])


@dataclass(slots=True, kw_only=True, eq=False)
class SweepProgress:
    """How far one concurrency sweep is; its points stay in order however they are run.

    Parameters
    ----------
    done:
        Cells of the points that have been simulated, by concurrency.
    end:
        Points that belong to the sweep; ``None``: not known yet.
    """

    sweep: ConcurrencySweep
    done: dict[int, Cells] = field(default_factory=dict)
    end: int | None = None
    concurrencies: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Look up the concurrencies once."""
        self.concurrencies = self.sweep.concurrencies

    @property
    def is_open(self) -> bool:
        """Whether no concurrencies were stated."""
        return self.sweep.load.concurrency is None

    @property
    def known(self) -> dict[int, Cells]:
        """Points up to the end, or up to the first that has not been run."""
        found = {}
        for concurrency in self.concurrencies[: self.end]:
            if concurrency not in self.done:
                break
            found[concurrency] = self.done[concurrency]
        return found

    def take(self, concurrency: int, cells: Cells) -> None:
        """Keep a point, and end the sweep where memory is full or more clients gain nothing."""
        self.done[concurrency] = cells
        if not self.is_open:
            return
        points = list(self.known.values())
        for count in range(1, len(points) + 1):
            if ends_with(points[:count]):
                self.end = count
                break

    def wants(self, concurrency: int) -> bool:
        """Whether a point is neither done nor past the end."""
        return concurrency not in self.done and concurrency in self.concurrencies[: self.end]

    def wanted(self) -> tuple[int, ...]:
        """Points that are neither done nor past the end, as far as is known."""
        return tuple(c for c in self.concurrencies[: self.end] if c not in self.done)

    def reaches(self, index: int) -> bool:
        """Whether a point is not past the end, as far as is known."""
        return index < len(self.concurrencies[: self.end])

    def at(self, index: int) -> Cells | None:
        """The run at a place among the concurrencies; ``None`` where there is none."""
        if index >= len(self.concurrencies):
            return None
        cells = self.done.get(self.concurrencies[index])
        return None if cells is None or cells["status"] != "ok" else cells


class PointPlanner:
    """Points of the deployments that compete for one frontier.

    Parameters
    ----------
    sweeps:
        The deployments under one load.
    prunes:
        Whether sweeps over powers of two end where more clients cannot bring their deployment to
        the frontier.
    limits:
        TTFT limits and goodput of the frontier; ``None``: any TTFT.

    Notes
    -----
    What is simulated does not depend on the order in which points come back. From 512 clients
    the deployment of the most throughput goes first. Another one ends where nothing that it
    could still reach would be on the frontier of all points below and of the first one's next
    point. What it could reach: with n times the requests decoding, throughput is ``n^a`` times
    as high, where the last two doublings together gained ``4^a``, and each request has
    ``n^(a-1)`` of its speed; n is anything up to the largest concurrency, for memory may admit
    fewer; both with 5 % slack, though gains shrink.
    """

    def __init__(
        self,
        sweeps: Sequence[ConcurrencySweep],
        *,
        prunes: bool = True,
        limits: Objectives | None = None,
    ) -> None:
        self.sweeps = [SweepProgress(sweep=each) for each in sweeps]
        self._limits = limits
        self._concurrencies = max((each.concurrencies for each in self.sweeps), key=len, default=())
        is_open = prunes and all(each.is_open for each in self.sweeps)
        least = max(
            WORTH_BOUNDING, BOUNDING_PER_GPU * max((each.gpus for each in sweeps), default=0)
        )
        self._bounded = [
            index
            for index in range(3, len(self._concurrencies))
            if is_open and self._concurrencies[index - 1] >= least
        ]

    def points(self) -> tuple[int, int]:
        """Points that are done or will not run, and points at the most."""
        most = sum(len(each.concurrencies) for each in self.sweeps)
        return most - sum(len(each.wanted()) for each in self.sweeps), most

    def take(self, sweep: SweepProgress, points: Mapping[int, Cells]) -> None:
        """Keep points of a sweep, and end the sweeps that they decide."""
        for concurrency, cells in points.items():
            sweep.take(concurrency, cells)
        self._end_dominated()

    def segments(self) -> Iterator[tuple[SweepProgress, Segment]]:
        """What can run now, of each sweep points that follow each other; nothing: all is done."""
        first = self._bounded[0] if self._bounded else len(self._concurrencies)
        below = set(self._concurrencies[:first])
        started = [
            (each, tuple(c for c in each.wanted() if c in below or not self._bounded))
            for each in self.sweeps
        ]
        ready = [(each, wanted) for each, wanted in started if wanted] or self._next_of_bounded()
        for each, wanted in ready:
            yield (
                each,
                Segment(
                    sweep=each.sweep,
                    concurrencies=wanted,
                    is_open=each.is_open and len(wanted) > 1,
                ),
            )

    def _next_of_bounded(self) -> list[tuple[SweepProgress, tuple[int, ...]]]:
        for index in self._bounded:
            concurrency = self._concurrencies[index]
            going = self._by_throughput(index)
            if not self._is_settled(index):
                going = going[:1]
            wanted: tuple[int, ...] = (concurrency,)
            if ready := [(each, wanted) for each in going if each.wants(concurrency)]:
                return ready
        return []

    def next_point(
        self, *, busy: Sequence[tuple[SweepProgress, int]], processes: int
    ) -> tuple[SweepProgress, int] | None:
        """The next single point: by ascending clients, the sweeps of most throughput first.

        Where few sweeps share the processes, the long points go first, even beyond an end that
        is not known yet. Many keep all processes busy without: there a long point waits until it
        is known which sweeps go on, unless its own has one of the highest throughputs.
        """
        few = len(self.sweeps) < processes
        for concurrency in _in_turn(self._concurrencies, long_first=few):
            index = self._concurrencies.index(concurrency)
            lanes = sorted(self.sweeps, key=lambda each: -each.sweep.pools[-1].layout.attention_dp)
            if index in self._bounded and not few:
                best = self._by_throughput(index)
                lanes = best if self._is_settled(index) else best[:processes]
            for each in lanes:
                if each.wants(concurrency) and not any(
                    each is other and concurrency == c for other, c in busy
                ):
                    return each, concurrency
        return None

    def _by_throughput(self, index: int) -> list[SweepProgress]:
        """Sweeps that go on to a concurrency, by throughput on the one below, the best first."""

        def rate(each: SweepProgress) -> float:
            cells = each.at(index - 1)
            return 0.0 if cells is None else float(cells["total_tput_per_gpu"])

        before = self._concurrencies[index - 1]
        known = [each for each in self.sweeps if each.reaches(index) and before in each.known]
        return sorted(known, key=rate, reverse=True)

    def _is_settled(self, index: int) -> bool:
        """Whether it is known which sweeps go on to a concurrency."""
        below = self._concurrencies[:index]
        if any(each.wants(concurrency) for each in self.sweeps for concurrency in below):
            return False
        concurrency = self._concurrencies[index]
        return not any(each.wants(concurrency) for each in self._by_throughput(index)[:1])

    def _end_dominated(self) -> None:
        """End sweeps that more clients cannot bring to the frontier of what all have shown."""
        for index in self._bounded:
            if not self._is_settled(index):
                return
            leaders = self._by_throughput(index)[:1]
            shown = _frontier(
                [
                    (cells["interactivity"], cells["total_tput_per_gpu"])
                    for each in self.sweeps
                    for place in range(index + 1 if each in leaders else index)
                    if each.reaches(place)
                    and (cells := each.at(place)) is not None
                    and (self._limits is None or self._limits.ttft_use(cells) <= 1.0)
                ]
            )
            for each in self.sweeps:
                if each in leaders or not each.reaches(index):
                    continue
                last = [each.at(place) for place in range(index - 3, index)]
                if any(cells is None for cells in last):
                    continue
                runs = [cells for cells in last if cells is not None]
                if _falls_short(
                    speed=runs[-1]["interactivity"],
                    rates=[cells["total_tput_per_gpu"] for cells in runs],
                    doublings=len(each.concurrencies) - index,
                    shown=shown,
                ):
                    each.end = index


def planners_of(
    sweeps: Sequence[ConcurrencySweep], *, prunes: bool = True, limits: Objectives | None = None
) -> list[PointPlanner]:
    """A planner for each question that sweeps belong to, in order of first appearance."""
    questions: dict[str, list[ConcurrencySweep]] = {}
    for each in sweeps:
        questions.setdefault(each.question, []).append(each)
    return [PointPlanner(together, prunes=prunes, limits=limits) for together in questions.values()]


def _in_turn(concurrencies: tuple[int, ...], *, long_first: bool) -> list[int]:
    ascending = sorted(set(concurrencies))
    if not long_first:
        return ascending
    short = [concurrency for concurrency in ascending if concurrency < LONG]
    return short + ascending[len(short) :][::-1]


def _frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if not points:
        return []
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
