"""The accuracy that predictions must reach, and what they do reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.validation.bands import inside_bands
from calibration.validation.cell_bands import cells_of
from calibration.validation.ranking import sku_agreement
from calibration.validation.scores import score
from calibration.validation.validate import frontier_table

if TYPE_CHECKING:
    import pandas as pd

    from calibration.validation.validate import Validation
    from hwmodels.fitted import Basis

COVERAGE = (0.87, 0.93)
LONGEST_FIT_S = 600.0
FIRST_MODELS = ("deepseek-v4-pro", "deepseek-r1")
"""Models that most is asked of."""

WIDEST: dict[Basis, tuple[float, float]] = {
    "own runs": (1.6, 1.4),
    "sibling": (1.9, 1.7),
    "other kernels": (2.5, 2.0),
}
"""High over low that a band of throughput must and shall not exceed, by basis. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyTarget:
    """One figure beside what is asked of it.

    Parameters
    ----------
    name:
        What is measured.
    value:
        What was reached; ``None`` where nothing could be compared. [-, or s]
    runs:
        Runs (frontiers, pairs) behind it.
    must, aim:
        What it must and shall reach; ``None`` where there is no such target.
    low:
        Lower end, where the value must lie between ``low`` and ``must``.
    more:
        Whether more is better.
    unit:
        ``%`` for a share, else a unit.
    """

    name: str
    value: float | None
    runs: int
    must: float | None = None
    aim: float | None = None
    low: float | None = None
    more: bool = False
    unit: str = "%"

    @property
    def verdict(self) -> str:
        """``aim``, ``must``, ``missed``, or ``reported`` where nothing is asked."""
        if self.value is None or self.value != self.value:
            return "no data"
        if self.low is not None and self.value < self.low:
            return "missed"
        if self.aim is not None and self._reaches(self.aim):
            return "aim"
        if self.must is None:
            return "reported" if self.aim is None else "aim missed"
        return "must" if self._reaches(self.must) else "missed"

    def _reaches(self, bound: float) -> bool:
        value = float("nan") if self.value is None else self.value
        return value >= bound if self.more else value <= bound


def targets_of(validation: Validation, *, split: str) -> list[AccuracyTarget]:
    """The targets that are scored on the series of one split."""
    own = validation.of("series", basis="own runs", split=split)
    together = own[own["pools"] != "disaggregated"]
    apart = own[own["pools"] == "disaggregated"]
    anchored = validation.of("anchor", split=split, disaggregated=False)
    siblings = validation.of("sku", basis="sibling", split=split)
    first = together["model"].isin(FIRST_MODELS)
    shown = (
        # figure, rows, must and aim of throughput and TPOT alike
        ("unseen layout, V4 and R1", together[first], 0.08, 0.06),
        ("unseen layout, other models", together[~first], 0.10, 0.08),
        ("one anchor run of the series", anchored, 0.045, 0.04),
        ("disaggregated, unseen layout", apart, 0.10, 0.08),
        ("SKU left out, sibling known", siblings, 0.10, 0.08),
        ("chip generation left out", validation.of("kernels", split=split), 0.17, 0.15),
        ("model left out", validation.of("model", split=split), 0.18, 0.15),
    )
    targets = [
        _error(f"{name}, {title}", rows, metric, must=must, aim=aim)
        for name, rows, must, aim in shown
        for title, metric in (("tok/s/GPU", "throughput"), ("TPOT", "tpot"))
    ]
    tp, ranks = (_pools(together, name) for name in ("TP", "data-parallel"))
    return [
        *targets,
        _error("unseen layout, TTFT under TP", tp, "ttft", must=0.15, aim=0.12),
        _error("unseen layout, TTFT data-parallel", ranks, "ttft", must=0.25, aim=0.20),
        _frontier("unseen layout", own, must=0.15, aim=0.12),
        _frontier("SKU left out, sibling known", siblings, must=0.20, aim=0.15),
        *_unseen_models(validation, split=split),
        *_unseen_kernels(validation, split=split),
        _ranking(validation, split=split),
    ]


def targets_of_all(validation: Validation) -> list[AccuracyTarget]:
    """The targets that no split belongs to: coverage of the 90 % bands, and the time of a fit."""
    return [
        *_coverage(validation),
        *_widths(validation),
        AccuracyTarget(
            name="a fit of everything",
            value=validation.fit_s,
            runs=len(validation.of("fitted")),
            must=LONGEST_FIT_S,
            unit="s",
        ),
    ]


def _pools(predictions: pd.DataFrame, pools: str) -> pd.DataFrame:
    return predictions[predictions["pools"] == pools]


def _error(
    name: str,
    predictions: pd.DataFrame,
    metric: str,
    *,
    must: float | None = None,
    aim: float | None = None,
) -> AccuracyTarget:
    found = score(
        predicted=predictions[f"predicted_{metric}"].to_numpy(float),
        measured=predictions[f"measured_{metric}"].to_numpy(float),
    )
    value, runs = (None, 0) if found is None else (found.median, found.runs)
    return AccuracyTarget(name=name, value=value, runs=runs, must=must, aim=aim)


def _frontier(name: str, predictions: pd.DataFrame, *, must: float, aim: float) -> AccuracyTarget:
    fronts = frontier_table(predictions)
    return AccuracyTarget(
        name=f"{name}, frontier at equal tok/s/user",
        value=_median(fronts["error"]),
        runs=len(fronts),
        must=must,
        aim=aim,
    )


def _median(values: pd.Series) -> float | None:
    return float(np.median(values)) if len(values) else None


def _unseen_models(validation: Validation, *, split: str) -> list[AccuracyTarget]:
    """Architectures whose kernels nothing else in the fit runs."""
    targets = []
    for name, rows in validation.of("model", split=split).groupby("fold"):
        targets += [
            _error(f"unseen architecture: {name} left out, tok/s/GPU", rows, "throughput"),
            _error(f"unseen architecture: {name} left out, TPOT", rows, "tpot"),
        ]
    return targets


def _unseen_kernels(validation: Validation, *, split: str) -> list[AccuracyTarget]:
    """SKUs, generations and vendors whose kernels nothing else in the fit shares."""
    alone = validation.of("sku", basis="other kernels", split=split)
    groups = [(f"{sku} left out", rows) for sku, rows in alone.groupby("sku")]
    for scheme in ("kernels", "vendor"):
        rest = validation.of("kernels" if scheme == "kernels" else "vendor", split=split)
        groups += [
            (f"all of {name} left out", rows)
            for name, rows in rest.groupby("fold")
            # a generation of one SKU stands above, and so does a vendor of one generation
            if rows["sku" if scheme == "kernels" else "generation"].nunique() > 1
        ]
    targets = []
    for name, rows in groups:
        targets += [
            _error(f"unseen kernels: {name}, tok/s/GPU", rows, "throughput", aim=0.30),
            _error(f"unseen kernels: {name}, TPOT", rows, "tpot", aim=0.30),
        ]
        inside = inside_bands(rows, validation.bands, metric="throughput")
        known = inside[np.isfinite(inside)]
        targets.append(
            AccuracyTarget(
                name=f"unseen kernels: {name}, in the 90 % band",
                value=float(np.mean(known)) if len(known) else None,
                runs=len(known),
                must=0.85,
                more=True,
            )
        )
    return targets


def _ranking(validation: Validation, *, split: str) -> AccuracyTarget:
    found = sku_agreement(validation.of("sku", split=split), validation.bands)
    return AccuracyTarget(
        name="the better of two SKUs, bands apart",
        value=found.share_apart if found.apart else None,
        runs=found.apart,
        must=0.95,
        more=True,
    )


def _coverage(validation: Validation) -> list[AccuracyTarget]:
    """Coverage of the 90 % bands by what predictions rest on."""
    return [
        AccuracyTarget(
            name=f"90 % bands, {row['basis']}, {row['metric']}",
            value=float(row["covered_by_others"]),
            runs=int(row["runs"]),
            low=COVERAGE[0],
            must=COVERAGE[1],
        )
        for row in validation.coverage.to_dict("records")
    ]


def _widths(validation: Validation) -> list[AccuracyTarget]:
    """Width of the throughput bands over cells, the median over left-out runs."""
    targets = []
    for basis, (must, aim) in WIDEST.items():
        rows = validation.predictions[validation.predictions["basis"] == basis]
        if not len(rows):
            continue
        whole = validation.bands.get(basis, {}).get("total_tput_per_gpu")
        cells = validation.cells.get(basis, {})
        own = [cells.get(cell, {}).get("total_tput_per_gpu", whole) for cell in cells_of(rows)]
        widths = [band.high / band.low for band in own if band is not None]
        targets.append(
            AccuracyTarget(
                name=f"90 % bands, {basis}, high over low of throughput",
                value=float(np.median(widths)) if widths else None,
                runs=len(widths),
                must=must,
                aim=aim,
                unit="x",
            )
        )
    return targets
