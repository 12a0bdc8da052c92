"""Bands by cell: engine x platform x regime, where enough left-out runs tell one apart.

A cell is an engine on a chip generation in one regime of load, see
`simulator.prediction.bands.cell_of`. Its band is conformal: the quantiles of the residuals of
runs that were left out of the fit, at ranks that cover nine of ten of the next exchangeable run,
widened until nine of ten residuals of a fold lie within the quantiles of the other folds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.fit.observations import METRICS
from calibration.validation.bands import (
    _BAND_OF,
    BASES,
    COVERED,
    Band,
    _contained,
    _widening,
    residuals,
)
from simulator.prediction.bands import cell_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from hwmodels.fitted import Basis

    FloatArray = npt.NDArray[np.float64]
    CellBands = dict[Basis, dict[str, dict[str, Band]]]

FEWEST = 60
"""Residuals from which a cell has a band of its own. [runs]"""

FEWEST_FOLDS = 4
"""Folds from which a cell has a band of its own: series, SKUs or other groups left out."""


def cells_of(predictions: pd.DataFrame) -> list[str]:
    """The cell of each prediction."""
    return [
        cell_of(engine=engine, generation=generation, requests_per_rank=float(requests))
        for engine, generation, requests in zip(
            predictions["software"],
            predictions["generation"],
            predictions["requests_per_rank"],
            strict=True,
        )
    ]


def fit_cells(predictions: pd.DataFrame) -> CellBands:
    """Bands by basis, cell and metric, of the cells with enough residuals.

    The band of a weaker basis contains that of the same cell of a stronger one.
    """
    table = predictions.assign(cell=cells_of(predictions))
    bands: CellBands = {}
    inner: dict[tuple[str, str], tuple[float, float]] = {}
    for basis in BASES:
        for metric in METRICS:
            for cell, own in table.groupby("cell", sort=True):
                found = residuals(own, basis=basis, metric=metric)
                if len(found) < FEWEST or found["fold"].nunique() < FEWEST_FOLDS:
                    continue
                values = found["residual"].to_numpy(float)
                ends = conformal_ends(values, widening=_widening(found))
                key = (str(cell), metric)
                low, high = _contained(inner.get(key, ends), ends)
                inner[key] = (low, high)
                band = Band(float(np.exp(low)), float(np.exp(high)), len(values))
                bands.setdefault(basis, {}).setdefault(str(cell), {})[_BAND_OF[metric]] = band
    return bands


def conformal_ends(values: FloatArray, *, widening: float = 1.0) -> tuple[float, float]:
    """Ends between which the next exchangeable residual lies with at least 90 %. [-]

    Order statistics at ranks ``floor(0.05 (n + 1))`` and ``ceil(0.95 (n + 1))``, their distance
    from the median multiplied by ``widening``.
    """
    ordered = np.sort(values)
    count = len(ordered)
    tail = (1.0 - COVERED) / 2.0
    below = max(int(np.floor(tail * (count + 1))), 1)
    above = min(int(np.ceil((1.0 - tail) * (count + 1))), count)
    middle = float(np.median(ordered))
    low, high = float(ordered[below - 1]), float(ordered[above - 1])
    return middle + widening * (low - middle), middle + widening * (high - middle)


def interval_score(values: FloatArray, *, low: float, high: float) -> float:
    """Mean interval score of residuals under a band, in logarithms; smaller is better. [-]

    ``(high - low) + 2 / alpha`` times how far a residual lies outside, alpha = 0.1 (Gneiting and
    Raftery 2007, section 6.2): a band pays for its width and for what it misses.
    """
    alpha = 1.0 - COVERED
    outside = np.maximum(low - values, 0.0) + np.maximum(values - high, 0.0)
    return float((high - low) + 2.0 / alpha * np.mean(outside))


def cell_table(predictions: pd.DataFrame, cells: CellBands) -> pd.DataFrame:
    """Width, coverage and interval score of each cell's throughput band.

    Returns
    -------
    ``basis``, ``cell``, ``runs``, ``width`` (high over low), ``covered`` and ``score``. [-]
    """
    import pandas as pd

    table = predictions.assign(cell=cells_of(predictions))
    metric = METRICS[0]
    rows = []
    for basis, by_cell in cells.items():
        for cell, known in by_cell.items():
            band = known.get(_BAND_OF[metric])
            if band is None:
                continue
            found = residuals(table[table["cell"] == cell], basis=basis, metric=metric)
            values = found["residual"].to_numpy(float)
            low, high = np.log([band.low, band.high])
            rows.append(
                {
                    "basis": basis,
                    "cell": cell,
                    "runs": len(values),
                    "width": band.high / band.low,
                    "covered": float(np.mean((values >= low) & (values <= high))),
                    "score": interval_score(values, low=low, high=high),
                }
            )
    return pd.DataFrame(rows, columns=["basis", "cell", "runs", "width", "covered", "score"])
