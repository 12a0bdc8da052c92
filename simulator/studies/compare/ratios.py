"""Bands of ratios of two systems' throughput: from paired errors, else from two single bands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from hwmodels.sku import list_skus, load_sku
from simulator.engines.labels import parse_engine
from simulator.prediction.bands import DATES, SAME_ENGINE, ratio_factors, relation_of

if TYPE_CHECKING:
    import pandas as pd

    from simulator.analysis.pareto import Frontier
    from simulator.studies.compare.sides import Side

RatioBasis = Literal["paired", "independent"]
"""Whether a ratio's band is of errors of left-out pairs, or of two bands as if independent."""


def ratio_interval(
    side: Side, reference: Side, *, x: float, ratio: float
) -> tuple[float, float, RatioBasis] | None:
    """90 % interval of a ratio at a speed per user, and what it rests on. [-]

    ``None`` where predictions of the kinds have not been compared with measurements.
    """
    mine, other = (each.curves["total"].at_least(x) for each in (side, reference))
    factors = _paired(side.run_at(x), reference.run_at(x), side=side)
    if factors is not None and other is not None:
        low, high = (clamped(side.curves["total"].scaled(each), x) / other for each in factors)
        return min(low, ratio), max(high, ratio), "paired"
    bands = (side.band_at(x), reference.band_at(x))
    if bands[0] is None or bands[1] is None or mine is None or other is None:
        return None
    return *ratio_band(mine, bands[0], other, bands[1]), "independent"


def _paired(run: pd.Series, other: pd.Series, *, side: Side) -> tuple[float, float] | None:
    software = [parse_engine(str(row["engine"])).engine.software for row in (run, other)]
    kinds = [str(row["kind"]) for row in (run, other)]
    relation = relation_of(*software, generations=_generations(str(run["sku"]), str(other["sku"])))
    one = run["sku"] == other["sku"] and software[0] == software[1]
    if one and kinds == ["calibrated"] * 2:
        kinds, relation = [DATES, DATES], SAME_ENGINE
    return ratio_factors(
        first=kinds[0], second=kinds[1], relation=relation, directory=side.calibration
    )


def _generations(first: str, second: str) -> tuple[str, str] | None:
    """Chip generations of two SKUs of the catalogue; ``None`` where one is a user's own."""
    if not {first, second} <= set(list_skus()):
        return None
    return load_sku(first).generation, load_sku(second).generation


def ratio_band(
    first: float, first_band: tuple[float, float], second: float, second_band: tuple[float, float]
) -> tuple[float, float]:
    """90 % interval of a ratio of two predictions with bands, their errors independent. [-]

    Logarithmic half-widths add in quadrature, the low end of the ratio from the first's low and
    the second's high. Predictions of one engine and model err together, so that this interval
    is rather too wide. An end is 0 or infinite where a band reaches down to 0.
    """
    ratio = first / second
    down = math.hypot(_log(first, first_band[0]), _log(second_band[1], second))
    up = math.hypot(_log(first_band[1], first), _log(second, second_band[0]))
    return ratio * math.exp(-down), ratio * math.exp(up) if up < math.inf else math.inf


def _log(above: float, below: float) -> float:
    return math.log(above / below) if below > 0 else math.inf


def clamped(curve: Frontier, x: float) -> float:
    """The curve at a speed; 0 beyond its fast end, its throughput there before its slow end."""
    return curve.at_least(x) or 0.0


def nearest_knot(knots: np.ndarray[tuple[int], np.dtype[np.float64]], x: float) -> int:
    """Position of the knot of a curve that is nearest to a speed."""
    return int(np.abs(knots - x).argmin())
