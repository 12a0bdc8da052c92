"""KV pool of one rank in blocks: an engine's pool arithmetic applied to the bytes it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from simulator.engines.kv_accounting import KvPoolLayout, plain_pool, sglang_pool, vllm_pool
from simulator.engines.kv_accounting_hybrid import (
    separate_hybrid_pool,
    sglang_hybrid_pool,
    vllm_hybrid_pool,
)
from simulator.engines.memory import step_token_budget
from simulator.engines.pools import DoesNotFitError
from simulator.engines.settings import SglangSettings, TrtllmSettings, VllmSettings
from simulator.serving.kv_pool import KvPoolSpec

if TYPE_CHECKING:
    from simulator.engines.memory import MemoryPlan
    from simulator.engines.settings import EngineSettings
    from workloads.architectures.base import Architecture, CacheLayers
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout


def pool_layout(
    *,
    architecture: Architecture,
    layout: Layout,
    plan: ExecutionPlan,
    settings: EngineSettings,
    drafts: int,
) -> KvPoolLayout:
    """How an engine charges the KV pool of one rank for a request of a model."""
    if architecture.attention == "compressed":
        compressed = cast("DeepseekV4Architecture", architecture)
        if isinstance(settings, VllmSettings):
            return vllm_pool(
                architecture=compressed,
                kv=plan.kv_storage,
                index=plan.index_storage,
                draft_layers=min(drafts, 1),
            )
        if isinstance(settings, SglangSettings):
            return sglang_pool(
                architecture=compressed,
                kv=plan.kv_storage,
                index=plan.index_storage,
                swa_full_tokens_ratio=settings.swa_full_tokens_ratio,
                speculative=drafts > 0,
                online_state=plan.online_compressor_state,
                page_tokens=settings.page_size,
            )
    layers = architecture.cache_layers(
        kv=plan.kv_storage, attention_tp=layout.attention_tp, drafts=drafts
    )
    if layers is not None:
        return _hybrid_pool(layers=layers, settings=settings, drafts=drafts)
    return plain_pool(
        architecture=architecture,
        block_tokens=_block_tokens(settings),
        kv=plan.kv_storage,
        index=plan.index_storage,
        online_state=plan.online_compressor_state,
        attention_tp=layout.attention_tp,
    )


def _hybrid_pool(
    *,
    layers: CacheLayers,
    settings: EngineSettings,
    drafts: int,
) -> KvPoolLayout:
    """`pool_layout` of grouped-query attention with windows or linear layers."""
    if isinstance(settings, VllmSettings):
        return vllm_hybrid_pool(
            layers=layers,
            block_tokens=settings.block_size,
            drafts=drafts,
        )
    if isinstance(settings, SglangSettings):
        return sglang_hybrid_pool(
            layers=layers,
            page_tokens=settings.page_size,
            swa_full_tokens_ratio=settings.swa_full_tokens_ratio,
            drafts=drafts,
        )
    return separate_hybrid_pool(
        layers=layers,
        block_tokens=_block_tokens(settings),
        windowed=not isinstance(settings, TrtllmSettings),
        drafts=drafts,
    )


def size_pool(
    *,
    memory: MemoryPlan,
    architecture: Architecture,
    layout: Layout,
    plan: ExecutionPlan,
    settings: EngineSettings,
    drafts: int,
    longest_context: int,
    label: str,
) -> KvPoolSpec:
    """The KV pool that the memory of a rank holds.

    vLLM charges an admitted request for windows and state of all tokens that can be in flight:
    the token budget, but no more than the longest context (``max_model_len``).

    Raises
    ------
    DoesNotFitError
        If nothing is left for a single block, with the byte table.
    """
    charge = pool_layout(
        architecture=architecture, layout=layout, plan=plan, settings=settings, drafts=drafts
    )
    stage_share = 1.0 / layout.pp
    block_bytes = charge.block_bytes * stage_share
    request_bytes = charge.request_bytes * stage_share
    fixed = charge.fixed_blocks(in_flight_tokens=drafts + 1)
    pool_bytes = memory.pool_bytes
    slots: int | None = None
    admission = 0
    if isinstance(settings, VllmSettings):
        budget = step_token_budget(settings=settings, attention_dp=layout.attention_dp)
        in_flight = min(budget, longest_context)
        admission = max(0, charge.fixed_blocks(in_flight_tokens=in_flight) - fixed)
    elif isinstance(settings, SglangSettings):
        # the state pool is allotted for all running requests before the token pools
        cap = settings.max_running_requests or charge.default_running
        running = max(1, cap // layout.attention_dp)
        if charge.state_share < 1.0 and request_bytes and pool_bytes > 0:
            running = max(1, min(running, int(charge.state_share * pool_bytes / request_bytes)))
        slots = running if request_bytes else None
        pool_bytes -= running * request_bytes
    elif request_bytes:
        fixed += -(-int(request_bytes) // int(block_bytes))
    total = int(pool_bytes // block_bytes) if pool_bytes > 0 else 0
    if total < 1:
        raise DoesNotFitError(
            f"{label} does not fit: {memory.pool_bytes / 1e9:.1f} GB of "
            f"{memory.usable_bytes / 1e9:.1f} GB usable are left for KV on each GPU; take more "
            f"GPUs, a higher ep or a SKU with more memory\n{memory.table()}"
        )
    if charge.slot_tokens:
        windows = charge.request_slots(total_blocks=total)
        slots = windows if slots is None else min(slots, windows or slots)
    return KvPoolSpec(
        total_blocks=total,
        block_tokens=charge.block_tokens,
        fixed_blocks_per_request=fixed,
        admission_blocks=admission,
        request_slots=slots,
    )


def _block_tokens(settings: EngineSettings) -> int:
    if isinstance(settings, SglangSettings):
        return settings.page_size
    if isinstance(settings, TrtllmSettings):
        return settings.tokens_per_block
    return settings.block_size
