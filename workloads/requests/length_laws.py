"""Lengths from a histogram, from quantiles, or from a file that says either.

A file given to ``--lengths`` is YAML with ``prompt`` and ``output``, each one of

- ``{law: fixed, tokens: N}``
- ``{law: lognormal, median_tokens: M, sigma: S, cap_tokens: C}``, longer ones cut to the cap;
  with ``truncated: true`` there are none, as in a data set that was filtered by length
- ``{law: normal, mean_tokens: M, sd_tokens: S, low_tokens: L, cap_tokens: C}``
- ``{law: quantiles, probabilities: [0, ..., 1], tokens: [...]}``
- ``{law: histogram, edges: [...], counts: [...], at_cap: N}``
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.datafiles import mapping_of, read_text, read_yaml_mapping
from workloads.errors import UserError, unknown_name
from workloads.requests.lengths import FixedLength, IntArray, LognormalLength
from workloads.requests.normal_law import normal_cdf, normal_quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from workloads.requests.lengths import LengthDistribution

_MEAN_POINTS = 1 << 16


@dataclass(frozen=True, slots=True)
class QuantileLength:
    """A length whose logarithm runs linearly between given quantiles.

    Parameters
    ----------
    probabilities:
        Rising from 0 to 1. [-]
    tokens:
        Lengths not exceeded with these probabilities. [tokens]

    Raises
    ------
    UserError
        If the lists differ in length, do not rise, or do not run from 0 to 1.
    """

    probabilities: tuple[float, ...]
    tokens: tuple[float, ...]

    def __post_init__(self) -> None:
        p, x = np.asarray(self.probabilities), np.asarray(self.tokens)
        if p.size != x.size or p.size < 2:
            raise UserError(
                f"quantiles: {p.size} probabilities and {x.size} tokens are given; "
                "each needs its other, and at least two"
            )
        if p[0] != 0 or p[-1] != 1 or np.any(np.diff(p) < 0):
            raise UserError("quantiles: probabilities must rise from 0 to 1")
        if x[0] < 1 or np.any(np.diff(x) < 0):
            raise UserError("quantiles: tokens must not fall, and start at 1 or more")

    @property
    def mean_tokens(self) -> float:
        """Expected length, by quadrature of the quantile function. [tokens]"""
        return float(self._at((np.arange(_MEAN_POINTS) + 0.5) / _MEAN_POINTS).mean())

    @property
    def cap_tokens(self) -> int:
        """Largest length. [tokens]"""
        return round(self.tokens[-1])

    def sample(self, rng: np.random.Generator, size: int) -> IntArray:
        """Draw `size` independent lengths. [tokens]"""
        return self._at(rng.random(size))

    def _at(self, u: np.ndarray[Any, np.dtype[np.float64]]) -> IntArray:
        log = np.interp(u, self.probabilities, np.log(self.tokens))
        tokens: IntArray = np.maximum(np.rint(np.exp(log)), 1).astype(np.int64)
        return tokens


@dataclass(frozen=True, slots=True)
class TruncatedLognormalLength:
    """A lognormal length of which those beyond `cap_tokens` are left out.

    Parameters
    ----------
    median_tokens, sigma:
        Median of the whole distribution [tokens] and deviation of its logarithm [-].
    cap_tokens:
        Largest length. [tokens]

    Raises
    ------
    UserError
        If a parameter is not positive or the median is beyond the cap.
    """

    median_tokens: float
    sigma: float
    cap_tokens: int

    def __post_init__(self) -> None:
        if self.sigma <= 0 or not 1 <= self.median_tokens <= self.cap_tokens:
            raise UserError(
                f"lognormal: median_tokens is {self.median_tokens:g} and sigma {self.sigma:g}; "
                f"sigma must be positive and the median between 1 and cap_tokens, {self.cap_tokens}"
            )

    @property
    def _reach(self) -> float:
        """Deviations from the median to the cap. [-]"""
        return math.log(self.cap_tokens / self.median_tokens) / self.sigma

    @property
    def mean_tokens(self) -> float:
        """Expected length; the mean of a truncated lognormal in closed form. [tokens]"""
        whole = self.median_tokens * math.exp(0.5 * self.sigma**2)
        return whole * float(normal_cdf(self._reach - self.sigma) / normal_cdf(self._reach))

    def sample(self, rng: np.random.Generator, size: int) -> IntArray:
        """Draw `size` independent lengths. [tokens]"""
        z = normal_quantile(rng.random(size) * normal_cdf(self._reach))
        tokens = np.rint(self.median_tokens * np.exp(self.sigma * z))
        return np.clip(tokens, 1, self.cap_tokens).astype(np.int64)


@dataclass(frozen=True, slots=True)
class NormalLength:
    """A normal length, rounded to whole tokens and clipped to [`low_tokens`, `cap_tokens`].

    Raises
    ------
    UserError
        If the deviation is negative or the limits are out of order.
    """

    mean: float
    sd: float
    low_tokens: int
    cap_tokens: int

    def __post_init__(self) -> None:
        if self.sd < 0:
            raise UserError(f"normal: sd_tokens is {self.sd}; it must not be negative")
        if not 1 <= self.low_tokens <= self.cap_tokens:
            raise UserError(
                f"normal: low_tokens is {self.low_tokens}; it must lie between 1 and cap_tokens, "
                f"{self.cap_tokens}"
            )

    @property
    def mean_tokens(self) -> float:
        """Expected length, by quadrature. [tokens]"""
        u = (np.arange(_MEAN_POINTS) + 0.5) / _MEAN_POINTS
        return float(self._clip(self.mean + self.sd * normal_quantile(u)).mean())

    def sample(self, rng: np.random.Generator, size: int) -> IntArray:
        """Draw `size` independent lengths. [tokens]"""
        return self._clip(rng.normal(self.mean, self.sd, size=size))

    def _clip(self, x: np.ndarray[Any, np.dtype[np.float64]]) -> IntArray:
        tokens: IntArray = np.clip(np.rint(x), self.low_tokens, self.cap_tokens).astype(np.int64)
        return tokens


def histogram_length(
    *, edges: tuple[float, ...], counts: tuple[float, ...], at_cap: float = 0.0
) -> QuantileLength:
    """Lengths of a histogram, log-uniform within a bin; `at_cap` more at the last edge.

    Raises
    ------
    UserError
        If the edges do not rise, a count is negative or their numbers do not match.
    """
    if not math.isfinite(sum(counts) + at_cap):
        raise UserError("histogram: counts must be finite, and their sum too")
    if len(edges) != len(counts) + 1:
        raise UserError(
            f"histogram: {len(edges)} edges and {len(counts)} counts are given; "
            "n bins have n + 1 edges"
        )
    if any(count < 0 for count in (*counts, at_cap)) or sum(counts) <= 0:
        raise UserError("histogram: counts must not be negative, and not all zero")
    if any(high <= low for low, high in pairwise(edges)):
        raise UserError("histogram: edges must rise")
    total = sum(counts) + at_cap
    # a bin without counts is a jump of the quantile function: two lengths at one probability
    reached = np.cumsum([0.0, *counts]) / total
    probabilities, tokens = reached.tolist(), [float(edge) for edge in edges]
    if at_cap:
        probabilities.append(1.0)
        tokens.append(float(edges[-1]))
    probabilities[-1] = 1.0
    return QuantileLength(tuple(probabilities), tuple(tokens))


_LISTS = ("probabilities", "tokens", "edges", "counts")
"""Figures that may be given as a list, whose texts are read as numbers."""


def _law(entry: Mapping[str, Any]) -> LengthDistribution:
    laws: dict[str, Callable[[], LengthDistribution]] = {
        "fixed": lambda: FixedLength(entry["tokens"]),
        "lognormal": lambda: (
            TruncatedLognormalLength if entry.get("truncated") else LognormalLength
        )(entry["median_tokens"], entry["sigma"], entry["cap_tokens"]),
        "normal": lambda: NormalLength(
            entry["mean_tokens"], entry["sd_tokens"], entry["low_tokens"], entry["cap_tokens"]
        ),
        "quantiles": lambda: QuantileLength(
            tuple(map(float, entry["probabilities"])), tuple(map(float, entry["tokens"]))
        ),
        "histogram": lambda: histogram_length(
            edges=tuple(map(float, entry["edges"])),
            counts=tuple(map(float, entry["counts"])),
            at_cap=float(entry.get("at_cap", 0)),
        ),
    }
    law = str(entry.get("law"))
    if law not in laws:
        raise unknown_name(field="law", value=law, known=laws)
    return laws[law]()


def _check_finite(entry: Mapping[str, Any]) -> None:
    for name, value in entry.items():
        for each in value if isinstance(value, list) else [value]:
            is_number = isinstance(each, int | float)
            if not math.isfinite(float(each) if is_number or name in _LISTS else 0.0):
                raise UserError(f"law {entry.get('law')}: {name} is {each}; it must be finite")


def length_law(entry: Mapping[str, Any]) -> LengthDistribution:
    """The distribution that a mapping of a data file describes; see the module.

    Raises
    ------
    UserError
        If the law is unknown, or a figure of it is missing or out of range.
    """
    try:
        _check_finite(entry)
        return _law(entry)
    except KeyError as error:
        raise UserError(f"law {entry.get('law')}: {error.args[0]} is missing") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"law {entry.get('law')}: {error}") from None


def longest_tokens(distribution: LengthDistribution) -> int:
    """Largest length of a distribution that has one. [tokens]

    Raises
    ------
    UserError
        If it has none.
    """
    for name in ("cap_tokens", "high_tokens", "tokens"):
        value = getattr(distribution, name, None)
        if isinstance(value, int):
            return value
    raise UserError(f"{type(distribution).__name__} has no largest length")


def _lines_of(path: Path) -> dict[str, int]:
    """Line of each key of a file's mapping, from 1."""
    import yaml

    try:
        node = yaml.compose(read_text(path), Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # libyaml, which reads the values, takes a tab where this does not
        return {}
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): key.start_mark.line + 1 for key, _ in node.value}


def _place(path: Path, line: int | None) -> str:
    return str(path) if line is None else f"{path}, line {line}"


def read_lengths(path: Path) -> tuple[LengthDistribution, LengthDistribution]:
    """Distributions of prompts and outputs from a YAML file; see the module.

    Raises
    ------
    UserError
        If the file cannot be read, lacks a side, has others, or describes no distribution.
    """
    entries = read_yaml_mapping(path)
    lines = _lines_of(path)
    for name in entries:
        if name not in ("prompt", "output", "source"):
            where = f"{_place(path, lines.get(name))}: key"
            raise unknown_name(field=where, value=name, known=("prompt", "output"))
    sides = []
    for name in ("prompt", "output"):
        if name not in entries:
            raise UserError(f"{path}: {name} is missing; a file of lengths has prompt and output")
        try:
            sides.append(length_law(mapping_of(name, entries[name])))
        except UserError as error:
            raise UserError(f"{_place(path, lines.get(name))}: {name}: {error}") from None
    return sides[0], sides[1]
