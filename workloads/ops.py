"""One operation of a model on one rank: the unit in which work is counted.

A cost model turns a batch into a list of `Op`; a hardware model turns each `Op` into seconds.
Neither knows the other. All quantities are per rank and per invocation, in SI base units, and
each may be a scalar or an array over a grid of batches, so that a whole table of step costs
is one evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Quantity: TypeAlias = float | npt.NDArray[np.float64]


class OpKind(StrEnum):
    """What limits an operation and which kernel family's efficiencies apply to it."""

    GEMM = "gemm"
    GROUPED_GEMM = "grouped_gemm"
    ATTENTION = "attention"
    INDEXER = "indexer"
    MEMORY = "memory"
    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_TO_ALL = "all_to_all"
    POINT_TO_POINT = "point_to_point"

    @property
    def is_communication(self) -> bool:
        """Whether the operation moves data between ranks."""
        return self in _COMMUNICATION


_COMMUNICATION = frozenset(
    {
        OpKind.ALL_REDUCE,
        OpKind.ALL_GATHER,
        OpKind.REDUCE_SCATTER,
        OpKind.ALL_TO_ALL,
        OpKind.POINT_TO_POINT,
    }
)


class Component(StrEnum):
    """Where a planner looks for the time of a step."""

    DENSE = "dense weights"
    EXPERTS = "experts"
    ATTENTION = "attention"
    INDEXER = "indexer"
    COMMUNICATION = "communication"
    MHC = "mHC"
    HEAD = "head"
    DRAFT = "draft"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenExchange:
    """An exchange of routed tokens between the ranks that hold the experts of a layer.

    Parameters
    ----------
    operation:
        Tokens to the experts' ranks, or the experts' results back.
    tokens:
        Tokens of the rank that sends or receives most. [tokens]
    choices:
        Experts of a token. [-]
    copy_bytes:
        One token's hidden state on the wire, scales included. [B]
    groups, group_limit:
        Node-limited routing: a token's experts come from at most ``group_limit`` of ``groups``.
    library, mode:
        As `workloads.plan.ExecutionPlan` names them; an empty library is the engine's own choice.
    """

    operation: Literal["dispatch", "combine"]
    tokens: Quantity
    choices: int
    copy_bytes: float
    groups: int = 1
    group_limit: int = 1
    library: str = ""
    mode: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation as one rank runs it, `layers` times in a step.

    Parameters
    ----------
    name:
        Unique within a step, such as ``csa.wq_b``.
    component:
        The bucket of the step's time that it belongs to.
    kind:
        Kernel family; selects the efficiencies.
    precision:
        Arithmetic path, such as ``fp8``, ``bf16``, ``mxfp4xfp8`` (FP4 weights, FP8 activations)
        or ``w4a16``. The hardware model maps it to a peak rate and an efficiency.
    variant:
        Kernel within the family whose efficiencies apply where the precision does not tell,
        such as ``decode`` or ``prefill`` for attention cores.
    flops:
        Floating-point operations, two per multiply-add. [FLOP]
    weight_bytes, kv_bytes, activation_bytes:
        HBM traffic by what is moved. [B]
    message_bytes:
        Payload that this rank contributes to a collective. For ``ALL_TO_ALL`` it counts what
        leaves the rank for all destinations, itself included; for ``ALL_REDUCE`` the size of
        the reduced tensor; for ``ALL_GATHER`` and ``REDUCE_SCATTER`` the size of the full
        (gathered or unreduced) tensor. [B]
    group_size:
        Ranks that take part in a collective; 1 for local work.
    exchange:
        What an ``ALL_TO_ALL`` between experts exchanges, where a communication library does it.
    kernels:
        Kernel launches per invocation.
    layers:
        Invocations per step.
    stage, stream:
        Operations of one non-empty stage run concurrently, one after another within each
        stream; the slowest stream sets the time of the stage.
    """

    name: str
    component: Component
    kind: OpKind
    precision: str = "bf16"
    variant: str = ""
    flops: Quantity = 0.0
    weight_bytes: Quantity = 0.0
    kv_bytes: Quantity = 0.0
    activation_bytes: Quantity = 0.0
    message_bytes: Quantity = 0.0
    group_size: int = 1
    exchange: TokenExchange | None = None
    kernels: float = 1.0
    layers: int = 1
    stage: str = ""
    stream: int = 0

    @property
    def hbm_bytes(self) -> Quantity:
        """HBM traffic of one invocation. [B]"""
        return self.weight_bytes + self.kv_bytes + self.activation_bytes
