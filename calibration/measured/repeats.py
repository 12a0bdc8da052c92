"""How far measured runs of one configuration are from each other."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

APART = ((0, 3), (4, 14), (15, 30), (31, 90), (91, 400))
"""First and last day between two runs that are told apart. [days]"""

_FIGURES = ("total_tput_per_gpu", "median_tpot_s", "mean_ttft_s")


def repeat_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Differences between dated runs of the same series, source and concurrency.

    Parameters
    ----------
    runs:
        From `calibration.measured.runs.load_measured`.

    Returns
    -------
    By days between two runs: ``first_day``, ``last_day``, ``pairs``, and the median absolute
    relative difference of ``total_tput_per_gpu``, ``median_tpot_s`` and ``mean_ttft_s``. [-]
    """
    dated = runs[(runs["quality"] == "ok") & runs["date"].astype(str).str.len().eq(10)]
    pairs = pd.DataFrame(_pairs(dated), columns=["days", *_FIGURES])
    rows = []
    for first, last in APART:
        within = pairs[pairs["days"].between(first, last)]
        differences = within[list(_FIGURES)].median()
        rows.append({"first_day": first, "last_day": last, "pairs": len(within), **differences})
    return pd.DataFrame(rows)


def _pairs(dated: pd.DataFrame) -> Iterator[tuple[float, ...]]:
    days = pd.to_datetime(dated["date"]).dt.normalize()
    figures = dated[list(_FIGURES)].astype(float).apply(np.log)
    keys = [dated[name] for name in ("series", "source", "concurrency")]
    for _, group in figures.groupby(keys, sort=False):
        for one, other in combinations(group.index, 2):
            apart = abs((days[one] - days[other]).days)
            yield (float(apart), *np.expm1((group.loc[one] - group.loc[other]).abs()))
