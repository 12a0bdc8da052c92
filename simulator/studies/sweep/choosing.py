"""Which points of competing deployments are worth a run: estimates first, then what runs show.

Nine tenths of the runs of a sweep are dominated. Mean values of single steps
(`simulator.prediction.steady`) estimate every point in milliseconds; only what may be on the
frontier is simulated. What runs show of a deployment corrects the estimates of its other points,
and points are chosen again until nothing that is left out could be on the frontier.

A run that is far behind what others have shown ends after three requests of each client
(`simulator.studies.sweep.bar`).

Mean values err to the high side: of 52 runs of B200 and of B200 with GB300 they were 0.94 to 1.56
times the throughput. They leave out the opening burst, and that ranks of vLLM which step together
wait for whichever of them takes a prompt in. What is guessed too high costs a run and hides
nothing, since later rounds hold guesses against runs; only what is guessed too low is lost.

Where prefill and decode have pools of their own nothing is left out but the opening burst: of 61
such runs of B200, B300, GB200 and GB300 with 64 clients and more, estimates were 1.05 to 1.15 times
the throughput. So what runs show of some pools corrects the estimates of others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, inf, log
from typing import TYPE_CHECKING

import numpy as np

from simulator.prediction.steady import SteadyState
from simulator.studies.concurrency import LEAST_GAIN
from simulator.studies.sweep.bar import Bar, Staircase

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from simulator.analysis.objectives import Objectives

NEAR = 0.75
"""Share of the estimated frontier at its speed from which a deployment is probed. [-]"""
NEAR_SHOWN = 0.87
"""Share of what runs have shown from which one that has no run yet is probed. [-]"""
NEAR_POOLED, NEAR_SHOWN_POOLED = 0.92, 0.95
"""The same two shares for pools of `MANY_CLIENTS` and more, the second after correction. [-]"""
ALIKE_LOAD = 4.0
"""Clients over each other's within which runs of pools show how estimates of others err. [-]"""
ALIKE = 0.95
"""Shares of a deployment's best that count as the same where it is probed. [-]"""
NEAR_CORRECTED = 0.95
"""Share of what runs have shown from which a point with a corrected estimate is run. [-]"""
NEAR_BETWEEN = 0.98
"""The same between runs of its deployment, where corrections are surest. [-]"""
NEAR_UNLIMITED = 0.88
"""The same where any TTFT is allowed: there throughput saturates slowly. [-]"""
ABOUT_CORRECTED, ABOUT_GUESSED = 1.75, 2.0
"""Use of a limit by an estimate, corrected by runs or not, up to which it may be met. [-]"""
MANY_CLIENTS, ABOUT_LATE = 512, 0.05
"""Clients from which a deployment runs one point at a time [requests], where the estimate uses up
this share of a limit: it is up to twenty times too low. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where a point lies, or is estimated to lie.

    Parameters
    ----------
    interactivity, tput:
        The axes of the frontier. [tok/s/user, tok/s/GPU]
    slo_use:
        Largest share of a TTFT limit or goodput that it uses up; above 1 it is missed. [-]
    is_whole:
        Whether it is a run's; one that was ended early is estimated from its first part.
    """

    interactivity: float
    tput: float
    slo_use: float = 0.0
    is_whole: bool = True


@dataclass(slots=True, kw_only=True)
class Choice:
    """Points of deployments that compete for one frontier, and which of them to run next.

    Parameters
    ----------
    estimates:
        Estimates by deployment and concurrency; without those that cannot run.
    shown:
        What runs have shown; ``None`` where a point could not run.
    followed:
        Concurrencies at which the most throughput is asked for too, on a frontier or not.
        [requests]
    pooled:
        Deployments whose prefill and decode have pools of their own.
    """

    estimates: Mapping[Hashable, Mapping[int, Point]]
    shown: dict[tuple[Hashable, int], Point | None] = field(default_factory=dict)
    followed: tuple[int, ...] = ()
    pooled: frozenset[Hashable] = frozenset()

    def next_points(self) -> list[tuple[Hashable, int]]:
        """Points to run now, in the order of the estimates; none: the frontier is known.

        Depends on what has been shown and not on the order in which it was.
        """
        near = self._in_turn(self._wanted(self._near_frontier() if self.shown else self._first()))
        if not self.followed:
            return near
        return list(dict.fromkeys((*near, *self._near_best_at_followed())))

    def _wanted(self, points: list[tuple[Hashable, int]]) -> list[tuple[Hashable, int]]:
        """Points near the frontier that are asked for: all of them."""
        return points

    def _in_turn(self, points: list[tuple[Hashable, int]]) -> list[tuple[Hashable, int]]:
        """Points, those of many clients only after fewer, who may put them out of question.

        Estimates leave out the opening burst; in a closed loop of many clients who already wait
        too long for the first token, more of them wait longer. Nor do more clients help where two
        doublings have gained nothing.
        """
        wanted: dict[Hashable, list[int]] = {}
        for name, concurrency in points:
            wanted.setdefault(name, []).append(concurrency)
        return [
            (name, concurrency)
            for name, own in wanted.items()
            for concurrency in self._in_turn_of(name, own)
        ]

    def _in_turn_of(self, name: Hashable, wanted: list[int]) -> list[int]:
        guesses = self.estimates[name]
        ran = {clients: run for clients, (_, run) in self._known(name).items()}
        late = min(
            (c for c, run in ran.items() if 2 * c >= MANY_CLIENTS and run.slo_use > 1.0),
            default=inf,
        )
        stalled = min(
            (
                other
                for one in ran
                for other in ran
                if 4 * one <= other and ran[other].tput < LEAST_GAIN * ran[one].tput
            ),
            default=inf,
        )
        open_ = [c for c in wanted if c < stalled and not (c > late and c >= MANY_CLIENTS)]
        many = [c for c in open_ if c >= MANY_CLIENTS and guesses[c].slo_use > ABOUT_LATE]
        few = [c for c in open_ if c not in many]
        return [*few, min(many)] if many else few

    def _near_best_at_followed(self) -> list[tuple[Hashable, int]]:
        """Points whose deployment may have the most throughput at a concurrency of its own."""
        found: list[tuple[Hashable, int]] = []
        for concurrency in self.followed:
            best = max(
                (
                    ran.tput
                    for (_, clients), ran in self.shown.items()
                    if clients == concurrency and ran is not None and ran.slo_use <= 1.0
                ),
                default=0.0,
            )
            open_: list[tuple[float, Hashable]] = []
            for name, points in self.estimates.items():
                if concurrency not in points or (name, concurrency) in self.shown:
                    continue
                known = self._known(name)
                point = _corrected(points[concurrency], concurrency=concurrency, known=known)
                near = NEAR_CORRECTED if known else NEAR_SHOWN
                if (
                    point.slo_use <= (ABOUT_CORRECTED if known else ABOUT_GUESSED)
                    and point.tput >= near * best
                ):
                    open_.append((point.tput, name))
            if open_ and not best:  # what is expected to be the best shows how good others must be
                open_ = [max(open_, key=lambda one: one[0])]
            found += [(name, concurrency) for _, name in open_]
        return found

    def _near_frontier(self) -> list[tuple[Hashable, int]]:
        """Points that may be on the frontier, by what runs have shown so far."""
        shown = Staircase(self._places())
        found: list[tuple[Hashable, int]] = []
        for name, points in self.estimates.items():
            known = self._known(name)
            own: list[tuple[float, int]] = []
            for concurrency, point in points.items():
                if (name, concurrency) in self.shown:
                    continue
                corrected = _corrected(point, concurrency=concurrency, known=known)
                tput = corrected.tput
                if not known and name in self.pooled:
                    tput *= self._shown_of_pools(concurrency)
                share = shown.share(corrected.interactivity, tput)
                if corrected.slo_use > (ABOUT_CORRECTED if known else ABOUT_GUESSED):
                    continue
                own.append((share, concurrency))
            if known:
                limited = any(point.slo_use for point in points.values())
                near = NEAR_CORRECTED if limited else NEAR_UNLIMITED
                found += [
                    (name, c)
                    for share, c in own
                    if share >= (NEAR_BETWEEN if min(known) < c < max(known) else near)
                ]
            elif own and max(own)[0] >= NEAR_SHOWN:
                share, probe = _cheapest_near_best(own)
                if share >= self._least(NEAR_SHOWN_POOLED, name=name, clients=probe):
                    found.append((name, probe))
        return found

    def _least(self, near: float, *, name: Hashable, clients: int) -> float:
        """The share that a probe of pools of many clients must have; 0 for others. [-]"""
        return near if name in self.pooled and clients >= MANY_CLIENTS else 0.0

    def _shown_of_pools(self, clients: int) -> float:
        """Throughput of runs of pools over their estimates, the mean at about this load. [-]"""
        errors = [
            log(ran.tput / self.estimates[name][other].tput)
            for (name, other), ran in self.shown.items()
            if ran is not None
            and name in self.pooled
            and other in self.estimates[name]
            and clients <= ALIKE_LOAD * other <= ALIKE_LOAD**2 * clients
        ]
        return exp(sum(errors) / len(errors)) if errors else 1.0

    def bar(self, limits: Objectives) -> Bar:
        """What a point must come near to be worth its whole run."""
        return Bar(places=tuple(sorted(self._places())), limits=limits)

    def _places(self) -> list[tuple[float, float]]:
        return [
            (point.interactivity, point.tput)
            for point in self.shown.values()
            if point is not None and point.is_whole and point.slo_use <= 1.0
        ]

    def share_of(self, name: Hashable) -> float:
        """How near a deployment comes to what runs have shown, as far as is known. [-]"""
        shown = Staircase(self._places())
        known = self._known(name)
        return max(
            (
                shown.share(each.interactivity, each.tput)
                for concurrency, point in self.estimates.get(name, {}).items()
                for each in [_corrected(point, concurrency=concurrency, known=known)]
                if each.slo_use <= 1.0
            ),
            default=0.0,
        )

    def _first(self) -> list[tuple[Hashable, int]]:
        """The estimated frontier, and of each deployment near it the nearest point."""
        allowed = {
            (name, concurrency): point
            for name, points in self.estimates.items()
            for concurrency, point in points.items()
            if point.slo_use <= 1.0
        }
        if not allowed:  # no estimate is within the limit: what comes nearest to it
            allowed = {
                (name, concurrency): point
                for name, points in self.estimates.items()
                for concurrency, point in [
                    min(points.items(), key=lambda one: one[1].slo_use) if points else (0, None)
                ]
                if point is not None
            }
        best = Staircase((point.interactivity, point.tput) for point in allowed.values())
        shares: dict[Hashable, list[tuple[float, int]]] = {}
        for (name, concurrency), point in allowed.items():
            share = best.share(point.interactivity, point.tput)
            shares.setdefault(name, []).append((share, concurrency))
        found: list[tuple[Hashable, int]] = []
        for name, own in shares.items():
            _, probe = _cheapest_near_best(own)
            near = max(NEAR, self._least(NEAR_POOLED, name=name, clients=probe))
            found += [
                (name, concurrency)
                for share, concurrency in own
                if share >= 1.0 or (concurrency == probe and share >= near)
            ]
        return found

    def _guess(self, name: Hashable, concurrency: int) -> Point:
        """An estimate with the errors that runs of its deployment have shown."""
        point = self.estimates[name][concurrency]
        return _corrected(point, concurrency=concurrency, known=self._known(name))

    def _known(self, name: Hashable) -> dict[int, tuple[Point, Point]]:
        """Estimates and runs of a deployment by concurrency, ascending."""
        points = self.estimates[name]
        return {
            concurrency: (points[concurrency], ran)
            for concurrency in sorted(points)
            if (ran := self.shown.get((name, concurrency))) is not None
        }


def _cheapest_near_best(shares: list[tuple[float, int]]) -> tuple[float, int]:
    """The fewest clients at which a deployment comes about as near as it ever does; how near."""
    best = max(shares)[0]
    return min(
        (one for one in shares if one[0] >= ALIKE * best),
        key=lambda one: one[1],
    )


def between_means(points: Mapping[int, SteadyState], concurrency: int) -> SteadyState:
    """Mean values between others of a deployment, on straight lines of logarithms."""
    known = sorted(points)
    places = [log(each) for each in known]

    def value(name: str) -> float:
        logs = [log(max(getattr(points[each], name), 1e-9)) for each in known]
        return exp(float(np.interp(log(concurrency), places, logs)))

    return SteadyState(
        interactivity=value("interactivity"),
        total_tput_per_gpu=value("total_tput_per_gpu"),
        ttft_s=value("ttft_s"),
        kv_fill=value("kv_fill"),
    )


def _corrected(
    point: Point, *, concurrency: int, known: Mapping[int, tuple[Point, Point]]
) -> Point:
    """An estimate with the errors that runs of the same deployment show at other loads."""
    if not known:
        return point
    places = [log(each) for each in known]

    def factor(name: str) -> float:
        errors = [
            log(max(getattr(ran, name), 1e-9) / max(getattr(guess, name), 1e-9))
            for guess, ran in known.values()
        ]
        return exp(float(np.interp(log(concurrency), places, errors)))

    missed = [ran.slo_use - guess.slo_use for guess, ran in known.values()]
    return Point(
        interactivity=point.interactivity * factor("interactivity"),
        tput=point.tput * factor("tput"),
        # what a wait for steps adds where nobody queues does not grow with the queue
        slo_use=min(
            point.slo_use * factor("slo_use"),
            point.slo_use + max(0.0, float(np.interp(log(concurrency), places, missed))),
        ),
    )
