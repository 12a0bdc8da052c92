"""Fitting software levels to measured runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.fit.effects import FITTED, EffectSpace
from calibration.fit.least_squares import Solution, solve
from calibration.fit.observations import METRICS
from calibration.fit.response import jacobian, respond
from calibration.fit.sampled_jacobian import SampledRuns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from calibration.fit.effects import LevelKey
    from calibration.fit.observations import Observation
    from simulator.output.kept_work import KeptWork

    FloatArray = npt.NDArray[np.float64]

MOST_ROUNDS = 2
"""Gauss-Newton rounds at the most."""

NEAR = 0.03
"""Change of log throughput or TPOT below which a run is not simulated again. [-]"""

FAR = 0.2
"""Root mean square of moved log parameters from which derivatives are simulated again. [-]"""

LARGEST_MOVE = 0.7
"""Most that a log parameter moves in one round. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """Software levels fitted to observations; compared by identity.

    Parameters
    ----------
    space, solution:
        Effects, their values and covariance.
    observations, weights:
        What was fitted, and the trust in each.
    logs, responses, slopes:
        Log parameters of each observation, simulated logarithms there, and derivatives.
    """

    space: EffectSpace
    solution: Solution
    observations: list[Observation]
    weights: FloatArray
    logs: FloatArray
    responses: FloatArray
    slopes: FloatArray

    def level_logs(self, level: LevelKey) -> FloatArray:
        """Log parameters of a level over their starting values. [-]"""
        return self.space.values(effects=self.solution.effects, level=level)

    @property
    def silent(self) -> int:
        """Runs that do not fit in memory or cannot finish, and so say nothing. [runs]"""
        return int(np.isnan(self.responses).any(axis=1).sum())

    @property
    def last_moves(self) -> FloatArray:
        """Change of log throughput or TPOT, the larger, that the last solution asks for. [-]"""
        wanted = np.array([self.level_logs(o.level) for o in self.observations])
        return _moves(self.slopes, wanted - self.logs)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierSlopes:
    """Derivatives of responses that an earlier fit took, one row an observation.

    Parameters
    ----------
    logs:
        Log parameters that they were taken at, infinite for runs that it did not have. [-]
    slopes:
        (observations, metrics, parameters), NaN for those. [-]
    """

    logs: FloatArray
    slopes: FloatArray


def fit_levels(
    observations: Sequence[Observation],
    *,
    weights: FloatArray,
    start: FloatArray | None = None,
    earlier: EarlierSlopes | None = None,
    workers: int = 2,
    kept: KeptWork | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Fit:
    """Fit the software levels of observed runs.

    Parameters
    ----------
    weights:
        Trust in each observation. [-]
    start:
        Log parameters of each observation to begin with; ``None``: nothing fitted. A start near
        the end spares rounds; priors draw towards nothing fitted all the same.
    earlier:
        Derivatives that an earlier fit took of some of the runs; simulated again after far moves.
    workers:
        Processes that simulate; the result does not depend on their number.
    kept:
        Where finished responses and derivatives are kept.
    on_progress:
        Called with (rounds done, rounds in all, what is under way).

    Notes
    -----
    Gauss-Newton on logarithms. Each round simulates the runs whose figures are to move, at the
    parameters found; derivatives are simulated at a few runs of each sweep, in the first round
    and after far moves. The last solution is one linear step beyond the last responses.
    """
    observations = list(observations)
    levels = sorted({o.level for o in observations}, key=lambda level: level.groups)
    space = EffectSpace(levels=levels)
    shape = (len(observations), len(METRICS))
    logs = np.zeros((len(observations), len(FITTED))) if start is None else start.copy()
    responses = np.full(shape, np.nan)
    taken = np.full((len(observations), len(FITTED)), np.inf)
    known = np.full((*shape, len(FITTED)), np.nan)
    if earlier is not None:
        taken, known = earlier.logs.copy(), earlier.slopes.copy()
    moving = np.arange(len(observations))
    for done in range(MOST_ROUNDS):
        _tell(on_progress, done, "responses")
        responses[moving] = respond(
            observations=[observations[i] for i in moving],
            logs=logs[moving],
            parameters=FITTED,
            workers=workers,
            kept=kept,
        )
        sample = SampledRuns(observations, logs=logs)
        stale = sample.rows[_rms(logs[sample.rows] - taken[sample.rows]) > FAR]
        if len(stale):
            _tell(on_progress, done, "derivatives")
            taken[stale] = logs[stale]
            known[stale] = jacobian(
                observations=[observations[i] for i in stale],
                logs=logs[stale],
                parameters=FITTED,
                workers=workers,
                kept=kept,
            )
        slopes = sample.spread(known[sample.rows])
        solution = solve(
            space=space,
            observations=observations,
            responses=responses,
            slopes=slopes,
            logs=logs,
            weights=weights,
        )
        wanted = np.array(
            [space.values(effects=solution.effects, level=o.level) for o in observations]
        )
        move = np.clip(wanted - logs, -LARGEST_MOVE, LARGEST_MOVE)
        moving = np.flatnonzero(_moves(slopes, move) > NEAR)
        if not len(moving) or done == MOST_ROUNDS - 1:
            break
        logs[moving] += move[moving]
    return Fit(
        space=space,
        solution=solution,
        observations=observations,
        weights=weights,
        logs=logs,
        responses=responses,
        slopes=slopes,
    )


def _moves(slopes: FloatArray, change: FloatArray) -> FloatArray:
    """What a change of log parameters does to log throughput or TPOT, the larger of both. [-]"""
    moves: FloatArray = np.abs(np.einsum("omp,op->om", slopes, change))[:, :2].max(axis=1)
    return moves


def _rms(moves: FloatArray) -> FloatArray:
    """Root mean square of each row. [-]"""
    size: FloatArray = np.sqrt(np.mean(moves**2, axis=1))
    return size


def _tell(on_progress: Callable[[int, int, str], None] | None, done: int, what: str) -> None:
    if on_progress is not None:
        on_progress(done, MOST_ROUNDS, what)
