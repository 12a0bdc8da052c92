"""Runs of a sweep as the curves that the Pareto plot draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.studies.curve.pareto_plot import Series
from simulator.studies.series import known_sku

if TYPE_CHECKING:
    import pandas as pd


def series_of(runs: pd.DataFrame) -> list[Series]:
    """One curve for each series of a table of runs, in order of first appearance."""
    return [
        Series(
            name=str(name),
            vendor=_vendor(str(rows["sku"].iloc[0])),
            interactivity=rows["interactivity"].to_numpy(float),
            tput_per_gpu=rows["total_tput_per_gpu"].to_numpy(float),
            layouts=rows["label"].tolist(),
            concurrencies=rows["concurrency"].tolist(),
            on_frontier=rows["on_frontier"].to_numpy(np.bool_),
            band=np.column_stack(
                [
                    1.0 / rows["median_tpot_s_hi"].to_numpy(float),
                    1.0 / rows["median_tpot_s_lo"].to_numpy(float),
                    rows["total_tput_per_gpu_lo"].to_numpy(float),
                    rows["total_tput_per_gpu_hi"].to_numpy(float),
                ]
            ),
        )
        for name, rows in runs.groupby("series", sort=False)
    ]


def _vendor(sku: str) -> str:
    found = known_sku(sku)
    return "" if found is None else found.vendor
