"""Architecture of grouped-query attention and experts: gpt-oss, MiniMax-M2.5, Qwen3.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workloads.architectures.base import Architecture


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
    qk_norm_type: str = ""
    shared_expert_intermediate_size: int = 0
    mtp_num_hidden_layers: int = 0
    linear: GatedDeltaNet | None = None
    tie_word_embeddings: bool = False

    def layers_of(self, kind: str) -> int:
        """Decoder layers of a kind, the draft layer not among them."""
        pattern = self.layer_pattern
        return sum(pattern[i % len(pattern)] == kind for i in range(self.num_hidden_layers))
