"""What ``simulate timeline`` prints: a line for each date, a column for what is followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.output.note_text import note_lines
from simulator.output.text_tables import console, number, records_of, refusal_lines, table_of
from simulator.studies.closing import closing_lines
from simulator.studies.next_runs import OTHERS
from simulator.studies.series import limit_line
from simulator.version import version

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.studies.timeline.run import TimelineResult


def print_timeline(result: TimelineResult, *, directory: Path) -> None:
    """Print a timeline, what changed on each date and what was assumed."""
    out = console()
    out.print(result.caption, soft_wrap=True)
    out.print()
    out.print(_table(result))
    lines = [
        "",
        "tok/s/GPU at a speed per user, with so many clients on the best layout, and at most; "
        "in brackets times the first date that has a figure, with its 90 % interval where both "
        "dates were fitted; 'slowest run' where every run is faster than the speed asked for",
    ]
    if not result.swept.refused.empty:
        lines += ["", *refusal_lines(result.swept.refused)]
    lines += note_lines(result.swept.messages)
    lines += ["", limit_line(result.swept.runs, limits=result.swept.limits)]
    swept = result.swept
    closing = closing_lines(records_of(swept.runs), calibration=swept.settings.calibration)
    lines += [*(line.removesuffix(f" {OTHERS}") for line in closing)]
    out.print("\n".join([*lines, "", f"results in {directory}"]), soft_wrap=True)


def summary_of(result: TimelineResult) -> dict[str, Any]:
    """A timeline as JSON. SI units."""
    return {
        "generator": f"forecurve {version()}",
        "simulated": True,
        "caption": result.caption,
        "limits": result.swept.limits.to_dict(),
        "settings": result.resolved,
        "dates": [{"date": one.date, "changes": list(one.changes)} for one in result.dates],
        "table": records_of(result.frame()),
        "refused": records_of(result.swept.refused),
        "messages": list(result.swept.messages),
    }


def title_of(basis: str, value: float | None) -> str:
    """What a column or a line follows."""
    if basis == "interactivity":
        return f"at {value:g} tok/s/user"
    return f"{value:.0f} clients" if basis == "clients" else "highest"


def _table(result: TimelineResult) -> Any:
    rows = records_of(result.frame())
    titles = list(dict.fromkeys(title_of(row["basis"], row["value"]) for row in rows))
    headers = ["date", "changed", "level", *titles]
    table = table_of(title="", headers=headers, left=headers)
    for one in result.dates:
        mine = [row for row in rows if row["date"] == one.date]
        table.add_row(one.date, "+".join(one.changes), mine[0]["level"], *map(_cell, mine))
    return table


def _cell(row: dict[str, Any]) -> str:
    """Throughput, how many times the first date's, and the run behind it."""
    if row["total_tput_per_gpu"] is None:
        slowest = row.get("slowest")
        if row["basis"] == "interactivity" and slowest and row["value"] < slowest:
            return f"slowest run: {number(slowest)}"
        return "unreachable" if row["basis"] == "interactivity" else "no run"
    low, high = row.get("times_first_lo"), row.get("times_first_hi")
    times = f"{row['times_first']:.2f}x" + (f", {low:.2f}-{high:.2f}" if low and high else "")
    text = f"{number(row['total_tput_per_gpu'])} ({times})"
    if row["basis"] == "interactivity":
        return text
    return f"{text} at {number(row['interactivity'])} tok/s/user, {row['label']}"
