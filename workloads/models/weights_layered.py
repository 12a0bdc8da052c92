"""Weights of a model that is a list of layers, counted kind by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.architectures.kinds import (
    Experts,
    FeedForward,
    GroupedAttention,
    LatentAttention,
    LinearAttention,
    SharedCompressedAttention,
)
from workloads.architectures.stack import draft_stack_of, stack_of
from workloads.models.weight import Weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads.architectures.kinds import Layer
    from workloads.architectures.layered import LayeredArchitecture
    from workloads.architectures.stack import Stack

Row = tuple[str, float, str]
"""Name, parameters [-] and tensor class: ``dense``, ``feed``, ``experts``, ``bf16``, ``fp32``."""


def _grouped(kind: GroupedAttention, d: int) -> list[Row]:
    query, key = kind.heads * kind.key_dim, kind.kv_heads * kind.key_dim
    value, output = kind.kv_heads * kind.value_dim, kind.heads * kind.value_dim
    gate = {"": 0, "full": output, "head": kind.heads}[kind.gate]
    keys_values = key if kind.value_is_key else key + value
    bias = {"": 0, "qkv": query + key + value, "qkvo": query + key + value + d}[kind.bias]
    norm = {"": 0, "per_head": 2 * kind.key_dim, "per_layer": query + key}[kind.qk_norm]
    rows: list[Row] = [
        ("attention.qkv_proj", d * (query + gate + keys_values), "dense"),
        ("attention.o_proj", output * d, "dense"),
        ("attention.norms", norm, "bf16"),
        ("attention.biases", bias, "bf16"),
        ("attention.sinks", kind.sinks * kind.heads, "bf16"),
    ]
    chosen = kind.selection
    if chosen is not None:
        rows += [
            ("indexer.proj", d * (chosen.heads + 1) * chosen.head_dim, "dense"),
            ("indexer.norms", 2 * chosen.head_dim, "bf16"),
        ]
    return rows


def _latent(kind: LatentAttention, d: int) -> list[Row]:
    query = kind.heads * (kind.nope_dim + kind.rope_dim)
    output = kind.heads * kind.value_dim
    gate = {"": 0, "full": output, "head": kind.heads}[kind.gate]
    rows: list[Row] = [
        ("attention.q_a", d * kind.q_rank, "dense"),
        ("attention.q_b", (kind.q_rank or d) * query, "dense"),
        ("attention.kv_a", d * (kind.kv_rank + kind.rope_dim), "dense"),
        ("attention.kv_b", kind.kv_rank * kind.heads * (kind.nope_dim + kind.value_dim), "dense"),
        ("attention.o_proj", output * d, "dense"),
        ("attention.gate", d * gate, "dense"),
        ("attention.norms", kind.q_rank + kind.kv_rank, "bf16"),
    ]
    indexer = kind.indexer
    if indexer is not None and indexer.own:
        rows += [
            ("indexer.wq_b", (kind.q_rank or d) * indexer.heads * indexer.head_dim, "dense"),
            ("indexer.wk", d * indexer.head_dim, "dense"),
            ("indexer.weights", d * indexer.heads, "bf16"),
            ("indexer.norms", 2 * indexer.head_dim, "bf16"),
        ]
    return rows


def _compressed(kind: SharedCompressedAttention, d: int) -> list[Row]:
    wide = kind.heads * kind.head_dim
    rows: list[Row] = [
        ("attention.q_a", d * kind.q_rank, "dense"),
        ("attention.q_b", kind.q_rank * wide, "dense"),
        ("attention.kv", d * kind.head_dim, "dense"),
        ("attention.o_a", wide * kind.o_rank, "dense"),
        ("attention.o_b", kind.o_groups * kind.o_rank * d, "dense"),
        ("attention.norms", kind.q_rank + kind.head_dim, "bf16"),
        ("attention.sinks", kind.heads, "bf16"),
    ]
    indexer = kind.indexer
    if kind.writes and indexer is not None:
        # a gate beside the value where a row pools several tokens
        values = kind.head_dim * (2 if kind.ratio > 1 else 1)
        rows += [
            ("compressor", d * values, "bf16"),
            ("indexer.key", kind.head_dim * indexer.head_dim, "bf16"),
        ]
    if indexer is not None and indexer.own:
        rows += [
            ("indexer.wq_b", kind.q_rank * indexer.heads * indexer.head_dim, "dense"),
            ("indexer.weights", d * indexer.heads, "bf16"),
        ]
    return rows


def _linear(kind: LinearAttention, d: int) -> list[Row]:
    key, value, heads = kind.key_width, kind.value_width, kind.value_heads
    rule = kind.rule
    if rule == "gdn":
        inputs, small = 2 * (key + value), 2 * heads * (d + 1) + kind.value_dim
    elif rule == "mamba2":
        # the steps' projection is one with the inputs; A, D and the steps' bias; the gated norm
        inputs, small = 2 * (key + value) + heads, 3 * heads + value + kind.conv_width
    elif rule == "lightning":
        inputs, small = 2 * (key + value), value + 2 * kind.key_dim
    else:
        inputs = 2 * key + value
        small = (d + 1) * heads + key + kind.value_dim
    rows: list[Row] = [
        (f"{rule}.in_proj", d * inputs, "dense"),
        (f"{rule}.small", small, "bf16"),
        (f"{rule}.conv", kind.conv_width * kind.taps, "bf16"),
        (f"{rule}.out_proj", value * d, "dense"),
    ]
    if rule == "kda":
        for name, rank, width in (
            ("decay", kind.decay_rank, key),
            ("gate", kind.gate_rank, value),
        ):
            count = rank * (d + width) if rank else d * width
            rows.append((f"kda.{name}_proj", count, "dense"))
    return rows


def _feed_forward(kind: FeedForward, d: int) -> list[Row]:
    return [("dense layers", kind.matrices * d * kind.width, "feed")]


def _experts(kind: Experts, d: int) -> list[Row]:
    inner = kind.latent or d
    bias = kind.experts * (2 * kind.width + d) if kind.expert_bias else 0
    return [
        ("routed experts", kind.experts * kind.matrices * inner * kind.width, "experts"),
        ("expert biases", bias, "bf16"),
        ("shared expert", kind.matrices * d * kind.shared_width, "feed"),
        ("shared expert gate", kind.shared_gate * d, "bf16"),
        ("router.gate", kind.experts * (d + kind.router_bias), "bf16"),
        ("latent projections", 2 * d * kind.latent, "dense"),
        ("latent norm", kind.latent_norm, "bf16"),
        ("dense layers", 3 * d * kind.dense_width, "feed"),
    ]


_ROWS: dict[type, Callable[[Any, int], list[Row]]] = {
    GroupedAttention: _grouped,
    LatentAttention: _latent,
    LinearAttention: _linear,
    SharedCompressedAttention: _compressed,
    FeedForward: _feed_forward,
    Experts: _experts,
}


def _stack_weights(
    arch: LayeredArchitecture, stack: Stack, *, layers: tuple[Layer, ...], module: str
) -> list[Weight]:
    """Weights of layers, those of one name and kind together."""
    d = arch.hidden_size
    draft = arch.native_draft_path if module == "draft" else None
    formats = {
        "dense": draft or arch.native_dense_path,
        "feed": draft or arch.native_feed_path or arch.native_dense_path,
        "experts": draft or arch.native_expert_path,
        "bf16": "bf16",
        "fp32": "fp32",
    }
    share = arch.routed_per_token / arch.routed_experts if arch.routed_experts else 1.0
    weights = [
        Weight(
            name=name,
            parameters=float(count * parameters),
            format=formats[form],
            module=module,
            active=share if name in ("routed experts", "expert biases") else 1.0,
        )
        for part, count in (*stack.mixers, *stack.feeds)
        for name, parameters, form in _ROWS[type(part)](part, d)
        if parameters
    ]
    norms = float(stack.parts * d)
    weights.append(Weight(name="norms", parameters=norms, format="bf16", module=module))
    if arch.residual_streams:
        mixing = arch.residual_streams * (2 + arch.residual_streams)
        count = len(layers) * 2 * (mixing * arch.residual_streams * d + mixing + 3)
        weights.append(Weight(name="mHC", parameters=float(count), format="fp32", module=module))
    return weights


def layered_weights(arch: LayeredArchitecture) -> list[Weight]:
    """All weights of a list of layers, draft module included."""
    d = arch.hidden_size
    table = float(arch.vocab_size * d)
    weights = _stack_weights(arch, stack_of(arch), layers=arch.kinds, module="main")
    weights.append(Weight(name="head norm", parameters=float(d), format="bf16"))
    tables = arch.ngrams
    if tables is not None:
        weights += [
            Weight(
                name="n-gram tables",
                parameters=float(tables.rows * tables.width),
                format="mxfp8",
                active=tables.lookups / tables.rows,
            ),
            Weight(
                name="n-gram projections",
                parameters=float(tables.layers * tables.inputs * tables.projected),
                format=arch.native_dense_path,
            ),
        ]
    if arch.attention_residuals:
        # a norm and a query before each sublayer and before the head
        count = (2 * len(arch.kinds) + 1) * 2 * d
        weights.append(Weight(name="attention residuals", parameters=float(count), format="bf16"))
    if arch.tie_word_embeddings:
        weights.append(Weight(name="embedding and lm_head", parameters=table, format="bf16"))
    else:
        weights += [
            Weight(name="embedding", parameters=table, format="bf16", active=1.0 / arch.vocab_size),
            Weight(name="lm_head", parameters=table, format="bf16"),
        ]
    if not arch.draft_kinds:
        return weights
    weights += _stack_weights(arch, draft_stack_of(arch), layers=arch.draft_kinds, module="draft")
    inputs = float(len(arch.draft_kinds) * (2 * d**2 + 3 * d))
    if arch.dspark is not None:
        inputs = float(arch.dspark.target_layers * d**2)
        markov = 2.0 * arch.dspark.markov_rank * arch.vocab_size
        weights.append(
            Weight(name="draft.markov", parameters=markov, format="bf16", module="draft")
        )
    weights.append(Weight(name="draft.input", parameters=inputs, format="bf16", module="draft"))
    if arch.draft_tables:
        weights.append(
            Weight(name="draft.tables", parameters=2.0 * table, format="bf16", module="draft")
        )
    return weights
