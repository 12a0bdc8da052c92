"""Families of latent attention: DeepSeek V2 to V3.2, Kimi, GLM-5, Mistral, Ling."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workloads.architectures.huggingface.parts import (
    Reading,
    dense_first,
    experts,
    indexer,
    latent,
    layer_count,
    stacked,
)
from workloads.architectures.kinds import LinearAttention
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workloads.architectures.huggingface.keys import Keys
    from workloads.architectures.kinds import Experts, Mixer


def _latent_model(
    keys: Keys,
    mixers: Sequence[Mixer],
    *,
    moe: Experts,
    draft: Mixer | None = None,
    **fields: object,
) -> Reading:
    """Layers of latent attention and experts after some dense layers, with MTP blocks."""
    layers = len(mixers)
    drafts = keys.number("num_nextn_predict_layers", what="draft layers", default=0)
    if draft is None:
        drafts = 0
    return Reading(
        kinds=stacked(mixers, dense_first(keys, layers=layers, moe=moe)),
        draft_kinds=stacked([draft] * drafts, [moe] * drafts),
        fields=dict(fields),
    )


def deepseek_v3(keys: Keys) -> Reading:
    """DeepSeek V2 and V3, Kimi K2, Mistral Large 3."""
    mixer = latent(keys)
    moe = experts(keys, router_bias=True)
    return _latent_model(keys, [mixer] * layer_count(keys), moe=moe, draft=mixer)


def mistral4(keys: Keys) -> Reading:
    """Mistral Small 4: experts in every layer, a router without corrections."""
    mixer = latent(keys)
    return _latent_model(keys, [mixer] * layer_count(keys), moe=experts(keys), draft=mixer)


def sparse(keys: Keys) -> Reading:
    """DeepSeek V3.2 and GLM-5: an indexer in every layer, or in those that are named.

    GLM-5.2 and later state a list; a frequency alone does not say which layers.
    """
    layers = layer_count(keys)
    own = indexer(keys)
    kinds = keys.get("indexer_types")
    shares = keys.has("index_topk_freq") or keys.has("index_skip_topk_offset")
    if kinds is None and shares:
        raise UserError(
            f"{keys.source} lacks indexer_types (which layers have an indexer of their own), "
            "though index_topk_freq says that some share one; add the published list"
        )
    keys.ignore("index_topk_freq", "index_skip_topk_offset")
    flags = ["full"] * layers if kinds is None else keys.each("indexer_types", length=layers)
    mixer = latent(keys, indexer=own)
    shared = replace(mixer, indexer=replace(own, own=False))
    return _latent_model(
        keys,
        [mixer if flag == "full" else shared for flag in flags],
        moe=experts(keys, router_bias=True),
        draft=mixer,
    )


def _delta(keys: Keys, *, heads: int, head_dim: int, taps: int, ranks: tuple[int, int]) -> Mixer:
    del keys
    return LinearAttention(
        rule="kda",
        key_heads=heads,
        key_dim=head_dim,
        value_heads=heads,
        value_dim=head_dim,
        taps=taps,
        decay_rank=ranks[0],
        gate_rank=ranks[1],
    )


def _kda(keys: Keys) -> tuple[Mixer, list[int]]:
    """Kimi delta attention of ``linear_attn_config``, and the layers that have it as listed."""
    linear = keys.sub("linear_attn_config")
    head = linear.number("head_dim", what="head width of linear layers")
    gate = 0 if linear.flag("use_full_rank_gate") else head
    kind = _delta(
        keys,
        heads=linear.number("num_heads", what="heads of linear layers"),
        head_dim=head,
        taps=linear.number("short_conv_kernel_size", what="taps of the convolution"),
        ranks=(head, gate),
    )
    layers = linear.get("kda_layers")
    if layers is None:
        linear.each("kda_layers", length=1)
        layers = []
    return kind, [int(layer) for layer in layers]


def kimi_linear(keys: Keys) -> Reading:
    """Kimi Linear and K3: KDA layers, counted from 1, and gated latent attention without rope."""
    layers = layer_count(keys)
    kda, where = _kda(keys)
    gate = "full" if keys.flag("mla_use_output_gate") else ""
    mixer = latent(keys, gate=gate)
    inner = keys.number("routed_expert_hidden_size", what="", default=0)
    moe = experts(keys, router_bias=True, latent=inner, latent_norm=inner)
    residual = keys.has("attn_res_block_size")
    return _latent_model(
        keys,
        [kda if i + 1 in where else mixer for i in range(layers)],
        moe=moe,
        attention_residuals=residual,
    )


def glm5_next(keys: Keys) -> Reading:
    """GLM-5.3-Flash: KDA layers, counted from 0, and sparse latent attention over pooled keys."""
    layers = layer_count(keys)
    kda, where = _kda(keys)
    mixer = latent(
        keys, indexer=indexer(keys, pooled=keys.number("index_kpool", what="", default=1))
    )
    keys.ignore("layer_types")
    return _latent_model(
        keys,
        [kda if i in where else mixer for i in range(layers)],
        moe=experts(keys, router_bias=True),
        draft=mixer,
        residual_streams=keys.number("hc_mult", "mhc_num_residual_streams", what="", default=0),
    )


def bailing_v3(keys: Keys) -> Reading:
    """Ling 3: latent attention in every ``layer_group_size``-th layer, KDA in the others."""
    layers = layer_count(keys)
    group = keys.number("layer_group_size", what="which layers have linear attention")
    heads = keys.number("num_attention_heads", what="query heads")
    head = keys.number("head_dim", what="head width")
    rank = 0 if keys.flag("no_kda_lora") else head
    kda = _delta(
        keys,
        heads=heads,
        head_dim=head,
        taps=keys.number("short_conv_kernel_size", what="taps of the convolution"),
        ranks=(rank, rank),
    )
    per_head = keys.get("gated_attention_proj_granularity_type") == "head_wise"
    mixer = latent(keys, gate="head" if per_head else "")
    return _latent_model(
        keys,
        [mixer if (i + 1) % group == 0 else kda for i in range(layers)],
        moe=experts(keys, router_bias=True),
        draft=mixer,
    )


def bailing_v2_5(keys: Keys) -> Reading:
    """Ling 2.5 and 2.6: latent attention in every group's last layer, lightning in the others."""
    layers = layer_count(keys)
    group = keys.number("layer_group_size", what="which layers have linear attention")
    head = keys.number("head_dim", what="head width")
    heads = keys.number(
        "num_kv_heads_for_linear_attn", "num_attention_heads", what="heads of linear layers"
    )
    lightning = LinearAttention(
        rule="lightning", key_heads=heads, key_dim=head, value_heads=heads, value_dim=head
    )
    mixer = latent(keys)
    return _latent_model(
        keys,
        [mixer if (i + 1) % group == 0 else lightning for i in range(layers)],
        moe=experts(keys, router_bias=True),
        draft=mixer,
    )
