"""What ``simulate explain`` prints of prefill and decode pools."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulator.output.note_text import note_lines
from simulator.output.text_tables import number
from simulator.studies.closing_of_run import closing_of_run
from simulator.studies.explain.text import batch_line, op_table, step_table

if TYPE_CHECKING:
    from simulator.studies.explain.deployment import DeploymentExplanation
    from simulator.studies.explain.run import Explanation


def deployment_text(one: DeploymentExplanation, *, with_ops: bool = False) -> str:
    """A deployment: its closed loop, what either pool could do, the hand-over, a step of each."""
    configuration = one.decode.configuration
    software = one.decode.assembly.software
    chips = " and ".join(
        f"{pool.gpus} x {configuration.sku_of(pool.role).name}" for pool in configuration.pools
    )
    engine = configuration.engine.label
    if configuration.drafts:
        engine += f" {configuration.speculation}:{configuration.drafts}"
    lines = [
        f"{configuration.model} on {chips} as {one.label} under {engine}, "
        f"{software.name} ({software.kind})",
        f"closed loop of {one.clients:,} clients, {configuration.isl}/{configuration.osl}: "
        f"{number(one.total_tput_per_gpu)} tok/s/GPU, {number(one.interactivity)} tok/s/user, "
        f"TTFT p50 {number(one.ttft_s)} s, {number(one.requests_per_s)} req/s",
        "",
        *_pools(one),
        "",
        _binds(one),
        _waits(one),
        _hand_over(one),
    ]
    for role, step in (("prefill", one.prefill), ("decode", one.decode)):
        lines += ["", f"a {role} worker, {_chips(step)}; {batch_line(step)}", *step_table(step)]
        if with_ops:
            lines += ["", *op_table(step.time.ops)]
    lines += ["", *note_lines(one.messages), ""]
    lines += closing_of_run(
        replace(configuration, concurrency=one.clients), software=one.decode.assembly.software
    )
    return "\n".join(lines)


def _chips(step: Explanation) -> str:
    return f"{step.pool.layout.gpus} x {step.sku.name} as {step.pool.layout.label}"


def _pools(one: DeploymentExplanation) -> list[str]:
    prefill, decode = (step.pool for step in (one.prefill, one.decode))
    rows = [
        ("pool", "workers", "GPUs", "in the run", "at most", "used", "10 % more workers"),
        (
            "prefill",
            f"{prefill.workers}x{prefill.layout.label}",
            f"{prefill.gpus}",
            f"{number(one.requests_per_s)} prompts/s",
            f"{number(one.most_prefilled)} prompts/s",
            f"{one.requests_per_s / one.most_prefilled:.0%}",
            f"{one.gain_prefill:+.1%} req/s",
        ),
        (
            "decode",
            f"{decode.workers}x{decode.layout.label}",
            f"{decode.gpus}",
            f"{number(one.decoding)} decoding",
            f"{number(one.most_decoding)} decoding",
            f"{one.decoding / one.most_decoding:.0%}",
            f"{one.gain_decode:+.1%} req/s",
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _binds(one: DeploymentExplanation) -> str:
    known = f"a tenth more of it brings {max(one.gain_prefill, one.gain_decode):.1%} more requests"
    match one.binds:
        case "neither":
            return (
                "binds: neither pool: more workers of either bring nothing at so many clients; "
                "raise --concurrency"
            )
        case "prefill":
            step = one.prefill
        case _:
            step = one.decode
    return f"binds: the {one.binds} pool, {known} (mean values); its steps wait for {step.binds}"


def _waits(one: DeploymentExplanation) -> str:
    rest = max(0.0, one.ttft_s - one.alone_ttft_s - one.hand_over.seconds)
    return (
        f"TTFT p50 {number(one.ttft_s)} s: {number(one.alone_ttft_s)} s a lone prompt, "
        f"{1e3 * one.hand_over.seconds:.3g} ms its transfer, {number(rest)} s wait for other "
        "requests and the client's side"
    )


def _hand_over(one: DeploymentExplanation) -> str:
    moved = one.hand_over
    return (
        f"KV transfer of a mean prompt: {moved.size_bytes / 1e9:.3g} GB in "
        f"{1e3 * moved.seconds:.3g} ms alone; a prefill worker's links are "
        f"{moved.sender_share:.1%} used"
    )
