"""Distributions of prompt and output lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from workloads.errors import UserError, unknown_name
from workloads.requests.normal_law import normal_cdf

if TYPE_CHECKING:
    from collections.abc import Sequence

IntArray = npt.NDArray[np.int64]


class LengthDistribution(Protocol):
    """A distribution of whole numbers of tokens, all of them at least one."""

    @property
    def mean_tokens(self) -> float:
        """Expected length. [tokens]"""
        ...

    def sample(self, rng: np.random.Generator, size: int) -> IntArray:
        """Draw `size` independent lengths. [tokens]"""
        ...


@dataclass(frozen=True, slots=True)
class FixedLength:
    """Every length is `tokens`."""

    tokens: int

    def __post_init__(self) -> None:
        _require_positive("tokens", self.tokens)

    @property
    def mean_tokens(self) -> float:
        """Expected length. [tokens]"""
        return float(self.tokens)

    def sample(self, rng: np.random.Generator, size: int) -> IntArray:
        """Draw `size` independent lengths. [tokens]"""
        return np.full(size, self.tokens, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class UniformLength:
    """Whole numbers from `low_tokens` to `high_tokens`, both included, equally likely."""

    low_tokens: int
    high_tokens: int

    def __post_init__(self) -> None:
        _require_positive("low_tokens", self.low_tokens)
        if self.high_tokens < self.low_tokens:
            raise UserError(
                f"high_tokens is {self.high_tokens}; it must be at least low_tokens, "
                f"{self.low_tokens}"
            )

    @property
    def mean_tokens(self) -> float:
        """Expected length. [tokens]"""
        return (self.low_tokens + self.high_tokens) / 2

    def sample(self, rng: np.random.Generator, size: int) -> IntArray:
        """Draw `size` independent lengths. [tokens]"""
        return rng.integers(self.low_tokens, self.high_tokens, size=size, endpoint=True)


@dataclass(frozen=True, slots=True)
class LognormalLength:
    """A log-normal length rounded to whole tokens and clipped to [1, `cap_tokens`].

    Parameters
    ----------
    median_tokens:
        Median before rounding and clipping. [tokens]
    sigma:
        Standard deviation of the logarithm. [-]
    cap_tokens:
        Largest length. [tokens]
    """

    median_tokens: float
    sigma: float
    cap_tokens: int

    def __post_init__(self) -> None:
        _require_positive("median_tokens", self.median_tokens)
        _require_positive("cap_tokens", self.cap_tokens)
        if self.sigma < 0:
            raise UserError(f"sigma is {self.sigma}; it must not be negative")

    @property
    def mean_tokens(self) -> float:
        """Expected length after rounding and clipping. [tokens]

        Summed over the distribution function: ``E[X] = sum_{k>=1} P(X >= k)``.
        """
        if self.sigma == 0:
            return float(np.clip(round(self.median_tokens), 1, self.cap_tokens))
        edges = np.arange(2, self.cap_tokens + 1) - 0.5
        z = np.log(edges / self.median_tokens) / self.sigma
        return 1.0 + float(np.sum(normal_cdf(-z)))

    def sample(self, rng: np.random.Generator, size: int) -> IntArray:
        """Draw `size` independent lengths. [tokens]"""
        draws = rng.lognormal(np.log(self.median_tokens), self.sigma, size=size)
        return np.clip(np.rint(draws), 1, self.cap_tokens).astype(np.int64)


class EmpiricalLength:
    """Resampling, with replacement, of observed lengths.

    Parameters
    ----------
    observed_tokens:
        Lengths to draw from. [tokens]
    """

    def __init__(self, observed_tokens: Sequence[int] | IntArray) -> None:
        self._observed = np.asarray(observed_tokens, dtype=np.int64)
        if self._observed.size == 0:
            raise UserError("observed_tokens is empty; give at least one length")
        _require_positive("observed_tokens", int(self._observed.min()))

    @property
    def mean_tokens(self) -> float:
        """Expected length. [tokens]"""
        return float(self._observed.mean())

    def sample(self, rng: np.random.Generator, size: int) -> IntArray:
        """Draw `size` independent lengths. [tokens]"""
        return self._observed[rng.integers(0, self._observed.size, size=size)]


LENGTH_DISTRIBUTIONS = ("fixed", "uniform_0_to_cap", "uniform_<ratio>")


def length_distribution(*, name: str, nominal_tokens: int) -> LengthDistribution:
    """The distribution that a benchmark table names, around a nominal length.

    Parameters
    ----------
    name:
        ``fixed``; ``uniform_R``: uniform in [int(R L), L], as vLLM's and InferenceX's
        ``--random-range-ratio R`` (InferenceX runs ``uniform_0.8``); ``uniform_0_to_cap``:
        uniform in [1, L], as SGLang's ``bench_serving`` with its default range ratio of 0.
    nominal_tokens:
        Nominal length L. [tokens]

    Raises
    ------
    UserError
        If the name is unknown, the ratio is outside [0, 1] or the length is below one.
    """
    _require_positive("nominal_tokens", nominal_tokens)
    if name == "fixed":
        return FixedLength(nominal_tokens)
    if name == "uniform_0_to_cap":
        return UniformLength(1, nominal_tokens)
    prefix, _, ratio = name.partition("_")
    if prefix == "uniform":
        try:
            return scaled_uniform(nominal_tokens=nominal_tokens, range_ratio=float(ratio))
        except ValueError as error:
            if isinstance(error, UserError):
                raise
    raise unknown_name(field="length_distribution", value=name, known=LENGTH_DISTRIBUTIONS)


def scaled_uniform(*, nominal_tokens: int, range_ratio: float) -> UniformLength:
    """Uniform in [int(`range_ratio` L), L], never below one token.

    Raises
    ------
    UserError
        If `range_ratio` is outside [0, 1] or `nominal_tokens` is below one.
    """
    if not 0 <= range_ratio <= 1:
        raise UserError(f"range_ratio is {range_ratio}; it must lie in [0, 1]")
    _require_positive("nominal_tokens", nominal_tokens)
    return UniformLength(max(1, int(nominal_tokens * range_ratio)), nominal_tokens)


def _require_positive(field: str, value: float) -> None:
    if not value >= 1:
        raise UserError(f"{field} is {value}; a length must be at least 1 token")
