"""Bands of ratios of two predictions, from errors of left-out runs taken in pairs.

What two predictions under one model and load miss alike cancels in their ratio. A frontier's
residual is how far measured lies above predicted at equal users per GPU: an error in time moves a
run along that line, in throughput and in speed alike. A ratio's is the difference of two, each
side predicted without its own runs.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from calibration.validation.bands import COVERED, FEWEST, Band, _covered_by_others, _widening
from calibration.validation.cell_bands import conformal_ends
from simulator.analysis.pareto import Frontier
from simulator.prediction.bands import (
    DATES,
    OTHER_ENGINE,
    SAME_ENGINE,
    SAME_PLATFORM,
    pair_key,
    platform_of,
    relation_of,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    PairedBands = dict[str, dict[str, Band]]

USERS = tuple(2.0**step for step in range(-4, 15))
"""Ratios of total throughput per GPU to speed per user at which frontiers are compared: with
prompts of seven eighths an eighth of them are users per GPU. [-]"""

SCHEME_OF = {"calibrated": "series", "transferred": "sku", "specification": "specification"}
"""The scheme whose left-out runs are predicted as a kind of prediction is."""

_ALIKE = ("model", "isl", "osl", "speculation", "source")
"""What two frontiers must share for their ratio to be judged."""

_OF_FRONTIER = ("sku", "generation", "software", *_ALIKE)

MOST_PAIRS = 60
"""Residuals of a pair of SKUs and a relation that count at most; more are thinned evenly, so that
two SKUs with many runs do not decide a band."""


def frontier_residuals(predictions: pd.DataFrame, *, scheme: str) -> pd.DataFrame:
    """Logarithms of measured over predicted throughput of frontiers at `USERS`.

    Returns
    -------
    ``frontier``, ``sku``, ``generation``, ``software``, `_ALIKE`, ``users`` and ``residual``
    where both have it.
    """
    names = [f"{which}_{metric}" for which in ("measured", "predicted") for metric in _AXES]
    rows = predictions[predictions["scheme"] == scheme]
    rows = rows[np.isfinite(rows[names].to_numpy(float)).all(axis=1)]
    found: list[dict[str, Any]] = []
    for frontier, group in rows.groupby("frontier", sort=True):
        measured, predicted = (
            _at_equal_users(
                np.exp(-group[f"{which}_tpot"].to_numpy(float)),
                np.exp(group[f"{which}_throughput"].to_numpy(float)),
            )
            for which in ("measured", "predicted")
        )
        first = group.iloc[0]
        shared = {name: first[name] for name in _OF_FRONTIER}
        residual = measured - predicted
        found += [
            {"frontier": frontier, **shared, "users": users, "residual": float(value)}
            for users, value in zip(USERS, residual, strict=True)
            if np.isfinite(value)
        ]
    columns = ["frontier", *_OF_FRONTIER, "users", "residual"]
    return pd.DataFrame(found, columns=columns)


_AXES = ("tpot", "throughput")


def _at_equal_users(x: FloatArray, y: FloatArray) -> FloatArray:
    """Logarithm of a frontier's throughput at `USERS`, between knots linear; NaN outside."""
    curve = Frontier.of(x, y)
    if curve.x.size < 2:
        return np.full(len(USERS), np.nan)
    users, rate = np.log(curve.y / curve.x)[::-1], np.log(curve.y)[::-1]
    found: FloatArray = np.interp(np.log(USERS), users, rate, left=np.nan, right=np.nan)
    return found


def pair_residuals(predictions: pd.DataFrame, *, first: str, second: str) -> pd.DataFrame:
    """Residuals of ratios, a prediction of one kind over one of another.

    Parameters
    ----------
    predictions:
        Left-out runs of the schemes of `SCHEME_OF`.
    first, second:
        Kinds of prediction. Two of one kind are taken in both orders: neither is the reference.

    Returns
    -------
    ``relation``, ``pair`` (of SKUs), ``sku``, ``other`` and ``residual``.
    """
    one = frontier_residuals(predictions, scheme=SCHEME_OF[first])
    two = one if first == second else frontier_residuals(predictions, scheme=SCHEME_OF[second])
    joined = one.merge(two, on=[*_ALIKE, "users"], suffixes=("", "_other"))
    joined = joined[joined["sku"] != joined["sku_other"]]
    same = (joined["software"] == joined["software_other"]).to_numpy()
    platforms = [joined[name].map(platform_of) for name in ("generation", "generation_other")]
    alike = (platforms[0] == platforms[1]).to_numpy()
    skus = zip(joined["sku"], joined["sku_other"], strict=True)
    table = pd.DataFrame(
        {
            "relation": np.select([same & alike, same], [SAME_PLATFORM, SAME_ENGINE], OTHER_ENGINE),
            "pair": ["/".join(sorted(pair)) for pair in skus],
            "sku": joined["sku"].to_numpy(),
            "other": joined["sku_other"].to_numpy(),
            "residual": (joined["residual"] - joined["residual_other"]).to_numpy(float),
        }
    )
    thinned = [
        group.iloc[np.linspace(0, len(group) - 1, min(len(group), MOST_PAIRS)).round().astype(int)]
        for _, group in table.groupby(["relation", "pair"], sort=True)
    ]
    return pd.concat(thinned, ignore_index=True) if thinned else table


def date_residuals(predictions: pd.DataFrame) -> pd.DataFrame:
    """Residuals of throughput of one layout and load at a later date over its first.

    Returns
    -------
    As `pair_residuals`; ``sku`` and ``other`` are one.
    """
    rows = predictions[predictions["scheme"] == SCHEME_OF["calibrated"]]
    residual = rows["measured_throughput"] - rows["predicted_throughput"]
    rows = rows.assign(residual=residual).dropna(subset=["residual"])
    rows = rows[rows["date"].astype(str) != ""]
    found = []
    for _, group in rows.groupby(["series", "concurrency", "source"], sort=True):
        by_level = group.groupby("level_date", sort=True)["residual"].median()
        found += [
            {
                "relation": SAME_ENGINE,
                "pair": f"{group['software'].iloc[0]}/{group['sku'].iloc[0]}",
                "sku": group["sku"].iloc[0],
                "other": group["sku"].iloc[0],
                "residual": float(value - by_level.iloc[0]),
            }
            for value in by_level.iloc[1:]
        ]
    return pd.DataFrame(found, columns=["relation", "pair", "sku", "other", "residual"])


def fit_paired_bands(predictions: pd.DataFrame) -> PairedBands:
    """Bands of ratios by kinds of the two predictions and by relation of engines and platforms.

    5 % and 95 % quantiles of the residuals, widened until nine of ten residuals of a SKU's pairs
    lie within the quantiles of the pairs without it.
    """
    bands: PairedBands = {}
    for key, found in _by_key(predictions):
        for relation, own in found.groupby("relation", sort=True):
            if len(own) < FEWEST:
                continue
            doubled = _by_sku(own)
            low, high = conformal_ends(own["residual"].to_numpy(float), widening=_widening(doubled))
            band = Band(float(np.exp(low)), float(np.exp(high)), len(own))
            bands.setdefault(key, {})[str(relation)] = band
    return bands


def _by_key(predictions: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    present = set(predictions["scheme"])
    kinds = [kind for kind, scheme in SCHEME_OF.items() if scheme in present]
    pairs = [(kind, kind) for kind in kinds] + list(combinations(kinds, 2))
    for stronger, weaker in pairs:
        found = pair_residuals(predictions, first=weaker, second=stronger)
        yield pair_key(weaker, stronger), found
    if "calibrated" in kinds:
        yield DATES, date_residuals(predictions)


def _by_sku(found: pd.DataFrame) -> pd.DataFrame:
    """Each residual once in the fold of each of its SKUs, as `_widening` reads folds."""
    base = found.assign(run_id=np.arange(len(found)), scheme="pair")
    if (found["sku"] == found["other"]).all():
        return base.assign(fold=base["pair"])
    folds = [base.assign(fold=base[name]) for name in ("sku", "other")]
    return pd.concat(folds, ignore_index=True)


def paired_table(predictions: pd.DataFrame, *, single: dict[str, Band]) -> pd.DataFrame:
    """Coverage and width of the ratios' bands beside those of single predictions.

    Parameters
    ----------
    single:
        Band of throughput of each kind of prediction.

    Returns
    -------
    ``key``, ``relation``, ``pairs`` (of SKUs), ``n``, ``covered``, ``covered_by_others`` (pairs
    of a SKU by the quantiles of those without it), ``width`` (high over low, logarithm),
    ``independent`` (that of two single bands in quadrature) and ``half`` (width over the wider
    single band's). [-]
    """
    bands = fit_paired_bands(predictions)
    rows: list[dict[Hashable, Any]] = []
    for key, found in _by_key(predictions):
        for relation, own in found.groupby("relation", sort=True):
            band = bands.get(key, {}).get(str(relation))
            if band is None:
                continue
            doubled = _by_sku(own)
            values = own["residual"].to_numpy(float)
            low, high = np.log([band.low, band.high])
            kinds = ["calibrated"] * 2 if key == DATES else key.split("/")
            widths = [float(np.log(single[k].high / single[k].low)) for k in kinds if k in single]
            rows.append(
                {
                    "key": key,
                    "relation": relation,
                    "pairs": own["pair"].nunique(),
                    "n": len(own),
                    "covered": float(np.mean((values >= low) & (values <= high))),
                    "covered_by_others": float(
                        np.mean(_covered_by_others(doubled, widening=_widening(doubled)))
                    ),
                    "width": float(high - low),
                    "independent": math.hypot(*widths) if len(widths) == 2 else np.nan,
                    "over_single": float(high - low) / max(widths) if widths else np.nan,
                }
            )
    return pd.DataFrame(rows)


__all__ = [
    "COVERED",
    "date_residuals",
    "fit_paired_bands",
    "pair_residuals",
    "paired_table",
    "relation_of",
]
