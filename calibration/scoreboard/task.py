"""``simulate score``: a table of measured runs against predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from calibration.importers import point_table
from calibration.importers.runs import import_runs
from calibration.measured.keys import deployment_text
from calibration.measured.runs import to_predict_columns
from calibration.scoreboard import mlperf_table
from calibration.scoreboard.given import read_given
from calibration.scoreboard.page import write_score_page
from calibration.scoreboard.scoring import METRICS, beside, score_groups
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from calibration.importers.runs import ImportedRuns
    from calibration.scoreboard.scoring import MetricScore
    from simulator.studies.predict.run import Progress


def score_runs(
    measured: pd.DataFrame,
    *,
    predictions: pd.DataFrame | None = None,
    calibration: Path | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measured runs beside predictions, as `calibration.scoreboard.scoring.beside` gives them.

    Parameters
    ----------
    measured:
        Runs in the columns of `calibration.measured.schema`.
    predictions:
        The same rows with what ``simulate predict`` adds; ``None``: predicted here.

    Raises
    ------
    UserError
        If the predictions are of another number of rows.
    """
    if predictions is None:
        from simulator.studies.predict.run import predict_table

        predictions = predict_table(
            to_predict_columns(measured),
            calibration=calibration,
            workers=workers,
            progress=progress,
        )
    table = beside(measured, predictions)
    rows = cast("list[dict[str, object]]", measured.to_dict("records"))
    table["layout"] = [deployment_text(row) for row in rows]
    table["message"] = predictions["message"].to_numpy() if "message" in predictions else ""
    return table


def _registry() -> Path:
    """Folder of registered predictions: here, else in the repository of the package."""
    from pathlib import Path

    here = Path("predictions")
    return here if here.exists() else Path(__file__).parents[2] / "predictions"


def score_and_write(
    path: Path,
    *,
    predictions: Path | None,
    calibration: Path | None,
    out: Path | None,
    workers: int,
    progress: Progress | None,
    registered: bool = False,
) -> list[str]:
    """Score a file; lines that say how far off it is, and where the page stands.

    Parameters
    ----------
    predictions:
        Table of predictions, or with ``registered`` the folder of registered ones; ``None``:
        predicted now, or ``predictions`` here or beside the package.

    Raises
    ------
    UserError
        If a file cannot be read, or the predictions are not of its rows.
    """
    if (mlperf := _mlperf_table(path, predictions=predictions, progress=progress)) is not None:
        return _lines_and_page(*mlperf, path=path, out=out, unit="output tok/s/chip")
    imported, given, notes = _imported(path)
    if registered:
        from calibration.scoreboard.registered_page import registered_columns

        given = registered_columns(imported.frame, root=predictions or _registry())
    elif predictions is not None:
        given = read_given(predictions)
    table = score_runs(
        imported.frame,
        predictions=given,
        calibration=calibration,
        workers=workers,
        progress=progress,
    )
    notes += [*_doubts(imported.frame), *_unanswered(table)]
    notes += [*imported.notes, *imported.problems]
    return _lines_and_page(table, notes, path=path, out=out)


def _doubts(measured: pd.DataFrame) -> list[str]:
    """Which runs contradict themselves; they are scored all the same, and fits leave them out."""
    suspect = measured[measured["quality"] == "suspect"]
    return [
        f"suspect measured runs, {len(rows)} of {len(measured)}, scored all the same: {reason}"
        for reason, rows in suspect.groupby("quality_reason", sort=False)
    ]


def _unanswered(table: pd.DataFrame) -> list[str]:
    """Why runs have no prediction, a line for each reason."""
    silent = table[~table["answered"].astype(bool)]
    reasons = silent["message"].astype(str).str.split("\n").str[0].str.strip()
    return [
        f"not predicted, {len(rows)} of {len(table)}: {reason}"
        for reason, rows in silent.groupby(reasons, sort=False)
        if reason
    ]


def _imported(path: Path) -> tuple[ImportedRuns, pd.DataFrame | None, list[str]]:
    """Runs of a file, predictions that stand beside them in it, and what was renamed."""
    import tempfile
    from pathlib import Path

    if path.suffix != ".csv" or not path.is_file():
        return import_runs(path, skip_bad=True), None, []
    frame = mlperf_table.text_table(path)
    if not point_table.is_foreign(list(frame.columns)):
        return import_runs(path, skip_bad=True), None, []
    measured, predicted, notes = point_table.translated(frame)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / path.name
        measured.to_csv(own, index=False)
        imported = import_runs(own, skip_bad=True)
    if predicted is not None and len(imported.frame) != len(predicted):
        # rows that could not be read have no prediction either
        places = [int(str(place).rsplit(" ", 1)[-1]) - 2 for place in imported.frame["place"]]
        predicted = predicted.iloc[places].reset_index(drop=True)
    return imported, predicted, notes


def _mlperf_table(
    path: Path, *, predictions: Path | None, progress: Progress | None
) -> tuple[pd.DataFrame, list[str]] | None:
    """MLPerf's results beside predictions, and what was left out; ``None`` for other files."""
    if path.suffix not in (".csv", ".json") or not path.is_file():
        return None
    frame = mlperf_table.text_table(path)
    if not mlperf_table.is_mlperf_table(list(frame.columns)):
        return None
    rows, left_out = mlperf_table.read_mlperf_rows(frame)
    if not rows:
        raise UserError(f"{path} holds no result that can be scored; {'; '.join(left_out[:3])}")
    given = None if predictions is None else mlperf_table.read_predicted(predictions)
    return mlperf_table.mlperf_beside(rows, predicted=given, progress=progress), left_out


def _lines_and_page(
    table: pd.DataFrame,
    notes: list[str],
    *,
    path: Path,
    out: Path | None,
    unit: str = "tok/s/GPU",
) -> list[str]:
    """The errors in lines, and the page where a folder is named."""
    (whole,) = score_groups(table)
    lines = [
        f"{whole.selected:,} runs of {path.name}, {whole.answered:,} predicted "
        f"({100 * whole.answered_share:.0f} %); throughput in {unit}",
        f"{'':<12}{'runs':>7}{'median':>9}{'mean':>9}{'bias':>9}{'shape':>9}{'in band':>9}",
    ]
    scores = [(metric, whole.metrics.get(metric)) for metric in METRICS]
    if unit != "tok/s/GPU":
        groups = score_groups(table, by="scenario")
        scores += [(group.name, group.metrics.get("throughput")) for group in groups]
    lines += [_line(name, score) for name, score in scores if score is not None]
    if whole.frontier == whole.frontier:
        lines.append(f"frontier at equal tok/s/user: {100 * whole.frontier:.1f} % off (median)")
    if whole.pairs:
        lines.append(f"pairs of chips in the measured order: {whole.right} of {whole.pairs}")
    lines += [f"note: {note}" for note in notes]
    if out is not None:
        page = write_score_page(table, folder=out, title=f"Predictions against {path.name}")
        lines.append(f"page in {page}")
    return lines


def _line(name: str, score: MetricScore) -> str:
    cells = (score.median, score.mean, score.bias, score.shape, score.coverage)
    return f"{name:<12}{score.runs:>7,}" + "".join(
        f"{100 * cell:>8.1f}%" if cell == cell else f"{'–':>9}" for cell in cells
    )
