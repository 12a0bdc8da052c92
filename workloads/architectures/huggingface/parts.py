"""What several families read alike: heads, latent attention, experts, the frame of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workloads.architectures.kinds import (
    Experts,
    FeedForward,
    GroupedAttention,
    Indexer,
    LatentAttention,
    Layer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workloads.architectures.huggingface.keys import Keys
    from workloads.architectures.kinds import Feed, Mixer


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a family's reader finds, before names and formats are added.

    Parameters
    ----------
    kinds, draft_kinds:
        Layers of the model and of its draft module.
    fields:
        Further fields of `workloads.architectures.layered.LayeredArchitecture`.
    """

    kinds: tuple[Layer, ...]
    draft_kinds: tuple[Layer, ...] = ()
    fields: dict[str, Any] | None = None


def layer_count(keys: Keys) -> int:
    """Decoder layers. [-]"""
    return keys.number("num_hidden_layers", "n_layers", what="layers")


def hidden_size(keys: Keys) -> int:
    """Width of the residual stream. [-]"""
    return keys.number("hidden_size", "dim", what="width")


def grouped(keys: Keys, **changes: Any) -> GroupedAttention:
    """Grouped-query attention of the usual keys; ``changes`` replace what a family implies."""
    heads = keys.number("num_attention_heads", "n_heads", what="query heads")
    kv_heads = keys.number(
        "num_key_value_heads",
        "num_attention_groups",
        "n_kv_heads",
        what="heads of keys and values",
        default=heads,
    )
    head = keys.get("head_dim")
    if head is None:
        head = hidden_size(keys) // heads
    head = int(head)
    value = keys.number("v_head_dim", what="width of a value", default=head)
    kind = GroupedAttention(heads=heads, kv_heads=kv_heads, key_dim=head, value_dim=value)
    return replace(kind, **changes)


def latent(keys: Keys, *, indexer: Indexer | None = None, **changes: Any) -> LatentAttention:
    """Latent attention of the usual keys. The head width that some name is not its."""
    keys.ignore("head_dim", "num_key_value_heads", "qk_head_dim")
    kind = LatentAttention(
        heads=keys.number("num_attention_heads", "n_heads", what="query heads"),
        q_rank=int(keys.get("q_lora_rank") or 0),
        kv_rank=keys.number("kv_lora_rank", what="rank of the latent"),
        nope_dim=keys.number("qk_nope_head_dim", what="head width without rotation"),
        rope_dim=keys.number("qk_rope_head_dim", what="head width with rotation"),
        value_dim=keys.number("v_head_dim", what="width of a value"),
        indexer=indexer,
    )
    return replace(kind, **changes)


def indexer(keys: Keys, **changes: Any) -> Indexer:
    """Lightning indexer of the usual keys."""
    kind = Indexer(
        heads=keys.number("index_n_heads", what="heads of the indexer"),
        head_dim=keys.number("index_head_dim", what="width of the indexer"),
        top_k=keys.number("index_topk", what="keys that the indexer chooses"),
    )
    return replace(kind, **changes)


def experts(keys: Keys, *, width_key: str = "moe_intermediate_size", **changes: Any) -> Experts:
    """Mixture of experts of the usual keys; shared experts where the keys name some."""
    width = keys.number(width_key, "expert_hidden_dim", what="width of an expert")
    shared = keys.number("n_shared_experts", "num_shared_experts", what="", default=0)
    columns = keys.number(
        "moe_shared_expert_intermediate_size", what="width of a shared expert", default=width
    )
    kind = Experts(
        experts=keys.number(
            "n_routed_experts",
            "num_experts",
            "num_local_experts",
            "moe_num_experts",
            what="routed experts",
        ),
        per_token=keys.number(
            "num_experts_per_tok",
            "num_experts_per_token",
            "moe_top_k",
            "top_k_experts",
            "experts_per_token",
            what="experts of a token",
        ),
        width=width,
        shared_width=shared * columns,
    )
    keys.ignore("experts_per_token")
    return replace(kind, **changes)


def dense(keys: Keys, *names: str) -> FeedForward:
    """Dense feed-forward network."""
    names = names or ("intermediate_size", "hidden_dim")
    return FeedForward(width=keys.number(*names, what="width of the dense network"))


def dense_first(keys: Keys, *, layers: int, moe: Experts) -> list[Feed]:
    """Feed-forward parts where the first ``first_k_dense_replace`` layers are dense.

    ``mlp_layer_types`` says it layer by layer where it is there.
    """
    keys.ignore("moe_layer_freq")
    if keys.has("mlp_layer_types"):
        flags = [kind == "sparse" for kind in keys.each("mlp_layer_types", length=layers)]
        keys.ignore("first_k_dense_replace")
    elif isinstance(keys.get("moe_layer_freq"), list):
        flags = [bool(flag) for flag in keys.each("moe_layer_freq", length=layers)]
    else:
        first = keys.number(
            "first_k_dense_replace", what="layers without experts at the start", default=0
        )
        flags = [i >= first for i in range(layers)]
    if all(flags):
        return [moe] * layers
    network = dense(keys)
    return [moe if flag else network for flag in flags]


def stacked(mixers: Sequence[Mixer | None], feeds: Sequence[Feed | None]) -> tuple[Layer, ...]:
    """Layers of mixers and feed-forward parts, one by one."""
    return tuple(Layer(mixer=m, feed=f) for m, f in zip(mixers, feeds, strict=True))
