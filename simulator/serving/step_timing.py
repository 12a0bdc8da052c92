"""What the steps of a worker take, and when the steps of a run end."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from simulator.serving.clock import boundary_s, first_boundary_from
from simulator.serving.decode_batch import NEVER

if TYPE_CHECKING:
    from simulator.serving.rank import Rank
    from simulator.serving.step_cost import StepCost

_MEMO_LIMIT = 1 << 18
"""Remembered step costs; forgotten all at once beyond, so that memory stays bounded."""


class StepTiming:
    """Prices the steps of a worker's ranks.

    A group of ranks in lockstep takes the fixed cost of its fullest rank and the attention of
    its slowest. Pipeline stages hold one such group per micro-batch in flight: each passes all
    stages once per cycle and cannot overtake, so that the slowest sets the pace of all.

    Parameters
    ----------
    cost:
        Seconds of a step of one group.
    lanes:
        Lockstep groups, one per micro-batch in flight.

    Attributes
    ----------
    stale:
        A decode batch is not what it was timed as.
    base_s, base_step, first_s, growth_s:
        The run of decode steps under way: its origin, and its first step's length and growth.
    segment_end:
        Worker step at which the cost line ends on which this run was timed.
    """

    def __init__(self, *, cost: StepCost, lanes: list[list[Rank]]) -> None:
        self.cost = cost
        self.lanes = lanes
        self.queries = cost.queries_per_request
        self.stale = True
        self.base_s = self.first_s = self.growth_s = 0.0
        self.base_step = 0
        self.segment_end = 0
        self._critical = lanes[0][0]
        self._critical_fixed_s = 0.0
        self._last_fixed_s = 0.0
        self._fixed_memo: dict[tuple[int, int, int, int, bool], float] = {}
        self._prefill_memo: dict[tuple[int, int], float] = {}

    def prefill_step_s(
        self, *, steps: int, mixes: bool, joint_prefill: bool, advancing: list[Rank]
    ) -> float:
        """Seconds of a step in which some rank has prompt chunks. [s]

        Parameters
        ----------
        steps:
            Decode steps of the worker so far.
        mixes, joint_prefill:
            See `simulator.serving.scheduler.Scheduler`.
        advancing:
            Receives the ranks whose decode batches take part.
        """
        lanes = self.lanes
        if len(lanes) == 1:
            return self._prefill_lane_s(lanes[0], steps, mixes, joint_prefill, advancing)
        slowest_s = 0.0
        for lane in lanes:
            seconds = self._prefill_lane_s(lane, steps, mixes, joint_prefill, advancing)
            if seconds > slowest_s:
                slowest_s = seconds
        return slowest_s

    def prefill_step_again_s(self, steps: int, *, mixes: bool, joint_prefill: bool) -> float:
        """Seconds of another step like the last one, its prompts and batches further on. [s]

        Of one lockstep group, none of whose prompts ends; parameters as in `prefill_step_s`.
        """
        memo = self._prefill_memo
        attention_s = 0.0
        for rank in self.lanes[0]:
            seconds = 0.0
            for sequence, new in rank.chunks:
                prefix = sequence.computed
                chunk_s = memo.get((new, prefix))
                seconds += self._chunk_s(new, prefix) if chunk_s is None else chunk_s
            batch = rank.batch
            if batch.size and (mixes or not (rank.chunks or joint_prefill)):
                step = steps - rank.lag
                context = batch.context_sum + batch.rate_sum * (step - batch.mark)
                if batch.line_stale or context > batch.line_limit:
                    seconds += batch.attention_s(step)
                else:
                    seconds += batch.line_value_s + batch.line_slope_s * (context - batch.line_x0)
            if seconds > attention_s:
                attention_s = seconds
        return self._last_fixed_s + attention_s

    def _prefill_lane_s(
        self,
        lane: list[Rank],
        steps: int,
        mixes: bool,
        joint_prefill: bool,
        advancing: list[Rank],
    ) -> float:
        memo = self._prefill_memo
        group_tokens = group_samples = rank_tokens = rank_samples = 0
        attention_s = 0.0
        has_prefill = len(self.lanes) == 1 or any(rank.chunks for rank in lane)
        for rank in lane:
            tokens = samples = 0
            seconds = 0.0
            chunks = rank.chunks
            for sequence, new in chunks:
                prefix = sequence.computed
                tokens += new
                if prefix + new >= sequence.target:
                    samples += 1
                chunk_s = memo.get((new, prefix))
                seconds += self._chunk_s(new, prefix) if chunk_s is None else chunk_s
            batch = rank.batch
            if batch.size and (mixes or not (chunks or (joint_prefill and has_prefill))):
                advancing.append(rank)
                tokens += batch.size * self.queries
                samples += batch.size
                step = steps - rank.lag
                context = batch.context_sum + batch.rate_sum * (step - batch.mark)
                if batch.line_stale or context > batch.line_limit:
                    seconds += batch.attention_s(step)
                else:  # `DecodeBatch.attention_s` written out: asked of every rank in every step
                    seconds += batch.line_value_s + batch.line_slope_s * (context - batch.line_x0)
            group_tokens += tokens
            group_samples += samples
            if tokens > rank_tokens:
                rank_tokens = tokens
            if samples > rank_samples:
                rank_samples = samples
            if seconds > attention_s:
                attention_s = seconds
        if not group_tokens:
            return 0.0
        fixed_s = self._last_fixed_s = self._fixed_s(
            rank_tokens, group_tokens, rank_samples, group_samples, has_prefill
        )
        return fixed_s + attention_s

    def time_decode(self, now: float, steps: int) -> None:
        """Price the decode batches from here to the end of the critical rank's cost segment.

        The critical rank, whose attention takes longest, is chosen when a batch changes and
        kept until the next change.
        """
        if self.stale:
            self._choose_critical(steps)
            self.stale = False
        critical = self._critical.batch
        step = steps - self._critical.lag
        attention_s = critical.attention_s(step)
        growth = critical.rate_sum
        span = (critical.line_limit - critical.context_at(step)) / growth if growth > 0 else NEVER
        self.base_s = now
        self.base_step = steps
        self.first_s = self._critical_fixed_s + attention_s
        self.growth_s = critical.line_slope_s * growth
        self.segment_end = steps + (floor(span) + 1 if span < NEVER else NEVER)

    def _choose_critical(self, steps: int) -> None:
        slowest_lane_s = -1.0
        for lane in self.lanes:
            rank_requests = group_requests = 0
            slowest_s = -1.0
            slowest = lane[0]
            for rank in lane:
                batch = rank.batch
                requests = batch.size
                if requests:
                    group_requests += requests
                    if requests > rank_requests:
                        rank_requests = requests
                    seconds = batch.attention_s(steps - rank.lag)
                    if seconds > slowest_s:
                        slowest_s = seconds
                        slowest = rank
            if not group_requests:
                continue
            fixed_s = self._fixed_s(
                rank_requests * self.queries,
                group_requests * self.queries,
                rank_requests,
                group_requests,
                False,
            )
            if fixed_s + slowest_s > slowest_lane_s:
                slowest_lane_s = fixed_s + slowest_s
                self._critical = slowest
                self._critical_fixed_s = fixed_s

    def end_s(self, step: int) -> float:
        """Time at which the run under way reaches a worker step. [s]"""
        return boundary_s(self.base_s, self.first_s, self.growth_s, step - self.base_step)

    def first_step_ending_from(self, time_s: float, *, low: int, high: int) -> int:
        """First worker step in ``[low, high]`` that ends at this time or later, else ``high``."""
        base = self.base_step
        return base + first_boundary_from(
            time_s,
            base_s=self.base_s,
            first_s=self.first_s,
            growth_s=self.growth_s,
            low=low - base,
            high=high - base,
        )

    def _fixed_s(
        self,
        rank_tokens: int,
        group_tokens: int,
        rank_samples: int,
        group_samples: int,
        has_prefill: bool,
    ) -> float:
        memo = self._fixed_memo
        key = (rank_tokens, group_tokens, rank_samples, group_samples, has_prefill)
        seconds = memo.get(key)
        if seconds is None:
            if len(memo) >= _MEMO_LIMIT:
                memo.clear()
            seconds = memo[key] = self.cost.fixed_s(
                rank_tokens=rank_tokens,
                group_tokens=group_tokens,
                rank_samples=rank_samples,
                group_samples=group_samples,
                has_prefill=has_prefill,
            )
        return seconds

    def _chunk_s(self, new_tokens: int, prefix_tokens: int) -> float:
        memo = self._prefill_memo
        if len(memo) >= _MEMO_LIMIT:
            memo.clear()
        seconds = memo[new_tokens, prefix_tokens] = self.cost.prefill_attention_s(
            new_tokens=new_tokens, prefix_tokens=prefix_tokens
        )
        return seconds
