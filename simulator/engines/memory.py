"""What fits: weights, reserves and the KV pool of one rank against its usable memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.engines.settings import AtomSettings, SglangSettings, TrtllmSettings, VllmSettings

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from simulator.engines.settings import EngineSettings
    from workloads.costmodel import CostModel

RUNTIME_RESERVE_BYTES = 3.0e9
"""Driver context, communication buffers and captured graphs of one rank. [B]

An estimate: engines report 2-5 GB outside weights, activations and pools; no public breakdown
for DeepSeek V4 was found.
"""

ACTIVATION_WIDTHS = 16.0
"""Peak activations of a forward pass, in BF16 hidden vectors per token. [-]

An estimate: four residual streams held twice, the exchanged hidden states and the expert
intermediates of one layer.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Where the memory of the fullest rank goes.

    Parameters
    ----------
    usable_bytes:
        What the driver reports. [B]
    weights:
        Resident weights by part. [B]
    activation_bytes, runtime_bytes:
        Reserves. [B]
    withheld_bytes:
        Left unused by the engine's memory fraction. [B]
    pool_bytes:
        Left for the KV cache; negative if the model does not fit. [B]
    """

    usable_bytes: float
    weights: dict[str, float]
    activation_bytes: float
    runtime_bytes: float
    withheld_bytes: float
    pool_bytes: float

    def table(self) -> str:
        """The byte table, one line an item, in GB."""
        rows = [("usable", self.usable_bytes)]
        rows += [(f"weights: {part}", -size) for part, size in self.weights.items() if size]
        rows += [
            ("activations", -self.activation_bytes),
            ("runtime and graphs", -self.runtime_bytes),
            ("withheld by the engine", -self.withheld_bytes),
            ("left for KV", self.pool_bytes),
        ]
        return "\n".join(f"  {name:<24}{size / 1e9:>10.1f} GB" for name, size in rows)


def step_token_budget(*, settings: EngineSettings, attention_dp: int) -> int:
    """Most tokens that one rank computes in one step. [tokens]"""
    if isinstance(settings, SglangSettings):
        chunk = settings.chunked_prefill_size
        return settings.max_prefill_tokens if chunk < 0 else max(1, chunk // attention_dp)
    if isinstance(settings, TrtllmSettings):
        return settings.max_num_tokens
    return settings.max_num_batched_tokens


def running_cap(*, settings: EngineSettings, attention_dp: int) -> float:
    """Most requests that one rank runs at a time by its settings. [requests]"""
    if isinstance(settings, SglangSettings):
        cap = settings.max_running_requests
        return float("inf") if cap is None else max(1, cap // attention_dp)
    if isinstance(settings, TrtllmSettings):
        return settings.max_batch_size
    return settings.max_num_seqs


def plan_memory(
    *, model: CostModel, sku: Sku, settings: EngineSettings, hidden_size: int, drafts: int
) -> MemoryPlan:
    """Memory of the fullest rank of a worker.

    Notes
    -----
    vLLM and ATOM: ``fraction * usable - weights - activations - runtime``. SGLang:
    ``fraction * usable - weights``, activations and graphs living in the rest; where the rest is
    smaller than they are, they eat into the pool. TensorRT-LLM: the fraction of what weights,
    activations and runtime leave free.
    """
    weights = model.weight_bytes_per_rank(speculative=drafts > 0)
    resident = sum(weights.values())
    tokens = step_token_budget(settings=settings, attention_dp=model.layout.attention_dp)
    activation = tokens * ACTIVATION_WIDTHS * hidden_size * 2.0
    usable = float(sku.hbm_usable_bytes)
    free = usable - resident - activation - RUNTIME_RESERVE_BYTES
    if isinstance(settings, VllmSettings | AtomSettings):
        withheld = (1.0 - settings.gpu_memory_utilization) * usable
        pool = free - withheld
    elif isinstance(settings, SglangSettings):
        outside = (1.0 - settings.mem_fraction_static) * usable
        withheld = max(0.0, outside - activation - RUNTIME_RESERVE_BYTES)
        pool = free - withheld
    else:
        withheld = (1.0 - settings.kv_free_gpu_memory_fraction) * max(free, 0.0)
        pool = free - withheld
    return MemoryPlan(
        usable_bytes=usable,
        weights=weights,
        activation_bytes=activation,
        runtime_bytes=RUNTIME_RESERVE_BYTES,
        withheld_bytes=withheld,
        pool_bytes=pool,
    )
