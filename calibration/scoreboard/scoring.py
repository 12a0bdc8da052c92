"""Measured runs beside predictions, scored as the field does.

Definitions
-----------
relative error
    ``predicted / measured - 1``; median and mean of its absolute value. The mean of TPOT and TTFT
    over single-node points is what AISimulate and AIConfigurator publish (MAPE).
shape error
    The mean absolute relative error after each curve was multiplied with the one constant that
    fits it best in logarithms: what is left when the level of a curve is known. AISimulate and
    BLIS publish it as curve shape.
frontier error
    The median absolute error of tok/s/GPU at equal tok/s/user, see
    `calibration.validation.scores.frontier_error`.
ranking
    Pairs of chips at one model, load and layout whose order was predicted.
coverage, interval score
    Share of runs inside their 90 % bands; the width of the band in logarithms plus 20 times what
    it misses by (Gneiting and Raftery, Journal of the American Statistical Association 102
    (2007), equation 43).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from calibration.validation.scores import frontier_error
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd

    FloatArray = npt.NDArray[np.float64]

METRICS = ("throughput", "tpot", "ttft")
CURVE = (
    "model",
    "sku",
    "engine",
    "precision",
    "speculation",
    "disaggregated",
    "layout",
    "isl",
    "osl",
)
"""What runs of one curve share; they differ in concurrency."""

FRONTIER = tuple(name for name in CURVE if name != "layout")
ALIKE = ("model", "isl", "osl", "speculation", "disaggregated", "concurrency", "layout")
MISS = 0.1
"""Share of runs that a band may miss. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricScore:
    """Errors of one metric over some runs; relative. [-]

    Parameters
    ----------
    runs:
        Runs compared.
    median, mean, bias:
        Of the absolute error, and the median of the signed one.
    shape:
        Shape error; NaN without a curve of two runs.
    coverage, interval:
        Of the 90 % bands; NaN without bands.
    """

    runs: int
    median: float
    mean: float
    bias: float
    shape: float
    coverage: float
    interval: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """Scores of a group of runs.

    Parameters
    ----------
    name:
        What they share.
    selected, answered:
        Runs, and those that were predicted.
    metrics:
        By `METRICS`; absent where nothing was measured.
    frontier:
        Median over frontiers; NaN without one.
    pairs, right:
        Pairs of chips, and those in the measured order.
    """

    name: str
    selected: int
    answered: int
    metrics: dict[str, MetricScore]
    frontier: float
    pairs: int
    right: int

    @property
    def answered_share(self) -> float:
        """Share of the runs that were predicted. [-]"""
        return self.answered / self.selected


def beside(measured: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Measured runs with the prediction of each: ``measured_*``, ``predicted_*``, bands.

    TPOT is the median where it was measured, else the mean; TTFT the mean, else the median.
    Throughput counts prompts too where that was measured, else output tokens alone, which have no
    bands.

    Parameters
    ----------
    measured:
        Runs in the columns of `calibration.measured.schema`.
    predicted:
        The same rows in the same order with the columns that ``simulate predict`` adds.

    Raises
    ------
    UserError
        If the tables differ in length.
    """
    import pandas as pd

    if len(measured) != len(predicted):
        raise UserError(
            f"predictions has {len(predicted)} rows, measured {len(measured)}; predict the same "
            "table, in its order"
        )
    out = measured.reset_index(drop=True).copy()
    given = predicted.reset_index(drop=True)
    out["answered"] = given["status"] == "ok"
    out["regime"] = given["bottleneck"].where(out["answered"], "") if "bottleneck" in given else ""
    unknown = pd.Series(np.nan, index=out.index)
    by_total = out["total_tput_per_gpu"].notna()
    output = out.get("output_tput_per_gpu", unknown)
    told = given.get("pred_output_tput_per_gpu", unknown)
    out["measured_throughput"] = out["total_tput_per_gpu"].where(by_total, output)
    out["predicted_throughput"] = given["pred_total_tput_per_gpu"].where(by_total, told)
    by_median = out["median_tpot_s"].notna()
    out["measured_tpot"] = out["median_tpot_s"].where(by_median, out["mean_tpot_s"])
    out["predicted_tpot"] = given["pred_median_tpot_s"].where(by_median, given["pred_mean_tpot_s"])
    by_mean = out["mean_ttft_s"].notna()
    out["measured_ttft"] = out["mean_ttft_s"].where(by_mean, out["median_ttft_s"])
    out["predicted_ttft"] = given["pred_mean_ttft_s"].where(by_mean, given["pred_median_ttft_s"])
    banded = {
        "throughput": ("total_tput_per_gpu", by_total),
        "tpot": ("median_tpot_s", by_median),
        "ttft": ("median_ttft_s", ~by_mean),
    }
    for metric, (column, where) in banded.items():
        for end in ("lo", "hi"):
            name = f"pred_{column}_{end}"
            value = given.get(name, unknown)
            out[f"{end}_{metric}"] = value if where is None else value.where(where)
    return out


def score_groups(table: pd.DataFrame, *, by: str | None = None) -> list[GroupScore]:
    """Scores of all runs, or of each value of a column, the largest group first.

    Parameters
    ----------
    table:
        From `beside`.
    by:
        A column such as ``sku``; ``None``: all runs together.
    """
    if by is None:
        return [_group("all", table)]
    groups = [_group(str(name), group) for name, group in table.groupby(by, dropna=False)]
    return sorted(groups, key=lambda each: -each.selected)


def _group(name: str, table: pd.DataFrame) -> GroupScore:
    answered = table[table["answered"]]
    scores = {metric: _metric(answered, metric) for metric in METRICS}
    pairs, right = _ranking(answered)
    return GroupScore(
        name=name,
        selected=len(table),
        answered=len(answered),
        metrics={metric: score for metric, score in scores.items() if score is not None},
        frontier=_frontiers(answered),
        pairs=pairs,
        right=right,
    )


def _metric(table: pd.DataFrame, metric: str) -> MetricScore | None:
    measured = table[f"measured_{metric}"].to_numpy(float)
    predicted = table[f"predicted_{metric}"].to_numpy(float)
    known = np.isfinite(measured) & np.isfinite(predicted) & (measured > 0) & (predicted > 0)
    if not known.any():
        return None
    ratio = predicted[known] / measured[known]
    error = np.abs(ratio - 1.0)
    low, high = (table[f"{end}_{metric}"].to_numpy(float)[known] for end in ("lo", "hi"))
    covered, interval = _bands(measured[known], low, high)
    return MetricScore(
        runs=int(known.sum()),
        median=float(np.median(error)),
        mean=float(error.mean()),
        bias=float(np.median(ratio)) - 1.0,
        shape=_shape(table[known], np.log(ratio)),
        coverage=covered,
        interval=interval,
    )


def _bands(measured: FloatArray, low: FloatArray, high: FloatArray) -> tuple[float, float]:
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return float("nan"), float("nan")
    value, low, high = np.log(measured[known]), np.log(low[known]), np.log(high[known])
    missed = np.maximum(low - value, 0.0) + np.maximum(value - high, 0.0)
    score = (high - low) + 2.0 / MISS * missed
    return float(np.mean(missed == 0.0)), float(score.mean())


def _shape(table: pd.DataFrame, log_ratio: FloatArray) -> float:
    import pandas as pd

    frame = pd.DataFrame({"log": log_ratio}, index=table.index)
    keys = [table[name].astype(str) for name in CURVE if name in table]
    groups = frame.groupby(keys)["log"]
    counts = groups.transform("size").to_numpy()
    rest = (frame["log"] - groups.transform("mean")).to_numpy()[counts > 1]
    return float(np.abs(np.expm1(rest)).mean()) if len(rest) else float("nan")


def _frontiers(table: pd.DataFrame) -> float:
    columns = [f"{side}_{name}" for side in ("measured", "predicted") for name in METRICS[:2]]
    known = table[np.isfinite(table[columns].to_numpy(float)).all(axis=1)]
    errors = []
    for _, group in known.groupby([known[name].astype(str) for name in FRONTIER if name in known]):
        error = frontier_error(
            measured_tpot_s=group["measured_tpot"].to_numpy(float),
            measured_rate=group["measured_throughput"].to_numpy(float),
            predicted_tpot_s=group["predicted_tpot"].to_numpy(float),
            predicted_rate=group["predicted_throughput"].to_numpy(float),
        )
        if error is not None:
            errors.append(error)
    return float(np.median(errors)) if errors else float("nan")


def _ranking(table: pd.DataFrame) -> tuple[int, int]:
    columns = ["measured_throughput", "predicted_throughput"]
    known = table[np.isfinite(table[columns].to_numpy(float)).all(axis=1)]
    pairs = right = 0
    for _, group in known.groupby([known[name].astype(str) for name in ALIKE if name in known]):
        rows: Sequence[tuple[str, float, float]] = list(
            group[["sku", *columns]].itertuples(index=False, name=None)
        )
        for (a, x, p), (b, y, q) in combinations(rows, 2):
            if a != b and x != y:
                pairs += 1
                right += (x > y) == (p > q)
    return pairs, int(right)
