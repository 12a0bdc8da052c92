"""Families of compressed KV rows that layers share: DeepSeek V4.1."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workloads.architectures.huggingface.parts import (
    Reading,
    experts,
    hidden_size,
    indexer,
    layer_count,
    stacked,
)
from workloads.architectures.kinds import BlockDraft, NgramTables, SharedCompressedAttention
from workloads.errors import UserError

if TYPE_CHECKING:
    from workloads.architectures.huggingface.keys import Keys

__all__ = ["deepseek_v41"]


def deepseek_v41(keys: Keys) -> Reading:
    """DeepSeek V4.1: few layers write compressed rows and choose of them for all the others.

    Prompts stop at the layer that writes the last rows; n-gram tables are looked up. The DSpark
    module has layers with a window and experts of their own number.
    """
    layers = layer_count(keys)
    ratios = keys.each("compress_ratios", length=layers)
    sources = [int(i) for i in keys.get("kv_source_layer_ids") or ()]
    indexed = [int(i) for i in keys.get("index_source_layer_ids") or ()]
    if any(ratios) and (not sources or not indexed):
        raise UserError(
            f"{keys.source} lacks kv_source_layer_ids and index_source_layer_ids (which layers "
            "write rows and which choose of them); add the published lists"
        )
    first_candidate = keys.number("candidate_source_layer_id", what="", default=layers)
    candidates = keys.number("candidate_topk_blocks", what="", default=0) * keys.number(
        "candidate_block_size", what="", default=0
    )
    own = indexer(keys)
    shared = replace(own, own=False)
    mixers = [
        SharedCompressedAttention(
            heads=keys.number("num_attention_heads", what="query heads"),
            head_dim=keys.number("head_dim", what="head width"),
            q_rank=keys.number("q_lora_rank", what="rank of the query projection"),
            o_groups=keys.number("o_groups", what="groups of the output projection"),
            o_rank=keys.number("o_lora_rank", what="rank of the output projection"),
            window=keys.number("sliding_window", what="window"),
            ratio=int(ratio or 0),
            writes=i in sources,
            indexer=(own if i in indexed else shared) if ratio else None,
            candidates=candidates if i > first_candidate else 0,
        )
        for i, ratio in enumerate(ratios)
    ]
    moe = experts(keys, router_bias=True)
    keys.ignore("num_key_value_heads")
    streams = keys.number("hc_mult", what="", default=0)
    fields: dict[str, object] = {
        "residual_streams": streams,
        "decode_from": max(sources, default=0),
    }
    if keys.has("engram_layer_ids"):
        fields["ngrams"] = _engram(keys, streams=streams)
    drafts = keys.number("num_nextn_predict_layers", what="draft layers", default=0)
    if not keys.has("dspark_block_size"):
        drafts = 0
    else:
        fields["dspark"] = BlockDraft(
            target_layers=len(keys.get("dspark_target_layer_ids") or ()),
            markov_rank=keys.number("dspark_markov_rank", what="rank of the Markov head"),
            block_size=keys.number("dspark_block_size", what="tokens of a block"),
        )
    window = replace(mixers[0], ratio=0, writes=False, indexer=None, candidates=0)
    drafted = replace(
        moe,
        experts=keys.number("dspark_n_routed_experts", what="", default=moe.experts),
        per_token=keys.number("dspark_num_experts_per_tok", what="", default=moe.per_token),
    )
    return Reading(
        kinds=stacked(mixers, [moe] * layers),
        draft_kinds=stacked([window] * drafts, [drafted] * drafts),
        fields=fields,
    )


def _engram(keys: Keys, *, streams: int) -> NgramTables:
    """Tables of 2- to n-grams, each of several heads, in some layers."""
    where = len(keys.get("engram_layer_ids"))
    orders = keys.number("engram_max_ngram_size", what="longest n-gram") - 1
    heads = keys.number("engram_n_heads", what="heads of the n-gram tables")
    return NgramTables(
        rows=sum(keys.each("engram_num_embeddings", length=where)),
        width=keys.number("engram_head_dim", what="width of a row of the n-gram tables"),
        lookups=where * orders * heads,
        layers=where,
        projected=(streams + 1) * hidden_size(keys),
    )
