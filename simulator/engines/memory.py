"""What fits: weights, reserves and the KV pool of one rank against its usable memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from hwmodels.exchange_buffers import buffer_bytes
from hwmodels.exchange_libraries import default_library, load_library

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from simulator.engines.registry import AnyEngine
    from workloads.architectures.base import Architecture
    from workloads.costmodel import CostModel

EXPERTS = "routed experts"
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
    activation_bytes, exchange_bytes, runtime_bytes:
        Reserves: activations, buffers of the library that exchanges tokens between experts, and
        the rest. [B]
    withheld_bytes:
        Left unused by the engine's memory fraction. [B]
    pool_bytes:
        Left for the KV cache; negative if the model does not fit. [B]
    """

    usable_bytes: float
    weights: dict[str, float]
    activation_bytes: float
    exchange_bytes: float
    runtime_bytes: float
    withheld_bytes: float
    pool_bytes: float

    def to_dict(self) -> dict[str, float]:
        """The byte table by item: usable, weights by part, reserves, withheld, KV. [B]"""
        return {
            "usable_bytes": self.usable_bytes,
            **{f"weights: {part}": size for part, size in self.weights.items() if size},
            "activation_bytes": self.activation_bytes,
            "exchange_bytes": self.exchange_bytes,
            "runtime_bytes": self.runtime_bytes,
            "withheld_bytes": self.withheld_bytes,
            "kv_bytes": self.pool_bytes,
        }

    def table(self) -> str:
        """The byte table, one line an item, in GB."""
        rows = [("usable", self.usable_bytes)]
        rows += [(f"weights: {part}", -size) for part, size in self.weights.items() if size]
        rows += [("activations", -self.activation_bytes)]
        rows += [("buffers of exchanges", -self.exchange_bytes)] if self.exchange_bytes else []
        rows += [
            ("runtime and graphs", -self.runtime_bytes),
            ("withheld by the engine", -self.withheld_bytes),
            ("left for KV", self.pool_bytes),
        ]
        return "\n".join(f"  {name:<24}{size / 1e9:>10.1f} GB" for name, size in rows)


def plan_memory(
    *,
    model: CostModel,
    sku: Sku,
    engine: AnyEngine,
    architecture: Architecture,
    drafts: int,
    redundant_experts: int = 0,
) -> MemoryPlan:
    """Memory of the fullest rank of a worker.

    What weights and reserves leave, less what the engine's memory fraction withholds, see
    `simulator.engines.base.Engine.withheld_bytes`.
    """
    weights = dict(model.weight_bytes_per_rank(speculative=drafts > 0))
    layout = model.layout
    width = getattr(architecture, "moe_intermediate_size", 0)
    if width and EXPERTS in weights:
        weights[EXPERTS] *= engine.loaded_experts(
            hidden_size=architecture.hidden_size,
            width=width / (layout.gpus // layout.pp // layout.ep),
            path=model.plan.expert_path,
        )
    tokens = engine.step_token_budget(attention_dp=layout.attention_dp)
    activation = tokens * ACTIVATION_WIDTHS * architecture.hidden_size * 2.0
    activation += engine.sampler_bytes(
        vocab_size=architecture.vocab_size, attention_dp=layout.attention_dp
    )
    exchange = exchange_buffer_bytes(
        model=model,
        sku=sku,
        engine=engine,
        architecture=architecture,
        drafts=drafts,
        redundant_experts=redundant_experts,
    )
    usable = float(sku.hbm_usable_bytes)
    reserve = activation + exchange + engine.runtime_bytes
    free = usable - sum(weights.values()) - reserve
    withheld = engine.withheld_bytes(usable_bytes=usable, free_bytes=free, reserve_bytes=reserve)
    return MemoryPlan(
        usable_bytes=usable,
        weights=weights,
        activation_bytes=activation,
        exchange_bytes=exchange,
        runtime_bytes=engine.runtime_bytes,
        withheld_bytes=withheld,
        pool_bytes=free - withheld,
    )


def exchange_buffer_bytes(
    *,
    model: CostModel,
    sku: Sku,
    engine: AnyEngine,
    architecture: Architecture,
    drafts: int,
    redundant_experts: int,
) -> float:
    """Buffers of the library that exchanges tokens between a rank's experts. [B]

    Nothing where a collective or a fused kernel takes its place; those of a recipe's library or of
    the engine's usual one else, see `hwmodels.exchange_buffers.buffer_bytes`.
    """
    layout, plan = model.layout, model.plan
    spread = layout.dp_attention and layout.tp > 1 and layout.moe_tp == 1
    if not (spread and architecture.routed_experts and plan.moe_backend == "dispatch_combine"):
        return 0.0
    library = (
        load_library(plan.exchange_library)
        if plan.exchange_library
        else default_library(engine=engine.key, sku=sku, ranks=layout.tp)
    )
    if library is None:
        return 0.0
    dp = layout.attention_dp
    step = float(engine.step_token_budget(attention_dp=dp))
    running = engine.running_cap(attention_dp=dp)
    return buffer_bytes(
        library=library,
        mode=plan.exchange_mode,
        ranks=layout.tp,
        experts=architecture.routed_experts + redundant_experts,
        hidden=architecture.hidden_size,
        step_tokens=step,
        decode_tokens=min(running * (drafts + 1.0), max(step, 1.0)) if running < inf else 0.0,
    )
