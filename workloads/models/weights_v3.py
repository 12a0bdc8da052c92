"""Weights of DeepSeek V3 and related models, counted from the shapes of their published code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.models.weight import Weight

if TYPE_CHECKING:
    from workloads.architectures.deepseek_v3 import DeepseekV3Architecture


def _v3_layer(arch: DeepseekV3Architecture, *, layers: int, module: str) -> list[Weight]:
    """Attention weights of ``layers`` layers."""
    d, heads, dense = arch.hidden_size, arch.num_attention_heads, arch.native_dense_path
    if module == "draft":
        dense = arch.native_draft_path or dense
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
    draft = arch.native_draft_path if module == "draft" else None
    feed = draft or arch.native_feed_path or arch.native_dense_path
    return [
        Weight(
            name="routed experts",
            parameters=float(layers * arch.n_routed_experts * expert),
            format=draft or arch.native_expert_path,
            module=module,
            active=arch.num_experts_per_tok / arch.n_routed_experts,
        ),
        Weight(
            name="shared expert",
            parameters=float(layers * arch.n_shared_experts * expert),
            format=feed,
            module=module,
        ),
        Weight(
            name="router.gate",
            parameters=float(layers * arch.n_routed_experts * (d + 1)),
            format="bf16",
            module=module,
        ),
    ]


def v3_weights(arch: DeepseekV3Architecture) -> list[Weight]:
    """All weights of a DeepSeek V3 or a related model, MTP blocks included."""
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
            format=arch.native_feed_path or arch.native_dense_path,
        ),
        Weight(name="embedding", parameters=table, format="bf16", active=1.0 / arch.vocab_size),
        Weight(name="lm_head", parameters=table, format="bf16"),
        *_v3_layer(arch, layers=drafts, module="draft"),
        *_v3_experts(arch, layers=drafts, module="draft"),
        Weight(
            name="draft.input", parameters=float(drafts * 2 * d**2), format="bf16", module="draft"
        ),
    ]
