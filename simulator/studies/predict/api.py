"""The Python interface of predicted tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def predict(
    runs: pd.DataFrame | Path, *, calibration: Path | None = None, workers: int = 1
) -> pd.DataFrame:
    """Predict every row of a table of runs; see `simulator.studies.predict.run.predict_table`.

    Raises
    ------
    UserError
        If a file cannot be read or lacks a column.
    """
    from pathlib import Path

    from simulator.output.csv_table import read_run_table
    from simulator.studies.predict.run import predict_table

    table = read_run_table(runs) if isinstance(runs, Path) else runs
    return predict_table(table, calibration=calibration, workers=workers)
