"""Whether levels of fixed-length runs predict agentic step times: both ways beside measured.

Rows of systems that ``hwmodels/software/agentic.yaml`` has a level for are simulated with it and
with the level of fixed-length runs that it stands in for.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from hwmodels.agentic_levels import fixed_lengths_only
from simulator.studies.agentx.request import build_agentx
from simulator.studies.agentx.run import run_agentx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration.agentx.rows import MeasuredRow
    from simulator.studies.agentx.result import AgentxPoint

MARKS = ("<!-- calibration.agentx levels -->", "<!-- end of calibration.agentx levels -->")
"""Where the table of a page begins and ends."""

FIGURES = {"total_tok_s_gpu": "tok/s/GPU", "itl_p90_ms": "P90 ITL ms", "ttft_p50_s": "TTFT p50 s"}


def compared(rows: Sequence[MeasuredRow]) -> list[str]:
    """Lines of a Markdown table, and the median error of each way after it.

    Each cell holds what was measured, then the errors with the agentic level and with that of
    fixed lengths. [%]
    """
    lines = ["| run | levels | " + " | ".join(FIGURES.values()) + " |"]
    lines.append("|---" * (2 + len(FIGURES)) + "|")
    points: dict[str, tuple[AgentxPoint, AgentxPoint]] = {}
    errors: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in FIGURES}
    for row in rows:
        if row.skipped or not any(name in row.figures for name in FIGURES):
            continue
        system = row.settings["system"]
        key = repr((row.settings, row.kv_offload, row.protocol))
        if key not in points:
            if not has_agentic_level(row):
                continue
            points[key] = _point(row), _fixed(row)
        agentic, fixed = points[key]
        cells = [f"{row.name}: {system}, {row.settings['concurrency'][0]} sessions"]
        cells.append(f"{agentic.level.split('@')[1]} / {fixed.level.split('@')[1]}")
        for name in FIGURES:
            value = row.figures.get(name)
            if value is None:
                cells.append("")
                continue
            off = [_figure(point, name) / value - 1.0 for point in (agentic, fixed)]
            for found, error in zip(errors[name], off, strict=True):
                found.append(abs(error))
            measured = f"{value:,.0f}" if value >= 1e3 else f"{value:.3g}"
            cells.append(f"{measured}: {100 * off[0]:+.0f} / {100 * off[1]:+.0f} %")
        lines.append("| " + " | ".join(cells) + " |")
    medians = ["median of absolute errors", "agentic / fixed lengths"]
    for name in FIGURES:
        one, other = errors[name]
        medians.append(
            f"{100 * statistics.median(one):.0f} / {100 * statistics.median(other):.0f} %"
            if one
            else ""
        )
    return [*lines, "| " + " | ".join(medians) + " |"]


def has_agentic_level(row: MeasuredRow) -> bool:
    """Whether a row's step times are those of an agentic level, told by its layout's assembly."""
    from simulator.prediction.agentic import configure_agentic
    from simulator.prediction.assembly import assemble

    settings = dict(row.settings)
    asked = build_agentx([settings.pop("system")], flags=settings)
    system = asked.systems[0]
    configuration, _ = configure_agentic(
        system.scenario,
        pools=system.pools(),
        sessions=row.settings["concurrency"][0],
        workload=asked.workload,
    )
    return assemble(configuration).software.name.endswith("-agentic")


def _point(row: MeasuredRow) -> AgentxPoint:
    settings = dict(row.settings)
    system = settings.pop("system")
    flags = {**settings, "kv_offload": row.kv_offload, "protocol": row.protocol}
    return run_agentx(build_agentx([system], flags=flags)).points[0]


def _fixed(row: MeasuredRow) -> AgentxPoint:
    with fixed_lengths_only():
        return _point(row)


def _figure(point: AgentxPoint, name: str) -> float:
    metrics = point.metrics
    return {
        "total_tok_s_gpu": metrics.total_tokens_per_s_per_gpu,
        "itl_p90_ms": 1e3 * metrics.itl_p90_s,
        "ttft_p50_s": metrics.ttft_p50_s,
    }[name]
