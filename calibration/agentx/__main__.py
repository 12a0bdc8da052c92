"""``python -m calibration.agentx``: predictions of public AgentX runs beside what was measured.

Takes names of rows, or none for all of them; ``--csv FILE`` also writes the table, and
``--page FILE`` the one of a Markdown page, between its two marks. Finished rows of a page are kept
beside it, so that an interrupted command goes on where it stopped. ``--levels`` compares the step
times of agentic builds with those of fixed-length runs instead, on the rows that have both.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.agentx import levels
from calibration.agentx.levels import compared
from calibration.agentx.rows import MeasuredRow, measured_rows
from calibration.command_line import run_main
from simulator.output.kept_work import inputs_digest, kept_beside, once
from simulator.output.text_file import staged, write_text
from simulator.studies.agentx.request import build_agentx
from simulator.studies.agentx.run import run_agentx
from simulator.version import version
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.analysis.agentic_metrics import AgenticMetrics
    from simulator.output.kept_work import KeptWork

BARS = {
    "total_tok_s_gpu": (0.15, 0.10),
    "itl_p90_ms": (0.20, 0.15),
    "ttft_p50_s": (0.40, 0.30),
    "requests": (0.10, 0.05),
}
"""Largest median error below the cliff, and the aim. [-]"""

HIT_BAR = (0.03, 0.01)
"""The same for the hit rate of device and host, absolute. [-]"""

CLIFF_HIT = 0.8
"""Measured hit rate under which a row lies past its cliff; the bars are about rows below it. [-]"""


PAGE_FIGURES = {
    "total_tok_s_gpu": "tok/s/GPU",
    "itl_p90_ms": "P90 ITL ms",
    "ttft_p50_s": "TTFT p50 s",
    "requests": "requests",
    "gpu_hit": "hit device",
    "host_hit": "hit host",
}
"""Columns of the page's table."""

MARKS = ("<!-- calibration.agentx -->", "<!-- end of calibration.agentx -->")
"""Where that table begins and ends."""


_RUNS: dict[str, AgenticMetrics] = {}
"""Simulated runs by their settings: repetitions of one run are simulated once."""


def predicted(row: MeasuredRow, *, kept: KeptWork | None = None) -> AgenticMetrics:
    """Figures of a simulated run of a row's system, found again where they are kept.

    Raises
    ------
    UserError
        If it cannot be simulated.
    """
    settings = dict(row.settings)
    system = settings.pop("system")
    flags = {**settings, "kv_offload": row.kv_offload, "protocol": row.protocol}
    key = repr((system, flags))
    if key not in _RUNS:
        _RUNS[key] = once(
            kept, key, lambda: run_agentx(build_agentx([system], flags=flags)).points[0].metrics
        )
    return _RUNS[key]


def fit_in_use() -> str:
    """Digest of the shipped fit, as its file tells it."""
    path = Path(str(resources.files("hwmodels") / "software" / "fitted.yaml"))
    with path.open(encoding="utf-8") as stream:
        found = next((line for line in stream if line.startswith("digest:")), "digest: none")
    return found.partition(":")[2].strip()[:19]


def cliffs(rows: Sequence[tuple[MeasuredRow, dict[str, float]]]) -> list[str]:
    """Where hits fall below `CLIFF_HIT`, measured and predicted, of systems with rows around it."""
    systems: dict[str, list[tuple[int, float, float]]] = {}
    for row, found in rows:
        if row.hit_total is not None:
            sessions = row.settings["concurrency"][0]
            hit = found["gpu_hit"] + found["host_hit"]
            systems.setdefault(row.title, []).append((sessions, row.hit_total, hit))
    lines = []
    for title, points in systems.items():
        measured = min((n for n, hit, _ in points if hit < CLIFF_HIT), default=None)
        own = min((n for n, _, hit in points if hit < CLIFF_HIT), default=None)
        if measured is None or len(points) < 2:
            continue
        if own is None:
            told = f"at none of its rows predicted, up to {max(n for n, *_ in points)}"
        else:
            near = "within" if 0.5 <= own / measured <= 2.0 else "not within"
            grid = sorted(n for n, *_ in points)
            steps = abs(grid.index(own) - grid.index(measured))
            apart = {0: "the same grid step", 1: "one grid step apart"}.get(steps)
            told = f"at {own} predicted, {near} one doubling, {apart or f'{steps} steps apart'}"
        lines.append(f"{title}: hits below {100 * CLIFF_HIT:.0f} % at {measured} measured, {told}")
    return lines


def counterparts(metrics: AgenticMetrics) -> dict[str, float]:
    """Predicted figures under the names of the measured ones."""
    return {
        "total_tok_s_gpu": metrics.total_tokens_per_s_per_gpu,
        "out_tok_s_gpu": metrics.output_tokens_per_s_per_gpu,
        "ttft_p50_s": metrics.ttft_p50_s,
        "ttft_p90_s": metrics.ttft_p90_s,
        "itl_p90_ms": 1e3 * metrics.itl_p90_s,
        "requests": float(metrics.requests),
        "gpu_hit": metrics.hit_device,
        "host_hit": metrics.hit_host,
    }


def page_row(row: MeasuredRow, found: dict[str, float]) -> str:
    """A row of the page's table: measured and predicted figures of `PAGE_FIGURES`."""
    client = "" if row.protocol == "agentx" else f", {row.protocol}"
    cells = [f"{row.title}, {row.settings['concurrency'][0]} sessions{client}"]
    for name in PAGE_FIGURES:
        value = row.figures.get(name)
        if value is None:
            cells.append("")
        elif "hit" in name:
            cells.append(f"{value:.3f} → {found[name]:.3f}")
        else:
            figures = (
                f"{value:,.4g} → {found[name]:,.4g}"
                if value < 1e3
                else (f"{value:,.0f} → {found[name]:,.0f}")
            )
            cells.append(f"{figures} ({100 * (found[name] / value - 1.0):+.0f} %)")
    return "| " + " | ".join(cells) + " |"


def write_page(
    path: Path, rows: list[str], bars: list[str], *, skipped: Sequence[tuple[str, str]] = ()
) -> None:
    """Replace what stands between a page's marks by this table, median errors and what is left out.

    Raises
    ------
    UserError
        If the page has no marks.
    """
    head = ["| run | " + " | ".join(PAGE_FIGURES.values()) + " |"]
    head.append("|---" * (1 + len(PAGE_FIGURES)) + "|")
    out: dict[str, list[str]] = {}
    for name, reason in skipped:
        out.setdefault(reason, []).append(name)
    left = [f"* left out: {', '.join(names)}: {reason}" for reason, names in out.items()]
    table = "\n".join([*head, *rows, "", *(f"* {bar}" for bar in bars), *left])
    replace_between(path, MARKS, table)


def replace_between(path: Path, marks: tuple[str, str], table: str) -> None:
    """Replace what stands between two marks of a page.

    Raises
    ------
    UserError
        If the page has no such marks.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise UserError(f"{path} lacks the marks {marks[0]} and {marks[1]} around its table")
    write_text(path, f"{before}{begin}\n{table}\n{end}{after}")


def _work(row: MeasuredRow) -> int:
    """Rows of few sessions first: an interruption then costs little."""
    return int(row.settings["concurrency"][0]) if row.settings else 0


def main() -> None:
    """Print the table, the rows left out, and the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--levels", action="store_true")
    asked = parser.parse_args()
    if asked.levels:
        rows = [one for one in measured_rows() if one.name in asked.names or not asked.names]
        both = "\n".join(compared(rows))
        print(both)
        if asked.page is not None:
            replace_between(asked.page, levels.MARKS, both)
        return
    table: list[dict[str, str | float]] = []
    errors: dict[str, list[float]] = {}
    skipped: list[tuple[str, str]] = []
    lines: list[str] = []
    ran: list[tuple[MeasuredRow, dict[str, float]]] = []
    kept = None if asked.page is None else kept_beside(asked.page, inputs=inputs_digest("agentx"))
    for row in sorted(measured_rows(), key=_work):
        if asked.names and row.name not in asked.names:
            continue
        reason = row.skipped
        if not reason:
            try:
                found = counterparts(predicted(row, kept=kept))
            except UserError as error:
                reason = str(error).splitlines()[0]
        if reason:
            skipped.append((row.name, reason))
            continue
        _print_row(row, found)
        ran.append((row, found))
        is_past = row.hit_total is not None and row.hit_total < CLIFF_HIT
        lines.append(page_row(row, found))
        for name, value in row.figures.items():
            table.append(
                {"row": row.name, "figure": name, "measured": value, "predicted": found[name]}
            )
            if name in BARS and not is_past:
                errors.setdefault(name, []).append(abs(found[name] / value - 1.0))
        if row.hit_total is not None and not is_past:
            hit = found["gpu_hit"] + found["host_hit"]
            errors.setdefault("hit", []).append(abs(hit - row.hit_total))
    for name, reason in skipped:
        print(f"left out: {name}: {reason}")
    bars: list[str] = []
    for name, (must, aim) in {**BARS, "hit": HIT_BAR}.items():
        if name in errors:
            median = statistics.median(errors[name])
            bars.append(
                f"{name}: median error {100 * median:.1f} % over {len(errors[name])} rows "
                f"below the cliff (must {100 * must:.0f}, aim {100 * aim:.0f})"
            )
    bars += cliffs(ran)
    bars.append(f"fit {fit_in_use()}, forecurve {version()}")
    print("\n".join(bars))
    if asked.page is not None and lines:
        write_page(asked.page, lines, bars, skipped=() if asked.names else skipped)
        assert kept is not None
        kept.clear()
    if asked.csv is not None and table:
        with staged(asked.csv) as stage, stage.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


def _print_row(row: MeasuredRow, found: dict[str, float]) -> None:
    parts = [
        f"{name} {value:g} -> {found[name]:.4g} ({100 * (found[name] / value - 1.0):+.0f} %)"
        if "hit" not in name
        else f"{name} {value:g} -> {found[name]:.3f}"
        for name, value in row.figures.items()
    ]
    print(f"{row.name} [{row.kind}]: " + "; ".join(parts), flush=True)


if __name__ == "__main__":
    run_main(main)
