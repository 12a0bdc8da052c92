"""What a step's time would gain: elasticities to the figures of the chip and of the software."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from hwmodels.collectives import CollectiveFit
from hwmodels.software import KernelFit
from simulator.prediction.step_breakdown import time_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from workloads.costmodel import CostModel, StepBatch

    Change = Callable[[float], tuple[Sku, SoftwareLevel]]

Fit = TypeVar("Fit", KernelFit, CollectiveFit)

_RATES = (
    "hbm_bytes_per_s",
    "flops_fp4",
    "flops_fp8",
    "flops_bf16",
    "flops_fp32",
    "flops_int8",
    "scaleup_bytes_per_s",
    "scaleup_pair_bytes_per_s",
    "scaleout_bytes_per_s",
)
_RELATIVE_STEP = 0.01
_NEGLIGIBLE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """How a step's time follows one parameter.

    Parameters
    ----------
    parameter:
        Field of the SKU such as ``hbm_bytes_per_s``, or of the software level: ``t0`` (all kernel
        floors), ``collective_latency``, ``host_step_s``, ``eager_launch_s``, or an efficiency by
        kernel family such as ``e_m gemm``.
    owner:
        Whose it is.
    elasticity:
        ``d ln t / d ln parameter``: -0.5 means that twice the bandwidth, by and by, saves as much
        as halving half of the step. [-]
    """

    parameter: str
    owner: Literal["sku", "software"]
    elasticity: float


def step_sensitivities(
    *, model: CostModel, sku: Sku, software: SoftwareLevel, batch: StepBatch
) -> list[Sensitivity]:
    """Elasticities of a step's time, the largest in magnitude first.

    Notes
    -----
    Central differences over ±1 % of each parameter, all others fixed. Parameters without
    influence are left out. An efficiency acts like the rate that it multiplies, so that the
    elasticities to ``e_m`` of all families sum to that to ``hbm_bytes_per_s``.
    """
    found: list[Sensitivity] = []
    for parameter, owner, change in _changes(sku=sku, software=software):
        ends = []
        for factor in (1.0 - _RELATIVE_STEP, 1.0 + _RELATIVE_STEP):
            other_sku, other_software = change(factor)
            time = time_step(model=model, sku=other_sku, software=other_software, batch=batch)
            ends.append(time.step_s)
        low_s, high_s = ends
        elasticity = (high_s - low_s) / (high_s + low_s) / _RELATIVE_STEP
        if abs(elasticity) > _NEGLIGIBLE:
            found.append(Sensitivity(parameter=parameter, owner=owner, elasticity=elasticity))
    return sorted(found, key=lambda one: (-abs(one.elasticity), one.parameter))


def _changes(
    *, sku: Sku, software: SoftwareLevel
) -> Iterator[tuple[str, Literal["sku", "software"], Change]]:
    """Each parameter with a function from a factor to the changed chip and software."""

    def rate(field: str) -> Change:
        value = getattr(sku, field)
        return lambda factor: (sku.model_copy(update={field: factor * value}), software)

    def host(field: str) -> Change:
        value = getattr(software, field)
        return lambda factor: (sku, replace(software, **{field: factor * value}))

    def kernels(field: str, families: tuple[str, ...]) -> Change:
        def change(factor: float) -> tuple[Sku, SoftwareLevel]:
            scaled = {
                key: _scaled(fit, (field,), factor) if key[0] in families else fit
                for key, fit in software.kernels.items()
            }
            return sku, replace(software, kernels=scaled)

        return change

    def collectives(*fields: str) -> Change:
        def change(factor: float) -> tuple[Sku, SoftwareLevel]:
            scaled = {
                kind: _scaled(fit, fields, factor) for kind, fit in software.collectives.items()
            }
            share = {"latency_s": "exchange_latency_scale"}.get(
                fields[0], "exchange_efficiency_scale"
            )
            exchanges = {share: factor * getattr(software, share)}
            return sku, replace(software, collectives=scaled, **exchanges)

        return change

    for field in _RATES:
        if getattr(sku, field) is not None:
            yield field, "sku", rate(field)
    families = tuple(dict.fromkeys(family for family, _ in software.kernels))
    yield "t0", "software", kernels("t0_s", families)
    for family in families:
        yield f"e_c {family}", "software", kernels("compute_efficiency", (family,))
        yield f"e_m {family}", "software", kernels("memory_efficiency", (family,))
    yield "collective_latency", "software", collectives("latency_s", "scaleout_latency_s")
    yield "collective_efficiency", "software", collectives("efficiency", "scaleout_efficiency")
    for field in ("host_step_s", "eager_launch_s"):
        yield field, "software", host(field)


def _scaled(fit: Fit, fields: tuple[str, ...], factor: float) -> Fit:
    return replace(fit, **{field: factor * getattr(fit, field) for field in fields})
