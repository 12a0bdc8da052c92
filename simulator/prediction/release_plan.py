"""What a published checkpoint makes of an engine's execution plan on a SKU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.models.parts import BF16_BYTES
from workloads.models.precision import quantises

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from workloads.architectures.base import Release


def plan_of_release(release: Release, *, sku: Sku) -> dict[str, Any]:
    """The fields of the plan that a checkpoint sets on a SKU.

    Chips without FP4 units expand FP4 weights in registers and multiply in BF16 (Marlin). Experts
    that take BF16 get it from their exchange.
    """
    stand_in = _stand_ins(sku)
    plan: dict[str, Any] = {
        name: stand_in.get(path, path) for name, path in _paths(release).items()
    }
    if not quantises(plan["expert_path"]):
        plan["dispatch_bytes_per_value"] = BF16_BYTES
    if release.kv_storage is not None:
        plan["kv_storage"] = release.kv_storage
    return plan


def release_messages(release: Release, *, sku: Sku) -> list[str]:
    """What a reader should know of a checkpoint on a SKU: other formats, and what is assumed."""
    messages = []
    stand_in = _stand_ins(sku)
    changed = {path for path in _paths(release).values() if stand_in.get(path, path) != path}
    if changed and sku.flops_fp4 is None:
        messages.append(
            f"{sku.key} has no FP4 units: {release.label} weights are expanded in registers and "
            "multiplied in BF16"
        )
    elif changed:
        messages.append(f"precision {release.label} on {sku.key}: MXFP4 in place of NVFP4")
    if release.note:
        messages.append(f"precision {release.label}: {release.note}")
    return messages


def _paths(release: Release) -> dict[str, str]:
    """Arithmetic paths by field of the plan."""
    return {
        "expert_path": release.expert_path,
        "dense_path": release.dense_path,
        "feed_forward_path": release.feed_forward_path or release.dense_path,
    }


def nvfp4_experts(*, sku: Sku) -> str:
    """The path that experts stored in NVFP4 take on a SKU."""
    return _stand_ins(sku).get("nvfp4", "nvfp4")


def _stand_ins(sku: Sku) -> dict[str, str]:
    """The path that runs on a SKU in place of one that it has no kernels for."""
    if sku.flops_fp4 is None:
        return {"nvfp4": "int4", "mxfp4xfp8": "w4a16"}
    return {} if sku.vendor == "nvidia" else {"nvfp4": "mxfp4"}
