"""How many coding agents each system carries within objectives, and what a fleet of them takes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

from hwmodels.economics import load_economics
from simulator.engines.pools import DoesNotFitError
from simulator.prediction.agentic import configure_agentic, simulate_agentic
from simulator.scenario.target import resolve_target
from simulator.studies.agentx.request import points_of
from simulator.studies.agentx.result import AgentxPoint
from simulator.studies.processes import side_by_side
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from hwmodels.economics import Tier
    from simulator.analysis.objectives import Objectives
    from simulator.studies.agentx.request import AgentxRequest, AgentxSystem

    Progress = Callable[[int, int, str], None]

MOST_DOUBLINGS = 1
"""Doublings of the most sessions that a recipe was run with, while the objectives hold."""

UNMEASURED = ("interactivity_p99", "ttft_p99_s", "goodput")
"""Objectives that AgentX publishes no figure for."""


@dataclass(frozen=True, kw_only=True)
class FleetRow:
    """One system that carries the agents within the objectives.

    Attributes
    ----------
    sessions, deployment_gpus:
        Agents and chips of one deployment at the most sessions that hold the objectives.
    deployments, gpus:
        Of the fleet, chips in whole nodes or racks.
    utility_mw, usd_per_agent_hour:
        Power at the meter [MW], and price of the fleet over agents [USD/h]; NaN where the
        economics file does not know the SKU.
    sessions_device, sessions_host:
        Sessions whose contexts fill the KV pools of a deployment, and its host tiers too.
    """

    system: str
    sku: str
    layout: str
    spec: str
    sessions: int
    deployment_gpus: int
    deployments: int
    gpus: int
    utility_mw: float
    usd_per_agent_hour: float
    interactivity_p90: float
    e2e_norm_p90: float
    ttft_p90_s: float
    hit_total: float
    tok_s_gpu: float
    sessions_device: float
    sessions_host: float
    kind: str

    @property
    def rank(self) -> tuple[float, float]:
        """Cheapest first, then fewest chips; without a price last."""
        usd = self.usd_per_agent_hour
        return (usd if usd == usd else float("inf")), float(self.gpus)


@dataclass(frozen=True, kw_only=True)
class FleetResult:
    """Every system that meets the objectives, the cheapest first."""

    asked: AgentxRequest
    agents: int
    objectives: Objectives
    rows: tuple[FleetRow, ...]
    refused: tuple[tuple[str, str], ...]
    messages: tuple[str, ...]

    @property
    def resolved(self) -> dict[str, Any]:
        """Settings of the question."""
        own = {"agents": self.agents, **self._objectives}
        stated = {name: {"value": value, "origin": "flag"} for name, value in own.items()}
        return {**self.asked.resolved, **stated}

    @property
    def _objectives(self) -> dict[str, float]:
        found = {each.name: getattr(self.objectives, each.name) for each in fields(self.objectives)}
        return {name: value for name, value in found.items() if value is not None}

    def frame(self) -> pd.DataFrame:
        """One row a system."""
        import pandas as pd

        columns = [each.name for each in fields(FleetRow)]
        return pd.DataFrame([vars(row) for row in self.rows], columns=columns)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by the names of their files."""
        import pandas as pd

        refused = pd.DataFrame(self.refused, columns=["system", "reason"])
        return {"plan": self.frame(), "refused": refused}

    def summary(self) -> dict[str, Any]:
        """All of it as JSON objects."""
        return {
            "simulated": True,
            "workload": self.asked.workload.description,
            "agents": self.agents,
            "objectives": self._objectives,
            "plan": [vars(row) for row in self.rows],
            "refused": [{"system": name, "reason": reason} for name, reason in self.refused],
            "messages": list(self.messages),
        }

    def plot(self) -> Figure:
        """Chips and dollars of every system."""
        from simulator.studies.agentx.plots import fleet_figure

        return fleet_figure(self)


def run_fleet(
    asked: AgentxRequest,
    *,
    agents: int,
    objectives: Objectives,
    tier: Tier = "hyperscaler",
    whole_racks: bool = True,
    assumed: Sequence[str] = (),
    on_progress: Progress | None = None,
    workers: int | None = None,
) -> FleetResult:
    """The most sessions of every layout that hold the objectives, and the fleet that follows.

    Sessions are those that recipes were run with, and doublings of the most of them while the
    objectives hold; between them speed is taken to fall with sessions.

    Parameters
    ----------
    workers:
        Processes, which results do not depend on; ``None``: one per core. [processes]

    Raises
    ------
    UserError
        If an objective has no counterpart in AgentX, or no system meets them.
    """
    for name in UNMEASURED:
        if getattr(objectives, name) is not None:
            raise UserError(
                f"{name.removesuffix('_s')} is asked for; AgentX has percentiles up to p95: state "
                "interactivity, interactivity_p90, ttft_p50 or ttft_p90"
            )
    rows: list[FleetRow] = []
    refused: list[tuple[str, str]] = []
    messages: dict[str, None] = dict.fromkeys(assumed)
    show = on_progress or (lambda *_: None)
    # each layout of each system is a search of its own
    searches = [
        (system, layout)
        for system in asked.systems
        for layout in _Search(asked, system, objectives).layouts()
    ]
    calls = [partial(_searched, asked, *search, objectives) for search in searches]
    found: dict[str, list[tuple[AgentxPoint | None, tuple[str, ...], str]]] = {}
    show(0, len(calls), asked.systems[0].name)
    results = side_by_side(calls, workers=workers)
    for done, ((system, _), outcome) in enumerate(zip(searches, results, strict=True), start=1):
        found.setdefault(system.name, []).append(outcome)
        point = outcome[0]
        told = "misses" if point is None else f"{point.layout} holds {point.metrics.sessions}"
        show(done, len(calls), f"{system.name}: {told}")
    for system in asked.systems:
        mine = found.get(system.name, [])
        for text in dict.fromkeys(text for _, texts, _ in mine for text in texts):
            messages[f"{system.name}: {text}"] = None
        carrying = [
            _row(system, point, agents, tier=tier, whole_racks=whole_racks)
            for point, _, _ in mine
            if point is not None
        ]
        if carrying:
            rows.append(min(carrying, key=lambda row: row.rank))
        else:
            refused.append((system.name, mine[-1][2] if mine else "no layout can be served"))
    if not rows:
        name, reason = refused[0]
        raise UserError(f"no system carries agents within the objectives; {name}: {reason}")
    return FleetResult(
        asked=asked,
        agents=agents,
        objectives=objectives,
        rows=tuple(sorted(rows, key=lambda row: row.rank)),
        refused=tuple(refused),
        messages=tuple(messages),
    )


def _searched(
    asked: AgentxRequest, system: AgentxSystem, layout: Any, objectives: Objectives
) -> tuple[AgentxPoint | None, tuple[str, ...], str]:
    """The point of most sessions of a layout, what was assumed, and why there may be none."""
    search = _Search(asked, system, objectives)
    point = search.most(layout)
    return point, tuple(search.messages), search.reason


class _Search:
    """Points of one system, each simulated once."""

    def __init__(self, asked: AgentxRequest, system: AgentxSystem, objectives: Objectives) -> None:
        self._asked, self._system, self._objectives = asked, system, objectives
        self.messages: dict[str, None] = {}
        self.reason = "no layout can be served"

    def layouts(self) -> list[tuple[Any, list[int]]]:
        """Pools and the sessions that they were run with."""
        found: dict[Any, list[int]] = {}
        points = points_of(self._system, sessions=self._asked.sessions, most=None)
        for sessions, pools in points:
            found.setdefault(pools, []).append(sessions)
        return [(pools, sorted(set(sessions))) for pools, sessions in found.items()]

    def most(self, layout: tuple[Any, Sequence[int]]) -> AgentxPoint | None:
        """The point of the most sessions that hold the objectives; ``None`` if none does."""
        pools, known = layout
        best: AgentxPoint | None = None
        low, high = -1, len(known)
        while high - low > 1:
            middle = (low + high) // 2
            point = self._holds(pools, known[middle])
            if point is None:
                high = middle
            else:
                low, best = middle, point
        if best is not None and low == len(known) - 1 and self._asked.sessions is None:
            sessions = known[-1]
            for _ in range(MOST_DOUBLINGS):
                sessions *= 2
                point = self._holds(pools, sessions)
                if point is None:
                    break
                best = point
        return best

    def _holds(self, pools: Any, sessions: int) -> AgentxPoint | None:
        system, asked = self._system, self._asked
        try:
            configuration, notes = configure_agentic(
                system.scenario,
                pools=pools,
                sessions=sessions,
                workload=asked.workload,
                kv_offload=asked.kv_offload,
            )
            outcome = simulate_agentic(configuration, workload=asked.workload, messages=notes)
        except (DoesNotFitError, UserError) as error:
            self.reason = str(error).splitlines()[0]
            return None
        self.messages |= dict.fromkeys(
            text for text in outcome.messages if "run at concurrency" not in text
        )
        point = AgentxPoint.of(system.name, outcome, economics=system.scenario.economics)
        missed = _missed(self._objectives, point)
        if missed:
            self.reason = f"{point.layout} at {sessions} sessions: {missed}"
            return None
        return point


def _missed(objectives: Objectives, point: AgentxPoint) -> str:
    """Which objective a point misses, with its figure; empty if none."""
    m = point.metrics
    speeds = (
        ("interactivity", objectives.interactivity, m.interactivity_p50),
        ("interactivity_p90", objectives.interactivity_p90, m.interactivity_p90),
    )
    for name, least, value in speeds:
        if least is not None and not value >= least:
            return f"{name} {value:.3g} tok/s of {least:g}"
    waits = (("ttft_p50", objectives.ttft_p50_s, m.ttft_p50_s),)
    for name, most_s, value in (*waits, ("ttft_p90", objectives.ttft_p90_s, m.ttft_p90_s)):
        if most_s is not None and not value <= most_s:
            return f"{name} {value:.3g} s of {most_s:g}"
    return ""


def _row(
    system: AgentxSystem, point: AgentxPoint, agents: int, *, tier: Tier, whole_racks: bool
) -> FleetRow:
    sku = resolve_target(system.scenario).sku
    costs = load_economics(system.scenario.economics).for_sku(sku.key)
    m = point.metrics
    deployments = ceil(agents / m.sessions)
    unit = sku.rack_gpus if whole_racks and sku.rack_gpus else sku.node_gpus
    gpus = ceil(deployments * m.gpus / unit) * unit
    price, kw = costs.usd_per_gpu_hour(tier), costs.utility_kw
    return FleetRow(
        system=system.name,
        sku=sku.key,
        layout=point.layout,
        spec=system.scenario.spec,
        sessions=m.sessions,
        deployment_gpus=m.gpus,
        deployments=deployments,
        gpus=gpus,
        utility_mw=float("nan") if kw is None else gpus * kw / 1e3,
        usd_per_agent_hour=float("nan") if price is None else gpus * price / agents,
        interactivity_p90=m.interactivity_p90,
        e2e_norm_p90=m.e2e_norm_p90,
        ttft_p90_s=m.ttft_p90_s,
        hit_total=m.hit_total,
        tok_s_gpu=m.total_tokens_per_s_per_gpu,
        sessions_device=point.capacity.sessions_device,
        sessions_host=point.capacity.sessions_host,
        kind=point.kind,
    )
