"""What a published checkpoint makes of an engine's execution plan on a SKU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.models.parts import BF16_BYTES
from workloads.models.precision import quantises

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from workloads.architecture import Release


def plan_of_release(release: Release, *, sku: Sku) -> dict[str, Any]:
    """The fields of the plan that a checkpoint sets on a SKU.

    Chips without FP4 units expand FP4 weights in registers and multiply in BF16 (Marlin). Experts
    that take BF16 get it from their exchange.
    """
    paths: dict[str, str] = {
        "expert_path": release.expert_path,
        "dense_path": release.dense_path,
        "feed_forward_path": release.feed_forward_path or release.dense_path,
    }
    stand_in = {"nvfp4": "nvfp4" if sku.vendor == "nvidia" else "mxfp4"}
    if sku.flops_fp4 is None:
        stand_in = {"nvfp4": "int4", "mxfp4xfp8": "w4a16"}
    plan: dict[str, Any] = {name: stand_in.get(path, path) for name, path in paths.items()}
    if not quantises(plan["expert_path"]):
        plan["dispatch_bytes_per_value"] = BF16_BYTES
    if release.kv_storage is not None:
        plan["kv_storage"] = release.kv_storage
    return plan
