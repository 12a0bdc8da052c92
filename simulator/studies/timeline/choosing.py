"""Which runs a timeline needs: on each date those that can move a figure that is followed.

A frontier of a date is known from one end to the other; what is followed needs less of it: two
points to either side of each speed, through which the curve is drawn there, the most throughput
anywhere and the best deployment of some numbers of clients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import NO_LIMIT
from simulator.analysis.pareto import frontier_indices
from simulator.studies.sweep.bar import Bar, Staircase
from simulator.studies.sweep.choosing import ABOUT_LATE, MANY_CLIENTS, NEAR_BETWEEN, Choice
from simulator.studies.sweep.chosen import ChosenPoints
from simulator.studies.sweep.store import file_name

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from simulator.analysis.objectives import Objectives
    from simulator.prediction.steady import SteadyState
    from simulator.studies.sweep.chosen import ChosenProgress
    from simulator.studies.sweep.planner import Segment
    from simulator.studies.sweep.points import ConcurrencySweep

    Place = tuple[float, float]

KNOTS = 2
"""Points of a frontier to either side of a speed that its curve there depends on."""
ASIDE = 1.15
"""Speed of a guess over that of its run, either way, within which it may lie between them. [-]"""
WORTH_MANY = 1.05
"""Gain in the most throughput for which runs of many clients are worth their time. [-]"""
NEAR_MOST = 0.9
"""Share of the most throughput that was shown from which a point may have more. [-]"""


@dataclass(slots=True, kw_only=True)
class DateChoice(Choice):
    """Points of the deployments in force on one date.

    Parameters
    ----------
    speeds:
        Speeds per user at which throughput is followed. [tok/s/user]
    """

    speeds: tuple[float, ...] = ()

    def _wanted(self, points: list[tuple[Hashable, int]]) -> list[tuple[Hashable, int]]:
        """Points of those near the frontier that may move a figure which is followed.

        They are held against guesses that runs have corrected too, whose runs come first: what
        stays behind these is asked for again if they fall short.
        """
        ran = {name for (name, _), run in self.shown.items() if run is not None}
        guesses = {
            (name, concurrency): self._guess(name, concurrency)
            for name, own in self.estimates.items()
            for concurrency in own
        }
        best = self._places() + [
            (guess.interactivity, guess.tput)
            for (name, concurrency), guess in guesses.items()
            if guess.slo_use <= 1.0
            and (name in ran or not ran)
            and (name, concurrency) not in self.shown
        ]
        if not best:
            return points
        speeds, rates = zip(*best, strict=True)
        knots = sorted(speeds[index] for index in frontier_indices(speeds, rates))
        windows = [_window(knots, speed=speed) for speed in self.speeds]
        most = max(rates)
        others = Staircase(best)

        shown = max((rate for _, rate in self._places()), default=0.0)

        def matters(point: tuple[Hashable, int]) -> bool:
            x, y = guesses[point].interactivity, guesses[point].tput
            if point[0] in ran and others.share(x, y) < NEAR_BETWEEN:
                return False
            if point[0] in ran and point[1] >= MANY_CLIENTS and y < WORTH_MANY * shown:
                return False
            return y >= NEAR_MOST * most or any(low <= x <= high for low, high in windows)

        kept = [point for point in points if matters(point)]
        return list(dict.fromkeys(self._fewer_first(*point) for point in kept))

    def _fewer_first(self, name: Hashable, concurrency: int) -> tuple[Hashable, int]:
        """A point, or where a limit is in doubt one with no more than four times what has run.

        Estimates leave out the opening burst: whether many clients wait too long is seen with
        fewer, at a fraction of the time.
        """
        own = self.estimates[name]
        if concurrency < MANY_CLIENTS or own[concurrency].slo_use <= ABOUT_LATE:
            return name, concurrency
        most = min(concurrency, max(MANY_CLIENTS // 2, 4 * max(self._known(name), default=0)))
        fewer = [c for c in own if c <= most and (name, c) not in self.shown]
        return name, max(fewer, default=concurrency)


def _window(speeds: Sequence[float], *, speed: float) -> Place:
    """Speeds between which points count for a curve at a speed. [tok/s/user]"""
    below = [each for each in speeds if each <= speed]
    above = [each for each in speeds if each >= speed]
    low = below[-KNOTS] if len(below) >= KNOTS else 0.0
    high = above[KNOTS - 1] if len(above) >= KNOTS else float("inf")
    return low / ASIDE, high * ASIDE


class DatedPoints(ChosenPoints):
    """Points of deployments of many dates, each run once for all dates on which it is in force.

    Parameters
    ----------
    in_force:
        Files of the deployments that compete on each date.
    speeds, followed:
        Speeds per user [tok/s/user] and numbers of clients [requests] that are followed.
    """

    def __init__(
        self,
        sweeps: Sequence[ConcurrencySweep],
        *,
        estimates: Sequence[dict[int, SteadyState] | str],
        in_force: Mapping[str, tuple[str, ...]],
        speeds: Sequence[float],
        followed: Sequence[int],
        limits: Objectives = NO_LIMIT,
    ) -> None:
        super().__init__(sweeps, estimates=estimates, limits=limits, followed=followed)
        everything = self.choice.estimates
        self._dates = [
            DateChoice(
                estimates={name: everything[name] for name in names if name in everything},
                followed=tuple(followed),
                speeds=tuple(speeds),
                pooled=self.choice.pooled,
            )
            for names in dict.fromkeys(in_force.values())
        ]
        self._bars: dict[str, Bar] = {}

    def take(self, sweep: ChosenProgress, points: Mapping[int, Mapping[str, Any]]) -> None:
        """Keep points of a deployment, for every date on which it is in force."""
        super().take(sweep, points)
        name = file_name(sweep.sweep)
        for each in self._dates:
            if name in each.estimates:
                each.shown |= {(name, c): self.choice.shown[name, c] for c in points}

    def segments(self) -> Iterator[tuple[ChosenProgress, Segment]]:
        """As `ChosenPoints`; a point has to come near what its date has.

        One in force on several dates has to keep the limits alone: it may be behind on one of them.
        """
        for each, segment in super().segments():
            yield each, replace(segment, bar=self._bars.get(file_name(each.sweep)))

    def _next_round(self) -> list[tuple[ChosenProgress, int]]:
        if not self._round:
            wanted: dict[tuple[Hashable, int], None] = {}
            self._bars = {}
            for each in self._dates:
                points = each.next_points()
                wanted |= dict.fromkeys(points)
                for name, _ in points:
                    dates = sum(name in one.estimates for one in self._dates)
                    places = each.bar(self._limits).places if dates == 1 else ()
                    self._bars[str(name)] = Bar(places=places, limits=self._limits)
            self._round = [(self._by_name[str(name)], c) for name, c in wanted]
        return self._round
