"""Architecture of grouped-query attention and experts: gpt-oss, MiniMax-M2.5, Qwen3.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from workloads.architectures.base import Architecture, CacheLayers
from workloads.architectures.kinds import Experts, GroupedAttention, Layer, LinearAttention
from workloads.architectures.storage import BF16_BYTES, FP32_BYTES, head_entry_bytes

if TYPE_CHECKING:
    from workloads.architectures.base import Attention
    from workloads.execution_plan import IndexStorage, KvStorage
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedDeltaNet:
    """Linear-attention layers whose state per request does not grow (Qwen3-Next, Qwen3.5).

    Parameters
    ----------
    linear_num_key_heads, linear_key_head_dim:
        Heads of queries and keys, and their width. [-]
    linear_num_value_heads, linear_value_head_dim:
        Heads of values, each with a state of ``key width x value width``. [-]
    linear_conv_kernel_dim:
        Taps of the causal convolution over queries, keys and values. [tokens]
    mamba_ssm_dtype:
        Storage of the recurrent state.
    """

    linear_num_key_heads: int
    linear_key_head_dim: int
    linear_num_value_heads: int
    linear_value_head_dim: int
    linear_conv_kernel_dim: int
    mamba_ssm_dtype: str = "float32"

    @property
    def key_width(self) -> int:
        """Values of all keys of a token, as many as of its queries. [-]"""
        return self.linear_num_key_heads * self.linear_key_head_dim

    @property
    def value_width(self) -> int:
        """Values of all value heads of a token. [-]"""
        return self.linear_num_value_heads * self.linear_value_head_dim

    @property
    def conv_width(self) -> int:
        """Channels of the convolution: queries, keys and values. [-]"""
        return 2 * self.key_width + self.value_width

    @property
    def state_values(self) -> int:
        """Values of the recurrent state of one request in one layer. [-]"""
        return self.value_width * self.linear_key_head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeGqaArchitecture(Architecture):
    """Grouped-query attention and a mixture of experts in every layer (gpt-oss, MiniMax, Qwen3.5).

    Parameters
    ----------
    layer_pattern:
        Kinds of successive layers, repeated over the depth; ``layer_types`` of ``config.json``
        spells the repetition out. ``full_attention``, ``sliding_attention`` or
        ``linear_attention``.
    num_attention_heads, num_key_value_heads, head_dim:
        Query heads, heads of keys and values, and their width. [-]
    sliding_window:
        Tokens that a sliding layer attends to. [tokens]
    attention_bias:
        Whether projections, router and experts have biases (gpt-oss: 0.05 % of the parameters).
    attention_sinks:
        Whether each head has a learned logit beside those of the keys (gpt-oss).
    attn_output_gate:
        Whether a gate as wide as the queries multiplies the attention's output.
    qk_norm_type:
        ``per_head`` or ``per_layer`` (over all heads at once) norm of queries and keys; empty
        without.
    num_experts, num_experts_per_tok, moe_intermediate_size:
        Mixture of experts, the same in every layer. [-]
    shared_expert_intermediate_size:
        Width of the expert that every token uses; 0 without. [-]
    mtp_num_hidden_layers:
        Draft layers, with full attention and experts. [-]
    linear:
        The linear-attention layers; ``None`` without.
    tie_word_embeddings:
        Whether the language-model head is the embedding table.
    """

    family: ClassVar[str] = "moe_gqa"

    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    num_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    layer_pattern: tuple[str, ...] = ("full_attention",)
    sliding_window: int = 0
    attention_bias: bool = False
    attention_sinks: bool = False
    attn_output_gate: bool = False
    qk_norm_type: Literal["", "per_head", "per_layer"] = ""
    shared_expert_intermediate_size: int = 0
    mtp_num_hidden_layers: int = 0
    linear: GatedDeltaNet | None = None
    tie_word_embeddings: bool = False

    def layers_of(self, kind: str) -> int:
        """Decoder layers of a kind, the draft layer not among them."""
        pattern = self.layer_pattern
        return sum(pattern[i % len(pattern)] == kind for i in range(self.num_hidden_layers))

    @property
    def attention(self) -> Attention:
        """What a KV entry is."""
        return "grouped"

    def _layer(self, kind: str) -> Layer:
        sliding = kind == "sliding_attention"
        mixer: GroupedAttention | LinearAttention = GroupedAttention(
            heads=self.num_attention_heads,
            kv_heads=self.num_key_value_heads,
            key_dim=self.head_dim,
            value_dim=self.head_dim,
            window=self.sliding_window if sliding else 0,
            gate="full" if self.attn_output_gate else "",
            qk_norm=self.qk_norm_type,
            bias="qkvo" if self.attention_bias else "",
            sinks=self.attention_sinks,
        )
        net = self.linear
        if kind == "linear_attention" and net is not None:
            mixer = LinearAttention(
                rule="gdn",
                key_heads=net.linear_num_key_heads,
                key_dim=net.linear_key_head_dim,
                value_heads=net.linear_num_value_heads,
                value_dim=net.linear_value_head_dim,
                taps=net.linear_conv_kernel_dim,
                state_dtype="float32" if net.mamba_ssm_dtype == "float32" else "bfloat16",
            )
        return Layer(
            mixer=mixer,
            feed=Experts(
                experts=self.num_experts,
                per_token=self.num_experts_per_tok,
                width=self.moe_intermediate_size,
                shared_width=self.shared_expert_intermediate_size,
                shared_gate=bool(self.shared_expert_intermediate_size),
                router_bias=self.attention_bias,
                expert_bias=self.attention_bias,
            ),
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The pattern, repeated over the depth."""
        kinds = {kind: self._layer(kind) for kind in self.layer_pattern}
        pattern = self.layer_pattern
        return tuple(kinds[pattern[i % len(pattern)]] for i in range(self.num_hidden_layers))

    @property
    def draft(self) -> tuple[Layer, ...]:
        """Draft layers, with full attention."""
        return (self._layer("full_attention"),) * self.mtp_num_hidden_layers

    @property
    def tied(self) -> bool:
        """Whether the language-model head is the embedding table."""
        return self.tie_word_embeddings

    @property
    def routed_experts(self) -> int:
        """Routed experts of a layer. [-]"""
        return self.num_experts

    @property
    def routed_per_token(self) -> int:
        """Routed experts that one token uses. [-]"""
        return self.num_experts_per_tok

    @property
    def draft_layers(self) -> int:
        """Draft layers, with full attention. [-]"""
        return self.mtp_num_hidden_layers

    def entry_bytes(self, *, kv: KvStorage, attention_tp: int = 1) -> float:
        """Keys and values of one token in one layer on one rank. [B]"""
        return head_entry_bytes(
            kv_heads=self.num_key_value_heads,
            width=2 * self.head_dim,
            kv=kv,
            attention_tp=attention_tp,
        )

    def context_bytes(self, *, kv: KvStorage, index: IndexStorage, attention_tp: int = 1) -> float:
        """Keys and values of a token in the layers with full attention. [B/token]"""
        del index
        entry = self.entry_bytes(kv=kv, attention_tp=attention_tp)
        return self.layers_of("full_attention") * entry

    def bounded_bytes(self, *, context: Quantity, kv: KvStorage) -> Quantity:
        """Windows of the sliding layers and states of the linear ones. [B]"""
        window = np.minimum(context, self.sliding_window)
        windows = window * (self.entry_bytes(kv=kv) * self.layers_of("sliding_attention"))
        return windows + self.state_bytes()

    def state_bytes(self, *, attention_tp: int = 1) -> float:
        """State of one request in all linear-attention layers on one rank. [B]

        A matrix ``key width x value width`` of each value head, and the last ``taps - 1`` inputs
        of the convolution in BF16; both divided over the ranks like the heads (shapes of
        ``gated_delta_net_state_shape`` in vLLM's ``mamba_utils.py``). Yang et al., "Gated Delta
        Networks", arXiv 2412.06464, equation 10.
        """
        linear = self.linear
        if linear is None:
            return 0.0
        value = FP32_BYTES if linear.mamba_ssm_dtype == "float32" else BF16_BYTES
        taps = (linear.linear_conv_kernel_dim - 1) * linear.conv_width
        layer = linear.state_values * value + taps * BF16_BYTES
        return self.layers_of("linear_attention") * layer / attention_tp

    def kv_copies(self, *, attention_tp: int) -> int:
        """KV heads are divided over the ranks; those beyond their number hold copies. [-]"""
        return max(1, attention_tp // self.num_key_value_heads)

    def cache_layers(self, *, kv: KvStorage, attention_tp: int = 1, drafts: int = 0) -> CacheLayers:
        """Full, sliding and linear layers; the draft layer is a full one."""
        own = self.mtp_num_hidden_layers or int(self.eagle3 is not None)
        draft_layers = own if drafts else 0
        return CacheLayers(
            entry_bytes=self.entry_bytes(kv=kv, attention_tp=attention_tp),
            full=self.layers_of("full_attention") + draft_layers,
            sliding=self.layers_of("sliding_attention"),
            window_tokens=self.sliding_window,
            linear=self.layers_of("linear_attention"),
            state_bytes=self.state_bytes(attention_tp=attention_tp),
        )
