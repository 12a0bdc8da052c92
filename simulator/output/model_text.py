"""A model's figures as text: what it holds, keeps and computes for one token."""

from __future__ import annotations

from typing import Any


def model_text(figures: dict[str, Any], *, with_ops: bool = False) -> str:
    """A model's parameters, checkpoint, KV cache and FLOPs at a context."""
    lines = [f"{figures['model']}, one decoded token at context {figures['context']:,}", ""]
    for name, label in (
        ("parameters_main", "parameters, main"),
        ("parameters_mtp", "parameters, draft"),
        ("parameters_total", "parameters, total"),
        ("parameters_active", "parameters, active"),
    ):
        lines.append(f"{label:<28}{figures[name] / 1e9:>12,.2f} B")
    lines.append(f"{'checkpoint':<28}{figures['checkpoint_bytes'] / 1e9:>12,.1f} GB")
    lines.append(f"{'weights read by a token':<28}{figures['weights_read_bytes'] / 1e9:>12,.1f} GB")
    for name, size in figures["kv_bytes_per_sequence"].items():
        marginal = figures["kv_bytes_per_token_marginal"][name]
        label = f"KV cache, {name}"
        lines.append(f"{label:<28}{size / 1e6:>12,.1f} MB{marginal:>12,.0f} B per further token")
    for name, flops in figures["flops_per_token"].items():
        label = f"FLOPs, {name.replace('_', ' ')}"
        lines.append(f"{label:<28}{flops / 1e9:>12,.1f} GFLOP")
    if with_ops:
        header = f"{'operation':<26}{'component':<15}{'precision':<11}{'layers':>6}"
        lines += ["", f"{header}{'MFLOP':>12}{'weights MB':>12}{'KV MB':>10}{'act. MB':>10}"]
        for op in figures["ops"]:
            lines.append(
                f"{op['name']:<26}{op['component']:<15}{op['precision']:<11}{op['layers']:>6}"
                f"{op['flops'] / 1e6:>12,.2f}{op['weight_bytes'] / 1e6:>12,.2f}"
                f"{op['kv_bytes'] / 1e6:>10,.3f}{op['activation_bytes'] / 1e6:>10,.3f}"
            )
        lines.append("per layer")
    return "\n".join(lines)
