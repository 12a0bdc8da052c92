"""Which kernels and formats a pool runs: its software level's plan with the recipe's changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulator.prediction.exchange_plan import with_exchange
from simulator.prediction.release_plan import nvfp4_experts, plan_of_release
from workloads.errors import UserError

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from simulator.engines.pools import PoolConfiguration
    from workloads.architectures.base import Architecture
    from workloads.execution_plan import ExecutionPlan


def execution_plan(
    *,
    software: SoftwareLevel,
    pool: PoolConfiguration,
    precision: str,
    sku: Sku,
    architecture: Architecture,
) -> ExecutionPlan:
    """The plan of the software level with the recipe's changes.

    Of a model that states its releases the label means one of them. Elsewhere ``nvfp4``, ``fp8``
    and ``bf16`` name the experts, the latter two unless a recipe of the very model records that
    such runs load the released checkpoint. Of a dense model the label names the projections, and
    the KV cache is BF16, the engines' ``auto``, unless a recipe says otherwise.

    Raises
    ------
    UserError
        If the model has no release of that precision, the chip has no path for it, or the exchange
        library that a recipe names does not fit the chip or the layout.
    """
    release = architecture.release(precision)
    stored = _kv_storage(pool.settings.kv_cache_dtype, architecture=architecture)
    if release is not None:
        changes = plan_of_release(release, sku=sku) | dict(pool.plan) | stored
        return with_exchange(
            replace(software.plan, **changes), pool=pool, sku=sku, engine=software.engine
        )
    changes = dict(pool.plan) | stored
    if not architecture.routed_experts:
        four_bits = "nvfp4" if sku.vendor == "nvidia" else "mxfp4"
        narrow = precision in ("fp4", "nvfp4")
        changes.setdefault("dense_path", four_bits if narrow else precision)
        changes.setdefault("kv_storage", "bf16")
    elif precision == "nvfp4":
        changes["expert_path"] = nvfp4_experts(sku=sku)
    elif precision in ("fp8", "bf16"):
        changes.setdefault("expert_path", precision)
    if changes.get("expert_path", changes.get("dense_path")) == "fp8" and sku.flops_fp8 is None:
        others = [label for label in ("fp4", "int4", "bf16") if label != precision]
        raise UserError(
            f"precision fp8 of {architecture.name} has no path on {sku.key}, which has no FP8 "
            f"units; take --precision {' or '.join(others[:1] + others[-1:])}"
        )
    return with_exchange(
        replace(software.plan, **changes), pool=pool, sku=sku, engine=software.engine
    )


def _kv_storage(dtype: str, *, architecture: Architecture) -> dict[str, Any]:
    """The field of the plan that a stated format of the KV cache sets.

    DeepSeek V4's entries in FP8 have a layout of their own (``fp8_ds_mla``).
    """
    if dtype == "auto":
        return {}
    packed = architecture.attention == "compressed" and dtype == "fp8"
    return {"kv_storage": "fp8_ds_mla" if packed else dtype}
