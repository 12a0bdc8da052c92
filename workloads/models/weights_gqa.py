"""Weights of grouped-query attention, dense or with experts, from their published code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.models.weight import Weight

if TYPE_CHECKING:
    from workloads.architectures.dense import DenseArchitecture
    from workloads.architectures.moe_gqa import MoeGqaArchitecture


def dense_weights(arch: DenseArchitecture) -> list[Weight]:
    """All weights of a dense model."""
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


def moe_gqa_weights(arch: MoeGqaArchitecture) -> list[Weight]:
    """All weights of a model of GQA and experts, draft layers included."""
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
