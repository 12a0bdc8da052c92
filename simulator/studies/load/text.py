"""What a load prints: the deployment, the load, its figures and what they rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.output.note_text import note_lines
from simulator.output.text_tables import console, number, table_of
from simulator.studies.closing_of_run import closing_of_run

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.studies.load.result import LoadRun

_FIGURES = (
    ("requests judged", "requests", ""),
    ("offered", "offered_requests_per_s", "req/s"),
    ("served, drain included", "requests_per_s", "req/s"),
    ("tokens in and out", "total_tput_per_gpu", "tok/s/GPU"),
    ("tokens out", "output_tput_per_gpu", "tok/s/GPU"),
    ("speed, 1 / median TPOT", "interactivity", "tok/s/user"),
    ("in flight", "mean_concurrency", "requests"),
    ("preemptions", "preemptions", ""),
)
_LATENCIES = (("TTFT", "ttft"), ("TPOT", "tpot"), ("latency", "e2el"), ("queue", "queue"))
_DRAIN_SHARE = 0.02
"""Share of a run after its last arrival from which it is told. [-]"""
_STATISTICS = ("mean", "median", "p90", "p99")


def print_load(run: LoadRun, *, directory: Path) -> None:
    """Print a load's figures, means over replications with half the width of their intervals."""
    out = console()
    configuration = run.configuration
    engine, drafts = configuration.engine.label, configuration.drafts
    how = f"{engine} {configuration.speculation}:{drafts}" if drafts else engine
    out.print(
        f"{configuration.model} {configuration.precision.upper()} on {configuration.gpus} x "
        f"{configuration.sku.key} as {run.label} under {how}, {run.assembly.software.name}",
        soft_wrap=True,
    )
    for title, text in (
        ("workload", run.asked.workload_text),
        ("load", run.asked.arrivals_text),
        ("expert load", run.asked.expert_load_text),
        ("prediction", run.kind),
    ):
        out.print(f"{title}: {text}", soft_wrap=True)
    for line in note_lines(run.messages):
        out.print(line, soft_wrap=True)
    out.print()
    table = table_of(title="", headers=("", "value", "unit"), left=("", "unit"))
    for name, field, unit in _FIGURES:
        if run.replications[0].to_dict()[field] is None:
            continue
        table.add_row(name, _cell(run, field), unit)
    cached = run.metrics.cached_tokens / run.metrics.prompt_tokens
    if cached:
        table.add_row("prompt tokens from cache", number(100 * cached), "%")
    out.print(table)
    out.print()
    latencies = table_of(title="", headers=("[s]", *_STATISTICS), left=("[s]",))
    for name, field in _LATENCIES:
        latencies.add_row(name, *(_cell(run, f"{part}_{field}_s") for part in _STATISTICS))
    out.print(latencies)
    _print_goodput(run)
    count = len(run.replications)
    warm_up = [one.warm_up for one in run.replications]
    out.print()
    if count > 1:
        out.print(f"± is half a 95 % interval over {count} replications")
    if any(warm_up):
        left_out = ", ".join(map(str, warm_up))
        out.print(f"warm-up left out by MSER-5: {left_out} requests", soft_wrap=True)
    if drained := drain_line(run):
        out.print(drained, soft_wrap=True)
    for line in closing_of_load(run):
        out.print(line, soft_wrap=True)
    out.print(f"results in {directory}", soft_wrap=True)


def drain_line(run: LoadRun) -> str:
    """That an open loop's rates count the time after the last arrival too, where that shows."""
    one = run.replications[0]
    if not one.offered_per_s:
        return ""
    arriving_s = one.metrics.requests / one.offered_per_s
    rest_s = one.metrics.duration_s - arriving_s
    if rest_s < _DRAIN_SHARE * one.metrics.duration_s:
        return ""
    return (
        f"served, tok/s, goodput and in flight are over {number(one.metrics.duration_s)} s, as "
        f"benchmark clients count: {number(rest_s)} s of them pass after the last request has "
        "come; with more --requests served comes nearer to offered, unless a queue grows"
    )


def closing_of_load(run: LoadRun) -> list[str]:
    """What a load's prediction rests on, how far off such ones were, what to measure first."""
    return closing_of_run(
        run.configuration,
        software=run.assembly.software,
        metrics=("median_tpot_s", "median_ttft_s"),
        in_flight=run.metrics.mean_concurrency,
    )


def _print_goodput(run: LoadRun) -> None:
    found = run.goodput
    if found is None:
        return
    out = console()
    limits = [
        f"{name} <= {limit:g} s ({_cell(run, field, scale=100)} % meet it)"
        for name, limit, field in (
            ("TTFT", found.ttft_slo_s, "goodput_ttft_share"),
            ("TPOT", found.tpot_slo_s, "goodput_tpot_share"),
        )
        if limit is not None
    ]
    out.print()
    out.print(
        f"goodput: {_cell(run, 'goodput_requests_per_s')} req/s, "
        f"{_cell(run, 'goodput_joint_share', scale=100)} % of requests, under "
        f"{' and '.join(limits)}",
        soft_wrap=True,
    )


def _cell(run: LoadRun, field: str, *, scale: float = 1.0) -> str:
    """A figure, or its mean over replications and half the width of its interval."""
    one = run.intervals.get(field)
    if one is None:
        value = run.replications[0].to_dict()[field]
        if isinstance(value, int):
            return f"{value:,}"
        return number(None if value is None else scale * value)
    return f"{number(scale * one.mean)} ± {number(scale * one.half_width, 2)}"
