"""The regularised, robust least-squares step from responses to effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg
from scipy.sparse import csr_array, diags_array

from calibration.fit.observations import METRICS, NOISE

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
    """

    design: FloatArray
    targets: FloatArray
    trust: FloatArray
    observation: npt.NDArray[np.int64]
    builds: list[str]
    widths: FloatArray

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
            Whether the covariance is worked out, which takes longer than all else; it is empty
            otherwise.
        """
        kept = ~np.isin(self.observation, without)
        design, targets, scale = self.design[kept], self.targets[kept], self.trust[kept]
        solution: FloatArray = np.zeros(len(self.widths))
        robust = np.ones(len(targets))
        if start is not None:
            solution[:] = [*start.effects, *(start.offsets.get(s, 0.0) for s in self.builds)]
            robust = _huber((targets - design @ solution) * scale)
        normal = np.diag(self.widths**-2.0) + _gram(design, robust * scale**2)
        for _ in range(rounds):
            before = solution
            pull = design.T @ (robust * scale**2 * targets)
            solution = np.asarray(linalg.solve(normal, pull, assume_a="pos"), dtype=np.float64)
            if np.max(np.abs(self.design @ (solution - before)), initial=0.0) < SETTLED:
                break
            moved = _huber((targets - design @ solution) * scale) - robust
            rows = np.abs(moved) > 1e-9
            robust = robust + moved
            normal += _gram(design[rows], (moved * scale**2)[rows])
        effects = len(self.widths) - len(self.builds)
        inverse = np.linalg.inv(normal) if with_covariance else np.empty((0, 0))
        covariance = np.asarray(inverse[:effects, :effects], dtype=np.float64)
        return Solution(
            effects=np.asarray(solution[:effects], dtype=np.float64),
            offsets=dict(zip(self.builds, solution[effects:].tolist(), strict=True)),
            covariance=covariance,
        )


class Refits:
    """Solutions without some observations, starting from a solution with all.

    Parameters
    ----------
    system, start:
        All observations, and the solution whose residuals give the robust weights.

    Notes
    -----
    Few rows D of weights W are taken out of the normal equations A x = b by Woodbury's identity,
    ``(A - D' W D)^-1 = A^-1 + A^-1 D' (W^-1 - D A^-1 D')^-1 D A^-1``, at the weights of
    ``start``; many by solving again, with weights of their own.
    """

    def __init__(self, system: LinearSystem, *, start: Solution) -> None:
        self.system = system
        self.start = start
        known = [*start.effects, *(start.offsets.get(name, 0.0) for name in system.builds)]
        residuals = (system.targets - system.design @ np.array(known)) * system.trust
        self._weights = _huber(residuals) * system.trust**2
        normal = np.diag(system.widths**-2.0) + _gram(system.design, self._weights)
        self._inverse = np.linalg.inv(normal)
        self._solution = self._inverse @ (system.design.T @ (self._weights * system.targets))

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
        design, weights = system.design[out], self._weights[out]
        spread = self._inverse @ design.T
        shifted = self._solution - spread @ (weights * system.targets[out])
        core = np.diag(1.0 / weights) - design @ spread
        solution = shifted + spread @ np.linalg.solve(core, design @ shifted)
        effects = len(system.widths) - len(system.builds)
        return Solution(
            effects=np.asarray(solution[:effects], dtype=np.float64),
            offsets=dict(zip(system.builds, solution[effects:].tolist(), strict=True)),
            covariance=np.empty((0, 0)),
        )


def _gram(design: FloatArray, weights: FloatArray) -> FloatArray:
    """``design' diag(weights) design``; a row touches a few dozen of a thousand columns."""
    rows = csr_array(design)
    return np.asarray((rows.T @ (diags_array(weights) @ rows)).toarray(), dtype=np.float64)


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
