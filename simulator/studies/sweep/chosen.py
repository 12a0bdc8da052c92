"""A planner of points that simulates only what may be on the frontier, in rounds.

Estimates of every point come first (`simulator.prediction.steady`), then rounds of runs that
`simulator.studies.sweep.choosing.Choice` picks until nothing left out could be on the frontier.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import NO_LIMIT
from simulator.prediction.steady import SteadyState, SteadyStates
from simulator.studies.concurrency import FULL
from simulator.studies.sweep.bar import BEHIND
from simulator.studies.sweep.choosing import Choice, Point, between_means
from simulator.studies.sweep.planner import Segment
from simulator.studies.sweep.points import configure_point, figure_of
from simulator.studies.sweep.store import file_name
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from simulator.analysis.objectives import Objectives
    from simulator.studies.sweep.bar import Bar
    from simulator.studies.sweep.executors import Executor
    from simulator.studies.sweep.points import ConcurrencySweep

    Cells = Mapping[str, Any]

MANY_OPEN, MANY_STATED = 25, 100
"""Points of one frontier beyond which they are chosen; stated ones are run as long as they may."""

FEW, CROWDED = 6, 128
"""Concurrencies of a deployment of which every one is estimated, and concurrency from which every
one of more is; below it every other one. [-], [requests]"""


@dataclass(slots=True, kw_only=True, eq=False)
class ChosenProgress:
    """Points of one deployment that were chosen and run.

    Parameters
    ----------
    behind:
        Concurrencies at which a run was ended early.
    refusal:
        Why it cannot run at all; empty where it can.
    """

    sweep: ConcurrencySweep
    done: dict[int, Cells] = field(default_factory=dict)
    behind: set[int] = field(default_factory=set)
    refusal: str = ""

    @property
    def known(self) -> dict[int, Cells]:
        """What was run, by ascending concurrency."""
        return dict(sorted(self.done.items()))


class ChosenPoints:
    """Points of deployments that compete for one frontier, chosen by estimates.

    Parameters
    ----------
    sweeps:
        The deployments.
    estimates:
        Of each deployment, see `estimated`; or why it has none.
    limits:
        TTFT limits and goodput of the frontier.
    followed:
        As `simulator.studies.sweep.choosing.Choice`.
    """

    def __init__(
        self,
        sweeps: Sequence[ConcurrencySweep],
        *,
        estimates: Sequence[dict[int, SteadyState] | str],
        limits: Objectives = NO_LIMIT,
        followed: Sequence[int] = (),
    ) -> None:
        self._limits = limits
        self.sweeps = [ChosenProgress(sweep=each) for each in sweeps]
        self._by_name = {file_name(each.sweep): each for each in self.sweeps}
        for each, found in zip(self.sweeps, estimates, strict=True):
            each.refusal = found if isinstance(found, str) else ""
        self.choice = Choice(
            estimates={
                name: {c: _limited(mean, limits=limits) for c, mean in found.items()}
                for name, found in zip(self._by_name, estimates, strict=True)
                if not isinstance(found, str)
            },
            followed=tuple(followed),
            pooled=frozenset(
                name for name, each in self._by_name.items() if len(each.sweep.pools) > 1
            ),
        )
        self._full = {
            name
            for name, found in zip(self._by_name, estimates, strict=True)
            if not isinstance(found, str) and found[max(found)].kv_fill > FULL
        }
        self._round: list[tuple[ChosenProgress, int]] | None = None
        self._bar: Bar | None = None

    def points(self) -> tuple[int, int]:
        """Points that have run, and those known to be worth it."""
        if self._round is None:
            self._next_round()
        done = sum(len(each.done) + len(each.behind) for each in self.sweeps)
        return done, done + len(self._round or ())

    def take(self, sweep: ChosenProgress, points: Mapping[int, Cells]) -> None:
        """Keep points of a deployment."""
        name = file_name(sweep.sweep)
        for concurrency, cells in points.items():
            if cells["status"] == BEHIND:
                sweep.behind.add(concurrency)
            else:
                sweep.done[concurrency] = cells
            if name in self.choice.estimates:  # one that cannot run shows nothing of others
                self.choice.shown[name, concurrency] = _shown(cells, limits=self._limits)
        if self._round:
            self._round = [
                (each, c) for each, c in self._round if each is not sweep or c not in points
            ]

    def segments(self) -> Iterator[tuple[ChosenProgress, Segment]]:
        """The points of the next round by deployment; none: the frontier is known."""
        wanted: dict[str, list[int]] = {}
        for each, concurrency in self._next_round():
            wanted.setdefault(file_name(each.sweep), []).append(concurrency)
        for name, concurrencies in wanted.items():
            each = self._by_name[name]
            yield (
                each,
                Segment(
                    sweep=each.sweep,
                    concurrencies=tuple(sorted(concurrencies)),
                    is_open=False,
                    bar=self._bar,
                    whole=self.choice.followed,
                ),
            )

    def bar_of(self, concurrency: int) -> Bar | None:
        """What a point of this round has to come near; ``None``: it runs to its end."""
        return None if concurrency in self.choice.followed else self._bar

    def next_point(
        self, *, busy: Sequence[tuple[ChosenProgress, int]], processes: int
    ) -> tuple[ChosenProgress, int] | None:
        """The next point of the round, the most clients first."""
        waiting = [
            (each, c)
            for each, c in (self._round or ())
            if not any(each is other and c == taken for other, taken in busy)
        ]
        if not waiting and not busy:
            waiting = self._next_round()
        return max(waiting, key=lambda one: one[1], default=None)

    def without_estimate(self) -> tuple[ChosenProgress, int] | None:
        """A point that nothing is known of: a run says why it cannot be, or what it gives.

        Beyond what was estimated, as far as points run.
        """
        for name, each in self._by_name.items():
            guessed = self.choice.estimates.get(name, {})
            most = max(guessed, default=0)
            lacking = [
                c
                for c in sorted(each.sweep.concurrencies)
                if c not in guessed and not (c > most and name in self._full)
            ]
            refused = any(c > most and each.done[c]["status"] != "ok" for c in each.done)
            for concurrency in lacking:
                if concurrency not in each.done and not (refused and concurrency > most):
                    return each, concurrency
        return None

    def _next_round(self) -> list[tuple[ChosenProgress, int]]:
        if not self._round:
            self._round = [
                (self._by_name[str(name)], concurrency)
                for name, concurrency in self.choice.next_points()
            ]
            self._bar = self.choice.bar(self._limits)
        return self._round

    @property
    def left(self) -> int:
        """Points of deployments that can run which were not run to their end."""
        return sum(
            len(each.sweep.concurrencies) - len(each.done)
            for each in self.sweeps
            if any(cells["status"] == "ok" for cells in each.done.values()) or not each.refusal
        )

    def left_out(self) -> Iterator[tuple[ConcurrencySweep, str, str]]:
        """Deployments without a run, with a status and why."""
        for name, each in self._by_name.items():
            if each.done:
                continue
            if each.refusal:
                yield each.sweep, "does_not_fit", each.refusal
                continue
            if each.behind:
                clients = ", ".join(map(str, sorted(each.behind)))
                yield (
                    each.sweep,
                    "behind",
                    f"ended after three requests of each client, of {clients} clients, which show "
                    "it behind others or beyond the TTFT limit; --all runs it",
                )
                continue
            share = self.choice.share_of(name)
            part = "half" if share < 0.5 else "nine tenths" if share < 0.9 else "all"
            yield (
                each.sweep,
                "behind",
                f"mean values, an estimate, stay under {part} of others at equal speed; --all "
                "runs it",
            )


def _limited(mean: SteadyState, *, limits: Objectives) -> Point:
    return Point(
        interactivity=mean.interactivity,
        tput=mean.total_tput_per_gpu,
        slo_use=limits.about_ttft_use(mean.ttft_s),
    )


def _shown(cells: Cells, *, limits: Objectives) -> Point | None:
    if cells["status"] not in ("ok", BEHIND):
        return None
    return Point(
        interactivity=cells["interactivity"],
        tput=cells["total_tput_per_gpu"],
        slo_use=float(limits.ttft_use(cells)),
        is_whole=cells["status"] == "ok",
    )


def are_many(sweeps: Sequence[ConcurrencySweep]) -> bool:
    """Whether points of deployments are so many that they are chosen by estimates."""
    points = sum(len(each.concurrencies) for each in sweeps)
    is_open = all(each.load.concurrency is None for each in sweeps)
    return len(sweeps) > 1 and points > (MANY_OPEN if is_open else MANY_STATED)


def estimated(sweep: ConcurrencySweep) -> dict[int, SteadyState] | str:
    """Where the points of a deployment lie by mean values, or why it cannot run.

    Powers of two end where its KV pool is full, as they do for `PointPlanner`.
    """
    found: dict[int, SteadyState] = {}
    means_of = SteadyStates()
    reason = "no concurrency"
    ascending = sorted(sweep.concurrencies)
    each = ascending
    if len(ascending) > FEW:  # between many clients waits rise too fast for straight lines
        each = [c for n, c in enumerate(ascending) if not n % 2 or c >= CROWDED]
    for concurrency in each:
        configured = configure_point(sweep, concurrency)
        if isinstance(configured, UserError):
            reason = str(configured)
            continue
        try:
            found[concurrency] = means_of.of(configured[0])
        except UserError as error:
            reason = str(error)
            if found:
                break
    if not found:
        return reason
    known = list(found)
    between = [c for c in ascending if known[0] < c < known[-1] and c not in found]
    means = dict(sorted((found | {c: between_means(found, c) for c in between}).items()))
    if sweep.load.concurrency is not None:
        return means
    full = next((c for c, mean in means.items() if mean.kv_fill > FULL), ascending[-1])
    return {c: mean for c, mean in means.items() if c <= full}


def estimates_of(
    sweeps: Sequence[ConcurrencySweep],
    *,
    executor: Executor | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> list[dict[int, SteadyState] | str]:
    """`estimated` for many deployments.

    Parameters
    ----------
    executor:
        What runs the points later, and keeps what estimates tabulate; ``None``: this process.
    on_progress:
        Called with (deployments done, deployments in all, the best of the last one).
    """
    found: list[dict[int, SteadyState] | str] = []
    each = map(estimated, sweeps) if executor is None else executor.run(estimated, sweeps)
    for sweep, means in zip(sweeps, each, strict=True):
        found.append(means)
        if on_progress is not None and not isinstance(means, str):
            concurrency, best = max(means.items(), key=lambda one: one[1].total_tput_per_gpu)
            figure = figure_of(
                sweep,
                concurrency,
                interactivity=best.interactivity,
                tput=best.total_tput_per_gpu,
                is_estimate=True,
            )
            on_progress(len(found), len(sweeps), figure)
    return found
