"""Lightning indexer: scores of all keys, and the choice of those that attention reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workloads.models.kernels import KERNELS
from workloads.models.kv_bytes import index_key_bytes
from workloads.models.parts import FP32_BYTES, memory
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.execution_plan import ExecutionPlan
    from workloads.ops import Quantity

_PRECISION = {"fp4": "mxfp4", "fp8": "fp8", "bf16": "bf16"}


def index_ops(
    *,
    phase: str,
    queries: Quantity,
    scored: Quantity,
    keys: Quantity,
    heads: int,
    head_dim: int,
    top_k: int,
    plan: ExecutionPlan,
    layers: int,
) -> list[Op]:
    """Scores and selection; replicated under tensor parallelism.

    Parameters
    ----------
    phase:
        ``decode`` or ``prefill``.
    queries:
        Query tokens. [tokens]
    scored:
        Keys scored, summed over the queries. [-]
    keys:
        Distinct keys read. [-]

    Notes
    -----
    ``F = 2 H D`` per query and key: one dot product per indexer head; ReLU and the weighted sum
    over the heads are left out. Scores are FP32, written once and read once by the selection.
    """
    return choice_ops(
        phase=phase,
        queries=queries,
        scored=scored,
        key_bytes=keys * index_key_bytes(head_dim=head_dim, index=plan.index_storage),
        flops=scored * (2.0 * heads * head_dim),
        precision=_PRECISION[plan.index_storage],
        chosen=float(top_k),
        scale=plan.kernels_scale,
        layers=layers,
    )


def choice_ops(
    *,
    phase: str,
    queries: Quantity,
    scored: Quantity,
    key_bytes: Quantity,
    flops: Quantity,
    precision: str,
    chosen: float,
    scale: float,
    layers: int,
) -> list[Op]:
    """Scores of keys in ``precision``, and the choice of ``chosen`` of them for each query.

    Parameters
    ----------
    key_bytes:
        Index keys read. [B]
    chosen:
        Indices that the selection writes for a query. [-]
    scale:
        Kernel launches relative to the reference. [-]
    """
    return [
        Op(
            name=f"indexer.{phase}_score",
            component=Component.INDEXER,
            kind=OpKind.INDEXER,
            precision=precision,
            flops=flops,
            kv_bytes=key_bytes,
            activation_bytes=scored * FP32_BYTES,
            kernels=KERNELS["index_score"] * scale,
            layers=layers,
        ),
        memory(
            name=f"indexer.{phase}_top_k",
            component=Component.INDEXER,
            variant="top_k",
            activation_bytes=scored * FP32_BYTES + queries * (chosen * FP32_BYTES),
            kernels=KERNELS["top_k"] * scale,
            layers=layers,
        ),
    ]


def causal_sum(*, context: Quantity, ratio: int = 1, limit: float | None = None) -> Quantity:
    """Entries that the tokens 1..context attend to in all, one entry per ``ratio`` tokens. [-]

    ``sum of min(n / m, K) for n = 1..N``: continuous in n, the mean of the staircase
    ``floor(n / m)`` to within one entry per token. With m = 1 and K = w it is a sliding window.
    """
    if limit is None:
        return context * (context + 1.0) / (2.0 * ratio)
    rising = np.minimum(context, limit * ratio)
    total: Quantity = rising * (rising + 1.0) / (2.0 * ratio) + (context - rising) * limit
    return total


def chunk_sum(
    *, new_tokens: Quantity, prefix_tokens: Quantity, ratio: int = 1, limit: float | None = None
) -> Quantity:
    """`causal_sum` over the tokens of a chunk behind a prefix. [-]"""
    end = causal_sum(context=prefix_tokens + new_tokens, ratio=ratio, limit=limit)
    return end - causal_sum(context=prefix_tokens, ratio=ratio, limit=limit)
