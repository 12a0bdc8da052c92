"""A difference in lines for a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.output.text_tables import console, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulator.studies.diff.run import DiffResult

SHOWN = 20
_UNITS = {"total_tput_per_gpu": "tok/s/GPU", "median_tpot_s": "TPOT s", "median_ttft_s": "TTFT s"}


def print_diff(result: DiffResult, *, directory: Path | None, every: bool = False) -> None:
    """Print what moved: a table by figure, then the figures that moved farthest."""
    summary = result.summary()
    output = console()
    output.print(f"old: {result.old}\nnew: {result.new}", highlight=False)
    by_metric: Any = table_of(
        title="",
        headers=(
            "figure",
            "compared",
            "moved",
            "median",
            "largest",
            "measured",
            "error old",
            "new",
        ),
        left=("figure",),
    )
    for metric, figures in summary["figures"].items():
        by_metric.add_row(
            _UNITS[metric],
            f"{figures['compared']}",
            f"{figures['moved']}",
            _percent(figures["median_change"], sign=False),
            _percent(figures["largest_change"]),
            f"{figures['measured']}" if figures["measured"] else "",
            _percent(figures["median_error_old"], sign=False),
            _percent(figures["median_error_new"], sign=False),
        )
    output.print(by_metric)
    _print_moved(result, output, every=every)
    for row in result.changed_status.to_dict("records"):
        output.print(
            f"{_what(row)}: {row['status_old']} before, {row['status_new']} now", highlight=False
        )
    lines = [f"moved: by more than {100 * result.threshold:g} %; errors are medians of size"]
    if result.only_old or result.only_new:
        lines.append(f"{result.only_old} rows only old, {result.only_new} only new")
    if directory is not None:
        lines.append(f"results in {directory}")
    output.print("\n".join(lines), highlight=False)


def _print_moved(result: DiffResult, output: Any, *, every: bool) -> None:
    moved = result.moved
    if moved.empty:
        return
    shown = moved if every else moved.head(SHOWN)
    table: Any = table_of(
        title="",
        headers=(
            *("configuration", "figure", "old", "new", "change", "measured"),
            *("error old", "error new"),
        ),
        left=("configuration", "figure"),
    )
    for row in shown.to_dict("records"):
        table.add_row(
            _what(row),
            _UNITS[row["metric"]],
            f"{row['old']:.4g}",
            f"{row['new']:.4g}",
            _percent(row["change"]),
            f"{row['measured']:.4g}" if row["measured"] == row["measured"] else "",
            _percent(row["error_old"]),
            _percent(row["error_new"]),
        )
    output.print(table)
    if len(shown) < len(moved):
        output.print(f"{len(moved) - len(shown)} more moved; --all lists them", highlight=False)


def _what(row: Mapping[Any, Any]) -> str:
    names = ("id", "sku", "model", "engine", "label", "isl", "osl", "concurrency")
    return " ".join(str(row[name]) for name in names if row.get(name))


def _percent(value: float | None, *, sign: bool = True) -> str:
    if value is None or value != value:
        return ""
    return f"{100 * value:+.1f} %" if sign else f"{100 * value:.1f} %"
