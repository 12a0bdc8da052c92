"""Predictions beside measured runs, and tables of their error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.measured.runs import load_measured, to_predict_columns
from calibration.validation.scores import score
from simulator.engines.labels import SPECIFICATION
from simulator.studies.predict.run import predict_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

RATIOS = ("throughput", "tpot", "ttft")


def compare_runs(
    runs: pd.DataFrame,
    *,
    specification: bool = False,
    calibration: Path | None = None,
    workers: int = 2,
) -> pd.DataFrame:
    """Measured runs with a prediction and its ratio to the measurement beside each.

    Parameters
    ----------
    runs:
        From `calibration.measured.runs.load_measured`.
    specification:
        Predict from kernel tables and data sheets only, nothing fitted to serving runs.
    calibration:
        Directory of an own fit; ``None``: the shipped one.

    Returns
    -------
    The runs with ``predicted_tput_per_gpu``, ``predicted_tpot_s``, ``predicted_ttft_s``,
    ``status``, ``prediction`` (its kind) and the ratios ``throughput_ratio``, ``tpot_ratio``,
    ``ttft_ratio``, predicted over measured. TPOT is the median where it was measured, else the
    mean; TTFT the mean, else the median.
    """
    table = to_predict_columns(runs)
    if specification:
        table["engine"] = table["engine"] + f"@{SPECIFICATION}"
    predicted = predict_table(table, calibration=calibration, workers=workers)
    out = runs.copy()
    out["predicted_tput_per_gpu"] = predicted["pred_total_tput_per_gpu"].to_numpy()
    tpot_is_median = runs["median_tpot_s"].notna()
    ttft_is_mean = runs["mean_ttft_s"].notna()
    medians, means = predicted["pred_median_tpot_s"], predicted["pred_mean_tpot_s"]
    out["predicted_tpot_s"] = medians.where(tpot_is_median.to_numpy(), means).to_numpy()
    means, medians = predicted["pred_mean_ttft_s"], predicted["pred_median_ttft_s"]
    out["predicted_ttft_s"] = means.where(ttft_is_mean.to_numpy(), medians).to_numpy()
    out["status"] = predicted["status"].to_numpy()
    out["prediction"] = predicted["kind"].to_numpy()
    out["throughput_ratio"] = out["predicted_tput_per_gpu"] / out["total_tput_per_gpu"]
    measured_tpot = runs["median_tpot_s"].where(tpot_is_median, runs["mean_tpot_s"])
    out["tpot_ratio"] = out["predicted_tpot_s"] / measured_tpot
    measured_ttft = runs["mean_ttft_s"].where(ttft_is_mean, runs["median_ttft_s"])
    out["ttft_ratio"] = out["predicted_ttft_s"] / measured_ttft
    return out


def error_table(compared: pd.DataFrame, *, by: Sequence[str]) -> pd.DataFrame:
    """Median error and bias of throughput, TPOT and TTFT by group, with the number of runs.

    Errors and biases are relative: 0.1 is 10 %; a positive bias is a prediction too high.
    """
    import numpy as np
    import pandas as pd

    rows = []
    for names, group in compared.groupby(list(by), sort=True, dropna=False):
        row: dict[str, object] = dict(zip(by, names, strict=True))
        row["runs"] = len(group)
        row["answered"] = int((group["status"] == "ok").sum())
        for metric in RATIOS:
            logs = np.log(group[f"{metric}_ratio"].to_numpy(dtype=float))
            errors = score(predicted=logs, measured=np.zeros(len(logs)))
            row[f"{metric}_error"] = float("nan") if errors is None else errors.median
            row[f"{metric}_bias"] = float("nan") if errors is None else errors.bias
        rows.append(row)
    return pd.DataFrame(rows)


def first_light_runs() -> pd.DataFrame:
    """Aggregated V4-Pro runs of fixed lengths on MI355X and B200 that contradict nothing."""
    runs = load_measured(models=["deepseek-v4-pro"], skus=["mi355x", "b200"], quality="ok")
    fixed = runs["length_distribution"] == "uniform_0.8"
    return runs[fixed & ~runs["disaggregated"].astype(bool)].reset_index(drop=True)
