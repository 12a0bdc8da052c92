"""The regularised, robust least-squares step from responses to effects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calibration.fit.arrowhead import Arrowhead
from calibration.fit.observations import METRICS, NOISE
from hwmodels.fitted import EFFECTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from calibration.fit.effects import EffectSpace
    from calibration.fit.observations import Observation

    FloatArray = npt.NDArray[np.float64]

BUILD_WIDTH = 0.04
"""Prior standard deviation of what all runs of a build share beyond the model, as a factor on
time: kernel choice, unrecorded flags. A build is what a series has of one software level. [-]"""

HUBER = 2.0
"""Standardised residual beyond which an observation pulls no harder. [-]"""

SETTLED = 1e-3
"""Change of all responses below which reweighting ends, in logarithms. [-]"""

SIGN = {"throughput": -1.0, "tpot": 1.0, "ttft": 1.0}
"""What a longer time does to each of `calibration.fit.observations.METRICS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Effects and offsets of builds that explain observations, and how well they are known.

    Parameters
    ----------
    effects:
        In the columns of an `EffectSpace`. [-]
    offsets:
        Log factor on time by build. [-]
    covariance:
        Of the effects. [-]
    """

    effects: FloatArray
    offsets: dict[str, float]
    covariance: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearSystem:
    """Linearised responses of observations as rows over effects and offsets of builds.

    Parameters
    ----------
    design, targets:
        Rows, and what effects and offsets have to explain of each. [-]
    trust:
        Weight over noise of each row. [-]
    observation:
        Position of the observation that each row belongs to.
    builds:
        Builds in the order of their columns, which follow the effects.
    widths:
        Prior standard deviation of each column. [-]
    block:
        Level that each column belongs to alone, by number; -1: shared by several. ``None``: all
        are shared.

    Notes
    -----
    A row has columns of one block beside shared ones, so that the normal equations are an
    arrowhead, see `calibration.fit.arrowhead`.
    """

    design: FloatArray
    targets: FloatArray
    trust: FloatArray
    observation: npt.NDArray[np.int64]
    builds: list[str]
    widths: FloatArray
    block: npt.NDArray[np.int64] | None = None
    arrowhead: Arrowhead = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shared = np.full(len(self.widths), -1, dtype=np.int64)
        arrowhead = Arrowhead(
            design=self.design,
            targets=self.targets,
            widths=self.widths,
            block=shared if self.block is None else self.block,
        )
        object.__setattr__(self, "arrowhead", arrowhead)

    def solve(
        self,
        *,
        without: Sequence[int] = (),
        start: Solution | None = None,
        rounds: int = 12,
        with_covariance: bool = True,
    ) -> Solution:
        """Effects and offsets that explain the rows of all observations but some.

        Parameters
        ----------
        without:
            Positions of observations to leave out. A build none of whose runs stays has the
            offset 0.
        start:
            Solution whose residuals give the first robust weights; ``None``: all rows count.
        rounds:
            Reweighting rounds at the most; fewer where nothing moves any more.
        with_covariance:
            Whether the covariance is worked out; it is empty otherwise.
        """
        kept = ~np.isin(self.observation, without)
        scale = np.where(kept, self.trust, 0.0)
        solution = np.zeros(len(self.widths))
        robust = np.ones(len(self.targets))
        if start is not None:
            solution = self.joined(start)
            robust = self._robust(solution)
        solved = self.arrowhead.solved(robust * scale**2)
        for _ in range(rounds):
            before, solution = solution, solved.solution
            moved = self.arrowhead.responses(solution - before)
            if np.max(np.abs(moved), initial=0.0) < SETTLED:
                break
            robust = self._robust(solution)
            solved = self.arrowhead.solved(robust * scale**2)
        effects = len(self.widths) - len(self.builds)
        covariance = solved.covariance(effects) if with_covariance else np.empty((0, 0))
        return self.parted(solution, covariance=covariance)

    def joined(self, solution: Solution) -> FloatArray:
        """A solution as one vector, a build that it does not know at 0. [-]"""
        offsets = (solution.offsets.get(name, 0.0) for name in self.builds)
        return np.array([*solution.effects, *offsets], dtype=np.float64)

    def parted(self, solution: FloatArray, *, covariance: FloatArray) -> Solution:
        """A vector as effects and offsets."""
        effects = len(self.widths) - len(self.builds)
        return Solution(
            effects=solution[:effects],
            offsets=dict(zip(self.builds, solution[effects:].tolist(), strict=True)),
            covariance=covariance,
        )

    def _robust(self, solution: FloatArray) -> FloatArray:
        return _huber((self.targets - self.arrowhead.responses(solution)) * self.trust)


class Refits:
    """Solutions without some observations, starting from a solution with all.

    Parameters
    ----------
    system, start:
        All observations, and the solution whose residuals give the robust weights.

    Notes
    -----
    Few rows are taken out of the normal equations at the weights of ``start``; for many they are
    solved again, with weights of their own.
    """

    def __init__(self, system: LinearSystem, *, start: Solution) -> None:
        self.system = system
        self.start = start
        residuals = system.targets - system.arrowhead.responses(system.joined(start))
        self._weights = _huber(residuals * system.trust) * system.trust**2
        self._solved = system.arrowhead.solved(self._weights)

    def known_without(
        self, observations: Sequence[int], *, columns: Sequence[int]
    ) -> tuple[FloatArray, FloatArray]:
        """Effects without some observations, and the covariance of those at some columns. [-]

        At the weights of ``start``, however many are left out.
        """
        out = np.isin(self.system.observation, observations)
        solved = self.system.arrowhead.solved(np.where(out, 0.0, self._weights))
        effects = len(self.system.widths) - len(self.system.builds)
        covariance = solved.covariance_at(np.asarray(columns, dtype=np.int64))
        return solved.solution[:effects], covariance

    def without(self, observations: Sequence[int], *, rounds: int) -> Solution:
        """The solution that observations at these positions have no part in.

        ``rounds`` of reweighting where many are left out.
        """
        system = self.system
        out = np.isin(system.observation, observations)
        if np.count_nonzero(out) > len(system.widths) // 4:
            return system.solve(
                without=observations, start=self.start, rounds=rounds, with_covariance=False
            )
        return system.parted(self._solved.without(out), covariance=np.empty((0, 0)))


def _huber(residuals: FloatArray) -> FloatArray:
    """Weights of standardised residuals under Huber's loss. [-]"""
    weights: FloatArray = np.minimum(1.0, HUBER / np.maximum(np.abs(residuals), 1e-12))
    return weights


def linear_system(
    *,
    space: EffectSpace,
    observations: Sequence[Observation],
    responses: FloatArray,
    slopes: FloatArray,
    logs: FloatArray,
    weights: FloatArray,
) -> LinearSystem:
    """Responses linearised around the parameters that they were simulated at; see `solve`."""
    builds = sorted({observation.build for observation in observations})
    level_of = {observation.build: observation.level.groups[-1] for observation in observations}
    number = {name: index for index, name in enumerate(sorted(set(level_of.values())))}
    block = np.full(len(space) + len(builds), -1, dtype=np.int64)
    for (_, effect, group), column in space.columns.items():
        if effect == EFFECTS[-1]:
            block[column] = number.get(group, -1)
    for index, name in enumerate(builds):
        block[len(space) + index] = number[level_of[name]]
    place = {name: len(space) + index for index, name in enumerate(builds)}
    rows: list[FloatArray] = []
    targets: list[float] = []
    trust: list[float] = []
    owner: list[int] = []
    for index, observation in enumerate(observations):
        columns = [
            space.indices(parameter=parameter, level=observation.level)
            for parameter in space.parameters
        ]
        for metric, name in enumerate(METRICS):
            target = observation.measured[metric] - responses[index, metric]
            if not (np.isfinite(target) and np.isfinite(slopes[index, metric]).all()):
                continue
            row = np.zeros(len(space) + len(builds))
            for parameter, indices in enumerate(columns):
                row[indices] += slopes[index, metric, parameter]
            row[place[observation.build]] = SIGN[name]
            rows.append(row)
            targets.append(target + float(slopes[index, metric] @ logs[index]))
            trust.append(weights[index] / NOISE[name])
            owner.append(index)
    return LinearSystem(
        design=np.array(rows).reshape(len(rows), len(space) + len(builds)),
        targets=np.array(targets),
        trust=np.array(trust),
        observation=np.array(owner, dtype=np.int64),
        builds=builds,
        widths=np.concatenate([space.widths, np.full(len(builds), BUILD_WIDTH)]),
        block=block,
    )


def solve(
    *,
    space: EffectSpace,
    observations: Sequence[Observation],
    responses: FloatArray,
    slopes: FloatArray,
    logs: FloatArray,
    weights: FloatArray,
    rounds: int = 12,
) -> Solution:
    """Effects that bring linearised responses to the measurements.

    Parameters
    ----------
    responses, slopes, logs:
        Simulated logarithms, their derivatives, and the log parameters they were taken at:
        (observations, metrics), (observations, metrics, parameters), (observations,
        parameters).
    weights:
        Trust in each observation, 1 for a dated run with recorded settings. [-]
    rounds:
        Reweighting rounds.

    Notes
    -----
    Minimises ``sum h(w (y - f - J (x - x0) -+ b) / s) + sum (u / width)^2 + sum (b / 0.04)^2``
    over effects u, x = A u, and offsets of builds b, with Huber's h, by iteratively reweighted
    normal equations. Throughput falls and times rise with an offset.
    """
    system = linear_system(
        space=space,
        observations=observations,
        responses=responses,
        slopes=slopes,
        logs=logs,
        weights=weights,
    )
    return system.solve(rounds=rounds)
