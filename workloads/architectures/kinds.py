"""Kinds of layers that models are made of: attention, linear attention, feed-forward, experts.

A layer is a pair of a mixer (what lets tokens see each other) and a feed-forward part, either of
which may be absent. Widths bear the meaning of the published ``config.json``, whatever its keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from workloads.architectures.feed_kinds import BlockDraft, Experts, FeedForward, NgramTables
from workloads.architectures.storage import (
    BF16_BYTES,
    ENTRY_BYTES,
    FP32_BYTES,
    VALUE_BYTES,
    head_entry_bytes,
    index_key_bytes,
    latent_entry_bytes,
)

if TYPE_CHECKING:
    from workloads.execution_plan import IndexStorage, KvStorage
    from workloads.ops import Quantity

__all__ = [
    "BlockDraft",
    "BlockSelection",
    "Experts",
    "Feed",
    "FeedForward",
    "Gate",
    "GroupedAttention",
    "Indexer",
    "LatentAttention",
    "Layer",
    "LinearAttention",
    "Mixer",
    "NgramTables",
    "Rule",
    "SharedCompressedAttention",
]

Gate: TypeAlias = Literal["", "full", "head"]
"""Output gate of attention: none, as wide as the values, or one value a head."""
Rule: TypeAlias = Literal["gdn", "kda", "lightning", "mamba2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """Lightning indexer: scores all keys and chooses those that attention reads.

    Parameters
    ----------
    heads, head_dim, top_k:
        Query heads, width of its keys, and keys chosen. [-]
    pooled:
        Tokens that one key stands for. [tokens]
    own:
        Whether the layer has its own indexer; else it reads what one before it chose, and
        has no weights, no keys and no scores.
    """

    heads: int
    head_dim: int
    top_k: int
    pooled: int = 1
    own: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSelection:
    """Choice of whole blocks of keys by each KV head (MiniMax sparse attention, MSA).

    Parameters
    ----------
    heads, head_dim:
        Index query heads, one a KV head, and the width of the one index key. [-]
    blocks, block_tokens:
        Blocks chosen, and their size. [-], [tokens]
    """

    heads: int
    head_dim: int
    blocks: int
    block_tokens: int

    @property
    def reach(self) -> int:
        """Tokens that attention reads at the most. [tokens]"""
        return self.blocks * self.block_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedAttention:
    """Grouped-query attention (GQA), of the whole context, a window, a chunk or chosen blocks.

    Parameters
    ----------
    heads, kv_heads:
        Query heads, and heads of keys and values. [-]
    key_dim, value_dim:
        Width of a key and of a value. [-]
    window, chunk:
        Tokens that a query attends to, itself included, or size of the aligned chunks within
        which it does; 0: all. [tokens]
    gate:
        Output gate.
    qk_norm:
        ``per_head``, ``per_layer`` (over all heads at once) or none.
    bias:
        ``qkv``, ``qkvo`` or none.
    sinks:
        Whether each head has a learned logit.
    value_is_key:
        Whether one projection gives keys and values; both are cached.
    selection:
        Choice of blocks; ``None``: all keys.
    """

    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    window: int = 0
    chunk: int = 0
    gate: Gate = ""
    qk_norm: Literal["", "per_head", "per_layer"] = ""
    bias: Literal["", "qkv", "qkvo"] = ""
    sinks: bool = False
    value_is_key: bool = False
    selection: BlockSelection | None = None

    @property
    def bound(self) -> int:
        """Tokens that the cache of a layer keeps at the most; 0: all. [tokens]"""
        return self.window or self.chunk

    def entry_bytes(self, *, kv: KvStorage, attention_tp: int = 1) -> float:
        """Keys, values and index key of one token on one rank. [B]"""
        entry = head_entry_bytes(
            kv_heads=self.kv_heads,
            width=self.key_dim + self.value_dim,
            kv=kv,
            attention_tp=attention_tp,
        )
        return entry + (self.selection.head_dim * VALUE_BYTES[kv] if self.selection else 0.0)

    @property
    def entry_values(self) -> int:
        """Values that a layer keeps of a token in its cache. [-]"""
        return self.kv_heads * (self.key_dim + self.value_dim)

    def context_bytes(self, *, kv: KvStorage, index: IndexStorage, attention_tp: int = 1) -> float:
        """What each token of context adds to a layer's cache on one rank. [B/token]"""
        del index
        return 0.0 if self.bound else self.entry_bytes(kv=kv, attention_tp=attention_tp)

    def bounded_bytes(self, *, context: Quantity, kv: KvStorage) -> Quantity:
        """The window or chunk of one request at a context. [B]"""
        return np.minimum(context, self.bound) * self.entry_bytes(kv=kv)

    def constant_bytes(self, *, kv: KvStorage, attention_tp: int = 1) -> float:
        """A full window or chunk of one request in one layer on one rank. [B]"""
        return self.bound * self.entry_bytes(kv=kv, attention_tp=attention_tp)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (MLA).

    Parameters
    ----------
    heads:
        Query heads. [-]
    q_rank:
        Rank of the query projection; 0: one full projection. [-]
    kv_rank:
        Rank of the latent of keys and values. [-]
    nope_dim, rope_dim, value_dim:
        Widths of a head; ``rope_dim`` is cached whether or not it is rotated. [-]
    gate:
        Output gate.
    indexer:
        Sparse attention (DSA); ``None``: all keys.
    """

    heads: int
    q_rank: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    gate: Gate = ""
    indexer: Indexer | None = None

    @property
    def entry_values(self) -> int:
        """Values that a layer keeps of a token in its cache. [-]"""
        return self.kv_rank + self.rope_dim

    def context_bytes(self, *, kv: KvStorage, index: IndexStorage, attention_tp: int = 1) -> float:
        """Latent and index key of a token, whole on each rank. [B/token]"""
        del attention_tp
        entry = latent_entry_bytes(latent=self.kv_rank, rope=self.rope_dim, kv=kv)
        if self.indexer is not None and self.indexer.own:
            key = index_key_bytes(head_dim=self.indexer.head_dim, index=index)
            entry += key / self.indexer.pooled
        return entry

    def bounded_bytes(self, *, context: Quantity, kv: KvStorage) -> Quantity:
        """Nothing: every byte grows with the context. [B]"""
        del context, kv
        return 0.0

    def constant_bytes(self, *, kv: KvStorage, attention_tp: int = 1) -> float:
        """Nothing: every byte grows with the context. [B]"""
        del kv, attention_tp
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCompressedAttention:
    """A window and compressed rows of the context that several layers share (CSA2).

    Parameters
    ----------
    heads, head_dim:
        Query heads, and the width of them and of the one row of keys and values. [-]
    q_rank, o_groups, o_rank:
        Rank of the query projection; groups and rank of the output projection. [-]
    window:
        Recent tokens of the layer's own. [tokens]
    ratio:
        Tokens of a compressed row; 0: the window alone. [tokens]
    writes:
        Whether the layer writes the rows; else it reads those of the last one that does.
    indexer:
        Choice of rows; ``own`` where the layer has index queries. ``None``: the window alone.
    candidates:
        Rows that its index queries score at the most; 0: all. [-]
    """

    heads: int
    head_dim: int
    q_rank: int
    o_groups: int
    o_rank: int
    window: int
    ratio: int = 0
    writes: bool = False
    indexer: Indexer | None = None
    candidates: int = 0

    @property
    def entry_values(self) -> int:
        """Values that a layer keeps of a token in its cache. [-]"""
        return self.head_dim

    def context_bytes(self, *, kv: KvStorage, index: IndexStorage, attention_tp: int = 1) -> float:
        """Row and index key of a token where the layer writes them. [B/token]"""
        del attention_tp
        if not self.writes or self.indexer is None:
            return 0.0
        key = index_key_bytes(head_dim=self.indexer.head_dim, index=index)
        return (ENTRY_BYTES[kv] + key) / self.ratio

    def bounded_bytes(self, *, context: Quantity, kv: KvStorage) -> Quantity:
        """The window of one request. [B]"""
        return np.minimum(context, self.window) * ENTRY_BYTES[kv]

    def constant_bytes(self, *, kv: KvStorage, attention_tp: int = 1) -> float:
        """A full window of one request, whole on each rank. [B]"""
        del attention_tp
        return self.window * ENTRY_BYTES[kv]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearAttention:
    """A layer that keeps a state of constant size of each request.

    Parameters
    ----------
    rule:
        ``gdn`` (gated delta rule), ``kda`` (Kimi delta attention: a decay per key channel),
        ``lightning`` (a fixed decay per head), ``mamba2`` (state-space dual).
    key_heads, key_dim:
        Heads of queries and keys and their width; ``mamba2``: groups, and width of the state. [-]
    value_heads, value_dim:
        Heads of values, each with a state of ``key_dim x value_dim``. [-]
    taps:
        Taps of the causal convolution; 0 without. [tokens]
    state_dtype:
        Storage of the state.
    decay_rank, gate_rank:
        Rank of the projections of decay and output gate; 0: full. [-]
    """

    rule: Rule
    key_heads: int
    key_dim: int
    value_heads: int
    value_dim: int
    taps: int = 0
    state_dtype: Literal["float32", "bfloat16"] = "float32"
    decay_rank: int = 0
    gate_rank: int = 0

    @property
    def key_width(self) -> int:
        """Values of all keys of a token, as many as of its queries. [-]"""
        return self.key_heads * self.key_dim

    @property
    def value_width(self) -> int:
        """Values of all value heads of a token. [-]"""
        return self.value_heads * self.value_dim

    @property
    def conv_width(self) -> int:
        """Channels of the convolution: queries, keys and values. [-]"""
        return (2 * self.key_width + self.value_width) if self.taps else 0

    @property
    def state_values(self) -> int:
        """Values of the recurrent state of one request in one layer. [-]"""
        return self.value_width * self.key_dim

    @property
    def state_bytes(self) -> float:
        """State and last inputs of the convolution of one request in one layer. [B]"""
        value = FP32_BYTES if self.state_dtype == "float32" else BF16_BYTES
        return self.state_values * value + max(self.taps - 1, 0) * self.conv_width * BF16_BYTES

    @property
    def entry_values(self) -> int:
        """Values that a layer keeps of a token in its cache. [-]"""
        return 0

    def context_bytes(self, *, kv: KvStorage, index: IndexStorage, attention_tp: int = 1) -> float:
        """Nothing: the state does not grow. [B/token]"""
        del kv, index, attention_tp
        return 0.0

    def bounded_bytes(self, *, context: Quantity, kv: KvStorage) -> Quantity:
        """State of one request, whatever its context. [B]"""
        del context, kv
        return self.state_bytes

    def constant_bytes(self, *, kv: KvStorage, attention_tp: int = 1) -> float:
        """State of one request in one layer on one rank; heads are divided. [B]"""
        del kv
        return self.state_bytes / attention_tp


Mixer: TypeAlias = GroupedAttention | LatentAttention | LinearAttention | SharedCompressedAttention
Feed: TypeAlias = FeedForward | Experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A mixer and a feed-forward part, either of which may be absent (Nemotron-H)."""

    mixer: Mixer | None
    feed: Feed | None

    @property
    def parts(self) -> int:
        """Sublayers, each with a norm. [-]"""
        return (self.mixer is not None) + (self.feed is not None)
