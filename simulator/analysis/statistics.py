"""Statistics of simulation output: warm-up, confidence intervals, paired comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from workloads.errors import UserError

if TYPE_CHECKING:
    FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and its confidence interval.

    Parameters
    ----------
    mean, half_width:
        Estimate and half the width of the interval, in the unit of the data.
    confidence:
        Probability with which such intervals cover the true mean. [-]
    observations:
        Independent values that it rests on.
    """

    mean: float
    half_width: float
    confidence: float
    observations: int

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half_width

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def mean_interval(values: npt.ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Student's t interval for the mean of independent values, such as one per replication.

    Raises
    ------
    UserError
        If there are fewer than two values, one is not finite, or `confidence` is not in (0, 1).
    """
    data = np.asarray(values, dtype=np.float64).ravel()
    if data.size < 2:
        raise UserError(f"{data.size} values given; an interval needs at least 2 replications")
    if not np.isfinite(data).all():
        raise UserError("a value is not finite; leave failed replications out explicitly")
    if not 0 < confidence < 1:
        raise UserError(f"confidence is {confidence}; it must lie between 0 and 1")
    error = float(data.std(ddof=1)) / math.sqrt(data.size)
    quantile = _student_half_width(data.size - 1, confidence)
    return Interval(
        mean=float(data.mean()),
        half_width=quantile * error,
        confidence=confidence,
        observations=data.size,
    )


@cache
def _student_half_width(degrees: int, confidence: float) -> float:
    """Deviations t of a mean with which P(-t < T < t) is the confidence. [-]

    With ``t = sqrt(n) tan(a)`` and n degrees of freedom that is a finite sum over powers of cos a
    (Abramowitz and Stegun 26.7.3 and 26.7.4), solved by halving in a.
    """
    odd = degrees % 2
    steps = np.arange(1, (degrees - odd) // 2 if degrees > 1 else 1)
    ratios = (2.0 * steps - 1 + odd) / (2.0 * steps + odd)
    factors = np.concatenate([[1.0], np.cumprod(ratios)]) if degrees > 1 else np.zeros(1)
    powers = 2.0 * np.arange(len(factors)) + odd

    def covered(angle: float) -> float:
        total = math.sin(angle) * float(factors @ math.cos(angle) ** powers)
        return 2 / math.pi * (angle + total) if odd else total

    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if covered(middle) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def paired_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Interval for the mean of ``first - second``, replication by replication.

    With common random numbers (the same arrivals in both) it is narrower than the difference
    of two separate intervals.

    Raises
    ------
    UserError
        If the two differ in length, or as `mean_interval`.
    """
    a = np.asarray(first, dtype=np.float64)
    b = np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise UserError(f"{a.size} and {b.size} values given; pairs need equally many of each")
    return mean_interval(a - b, confidence=confidence)


def batch_means(series: npt.ArrayLike, *, batches: int = 20, confidence: float = 0.95) -> Interval:
    """Interval for the mean of one long stationary, autocorrelated series.

    The series is cut into equal batches, long enough that their means are nearly independent;
    what does not fill a batch is cut off at the start. Cut the warm-up before (`mser5`).

    Parameters
    ----------
    batches:
        10 to 30 serve best (Schmeiser, "Batch size effects in the analysis of simulation
        output", Operations Research 30 (1982)).

    Raises
    ------
    UserError
        If the series is shorter than two values per batch, or `batches` is below two.
    """
    data = np.asarray(series, dtype=np.float64).ravel()
    if batches < 2 or data.size < 2 * batches:
        raise UserError(
            f"{data.size} values in {batches} batches; give at least 2 batches of 2 values"
        )
    size = data.size // batches
    means = data[data.size - size * batches :].reshape(batches, size).mean(axis=1)
    return mean_interval(means, confidence=confidence)


def mser5(series: npt.ArrayLike) -> int:
    """How many leading values to cut as warm-up, by the MSER-5 rule.

    With ``Z`` the means of batches of 5, the cut ``d`` minimizes the squared standard error of
    what is left, ``sum_{i>=d} (Z_i - mean)^2 / (n - d)^2``, over the first half of the series.

    Returns
    -------
    int
        Values to cut, a multiple of 5.

    Raises
    ------
    UserError
        If there are fewer than 10 values, or the best cut is the last one allowed: the series
        is then too short to tell where the warm-up ends.

    References
    ----------
    White, Cobb and Spratt, "A comparison of five steady-state truncation heuristics for
    simulation", Winter Simulation Conference 2000.
    """
    data = np.asarray(series, dtype=np.float64).ravel()
    if data.size < 10:
        raise UserError(f"{data.size} values given; MSER-5 needs at least 10")
    count = data.size // 5
    means = data[: count * 5].reshape(count, 5).mean(axis=1)
    means -= means.mean()
    left = np.arange(count, 0, -1)
    sums = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum((means**2)[::-1])[::-1]
    scores = (squares - sums**2 / left) / left.astype(np.float64) ** 2
    candidates = scores[: count // 2 + 1]
    best = int(np.argmin(candidates))
    if best == count // 2 and candidates[best] < candidates[0]:
        raise UserError(
            f"the warm-up does not end within the first half of {data.size} values; run longer"
        )
    return best * 5
