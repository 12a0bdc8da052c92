"""What a replay of session trees prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.output.text_tables import console, number, table_of
from simulator.version import version

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.studies.agentx.fleet import FleetResult, FleetRow
    from simulator.studies.agentx.result import AgentxPoint, AgentxResult


FAR_OFF = (
    f"simulated by forecurve {version()}; no 90 % band is known for agents: "
    "docs/background/agentx.md sets replays beside measured runs and says how far off they were"
)


def print_agentx(result: AgentxResult, *, directory: Path) -> None:
    """Print the points of every system, their capacities and what they rest on."""
    out = console()
    out.print(f"workload: {result.asked.workload.description}", soft_wrap=True)
    for text in result.messages:
        out.print(f"note: {text}", soft_wrap=True)
    for one in result.asked.systems:
        points = [point for point in result.points if point.system == one.name]
        if points:
            _print_system(result, one.name, points)
    if len(result.asked.systems) > 1:
        _print_cliffs(result)
    for name, sessions, reason in result.refused:
        out.print(f"not served: {name} at {sessions} sessions: {reason}", soft_wrap=True)
    out.print(FAR_OFF, soft_wrap=True)
    out.print(f"results in {directory}", soft_wrap=True)


def _print_cliffs(result: AgentxResult) -> None:
    """Sessions that every system holds, by its largest deployment."""
    table = table_of(
        title="sessions that fill the KV pool, that fill host memory too, and where hits fall",
        headers=("system", "layout", "pool", "with host", "hit < 80 % at"),
        left=("system", "layout"),
    )
    for one in result.asked.systems:
        points = [point for point in result.points if point.system == one.name]
        if not points:
            continue
        largest = max(points, key=lambda point: point.capacity.sessions_device)
        cliff = result.cliff(one.name)
        table.add_row(
            one.name,
            largest.layout,
            f"{largest.capacity.sessions_device:,.0f}",
            f"{largest.capacity.sessions_host:,.0f}",
            "none simulated" if cliff is None else f"{cliff:,}",
        )
    console().print(table)


def _print_system(result: AgentxResult, name: str, points: list[AgentxPoint]) -> None:
    out = console()
    first = points[0]
    out.print()
    out.print(f"{name}: {first.engine} on {first.sku}, {first.level} ({first.kind})")
    speed = table_of(
        title="tok/s/GPU: cached prompt tokens count; speeds are inverses of percentiles",
        headers=(
            *("sessions", "layout", "tok/s/GPU", "out", "computed"),
            *("P75 tok/s", "P90 tok/s", "E2E P90", "TTFT P50 s", "P90 s", "P95 s"),
            *("requests", "in flight", "$/Mtok", "Mtok/s/MW"),
        ),
        left=("layout",),
    )
    for point in points:
        m = point.metrics
        speed.add_row(
            str(m.sessions),
            point.layout,
            f"{m.total_tokens_per_s_per_gpu:,.0f}",
            number(m.output_tokens_per_s_per_gpu),
            f"{m.computed_tokens_per_s_per_gpu:,.0f}",
            number(m.interactivity_p75),
            number(m.interactivity_p90),
            number(m.e2e_norm_p90),
            number(m.ttft_p50_s),
            number(m.ttft_p90_s),
            number(m.ttft_p95_s),
            f"{m.requests:,}",
            number(m.in_flight),
            number(point.usd_per_million_tokens),
            number(point.tokens_per_s_per_utility_mw / 1e6),
        )
    out.print(speed)
    drives = any(point.capacity.has_drives for point in points)
    cache = table_of(
        title="prompt tokens from cache, %; KV pools in M tokens, in use by running requests in %",
        headers=(
            *("sessions", "device", "host", *(("drives",) if drives else ()), "all", "infinite"),
            *("pool", "as logged", "in use", "host", "fills at", "with host"),
        ),
    )
    for point in points:
        m, c = point.metrics, point.capacity
        cache.add_row(
            str(m.sessions),
            *(f"{100 * hit:.1f}" for hit in (m.hit_device, m.hit_host)),
            *((f"{100 * m.hit_drives:.1f}",) if drives else ()),
            *(f"{100 * hit:.1f}" for hit in (m.hit_total, m.hit_infinite)),
            *(number(tokens / 1e6) for tokens in (c.pool_tokens, c.logged_tokens)),
            f"{100 * point.kv_use:.1f}",
            number(c.host_tokens / 1e6),
            *(f"{sessions:.0f}" for sessions in (c.sessions_device, c.sessions_host)),
        )
    out.print(cache)
    cliff = result.cliff(name)
    if cliff is not None:
        out.print(f"cliff: the hit rate falls below 80 % at {cliff} sessions")


def advice(result: FleetResult) -> list[str]:
    """The cheapest fleet, the next one, and what kinds of prediction they are."""
    if not result.rows:
        return []
    first, *others = result.rows
    lines = [_fleet_words(first, title="best")]
    if others:
        ratio = others[0].usd_per_agent_hour / first.usd_per_agent_hour
        behind = f"; {ratio:.2f} times its price" if ratio == ratio else ""
        lines.append(_fleet_words(others[0], title="runner-up") + behind)
    kinds = [f"{row.system} {row.kind}" for row in result.rows]
    return [*lines, f"kind of prediction: {', '.join(kinds)}"]


def _fleet_words(row: FleetRow, *, title: str) -> str:
    spec = "" if row.spec == "none" else f" {row.spec}"
    usd, mw = row.usd_per_agent_hour, row.utility_mw
    price = f"${number(usd)} an agent-hour" if usd == usd else "no price known"
    power = f", {mw:.3g} MW" if mw == mw else ""
    return (
        f"{title}: {row.system} as {row.layout}{spec}: {row.gpus:,} GPUs{power}, {price}; "
        f"{row.interactivity_p90:.1f} tok/s/user (p90), p90 TTFT {row.ttft_p90_s:.2f} s"
    )


def print_fleet(result: FleetResult, *, directory: Path) -> None:
    """Print the fleet of every system, the cheapest first, and what it rests on."""
    out = console()
    out.print(f"workload: {result.asked.workload.description}", soft_wrap=True)
    out.print(f"{result.agents:,} agents, each a live session tree; {result.objectives}")
    for text in result.messages:
        out.print(f"note: {text}", soft_wrap=True)
    table = table_of(
        title="",
        headers=(
            *("system", "layout", "spec", "sessions", "chips each", "deployments", "GPUs", "MW"),
            *("$/agent-hour", "P90 tok/s", "E2E P90", "TTFT P90 s", "hit %"),
            *("pool fills at", "with host"),
        ),
        left=("system", "layout", "spec"),
    )
    for row in result.rows:
        table.add_row(
            row.system,
            row.layout,
            row.spec,
            f"{row.sessions:,}",
            str(row.deployment_gpus),
            f"{row.deployments:,}",
            f"{row.gpus:,}",
            number(row.utility_mw),
            number(row.usd_per_agent_hour),
            number(row.interactivity_p90),
            number(row.e2e_norm_p90),
            number(row.ttft_p90_s),
            f"{100 * row.hit_total:.1f}",
            f"{row.sessions_device:,.0f}",
            f"{row.sessions_host:,.0f}",
        )
    out.print(table)
    for line in advice(result):
        out.print(line, soft_wrap=True)
    out.print("sessions, pool and host are of one deployment; chips come in whole nodes or racks")
    for name, reason in result.refused:
        out.print(f"left out: {name}: {reason}", soft_wrap=True)
    out.print(FAR_OFF, soft_wrap=True)
    out.print(f"results in {directory}", soft_wrap=True)
