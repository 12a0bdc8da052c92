"""What a deployment does under a load: figures of each replication and intervals over them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.analysis.statistics import Interval, mean_interval
from simulator.engines.pools import deployment_label
from simulator.version import version
from workloads.requests.catalog import FixedLengthWorkload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.analysis.metrics import Goodput, RunMetrics
    from simulator.prediction.assembly import Assembly
    from simulator.scenario.configuration import RunConfiguration
    from simulator.serving.records import Records
    from simulator.studies.load.request import LoadRequest

CONFIDENCE = 0.95
"""Of the intervals over replications. [-]"""


@dataclass(frozen=True, kw_only=True)
class Replication:
    """One run of a load.

    Parameters
    ----------
    records:
        All requests in the order of their last tokens.
    metrics, goodput:
        Of the judged requests; no goodput where no objective is given.
    warm_up:
        Requests that MSER-5 left out before judging. [requests]
    offered_per_s:
        Requests sent per second up to the last arrival; ``None`` in a closed loop. [1/s]
    """

    records: Records
    metrics: RunMetrics
    goodput: Goodput | None
    warm_up: int
    offered_per_s: float | None

    def to_dict(self) -> dict[str, float | int | None]:
        """All figures in one flat mapping, such as ``mean_ttft_s`` and ``goodput_joint_share``."""
        row: dict[str, float | int | None] = {
            "warm_up_requests": self.warm_up,
            "offered_requests_per_s": self.offered_per_s,
            **self.metrics.to_dict(),
        }
        if self.goodput is not None:
            row |= {f"goodput_{name}": value for name, value in asdict(self.goodput).items()}
        return row


@dataclass(frozen=True, kw_only=True)
class LoadRun:
    """What a deployment does under a load.

    Parameters
    ----------
    configuration, assembly:
        The deployment and what it was made of.
    asked:
        The load.
    replications:
        Its runs.
    messages:
        What was assumed.
    """

    configuration: RunConfiguration
    assembly: Assembly
    asked: LoadRequest
    replications: tuple[Replication, ...]
    messages: tuple[str, ...]

    @property
    def label(self) -> str:
        """InferenceX's label of the deployment."""
        return deployment_label(self.configuration.pools)

    @property
    def kind(self) -> str:
        """Kind of prediction, by what is known of the software level."""
        return self.assembly.software.kind

    @property
    def metrics(self) -> RunMetrics:
        """Metrics of the first replication."""
        return self.replications[0].metrics

    @property
    def goodput(self) -> Goodput | None:
        """Goodput of the first replication."""
        return self.replications[0].goodput

    @property
    def resolved(self) -> Mapping[str, Mapping[str, Any]]:
        """Every setting with its value and where it came from."""
        origin = {"origin": "resolved"}
        return {
            **self.asked.resolved,
            "deployment_label": {"value": self.label, **origin},
            "software_level": {"value": self.assembly.software.name, **origin},
            "workload_text": {"value": self.asked.workload_text, **origin},
            "arrivals_text": {"value": self.asked.arrivals_text, **origin},
            "expert_load_text": {"value": self.asked.expert_load_text, **origin},
            "server_settings": {
                "value": {
                    pool.role: pool.settings.model_dump() for pool in self.configuration.pools
                },
                **origin,
            },
        }

    def frame(self) -> pd.DataFrame:
        """One row of figures for each replication."""
        import pandas as pd

        rows = [{"replication": n, **one.to_dict()} for n, one in enumerate(self.replications)]
        return pd.DataFrame(rows)

    @property
    def caption(self) -> str:
        """What was run, in one line."""
        one, workload = self.configuration, self.asked.workload
        lengths = (
            f"{workload.isl}/{workload.osl}"
            if isinstance(workload, FixedLengthWorkload)
            else workload.description
        )
        pools = "disaggregated" if len(one.pools) > 1 else "aggregated"
        spec = f"{one.speculation}:{one.drafts}" if one.drafts else "no speculation"
        fit = "" if one.calibration is None else f", calibration {one.calibration}"
        return (
            f"{one.model} {one.precision.upper()}, {one.gpus} x {one.sku.key} as {self.label}, "
            f"{lengths}, {one.engine.label}, {self.assembly.software.name}{fit}, {pools}, {spec}; "
            f"{self.asked.arrivals_text}; simulated by forecurve {version()}"
        )

    def plot(self, path: Path | None = None) -> Figure:
        """Requests in the system and latencies over time; a PNG where a path is given."""
        from simulator.output.style import save_figure
        from simulator.studies.load.plots import load_figure

        figure = load_figure(self)
        if path is not None:
            save_figure(figure, path)
        return figure

    @property
    def intervals(self) -> dict[str, Interval]:
        """95 % intervals over the replications of every figure that all of them have.

        Empty where there is one replication.
        """
        rows = [one.to_dict() for one in self.replications]
        if len(rows) < 2:
            return {}
        found: dict[str, Interval] = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            if all(value is not None and np.isfinite(value) for value in values):
                found[name] = mean_interval(np.array(values, dtype=float), confidence=CONFIDENCE)
        return found

    def summary(self) -> dict[str, Any]:
        """All of it as JSON objects."""
        return {
            "generator": f"forecurve {version()}",
            "simulated": True,
            "deployment": self.label,
            "gpus": self.configuration.gpus,
            "software_level": self.assembly.software.name,
            "kind": self.kind,
            "workload": self.asked.workload_text,
            "arrivals": self.asked.arrivals_text,
            "expert_load": self.asked.expert_load_text,
            "replications": [_finite(one.to_dict()) for one in self.replications],
            "confidence": CONFIDENCE,
            "intervals": {
                name: {"mean": one.mean, "low": one.low, "high": one.high}
                for name, one in self.intervals.items()
            },
            "messages": list(self.messages),
            "settings": self.resolved,
        }


def summary_json(run: LoadRun) -> str:
    """`LoadRun.summary` as text."""
    return json.dumps(run.summary(), indent=2, ensure_ascii=False, default=str)


def _finite(row: dict[str, float | int | None]) -> dict[str, float | int | None]:
    return {
        name: value if value is None or np.isfinite(value) else None for name, value in row.items()
    }
