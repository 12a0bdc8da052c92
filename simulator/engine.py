"""The serving engine of one worker: attention ranks in lockstep, one event per run of steps.

A worker wakes at the end of a step, completes what finished, asks its scheduler what comes
next and sleeps again: through one step if it holds prompt chunks, else through as many decode
steps as the batch stays the same. An arrival that could be admitted ends such a run at the next
step boundary. Times are in seconds.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, NamedTuple

from simulator.clock import boundary_s, first_boundary_from
from simulator.rank import NEVER, Rank, Sequence
from simulator.schedulers import build_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    import simpy

    from simulator.clock import Clock
    from simulator.kvcache import KvPoolSpec
    from simulator.settings import EngineSettings
    from simulator.step_cost import StepCost

_MEMO_LIMIT = 1 << 18
"""Remembered step costs; forgotten all at once beyond, so that memory stays bounded."""


class StepRun(NamedTuple):
    """A run of engine steps, as handed to ``on_step``.

    Attributes
    ----------
    worker:
        Index of the worker.
    start_s, end_s:
        Start of the first and end of the last step. [s]
    steps:
        Steps of the run; 1 if there is any prefill.
    prefill_tokens:
        Prompt tokens computed by each rank. [tokens]
    decode_requests:
        Requests that each rank decoded, 0 where its batch stood still. [requests]
    waiting:
        Requests queued at each rank. [requests]
    used_blocks:
        Blocks in use on each rank in the last step. [blocks]
    """

    worker: int
    start_s: float
    end_s: float
    steps: int
    prefill_tokens: tuple[int, ...]
    decode_requests: tuple[int, ...]
    waiting: tuple[int, ...]
    used_blocks: tuple[int, ...]


class Worker:
    """One engine instance: its ranks, its scheduler and its step clock.

    Parameters
    ----------
    index:
        Position among all workers of the deployment; orders events at one instant.
    clock:
        The shared clock.
    completion_priority, decision_priority:
        Priorities of this worker's events at one instant, see `simulator.clock`.
    ranks:
        Attention data-parallel ranks.
    pool:
        KV pool of each rank.
    cost:
        Seconds of a step.
    settings:
        Engine and scheduler settings.
    on_finish:
        Called with a request whose last token is out and the time.
    step_by_step:
        Wake after every step, for comparison with the runs of steps; the results are the same.
    on_step:
        Called after every run of steps, for logs and traces.

    Attributes
    ----------
    steps:
        Steps in which decode batches advanced; a rank that stood still lags behind.
    engine_steps:
        All steps.
    """

    def __init__(
        self,
        *,
        index: int,
        clock: Clock,
        completion_priority: int,
        decision_priority: int,
        ranks: int,
        pool: KvPoolSpec,
        cost: StepCost,
        settings: EngineSettings,
        on_finish: Callable[[Sequence, float], None],
        step_by_step: bool = False,
        on_step: Callable[[StepRun], None] | None = None,
    ) -> None:
        self.index = index
        self.clock = clock
        self.completion_priority = completion_priority
        self.decision_priority = decision_priority
        self.pool = pool
        self.cost = cost
        self.ranks = [Rank(index=i, pool=pool, cost=cost) for i in range(ranks)]
        self.on_finish = on_finish
        self.step_by_step = step_by_step
        self.on_step = on_step
        self.now_s = 0.0
        self.steps = 0
        self.engine_steps = 0
        self._order = 0
        self._fixed_memo: dict[tuple[int, int, int, int, bool], float] = {}
        self._prefill_memo: dict[tuple[int, int], float] = {}
        # of the step or run under way
        self._idle = True
        self._deciding = False
        self._wake_event: simpy.Event | None = None
        self._run_start_s = 0.0
        self._run_steps = 0
        self._prefilling: list[Rank] = []
        self._advancing: list[Rank] = []
        # a decode batch's price: boundaries count from _base_s at _base_step
        self._stale = True
        self._due = [NEVER] * ranks
        self._critical = self.ranks[0]
        self._decode_fixed_s = 0.0
        self._base_s = self._first_s = self._growth_s = 0.0
        self._base_step = 0
        self._segment_end = 0
        self.scheduler = build_scheduler(worker=self, settings=settings)

    # what schedulers and routers ask -------------------------------------------------------

    def next_order(self) -> int:
        """A number that grows with every admission."""
        self._order += 1
        return self._order

    def is_decoding(self) -> bool:
        """Whether any rank has a decode batch."""
        return any(rank.decoding for rank in self.ranks)

    def is_running(self) -> bool:
        """Whether any rank has admitted requests."""
        return any(rank.decoding or rank.prefilling for rank in self.ranks)

    def has_queued(self) -> bool:
        """Whether any rank has requests whose prompt is not finished."""
        return any(rank.waiting or rank.prefilling for rank in self.ranks)

    def batch_changed(self, rank: Rank) -> None:
        """Note that a rank's decode batch is not what it was priced as."""
        self._stale = True
        self._due[rank.index] = rank.next_finish() + rank.lag

    # events --------------------------------------------------------------------------------

    def submit(self, sequence: Sequence, rank: Rank) -> None:
        """Queue a request at a rank, now."""
        sequence.worker = self.index
        sequence.rank = rank.index
        rank.waiting.append(sequence)
        if self._idle:
            self.ask_decision()
        elif (
            self._run_steps > 1
            and not self._deciding
            and len(rank.waiting) == 1
            and self.scheduler.may_start(rank)
        ):
            self._end_run_at_boundary()

    def ask_decision(self) -> None:
        """Schedule a decision at this instant, after all arrivals and completions."""
        if not self._deciding:
            self._deciding = True
            self._idle = False
            self.clock.at(self.clock.now, self.decision_priority, self._decide)

    def _end_run_at_boundary(self) -> None:
        done = self.steps - self._base_step
        steps = first_boundary_from(
            self.clock.now,
            base_s=self._base_s,
            first_s=self._first_s,
            growth_s=self._growth_s,
            low=done + 1,
            high=done + self._run_steps,
        )
        if steps < done + self._run_steps:
            self._run_steps = steps - done
            end_s = boundary_s(self._base_s, self._first_s, self._growth_s, steps)
            self._wake_event = self.clock.at(end_s, self.completion_priority, self._wake)

    def _wake(self, event: simpy.Event) -> None:
        if event is not self._wake_event:
            return  # a run that an arrival has cut short
        clock = self.clock
        now = clock.now
        if self.on_step is not None:
            self._report(now)
        self._deciding = True
        if self._prefilling:
            self._complete_prefill(now)
        else:
            self.steps += self._run_steps
            self.engine_steps += self._run_steps
        if min(self._due) <= self.steps:
            self._complete_decode(now)
        if clock.peek() > now:
            self._decide(event)
        else:
            clock.at(now, self.decision_priority, self._decide)

    def _complete_prefill(self, now: float) -> None:
        self.engine_steps += 1
        self._stale = True
        if self._advancing:
            self.steps += 1
            for rank in self.ranks:
                if rank.decoding and rank not in self._advancing:
                    rank.lag += 1
                    self._due[rank.index] += 1
        # decode completions first: their blocks and slots are free before new ones start
        if min(self._due) <= self.steps:
            self._complete_decode(now)
        for rank in self._prefilling:
            joined = False
            for sequence, tokens in rank.chunks:
                sequence.computed += tokens
                if sequence.computed >= sequence.target:
                    rank.prefilling.remove(sequence)
                    self._finish_prefill(rank, sequence, now)
                    joined = True
            rank.chunks.clear()
            if joined:
                self._due[rank.index] = rank.next_finish() + rank.lag
        self._prefilling = []

    def _finish_prefill(self, rank: Rank, sequence: Sequence, now: float) -> None:
        """The prompt is done: its last step gave the first token, or the next after recompute."""
        rank.release(sequence.blocks)
        if sequence.first_token_s < 0:
            sequence.first_token_s = now
        else:
            sequence.steps_done += 1
        if sequence.steps_done >= sequence.request.decode_steps:
            self._finish(sequence, now)
        else:
            rank.start_decode(sequence, self.steps - rank.lag)

    def _complete_decode(self, now: float) -> None:
        steps = self.steps
        self._stale = True
        for rank in self.ranks:
            if self._due[rank.index] > steps:
                continue
            step = steps - rank.lag
            while rank.next_finish() <= step:
                self._finish(rank.pop_finished(step), now)
            self._due[rank.index] = rank.next_finish() + rank.lag

    def _finish(self, sequence: Sequence, now: float) -> None:
        sequence.finish_s = now
        self.on_finish(sequence, now)

    def _decide(self, _event: simpy.Event) -> None:
        self._deciding = False
        now = self.now_s = self.clock.now
        limit = self.scheduler.schedule()
        self._run_start_s = now
        self._prefilling = [rank for rank in self.ranks if rank.chunks]
        if self._prefilling:
            self._run_steps = 1
            end_s = now + self._price_prefill_step()
        elif min(self._due) < NEVER:
            end_s = self._plan_decode_run(now, limit)
        else:
            self._idle = True
            self._run_steps = 0
            return
        self._wake_event = self.clock.at(end_s, self.completion_priority, self._wake)

    # steps -----------------------------------------------------------------------------------

    def _price_prefill_step(self) -> float:
        """Seconds of a step with prompt chunks; notes which ranks' decode batches advance."""
        scheduler = self.scheduler
        queries = scheduler.queries
        memo = self._prefill_memo
        advancing = self._advancing
        advancing.clear()
        group_tokens = group_samples = rank_tokens = rank_samples = 0
        attention_s = 0.0
        for rank in self.ranks:
            tokens = samples = 0
            seconds = 0.0
            chunks = rank.chunks
            for sequence, new in chunks:
                prefix = sequence.computed
                tokens += new
                if prefix + new >= sequence.target:
                    samples += 1
                cost = memo.get((new, prefix))
                if cost is None:
                    cost = self._remember_prefill(new, prefix)
                seconds += cost
            if rank.decoding and (scheduler.mixes or not (chunks or scheduler.joint_prefill)):
                advancing.append(rank)
                tokens += rank.decoding * queries
                samples += rank.decoding
                seconds += rank.decode_attention_s(self.steps - rank.lag)
            group_tokens += tokens
            group_samples += samples
            if tokens > rank_tokens:
                rank_tokens = tokens
            if samples > rank_samples:
                rank_samples = samples
            if seconds > attention_s:
                attention_s = seconds
        return self._fixed_s(rank_tokens, group_tokens, rank_samples, group_samples, True) + (
            attention_s
        )

    def _plan_decode_run(self, now: float, limit: int) -> float:
        """Fix the length of a run of decode steps and return when it ends."""
        steps = self.steps
        if self._stale or steps >= self._segment_end:
            self._price_decode(now)
        run = min(min(self._due), self._segment_end) - steps
        if limit < run:
            run = limit
        if self.step_by_step:
            run = 1
        elif run > 1:
            for rank in self.ranks:
                if rank.decoding:
                    step = steps - rank.lag
                    if step + run - 1 > rank.safe_step:
                        run = rank.last_fitting_step(step, step + run - 1) - step + 1
        self._run_steps = run
        return boundary_s(
            self._base_s, self._first_s, self._growth_s, steps - self._base_step + run
        )

    def _price_decode(self, now: float) -> None:
        """Price the decode batches from here to the end of the critical rank's cost segment.

        The critical rank, whose attention takes longest, is chosen when a batch changes and
        kept until the next change.
        """
        steps = self.steps
        if self._stale:
            rank_requests = group_requests = 0
            slowest = -1.0
            for rank in self.ranks:
                requests = rank.decoding
                if requests:
                    group_requests += requests
                    if requests > rank_requests:
                        rank_requests = requests
                    seconds = rank.decode_attention_s(steps - rank.lag)
                    if seconds > slowest:
                        slowest = seconds
                        self._critical = rank
            queries = self.scheduler.queries
            self._decode_fixed_s = self._fixed_s(
                rank_requests * queries,
                group_requests * queries,
                rank_requests,
                group_requests,
                False,
            )
            self._stale = False
        critical = self._critical
        step = steps - critical.lag
        context = critical.context_at(step)
        if critical.line_stale or context > critical.line_limit:
            critical.refresh_line(context)
        growth = critical.rate_sum
        span = (critical.line_limit - context) / growth if growth > 0.0 else NEVER
        self._base_s = now
        self._base_step = steps
        self._first_s = self._decode_fixed_s + critical.decode_attention_s(step)
        self._growth_s = critical.line_slope_s * growth
        self._segment_end = steps + (floor(span) + 1 if span < NEVER else NEVER)

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

    def _remember_prefill(self, new_tokens: int, prefix_tokens: int) -> float:
        memo = self._prefill_memo
        if len(memo) >= _MEMO_LIMIT:
            memo.clear()
        seconds = memo[new_tokens, prefix_tokens] = self.cost.prefill_attention_s(
            new_tokens=new_tokens, prefix_tokens=prefix_tokens
        )
        return seconds

    def _report(self, now: float) -> None:
        assert self.on_step is not None
        prefill = bool(self._prefilling)
        last = self.steps + (0 if prefill else self._run_steps - 1)
        self.on_step(
            StepRun(
                worker=self.index,
                start_s=self._run_start_s,
                end_s=now,
                steps=self._run_steps,
                prefill_tokens=tuple(
                    sum(tokens for _, tokens in rank.chunks) for rank in self.ranks
                ),
                decode_requests=tuple(
                    0 if prefill and rank not in self._advancing else rank.decoding
                    for rank in self.ranks
                ),
                waiting=tuple(len(rank.waiting) for rank in self.ranks),
                used_blocks=tuple(rank.used_blocks(last - rank.lag) for rank in self.ranks),
            )
        )
