"""One simulated configuration and what comes out of it: the contract between table and engine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from workloads.models.expert_load import UNIFORM, ExpertLoad
from workloads.requests.lengths import length_distribution

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from hwmodels.sku import Sku
    from simulator.analysis.metrics import RunMetrics
    from simulator.engines.kv_offload import KvOffload
    from simulator.engines.labels import EngineLabel
    from simulator.engines.pools import PoolConfiguration, Role, SpeculationMethod
    from workloads.architectures.base import Architecture
    from workloads.requests.catalog import DrawnLengthWorkload
    from workloads.requests.lengths import LengthDistribution

Traffic = Literal["fixed", "agentic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfiguration:
    """A deployment under InferenceX's closed-loop load.

    Parameters
    ----------
    sku, architecture, engine:
        The chip with the user's changes, the model and the serving stack.
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
    drawn:
        Distributions of lengths in place of those; ``isl`` and ``osl`` are their means.
    concurrency:
        Closed-loop clients of the whole deployment. [requests]
    seed:
        Seed of every random stream.
    requests_per_client:
        Requests in units of the concurrency; InferenceX sends 10.
    request_rate_per_s:
        Rate at which the clients send their first requests; ``None``: all at once. [1/s]
    calibration:
        Directory of a user's own fit; ``None``: the shipped one.
    kv_offload:
        Host memory for KV blocks; ``None``: as the server settings have it.
    traffic:
        Kind of requests, by which recipes and software levels are chosen: ``fixed`` lengths, or
        ``agentic`` where prompts share prefixes.
    expert_load:
        How tokens fall on the experts; uniform for InferenceX's random tokens.
    prefill_sku:
        The chip of the prefill pool, where it is another than ``sku``.
    turnaround_s:
        See `simulator.serving.client.ClosedLoop`. [s]
    client_overhead_s, tokenise_s_per_token:
        The front end's share of TTFT, see `simulator.serving.front_end.FrontEnd`. [s], [s/token]
    """

    sku: Sku = field(repr=False)
    architecture: Architecture = field(repr=False)
    engine: EngineLabel
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
    drawn: DrawnLengthWorkload | None = None
    concurrency: int
    seed: int = 0
    requests_per_client: int = 10
    request_rate_per_s: float | None = None
    calibration: Path | None = None
    expert_load: ExpertLoad = UNIFORM
    turnaround_s: float = 0.0
    client_overhead_s: float = 0.0
    tokenise_s_per_token: float = 0.0
    kv_offload: KvOffload | None = None
    prefill_sku: Sku | None = field(default=None, repr=False)
    traffic: Traffic = "fixed"

    @property
    def model(self) -> str:
        """Canonical name of the model."""
        return self.architecture.name

    @property
    def lengths(self) -> tuple[LengthDistribution, LengthDistribution]:
        """Distributions of prompts and outputs. [tokens]"""
        if self.drawn is not None:
            return self.drawn.prompt, self.drawn.output
        prompt, output = (
            length_distribution(name=self.length_distribution, nominal_tokens=n)
            for n in (self.isl, self.osl)
        )
        return prompt, output

    @property
    def longest_context(self) -> int:
        """Longest prompt and output together. [tokens]"""
        return self.isl + self.osl if self.drawn is None else sum(self.drawn.longest_tokens)

    @property
    def identity(self) -> str:
        """All of it in a text that differs where a run may differ."""
        prefill = "" if self.prefill_sku is None else f"{self.prefill_sku.fingerprint} "
        return f"{prefill}{self.sku.fingerprint} {self.architecture!r} {self!r}"

    @property
    def sku_label(self) -> str:
        """Key of the chip; of two the prefill pool's first: ``b200+gb300``."""
        if self.prefill_sku is None:
            return self.sku.key
        return f"{self.prefill_sku.key}+{self.sku.key}"

    @property
    def prefill_side(self) -> RunConfiguration:
        """The same on the chip of the prefill pool; itself where pools have one chip."""
        if self.prefill_sku is None:
            return self
        return replace(self, sku=self.prefill_sku, prefill_sku=None)

    def sku_of(self, role: Role) -> Sku:
        """The chip of a pool."""
        if role == "prefill" and self.prefill_sku is not None:
            return self.prefill_sku
        return self.sku

    @property
    def gpus(self) -> int:
        """GPUs of the deployment."""
        return sum(pool.gpus for pool in self.pools)

    @property
    def step_cost_key(self) -> tuple[str, ...]:
        """What tables of step costs depend on; configurations that share it share the tables."""
        pools = "|".join(
            f"{pool.role} {pool.layout} {sorted(pool.plan.items())} "
            f"{getattr(pool.settings, 'redundant_experts', 0)}"
            for pool in self.pools
        )
        level = f"{self.engine.label}@{self.level_date} {self.median} {self.specification}"
        level += " persistent" * self.engine.persistent
        level += f" as {self.engine.software_of}" if self.engine.software_of else ""
        level += f" prefill {self.prefill_sku.fingerprint}" if self.prefill_sku else ""
        return (
            self.sku.fingerprint,
            level,
            self.model,
            self.precision,
            pools,
            str(self.drafts),
            str(self.expert_load),
            self.traffic,
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
