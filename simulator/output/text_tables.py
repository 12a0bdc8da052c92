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
_MOST_NAMES = 6
_LACKS = (
    r"^.+ on (?P<gpus>\d+) x (?P<chip>.+) as (?P<layout>\S+) does not fit: "
    r"(?P<left>-?[\d.]+) GB of [\d.]+ GB usable are left for KV"
)
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
    return f"{number(leading(low)) if low > 0 else OUT_OF_REACH}–{number(leading(high))}"


def leading(value: float, digits: int = 3) -> float:
    """A value to its leading digits, where more are not known."""
    return float(f"{value:.{digits}g}")


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON objects; what is missing is null."""
    text = frame.to_json(orient="records", double_precision=12)
    records: list[dict[str, Any]] = json.loads(text)
    return records


def csv_of(frame: pd.DataFrame) -> str:
    """Rows as CSV, six significant digits."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def refusal_lines(refused: pd.DataFrame) -> list[str]:
    """Refusals by reason: the same reason of many layouts once, without its byte table.

    What does not fit is one line, with what is left of the memory on each GPU.
    """
    lines = [f"refused, {len(refused):,} (byte tables in refused.csv):"]
    reasons = refused["reason"].str.split("\n").str[0]
    short = reasons.str.extract(_LACKS)
    lacks = short["layout"].notna()
    if lacks.any():
        lines.append(_lacking_line(short[lacks]))
    groups = refused[~lacks].groupby(reasons[~lacks], sort=False)
    for position, (reason, rows) in enumerate(groups):
        if position == _MOST_REFUSALS:
            lines.append(f"  and {groups.ngroups - _MOST_REFUSALS} more reasons in refused.csv")
            break
        labels = [label for label in dict.fromkeys(rows["label"]) if label not in str(reason)]
        lines.append(f"  {_some(labels)}{': ' if labels else ''}{reason}")
    return lines


def _lacking_line(short: pd.DataFrame) -> str:
    """Layouts without room for KV entries, those that lack least first, in a line."""
    left_gb = short["left"].astype(float)
    layouts = [
        f"{layout} on {gpus} x {chip} {left_gb[rows.index].max():.1f}"
        for (layout, gpus, chip), rows in sorted(
            short.groupby(["layout", "gpus", "chip"], sort=False),
            key=lambda group: -left_gb[group[1].index].max(),
        )
    ]
    return (
        f"  do not fit, GB left for KV on each GPU at most: {_some(layouts)}; take more GPUs, a "
        "higher ep or a SKU with more memory"
    )


def _some(names: Sequence[str]) -> str:
    """The first few of many names, and how many more there are."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_MOST_NAMES])} and {more} more"
