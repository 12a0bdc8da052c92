"""The tables that a curve prints: the frontier, what was refused, what was assumed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import ONLINE_TTFT_S
from simulator.output.text_tables import console, interval, number, table_of_columns
from simulator.studies.concurrency import ENDS
from simulator.studies.workload_limits import workload_limit_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulator.scenario.candidates import RefusedLayout
    from simulator.studies.curve.run import CurveResult

LATE = " *"
"""What marks a point whose users wait too long for the first token."""

SHOWN = (
    "label",
    "concurrency",
    "total_tput_per_gpu",
    "total_tput_per_gpu_lo",
    "interactivity",
    "median_ttft_s",
    "p99_ttft_s",
    "usd_per_million_tokens",
    "tokens_per_s_per_mw",
    "tokens_per_s_per_utility_mw",
    "bottleneck",
)


def print_curve(result: CurveResult, *, directory: Path) -> None:
    """Print the frontier of a curve, the layouts it refused and what it rests on."""
    out = console()
    out.print(result.caption, soft_wrap=True)
    kinds = sorted({point["kind"] for point in result.points})
    out.print(f"prediction: {', '.join(kinds)}; {meaning_of(kinds)}", soft_wrap=True)
    for message in result.messages:
        out.print(f"note: {message}", soft_wrap=True)
    out.print()
    table = table_of_columns(SHOWN)
    frontier = result.frontier
    for point in frontier:
        table.add_row(*_cells(point))
    out.print(table)
    out.print()
    late = [point for point in frontier if point["p90_ttft_s"] > ONLINE_TTFT_S]
    if late:
        out.print(
            f"{LATE.strip()} p90 TTFT beyond {ONLINE_TTFT_S:g} s, which nobody waits for online: "
            f"{len(late)} of the frontier points",
            soft_wrap=True,
        )
    dominated = len(result.points) - len(frontier)
    out.print(
        f"{len(frontier)} frontier points of {len(result.points)} simulated; {dominated} dominated "
        "ones are in points.parquet. tok/s/GPU counts input and output tokens; tok/s/MW uses "
        f"InferenceX's kW, 'utility' IT power times PUE ({result.resolved['economics']['value']}).",
        soft_wrap=True,
    )
    for line in workload_limit_lines(result.points):
        out.print(line, soft_wrap=True)
    if result.resolved["concurrency"]["value"] is None:
        out.print(ENDS, soft_wrap=True)
    for line in refusal_lines(result.refused):
        out.print(line, soft_wrap=True)
    out.print(f"results in {directory}", soft_wrap=True)


def refusal_lines(refused: Sequence[RefusedLayout]) -> list[str]:
    """Refused layouts with their reasons; of those without room, the one that lacks least.

    That one's byte table stands for all of them.
    """
    lacking = {layout.label: _left_gb(layout) for layout in refused if "\n" in layout.reason}
    nearest = max(lacking, key=lambda label: lacking[label], default="")
    lines = []
    for layout in refused:
        first, *table = layout.reason.splitlines()
        if layout.label not in lacking or layout.label == nearest:
            lines += [f"refused {layout.label}: {first}", *table]
    others = [label for label in lacking if label != nearest]
    if others:
        lines.append(f"refused as well, with no more room: {', '.join(others)}")
    return lines


def _left_gb(layout: RefusedLayout) -> float:
    """What a refusal says is left for KV entries; minus infinity where it does not. [GB]"""
    found = re.search(r"(-?[\d.]+) GB of [\d.]+ GB usable", layout.reason)
    return float(found[1]) if found else float("-inf")


def _cells(point: Mapping[str, Any]) -> tuple[str, ...]:
    band = interval(point["total_tput_per_gpu_lo"], point["total_tput_per_gpu_hi"])
    numbers = {
        name: number(value) for name, value in point.items() if isinstance(value, int | float)
    }
    shown = {
        **numbers,
        "label": point["label"] + (LATE if point["p90_ttft_s"] > ONLINE_TTFT_S else ""),
        "concurrency": f"{point['concurrency']:,}",
        "total_tput_per_gpu_lo": band,
        "bottleneck": point["bottleneck"],
    }
    return tuple(shown.get(name, "") for name in SHOWN)


def meaning_of(kinds: list[str]) -> str:
    """What kinds of prediction rest on, in words."""
    meanings = {
        "calibrated": "fitted to measured runs of this engine on this SKU",
        "transferred": "efficiencies fitted on other SKUs or models",
        "specification": "data sheets and kernel tables only, nothing fitted to serving runs",
    }
    return "; ".join(meanings[kind] for kind in kinds)
