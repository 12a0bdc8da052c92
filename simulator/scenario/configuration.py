"""One simulated configuration and what comes out of it: the contract between table and engine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from workloads.errors import UserError
from workloads.layout import Layout
from workloads.models.expert_load import UNIFORM, ExpertLoad

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulator.analysis.metrics import RunMetrics
    from simulator.engines.settings import EngineSettings

Role = Literal["aggregated", "prefill", "decode"]
SpeculationMethod = Literal["none", "mtp", "dspark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLayout:
    """Identical workers that do the same part of the work.

    Parameters
    ----------
    role:
        ``aggregated`` workers do both phases; in a disaggregated deployment one pool does
        ``prefill``, the other ``decode``.
    workers:
        Engine instances. [workers]
    layout:
        How one of them spreads the model.
    """

    role: Role = "aggregated"
    workers: int = 1
    layout: Layout

    @property
    def gpus(self) -> int:
        """GPUs of the pool."""
        return self.workers * self.layout.gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfiguration(PoolLayout):
    """A pool with the server settings that its workers run with.

    Parameters
    ----------
    settings:
        Scheduler and memory settings.
    plan:
        Fields of `workloads.execution_plan.ExecutionPlan` in which the pool differs from its
        software level.
    """

    settings: EngineSettings
    plan: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfiguration:
    """A deployment under InferenceX's closed-loop load.

    Parameters
    ----------
    model, sku, engine:
        Canonical names; the engine is a label such as ``dynamo-vllm``.
    level_date, median:
        Software level: the last not after the date (``None``: the latest), or the undated
        median of runs up to 2026-07-19.
    specification:
        Whether to use nothing that was fitted to serving runs.
    precision:
        Label of the configuration, such as ``fp4``; the tensors follow the execution plan.
    speculation, drafts:
        Method and draft tokens per step; 0 without speculation. [tokens]
    acceptance_length, acceptance_source:
        Tokens per step, the bonus token included, where it is known [tokens]; else the name of
        a published acceptance distribution, or ``None``.
    pools:
        One aggregated pool, or a prefill and a decode pool.
    isl, osl, length_distribution:
        Nominal lengths [tokens] and how the benchmark draws around them.
    concurrency:
        Closed-loop clients of the whole deployment. [requests]
    sku_overrides:
        Fields of the SKU to change, in SI units.
    seed:
        Seed of every random stream.
    requests_per_client:
        Requests in units of the concurrency; InferenceX sends 10.
    calibration:
        Directory of a user's own fit; ``None``: the shipped one.
    expert_load:
        How tokens fall on the experts; uniform for InferenceX's random tokens.
    """

    model: str
    sku: str
    engine: str
    level_date: dt.date | None = None
    median: bool = False
    specification: bool = False
    precision: str = "fp4"
    speculation: SpeculationMethod = "none"
    drafts: int = 0
    acceptance_length: float | None = None
    acceptance_source: str | None = None
    pools: tuple[PoolConfiguration, ...]
    isl: int
    osl: int
    length_distribution: str = "uniform_0.8"
    concurrency: int
    sku_overrides: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    requests_per_client: int = 10
    calibration: Path | None = None
    expert_load: ExpertLoad = UNIFORM

    @property
    def gpus(self) -> int:
        """GPUs of the deployment."""
        return sum(pool.gpus for pool in self.pools)

    @property
    def step_cost_key(self) -> tuple[str, ...]:
        """What tables of step costs depend on; configurations that share it share the tables."""
        pools = "|".join(
            f"{pool.role} {pool.layout} {sorted(pool.plan.items())}" for pool in self.pools
        )
        overrides = str(sorted(self.sku_overrides.items()))
        level = f"{self.engine}@{self.level_date} {self.median} {self.specification}"
        return (
            self.sku,
            overrides,
            level,
            self.model,
            self.precision,
            pools,
            str(self.drafts),
            str(self.expert_load),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a simulated run says.

    Parameters
    ----------
    metrics:
        Figures under InferenceX's names.
    bottleneck:
        What binds most of the time.
    kind:
        ``measured``, ``calibrated``, ``transferred`` or ``specification``.
    bands:
        90 % interval (low, high) of each metric that has been compared with measurements.
    """

    metrics: RunMetrics
    bottleneck: str
    kind: str
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class DoesNotFitError(UserError):
    """The model, or one request of the workload, does not fit the memory of the layout."""


def deployment_label(pools: Sequence[PoolLayout]) -> str:
    """InferenceX's label of a deployment: ``TP8``, or ``1xDEP8+6xTP8`` with a prefill pool.

    One aggregated worker carries no count.
    """
    if len(pools) == 1 and pools[0].workers == 1:
        return pools[0].layout.label
    return "+".join(f"{pool.workers}x{pool.layout.label}" for pool in pools)


_POOL = re.compile(r"(?:(\d+)x)?(TP|TEP|DEP|DPATP)(\d+)(?:PP(\d+))?$")


def parse_deployment(text: str) -> tuple[PoolLayout, ...]:
    """The pools of a label: the inverse of `deployment_label` for TP, TEP, DEP and DPATP.

    Raises
    ------
    ValueError
        If the text is not such a label.
    """
    match text.split("+"):
        case [both]:
            return (_parse_pool(both, role="aggregated"),)
        case [prefill, decode]:
            return (_parse_pool(prefill, role="prefill"), _parse_pool(decode, role="decode"))
    raise ValueError(f"'{text}' names more than a prefill and a decode pool")


def _parse_pool(text: str, *, role: Role) -> PoolLayout:
    match = _POOL.match(text)
    if match is None:
        raise ValueError(f"'{text}' is not a pool such as DEP8, 2xTP4 or 6xDPATP8")
    workers, form, ranks, stages = match.groups()
    tp = int(ranks)
    layout = Layout(
        tp=tp,
        ep=tp if form in ("TEP", "DEP") else 1,
        dp_attention=form in ("DEP", "DPATP"),
        pp=int(stages or 1),
    )
    return PoolLayout(role=role, workers=int(workers or 1), layout=layout)
