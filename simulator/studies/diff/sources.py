"""What stands on one side of a difference: the panel of a version, or a folder of results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simulator.studies.diff.panel import read_release, run_panel, run_panel_of
from workloads.datafiles import read_csv
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    Progress = Callable[[int, int, str], None]

THIS, RELEASE = "this", "release"
TABLES = ("points.parquet", "points.csv", "trials.csv", "plan.csv")
"""Tables of a folder of results, the first that is there."""


def read_side(
    name: str, *, workers: int = 2, on_progress: Progress | None = None
) -> tuple[str, pd.DataFrame]:
    """Title and rows of a side.

    Parameters
    ----------
    name:
        ``this`` installation, the last ``release``, a folder of results, a table that ``simulate
        predict`` wrote, a checkout, a virtual environment or its Python.

    Raises
    ------
    UserError
        If it is none of these, or cannot be read or run.
    """
    if name == THIS:
        return run_panel(workers=workers, on_progress=on_progress)
    if name == RELEASE:
        return read_release()
    place = Path(name)
    if not place.exists():
        raise UserError(
            f"'{name}' does not exist; name '{THIS}', '{RELEASE}', a folder of results, a table "
            "of predictions, a checkout or a virtual environment"
        )
    if place.is_file() and place.suffix.lower() == ".csv":
        return name, _csv(place)
    for table in TABLES:
        if (place / table).is_file():
            return name, _parquet(place / table) if table.endswith("parquet") else _csv(
                place / table
            )
    return run_panel_of(place, workers=workers)


def _csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    header, lines = read_csv(path)
    return pd.DataFrame([line.cells for line in lines], columns=header, dtype=str)


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        frame: pd.DataFrame = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    return frame
