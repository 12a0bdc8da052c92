"""How far predictions are from runs that the fit behind them has not seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from calibration.fit.observations import METRICS
from calibration.validation.bands import coverage_table, fit_bands
from calibration.validation.cell_bands import fit_cells
from calibration.validation.left_out import SCHEMES, Shown, Simulated, predict_left_out
from calibration.validation.paired_bands import fit_paired_bands
from calibration.validation.scores import frontier_error, score
from simulator.prediction.run import simulate_run
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from calibration.fit.gauss_newton import Fit
    from calibration.fit.observations import Observation
    from calibration.measured.selection import Selection
    from calibration.validation.bands import Band
    from calibration.validation.cell_bands import CellBands
    from calibration.validation.paired_bands import PairedBands
    from hwmodels.fitted import Basis

    FloatArray = npt.NDArray[np.float64]
    Progress = Callable[[int, int, str], None]

SPLITS = ("structure", "held")

SHOWN: tuple[Shown, ...] = ("fitted", *SCHEMES, "sku, kernels measured", "specification")
"""Everything that a validation predicts, in the order of its tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Predictions of left-out runs, and what could not be predicted.

    Parameters
    ----------
    predictions:
        `calibration.validation.left_out.predict_left_out` of every scheme, with ``pools`` (``TP``,
        ``data-parallel`` or ``disaggregated``).
    bands, coverage:
        From `calibration.validation.bands`.
    cells:
        From `calibration.validation.cell_bands`.
    pairs:
        Bands of ratios, from `calibration.validation.paired_bands`.
    unanswered:
        Runs without a prediction: ``run_id``, ``series``, ``split`` and ``reason``.
    suspects:
        Runs that contradict themselves, their neighbours or physics: ``run_id``, ``series``,
        ``reason``, and whether they are ``fitted`` all the same, with less trust.
    fit_s:
        How long the fit took; ``None`` where it was read. [s]
    simulated:
        Whether left-out runs were simulated again, or follow from linearised responses.
    """

    predictions: pd.DataFrame
    bands: dict[Basis, dict[str, Band]]
    cells: CellBands
    coverage: pd.DataFrame
    unanswered: pd.DataFrame
    fit_s: float | None
    simulated: bool
    pairs: PairedBands = field(default_factory=dict)
    suspects: pd.DataFrame = field(default_factory=pd.DataFrame)

    def of(self, scheme: Shown, **columns: object) -> pd.DataFrame:
        """Predictions of a scheme whose columns have the values given."""
        rows = self.predictions["scheme"] == scheme
        for name, value in columns.items():
            rows &= self.predictions[name] == value
        return self.predictions[rows]


def validate_fit(
    fit: Fit,
    selection: Selection,
    *,
    schemes: Sequence[Shown] = SHOWN,
    workers: int = 2,
    simulate: Simulated = "all",
    fit_s: float | None = None,
    on_progress: Progress | None = None,
) -> Validation:
    """Leave out by every scheme, predict what was left out, and learn the bands from it.

    Parameters
    ----------
    selection:
        What was fitted.
    simulate:
        Whether left-out runs are simulated again; see
        `calibration.validation.left_out.predict_left_out`.
    on_progress:
        Called with (schemes done, schemes in all, what is under way).
    """
    tables = []
    for done, scheme in enumerate(schemes):
        if on_progress is not None:
            on_progress(done, len(schemes), f"left out: {scheme}")
        tables.append(
            predict_left_out(fit, selection, scheme=scheme, workers=workers, simulate=simulate)
        )
    if on_progress is not None:
        on_progress(len(schemes), len(schemes), "done")
    predictions = pd.concat([table for table in tables if len(table)], ignore_index=True)
    aggregated = np.where(predictions["dp_attention"], "data-parallel", "TP")
    predictions["pools"] = np.where(
        predictions["disaggregated"].astype(bool), "disaggregated", aggregated
    )
    return Validation(
        predictions=predictions,
        bands=fit_bands(predictions),
        cells=fit_cells(predictions),
        pairs=fit_paired_bands(predictions),
        coverage=coverage_table(predictions),
        unanswered=_unanswered(fit, selection, predictions),
        suspects=suspect_runs(selection),
        fit_s=fit_s,
        simulated=simulate == "all",
    )


def suspect_runs(selection: Selection) -> pd.DataFrame:
    """Runs that are suspect, those that enter with less trust among them; see `Validation`."""
    out = selection.excluded
    out = out[out["reason"].str.startswith("suspect: ")].assign(fitted=False)
    near = selection.runs[selection.runs["near_peak"] != ""].assign(fitted=True)
    columns = ["run_id", "series", "reason", "fitted"]
    return pd.concat(
        [
            out.assign(reason=out["reason"].str.removeprefix("suspect: "))[columns],
            near.assign(reason=near["near_peak"])[columns],
        ],
        ignore_index=True,
    )


def _unanswered(fit: Fit, selection: Selection, predictions: pd.DataFrame) -> pd.DataFrame:
    """Runs without a prediction, suspect ones aside: neither fitted nor answered when left out."""
    out = selection.excluded[~selection.excluded["reason"].str.startswith("suspect")]
    columns = ["run_id", "series", "split"]
    answered = np.isfinite(predictions["predicted_throughput"].to_numpy(float))
    known = set(predictions.loc[answered & (predictions["scheme"] == "series"), "run_id"])
    stuck = [
        {**selection.runs.loc[o.row, columns], "reason": why or _refusal(o)}
        for o, why in [
            *((o, "") for o in fit.observations),
            *zip(selection.unfitted, selection.why_unfitted, strict=True),
        ]
        if selection.runs.at[o.row, "run_id"] not in known
    ]
    columns.append("reason")
    return pd.concat([out[columns], pd.DataFrame(stuck, columns=columns)], ignore_index=True)


def _refusal(observation: Observation) -> str:
    try:
        simulate_run(observation.configuration)
    except UserError as error:
        return str(error).splitlines()[0]
    return "it cannot finish at the fitted parameters"


def score_table(
    predictions: pd.DataFrame, *, by: Sequence[str], baseline: bool = False
) -> pd.DataFrame:
    """Errors by group.

    Parameters
    ----------
    by:
        Columns of the predictions.
    baseline:
        Whether the nearest label is scored in place of the prediction.

    Returns
    -------
    The group, ``runs``, and for each metric ``*_runs``, ``*_median``, ``*_mean``, ``*_bias`` and
    ``*_within`` (25 %), relative; see `calibration.validation.scores.Score`.
    """
    source = "copied" if baseline else "predicted"
    rows: list[dict[str, Any]] = []
    for names, group in predictions.groupby(list(by), sort=False, dropna=False):
        row: dict[str, Any] = dict(zip(by, names, strict=True)) | {"runs": len(group)}
        for metric in METRICS:
            found = score(
                predicted=group[f"{source}_{metric}"].to_numpy(float),
                measured=group[f"measured_{metric}"].to_numpy(float),
            )
            row |= {
                f"{metric}_runs": 0 if found is None else found.runs,
                f"{metric}_median": float("nan") if found is None else found.median,
                f"{metric}_mean": float("nan") if found is None else found.mean,
                f"{metric}_bias": float("nan") if found is None else found.bias,
                f"{metric}_within": float("nan") if found is None else found.within_quarter,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def frontier_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Error of the frontier at equal tok/s/user by scheme, frontier and fold.

    Returns
    -------
    ``scheme``, ``fold`` (of schemes that leave out more than one frontier at a time),
    ``frontier``, ``basis``, ``runs``, ``error`` and ``copied_error`` of the nearest label; see
    `calibration.validation.scores.frontier_error`.
    """
    rows: list[dict[str, Any]] = []
    for (scheme, frontier), group in predictions.groupby(["scheme", "frontier"], sort=False):
        names = [
            f"{which}_{metric}"
            for which in ("measured", "predicted", "copied")
            for metric in ("tpot", "throughput")
        ]
        known = group[np.isfinite(group[names[:4]].to_numpy(float)).all(axis=1)]
        values = np.exp(known[names].to_numpy(float)).T
        error = _frontier_error(values[:2], values[2:4])
        if error is None:
            continue
        copied = np.isfinite(values[4:]).all(axis=0)
        rows.append(
            {
                "scheme": scheme,
                "frontier": frontier,
                "sku": str(known["sku"].iloc[0]),
                "basis": str(known["basis"].iloc[0]),
                "runs": len(known),
                "error": error,
                "copied_error": _frontier_error(values[:2, copied], values[4:, copied]),
            }
        )
    columns = ["scheme", "frontier", "sku", "basis", "runs", "error", "copied_error"]
    return pd.DataFrame(rows, columns=columns)


def _frontier_error(measured: FloatArray, other: FloatArray) -> float | None:
    """Error between two frontiers, each TPOT [s] above throughput [tok/s]."""
    return frontier_error(
        measured_tpot_s=measured[0],
        measured_rate=measured[1],
        predicted_tpot_s=other[0],
        predicted_rate=other[1],
    )
