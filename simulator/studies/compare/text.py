"""What ``simulate compare`` prints: systems side by side at each speed per user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwmodels.sku import load_sku
from simulator.output.note_text import note_lines
from simulator.output.text_tables import (
    OUT_OF_REACH_NOTE,
    console,
    interval,
    number,
    records_of,
    table_of_columns,
)
from simulator.studies.changes import changes_table
from simulator.studies.closing import closing_lines
from simulator.studies.compare.sides import crossings
from simulator.studies.next_runs import candidate_runs
from simulator.studies.series import limit_line
from simulator.studies.sweep.winners import winner_lines, winner_of
from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from pathlib import Path

    import pandas as pd

    from simulator.studies.compare.run import ComparisonResult

UNREACHABLE = "unreachable"
SHOWN = (
    "interactivity",
    "system",
    "total_tput_per_gpu",
    "total_tput_per_gpu_lo",
    "ratio",
    "ratio_lo",
    "usd_per_million_tokens",
    "usd_ratio",
    "usd_per_million_input_tokens",
    "usd_per_million_output_tokens",
    "tokens_per_s_per_mw",
    "mw_ratio",
    "joules_per_token",
    "between",
    "bottleneck",
)
"""Columns of a printed comparison."""


def print_comparison(
    result: ComparisonResult, *, directory: Path, ranks_runs: bool = False
) -> None:
    """Print a comparison: the table, what crosses where, and what was assumed.

    Parameters
    ----------
    ranks_runs:
        Whether to list all runs that would narrow the bands.
    """
    out = console()
    out.print(result.caption, soft_wrap=True)
    for message in filter(_is_absence, result.messages):
        out.print(message, soft_wrap=True)
    out.print()
    out.print(_table(result))
    if result.changes:
        out.print()
        out.print(changes_table(result.changes))
    notes = note_lines(each for each in result.messages if not _is_absence(each))
    closing = closing_lines(
        records_of(result.runs()), calibration=result.calibration, ranks_runs=ranks_runs
    )
    lines = ["", *_remarks(result), *closing, *notes, "", f"results in {directory}"]
    out.print("\n".join(lines), soft_wrap=True)


def _is_absence(message: str) -> bool:
    """Whether a message says that a system is not in the table, and why."""
    return " is left out: " in message


def summary_of(result: ComparisonResult) -> dict[str, Any]:
    """A comparison as JSON. SI units, dollars per million tokens."""
    return {
        "generator": f"forecurve {version()}",
        "simulated": True,
        "caption": result.caption,
        "reference": result.sides[0].name,
        "denominator": result.denominator,
        "tier": result.tier,
        "economics": result.economics,
        "settings": result.resolved,
        "table": records_of(result.frame()),
        "crossings": {
            side.name: list(crossings(result.sides[0], side)) for side in result.sides[1:]
        },
        "remarks": _remarks(result),
        "changes": [change.to_dict() for change in result.changes],
        "limits": result.limits.to_dict(),
        "next_runs": [
            run.to_dict()
            for run in candidate_runs(records_of(result.runs()), calibration=result.calibration)
        ],
        "refused": records_of(result.refused),
        "messages": list(result.messages),
    }


def _table(result: ComparisonResult) -> Any:
    names, rows = comparison_cells(result.frame(), reference=result.sides[0].name)
    table = table_of_columns(names)
    for position, (first, cells) in enumerate(rows):
        if first and position:
            table.add_row()
        table.add_row(*cells)
    return table


def _slowest(row: Mapping[Hashable, Any]) -> str:
    """What to say where every run of a curve is faster than the speed asked for."""
    if row["interactivity"] >= row["slowest"]:
        return ""
    return f", its slowest: {number(row['slowest'])} tok/s/user"


def comparison_cells(
    frame: pd.DataFrame, *, reference: str
) -> tuple[list[str], list[tuple[bool, list[str]]]]:
    """A comparison as it is read: columns, and cells of each row.

    Parameters
    ----------
    frame:
        `simulator.studies.compare.run.ComparisonResult.frame`.
    reference:
        The system whom the ratios are over.

    Returns
    -------
    tuple
        Names of the columns; and for each row whether it is the first of its speed, with its
        cells.
    """
    banded = bool(frame["total_tput_per_gpu_lo"].notna().any())
    bands = ("total_tput_per_gpu_lo", "ratio_lo")
    names = [name for name in SHOWN if banded or name not in bands]
    rows: list[tuple[bool, list[str]]] = []
    for row in frame.to_dict("records"):
        first = row["system"] == reference
        cells = [number(row["interactivity"]) if first else "", row["system"]]
        if not row["reachable"]:
            reach = f"{number(row['slowest'])} to {number(row['fastest'])} tok/s/user"
            blank = [""] * (len(names) - 5)
            rows.append((first, [*cells, UNREACHABLE, *blank, f"its curve: {reach}", ""]))
            continue
        cells.append(number(row["total_tput_per_gpu"]))
        if banded:
            cells.append(interval(row["total_tput_per_gpu_lo"], row["total_tput_per_gpu_hi"]))
        cells.append("" if first else _times(row["ratio"]))
        if banded:
            cells.append("" if first else interval(row["ratio_lo"], row["ratio_hi"]))
        cells += [
            number(row["usd_per_million_tokens"]),
            "" if first else _times(row["usd_ratio"]),
            number(row["usd_per_million_input_tokens"]),
            number(row["usd_per_million_output_tokens"]),
            number(row["tokens_per_s_per_mw"]),
            "" if first else _times(row["mw_ratio"]),
            number(row["joules_per_token"]),
            row["between"] + _slowest(row),
            row["bottleneck"],
        ]
        rows.append((first, cells))
    return names, rows


def _times(value: float | None) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.2f}x" if 0.1 <= value < 10 else f"{number(value)}x"


def _software_lines(result: ComparisonResult) -> list[str]:
    """Whose software the systems have, where that is not their own."""
    if not result.software_of:
        return []
    names = ", ".join(load_sku(name).name for name in result.software_of)
    return [
        f"equal software: every engine at the better of its levels on {names} (notes below); "
        "--own-software takes each its own"
    ]


def _band_lines(result: ComparisonResult) -> list[str]:
    """What the bands of the ratios rest on."""
    bases = set(result.table["ratio_band"].dropna())
    lines = []
    if "paired" in bases:
        lines.append(
            "90 % of ratios: errors of pairs of left-out systems; what is common to both cancels"
        )
    if "independent" in bases:
        lines.append(
            "90 % of ratios: the two bands as if independent, rather too wide, where no pairs of "
            "the kind were left out"
        )
    return lines


def unpriced_lines(result: ComparisonResult) -> list[str]:
    """Systems whose dollars or megawatts are blank, and why."""
    reached = result.table[result.table["reachable"]]
    lines = []
    for column, what in (
        ("usd_per_million_tokens", f"{result.tier} price"),
        ("tokens_per_s_per_mw", "power"),
    ):
        names = reached.loc[reached[column].isna(), "system"].unique()
        if len(names):
            lines.append(f"no {what} known in economics {result.economics}: {', '.join(names)}")
    return lines


def _remarks(result: ComparisonResult) -> list[str]:
    """Crossings, bands that overlap, kinds of prediction, and what dollars are over."""
    reference = result.sides[0]
    lines = [
        f"{side.name}: {line}"
        for side in result.sides
        if side.runs["engine"].nunique() > 1 or side.runs["spec"].nunique() > 1
        for line in winner_lines(winner_of(side.runs))
    ]
    for side in result.sides[1:]:
        meet = crossings(reference, side)
        if meet:
            speeds = ", ".join(number(x) for x in meet)
            lines.append(
                f"{side.name} and {reference.name} give equal throughput at {speeds} tok/s/user"
            )
    lines += _software_lines(result)
    close = result.table[result.table["apart"].eq(False)]
    for name in close["system"].unique():
        speeds = ", ".join(number(x) for x in close.loc[close["system"] == name, "interactivity"])
        lines.append(
            f"not apart from {reference.name} at {speeds} tok/s/user: {name} "
            "(the ratio's band holds 1)"
        )
    lines += _band_lines(result)
    kinds = {side.name: ", ".join(side.best["kind"].unique()) for side in result.sides}
    if len(set(kinds.values())) == 1:
        lines.append(f"kind of prediction: {next(iter(kinds.values()))}")
    else:
        lines += [f"kind of prediction: {name} {kind}" for name, kind in kinds.items()]
    if result.table["total_tput_per_gpu_lo"].eq(0).any():
        lines.append(OUT_OF_REACH_NOTE)
    if any(side.low is None for side in result.sides):
        lines.append(
            "no band where predictions of the kind have not been compared with measurements"
        )
    basis = (
        "all GPUs of the deployment"
        if result.denominator == "all"
        else "the GPUs of the pool that makes them, as InferenceX (input: prefill, output: decode)"
    )
    lines.append(f"$ at the {result.tier} price of economics {result.economics}, over {basis}")
    lines += unpriced_lines(result)
    lines.append(limit_line(result.runs(), limits=result.limits))
    lines.append(f"ratios over {reference.name}; tok/s/MW and J/tok on InferenceX's kW per chip")
    return lines
