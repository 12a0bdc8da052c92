"""Fitting software levels to measured runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.effects import FITTED, EffectSpace
from calibration.response import jacobian, respond
from calibration.solve import Solution, solve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from calibration.effects import LevelKey
    from calibration.observations import Observation

    FloatArray = npt.NDArray[np.float64]

ROUNDS = 3
"""Gauss-Newton rounds: the responses are nearly log-linear in the parameters."""

DERIVATIVES = (0, 1)
"""Rounds at which derivatives are simulated; between them Broyden's rule updates them."""

LARGEST_MOVE = 0.7
"""Most that a log parameter moves in one round. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Software levels fitted to observations.

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


def fit_levels(
    observations: Sequence[Observation],
    *,
    weights: FloatArray,
    workers: int = 2,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Fit:
    """Fit the software levels of observed runs.

    Parameters
    ----------
    weights:
        Trust in each observation. [-]
    workers:
        Processes that simulate; the result does not depend on their number.
    on_progress:
        Called with (rounds done, rounds in all, what is under way).

    Notes
    -----
    Gauss-Newton on logarithms: derivatives are simulated in the first two rounds and updated
    after by Broyden's rule from the responses of each round, run by run. All rounds but the last
    serve fewer requests. The last solution is one linear step beyond the last responses.
    """
    observations = list(observations)
    levels = sorted({o.level for o in observations}, key=lambda level: level.groups)
    space = EffectSpace(levels=levels)
    logs = np.zeros((len(observations), len(FITTED)))
    before, responses, slopes = logs, np.empty(0), np.empty(0)
    for done in range(ROUNDS + 1):
        _tell(on_progress, done, "responses")
        after = respond(
            observations=observations,
            logs=logs,
            parameters=FITTED,
            workers=workers,
            short=done < ROUNDS,
        )
        if done in DERIVATIVES:
            _tell(on_progress, done, "derivatives")
            slopes = jacobian(
                observations=observations,
                logs=logs,
                base=after,
                parameters=FITTED,
                workers=workers,
            )
        elif done < ROUNDS:
            slopes = _broyden(slopes=slopes, change=logs - before, observed=after - responses)
        responses = after
        solution = solve(
            space=space,
            observations=observations,
            responses=responses,
            slopes=slopes,
            logs=logs,
            weights=weights,
        )
        if done == ROUNDS:
            break
        before = logs
        wanted = np.array(
            [space.values(effects=solution.effects, level=o.level) for o in observations]
        )
        logs = before + np.clip(wanted - before, -LARGEST_MOVE, LARGEST_MOVE)
    return Fit(
        space=space,
        solution=solution,
        observations=observations,
        weights=weights,
        logs=logs,
        responses=responses,
        slopes=slopes,
    )


def _broyden(*, slopes: FloatArray, change: FloatArray, observed: FloatArray) -> FloatArray:
    """Derivatives corrected along the direction moved, the least change that explains it."""
    length = np.sum(change**2, axis=1)
    missed = observed - np.einsum("omp,op->om", slopes, change)
    missed = np.where(np.isfinite(missed), missed, 0.0)
    step = missed[:, :, None] * change[:, None, :] / np.maximum(length, 1e-12)[:, None, None]
    # short moves are noise of a discrete schedule, not curvature
    return np.where((length > 1e-3)[:, None, None], slopes + step, slopes)


def _tell(on_progress: Callable[[int, int, str], None] | None, done: int, what: str) -> None:
    if on_progress is not None:
        on_progress(done, ROUNDS, what)
