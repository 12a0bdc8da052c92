"""Measured runs as text: one a line, or an overview where there are many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import pandas as pd

PIPE_WIDTH = 160
_TRAILING = ("quality", "source")
_CAPTION_COLUMNS = (
    *("model", "sku", "engine", "precision", "speculation", "lengths"),
    *_TRAILING,
)
_TTFT = {"median_ttft_s": "TTFT p50 s", "mean_ttft_s": "TTFT mean s"}
_OVERVIEW_GROUPS = ["model", "sku", "engine"]


def print_runs(runs: pd.DataFrame, *, undated: int, longest: int | None) -> None:
    """Print runs, or an overview of them if there are more than ``longest``.

    Parameters
    ----------
    runs:
        Measured runs with their keys.
    undated:
        Runs that were left out because they carry no date.
    longest:
        Most runs to list one by one; ``None``: any number.
    """
    width = None if Console().is_terminal else PIPE_WIDTH
    console = Console(width=width, markup=False, highlight=False)
    if runs.empty:
        console.print("no measured run matches")
    elif longest is None or len(runs) <= longest:
        console.print(_listing(runs))
    else:
        console.print(_overview(runs))
    console.print(_summary(runs, undated=undated, listed=longest is None or len(runs) <= longest))


def _summary(runs: pd.DataFrame, *, undated: int, listed: bool) -> str:
    counts = {
        "runs": len(runs),
        "series": runs["series"].nunique(),
        "publications": runs["source"].nunique(),
        "suspect": int((runs["quality"] == "suspect").sum()),
    }
    parts = [", ".join(f"{name} {count}" for name, count in counts.items())]
    if undated:
        parts.append(f"{undated} undated medians left out")
    if not listed:
        parts.append("narrow the selection, or list each with --all")
    return "; ".join(parts)


def _overview(runs: pd.DataFrame) -> Table:
    table = _table(
        "model", "SKU", "engine", "runs", "series", "dated", "first", "last", "TTFT", "suspect"
    )
    for names, group in runs.groupby(_OVERVIEW_GROUPS, sort=True):
        dates = group.loc[group["date"] != "", "date"]
        ttft = group["mean_ttft_s"].notna() | group["median_ttft_s"].notna()
        table.add_row(
            *(str(name) for name in (names if isinstance(names, tuple) else (names,))),
            str(len(group)),
            str(group["series"].nunique()),
            str(len(dates)),
            str(dates.min()) if len(dates) else "",
            str(dates.max()) if len(dates) else "",
            str(int(ttft.sum())),
            str(int((group["quality"] == "suspect").sum())),
        )
    return table


def _listing(runs: pd.DataFrame) -> Table:
    """One run a line; what all runs share stands in the title, what none has is left out."""
    shown = runs.assign(lengths=_lengths(runs))
    shared = [name for name in _CAPTION_COLUMNS if shown[name].nunique() == 1]
    before = [name for name in _CAPTION_COLUMNS if name not in (*shared, *_TRAILING)]
    after = [name for name in _TRAILING if name not in shared]
    ttft = [name for name in _TTFT if shown[name].notna().any()]
    table = _table(
        *before,
        *("layout", "GPUs", "concurrency", "date", "tok/s/GPU", "tok/s/user", "TPOT ms"),
        *(_TTFT[name] for name in ttft),
        *after,
    )
    if shared:
        first = shown.iloc[0]
        table.title = ", ".join(str(first[name]) or f"unknown {name}" for name in shared)
    for row in shown.to_dict("records"):
        tpot_s = row["median_tpot_s"] if row["median_tpot_s"] > 0 else row["mean_tpot_s"]
        table.add_row(
            *(str(row[name]) or "?" for name in before),
            _layout(row),
            _number(row["gpus"], "{:.0f}"),
            f"{row['concurrency']:.0f}",
            row["date"] or "median",
            _number(row["total_tput_per_gpu"], "{:,.1f}"),
            _number(1 / tpot_s, "{:.1f}"),
            _number(tpot_s * 1e3, "{:.2f}"),
            *(_number(row[name], "{:.3f}") for name in ttft),
            *(row[name] for name in after),
        )
    return table


def _layout(row: Mapping[Hashable, Any]) -> str:
    """Label of the layout, with a question mark where it is not published in full."""
    unknown = row["decode_ep"] != row["decode_ep"] or row["decode_dp_attention"] is None
    return f"{row['layout']}?" if unknown and "?" not in row["layout"] else str(row["layout"])


def _lengths(runs: pd.DataFrame) -> list[str]:
    return [
        f"{isl:.0f}/{osl:.0f}" if isl == isl else str(name)
        for isl, osl, name in zip(
            runs["isl"], runs["osl"], runs["length_distribution"], strict=True
        )
    ]


def _number(value: float, form: str) -> str:
    return form.format(value) if value == value else ""


def _table(*headers: str) -> Table:
    """A table whose numbers stand right and whose names stand left."""
    left = {*_CAPTION_COLUMNS, "SKU", "layout", "date", "first", "last"}
    table = Table(box=None, pad_edge=False, title_justify="left")
    for header in headers:
        table.add_column(header, justify="left" if header in left else "right", no_wrap=True)
    return table
