"""The state of a worker, what schedulers ask of it and what ended steps make of it.

`simulator.serving.worker.Worker` adds when steps begin and what they hold. Times are in seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from simulator.serving.callbacks import StepRun
from simulator.serving.decode_batch import NEVER
from simulator.serving.rank import Rank
from simulator.serving.step_timing import StepTiming

if TYPE_CHECKING:
    import simpy

    from simulator.serving.callbacks import WorkerEvents
    from simulator.serving.clock import Clock
    from simulator.serving.kv_pool import KvPoolSpec
    from simulator.serving.request_state import RequestState
    from simulator.serving.scheduler import ServingEngine
    from simulator.serving.step_cost import StepCost


class WorkerState(ABC):
    """Ranks, counters and the steps under way of one engine instance.

    Parameters
    ----------
    index:
        Position among all workers of the deployment; orders events at one instant.
    clock:
        The shared clock.
    completion_priority, decision_priority:
        Priorities of this worker's events at one instant, see `simulator.serving.clock`.
    attention_dp:
        Attention data-parallel ranks, in lockstep.
    stages:
        Pipeline stages; each has one micro-batch in flight, with ranks and KV pools of its own.
    pool:
        KV pool of each rank.
    cost:
        Seconds of a step.
    engine:
        The serving engine with its settings.
    events:
        Whom to tell.
    step_by_step:
        Wake after every step, for comparison with the runs of steps; the results are the same.

    Attributes
    ----------
    steps:
        Steps in which decode batches advanced; a rank that stood still lags behind.
    engine_steps:
        All steps.
    now_s:
        Time of the last decision. [s]
    woken:
        Whether the decision under way ends a time in which nothing ran.
    known_s:
        Arrivals up to here count in the decision under way. [s]
    loads:
        Requests that each rank has to serve: queued, admitted and decoding. [requests]
    total_load:
        Their sum. [requests]
    prompt_loads:
        Prompt tokens of the requests that each rank has to serve. [tokens]
    """

    def __init__(
        self,
        *,
        index: int,
        clock: Clock,
        completion_priority: int,
        decision_priority: int,
        attention_dp: int,
        stages: int,
        pool: KvPoolSpec,
        cost: StepCost,
        engine: ServingEngine,
        events: WorkerEvents,
        step_by_step: bool = False,
    ) -> None:
        self.index = index
        self.clock = clock
        self.completion_priority = completion_priority
        self.decision_priority = decision_priority
        self.attention_dp = attention_dp
        self.stages = stages
        self.pool = pool
        self.cost = cost
        self.events = events
        self.step_by_step = step_by_step
        self.ranks = [
            Rank(index=i, pool=pool, cost=cost, caches_prefixes=engine.caches_prefixes)
            for i in range(attention_dp * stages)
        ]
        self.step_timing = StepTiming(
            cost=cost,
            lanes=[
                self.ranks[first : first + attention_dp]
                for first in range(0, len(self.ranks), attention_dp)
            ],
        )
        self.now_s = 0.0
        self.loads = [0] * len(self.ranks)
        self.total_load = 0
        self.prompt_loads = [0] * len(self.ranks)
        self.steps = 0
        self.engine_steps = 0
        self.woken = False
        self.known_s = 0.0
        self._order = 0
        self._due = [NEVER] * len(self.ranks)
        self._idle = True
        self._deciding = False
        self._visited: set[int] = set()
        self._wake_event: simpy.Event | None = None
        self._run_start_s = 0.0
        self._run_steps = 0
        self._prefilling: list[Rank] = []
        self._advancing: list[Rank] = []
        self._load_free_s = [0.0] * len(self.ranks)
        self._incoming = 0
        self._visible_s = 0.0
        self._releasing: list[Rank] = []
        self.scheduler = engine.build_scheduler(worker=self)

    # what schedulers ask ----------------------------------------------------------------

    def next_order(self) -> int:
        """A number that grows with every admission."""
        self._order += 1
        return self._order

    def is_decoding(self) -> bool:
        """Whether any rank has a decode batch."""
        return min(self._due) < NEVER

    def is_running(self) -> bool:
        """Whether any rank computes something."""
        return min(self._due) < NEVER or any(rank.prefilling for rank in self.ranks)

    def current_step(self) -> int:
        """Decode steps that are over now, also within a run of steps."""
        if self._run_steps <= 1:
            return self.steps
        low, high = self.steps + 1, self.steps + self._run_steps
        return self.step_timing.first_step_ending_from(self.clock.now, low=low, high=high) - 1

    def has_queued(self) -> bool:
        """Whether any rank has requests whose prompt is not finished."""
        for rank in self.ranks:  # noqa: SIM110 - asked at every decision
            if rank.waiting or rank.prefilling:
                return True
        return False

    def batch_changed(self, rank: Rank) -> None:
        """Note that a rank's decode batch is not what it was timed as."""
        self.step_timing.stale = True
        self._due[rank.index] = due_step(rank)

    @abstractmethod
    def load(self, sequence: RequestState, rank: Rank, load_s: float) -> None:
        """Bring a request's KV entries back from another tier, after earlier loads of the rank."""

    # what ended steps make of it -------------------------------------------------------------

    def _complete_prefill(self, now: float) -> None:
        self.engine_steps += 1
        self.step_timing.stale = True
        due = self._due
        if self._advancing:
            self.steps += 1
            if len(self.ranks) > 1 and not self.scheduler.mixes:
                advancing = {rank.index for rank in self._advancing}
                for rank in self.ranks:
                    if rank.batch.size and rank.index not in advancing:
                        rank.lag += 1
                        due[rank.index] += 1
            # decode completions first: their slots and blocks are free before others start
            if min(due) <= self.steps:
                self._complete_decode(now)
        for rank in self._prefilling:
            ends = False
            for sequence, tokens in rank.chunks:
                computed = sequence.computed = sequence.computed + tokens
                if computed >= sequence.target:
                    ends = True
                    rank.prefilling.remove(sequence)
                    self._finish_prefill(rank, sequence, now)
            rank.chunks.clear()
            if ends:
                due[rank.index] = due_step(rank)
        self._prefilling = []

    def _finish_prefill(self, rank: Rank, sequence: RequestState, now: float) -> None:
        """The prompt is done: its last step gave the first token, or the next after recompute."""
        rank.finish_prefill(sequence)
        if sequence.first_token_s < 0:
            sequence.first_token_s = now
        else:
            sequence.steps_done += 1
        if sequence.steps_done >= sequence.request.decode_steps:
            self._release_ahead(rank, sequence.blocks)
            rank.drop(sequence, finished=True)
            self._finish(rank, sequence, now)
        elif self.events.on_prefilled is not None:
            self._count(sequence, rank, -1)
            rank.hand_over(sequence)
            self._hand_over(sequence, rank)
        else:
            rank.start_decode(sequence, self.steps - rank.lag)

    def _complete_decode(self, now: float) -> None:
        steps = self.steps
        due = self._due
        self.step_timing.stale = True
        for rank in self.ranks:
            if due[rank.index] > steps:
                continue
            step = steps - rank.lag
            while rank.batch.next_finish() <= step:
                leaving = rank.batch.running[0][2]
                blocks = rank.pool.blocks(leaving.final_tokens) - leaving.shared_blocks
                sequence = rank.pop_finished(step)
                self._release_ahead(rank, blocks)
                self._finish(rank, sequence, now)
            due[rank.index] = due_step(rank)

    @abstractmethod
    def _hand_over(self, sequence: RequestState, rank: Rank) -> None:
        """Tell who decodes elsewhere that a request's prompt is done."""

    def _release_ahead(self, rank: Rank, blocks: int) -> None:
        """The decision under way was made before this request finished: it holds its place."""
        if self.scheduler.composes_ahead:
            if not rank.leaving:
                self._releasing.append(rank)
            rank.leaving += 1
            rank.leaving_blocks += blocks

    def _finish(self, rank: Rank, sequence: RequestState, now: float) -> None:
        self._count(sequence, rank, -1)
        sequence.finish_s = now
        self.events.on_finish(sequence)

    def _count(self, sequence: RequestState, rank: Rank, change: int) -> None:
        """Note that a rank has a request more or less to serve."""
        self.loads[rank.index] += change
        self.total_load += change
        self.prompt_loads[rank.index] += change * sequence.request.prompt_tokens

    def _report(self, now: float) -> None:
        assert self.events.on_step is not None
        prefill = bool(self._prefilling)
        last = self.steps + (0 if prefill else self._run_steps - 1)
        self.events.on_step(
            StepRun(
                worker=self.index,
                start_s=self._run_start_s,
                end_s=now,
                steps=self._run_steps,
                prefill_tokens=tuple(
                    sum(tokens for _, tokens in rank.chunks) for rank in self.ranks
                ),
                decode_requests=tuple(
                    0 if prefill and rank not in self._advancing else rank.batch.size
                    for rank in self.ranks
                ),
                waiting=tuple(
                    len(rank.waiting) + len(rank.incoming) + len(rank.expected)
                    for rank in self.ranks
                ),
                used_blocks=tuple(rank.used_blocks(last - rank.lag) for rank in self.ranks),
            )
        )


def due_step(rank: Rank) -> int:
    """Worker step at which the next request of a rank's decode batch leaves."""
    running = rank.batch.running
    return running[0][0] + rank.lag if running else NEVER
