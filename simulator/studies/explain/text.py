"""What ``simulate explain`` prints: tables for reading, in ms, GB and TFLOP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.output.note_text import note_lines
from simulator.studies.closing_of_run import closing_of_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.prediction.step_breakdown import OpTime
    from simulator.studies.explain.run import ComponentTime, Explanation

_SHARES = ("floor_s", "compute_s", "memory_s", "network_s", "host_s")
_MOST_SENSITIVE = 3


def step_text(explanation: Explanation, *, with_ops: bool = False) -> str:
    """One step: its time by component and limit, what it moves, what it is sensitive to."""
    lines = [
        heading(explanation),
        batch_line(explanation),
        "",
        *step_table(explanation),
    ]
    lines += note_lines(explanation.messages)
    lines += closing_of_step(explanation)
    if with_ops:
        lines += ["", *op_table(explanation.time.ops)]
    return "\n".join(lines)


def closing_of_step(explanation: Explanation) -> list[str]:
    """What a decode step rests on and how far off TPOT was; nothing of steps with prompts."""
    if explanation.phase != "decode":
        return []
    return closing_of_run(
        explanation.configuration,
        software=explanation.assembly.software,
        metrics=("median_tpot_s",),
    )


def step_table(explanation: Explanation) -> list[str]:
    """A step's time by component and limit, what it moves, what it is sensitive to."""
    lines = [
        speed_line(explanation),
        "",
        *_component_table(explanation.components),
        "",
        _work_line("HBM bytes", explanation.bytes_by_use, scale=1e9, unit="GB"),
        _work_line("FLOPs", explanation.flops_by_precision, scale=1e12, unit="TFLOP"),
        f"{'weights alone':<16}{_ms(explanation.weights_alone_s)} ms at the full HBM bandwidth",
    ]
    if explanation.sensitivities:
        most = explanation.sensitivities[:_MOST_SENSITIVE]
        named = "   ".join(f"{one.parameter} {one.elasticity:+.2f}" for one in most)
        lines.append(f"{'most sensitive':<16}{named}   (d ln step / d ln parameter)")
    return lines


def comparison_text(explanations: Sequence[Explanation]) -> str:
    """Several steps side by side: milliseconds by component, a column each."""
    columns = [f"{e.sku.key} {e.pool.layout.label}" for e in explanations]
    width = max(12, *(len(column) + 2 for column in columns))
    parts = [{part.component: part.seconds for part in e.components} for e in explanations]
    names = sorted(
        {name for part in parts for name in part},
        key=lambda name: -max(part.get(name, 0.0) for part in parts),
    )
    lines = [
        "; ".join(dict.fromkeys(f"{e.configuration.model}, {batch_line(e)}" for e in explanations)),
        "",
        "ms".ljust(16) + "".join(column.rjust(width) for column in columns),
    ]
    for name in names:
        cells = (_ms(part[name]) if name in part else "-" for part in parts)
        lines.append(name.ljust(16) + "".join(cell.rjust(width) for cell in cells))
    for label, values in (
        ("step", [_ms(e.step_s) for e in explanations]),
        ("of it floors", [_ms(sum(t.floor_s for t in e.time.ops)) for e in explanations]),
        ("tok/s/user", [_number(e.tokens_per_s_per_user) for e in explanations]),
        ("binds", [e.binds.value for e in explanations]),
        ("most sensitive", [e.sensitivities[0].parameter for e in explanations if e.sensitivities]),
        ("software", [e.assembly.software.name for e in explanations]),
        ("kind", [e.assembly.software.kind for e in explanations]),
    ):
        lines.append(label.ljust(16) + "".join(f" {value}".rjust(width) for value in values))
    for e, column in zip(explanations, columns, strict=True):
        lines += [f"note: {column}: {message}" for message in e.messages]
    return "\n".join(lines)


def heading(explanation: Explanation) -> str:
    """Model, chips, layout, software level and kind of prediction."""
    layout = explanation.pool.layout
    software = explanation.assembly.software
    return (
        f"{explanation.configuration.model} on {layout.gpus} x {explanation.sku.name} "
        f"as {layout.label}, {software.name} ({software.kind})"
    )


def batch_line(explanation: Explanation) -> str:
    """What the step computes."""
    batch = explanation.batch
    parts = []
    if batch.decode_requests:
        drafts = batch.queries_per_request - 1
        verified = f", {drafts} drafts verified each" if drafts else ""
        count = explanation.configuration.concurrency
        requests = "1 request decodes" if count == 1 else f"{count:,} requests decode"
        parts.append(f"{requests} at context {batch.decode_context:,.0f}{verified}")
    for chunk in batch.prefill:
        behind = f" behind {chunk.prefix_tokens:,} cached" if chunk.prefix_tokens else ""
        parts.append(f"a chunk of {chunk.new_tokens:,} tokens{behind} on each attention rank")
    return f"{explanation.phase} step: {' and '.join(parts)}"


def speed_line(explanation: Explanation) -> str:
    """Time, speed and what binds."""
    binds, seconds = next(iter(explanation.time.by_limit.items()))
    line = f"{_ms(explanation.step_s).strip()} ms"
    speed = explanation.tokens_per_s_per_user
    if speed is not None:
        per_gpu = speed * explanation.configuration.concurrency / explanation.pool.layout.gpus
        line += f"   {_number(speed)} tok/s/user   {_number(per_gpu)} output tok/s/GPU"
    return f"{line}   binds: {binds.value} ({seconds / explanation.step_s:.0%} of the step)"


def _component_table(parts: Sequence[ComponentTime]) -> list[str]:
    total = sum(part.seconds for part in parts)
    header = "".join(
        f"{name:>9}" for name in ("step", "%", "floor", "compute", "memory", "network", "host")
    )
    lines = [f"{'ms':<16}{header}{'hidden':>11}"]
    for part in parts:
        cells = "".join(f"{_cell(getattr(part, name)):>9}" for name in _SHARES)
        lines.append(
            f"{part.component:<16}{_ms(part.seconds):>9}{part.seconds / total:>9.1%}{cells}"
            f"{_cell(part.hidden_s):>11}"
        )
    sums = [sum(getattr(part, name) for part in parts) for name in _SHARES]
    cells = "".join(f"{_cell(value):>9}" for value in sums)
    hidden = sum(part.hidden_s for part in parts)
    lines.append(f"{'step':<16}{_ms(total):>9}{1:>9.0%}{cells}{_cell(hidden):>11}")
    return lines


def op_table(times: Sequence[OpTime]) -> list[str]:
    """Every operation of a step."""
    header = f"{'operation':<26}{'path':<19}{'layers':>6}{'kernels':>8}{'us/layer':>10}{'ms':>9}"
    lines = [f"{header}{'floor':>8}{'MB':>10}{'GFLOP':>10}"]
    for time in times:
        op = time.op
        each_s = (time.seconds + time.hidden_s) / op.layers
        moved = float(op.hbm_bytes) + float(op.message_bytes)
        path = op.kind.value if op.kind.is_communication else f"{op.precision} {op.variant}".strip()
        hidden = "" if time.seconds or not time.hidden_s else "  hidden"
        floor = f"{time.floor_s / time.seconds:.0%}" if time.seconds else "-"
        lines.append(
            f"{op.name:<26}{path:<19}{op.layers:>6}{op.kernels:>8.3g}{1e6 * each_s:>10.2f}"
            f"{_ms(time.seconds):>9}{floor:>8}{moved / 1e6:>10.3f}{float(op.flops) / 1e9:>10.3f}"
            f"{hidden}"
        )
    lines.append("MB and GFLOP per layer")
    return lines


def _work_line(label: str, amounts: dict[str, float], *, scale: float, unit: str) -> str:
    named = "   ".join(f"{name} {amount / scale:.3g}" for name, amount in amounts.items())
    return f"{label:<16}{named}   ({unit} on the slowest rank)"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3f}" if seconds < 0.1 else f"{1e3 * seconds:.1f}"


def _cell(seconds: float) -> str:
    return _ms(seconds) if seconds > 5e-7 else "-"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
