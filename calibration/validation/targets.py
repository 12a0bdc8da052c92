"""The accuracy that predictions must reach, and what they do reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.validation.bands import inside_bands
from calibration.validation.ranking import sku_agreement
from calibration.validation.scores import score
from calibration.validation.validate import frontier_table

if TYPE_CHECKING:
    import pandas as pd

    from calibration.validation.validate import Validation

COVERAGE = (0.85, 0.95)
LONGEST_FIT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
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
        What it must and shall reach; ``None`` where there is no such bar.
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


def bars_of(validation: Validation, *, split: str) -> list[Bar]:
    """The bars that are scored on the series of one split."""
    own = validation.of("series", basis="own runs", split=split)
    together = own[own["pools"] != "disaggregated"]
    apart = own[own["pools"] == "disaggregated"]
    anchored = validation.of("anchor", split=split, disaggregated=False)
    siblings = validation.of("sku", basis="sibling", split=split)
    fronts = frontier_table(siblings)
    return [
        _error("unseen layout, tok/s/GPU", together, "throughput", must=0.12, aim=0.08),
        _error("unseen layout, TPOT", together, "tpot", must=0.12, aim=0.08),
        _error("unseen layout, TTFT under TP", _pools(together, "TP"), "ttft", must=0.20),
        _error(
            "unseen layout, TTFT data-parallel", _pools(together, "data-parallel"), "ttft", aim=0.30
        ),
        _error("one anchor run of the series, tok/s/GPU", anchored, "throughput", must=0.05),
        _error("one anchor run of the series, TPOT", anchored, "tpot", must=0.05),
        _error("disaggregated, unseen layout, tok/s/GPU", apart, "throughput", must=0.14, aim=0.10),
        _error("disaggregated, unseen layout, TPOT", apart, "tpot", must=0.16, aim=0.12),
        _error("SKU left out, sibling known, tok/s/GPU", siblings, "throughput", must=0.15),
        _error("SKU left out, sibling known, TPOT", siblings, "tpot", must=0.15),
        Bar(
            name="SKU left out, sibling known, frontier at equal tok/s/user",
            value=_median(fronts["error"]),
            runs=len(fronts),
            must=0.15,
        ),
        *_unseen_models(validation, split=split),
        *_unseen_kernels(validation, split=split),
        _ranking(validation, split=split),
    ]


def bars_of_all(validation: Validation) -> list[Bar]:
    """The bars that no split belongs to: coverage of the 90 % bands, and the time of a fit."""
    return [
        *_coverage(validation),
        Bar(
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
) -> Bar:
    found = score(
        predicted=predictions[f"predicted_{metric}"].to_numpy(float),
        measured=predictions[f"measured_{metric}"].to_numpy(float),
    )
    value, runs = (None, 0) if found is None else (found.median, found.runs)
    return Bar(name=name, value=value, runs=runs, must=must, aim=aim)


def _median(values: pd.Series) -> float | None:
    return float(np.median(values)) if len(values) else None


def _unseen_models(validation: Validation, *, split: str) -> list[Bar]:
    """Architectures whose kernels nothing else in the fit runs."""
    bars = []
    for name, rows in validation.of("model", split=split).groupby("fold"):
        bars += [
            _error(f"unseen architecture: {name} left out, tok/s/GPU", rows, "throughput"),
            _error(f"unseen architecture: {name} left out, TPOT", rows, "tpot"),
        ]
    return bars


def _unseen_kernels(validation: Validation, *, split: str) -> list[Bar]:
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
    bars = []
    for name, rows in groups:
        bars += [
            _error(f"unseen kernels: {name}, tok/s/GPU", rows, "throughput", aim=0.30),
            _error(f"unseen kernels: {name}, TPOT", rows, "tpot", aim=0.30),
        ]
        inside = inside_bands(rows, validation.bands, metric="throughput")
        known = inside[np.isfinite(inside)]
        bars.append(
            Bar(
                name=f"unseen kernels: {name}, in the 90 % band",
                value=float(np.mean(known)) if len(known) else None,
                runs=len(known),
                must=COVERAGE[0],
                more=True,
            )
        )
    return bars


def _ranking(validation: Validation, *, split: str) -> Bar:
    found = sku_agreement(validation.of("sku", split=split), validation.bands)
    return Bar(
        name="the better of two SKUs, bands apart",
        value=found.share_apart if found.apart else None,
        runs=found.apart,
        must=0.95,
        more=True,
    )


def _coverage(validation: Validation) -> list[Bar]:
    """Coverage of the 90 % bands by what predictions rest on."""
    return [
        Bar(
            name=f"90 % bands, {row['basis']}, {row['metric']}",
            value=float(row["covered_by_others"]),
            runs=int(row["runs"]),
            low=COVERAGE[0],
            must=COVERAGE[1],
        )
        for row in validation.coverage.to_dict("records")
    ]
