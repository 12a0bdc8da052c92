"""Seconds of one engine step, as the scheduler needs them: few numbers in, one number out.

The op model is evaluated once, over grids of token counts and contexts, and the engine reads
piecewise linear tables. Knots are geometric, four to a doubling (eight in the prefix of a prompt
chunk); a test bounds the error against the op model at 1 % of each part and of a step
(`tests/theory/test_step_cost.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from copy import copy
from dataclasses import replace
from functools import lru_cache
from math import ceil, log2
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from hwmodels.roofline import step_ops_s

if TYPE_CHECKING:
    import numpy.typing as npt

    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from workloads.costmodel import CostModel
    from workloads.execution_plan import ExecutionPlan
    from workloads.ops import Op


class Line(NamedTuple):
    """A linear piece of a cost: ``value_s + slope_s * (x - x0)`` for ``x0 <= x <= limit``."""

    value_s: float
    slope_s: float
    limit: float


class StepCost(Protocol):
    """What one lockstep step of a worker takes.

    A step takes ``fixed_s`` of the slowest rank's token counts plus, on the slowest rank, the
    decode attention of its decoding requests and the prefill attention of its prompt chunks.
    """

    queries_per_request: int

    def fixed_s(
        self,
        *,
        rank_tokens: int,
        group_tokens: int,
        rank_samples: int,
        group_samples: int,
        has_prefill: bool,
    ) -> float:
        """Everything but attention: projections, experts, exchange, head, drafts, host. [s]

        ``rank_*`` belong to the fullest attention rank, ``group_*`` sum over all of them;
        samples are requests that emit a token in this step.
        """
        ...

    def decode_attention(self, *, requests: int, context_sum: float) -> Line:
        """Decode attention of one rank, linear in the summed context of its requests. [s]"""
        ...

    def prefill_attention_s(self, *, new_tokens: int, prefix_tokens: int) -> float:
        """Attention of one prompt chunk on one rank. [s]"""
        ...


KNOTS_PER_DOUBLING = 4
_SAMPLES_AT_ONCE = 64
_RANK_SAMPLES_AT_ONCE = 8
"""Sums over the group, and samples of its fullest rank, that are evaluated together: an array
takes hardly longer than a number. [requests]"""


@lru_cache(maxsize=64)
def geometric_knots(*, largest: int, per_doubling: int = KNOTS_PER_DOUBLING) -> tuple[float, ...]:
    """Every integer to 16, then some knots to a doubling up to at least ``largest``.

    Powers of two are among them: the cost bends where windows and selections are full.
    """
    knots = [float(n) for n in range(1, 17)]
    while knots[-1] < largest:
        steps = len(knots) - 15
        knots.append(float(round(16.0 * 2.0 ** (steps / per_doubling))))
    return tuple(knots)


@lru_cache(maxsize=64)
def share_knots(*, ranks: int) -> tuple[float, ...]:
    """Shares of a group's tokens that its fullest rank can have: from ``1 / ranks`` to 1."""
    steps = ceil(KNOTS_PER_DOUBLING * log2(ranks))
    return tuple(ranks ** (step / steps - 1.0) for step in range(steps + 1)) if steps else (1.0,)


def eager_wait_s(
    *,
    plan: ExecutionPlan,
    software: SoftwareLevel,
    kernels: float,
    rank_tokens: int,
    has_prefill: bool,
    gpu_s: float,
) -> float:
    """What the GPU waits for the host's launches; nothing where a step replays a graph. [s]

    Parameters
    ----------
    kernels:
        Launches of the step.
    rank_tokens, has_prefill:
        Tokens of the fullest rank and whether prompts are among them: whether a graph was
        captured for the step. [tokens]
    gpu_s:
        The kernels' own time, behind which launches hide where they run ahead
        (``plan.launch_overlap``): ``max(0, host - GPU)`` is left. [s]
    """
    graph_tokens = plan.graph_max_tokens
    if has_prefill and plan.graph_prefill_max_tokens is not None:
        graph_tokens = plan.graph_prefill_max_tokens
    if rank_tokens <= graph_tokens and (plan.graph_prefill or not has_prefill):
        return 0.0
    host_s = kernels * software.eager_launch_s
    return max(0.0, host_s - gpu_s) if plan.launch_overlap else host_s


class TabulatedStepCost:
    """`StepCost` of a model on a SKU under a software level, tabulated once.

    Parameters
    ----------
    model:
        Cost model bound to a layout and an execution plan.
    sku, software:
        The chip and the software level.
    drafts:
        Draft tokens verified per step; 0 without speculation. [tokens]
    max_context, max_tokens:
        Upper ends of the tables: context of a request, tokens of one rank in one step. [tokens]

    Notes
    -----
    A step that replays a CUDA graph costs its kernels' GPU time. In an eager step the host
    launches kernel by kernel, and what of that the GPU waits for (``eager_launch_s`` a kernel)
    is added: DeepSeek-V4-Flash on 4 B300 goes from 20.6 ms to 104.5 ms where its graphs end
    (vLLM blog "DSpark adaptive verification", 2026-08-14, figure 2). Host time that is not
    hidden behind the GPU (``host_step_s``) is added to every step.

    With pipeline stages the model counts the layers of one stage; a step takes its micro-batch
    through all of them, one after another, and the head once.
    """

    def __init__(
        self,
        *,
        model: CostModel,
        sku: Sku,
        software: SoftwareLevel,
        drafts: int,
        max_context: int,
        max_tokens: int,
    ) -> None:
        self.model = model
        self.plan = model.plan
        self.sku = sku
        self.software = software
        self.drafts = drafts
        self.queries_per_request = drafts + 1
        dp = model.layout.attention_dp
        self._tokens = geometric_knots(largest=max(max_tokens, 64))
        self._group_tokens = geometric_knots(largest=int(self._tokens[-1]) * dp)
        self._shares = share_knots(ranks=dp)
        self._contexts = (0.0, *geometric_knots(largest=max_context))
        self._prefixes = (
            0.0,
            *geometric_knots(largest=max_context, per_doubling=2 * KNOTS_PER_DOUBLING),
        )
        self._token_rows = self._tabulate_tokens()
        self._decode_rows: dict[int, tuple[list[float], list[float]]] = {}
        self._decode_table = self._tabulate_decode()
        self._prefill_rows = self._tabulate_prefill()
        self._memo: dict[tuple[int, int, int, int], float] = {}
        self._samples_memo: dict[tuple[int, int], list[list[float]]] = {}

    def with_graphs_of(self, plan: ExecutionPlan) -> TabulatedStepCost:
        """The same tables where graphs reach as far as a plan says."""
        cost = copy(self)
        cost.plan = replace(
            self.plan,
            graph_max_tokens=plan.graph_max_tokens,
            graph_prefill_max_tokens=plan.graph_prefill_max_tokens,
        )
        return cost

    @property
    def _stages(self) -> int:
        """Pipeline stages that a step passes."""
        return self.model.layout.pp

    def _seconds(self, ops: list[Op], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        total = step_ops_s(ops=ops, sku=self.sku, software=self.software)
        return np.broadcast_to(np.asarray(total, dtype=float), shape)

    def _tabulate_tokens(self) -> list[list[float]]:
        """Seconds over (share knots, group-token knots)."""
        shares, groups = np.meshgrid(self._shares, self._group_tokens, indexing="ij")
        ops = self.model.token_ops(rank_tokens=shares * groups, group_tokens=groups)
        self.token_kernels = self._stages * sum(op.kernels * op.layers for op in ops)
        rows: list[list[float]] = (self._stages * self._seconds(ops, groups.shape)).tolist()
        return rows

    def _tabulate_decode(self) -> npt.NDArray[np.float64]:
        """Seconds over (request knots, context knots)."""
        grid_requests, grid_context = np.meshgrid(self._tokens, self._contexts, indexing="ij")
        ops = self.model.decode_attention_ops(
            requests=grid_requests,
            queries_per_request=self.queries_per_request,
            context=grid_context,
        )
        return self._stages * self._seconds(ops, grid_requests.shape)

    def _tabulate_prefill(self) -> list[list[float]]:
        """Seconds per new token over (prefix knots, new-token knots)."""
        grid_prefix, grid_new = np.meshgrid(self._prefixes, self._tokens, indexing="ij")
        ops = self.model.prefill_attention_ops(new_tokens=grid_new, prefix_tokens=grid_prefix)
        per_token = self._stages * self._seconds(ops, grid_new.shape) / grid_new
        return [row.tolist() for row in per_token]

    def _tokens_s(self, rank_tokens: int, group_tokens: int) -> float:
        column, weight = _locate(self._group_tokens, group_tokens)
        if len(self._shares) == 1:
            return _blend(self._token_rows[0], column, weight)
        row, part = _locate(self._shares, rank_tokens / group_tokens)
        low = _blend(self._token_rows[row], column, weight)
        return low + part * (_blend(self._token_rows[row + 1], column, weight) - low)

    def _samples_s(self, rank_samples: int, group_samples: int) -> float:
        # the head is each rank's own; only drafts exchange tokens within the group
        block, place = divmod(group_samples, _SAMPLES_AT_ONCE) if self.drafts else (0, 0)
        ranks, row = divmod(rank_samples, _RANK_SAMPLES_AT_ONCE)
        rows = self._samples_memo.get((ranks, block))
        if rows is None:
            rows = self._samples_memo[ranks, block] = self._sample_rows(ranks, block)
        return rows[row][place]

    def _sample_rows(self, ranks: int, block: int) -> list[list[float]]:
        """Head and drafts of consecutive samples of the fullest rank (rows) and of the group."""
        own = _consecutive(ranks, _RANK_SAMPLES_AT_ONCE)
        group = _consecutive(block, _SAMPLES_AT_ONCE if self.drafts else 1)
        rank_samples, group_samples = np.meshgrid(own, np.maximum(group, 1.0), indexing="ij")
        ops = self.model.head_ops(samples=rank_samples)
        if self.drafts:
            ops = ops + self.model.draft_ops(
                requests=rank_samples, group_requests=group_samples, drafts=self.drafts
            )
        rows: list[list[float]] = self._seconds(ops, rank_samples.shape).tolist()
        return rows

    def fixed_s(
        self,
        *,
        rank_tokens: int,
        group_tokens: int,
        rank_samples: int,
        group_samples: int,
        has_prefill: bool,
    ) -> float:
        """See `StepCost.fixed_s`. [s]"""
        key = (rank_tokens, group_tokens, rank_samples, group_samples)
        gpu_s = self._memo.get(key)
        if gpu_s is None:
            gpu_s = self._tokens_s(rank_tokens, group_tokens)
            if rank_samples:
                gpu_s += self._samples_s(rank_samples, group_samples)
            self._memo[key] = gpu_s
        gpu_s += eager_wait_s(
            plan=self.plan,
            software=self.software,
            kernels=self.token_kernels,
            rank_tokens=rank_tokens,
            has_prefill=has_prefill,
            gpu_s=gpu_s,
        )
        return gpu_s + self.software.host_step_s

    def decode_attention(self, *, requests: int, context_sum: float) -> Line:
        """See `StepCost.decode_attention`. [s]"""
        if requests == 0:
            return Line(0.0, 0.0, float("inf"))
        row = self._decode_rows.get(requests)
        if row is None:
            position, weight = _locate(self._tokens, requests)
            seconds = (1.0 - weight) * self._decode_table[position] + weight * self._decode_table[
                position + 1
            ]
            row = ([requests * c for c in self._contexts], seconds.tolist())
            self._decode_rows[requests] = row
        knots, values = row
        index = min(bisect_right(knots, context_sum) - 1, len(knots) - 2)
        slope = (values[index + 1] - values[index]) / (knots[index + 1] - knots[index])
        limit = knots[index + 1] if index < len(knots) - 2 else float("inf")
        return Line(values[index] + slope * (context_sum - knots[index]), slope, limit)

    def prefill_attention_s(self, *, new_tokens: int, prefix_tokens: int) -> float:
        """See `StepCost.prefill_attention_s`. [s]"""
        if new_tokens == 0:
            return 0.0
        # `_locate` and `_blend` written out: with random lengths no chunk is like another
        knots = self._tokens
        column = bisect_right(knots, new_tokens, 1, len(knots) - 1) - 1
        left = knots[column]
        weight = (new_tokens - left) / (knots[column + 1] - left)
        knots = self._prefixes
        row = bisect_right(knots, prefix_tokens, 1, len(knots) - 1) - 1
        values = self._prefill_rows[row]
        low = values[column] + weight * (values[column + 1] - values[column])
        left = knots[row]
        if prefix_tokens != left:
            share = (prefix_tokens - left) / (knots[row + 1] - left)
            values = self._prefill_rows[row + 1]
            high = values[column] + weight * (values[column + 1] - values[column])
            low += share * (high - low)
        return new_tokens * low


def _consecutive(block: int, count: int) -> npt.NDArray[np.float64]:
    """The numbers of a block of ``count``."""
    return np.arange(block * count, (block + 1) * count, dtype=float)


def _locate(knots: tuple[float, ...], x: float) -> tuple[int, float]:
    """Segment that holds ``x`` and the weight of its right end; the last segment extends."""
    index = bisect_right(knots, x, 1, len(knots) - 1) - 1
    return index, (x - knots[index]) / (knots[index + 1] - knots[index])


def _blend(values: list[float], index: int, weight: float) -> float:
    return values[index] + weight * (values[index + 1] - values[index])
