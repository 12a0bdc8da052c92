"""The baseline that predictions must beat: copy the figures of the most similar measured run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.fit.observations import METRICS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt
    import pandas as pd

    FloatArray = npt.NDArray[np.float64]

_UNLIKE = {
    "model": 64.0,
    "isl": 32.0,
    "osl": 32.0,
    "disaggregated": 32.0,
    "speculation": 32.0,
    "generation": 10.0,
    "sku": 6.0,
    "software": 6.0,
    "level_date": 4.0,
    "vendor": 4.0,
    "dp_attention": 2.0,
    "layout": 2.0,
    "precision": 2.0,
    "engine": 2.0,
    "source": 0.5,
}
_OCTAVE = 16.0
"""What a difference in a label counts, and a factor of two in concurrency per GPU: chosen so that
the baseline is as good as copying gets (DeepSeek-V4-Pro, whole series and whole SKUs left out)."""


def nearest_label(
    runs: pd.DataFrame, *, rows: Sequence[int], without: Sequence[Collection[int]]
) -> FloatArray:
    """Measured logarithms of the run most similar to each left-out run.

    Parameters
    ----------
    runs:
        All runs of a fit as `calibration.validation.left_out.describe` tells of them, with their
        ``measured_*`` logarithms.
    rows:
        Positions of the runs to predict.
    without:
        Positions that are left out together with each, itself among them.

    Returns
    -------
    (rows, metrics); the median where several runs are equally near, NaN where none is left.
    """
    measured = runs[[f"measured_{name}" for name in METRICS]].to_numpy(float)
    labels = {column: runs[column].astype(str).to_numpy() for column in _UNLIKE}
    load = np.log2((runs["concurrency"] / runs["gpus"]).to_numpy(float))
    out = np.full((len(rows), len(METRICS)), np.nan)
    for position, (row, dropped) in enumerate(zip(rows, without, strict=True)):
        distance = _OCTAVE * np.abs(load - load[row])
        for column, weight in _UNLIKE.items():
            distance += weight * (labels[column] != labels[column][row])
        distance[list(dropped)] = np.inf
        for metric in range(len(METRICS)):
            usable = np.where(np.isfinite(measured[:, metric]), distance, np.inf)
            if np.isfinite(usable.min()):
                alike = usable <= usable.min() + 1e-9
                out[position, metric] = np.median(measured[alike, metric])
    return out
