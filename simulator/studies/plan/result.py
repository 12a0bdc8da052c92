"""A capacity plan: ranked fleets, what each carries and costs, and what was left out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hwmodels.economics import usd_per_million_tokens
from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.scenario.settings import Scenario
    from simulator.studies.plan.fleet import Fleet
    from simulator.studies.plan.loadtest import LoadResult
    from simulator.studies.plan.request import PlanRequest

Status: TypeAlias = Literal["does_not_fit", "unsupported", "misses", "behind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One way to meet the request: a SKU, a deployment, and the fleet of its replicas.

    Parameters
    ----------
    sku, sku_name, engine, load, label, level, kind:
        What runs: key and display name, serving stack, settings, InferenceX's label of a
        replica, software level, kind of prediction.
    replica_gpus:
        Chips of one replica.
    fleet:
        What is bought.
    capacity:
        The replica at the largest rate that it may carry.
    operating:
        The replica at the rate that it does carry.
    tested:
        All load tests of the replica, by ascending rate.
    cell:
        Replicas that were simulated behind one router. [replicas]
    think_s:
        Pause of a user between requests. [s]
    band:
        90 % interval of the capacity per chip at the speed of the SLO, with the deployment that is
        then best, for a price that of the speed, over its prediction; ``None`` where predictions
        of this kind were never compared. [-]
    """

    sku: str
    sku_name: str
    engine: str
    load: Scenario
    label: str
    level: str
    kind: str
    replica_gpus: int
    fleet: Fleet
    capacity: LoadResult
    operating: LoadResult
    tested: tuple[LoadResult, ...]
    cell: int
    think_s: float
    band: tuple[float, float] | None

    @property
    def rate_per_s(self) -> float:
        """Requests that the fleet carries. [1/s]"""
        return self.operating.rate_per_s * self.fleet.counted

    @property
    def capacity_per_s(self) -> float:
        """Requests that the replicas it may count on could carry. [1/s]"""
        return self.capacity.rate_per_s * self.fleet.counted

    @property
    def headroom(self) -> float:
        """How much the load may grow before an SLO is missed. [-]"""
        return self.capacity.rate_per_s / self.operating.rate_per_s - 1.0

    @property
    def limit(self) -> str:
        """What breaks first when the load grows: an objective, or the queue, which never ends."""
        beyond = [
            test
            for test in self.tested
            if test.rate_per_s > self.capacity.rate_per_s and not test.met_on_average
        ]
        if not beyond:
            return self.capacity.binding
        first = min(beyond, key=lambda test: test.rate_per_s)
        if all(used.mean <= 1.0 for used in first.slo_use.values()):
            return "queue"
        return max(first.slo_use, key=lambda name: first.slo_use[name].mean)

    @property
    def users(self) -> float:
        """Users at a time, by Little's law: waiting, reading an answer grow, or thinking."""
        return self.rate_per_s * (self.operating.e2el.mean_s + self.think_s)

    @property
    def tokens_per_s(self) -> float:
        """Prompt and output tokens that the fleet carries. [tok/s]"""
        return self.rate_per_s * (self.operating.prompt_tokens + self.operating.output_tokens)

    @property
    def usd_per_million_tokens(self) -> float | None:
        """What the fleet costs for the tokens that it does carry, prompts included. [USD]"""
        return self._usd_per_million(self.tokens_per_s)

    @property
    def usd_per_million_output_tokens(self) -> float | None:
        """The same over output tokens alone. [USD]"""
        return self._usd_per_million(self.rate_per_s * self.operating.output_tokens)

    @property
    def gpus_band(self) -> tuple[float, float] | None:
        """Chips of the fleet for the same load at the ends of the band, the fewer first."""
        if self.band is None:
            return None
        fewest, most = (
            math.inf if factor <= 0 else self._gpus_at(factor) for factor in reversed(self.band)
        )
        return fewest, most

    def _gpus_at(self, factor: float) -> int:
        replicas = math.ceil(self.rate_per_s / (factor * self.capacity.rate_per_s) * (1 - 1e-9))
        unit = self.fleet.unit
        return sum(unit.chips(unit.holding(replicas + self.fleet.spare)))

    def _usd_per_million(self, tokens_per_s: float) -> float | None:
        usd_per_h = self.fleet.usd_per_h
        if usd_per_h is None or not self.fleet.gpus:
            return None
        gpus = self.fleet.gpus
        return float(
            usd_per_million_tokens(
                usd_per_gpu_hour=usd_per_h / gpus, tokens_per_s_per_gpu=tokens_per_s / gpus
            )
        )

    def cells(self) -> dict[str, Any]:
        """The row of a table, in the units that its names state."""
        fleet, now = self.fleet, self.operating
        return {
            "sku": self.sku,
            "layout": self.label,
            "engine": self.engine,
            "level": self.level,
            "spec": self.load.spec,
            "gpus": fleet.gpus,
            "nodes": fleet.nodes,
            "racks": fleet.racks,
            "replicas": fleet.replicas,
            "spare_replicas": fleet.spare,
            "gpus_per_replica": self.replica_gpus,
            "replicas_simulated": self.cell,
            "it_mw": fleet.it_mw,
            "utility_mw": fleet.utility_mw,
            "usd_per_h": fleet.usd_per_h,
            "usd_per_month": fleet.usd_per_month,
            "usd_per_million_tokens": self.usd_per_million_tokens,
            "usd_per_million_output_tokens": self.usd_per_million_output_tokens,
            "rate_per_s": self.rate_per_s,
            "capacity_per_s": self.capacity_per_s,
            "headroom": self.headroom,
            "users": self.users,
            "tokens_per_s": self.tokens_per_s,
            "tokens_per_s_per_gpu": self.tokens_per_s / fleet.gpus,
            "interactivity": now.interactivity,
            "p90_interactivity": 1.0 / now.tpot.p90_s,
            "median_ttft_s": now.ttft.median_s,
            "p90_ttft_s": now.ttft.p90_s,
            "p99_ttft_s": now.ttft.p99_s,
            "mean_e2el_s": now.e2el.mean_s,
            "replica_rate_per_s": now.rate_per_s,
            "replica_capacity_per_s": self.capacity.rate_per_s,
            "slo_utilisation": now.highest_slo_use,
            "limit": self.limit,
            "kind": self.kind,
            "gpus_low": None if self.gpus_band is None else self.gpus_band[0],
            "gpus_high": None if self.gpus_band is None else self.gpus_band[1],
            "band_low": None if self.band is None else self.band[0],
            "band_high": None if self.band is None else self.band[1],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A SKU or deployment that is not ranked, and why.

    ``status`` is ``does_not_fit``, ``unsupported``, ``misses`` (an SLO, the price or the
    budget) or ``behind`` (the closed loop puts it well behind another of the SKU).
    """

    sku: str
    engine: str
    label: str
    status: Status
    reason: str
    spec: str = "none"


@dataclass(frozen=True, kw_only=True)
class PlanResult:
    """A plan.

    Parameters
    ----------
    request:
        What was asked.
    rows:
        Ways to meet it, the best first.
    rejected:
        What is not ranked, and why.
    messages:
        What was assumed.
    economics:
        Name of the dated file of prices and power.
    """

    request: PlanRequest
    rows: tuple[PlanRow, ...]
    rejected: tuple[Rejected, ...]
    messages: tuple[str, ...]
    economics: str

    @property
    def best(self) -> tuple[PlanRow, ...]:
        """The best row of each SKU, in order of rank."""
        first: dict[str, PlanRow] = {}
        for row in self.rows:
            first.setdefault(row.sku, row)
        return tuple(first.values())

    def frame(self) -> pd.DataFrame:
        """The ranked rows."""
        import pandas as pd

        frame = pd.DataFrame([row.cells() for row in self.rows])
        frame.insert(0, "rank", range(1, len(frame) + 1))
        return frame.assign(economics=self.economics, version=f"forecurve {version()}, simulated")

    def rejected_frame(self) -> pd.DataFrame:
        """What is not ranked, in the fields of `Rejected`."""
        import pandas as pd

        names = list(Rejected.__dataclass_fields__)
        cells = [{name: getattr(each, name) for name in names} for each in self.rejected]
        return pd.DataFrame(cells, columns=names)

    @property
    def resolved(self) -> Mapping[str, Mapping[str, Any]]:
        """Every setting with its value and where it came from."""
        prices = {**self.request.resolved["economics"], "value": self.economics}
        return {**self.request.resolved, "economics": prices}

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables for files: the plan, what was rejected, and every load test."""
        return {
            "plan": self.frame(),
            "rejected": self.rejected_frame(),
            "load_tests": self.load_tests(),
        }

    def load_tests(self) -> pd.DataFrame:
        """Each load test of each ranked replica: rate, slo_use, latencies."""
        import pandas as pd

        cells = [
            {
                "sku": row.sku,
                "engine": row.engine,
                "layout": row.label,
                "replica_rate_per_s": test.rate_per_s,
                "requests": test.requests,
                "met": test.met,
                "binding": test.binding,
                "growth": test.growth,
                "interactivity": test.interactivity,
                "median_ttft_s": test.ttft.median_s,
                "p90_ttft_s": test.ttft.p90_s,
                "p99_ttft_s": test.ttft.p99_s,
                "mean_queue_s": test.queue.mean_s,
                "mean_e2el_s": test.e2el.mean_s,
                "in_flight": test.in_flight,
                **{f"slo_utilisation {name}": used.mean for name, used in test.slo_use.items()},
            }
            for row in self.rows
            for test in row.tested
        ]
        return pd.DataFrame(cells)

    def summary(self) -> dict[str, Any]:
        """The plan as JSON objects."""
        from simulator.studies.plan.text import summary_of

        return summary_of(self)

    @property
    def caption(self) -> str:
        """What was planned for, in one line."""
        from simulator.studies.plan.text import plan_caption

        return plan_caption(self)

    def plot(self, path: Path | None = None) -> Figure:
        """Fleets beside each other, and how each replica bends under load; PNG at a path."""
        from simulator.output.style import save_figure
        from simulator.studies.plan.plots import plan_figure

        figure = plan_figure(self)
        if path is not None:
            save_figure(figure, path)
        return figure
