"""The series that predictions miss by most, and what is known of why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

ALIKE = 0.10
"""Scatter around its own offset below which the shape of a series counts as right. [-]"""


def worst_series(predictions: pd.DataFrame, *, count: int = 12) -> pd.DataFrame:
    """Series of one scheme by the larger of their median errors in throughput and TPOT.

    Returns
    -------
    ``series``, ``runs``, the median error (``throughput``, ``tpot``, ``ttft``) and bias
    (``throughput_bias``, ``tpot_bias``), ``copied`` (error of the nearest label in throughput)
    and ``why``; the worst first.
    """
    rows: list[dict[str, Any]] = []
    for series, group in predictions.groupby("series", sort=False):
        row: dict[str, Any] = {
            "series": series,
            "runs": len(group),
            "split": group["split"].iloc[0],
        }
        for metric in ("throughput", "tpot", "ttft"):
            row |= _errors(group, metric)
        row["why"] = explain_miss(group)
        rows.append(row)
    if not rows:
        return pd.DataFrame(columns=["series"])
    table = pd.DataFrame(rows)
    order = table[["throughput", "tpot"]].max(axis=1).sort_values(ascending=False).index
    return table.loc[order].head(count).reset_index(drop=True)


def _errors(group: pd.DataFrame, metric: str) -> dict[str, float]:
    ratio, copied = _logs(group, "predicted", metric), _logs(group, "copied", metric)
    return {
        metric: _median(np.abs(np.expm1(ratio))),
        f"{metric}_bias": float(np.expm1(_median(ratio))),
        f"{metric}_copied": _median(np.abs(np.expm1(copied))),
    }


def _logs(group: pd.DataFrame, which: str, metric: str) -> FloatArray:
    """Logarithms of predicted (or copied) over measured where both are known. [-]"""
    logs = group[f"{which}_{metric}"].to_numpy(float) - group[f"measured_{metric}"].to_numpy(float)
    return np.asarray(logs[np.isfinite(logs)], dtype=np.float64)


def _median(values: FloatArray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def explain_miss(group: pd.DataFrame) -> str:
    """What the runs of a series say about why they are missed, in one line."""
    reasons = []
    errors = {metric: _errors(group, metric)[metric] for metric in ("throughput", "tpot")}
    metric = "tpot" if errors["tpot"] >= 0.8 * errors["throughput"] else "throughput"
    if metric == "throughput" and np.isfinite(errors["tpot"]):
        reasons.append("prefill or admission rather than decode steps")
    logs = _logs(group, "predicted", metric)
    if len(logs) > 1:
        middle = _median(logs)
        scatter = _median(np.abs(logs - middle))
        if scatter < ALIKE < abs(middle):
            reasons.append(
                f"its level, not its shape: {np.expm1(middle):+.0%} throughout, "
                f"{scatter:.0%} around that"
            )
        elif scatter >= ALIKE:
            reasons.append(f"its shape: {scatter:.0%} around its own offset")
    bases = set(group["basis"]) - {"own runs"}
    if bases:
        reasons.append("no other run of its engine on this SKU")
    if len(group) == 1:
        reasons.append("a single run")
    doubts = {text for cell in group["trust_reasons"] for text in str(cell).split("; ") if text}
    reasons += sorted(text for text in doubts if text != "undated median")[:2]
    if "undated median" in doubts:
        reasons.append("undated medians mix software versions")
    return "; ".join(reasons) or "nothing known"
