"""Architecture of DeepSeek V4: compressed entries of the KV cache, residual streams, experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from workloads.architectures.base import Architecture
from workloads.architectures.storage import (
    CSA_RATIO,
    ENTRY_BYTES,
    FP32_BYTES,
    HCA_RATIO,
    index_key_bytes,
)

if TYPE_CHECKING:
    from workloads.architectures.base import Attention
    from workloads.execution_plan import IndexStorage, KvStorage
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class DsparkDraft:
    """The draft module of the DSpark releases, in place of the MTP block.

    Parameters
    ----------
    stages:
        Draft layers (sliding window, experts, mHC each). [-]
    block_size:
        Tokens that the module was trained to draft in one pass. [tokens]
    markov_rank:
        Rank of the token-to-token correction of the draft distribution. [-]
    target_layers:
        Layers of the main model whose hidden states it reads. [-]
    """

    stages: int
    block_size: int
    markov_rank: int
    target_layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepseekV4Architecture(Architecture):
    """DeepSeek V4: compressed sparse attention (CSA), heavily compressed attention (HCA), mHC, MoE.

    Parameters
    ----------
    compress_ratios:
        Tokens per compressed KV entry of each layer: 4 is CSA, 128 HCA, 0 sliding window only.
        One entry per decoder layer and one for the MTP block. [tokens]
    num_attention_heads, head_dim, qk_rope_head_dim:
        Query heads and their width; the KV latent has one head of the same width. [-]
    q_lora_rank, o_groups, o_lora_rank:
        Low-rank query projection; groups and rank of the output projection. [-]
    index_n_heads, index_head_dim, index_topk:
        Lightning indexer of the CSA layers. [-]
    sliding_window:
        Uncompressed recent tokens that every layer attends to. [tokens]
    n_routed_experts, num_experts_per_tok, n_shared_experts, moe_intermediate_size:
        Mixture of experts, the same in every layer. [-]
    num_hash_layers:
        First layers, whose experts are looked up by token id. [-]
    hc_mult, hc_sinkhorn_iters:
        Residual streams and normalisation rounds of the manifold-constrained hyper-connections.
    num_nextn_predict_layers:
        MTP blocks. [-]
    dspark:
        Draft module of the DSpark releases, else ``None``.
    """

    family: ClassVar[str] = "deepseek_v4"
    index_storage: ClassVar[IndexStorage] = "fp4"

    compress_ratios: tuple[int, ...]
    num_attention_heads: int
    head_dim: int
    qk_rope_head_dim: int
    q_lora_rank: int
    o_groups: int
    o_lora_rank: int
    index_n_heads: int
    index_head_dim: int
    index_topk: int
    sliding_window: int
    n_routed_experts: int
    num_experts_per_tok: int
    n_shared_experts: int
    moe_intermediate_size: int
    num_hash_layers: int
    hc_mult: int
    hc_sinkhorn_iters: int
    num_nextn_predict_layers: int
    dspark: DsparkDraft | None = None

    def layers_of_ratio(self, ratio: int) -> int:
        """Decoder layers (without MTP) that compress by ``ratio``; 0: sliding window only."""
        return self.compress_ratios[: self.num_hidden_layers].count(ratio)

    @property
    def attention(self) -> Attention:
        """What a KV entry is."""
        return "compressed"

    def describe(self) -> dict[str, Any]:
        """Fields for a reader: layers of each compression ratio in place of the list."""
        fields = super(DeepseekV4Architecture, self).describe()
        ratios = self.compress_ratios
        fields["compress_ratios"] = {str(r): ratios.count(r) for r in sorted(set(ratios))}
        return fields

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
        """Sliding-window layers of the draft module. [-]"""
        return self.dspark.stages if self.dspark else self.num_nextn_predict_layers

    def context_bytes(self, *, kv: KvStorage, index: IndexStorage, attention_tp: int = 1) -> float:
        """Entries and keys of a token beyond the window; whole on each rank. [B/token]"""
        del attention_tp
        key = index_key_bytes(head_dim=self.index_head_dim, index=index)
        csa = self.layers_of_ratio(CSA_RATIO)
        hca = self.layers_of_ratio(HCA_RATIO)
        return csa * (ENTRY_BYTES[kv] + key) / CSA_RATIO + hca * ENTRY_BYTES[kv] / HCA_RATIO

    def bounded_bytes(self, *, context: Quantity, kv: KvStorage) -> Quantity:
        """The window of every layer. [B]"""
        window = np.minimum(context, self.sliding_window)
        return window * (ENTRY_BYTES[kv] * self.num_hidden_layers)

    def csa_state_bytes(self) -> tuple[float, float]:
        """FP32 compressor row of one token in a CSA layer: entries, indexer keys. [B]

        Two overlapping windows, each with a value and a gate: ``2 * 2 * width * 4`` bytes.
        """
        row = 2.0 * 2.0 * FP32_BYTES
        return row * self.head_dim, row * self.index_head_dim

    def hca_state_bytes(self) -> float:
        """FP32 compressor row of one token in an HCA layer: value and gate. [B]"""
        return 2.0 * FP32_BYTES * self.head_dim

    def hca_online_state_bytes(self) -> float:
        """Running row (max, sum, value) of the online HCA compressor, per request, layer. [B]"""
        return 3.0 * FP32_BYTES * self.head_dim

    def compressor_bytes(self, *, online: bool) -> float:
        """Compressor state of one request over all layers. [B]

        A CSA layer keeps the 8 tokens of its overlapping windows, an HCA layer the 128 of its
        window or, ``online``, one running row.
        """
        csa = self.layers_of_ratio(CSA_RATIO) * 2 * CSA_RATIO * sum(self.csa_state_bytes())
        per_layer = self.hca_online_state_bytes() if online else HCA_RATIO * self.hca_state_bytes()
        return csa + self.layers_of_ratio(HCA_RATIO) * per_layer
