"""Every weight of a model, counted from the shapes of its published code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.architectures.catalog import (
    DeepseekV3Architecture,
    DeepseekV4Architecture,
    DenseArchitecture,
    MoeGqaArchitecture,
)
from workloads.errors import UserError
from workloads.models.kv_bytes import CSA_RATIO, HCA_RATIO
from workloads.models.precision import WEIGHT_BYTES

if TYPE_CHECKING:
    from workloads.architectures.catalog import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One kind of weight of a model.

    Parameters
    ----------
    name:
        Part of the model, such as ``attention.wq_b``.
    parameters:
        Parameters of all its copies together. [-]
    format:
        Storage in the checkpoint, a key of `workloads.models.precision.WEIGHT_BYTES`.
    module:
        ``main`` or ``draft``.
    active:
        Share of the parameters that one token uses. [-]
    """

    name: str
    parameters: float
    format: str
    module: str = "main"
    active: float = 1.0

    @property
    def checkpoint_bytes(self) -> float:
        """Bytes in the checkpoint, scales included. [B]"""
        return self.parameters * WEIGHT_BYTES[self.format]


def weight_table(*, architecture: Architecture) -> list[Weight]:
    """All weights of a model, counted from the shapes of its published code.

    Raises
    ------
    UserError
        If the family has no weight table.
    """
    if isinstance(architecture, DeepseekV4Architecture):
        return _v4_weights(architecture)
    if isinstance(architecture, DeepseekV3Architecture):
        return _v3_weights(architecture)
    if isinstance(architecture, DenseArchitecture):
        return _dense_weights(architecture)
    if isinstance(architecture, MoeGqaArchitecture):
        return _moe_gqa_weights(architecture)
    raise UserError(f"model {architecture.name}: no weight table for family {architecture.family}")


def _v4_layer(
    arch: DeepseekV4Architecture, *, ratio: int, layers: int, module: str
) -> list[Weight]:
    """Weights of ``layers`` layers of one compression ratio."""
    d, head = arch.hidden_size, arch.head_dim
    wide = arch.num_attention_heads * head
    indexer = arch.index_n_heads * arch.index_head_dim
    overlap = 2 if ratio == CSA_RATIO else 1
    streams = arch.hc_mult * d
    coefficients = arch.hc_mult * (2 + arch.hc_mult)
    rows: list[tuple[str, float, str]] = [
        ("attention.wq_a", d * arch.q_lora_rank, "fp8"),
        ("attention.wq_b", arch.q_lora_rank * wide, "fp8"),
        ("attention.wkv", d * head, "fp8"),
        ("attention.wo_a", wide * arch.o_lora_rank, "fp8"),
        ("attention.wo_b", arch.o_groups * arch.o_lora_rank * d, "fp8"),
        ("attention.sink", arch.num_attention_heads, "fp32"),
        ("router.gate", arch.n_routed_experts * d, "bf16"),
        ("shared expert", arch.n_shared_experts * 3 * d * arch.moe_intermediate_size, "fp8"),
        ("mHC", 2 * (coefficients * streams + coefficients + 3), "fp32"),
        ("norms", 2 * d + arch.q_lora_rank + head, "bf16"),
    ]
    if ratio:
        values = 2 * overlap * head
        rows.append(("compressor", values * d + ratio * values + head, "bf16"))
    if ratio == CSA_RATIO:
        keys = 2 * overlap * arch.index_head_dim
        rows += [
            ("indexer.wq_b", arch.q_lora_rank * indexer, "fp8"),
            ("indexer.weights", d * arch.index_n_heads, "bf16"),
            ("indexer.compressor", keys * d + ratio * keys + arch.index_head_dim, "bf16"),
        ]
    weights = [
        Weight(name=name, parameters=float(layers * count), format=form, module=module)
        for name, count, form in rows
    ]
    weights.append(
        Weight(
            name="routed experts",
            parameters=float(layers * arch.n_routed_experts * 3 * d * arch.moe_intermediate_size),
            format=arch.native_expert_path,
            module=module,
            active=arch.num_experts_per_tok / arch.n_routed_experts,
        )
    )
    return weights


def _v4_weights(arch: DeepseekV4Architecture) -> list[Weight]:
    d = arch.hidden_size
    table = float(arch.vocab_size * d)
    mix = float(arch.hc_mult**2 * d)
    weights: list[Weight] = []
    for ratio in (CSA_RATIO, HCA_RATIO, 0):
        layers = arch.layers_of_ratio(ratio)
        if layers:
            weights += _v4_layer(arch, ratio=ratio, layers=layers, module="main")
    weights += [
        # one row per token
        Weight(name="embedding", parameters=table, format="bf16", active=1.0 / arch.vocab_size),
        Weight(name="lm_head", parameters=table, format="bf16"),
        Weight(name="head norm and mixing", parameters=mix + d, format="fp32"),
    ]
    if arch.dspark:
        draft = arch.dspark
        weights += _v4_layer(arch, ratio=0, layers=draft.stages, module="draft")
        inputs = draft.target_layers * d**2
        markov = 2 * draft.markov_rank * arch.vocab_size
        weights.append(
            Weight(name="draft.markov", parameters=float(markov), format="bf16", module="draft")
        )
    elif arch.num_nextn_predict_layers:
        weights += _v4_layer(arch, ratio=0, layers=arch.num_nextn_predict_layers, module="draft")
        inputs = arch.num_nextn_predict_layers * 2 * d**2
    else:
        return weights
    weights += [
        Weight(name="draft.input", parameters=float(inputs), format="fp8", module="draft"),
        Weight(name="draft.mixing", parameters=mix, format="fp32", module="draft"),
    ]
    return weights


def _v3_layer(arch: DeepseekV3Architecture, *, layers: int, module: str) -> list[Weight]:
    """Attention weights of ``layers`` layers."""
    d, heads, dense = arch.hidden_size, arch.num_attention_heads, arch.native_dense_path
    query = arch.qk_nope_head_dim + arch.qk_rope_head_dim
    up = arch.qk_nope_head_dim + arch.v_head_dim
    rows: list[tuple[str, float, str]] = [
        ("attention.q_a", d * arch.q_lora_rank, dense),
        ("attention.q_b", arch.q_lora_rank * heads * query, dense),
        ("attention.kv_a", d * (arch.kv_lora_rank + arch.qk_rope_head_dim), dense),
        ("attention.kv_b", arch.kv_lora_rank * heads * up, dense),
        ("attention.o_proj", heads * arch.v_head_dim * d, dense),
        ("norms", 2 * d + arch.q_lora_rank + arch.kv_lora_rank, "bf16"),
    ]
    if arch.index_topk:
        rows += [
            ("indexer.wq_b", arch.q_lora_rank * arch.index_n_heads * arch.index_head_dim, dense),
            ("indexer.wk", d * arch.index_head_dim, dense),
            ("indexer.weights", d * arch.index_n_heads, "bf16"),
        ]
    return [
        Weight(name=name, parameters=float(layers * count), format=form, module=module)
        for name, count, form in rows
    ]


def _v3_experts(arch: DeepseekV3Architecture, *, layers: int, module: str) -> list[Weight]:
    """Mixture of experts of ``layers`` layers."""
    d = arch.hidden_size
    expert = 3 * d * arch.moe_intermediate_size
    return [
        Weight(
            name="routed experts",
            parameters=float(layers * arch.n_routed_experts * expert),
            format=arch.native_expert_path,
            module=module,
            active=arch.num_experts_per_tok / arch.n_routed_experts,
        ),
        Weight(
            name="shared expert",
            parameters=float(layers * arch.n_shared_experts * expert),
            format=arch.native_dense_path,
            module=module,
        ),
        Weight(
            name="router.gate",
            parameters=float(layers * arch.n_routed_experts * (d + 1)),
            format="bf16",
            module=module,
        ),
    ]


def _v3_weights(arch: DeepseekV3Architecture) -> list[Weight]:
    d = arch.hidden_size
    table = float(arch.vocab_size * d)
    dense = arch.first_k_dense_replace
    drafts = arch.num_nextn_predict_layers
    return [
        *_v3_layer(arch, layers=arch.num_hidden_layers, module="main"),
        *_v3_experts(arch, layers=arch.num_hidden_layers - dense, module="main"),
        Weight(
            name="dense layers",
            parameters=float(dense * 3 * d * arch.intermediate_size),
            format=arch.native_dense_path,
        ),
        Weight(name="embedding", parameters=table, format="bf16", active=1.0 / arch.vocab_size),
        Weight(name="lm_head", parameters=table, format="bf16"),
        *_v3_layer(arch, layers=drafts, module="draft"),
        *_v3_experts(arch, layers=drafts, module="draft"),
        Weight(
            name="draft.input", parameters=float(drafts * 2 * d**2), format="bf16", module="draft"
        ),
    ]


def _dense_weights(arch: DenseArchitecture) -> list[Weight]:
    d, layers, form = arch.hidden_size, arch.num_hidden_layers, arch.native_dense_path
    query, kv = (
        heads * arch.head_dim for heads in (arch.num_attention_heads, arch.num_key_value_heads)
    )
    table = float(arch.vocab_size * d)
    rows: list[tuple[str, float, str]] = [
        ("attention.qkv_proj", layers * d * (query + 2 * kv), form),
        ("attention.o_proj", layers * query * d, form),
        ("feed-forward", layers * 3 * d * arch.intermediate_size, form),
        ("norms", (2 * layers + 1) * d, "bf16"),
    ]
    weights = [Weight(name=name, parameters=float(count), format=f) for name, count, f in rows]
    return [*weights, *_tables(arch, table=table)]


def _tables(arch: DenseArchitecture | MoeGqaArchitecture, *, table: float) -> list[Weight]:
    """Embedding and language-model head, which may be one."""
    if arch.tie_word_embeddings:
        return [Weight(name="embedding and lm_head", parameters=table, format="bf16")]
    return [
        Weight(name="embedding", parameters=table, format="bf16", active=1.0 / arch.vocab_size),
        Weight(name="lm_head", parameters=table, format="bf16"),
    ]


def _moe_gqa_layers(
    arch: MoeGqaArchitecture, *, attention: int, linear: int, module: str
) -> list[Weight]:
    """Weights of layers with attention and with linear attention, experts in all of them."""
    d, layers, form = arch.hidden_size, attention + linear, arch.native_dense_path
    query, kv = (
        heads * arch.head_dim for heads in (arch.num_attention_heads, arch.num_key_value_heads)
    )
    bias = 1 if arch.attention_bias else 0
    expert, shared = arch.moe_intermediate_size, arch.shared_expert_intermediate_size
    qkv = query * (2 if arch.attn_output_gate else 1) + 2 * kv
    norm = {"": 0, "per_head": 2 * arch.head_dim, "per_layer": query + kv}[arch.qk_norm_type]
    rows: list[tuple[str, float, str]] = [
        ("attention.qkv_proj", attention * d * qkv, form),
        ("attention.o_proj", attention * query * d, form),
        ("attention.norms", attention * norm, "bf16"),
        ("attention.biases", attention * bias * (qkv + d), "bf16"),
        ("attention.sinks", attention * arch.attention_sinks * arch.num_attention_heads, "bf16"),
        ("router.gate", layers * (d + bias) * arch.num_experts, "bf16"),
        # a shared expert comes with a gate of one output
        ("shared expert", layers * shared * 3 * d, form),
        ("shared expert gate", layers * bool(shared) * d, "bf16"),
        ("norms", layers * 2 * d, "bf16"),
    ]
    if arch.linear is not None:
        net = arch.linear
        heads = net.linear_num_value_heads
        rows += [
            ("gdn.in_proj", linear * d * 2 * (net.key_width + net.value_width), form),
            ("gdn.gates", linear * (d + 1) * 2 * heads, "bf16"),
            ("gdn.conv", linear * net.conv_width * net.linear_conv_kernel_dim, "bf16"),
            ("gdn.norm", linear * net.linear_value_head_dim, "bf16"),
            ("gdn.out_proj", linear * net.value_width * d, form),
        ]
    weights = [
        Weight(name=name, parameters=float(count), format=f, module=module)
        for name, count, f in rows
        if count
    ]
    active = arch.num_experts_per_tok / arch.num_experts
    routed = [
        ("routed experts", 3 * d * expert, arch.native_expert_path),
        ("expert biases", bias * (2 * expert + d), "bf16"),
    ]
    return weights + [
        Weight(
            name=name,
            parameters=float(layers * arch.num_experts * count),
            format=f,
            module=module,
            active=active,
        )
        for name, count, f in routed
        if count
    ]


def _moe_gqa_weights(arch: MoeGqaArchitecture) -> list[Weight]:
    d, drafts = arch.hidden_size, arch.mtp_num_hidden_layers
    table = float(arch.vocab_size * d)
    linear = arch.layers_of("linear_attention")
    weights = [
        *_moe_gqa_layers(
            arch, attention=arch.num_hidden_layers - linear, linear=linear, module="main"
        ),
        Weight(name="head norm", parameters=float(d), format="bf16"),
        *_tables(arch, table=table),
    ]
    if drafts:
        inputs = float(drafts * (2 * d**2 + 3 * d))
        weights += _moe_gqa_layers(arch, attention=drafts, linear=0, module="draft")
        weights.append(Weight(name="draft.input", parameters=inputs, format="bf16", module="draft"))
    return weights
