"""Whether predictions name the better of two SKUs or layouts, where they claim to know."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from calibration.validation.bands import Band
    from hwmodels.fitted import Basis

ALIKE = ("model", "isl", "osl", "speculation", "disaggregated", "concurrency")
"""What two runs must share for their throughput per GPU to be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Pairs of runs whose order was predicted.

    Parameters
    ----------
    pairs, right:
        All pairs, and those in the measured order.
    apart, right_apart:
        Pairs whose 90 % bands do not overlap, and those of them in the measured order.
    """

    pairs: int
    right: int
    apart: int
    right_apart: int

    @property
    def share(self) -> float:
        """Share of all pairs in the right order; NaN without pairs. [-]"""
        return self.right / self.pairs if self.pairs else float("nan")

    @property
    def share_apart(self) -> float:
        """Share of the pairs that are apart in the right order; NaN without such pairs. [-]"""
        return self.right_apart / self.apart if self.apart else float("nan")


def sku_agreement(predictions: pd.DataFrame, bands: dict[Basis, dict[str, Band]]) -> Agreement:
    """Pairs of SKUs at one layout and concurrency, whatever the engines.

    Parameters
    ----------
    predictions:
        Left-out runs of one scheme; with ``sku`` each side is predicted without its SKU.
    bands:
        From `calibration.validation.bands.fit_bands`.
    """
    return _agreement(predictions, bands, alike=(*ALIKE, "layout"), differ="sku")


def layout_agreement(predictions: pd.DataFrame, bands: dict[Basis, dict[str, Band]]) -> Agreement:
    """Pairs of layouts of one engine on one SKU at one concurrency and date."""
    alike = (*ALIKE, "sku", "engine", "precision", "date", "source")
    return _agreement(predictions, bands, alike=alike, differ="layout")


def _agreement(
    predictions: pd.DataFrame,
    bands: dict[Basis, dict[str, Band]],
    *,
    alike: Sequence[str],
    differ: str,
) -> Agreement:
    known = np.isfinite(predictions["measured_throughput"]) & np.isfinite(
        predictions["predicted_throughput"]
    )
    pairs = right = apart = right_apart = 0
    for _, group in predictions[known].groupby(list(alike), sort=False):
        measured = group["measured_throughput"].to_numpy(float)
        predicted = group["predicted_throughput"].to_numpy(float)
        names = group[differ].to_numpy()
        bases = group["basis"].tolist()
        ends = [_ends(v, bands, basis) for v, basis in zip(predicted, bases, strict=True)]
        for i, j in combinations(range(len(group)), 2):
            if names[i] == names[j] or measured[i] == measured[j]:
                continue
            agrees = (measured[i] > measured[j]) == (predicted[i] > predicted[j])
            distinct = ends[i][0] > ends[j][1] or ends[j][0] > ends[i][1]
            pairs += 1
            right += agrees
            apart += distinct
            right_apart += agrees and distinct
    return Agreement(pairs=pairs, right=int(right), apart=int(apart), right_apart=int(right_apart))


def _ends(value: float, bands: dict[Basis, dict[str, Band]], basis: Basis) -> tuple[float, float]:
    """Logarithms of the ends of a band; unbounded where none is known."""
    band = bands.get(basis, {}).get("total_tput_per_gpu")
    if band is None:
        return -np.inf, np.inf
    return value + float(np.log(band.low)), value + float(np.log(band.high))
