"""KV pool of one rank in blocks: an engine's pool arithmetic applied to the bytes it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from simulator.engines.pools import DoesNotFitError
from simulator.serving.kv_pool import KvPoolSpec

if TYPE_CHECKING:
    from simulator.engines.kv_accounting import KvPoolLayout
    from simulator.engines.memory import MemoryPlan
    from simulator.engines.registry import AnyEngine
    from simulator.serving.kv_pool import OffloadTier
    from workloads.architectures.base import Architecture
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout


def pool_layout(
    *,
    architecture: Architecture,
    layout: Layout,
    plan: ExecutionPlan,
    engine: AnyEngine,
    drafts: int,
) -> KvPoolLayout:
    """How an engine charges the KV pool of one rank for a request of a model."""
    if architecture.attention == "compressed":
        return engine.compressed_pool(
            architecture=cast("DeepseekV4Architecture", architecture),
            layout=layout,
            plan=plan,
            drafts=drafts,
        )
    layers = architecture.cache_layers(
        kv=plan.kv_storage, attention_tp=layout.attention_tp, drafts=drafts
    )
    if layers is not None:
        return engine.hybrid_pool(layers=layers, drafts=drafts)
    return engine.plain_pool(architecture=architecture, layout=layout, plan=plan)


def size_pool(
    *,
    memory: MemoryPlan,
    architecture: Architecture,
    layout: Layout,
    plan: ExecutionPlan,
    engine: AnyEngine,
    drafts: int,
    longest_context: int,
    label: str,
    offload: tuple[OffloadTier, ...] = (),
) -> KvPoolSpec:
    """The KV pool that the memory of a rank holds; ``offload`` are the tiers behind it.

    Raises
    ------
    DoesNotFitError
        If nothing is left for a single block, with the byte table.
    """
    charge = pool_layout(
        architecture=architecture, layout=layout, plan=plan, engine=engine, drafts=drafts
    )
    reserve = engine.pool_reserve(
        charge=charge,
        layout=layout,
        drafts=drafts,
        longest_context=longest_context,
        pool_bytes=memory.pool_bytes,
    )
    pool_bytes = memory.pool_bytes - reserve.bytes
    block_bytes = charge.block_bytes / layout.pp
    total = int(pool_bytes // block_bytes) if pool_bytes > 0 else 0
    if total < 1:
        raise DoesNotFitError(
            f"{label} does not fit: {memory.pool_bytes / 1e9:.1f} GB of "
            f"{memory.usable_bytes / 1e9:.1f} GB usable are left for KV on each GPU; take more "
            f"GPUs, a higher ep or a SKU with more memory\n{memory.table()}"
        )
    slots = reserve.request_slots
    if charge.slot_tokens:
        windows = charge.request_slots(total_blocks=total)
        slots = windows if slots is None else min(slots, windows or slots)
    return KvPoolSpec(
        total_blocks=total,
        block_tokens=charge.block_tokens,
        fixed_blocks_per_request=reserve.fixed_blocks,
        admission_blocks=reserve.admission_blocks,
        admission_windows=reserve.windows,
        in_flight_tokens=reserve.in_flight_tokens,
        request_slots=slots,
        windows_apart=bool(charge.slot_tokens),
        block_bytes=block_bytes if offload else 0.0,
        prefix_hit_interval_tokens=engine.prefix_retention(charge=charge),
        state_blocks=engine.kept_state_blocks(charge=charge, drafts=drafts),
        keeps_output_state=not charge.windows,
        offload=offload,
    )
