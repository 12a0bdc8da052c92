"""Tables of runs as CSV files: text in, text out, every cell kept as it was written."""

from __future__ import annotations

import tempfile
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from simulator.output.leftovers import own_mark
from simulator.output.text_file import staged
from workloads.datafiles import read_csv
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd

REQUIRED_COLUMNS = ("model", "sku", "engine", "isl", "osl", "concurrency")


def read_run_table(path: Path) -> pd.DataFrame:
    """A table of runs with every cell as text; blank cells are empty strings.

    Raises
    ------
    UserError
        If the file cannot be read, has no header, repeats or lacks a column, or a line has more
        or fewer fields than the header; the message names line and column.
    """
    import pandas as pd

    header, lines = read_csv(path)
    check_required(header, path=path)
    return pd.DataFrame([line.cells for line in lines], columns=header, dtype=str)


def check_required(header: Iterable[str], *, path: Path) -> None:
    """Refuse a table of runs that lacks what every run has.

    Raises
    ------
    UserError
        If it does; the message names what is missing and a column that may be meant.
    """
    header = list(header)
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:
        near = get_close_matches(missing[0], header, n=1)
        raise UserError(
            f"{path} line 1: column {missing[0]} is missing"
            f"{f' (is {near[0]} meant?)' if near else ''}; a table of runs needs "
            f"{', '.join(REQUIRED_COLUMNS)}"
        )


def numbers_of(column: pd.Series[Any]) -> pd.Series[float]:
    """A column as numbers; what is none is unknown, a whole number beyond all floats infinite."""
    import pandas as pd

    try:
        return pd.to_numeric(column, errors="coerce")
    except OverflowError:
        return pd.to_numeric(column.map(str, na_action="ignore"), errors="coerce")


def write_run_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as a whole or not at all; six significant digits, unknown numbers blank.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with staged(path) as stage:
        table.to_csv(stage, index=False, float_format="%.6g", lineterminator="\n")


def check_writable(path: Path) -> None:
    """Refuse an output path that cannot be written to, before anything is computed.

    Nothing is left at the path.

    Raises
    ------
    UserError
        If the folder does not exist or cannot be written to, or the path is a folder.
    """
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a directory; name a file in it")
    try:
        if path.exists():
            path.open("a", encoding="utf-8").close()
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}{own_mark()}"):
            pass
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
