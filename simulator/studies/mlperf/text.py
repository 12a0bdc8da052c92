"""An MLPerf result as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.studies.mlperf.result import MlperfResult


def mlperf_text(result: MlperfResult) -> str:
    """What MLPerf would report, each latency against its limit, and what was assumed."""
    trial = result.trial
    copies = f"{result.copies} x " if result.copies > 1 else ""
    lines = [
        f"MLPerf Inference {result.benchmark} {result.scenario} on {result.chips} x {result.sku} "
        f"as {copies}{result.deployment}, {result.level}",
        f"prediction: {result.kind}",
        "",
    ]
    rows: list[tuple[str, str, str]] = []
    if trial.rate_per_s is not None:
        rows.append(("target", f"{trial.rate_per_s * result.copies:,.3g}", "queries/s"))
    rows += [
        ("completed", f"{result.queries_per_s:,.4g}", "queries/s"),
        ("output", f"{result.tokens_per_s:,.0f}", "tok/s"),
        ("output per chip", f"{result.tokens_per_s_per_chip:,.0f}", "tok/s"),
    ]
    if result.band is not None:
        low, high = (result.tokens_per_s_per_chip * end for end in result.band)
        rows.append(("90 % band per chip", f"{low:,.0f} to {high:,.0f}", "tok/s"))
    rows += [
        ("running in a copy", f"{trial.running:,.0f}", "requests"),
        ("on a rank", f"{trial.running_per_rank:,.1f}", "requests"),
        ("most on a rank", f"{trial.most_running_per_rank:,.1f}", "requests"),
        ("queries of a copy", f"{trial.queries:,}", ""),
        ("preemptions", f"{trial.preemptions:,}", ""),
    ]
    lines += [f"{name:<22}{value:>18}  {unit}".rstrip() for name, value, unit in rows]
    if trial.verdicts:
        lines += [
            "",
            f"{'[s]':<8}{'mean':>9}{'p50':>9}{'p90':>9}{'p99':>9}{'limit':>9}  over limit",
        ]
        lines += [
            f"{v.name:<8}{v.mean_s:>9.3g}{v.p50_s:>9.3g}{v.p90_s:>9.3g}{v.p99_s:>9.3g}"
            f"{v.limit_s:>9.3g}  {v.over:,} of {v.judged:,}, {max(v.allowed, 0):,} allowed"
            for v in trial.verdicts
        ]
        lines.append(f"{'passes' if trial.passed else 'fails'}; {trial.binding} binds")
    if trial.beyond is not None:
        more = trial.beyond
        stopping = f"{more.over:,} over it, {max(more.allowed, 0):,} allowed"
        if more.allowed < 0:
            stopping = "too few queries for early stopping"
        lines.append(
            f"{100 * (more.ratio - 1):.1f} % more queries fail: p99 {more.name} {more.p99_s:.3g} s "
            f"of {more.limit_s:.3g} s, {stopping}"
        )
    if result.others:
        lines += ["", "other deployments, output tok/s per chip (0: passes at no rate)"]
        lines += [
            f"  {label:<20}{value:>9,.0f}"
            for label, value in sorted(result.others, key=lambda pair: -pair[1])
        ]
    lines += [f"note: {message}" for message in dict.fromkeys(result.messages)]
    return "\n".join(lines)
