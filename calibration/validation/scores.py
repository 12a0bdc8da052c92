"""How far predictions are from measurements, in the figures that the field quotes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.analysis.pareto import Frontier

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

FRONTIER_POINTS = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Errors of one metric over some runs.

    Parameters
    ----------
    runs:
        Runs compared.
    median, mean:
        Of the absolute relative error. [-]
    bias:
        Median of predicted over measured, less one. [-]
    within_quarter:
        Share of runs within 25 %. [-]
    """

    runs: int
    median: float
    mean: float
    bias: float
    within_quarter: float


def score(*, predicted: FloatArray, measured: FloatArray) -> Score | None:
    """Errors of predicted against measured values; ``None`` where nothing can be compared.

    Both are logarithms; a NaN on either side leaves the run out.
    """
    known = np.isfinite(predicted) & np.isfinite(measured)
    if not known.any():
        return None
    ratio = np.exp(predicted[known] - measured[known])
    error = np.abs(ratio - 1.0)
    return Score(
        runs=int(known.sum()),
        median=float(np.median(error)),
        mean=float(np.mean(error)),
        bias=float(np.median(ratio)) - 1.0,
        within_quarter=float(np.mean(error <= 0.25)),
    )


def frontier_error(
    *,
    measured_tpot_s: FloatArray,
    measured_rate: FloatArray,
    predicted_tpot_s: FloatArray,
    predicted_rate: FloatArray,
) -> float | None:
    """Median error of throughput at equal tok/s/user between two frontiers of the same runs.

    21 equally spaced interactivities in the common range, log-linear between knots; frontiers
    that do not overlap count as 100 %. ``None`` with fewer than two runs.
    """
    if len(measured_rate) < 2:
        return None
    measured = Frontier.of(1.0 / measured_tpot_s, measured_rate)
    predicted = Frontier.of(1.0 / predicted_tpot_s, predicted_rate)
    low = max(measured.x[0], predicted.x[0])
    high = min(measured.x[-1], predicted.x[-1])
    if not low < high:
        return 1.0
    at = np.linspace(low, high, FRONTIER_POINTS)
    ratio = np.exp(
        np.interp(at, predicted.x, np.log(predicted.y))
        - np.interp(at, measured.x, np.log(measured.y))
    )
    return float(np.median(np.abs(ratio - 1.0)))


def coverage(*, inside: Sequence[bool]) -> float:
    """Share of runs inside their bands. [-]"""
    return float(np.mean(inside)) if len(inside) else float("nan")
