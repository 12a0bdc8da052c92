"""Kernel floors by launch generation, and their trend from one generation to the next.

The time of a launch with nothing to do (``t0_s`` of the kernel table) belongs to a chip
generation. A generation that no kernel was measured on gets the floors of the last measured one of
its line, times the trend of those before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FLOOR = "t0_scale"
"""Parameter of a fit that kernel floors are multiplied by, see `hwmodels.calibration_files`."""

_LINES: dict[str, tuple[str, ...]] = {
    "nvidia": ("ampere", "hopper", "blackwell", "blackwell_ultra", "rubin"),
    "amd": ("cdna3", "cdna4", "cdna5"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorTrend:
    """Floors of a generation relative to those of the generation that they are taken from.

    Parameters
    ----------
    generation, base:
        The generation, and the measured one whose floors it has; equal where it was measured
        itself, and base ``generic`` where no generation of its line was.
    ratio, low, high:
        Its floors over the base's, and the range of single steps of the line. [-]
    steps:
        Measured steps: older generation, newer one, median ratio of the kernels measured on both,
        and how many they are.
    """

    generation: str
    base: str
    ratio: float = 1.0
    low: float = 1.0
    high: float = 1.0
    steps: tuple[tuple[str, str, float, int], ...] = ()


def floor_trend(*, generation: str, table: Mapping[str, Any]) -> FloorTrend:
    """What the floors of a generation are taken from.

    Parameters
    ----------
    generation:
        Of the chip.
    table:
        Kernel table in the form of ``software/kernels.yaml``.

    Notes
    -----
    A step of the line is the median, over kernels fitted on both generations, of newer over older
    floor; the trend is the median step, to the power of the steps from the last measured
    generation. With fewer than two steps there is no trend, and the floors are the base's.
    """
    paths = [entry for family in table["families"].values() for entry in family.values()]
    if any(generation in entry for entry in paths):
        return FloorTrend(generation=generation, base=generation)
    line = next((line for line in _LINES.values() if generation in line), ())
    before = line[: line.index(generation)] if line else ()
    known = [name for name in before if any(_fitted(entry, name) for entry in paths)]
    if not known:
        return FloorTrend(generation=generation, base="generic")
    steps = []
    for older, newer in pairwise(known):
        ratios = [
            _floor(entry, newer) / _floor(entry, older)
            for entry in paths
            if _fitted(entry, older) and _fitted(entry, newer)
        ]
        if ratios:
            steps.append((older, newer, median(ratios), len(ratios)))
    base = known[-1]
    if len(steps) < 2:
        return FloorTrend(generation=generation, base=base, steps=tuple(steps))
    ahead = line.index(generation) - line.index(base)
    values = [ratio for _, _, ratio, _ in steps]
    return FloorTrend(
        generation=generation,
        base=base,
        ratio=median(values) ** ahead,
        low=min(values) ** ahead,
        high=max(values) ** ahead,
        steps=tuple(steps),
    )


def floor_s(*, generations: Mapping[str, Any], trend: FloorTrend) -> float:
    """Floor of one kernel of the table on the trend's generation. [s]"""
    if trend.base in generations:
        return trend.ratio * _floor(generations, trend.base)
    return _floor(generations, "generic")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedFloors:
    """How floors moved over the dated software of some chips.

    Parameters
    ----------
    skus:
        Chips whose levels were followed.
    levels:
        Engines on chips, by model family, with fitted levels of three dates or more.
    change, low, high:
        Change of a month, its median over the levels and the 5 % and 95 % quantile. [-]
    first, last:
        Dates between which.
    """

    skus: tuple[str, ...]
    levels: int
    change: float
    low: float
    high: float
    first: str
    last: str


def dated_floors(
    skus: Sequence[str], *, factor_of: Callable[[str, str, str, str], float], runs: Sequence[str]
) -> DatedFloors | None:
    """Trend of fitted floors over the dates of engines on some chips; ``None`` without three dates.

    Parameters
    ----------
    factor_of:
        Floor over the kernel table's of (family, engine, SKU, level date). [-]
    runs:
        Names of fitted levels, ``family/engine/sku/date``; undated ones are left out.

    Notes
    -----
    Slope of the logarithm by least squares over the level dates of each engine, family and chip.
    """
    chains: dict[tuple[str, str, str], list[str]] = {}
    for name in runs:
        family, engine, sku, date = name.split("/")
        if sku in skus and date[:1].isdigit():
            chains.setdefault((family, engine, sku), []).append(date)
    slopes, dates = [], []
    for chain, known in chains.items():
        months = [_month(date) for date in known]
        if len(known) < 3 or max(months) - min(months) < 1:
            continue
        logs = [log(factor_of(*chain, date)) for date in known]
        centre = sum(months) / len(months)
        spread = sum((month - centre) ** 2 for month in months)
        moved = sum((m - centre) * value for m, value in zip(months, logs, strict=True))
        slopes.append(exp(moved / spread) - 1.0)
        dates += known
    if not slopes:
        return None
    ordered = sorted(slopes)
    return DatedFloors(
        skus=tuple(sku for sku in skus if any(chain[2] == sku for chain in chains)),
        levels=len(slopes),
        change=median(ordered),
        low=ordered[int(0.05 * len(ordered))],
        high=ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)],
        first=min(dates),
        last=max(dates),
    )


def _month(date: str) -> float:
    """A day, or the middle of a month, in months."""
    return int(date[:4]) * 12 + int(date[5:7]) + int(date[8:10] or 15) / 30


def _fitted(entry: Mapping[str, Any], generation: str) -> bool:
    return generation in entry and entry[generation]["t0_s"]["kind"] == "fitted"


def _floor(entry: Mapping[str, Any], generation: str) -> float:
    return float(entry[generation]["t0_s"]["value"])
