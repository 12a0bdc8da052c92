"""The regularised, robust least-squares step from responses to effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.observations import METRICS, NOISE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from calibration.effects import EffectSpace
    from calibration.observations import Observation

    FloatArray = npt.NDArray[np.float64]

SERIES_WIDTH = 0.10
"""Prior standard deviation of what all runs of a series share beyond the model, as a factor on
time: software build, kernel choice, unrecorded flags. [-]"""

HUBER = 2.0
"""Standardised residual beyond which an observation pulls no harder. [-]"""

_SIGN = {"throughput": -1.0, "tpot": 1.0, "ttft": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Effects and series offsets that explain observations, and how well they are known.

    Parameters
    ----------
    effects:
        In the columns of an `EffectSpace`. [-]
    offsets:
        Log factor on time by series. [-]
    covariance:
        Of the effects. [-]
    """

    effects: FloatArray
    offsets: dict[str, float]
    covariance: FloatArray


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
    Minimises ``sum h(w (y - f - J (x - x0) -+ b) / s) + sum (u / width)^2 + sum (b / 0.1)^2``
    over effects u, x = A u, and series offsets b, with Huber's h, by iteratively reweighted
    normal equations. Throughput falls and times rise with an offset.
    """
    series = sorted({observation.series for observation in observations})
    place = {name: len(space) + index for index, name in enumerate(series)}
    size = len(space) + len(series)
    prior = np.concatenate([space.widths, np.full(len(series), SERIES_WIDTH)])
    rows: list[FloatArray] = []
    targets: list[float] = []
    trust: list[float] = []
    for index, observation in enumerate(observations):
        columns = [
            space.indices(parameter=parameter, level=observation.level)
            for parameter in space.parameters
        ]
        for metric, name in enumerate(METRICS):
            target = observation.measured[metric] - responses[index, metric]
            if not np.isfinite(target):
                continue
            row = np.zeros(size)
            for parameter, indices in enumerate(columns):
                row[indices] += slopes[index, metric, parameter]
            row[place[observation.series]] = _SIGN[name]
            rows.append(row)
            targets.append(target + float(slopes[index, metric] @ logs[index]))
            trust.append(weights[index] / NOISE[name])
    design, target_array, scale = np.array(rows), np.array(targets), np.array(trust)
    precision = np.diag(prior**-2.0)
    robust = np.ones(len(targets))
    solution = np.zeros(size)
    normal = precision
    for _ in range(rounds):
        weighted = (robust * scale**2)[:, None] * design
        normal = design.T @ weighted + precision
        solution = np.linalg.solve(normal, weighted.T @ target_array)
        residual = np.abs((target_array - design @ solution) * scale)
        robust = np.minimum(1.0, HUBER / np.maximum(residual, 1e-12))
    effects = len(space)
    covariance = np.asarray(np.linalg.inv(normal)[:effects, :effects], dtype=np.float64)
    return Solution(
        effects=solution[:effects],
        offsets={name: float(solution[column]) for name, column in place.items()},
        covariance=covariance,
    )
