"""The tables that a curve prints: the frontier, what was refused, what was assumed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import ONLINE_TTFT_S
from simulator.output.note_text import note_lines
from simulator.output.text_tables import console, interval, number, table_of_columns
from simulator.studies.changes import changes_remark, changes_table
from simulator.studies.closing import closing_lines
from simulator.studies.concurrency import ENDS
from simulator.studies.workload_limits import workload_limit_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulator.scenario.worker_layouts import RefusedLayout
    from simulator.studies.curve.run import CurveResult

LATE = " *"
"""What marks a point whose users wait too long for the first token."""

LEFT_OUT = (
    "{:,} points were not run, or not to their end: mean values of single steps, an estimate that "
    "runs correct, or three requests of each client keep them off the frontier, beyond the TTFT "
    "limit or beyond full memory; --all runs every point"
)

SHOWN = (
    "label",
    "concurrency",
    "total_tput_per_gpu",
    "total_tput_per_gpu_lo",
    "interactivity",
    "median_ttft_s",
    "p90_ttft_s",
    "p99_ttft_s",
    "usd_per_million_tokens",
    "tokens_per_s_per_mw",
    "tokens_per_s_per_utility_mw",
    "bottleneck",
)


def print_curve(result: CurveResult, *, directory: Path, ranks_runs: bool = False) -> None:
    """Print the frontier of a curve, the layouts it refused and what it rests on.

    Parameters
    ----------
    ranks_runs:
        Whether to list all runs that would narrow the bands.
    """
    out = console()
    out.print(result.caption, soft_wrap=True)
    kinds = sorted({point["kind"] for point in result.points})
    out.print(f"prediction: {', '.join(kinds)}; {meaning_of(kinds)}", soft_wrap=True)
    for line in note_lines(result.messages):
        out.print(line, soft_wrap=True)
    out.print()
    table = table_of_columns(SHOWN)
    frontier, late = result.frontier, result.late
    for point in sorted([*frontier, *late], key=lambda each: each["interactivity"]):
        table.add_row(*_cells(point, late=point in late or _is_late(point)))
    out.print(table)
    out.print()
    if result.changes:
        out.print(changes_table(result.changes))
        if remark := changes_remark(result.changes):
            out.print(remark, soft_wrap=True)
        out.print()
    out.print(_limits(result), soft_wrap=True)
    beyond = sum(not point["meets_limits"] for point in result.points)
    dominated = len(result.points) - len(frontier) - beyond
    out.print(
        f"{len(frontier)} frontier points of {len(result.points)} simulated; {dominated} dominated "
        "ones are in points.parquet. tok/s/GPU counts input and output tokens; tok/s/MW uses "
        f"InferenceX's kW, 'utility' IT power times PUE ({result.resolved['economics']['value']}).",
        soft_wrap=True,
    )
    for line in workload_limit_lines(result.points):
        out.print(line, soft_wrap=True)
    if result.left_out:
        out.print(LEFT_OUT.format(result.left_out), soft_wrap=True)
    elif result.resolved["concurrency"]["value"] is None:
        out.print(ENDS, soft_wrap=True)
    for line in refusal_lines(result.refused):
        out.print(line, soft_wrap=True)
    for line in closing_lines(result.points, calibration=result.calibration, ranks_runs=ranks_runs):
        out.print(line, soft_wrap=True)
    out.print(f"results in {directory}", soft_wrap=True)


def _is_late(point: Mapping[str, Any]) -> bool:
    """Whether users wait longer for the first token than online service allows."""
    return bool(point["p90_ttft_s"] > ONLINE_TTFT_S)


def _limits(result: CurveResult) -> str:
    """What the mark of late points means, and how many of them there are."""
    limits = result.limits
    if not limits.is_empty:
        late = sum(not point["meets_limits"] for point in result.points)
        return (
            f"TTFT limit: {limits.ttft_words} ({limits.ttft_flags}, --no-ttft-limit); {late} of "
            f"{len(result.points)} points miss it and are off the frontier"
            + (f": those marked {LATE.strip()}, and dominated ones" if late else "")
        )
    late = sum(_is_late(point) for point in result.frontier)
    told = f"no TTFT limit; {LATE.strip()} p90 TTFT beyond {ONLINE_TTFT_S:g} s, which nobody waits "
    return f"{told}for online: {late} of the frontier points"


def refusal_lines(refused: Sequence[RefusedLayout]) -> list[str]:
    """Refused layouts with their reasons; of those without room, the one that lacks least.

    That one's byte table stands for all of them.
    """
    lacking = [layout for layout in refused if "\n" in layout.reason]
    lacking.sort(key=_left_gb, reverse=True)
    told = [layout for layout in refused if layout not in lacking[1:]]
    lines = [f"refused {layout.label}: {layout.reason}" for layout in told]
    others = dict.fromkeys(
        layout.label for layout in lacking[1:] if layout.label != lacking[0].label
    )
    if others:
        lines.append(f"refused as well, with no more room: {', '.join(others)}")
    return lines


def _left_gb(layout: RefusedLayout) -> float:
    """What a refusal says is left for KV entries; minus infinity where it does not. [GB]"""
    found = re.search(r"(-?[\d.]+) GB of [\d.]+ GB usable", layout.reason)
    return float(found[1]) if found else float("-inf")


def _cells(point: Mapping[str, Any], *, late: bool) -> tuple[str, ...]:
    band = interval(point["total_tput_per_gpu_lo"], point["total_tput_per_gpu_hi"])
    numbers = {
        name: number(value) for name, value in point.items() if isinstance(value, int | float)
    }
    shown = {
        **numbers,
        "label": point["label"] + (LATE if late else ""),
        "concurrency": f"{point['concurrency']:,}",
        "total_tput_per_gpu_lo": band,
        "bottleneck": point["bottleneck"],
    }
    return tuple(shown.get(name, "") for name in SHOWN)


def meaning_of(kinds: list[str]) -> str:
    """What kinds of prediction rest on, in words."""
    meanings = {
        "calibrated": "runs of this engine, speculation and kind of pools on this SKU were fitted",
        "transferred": "efficiencies fitted on other SKUs, forms or models",
        "specification": "data sheets and kernel tables only, nothing fitted to serving runs",
    }
    return "; ".join(meanings[kind] for kind in kinds)
