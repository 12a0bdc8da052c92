"""What ``simulate sweep`` prints: the frontier of each series, and what could not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import ONLINE_TTFT_S
from simulator.output.note_text import note_lines
from simulator.output.text_tables import (
    console,
    interval,
    number,
    records_of,
    refusal_lines,
    table_of_columns,
)
from simulator.studies.changes import changes_remark, changes_table
from simulator.studies.closing import closing_lines
from simulator.studies.concurrency import ENDS
from simulator.studies.next_runs import candidate_runs
from simulator.studies.series import AS_DEPLOYED, limit_line
from simulator.studies.sweep.winners import winner_lines, winner_of
from simulator.studies.workload_limits import workload_limit_lines
from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from simulator.studies.changes import Change
    from simulator.studies.sweep.run import SweepResult

SHOWN = (
    "label",
    "concurrency",
    "gpus",
    "interactivity",
    "total_tput_per_gpu",
    "total_tput_per_gpu_lo",
    "median_ttft_s",
    "p90_ttft_s",
    "usd_per_million_tokens",
    "usd_per_million_output_tokens",
    "tokens_per_s_per_mw",
    "joules_per_token",
    "bottleneck",
    "kind",
)
"""Columns of a printed frontier."""
_WHERE = (
    *("series", "sku", "engine", "spec", "label", "concurrency"),
    *("interactivity", "total_tput_per_gpu", "median_ttft_s", "p90_ttft_s", "p99_ttft_s"),
)
"""Columns that tell which run misses the limits of a frontier, and by how much."""
ALIKE = 0.01
"""Frontier points that differ by less than this share on both axes are printed as one."""


def print_sweep(
    result: SweepResult,
    *,
    directory: Path,
    ranks_runs: bool = False,
    changes: Sequence[Change] = (),
) -> None:
    """Print the frontiers of a sweep and what could not run.

    Parameters
    ----------
    ranks_runs:
        Whether to list all runs that would narrow the bands.
    changes:
        Points of a what-if beside those of the unchanged chip.
    """
    out = console()
    out.print(result.caption, soft_wrap=True)
    engines = [message for message in result.messages if message.startswith("engine ")]
    if engines:
        out.print("\n".join(engines), soft_wrap=True)
    frontier = result.frontier()
    several = result.runs["series"].nunique() > 1
    lines = [
        f"{str(name).removesuffix(AS_DEPLOYED)}: {line}" if several else line
        for name, own in result.runs.groupby("series", sort=False)
        if own["engine"].nunique() > 1 or own["spec"].nunique() > 1
        for line in winner_lines(winner_of(own))
    ]
    out.print("\n".join(lines), soft_wrap=True)
    for name, rows in frontier.groupby("series", sort=False):
        shown = distinct(rows)
        hidden = len(rows) - len(shown)
        more = f"; {hidden} more within 1 % of these" if hidden else ""
        out.print()
        out.print(_frontier_table(shown, title=f"{name}: frontier{more}"))
    if changes:
        out.print()
        out.print(changes_table(changes))
        if remark := changes_remark(changes):
            out.print(remark, soft_wrap=True)
    lines = [""]
    if result.settings.concurrency is None:
        lines += [ENDS, ""]
    if not result.refused.empty:
        lines += [*refusal_lines(result.refused), ""]
    lines += note_lines(message for message in result.messages if message not in engines)
    lines += ["", limit_line(result.runs, limits=result.limits)]
    if (frontier["p90_ttft_s"] > ONLINE_TTFT_S).any():
        lines.append(f"* p90 TTFT beyond {ONLINE_TTFT_S:g} s, which nobody waits for online")
    lines += workload_limit_lines(records_of(result.runs))
    lines += closing_lines(
        records_of(result.runs), calibration=result.settings.calibration, ranks_runs=ranks_runs
    )
    lines += ["", summary_line(result), f"results in {directory}"]
    out.print("\n".join(lines), soft_wrap=True)


def distinct(frontier: pd.DataFrame) -> pd.DataFrame:
    """Points of one frontier without those that all but repeat the one before."""
    kept: list[int] = []
    x, y = frontier["interactivity"].to_numpy(), frontier["total_tput_per_gpu"].to_numpy()
    for position in range(len(frontier)):
        if kept:
            last = kept[-1]
            if x[position] < x[last] * (1 + ALIKE) and y[position] > y[last] * (1 - ALIKE):
                continue
        kept.append(position)
    return frontier.iloc[kept]


def summary_line(result: SweepResult) -> str:
    """How many runs, how many of them on a frontier, and what could not run."""
    runs = result.runs
    on_frontier, kinds = int(runs["on_frontier"].sum()), runs["label"].nunique()
    parts = [
        f"{len(runs):,} runs of {kinds:,} deployment{'' if kinds == 1 else 's'}",
        f"{on_frontier:,} on a frontier",
    ]
    outside = int((~runs["meets_limits"]).sum())
    if outside:
        parts.append(f"{outside:,} beyond the TTFT limit")
    parts.append(f"{len(runs) - on_frontier - outside:,} dominated")
    if len(result.refused):
        parts.append(f"{len(result.refused):,} layouts or loads refused")
    if result.fresh < len(runs):
        parts.append(f"{result.fresh:,} simulated now, the rest found from before")
    return ", ".join(parts)


def _frontier_table(rows: pd.DataFrame, *, title: str) -> Any:
    banded = bool(rows["total_tput_per_gpu_lo"].notna().any())
    names = [name for name in SHOWN if banded or name != "total_tput_per_gpu_lo"]
    engines = (rows["engine"] + " " + rows["spec"].where(rows["spec"] != "none", "")).str.strip()
    if engines.nunique() > 1:
        rows = rows.assign(label=engines + " " + rows["label"])
    table = table_of_columns(names, title=title)
    for row in records_of(rows):
        late = " *" if row["p90_ttft_s"] > ONLINE_TTFT_S else ""
        cells = [
            row["label"] + late,
            str(row["concurrency"]),
            str(row["gpus"]),
            number(row["interactivity"]),
            number(row["total_tput_per_gpu"]),
        ]
        if banded:
            cells.append(interval(row["total_tput_per_gpu_lo"], row["total_tput_per_gpu_hi"]))
        table.add_row(
            *cells,
            number(row["median_ttft_s"]),
            number(row["p90_ttft_s"]),
            number(row["usd_per_million_tokens"]),
            number(row["usd_per_million_output_tokens"]),
            number(row["tokens_per_s_per_mw"]),
            number(row["joules_per_token"]),
            row["bottleneck"],
            row["kind"],
        )
    return table


def summary_of(result: SweepResult, *, changes: Sequence[Change] = ()) -> dict[str, Any]:
    """A sweep as JSON: settings, frontiers, refusals and what was assumed. SI units."""
    return {
        "generator": f"forecurve {version()}",
        "simulated": True,
        "caption": result.caption,
        "settings": result.resolved,
        "runs": len(result.runs),
        "frontier": records_of(result.frontier()),
        "changes": [change.to_dict() for change in changes],
        "limits": result.limits.to_dict(),
        "beyond_limits": records_of(result.runs.loc[~result.runs["meets_limits"], list(_WHERE)]),
        "next_runs": [
            run.to_dict()
            for run in candidate_runs(
                records_of(result.runs), calibration=result.settings.calibration
            )
        ],
        "refused": records_of(result.refused),
        "messages": list(result.messages),
    }
