"""What ``simulate search`` prints of session trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.output.text_tables import console, number, table_of
from simulator.studies.search.launch_commands import launch_commands

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.studies.agentx.search import AgentSearchResult

_SHOWN = 10

ROUTED = (
    "a router that keeps every conversation on one rank (consistent hash of X-Session-ID), and "
    "host memory for KV as the notes say"
)


def print_search(result: AgentSearchResult, *, directory: Path) -> None:
    """Print the best trials, how to launch the winner, and what was assumed."""
    out = console()
    out.print(result.caption, soft_wrap=True)
    out.print()
    winner = result.winner
    if winner is None:
        out.print("nothing meets the objectives; the nearest replays:")
        shown = sorted(result.trials, key=lambda t: max(t.slo_use.values(), default=0.0))[:_SHOWN]
    else:
        shown = [trial for trial in result.trials if trial.meets][:_SHOWN]
    table = table_of(
        title="",
        headers=(
            *("rank", "system", "layout", "spec", "settings", "sessions", "tok/s/GPU"),
            *("P90 tok/s", "TTFT P50 s", "P90 s", "hit %", "$/Mtok", "missed"),
        ),
        left=("system", "layout", "spec", "settings", "missed"),
    )
    for rank, trial in enumerate(shown, start=1):
        m = trial.point.metrics
        table.add_row(
            *(str(rank), trial.system.name, trial.point.layout, trial.system.scenario.spec),
            *(trial.settings_text, f"{m.sessions:,}", number(m.total_tokens_per_s_per_gpu)),
            *(number(m.interactivity_p90), number(m.ttft_p50_s), number(m.ttft_p90_s)),
            *(f"{100 * m.hit_total:.1f}", number(trial.usd_per_million_tokens), trial.missed),
        )
    out.print(table)
    lines = ["", f"{len(result.trials)} replays, {len(result.refused)} could not run"]
    if winner is not None:
        m = winner.point.metrics
        lines.append(
            f"best: {winner.system.name} {winner.point.layout} at {m.sessions} sessions, "
            f"settings: {winner.settings_text}; kind of prediction: {winner.point.kind} "
            f"({winner.point.level})"
        )
    lines += [f"not served: {name}: {reason}" for name, reason in result.refused]
    lines += [f"note: {text}" for text in result.messages]
    if winner is not None:
        for launch in launch_commands(result.configuration(winner)):
            lines += ["", launch.text, f"# simulated, without a flag: {ROUTED}"]
    out.print("\n".join([*lines, "", f"results in {directory}"]), soft_wrap=True)
