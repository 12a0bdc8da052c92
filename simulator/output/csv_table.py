"""Tables of runs as CSV files: text in, text out, every cell kept as it was written."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from workloads.errors import UserError

if TYPE_CHECKING:
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

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, rows = _read_rows(path, file.read())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: byte {error.start} is not") from None
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:
        raise UserError(
            f"{path} line 1: column {missing[0]} is missing; a table of runs needs "
            f"{', '.join(REQUIRED_COLUMNS)}"
        )
    return pd.DataFrame(rows, columns=header, dtype=str)


def _read_rows(path: Path, text: str) -> tuple[list[str], list[list[str]]]:
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError(f"{path} line {line}: holds a NUL byte; it is not a CSV file")
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    start = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        rows: list[list[str]] = []
        start = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(header):
                column = min(len(row), len(header))
                near = header[column] if len(row) < len(header) else f"after {header[-1]}"
                raise UserError(
                    f"{path} line {start}, column {column + 1} ({near}): the line has {len(row)} "
                    f"fields and the header {len(header)}"
                )
            if row:
                rows.append(row)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path} line {start}: {error}") from None
    return header, rows


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise UserError(f"{path} line 1: there is no header; name the columns of the table")
    for column, name in enumerate(header):
        if name in header[:column]:
            raise UserError(f"{path} line 1, column {column + 1}: column {name} stands twice")


def write_run_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table; numbers with six significant digits, unknown ones blank.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    try:
        table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def check_writable(path: Path) -> None:
    """Refuse an output path that cannot be written to, before anything is computed.

    Raises
    ------
    UserError
        If the folder does not exist or cannot be written to, or the path is a folder.
    """
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a directory; name a file in it")
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
