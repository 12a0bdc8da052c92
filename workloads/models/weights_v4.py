"""Weights of DeepSeek V4, counted from the shapes of its published code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.models.kv_bytes import CSA_RATIO, HCA_RATIO
from workloads.models.weight import Weight

if TYPE_CHECKING:
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture


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


def v4_weights(arch: DeepseekV4Architecture) -> list[Weight]:
    """All weights of a DeepSeek V4, draft module included."""
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
