"""Tables of measured runs: text cells become typed columns, and what is wrong is named."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from calibration.measured.schema import AGENTIC, COLUMNS, DEFAULTS, PREDICT_NAMES, Column
from hwmodels.sku import load_sku
from hwmodels.software import parse_date
from simulator.engines.labels import load_engine
from workloads.architectures.names import canonical_model
from workloads.errors import UserError, unknown_name
from workloads.requests.lengths import length_distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

MOST_VIOLATIONS_SHOWN = 12
_TRUE = ("true", "1", "1.0", "yes")
_FALSE = ("false", "0", "0.0", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One cell that cannot be right.

    Parameters
    ----------
    file, place:
        Where it stands, such as ``line 12`` (the header is line 1) or ``entry 3``.
    field, value:
        The column and what it holds.
    problem:
        What is wrong and what would be right.
    """

    file: str
    place: str
    field: str
    value: str
    problem: str

    def __str__(self) -> str:
        where = f"{self.file} {self.place}".strip()
        return f"{where}, {self.field} = '{self.value}': {self.problem}"


class MeasuredTableError(UserError):
    """A table of measured runs with cells that cannot be right.

    Parameters
    ----------
    violations:
        All of them; the message shows the first.
    """

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        shown = [str(each) for each in self.violations[:MOST_VIOLATIONS_SHOWN]]
        rest = len(self.violations) - len(shown)
        super().__init__("\n".join([*shown, f"and {rest} more"] if rest else shown))


def read_runs_csv(path: Path) -> tuple[pd.DataFrame, list[Violation]]:
    """A CSV table of measured runs with typed columns, and the cells that are wrong.

    The columns of `calibration.measured.schema.COLUMNS` and those that ``simulate predict`` reads
    are both understood; other columns are left out. A missing column is blank.

    Raises
    ------
    UserError
        If the file is not a table; see `simulator.output.csv_table.read_run_table`.
    """
    from simulator.output.csv_table import read_run_table

    text = read_run_table(path)
    return typed_runs(text, file=str(path), places=table_places(text))


def table_places(table: pd.DataFrame) -> list[str]:
    """Lines of the rows of a CSV table."""
    return [f"line {line}" for line in range(2, len(table) + 2)]


def typed_runs(
    text: pd.DataFrame, *, file: str, places: Sequence[str]
) -> tuple[pd.DataFrame, list[Violation]]:
    """Text cells as typed columns, all columns of the schema, names canonical.

    Parameters
    ----------
    text:
        One run a row, cells as text, blank where unknown.
    file:
        Where the rows come from; the ``source`` of rows that name none.
    places:
        Where in it each row stands.

    Returns
    -------
    The table, with the columns ``file`` and ``place`` behind those of the schema; whole numbers
    are floats, NaN where unknown, and flags True, False or None. A wrong cell is unknown.
    """
    known = with_own_names(text, file=file)
    violations: list[Violation] = []
    columns: dict[str, pd.Series] = {}
    for column in COLUMNS:
        default = file if column.name == "source" else DEFAULTS.get(column.name, "")
        cells = [default] * len(known)
        if column.name in known:
            given = known[column.name].fillna("").tolist()
            cells = [cell.strip() or default for cell in given]
        parse = _parser(column)
        problems: dict[str, str] = {}
        values: dict[str, object] = {}
        for cell in dict.fromkeys(cells):
            try:
                values[cell] = parse(cell)
            except UserError as error:
                values[cell] = parse_blank(column)
                problems[cell] = str(error)
        columns[column.name] = pd.Series(
            [values[cell] for cell in cells],
            index=known.index,
            dtype="float64" if column.type in ("whole", "number") else object,
        )
        if problems:
            violations += [
                Violation(
                    file=file, place=place, field=column.name, value=cell, problem=problems[cell]
                )
                for place, cell in zip(places, cells, strict=True)
                if cell in problems
            ]
    frame = pd.DataFrame(columns, index=known.index)
    frame["file"], frame["place"] = file, list(places)
    return frame.reset_index(drop=True), violations


def with_own_names(text: pd.DataFrame, *, file: str) -> pd.DataFrame:
    """A table whose columns have the names of the schema, not those of ``simulate predict``.

    Raises
    ------
    UserError
        If a column stands there under both names.
    """
    renamed = text.rename(columns={old: new for new, old in PREDICT_NAMES.items()})
    for name in renamed.columns[renamed.columns.duplicated()]:
        both = f"{name} and {PREDICT_NAMES.get(name, name)}"
        raise UserError(f"{file}: columns {both} mean the same; keep one of them")
    return renamed


def parse_blank(column: Column) -> object:
    """What an unknown cell of a column holds."""
    if column.type in ("whole", "number"):
        return float("nan")
    return None if column.type == "flag" else ""


def _parser(column: Column) -> Callable[[str], object]:
    convert = _CONVERTERS.get(column.name) or _BY_TYPE[column.type]

    def parse(cell: str) -> object:
        if cell == "":
            if column.required:
                raise UserError(f"is blank; give the {column.meaning}")
            return parse_blank(column)
        value = convert(cell)
        if column.choices and value not in column.choices:
            raise unknown_name(field=column.name, value=cell, known=column.choices)
        if isinstance(value, float):
            _check_range(column, value)
        return value

    return parse


def _check_range(column: Column, value: float) -> None:
    low, high = column.low, column.high
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        unit = f" {column.unit}" if column.unit else ""
        ends = [f"{name} {end:g}" for name, end in (("from", low), ("to", high)) if end is not None]
        raise UserError(f"is out of range; it runs {' '.join(ends)}{unit}")


def _number(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise UserError("is not a number") from None
    if value - value != 0:
        raise UserError("must be finite")
    return value


def _whole(cell: str) -> float:
    value = _number(cell)
    if value != int(value):
        raise UserError("is not a whole number")
    return value


def _flag(cell: str) -> bool:
    lowered = cell.lower()
    if lowered not in (*_TRUE, *_FALSE):
        raise UserError("is neither true nor false")
    return lowered in _TRUE


def _date(cell: str) -> str:
    parse_date(cell)
    return cell


def _distribution(cell: str) -> str:
    if cell != AGENTIC:
        length_distribution(name=cell, nominal_tokens=1024)
    return cell


@cache
def _sku_key(cell: str) -> str:
    return load_sku(cell).key


_KINDS = {"single_run": "single", "median_of_runs": "median"}  # as other tables label them
_BY_TYPE: dict[str, Callable[[str], object]] = {
    "text": str,
    "date": _date,
    "flag": _flag,
    "whole": _whole,
    "number": _number,
}
_CONVERTERS: dict[str, Callable[[str], object]] = {
    "model": canonical_model,
    "sku": _sku_key,
    "engine": lambda cell: load_engine(cell).label,
    "precision": str.lower,
    "speculation": str.lower,
    "length_distribution": _distribution,
    "kind": lambda cell: _KINDS.get(cell, cell),
}
