"""What ``simulate timeline`` prints of session trees: a line for each date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.output.text_tables import console, number, table_of

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.studies.agentx.dates import AgentxTimeline


def print_dates(result: AgentxTimeline, *, directory: Path) -> None:
    """Print the points of every date, what changed on it and what was assumed."""
    out = console()
    out.print(result.caption, soft_wrap=True)
    out.print()
    frame = result.frame()
    table = table_of(
        title="",
        headers=(
            *("date", "changed", "level", "layout", "sessions", "tok/s/GPU", "times first"),
            *("P90 tok/s", "E2E P90", "TTFT P50 s", "P90 s", "hit %"),
        ),
        left=("date", "changed", "level", "layout"),
    )
    for row in frame.sort_values(["sessions", "date"]).to_dict("records"):
        table.add_row(
            *(row[name] for name in ("date", "changes", "level", "layout")),
            f"{row['sessions']:,}",
            number(row["total_tokens_per_s_per_gpu"]),
            f"{row['times_first']:.2f}",
            *(number(row[name]) for name in ("interactivity_p90", "e2e_norm_p90")),
            *(number(row[name]) for name in ("ttft_p50_s", "ttft_p90_s")),
            f"{100 * row['hit_total']:.1f}",
        )
    out.print(table)
    lines = [
        "",
        "the deployment of each number of sessions is that of the latest date; 'times first' is "
        "throughput over that of the first date",
    ]
    for row in result.at_speeds().to_dict("records"):
        rate = row["total_tokens_per_s_per_gpu"]
        reached = "outside its points" if rate != rate else f"{number(rate)} tok/s/GPU"
        lines.append(f"{row['date']} at P90 {row['interactivity_p90']:g} tok/s/user: {reached}")
    lines += [
        f"not served: {date} at {sessions} sessions: {reason}"
        for date, sessions, reason in result.refused
    ]
    lines += [f"note: {text}" for text in result.messages]
    out.print("\n".join([*lines, "", f"results in {directory}"]), soft_wrap=True)
