"""The 90 % bands of predictions, from how far left-out runs were missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
import yaml

from calibration.fit.observations import METRICS
from hwmodels.calibration_files import sealed
from hwmodels.fitted import Basis
from simulator.output.text_file import write_text
from simulator.prediction.bands import BANDED, BANDS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

BASES: tuple[Basis, ...] = get_args(Basis)
"""What a prediction may rest on, the best first."""

QUANTILES = (0.05, 0.95)

COVERED = QUANTILES[1] - QUANTILES[0]
WIDENINGS = np.arange(1.0, 2.01, 0.05)

FEWEST = 20
"""Residuals below which a quantile says nothing."""

_SCHEMES: dict[Basis, tuple[str, ...]] = {
    "own runs": ("series",),
    "sibling": ("sku",),
    "other kernels": ("sku", "kernels", "vendor", "engine", "model"),
    "nothing": ("specification",),
}
"""Schemes whose left-out runs are predicted from each basis."""

_BAND_OF = dict(zip(METRICS, BANDED, strict=True))


@dataclass(frozen=True, slots=True)
class Band:
    """Factors on a prediction between which nine of ten measurements lie.

    Parameters
    ----------
    low, high:
        5 % and 95 % quantile of measured over predicted. [-]
    runs:
        Left-out runs behind it.
    """

    low: float
    high: float
    runs: int


def residuals(predictions: pd.DataFrame, *, basis: Basis, metric: str) -> pd.DataFrame:
    """Logarithms of measured over predicted of all left-out runs of a basis.

    Returns
    -------
    ``run_id``, ``scheme``, ``fold`` and ``residual`` of the runs that have both figures.
    """
    rows = predictions["scheme"].isin(_SCHEMES[basis]) & (predictions["basis"] == basis)
    found: pd.DataFrame = predictions.loc[rows, ["run_id", "scheme", "fold"]].copy()
    found["residual"] = _log_ratio(predictions[rows], metric)
    return found.dropna(subset=["residual"])


def _log_ratio(predictions: pd.DataFrame, metric: str) -> FloatArray:
    """Logarithms of measured over predicted. [-]"""
    measured, predicted = (
        predictions[f"{which}_{metric}"].to_numpy(dtype=np.float64)
        for which in ("measured", "predicted")
    )
    return np.asarray(measured - predicted, dtype=np.float64)


def fit_bands(predictions: pd.DataFrame) -> dict[Basis, dict[str, Band]]:
    """Bands by basis and metric.

    Parameters
    ----------
    predictions:
        Left-out runs of the schemes ``series``, ``sku``, ``kernels``, ``vendor``, ``engine``,
        ``model`` and ``specification``; a basis with fewer than `FEWEST` of them has the band of
        the next.

    Notes
    -----
    5 % and 95 % quantiles of the residuals, moved away from their median until nine of ten
    residuals lie within the quantiles of the other folds: few SKUs and vendors make quantiles
    too narrow for the next one. The band of a weaker basis always contains that of a stronger
    one: a prediction for a SKU without runs cannot be surer than one for a SKU with them.
    """
    bands: dict[Basis, dict[str, Band]] = {}
    widest = dict.fromkeys(METRICS, (0.0, 0.0))
    for basis in BASES:
        for metric in METRICS:
            found = residuals(predictions, basis=basis, metric=metric)
            if len(found) < FEWEST:
                continue
            ends = _quantiles(found["residual"].to_numpy(float), widening=_widening(found))
            low, high = _contained(widest[metric], ends)
            widest[metric] = (low, high)
            band = Band(float(np.exp(low)), float(np.exp(high)), len(found))
            bands.setdefault(basis, {})[_BAND_OF[metric]] = band
    return _filled(bands)


def _filled(bands: dict[Basis, dict[str, Band]]) -> dict[Basis, dict[str, Band]]:
    """Bands with those of the next weaker basis where a basis has too few residuals of its own."""
    known: dict[str, Band] = {}
    filled: dict[Basis, dict[str, Band]] = {}
    for basis in reversed(BASES):
        known = known | bands.get(basis, {})
        if known:
            filled[basis] = known
    return {basis: filled[basis] for basis in BASES if basis in filled}


def _quantiles(values: FloatArray, *, widening: float = 1.0) -> tuple[float, float]:
    """Quantiles, their distance from the median multiplied."""
    low, middle, high = np.quantile(values, (QUANTILES[0], 0.5, QUANTILES[1]))
    return float(middle + widening * (low - middle)), float(middle + widening * (high - middle))


def _widening(found: pd.DataFrame) -> float:
    """Least factor on the quantiles' distance at which other folds cover nine of ten. [-]"""
    folds = _judged_folds(found)
    for widening in WIDENINGS:
        covered = np.mean(_covered(folds, widening=widening))
        if not covered < COVERED:
            return float(widening)
    return float(WIDENINGS[-1])


def _covered_by_others(found: pd.DataFrame, *, widening: float) -> FloatArray:
    """1 for each residual within the widened quantiles of all runs outside its fold, else 0.

    Folds with too few runs outside them are not judged; NaN alone if that holds for all.
    """
    return _covered(_judged_folds(found), widening=widening)


def _judged_folds(found: pd.DataFrame) -> list[tuple[FloatArray, FloatArray]]:
    """Residuals of each fold, and the quantiles of all runs outside it: low, median, high."""
    values = found["residual"].to_numpy(np.float64)
    runs = pd.factorize(found["run_id"])[0]
    judged = []
    for rows in found.groupby(["scheme", "fold"]).indices.values():
        rest = values[~np.isin(runs, runs[rows])]
        if len(rest) >= FEWEST:
            ends = np.quantile(rest, (QUANTILES[0], 0.5, QUANTILES[1]))
            judged.append((values[rows], ends))
    return judged


def _covered(folds: list[tuple[FloatArray, FloatArray]], *, widening: float) -> FloatArray:
    inside = [
        (
            (own >= middle + widening * (low - middle))
            & (own <= middle + widening * (high - middle))
        ).astype(np.float64)
        for own, (low, middle, high) in folds
    ]
    return np.concatenate(inside) if inside else np.array([np.nan])


def _contained(inner: tuple[float, float], outer: tuple[float, float]) -> tuple[float, float]:
    return min(inner[0], outer[0]), max(inner[1], outer[1])


def inside_bands(
    predictions: pd.DataFrame, bands: dict[Basis, dict[str, Band]], *, metric: str
) -> FloatArray:
    """1 for each measurement in the band of its prediction, 0 outside, NaN where unknown."""
    nowhere = Band(np.nan, np.nan, 0)
    own = [bands.get(b, {}).get(_BAND_OF[metric], nowhere) for b in predictions["basis"]]
    ratio = np.exp(_log_ratio(predictions, metric))
    low, high = np.array([[band.low, band.high] for band in own]).reshape(-1, 2).T
    inside = ((ratio >= low) & (ratio <= high)).astype(np.float64)
    return np.where(np.isfinite(ratio) & np.isfinite(low), inside, np.nan)


def coverage_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """How many left-out runs lie in their bands, by basis and metric.

    ``covered`` uses the bands themselves. ``covered_by_others`` judges each fold by the widened
    quantiles of the runs outside it, so that no run widens the band that is to cover it.
    """
    bands = fit_bands(predictions)
    rows: list[dict[str, Any]] = []
    for basis in BASES:
        for metric in METRICS:
            found = residuals(predictions, basis=basis, metric=metric)
            band = bands.get(basis, {}).get(_BAND_OF[metric])
            if band is None or len(found) < FEWEST:
                continue
            values = found["residual"].to_numpy(float)
            low, high = np.log([band.low, band.high])
            judged = _covered_by_others(found, widening=_widening(found))
            rows.append(
                {
                    "basis": basis,
                    "metric": metric,
                    "runs": len(values),
                    "low": band.low,
                    "high": band.high,
                    "covered": float(np.mean((values >= low) & (values <= high))),
                    "covered_by_others": float(np.mean(judged)),
                }
            )
    columns = ["basis", "metric", "runs", "low", "high", "covered", "covered_by_others"]
    return pd.DataFrame(rows, columns=columns)


def write_bands(
    bands: dict[Basis, dict[str, Band]],
    *,
    directory: Path,
    source: str,
    cells: dict[Basis, dict[str, dict[str, Band]]] | None = None,
    pairs: dict[str, dict[str, Band]] | None = None,
    names: Iterable[str] = (),
) -> Path:
    """Write ``bands.yaml`` into a directory.

    Parameters
    ----------
    source:
        Data and date of the fit.
    cells:
        Bands of single cells, from `calibration.validation.cell_bands.fit_cells`.
    pairs:
        Bands of ratios, from `calibration.validation.paired_bands.fit_paired_bands`.
    names:
        Lines of explanation for the head of the file.
    """
    path = directory / BANDS_FILE
    content: dict[str, Any] = {
        "source": source,
        "bands": {basis: _written(by_metric) for basis, by_metric in bands.items()},
    }
    if cells:
        content["cells"] = {
            basis: {cell: _written(by_metric) for cell, by_metric in by_cell.items()}
            for basis, by_cell in cells.items()
        }
    if pairs:
        content["pairs"] = {key: _written(by_relation) for key, by_relation in pairs.items()}
    header = (
        "# Factors on a prediction between which nine of ten measurements lie: 5 % and 95 %\n"
        "# quantiles of measured over predicted among n runs that were left out, by what was left\n"
        "# to predict them from; cells (engine, platform, regime) where enough runs tell them\n"
        "# apart; pairs: of ratios of two predictions, by their kinds and engines.\n"
        "# Written by `simulate calibrate`;\n"
        "# read by simulator/prediction/bands.py.\n"
    )
    header += "".join(f"# {line}\n" for line in names)
    text = yaml.safe_dump(sealed(content), sort_keys=False, width=100)
    write_text(path, header + text)
    return path


def _written(by_metric: dict[str, Band]) -> dict[str, dict[str, object]]:
    return {
        name: {
            "low": round(band.low, 4),
            "high": round(band.high, 4),
            "unit": "1",
            "kind": "fitted",
            "n": band.runs,
        }
        for name, band in by_metric.items()
    }
