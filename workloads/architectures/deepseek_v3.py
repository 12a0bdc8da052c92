"""Architecture of DeepSeek V3 and related models: latent attention and experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from workloads.architectures.base import Architecture
from workloads.architectures.kinds import (
    Experts,
    FeedForward,
    Indexer,
    LatentAttention,
    Layer,
)
from workloads.architectures.storage import index_key_bytes, latent_entry_bytes

if TYPE_CHECKING:
    from workloads.architectures.base import Attention
    from workloads.execution_plan import IndexStorage, KvStorage


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepseekV3Architecture(Architecture):
    """DeepSeek V3 and related models (R1, V3.2, Kimi K2, GLM-5): latent attention (MLA) and MoE.

    Parameters
    ----------
    num_attention_heads:
        Query heads. [-]
    q_lora_rank, kv_lora_rank:
        Ranks of the query and of the shared KV latent. [-]
    qk_nope_head_dim, qk_rope_head_dim, v_head_dim:
        Widths of a head. [-]
    index_n_heads, index_head_dim, index_topk:
        Lightning indexer of V3.2 and GLM-5, in every layer; 0 without. [-]
    intermediate_size, first_k_dense_replace:
        Width of the dense feed-forward layers and how many layers have one. [-]
    n_routed_experts, num_experts_per_tok, n_shared_experts, moe_intermediate_size:
        Mixture of experts of the other layers. [-]
    n_group, topk_group:
        Node-limited routing: groups of experts, and how many of them a token may choose from. [-]
    num_nextn_predict_layers:
        MTP blocks; 0 without. [-]
    """

    family: ClassVar[str] = "deepseek_v3"

    num_attention_heads: int
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    intermediate_size: int
    first_k_dense_replace: int
    n_routed_experts: int
    num_experts_per_tok: int
    n_shared_experts: int
    moe_intermediate_size: int
    num_nextn_predict_layers: int
    index_n_heads: int = 0
    index_head_dim: int = 0
    index_topk: int = 0
    n_group: int = 1
    topk_group: int = 1

    @property
    def attention(self) -> Attention:
        """What a KV entry is."""
        return "latent"

    @property
    def _mixer(self) -> LatentAttention:
        indexer = Indexer(
            heads=self.index_n_heads, head_dim=self.index_head_dim, top_k=self.index_topk
        )
        return LatentAttention(
            heads=self.num_attention_heads,
            q_rank=self.q_lora_rank,
            kv_rank=self.kv_lora_rank,
            nope_dim=self.qk_nope_head_dim,
            rope_dim=self.qk_rope_head_dim,
            value_dim=self.v_head_dim,
            indexer=indexer if self.index_topk else None,
        )

    @property
    def _sparse(self) -> Layer:
        return Layer(
            mixer=self._mixer,
            feed=Experts(
                experts=self.n_routed_experts,
                per_token=self.num_experts_per_tok,
                width=self.moe_intermediate_size,
                shared_width=self.n_shared_experts * self.moe_intermediate_size,
                router_bias=True,
                groups=self.n_group,
                group_limit=self.topk_group,
            ),
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Some dense layers, then experts."""
        dense = min(self.first_k_dense_replace, self.num_hidden_layers)
        first = Layer(
            mixer=self._mixer, feed=FeedForward(width=self.intermediate_size, reduced=False)
        )
        return (first,) * dense + (self._sparse,) * (self.num_hidden_layers - dense)

    @property
    def draft(self) -> tuple[Layer, ...]:
        """MTP blocks."""
        return (self._sparse,) * self.num_nextn_predict_layers

    @property
    def routed_experts(self) -> int:
        """Routed experts of a layer. [-]"""
        return self.n_routed_experts

    @property
    def routed_per_token(self) -> int:
        """Routed experts that one token uses. [-]"""
        return self.num_experts_per_tok

    @property
    def draft_layers(self) -> int:
        """MTP blocks. [-]"""
        return self.num_nextn_predict_layers

    def context_bytes(self, *, kv: KvStorage, index: IndexStorage, attention_tp: int = 1) -> float:
        """Latents and, with an indexer, its keys; whole on each rank. [B/token]"""
        del attention_tp
        entry = latent_entry_bytes(latent=self.kv_lora_rank, rope=self.qk_rope_head_dim, kv=kv)
        if self.index_topk:
            entry += index_key_bytes(head_dim=self.index_head_dim, index=index)
        return self.num_hidden_layers * entry
