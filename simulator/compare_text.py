"""What ``simulate compare`` prints: contestants side by side at each speed per user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.compare_sides import crossings
from simulator.text_tables import console, interval, number, records_of, table_of
from simulator.version import version

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.compare import ComparisonResult

UNREACHABLE = "unreachable"


def print_comparison(result: ComparisonResult, *, directory: Path) -> None:
    """Print a comparison: the table, what crosses where, and what was assumed."""
    out = console()
    out.print(result.caption, soft_wrap=True)
    out.print()
    out.print(_table(result))
    out.print("\n".join(["", *_remarks(result), "", f"results in {directory}"]), soft_wrap=True)


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
        "refused": records_of(result.refused),
        "messages": list(result.messages),
    }


def _table(result: ComparisonResult) -> Any:
    table_rows = result.frame()
    banded = bool(table_rows["total_tput_per_gpu_lo"].notna().any())
    headers = ["tok/s/user", "", "tok/s/GPU", *(["90 %"] if banded else []), "ratio"]
    headers += [*(["90 % "] if banded else []), "$/M tok", "ratio ", "$/M in", "$/M out"]
    headers += ["tok/s/MW", "ratio  ", "J/tok", "runs on either side", "binds"]
    table = table_of(title="", headers=headers, left=("", "runs on either side", "binds"))
    for row in table_rows.to_dict("records"):
        if row["contestant"] == result.sides[0].name and table.row_count:
            table.add_row()
        first = row["contestant"] == result.sides[0].name
        cells = [number(row["interactivity"]) if first else "", row["contestant"]]
        if not row["reachable"]:
            reach = f"{number(row['slowest'])} to {number(row['fastest'])} tok/s/user"
            table.add_row(*cells, UNREACHABLE, *[""] * (len(headers) - 5), f"its curve: {reach}")
            continue
        cells.append(number(row["total_tput_per_gpu"]))
        if banded:
            cells.append(interval(row["total_tput_per_gpu_lo"], row["total_tput_per_gpu_hi"]))
        cells.append("" if first else _times(row["ratio"]))
        if banded:
            cells.append("" if first else interval(row["ratio_lo"], row["ratio_hi"]))
        table.add_row(
            *cells,
            number(row["usd_per_million_tokens"]),
            "" if first else _times(row["usd_ratio"]),
            number(row["usd_per_million_input_tokens"]),
            number(row["usd_per_million_output_tokens"]),
            number(row["tokens_per_s_per_mw"]),
            "" if first else _times(row["mw_ratio"]),
            number(row["joules_per_token"]),
            row["between"],
            row["bottleneck"],
        )
    return table


def _times(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.2f}x"


def _remarks(result: ComparisonResult) -> list[str]:
    reference = result.sides[0]
    lines = []
    for side in result.sides[1:]:
        meet = crossings(reference, side)
        if meet:
            speeds = ", ".join(number(x) for x in meet)
            lines.append(
                f"{side.name} and {reference.name} give equal throughput at {speeds} tok/s/user"
            )
    close = result.table[result.table["apart"].eq(False)]
    for name in close["contestant"].unique():
        speeds = ", ".join(
            number(x) for x in close.loc[close["contestant"] == name, "interactivity"]
        )
        lines.append(
            f"not apart from {reference.name} at {speeds} tok/s/user: {name} (bands overlap)"
        )
    kinds = {side.name: ", ".join(side.best["kind"].unique()) for side in result.sides}
    if len(set(kinds.values())) == 1:
        lines.append(f"kind of prediction: {next(iter(kinds.values()))}")
    else:
        lines += [f"kind of prediction: {name} {kind}" for name, kind in kinds.items()]
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
    lines.append(f"ratios over {reference.name}; tok/s/MW and J/tok on InferenceX's kW per chip")
    return lines + [f"note: {message}" for message in result.messages]
