"""Points of session trees: figures, capacities, and where the cliff is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodels.economics import load_economics, tokens_per_s_per_mw, usd_per_million_tokens
from simulator.analysis.agentic_metrics import X_AXES
from simulator.engines.pools import deployment_label
from simulator.prediction.kv_capacity import kv_use
from simulator.version import version

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.analysis.agentic_metrics import AgenticMetrics
    from simulator.prediction.agentic import AgenticOutcome
    from simulator.prediction.kv_capacity import KvCapacity
    from simulator.studies.agentx.request import AgentxRequest

CLIFF_HIT = 0.8
"""Hit rate of device and host below which a system counts as past its cliff. [-]"""


@dataclass(frozen=True, kw_only=True)
class AgentxPoint:
    """One system at one number of live sessions."""

    system: str
    sku: str
    engine: str
    layout: str
    level: str
    kind: str
    model: str
    precision: str
    spec: str
    economics: str
    metrics: AgenticMetrics
    capacity: KvCapacity
    kv_use: float
    usd_per_million_tokens: float
    tokens_per_s_per_utility_mw: float

    @classmethod
    def of(cls, system: str, outcome: AgenticOutcome, *, economics: str) -> AgentxPoint:
        """The point of a run."""
        configuration = outcome.configuration
        costs = load_economics(economics).for_sku(configuration.sku.key)
        rate = outcome.metrics.total_tokens_per_s_per_gpu
        price, kw = costs.usd_per_gpu_hour(), costs.utility_kw
        usd = mw = float("nan")
        if price is not None:
            found = usd_per_million_tokens(usd_per_gpu_hour=price, tokens_per_s_per_gpu=rate)
            usd = float(np.asarray(found))
        if kw is not None:
            mw = float(np.asarray(tokens_per_s_per_mw(tokens_per_s_per_gpu=rate, kw_per_gpu=kw)))
        return cls(
            system=system,
            sku=configuration.sku.key,
            engine=configuration.engine.label,
            layout=deployment_label(configuration.pools),
            level=outcome.assembly.software.name,
            kind=outcome.kind,
            model=configuration.model,
            precision=configuration.precision,
            spec=f"{configuration.speculation}:{configuration.drafts}"
            if configuration.drafts
            else "none",
            economics=load_economics(economics).name,
            metrics=outcome.metrics,
            capacity=outcome.capacity,
            kv_use=kv_use(outcome.assembly, outcome.records),
            usd_per_million_tokens=usd,
            tokens_per_s_per_utility_mw=mw,
        )

    def to_dict(self) -> dict[str, Any]:
        """All figures in one flat mapping."""
        return {
            "system": self.system,
            "sku": self.sku,
            "engine": self.engine,
            "layout": self.layout,
            "level": self.level,
            "kind": self.kind,
            "model": self.model,
            "precision": self.precision,
            "spec": self.spec,
            "economics": self.economics,
            **self.metrics.to_dict(),
            "kv_pool_tokens": self.capacity.pool_tokens,
            "kv_use": self.kv_use,
            "kv_logged_tokens": self.capacity.logged_tokens,
            "kv_host_tokens": self.capacity.host_tokens,
            "sessions_device": self.capacity.sessions_device,
            "sessions_host": self.capacity.sessions_host,
            "usd_per_million_tokens": self.usd_per_million_tokens,
            "tokens_per_s_per_utility_mw": self.tokens_per_s_per_utility_mw,
        }


@dataclass(frozen=True, kw_only=True)
class AgentxResult:
    """All points of a replay.

    Parameters
    ----------
    asked:
        The replay.
    points:
        Those that were served.
    refused:
        System, sessions and reason of those that were not.
    messages:
        What was assumed.
    """

    asked: AgentxRequest
    points: tuple[AgentxPoint, ...]
    refused: tuple[tuple[str, int, str], ...]
    messages: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """One row a point."""
        import pandas as pd

        return pd.DataFrame([point.to_dict() for point in self.points])

    def cliff(self, system: str) -> int | None:
        """Fewest simulated sessions whose hit rate is below `CLIFF_HIT`; ``None``: none is."""
        below = [
            point.metrics.sessions
            for point in self.points
            if point.system == system and point.metrics.hit_total < CLIFF_HIT
        ]
        return min(below, default=None)

    @property
    def caption(self) -> str:
        """What was run, in one line."""
        return f"{self.asked.workload.description}; x: {X_AXES[self.asked.x][1]}"

    def summary(self) -> dict[str, Any]:
        """All of it as JSON objects."""
        return {
            "generator": f"forecurve {version()}",
            "simulated": True,
            "caption": self.caption,
            "settings": self.asked.resolved,
            "workload": self.asked.workload.description,
            "points": [point.to_dict() for point in self.points],
            "refused": [
                {
                    "label": f"{name} at {sessions} sessions",
                    "system": name,
                    "sessions": sessions,
                    "reason": reason,
                }
                for name, sessions, reason in self.refused
            ],
            "cliff_sessions": {one.name: self.cliff(one.name) for one in self.asked.systems},
            "messages": list(self.messages),
        }

    def plot(self, path: Path | None = None) -> Figure:
        """Throughput per GPU over the chosen axis; a PNG where a path is given."""
        from simulator.output.style import save_figure
        from simulator.studies.agentx.plots import agentx_figure

        figure = agentx_figure(self)
        if path is not None:
            save_figure(figure, path)
        return figure
