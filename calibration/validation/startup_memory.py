"""Start-up lines that servers print, and the same figures computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.engines.kv_pools import size_pool
from simulator.engines.memory import plan_memory
from simulator.engines.pools import parse_deployment
from simulator.prediction.assembly import execution_plan, named_software
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario
from workloads.datafiles import invalid_data, read_yaml_mapping
from workloads.models import bind

if TYPE_CHECKING:
    from simulator.engines.memory import MemoryPlan
    from simulator.engines.registry import AnyEngine
    from workloads.architectures.base import Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout

GIB = 2.0**30


class StartupLine(BaseModel):
    """One server's report.

    Parameters
    ----------
    sku, usable_gib:
        The chip, and the memory that its driver reports [GiB].
    plan:
        Fields of the execution plan in which the server differs from the recipe in force.
    longest_context:
        ``max_model_len``; ``None``: 9,216. [tokens]
    weights_gib, kv_gib:
        Weights and KV cache of one GPU. [GiB]
    kv_tokens:
        The engine's own count for one rank. [tokens]
    unexplained:
        What the model misses, where it does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    sku: str
    usable_gib: float = Field(gt=0)
    model: str
    precision: str | None = None
    engine: str
    deployment: str
    spec: str = "none"
    settings: dict[str, Any] = Field(default_factory=dict)
    plan: dict[str, Any] = Field(default_factory=dict)
    longest_context: int | None = None
    weights_gib: float | None = None
    kv_gib: float | None = None
    kv_tokens: int | None = None
    kind: Literal["measured"]
    source: str = Field(min_length=1)
    unexplained: str = ""


class Computed(BaseModel):
    """The figures of a start-up line, computed. [GiB], [tokens]"""

    weights_gib: float
    activation_gib: float
    kv_gib: float
    kv_tokens: int


def startup_lines() -> list[StartupLine]:
    """The start-up lines that are known.

    Raises
    ------
    UserError
        If the file is malformed.
    """
    path = Path(str(resources.files("calibration.validation") / "startup_memory.yaml"))
    try:
        return [StartupLine.model_validate(line) for line in read_yaml_mapping(path)["lines"]]
    except ValidationError as error:
        raise invalid_data(source=str(path), error=error) from None


def computed(line: StartupLine) -> Computed:
    """What the memory model says of a server.

    Raises
    ------
    DoesNotFitError
        If nothing is left for a KV cache.
    """
    started = _started(line)
    spec = size_pool(
        memory=started.memory,
        architecture=started.architecture,
        layout=started.layout,
        plan=started.plan,
        engine=started.engine,
        drafts=started.drafts,
        longest_context=started.longest_context,
        label=line.name,
    )
    return Computed(
        weights_gib=weights_gib(line),
        activation_gib=started.memory.activation_bytes / GIB,
        kv_gib=started.memory.pool_bytes / GIB,
        kv_tokens=started.engine.pool_tokens(spec, longest_context=started.longest_context),
    )


def weights_gib(line: StartupLine) -> float:
    """Weights of one GPU, whether or not anything is left for a KV cache. [GiB]"""
    return sum(_started(line).memory.weights.values()) / GIB


@dataclass(frozen=True, kw_only=True)
class _Started:
    memory: MemoryPlan
    architecture: Architecture
    layout: Layout
    plan: ExecutionPlan
    engine: AnyEngine
    drafts: int
    longest_context: int


def _started(line: StartupLine) -> _Started:
    precision: dict[str, Any] = {} if line.precision is None else {"precision": line.precision}
    scenario = Scenario(
        sku=line.sku,
        model=line.model,
        engine=line.engine,
        spec=line.spec,
        engine_settings=line.settings,
        overrides={"hbm_usable_bytes": line.usable_gib * GIB},
        **precision,
    )
    configuration, _ = configure_run(
        scenario, pools=parse_deployment(line.deployment), concurrency=8
    )
    (pool,) = configuration.pools
    pool = replace(pool, plan={**pool.plan, **line.plan})
    architecture, sku, engine = configuration.architecture, configuration.sku, pool.engine
    plan = execution_plan(
        software=named_software(configuration),
        pool=pool,
        precision=configuration.precision,
        sku=sku,
        architecture=architecture,
    )
    model = bind(
        architecture=architecture, layout=pool.layout, plan=plan, drafts=configuration.drafts
    )
    return _Started(
        memory=plan_memory(
            model=model,
            sku=sku,
            engine=engine,
            architecture=architecture,
            drafts=configuration.drafts,
        ),
        architecture=architecture,
        layout=pool.layout,
        plan=plan,
        engine=engine,
        drafts=configuration.drafts,
        longest_context=line.longest_context or configuration.isl + configuration.osl,
    )
