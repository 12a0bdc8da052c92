"""Kinds of feed-forward parts of layers, and tables of n-gram embeddings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """Dense feed-forward network.

    Parameters
    ----------
    width:
        Columns. [-]
    matrices:
        3 with a gate, 2 without. [-]
    reduced:
        Whether its all-reduce under tensor parallelism is counted: not for the one to three dense
        layers of DeepSeek V3 and related models, on whose fits that has no bearing.
    """

    width: int
    matrices: int = 3
    reduced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Mixture of experts.

    Parameters
    ----------
    experts, per_token:
        Routed experts, and those of one token. [-]
    width, matrices:
        Columns of one expert; 3 matrices with a gate, 2 without. [-]
    shared_width:
        Columns of what every token uses; 0 without. [-]
    shared_gate:
        Whether a gate of one output multiplies it.
    latent:
        Width on which routed experts act, projected down before and up after; 0: the width of
        the residual stream. [-]
    latent_norm:
        Values of the norm on the latent. [-]
    router_bias:
        Whether the router has one value more an expert: a bias or a correction of its scores.
    expert_bias:
        Whether the matrices of the experts have biases.
    dense_width:
        Columns of a dense network beside the experts; 0 without. [-]
    groups, group_limit:
        Node-limited routing: a token's experts come from at most ``group_limit`` of ``groups``.
    """

    experts: int
    per_token: int
    width: int
    matrices: int = 3
    shared_width: int = 0
    shared_gate: bool = False
    latent: int = 0
    latent_norm: int = 0
    router_bias: bool = False
    expert_bias: bool = False
    dense_width: int = 0
    groups: int = 1
    group_limit: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramTables:
    """Tables of n-gram embeddings that are looked up, and projected into some layers (Engram).

    Parameters
    ----------
    rows, width:
        Rows of all tables together, and values of one. [-]
    lookups:
        Rows that a token reads. [-]
    layers, projected:
        Layers that get them, and outputs of the projection in each. [-]
    """

    rows: int
    width: int
    lookups: int
    layers: int
    projected: int

    @property
    def inputs(self) -> int:
        """Values that the projection of a layer reads. [-]"""
        return self.lookups // self.layers * self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDraft:
    """What a DSpark module has besides its layers.

    Parameters
    ----------
    target_layers:
        Layers of the main model whose hidden states it reads. [-]
    markov_rank:
        Rank of the token-to-token correction of the draft distribution. [-]
    block_size:
        Tokens that it was trained to draft in one pass. [tokens]
    """

    target_layers: int
    markov_rank: int
    block_size: int
