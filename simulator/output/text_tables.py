"""Tables of what-if results for a terminal, a pipe or a file: same columns, same rounding."""

from __future__ import annotations

import json
from math import floor, log10
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from simulator.output.columns import columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

_MOST_REFUSALS = 12
WIDTH = 500
"""Wide enough for every table: a narrow terminal wraps a line, but no figure is cut off."""


def console() -> Console:
    """Where tables are printed, wide enough for all their columns."""
    return Console(width=WIDTH, markup=False, highlight=False)


def table_of(*, title: str, headers: Sequence[str], left: Iterable[str] = ()) -> Table:
    """An empty table whose numbers stand right and whose texts, named in ``left``, stand left."""
    table = Table(box=None, pad_edge=False, title=title or None, title_justify="left")
    texts = set(left)
    for header in headers:
        table.add_column(header, justify="left" if header in texts else "right", no_wrap=True)
    return table


def table_of_columns(names: Iterable[str], *, title: str = "", narrow: bool = False) -> Table:
    """An empty table of known columns, whose headers and alignment follow their definitions.

    Parameters
    ----------
    names:
        Columns of `simulator.output.columns`.
    narrow:
        Whether headers break onto a second line.
    """
    known = columns()
    table = Table(box=None, pad_edge=False, title=title or None, title_justify="left")
    for name in names:
        column = known[name]
        table.add_column(
            column.narrow_title if narrow else column.title,
            justify="left" if column.kind == "text" else "right",
            no_wrap=True,
        )
    return table


def number(value: Any, digits: int = 3) -> str:
    """A figure with some significant digits, whole above them; blank if it is missing."""
    if value is None or value != value:
        return ""
    value = float(value)
    if value == float("inf"):
        return "∞"
    if abs(value) < 1e-3 and value:
        return f"{value:.2e}"
    decimals = max(0, digits - 1 - floor(log10(abs(value)))) if value else 0
    if abs(value) >= 1e5:
        value = float(f"{value:.{digits}g}")
    return f"{value:,.{decimals}f}"


OUT_OF_REACH = "n/r"
OUT_OF_REACH_NOTE = (
    f"{OUT_OF_REACH}: not reachable at the low end of the band, where even a lone user is slower"
)


def interval(low: Any, high: Any) -> str:
    """A band such as ``1,200–2,300``; blank if it is not known.

    A low end of 0 is a speed beyond the curve, and is said to be `OUT_OF_REACH`.
    """
    if low is None or high is None or low != low or high != high:
        return ""
    return f"{number(low) if low > 0 else OUT_OF_REACH}–{number(high)}"


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON objects; what is missing is null."""
    text = frame.to_json(orient="records", double_precision=12)
    records: list[dict[str, Any]] = json.loads(text)
    return records


def csv_of(frame: pd.DataFrame) -> str:
    """Rows as CSV, six significant digits."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def refusal_lines(refused: pd.DataFrame) -> list[str]:
    """Refusals by reason: the same reason of many layouts once, without its byte table."""
    lines = [f"refused, {len(refused):,} (byte tables in refused.csv):"]
    groups = refused.groupby(refused["reason"].str.split("\n").str[0], sort=False)
    for position, (reason, rows) in enumerate(groups):
        if position == _MOST_REFUSALS:
            lines.append(f"  and {groups.ngroups - _MOST_REFUSALS} more reasons in refused.csv")
            break
        labels = [label for label in dict.fromkeys(rows["label"]) if label not in str(reason)]
        lines.append(f"  {', '.join(labels)}{': ' if labels else ''}{reason}")
    return lines
