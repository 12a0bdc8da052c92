"""Software levels: what an engine of a certain date reaches on a SKU.

A level says which kernels run (`workloads.execution_plan.ExecutionPlan`) and how well: the floor
``t0``
and the efficiencies ``e_c`` and ``e_m`` of each kernel family, and the host's share of a step.
The base figures belong to chip generations and come from measured kernel tables
(``software/kernels.yaml``); an engine's plans, their dates and its host times stand in
``software/<engine>.yaml``, and few factors on all of it are fitted to serving runs
(``software/fitted.yaml``, see `hwmodels.fitted`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hwmodels.calibration_files import PARAMETERS as PARAMETERS
from hwmodels.collectives import CollectiveFit
from hwmodels.engine_files import engine_file, figure_value, kernel_table, plan_level
from hwmodels.fitted import MEDIAN_DATE, MEDIAN_LEVEL_DATE, Basis, fitted_level
from hwmodels.floors import floor_s, floor_trend
from workloads.errors import UserError, unknown_name
from workloads.execution_plan import ExecutionPlan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hwmodels.sku import Sku
    from workloads.ops import Op, OpKind

MEDIAN_LEVEL = MEDIAN_LEVEL_DATE

PERSISTENT_FLOOR_S = 1.5e-6
"""Barrier of a persistent kernel between two operations. [s]

An estimate, 1 to 2 us: a grid-wide synchronisation takes 1.2 to 1.6 us on H100; counters
between dependent tiles, as megakernels use them, less."""

PERSISTENT_HOST_S = 2.0e-5
"""What a step of a persistent kernel waits for the host: one launch and one token read. [s]

An estimate."""

_KIND_OF_BASIS: dict[Basis, str] = {
    "own runs": "calibrated",
    "sibling": "transferred",
    "other kernels": "transferred",
    "nothing": "specification",
}
_MATRIX_FAMILIES = ("gemm", "grouped_gemm")
_ATTENTION_FAMILIES = ("attention", "indexer")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFit:
    """Floor and efficiencies of one kernel family on one chip generation.

    ``t0_s`` is the time of a launch with nothing to do inside a graph [s]; the efficiencies are
    shares of the dense peak rate and of the memory bandwidth [-]. ``weight_traffic`` is what is
    read of the weights over what uniform routing reads [-].
    """

    t0_s: float
    compute_efficiency: float
    memory_efficiency: float
    weight_traffic: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareLevel:
    """One engine at one date on one SKU.

    Parameters
    ----------
    name:
        Such as ``sglang@2026-05-21``.
    kind:
        ``calibrated`` (this SKU and engine were fitted), ``transferred`` (fitted on others) or
        ``specification`` (kernel tables and data sheets only).
    basis:
        What the fitted part rests on, see `hwmodels.fitted.Basis`.
    plan:
        Kernels in use.
    kernels, collectives:
        Families by (kind, precision) and by kind, scales applied.
    host_step_s:
        Host time of a step that the GPU does not hide. [s]
    eager_launch_s:
        Host time to launch one kernel outside a graph. [s]
    generation:
        Chip generation whose kernel table it scales.
    exchange_latency_scale, exchange_efficiency_scale:
        Factors on the latency and the link efficiency of token exchanges (`hwmodels.exchanges`).
    parameters:
        Values that the families and times above were made with, by name, see `PARAMETERS`.
    messages:
        What was assumed in choosing the level.
    provenance:
        Source of each parameter that the level sets.
    table:
        Kernel table that it stands on; ``None``: ``software/kernels.yaml``.
    """

    engine: str
    name: str
    kind: str
    basis: Basis
    plan: ExecutionPlan
    kernels: dict[tuple[str, str], KernelFit]
    collectives: dict[str, CollectiveFit]
    host_step_s: float
    eager_launch_s: float
    generation: str
    parameters: dict[str, float]
    exchange_latency_scale: float = 1.0
    exchange_efficiency_scale: float = 1.0
    messages: tuple[str, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    table: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    def kernel(self, *, op: Op) -> KernelFit:
        """Efficiencies of an operation's kernel: by variant, by precision, else of any path."""
        kernels, family = self.kernels, op.kind.value
        return (
            kernels.get((family, op.variant))
            or kernels.get((family, op.precision))
            or kernels[family, "any"]
        )

    def collective(self, *, kind: OpKind) -> CollectiveFit:
        """Latency and efficiency of a kind of collective."""
        return self.collectives[kind.value]

    def with_parameters(self, changes: Mapping[str, float]) -> SoftwareLevel:
        """The same level with some of its parameters replaced.

        Raises
        ------
        UserError
            If a parameter is unknown.
        """
        for name in changes:
            if name not in PARAMETERS:
                raise unknown_name(field="software parameter", value=name, known=PARAMETERS)
        parameters = {**self.parameters, **changes}
        return replace(
            self,
            parameters=parameters,
            **_derived(generation=self.generation, values=parameters, table=self.table),
        )

    def as_persistent(self) -> SoftwareLevel:
        """The same kernels inside one persistent kernel a step.

        Notes
        -----
        Operations follow each other by a barrier across the multiprocessors in place of a launch:
        `PERSISTENT_FLOOR_S` at the most for each. Sampling and drafts stay on the device, so that
        the host waits for nothing but the tokens (`PERSISTENT_HOST_S`). Collectives keep their
        latencies, matrix products and attention their efficiencies. An execution plan, not a
        measured level.
        """
        changed = self.with_parameters(
            {
                "floor_limit_s": PERSISTENT_FLOOR_S,
                "host_step_s": min(self.host_step_s, PERSISTENT_HOST_S),
                "eager_launch_s": 0.0,
            }
        )
        note = (
            f"persistent kernel: an execution plan with {1e6 * PERSISTENT_FLOOR_S:g} us a barrier "
            "in place of launches, not a release of the engine"
        )
        return replace(changed, name=f"{self.name}+persistent", messages=(*self.messages, note))

    def lent(self) -> SoftwareLevel:
        """The same level for a model that it was not fitted to: no better than other kernels'.

        Left-out models are missed by as much as left-out kernels
        (`calibration.validation.bands`), however well the SKU's own runs are met.
        """
        if self.basis not in ("own runs", "sibling"):
            return self
        return replace(self, basis="other kernels", kind=_KIND_OF_BASIS["other kernels"])

    def with_kernel_table(self, table: Mapping[str, Any], *, name: str) -> SoftwareLevel:
        """The same parameters on another kernel table than ``software/kernels.yaml``.

        Parameters
        ----------
        table:
            ``families`` and ``collectives`` in the form of that file.
        name:
            What the level is called; levels that differ must not share a name.
        """
        kernels = _derived(generation=self.generation, values=self.parameters, table=table)
        return replace(self, name=name, table=table, **kernels)


def parse_date(text: str) -> dt.date:
    """Last day that a date text covers: ``2026-05`` is 2026-05-31, ``2026-05-21`` itself.

    Raises
    ------
    UserError
        If the text is neither ``YYYY-MM`` nor ``YYYY-MM-DD``.
    """
    try:
        if len(text) == 7:
            first = dt.date.fromisoformat(f"{text}-01")
            return (first.replace(day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(1)
        return dt.date.fromisoformat(text)
    except ValueError:
        raise UserError(f"date '{text}' is not a date; write YYYY-MM or YYYY-MM-DD") from None


def _derived(
    *, generation: str, values: Mapping[str, float], table: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Kernel families, collectives and host times that follow from a level's parameters.

    Efficiencies of matrix products are scaled, those of routed experts by a further factor; those
    of attention and indexer by one of their own; stream kernels stay at the kernel table's.
    Floors scale for all, since an engine launches them alike.
    """
    kernels: dict[tuple[str, str], KernelFit] = {}
    table = kernel_table() if table is None else table
    trend = floor_trend(generation=generation, table=table)
    limit_s = values.get("floor_limit_s", 0.0) or float("inf")
    for family, paths in table["families"].items():
        matrix = family in _MATRIX_FAMILIES
        compute = values.get("compute_scale", 1.0) if matrix else 1.0
        memory = values.get("memory_scale", 1.0) if matrix else 1.0
        if family == "grouped_gemm":
            compute *= values.get("grouped_compute_scale", 1.0)
        elif family in _ATTENTION_FAMILIES:
            compute = memory = values.get("attention_scale", 1.0)
        traffic = values.get("expert_traffic_scale", 1.0) if family == "grouped_gemm" else 1.0
        for path, generations in paths.items():
            fit = generations.get(generation, generations["generic"])
            kernels[family, path] = KernelFit(
                t0_s=min(
                    limit_s,
                    floor_s(generations=generations, trend=trend) * values.get("t0_scale", 1.0),
                ),
                compute_efficiency=min(1.0, figure_value(fit["e_c"]) * compute),
                memory_efficiency=min(1.0, figure_value(fit["e_m"]) * memory),
                weight_traffic=traffic,
            )
    collectives: dict[str, CollectiveFit] = {}
    for kind, generations in table["collectives"].items():
        fit = generations.get(generation, generations["generic"])
        collectives[kind] = CollectiveFit(
            latency_s=figure_value(fit["latency_s"]),
            efficiency=figure_value(fit["efficiency"]) * values.get("collective_scale", 1.0),
            scaleout_latency_s=figure_value(fit["scaleout_latency_s"]),
            scaleout_efficiency=figure_value(fit["scaleout_efficiency"]),
        )
    return {
        "kernels": kernels,
        "collectives": collectives,
        "exchange_efficiency_scale": values.get("collective_scale", 1.0),
        "host_step_s": values["host_step_s"],
        "eager_launch_s": values["eager_launch_s"],
    }


def load_software(
    *,
    engine: str,
    sku: Sku,
    model: str,
    precision: str = "",
    date: dt.date | None = None,
    median: bool = False,
    specification: bool = False,
    directory: Path | None = None,
) -> SoftwareLevel:
    """The software level of an engine on a SKU at a date.

    Parameters
    ----------
    engine:
        ``vllm``, ``sglang``, ``trtllm``, ``atom`` or ``cann``.
    sku, model:
        Select the execution plan and the fitted factors.
    precision:
        Label whose kernels' own factors hold; empty: what those of all precisions share.
    date:
        The last dated level not after it; before the first, the first, with a message. ``None``
        is the newest dated level that runs cover.
    median:
        Ask for the undated median of runs up to 2026-07-19.
    specification:
        Use kernel tables and data sheets only, nothing fitted to serving runs.
    directory:
        ``fitted.yaml`` of a user's own calibration, in place of the shipped one.

    Raises
    ------
    UserError
        If the engine is unknown.
    """
    load = _load_software if directory is None else _load_software.__wrapped__
    return load(
        engine=engine,
        sku=sku,
        model=model,
        precision=precision,
        date=date,
        median=median,
        specification=specification,
        directory=directory,
    )


@lru_cache(maxsize=256)  # shipped files do not change while a process runs; a user's own fit may
def _load_software(
    *,
    engine: str,
    sku: Sku,
    model: str,
    precision: str,
    date: dt.date | None,
    median: bool,
    specification: bool,
    directory: Path | None,
) -> SoftwareLevel:
    data = engine_file(engine)
    level, messages = plan_level(
        data["levels"], sku=sku, model=model, date=date or (MEDIAN_DATE if median else None)
    )
    values = {name: figure_value(figure) for name, figure in data["defaults"].items()}
    provenance = {
        name: f"{figure['kind']}: {figure['source']}" for name, figure in data["defaults"].items()
    }
    fitted = data.get("fitted", True) or directory is not None
    if not fitted:
        messages.append(f"no run of {engine} is fitted: data sheets and generic kernel figures")
    fit = (
        None
        if specification or not fitted
        else fitted_level(
            engine=engine,
            sku=sku,
            model=model,
            precision=precision,
            date=date,
            median=median,
            directory=directory,
        )
    )
    level_date = str(level.get("date") or "undated")
    basis: Basis = "nothing"
    if fit is not None:
        for name, factor in fit.factors.items():
            values[name] = values.get(name, 1.0) * factor
            provenance[name] = f"fitted: {fit.source}"
        level_date = fit.level_date or level_date
        basis = fit.basis
        level_date += f" of {directory.resolve().name}" if directory else ""
        messages += [fit.message] if fit.message else []
        messages += [f"calibration {directory}: {fit.source}"] if directory else []
    return SoftwareLevel(
        engine=engine,
        name=f"{engine}@{level_date}",
        kind=_KIND_OF_BASIS[basis],
        basis=basis,
        plan=ExecutionPlan(**{**data.get("plan", {}), **level.get("plan", {})}),
        generation=sku.generation,
        parameters=values,
        **_derived(generation=sku.generation, values=values),
        messages=tuple(messages),
        provenance=provenance,
    )
