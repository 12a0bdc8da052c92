"""The serving engine of one worker: attention ranks in lockstep, one event per run of steps.

A worker wakes at the end of a step, completes what finished, asks its scheduler what comes
next and sleeps again: through one step if it holds prompt chunks, else through as many decode
steps as the batch stays the same. An arrival that could be admitted ends such a run at the next
step boundary. Times are in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.serving.callbacks import StepRun
from simulator.serving.clock import ARRIVAL
from simulator.serving.decode_batch import NEVER
from simulator.serving.rank import Rank
from simulator.serving.step_timing import StepTiming

if TYPE_CHECKING:
    from collections.abc import Callable

    import simpy

    from simulator.serving.clock import Clock
    from simulator.serving.kv_pool import KvPoolSpec
    from simulator.serving.request_state import RequestState
    from simulator.serving.scheduler import ServingEngine
    from simulator.serving.step_cost import StepCost


NO_END = float("inf")
"""End of a run of steps that does not begin. [s]"""


class WorkerEvents:
    """What a worker tells its surroundings; the defaults suit a worker on its own.

    Parameters
    ----------
    on_finish:
        Called with a request whose last token is out.
    on_prefilled:
        Called with a request whose prompt is done, the worker and the rank, where another
        worker is to decode it; its blocks stay held until `Worker.release`.
    on_reserved:
        Called with a request that has got its blocks here, the worker and the rank, where its
        KV entries come from another worker; `Worker.arrive` is to be called once they have.
    on_step:
        Called after every run of steps, for logs and traces.
    """

    __slots__ = ("on_finish", "on_prefilled", "on_reserved", "on_step")

    def __init__(
        self,
        *,
        on_finish: Callable[[RequestState], None],
        on_prefilled: Callable[[RequestState, Worker, Rank], None] | None = None,
        on_reserved: Callable[[RequestState, Worker, Rank], None] | None = None,
        on_step: Callable[[StepRun], None] | None = None,
    ) -> None:
        self.on_finish = on_finish
        self.on_prefilled = on_prefilled
        self.on_reserved = on_reserved
        self.on_step = on_step


class Worker:
    """One engine instance: its ranks, its scheduler and its step clock.

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

    # what schedulers ask and do ------------------------------------------------------------

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
        self._due[rank.index] = _due_step(rank)

    def load(self, sequence: RequestState, rank: Rank, load_s: float) -> None:
        """Bring a request's KV entries back from another tier, after earlier loads of the rank."""
        index = rank.index
        done_s = max(self._load_free_s[index], self.clock.now) + load_s
        self._load_free_s[index] = done_s
        self.clock.at(done_s, ARRIVAL, lambda _event: self.arrive(sequence, rank))

    # events --------------------------------------------------------------------------------

    def submit(self, sequence: RequestState, rank: Rank) -> None:
        """Queue a request at a rank, now."""
        sequence.reached_s = self.clock.now
        sequence.worker = self.index
        sequence.rank = rank.index
        self._count(sequence, rank, 1)
        scheduler = self.scheduler
        if scheduler.composes_ahead:
            # seen by the decision after the one that fixes the next step
            rank.incoming.append(sequence)
            self._incoming += 1
            if (
                self._idle
                or scheduler.notes_every_arrival
                or (len(rank.incoming) == 1 and self._may_enter(rank))
            ):
                self._ask_decision(ahead=1)
            return
        rank.waiting.append(sequence)
        if (
            self._idle
            or scheduler.notes_every_arrival
            or (
                len(rank.waiting) == 1
                and (scheduler.looks_at_intervals or scheduler.may_start(rank))
            )
        ):
            self._ask_decision()

    def expect(self, sequence: RequestState, rank: Rank) -> None:
        """Queue a request whose prompt another worker has computed, now."""
        sequence.worker = self.index
        sequence.rank = rank.index
        self._count(sequence, rank, 1)
        rank.expected.append(sequence)
        self._visited.add(rank.index)
        self._ask_decision()

    def arrive(self, sequence: RequestState, rank: Rank) -> None:
        """The KV entries of a reserved request are here, now."""
        rank.arrived.append(sequence)
        self._visited.add(rank.index)
        self._ask_decision()

    def release(self, sequence: RequestState, rank: Rank) -> None:
        """The KV entries of a handed-over request have gone, now; free its blocks."""
        rank.handed_over -= 1
        rank.drop(sequence)
        if rank.waiting:
            self._ask_decision()

    def _count(self, sequence: RequestState, rank: Rank, change: int) -> None:
        """Note that a rank has a request more or less to serve."""
        self.loads[rank.index] += change
        self.total_load += change
        self.prompt_loads[rank.index] += change * sequence.request.prompt_tokens

    def _may_enter(self, rank: Rank) -> bool:
        """Whether the first request that arrives at a rank could be admitted once it is seen."""
        scheduler = self.scheduler
        if scheduler.notes_every_arrival:
            return True
        return not rank.waiting and (scheduler.looks_at_intervals or scheduler.may_start(rank))

    def _ask_decision(self, *, ahead: int = 0) -> None:
        """Decide at the next step boundary, or at this instant if no step is under way.

        With ``ahead`` 1 a step later: the next one is fixed already.
        """
        if self._deciding:
            return
        if self._idle:
            self._idle = False
            self._deciding = True
            self.woken = True
            self.clock.at(self.clock.now, self.decision_priority, self._decide)
        elif self._run_steps > 1:
            low = self.steps + 1
            high = self.steps + self._run_steps
            end = ahead + self.step_timing.first_step_ending_from(
                self.clock.now, low=low, high=high
            )
            if end < high:
                self._run_steps = end - self.steps
                self._wake_event = self.clock.at(
                    self.step_timing.end_s(end), self.completion_priority, self._wake
                )

    def _wake(self, event: simpy.Event) -> None:
        if event is not self._wake_event:
            return  # of a run that was cut short
        if self._complete():
            self._decide(event)

    def _complete(self) -> bool:
        """End the run of steps under way, now; whether the next one is to be decided at once."""
        clock = self.clock
        now = clock.now
        if self.events.on_step is not None:
            self._report(now)
        self._deciding = True
        if self._run_steps > 1:
            self._visible_s = self.step_timing.end_s(self.steps + self._run_steps - 1)
        else:
            self._visible_s = self._run_start_s
        if self._prefilling:
            self._complete_prefill(now)
        else:
            self.steps += self._run_steps
            self.engine_steps += self._run_steps
            if min(self._due) <= self.steps:
                self._complete_decode(now)
        if clock.peek() > now:
            return True
        clock.at(now, self.decision_priority, self._decide)
        return False

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
                due[rank.index] = _due_step(rank)
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
            self.events.on_prefilled(sequence, self, rank)
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
            due[rank.index] = _due_step(rank)

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

    def _decide(self, _event: simpy.Event) -> None:
        """Fix what runs next and when it ends; go on to that time if nothing else comes first."""
        clock = self.clock
        while True:
            end_s = self._begin()
            if end_s >= clock.peek() or self.step_by_step:
                break
            clock.now = end_s  # an event of its own would be the next one
            if not self._complete():
                return
        if end_s < NO_END:
            self._wake_event = clock.at(end_s, self.completion_priority, self._wake)

    def _begin(self) -> float:
        """Fix what runs next, from now; when that ends, `NO_END` if there is nothing to do. [s]"""
        now = self.now_s = self.clock.now
        self._deciding = False
        if self._visited:
            self._receive(now)
        scheduler = self.scheduler
        limit = self._compose(now if self.woken or not scheduler.composes_ahead else None)
        if (
            min(self._due) == NEVER
            and not any(rank.chunks for rank in self.ranks)
            and (
                self.has_queued()
                or (scheduler.composes_ahead and (self._incoming or self._visited))
            )
        ):
            # what was fixed is empty (its last decoding request was preempted, or what it could
            # know of had finished): the host composes anew
            if self._visited and scheduler.composes_ahead:
                self._receive(now)
            limit = self._compose(now)
        if self._visited and any(self._can_reserve(self.ranks[i]) for i in self._visited):
            limit = 1  # the queue that went first is empty now
        self._run_start_s = now
        prefilling = self._prefilling = [rank for rank in self.ranks if rank.chunks]
        if prefilling:
            self._advancing.clear()
            self._run_steps = 1
            return self._repeat_chunks(
                now
                + self.step_timing.prefill_step_s(
                    steps=self.steps,
                    mixes=scheduler.mixes,
                    joint_prefill=scheduler.joint_prefill,
                    advancing=self._advancing,
                )
            )
        if min(self._due) < NEVER:  # some rank decodes
            return self._plan_decode_run(now, limit)
        self._idle = True
        self._run_steps = 0
        return NO_END

    def _repeat_chunks(self, end_s: float) -> float:
        """Go through steps that only take the same prompts on, up to the next event; when it ends.

        Each begins where the one before it ends and differs from it in nothing but the prompts'
        and the batches' contexts, so that the scheduler need not be asked. [s]

        Parameters
        ----------
        end_s:
            When the step that was composed ends. [s]
        """
        scheduler = self.scheduler
        until_s = self.clock.peek()
        if end_s >= until_s or self.step_by_step or self._visited or self.events.on_step:
            return end_s
        most = min(self._due) - self.steps - 1
        if most <= 0 or not scheduler.mixes or self.stages > 1:
            return end_s
        most = min(scheduler.alike_steps(), most)
        step_timing = self.step_timing
        moves = 1 if self._advancing else 0
        if moves and most > 0:
            for rank in self.ranks:
                if rank.batch.size:
                    step = self.steps - rank.lag
                    if step + most > rank.safe_step:
                        most = rank.last_fitting_step(step, step + most) - step
        done = 0
        while done < most and end_s < until_s:
            done += 1
            self.steps += moves
            for rank in self._prefilling:
                for sequence, tokens in rank.chunks:
                    sequence.computed += tokens
            self._run_start_s = end_s
            end_s += step_timing.prefill_step_again_s(self.steps)
        if done:
            self.engine_steps += done
            scheduler.repeated(done)
        return end_s

    def _plan_decode_run(self, now: float, limit: int) -> float:
        """Fix the length of a run of decode steps and return when it ends."""
        steps = self.steps
        step_timing = self.step_timing
        if step_timing.stale or steps >= step_timing.segment_end:
            step_timing.time_decode(now, steps)
        run = min(min(self._due), step_timing.segment_end) - steps
        if limit < run:
            run = limit
        if self.step_by_step:
            run = 1
        elif run > 1:
            for rank in self.ranks:
                if rank.batch.size:
                    step = steps - rank.lag
                    if step + run - 1 > rank.safe_step:
                        run = rank.last_fitting_step(step, step + run - 1) - step + 1
        self._run_steps = run
        return step_timing.end_s(steps + run)

    def _compose(self, until_s: float | None) -> int:
        """Fix what the next step holds; how many decode steps until that is to be asked again.

        Parameters
        ----------
        until_s:
            Arrivals up to here are known; ``None``: to the start of the step that has ended. [s]
        """
        scheduler = self.scheduler
        self.known_s = self._visible_s if until_s is None else until_s
        if self._incoming:
            self._see_arrivals(self.known_s)
        limit = scheduler.schedule()
        self.woken = False
        for rank in self._releasing:
            if rank.waiting or rank.prefilling:
                limit = 1
            rank.leaving = rank.leaving_blocks = 0
            rank.blocked = False
        self._releasing.clear()
        if self._incoming and limit > 1:
            for rank in self.ranks:
                if rank.incoming and self._may_enter(rank):
                    return 1  # it enters a step later
        return limit

    def _see_arrivals(self, until_s: float) -> None:
        """Queue what had arrived when this decision was made."""
        for rank in self.ranks:
            incoming = rank.incoming
            while incoming and incoming[0].reached_s <= until_s:
                rank.waiting.append(incoming.popleft())
                self._incoming -= 1

    def _receive(self, now: float) -> None:
        """Take in what arrived since the last decision, and reserve blocks for what is to come."""
        for index in sorted(self._visited):
            rank = self.ranks[index]
            step = self.steps - rank.lag
            for sequence in rank.arrived:
                del rank.reserved[sequence.order]
                if sequence.computed < sequence.target:
                    rank.prefilling.append(sequence)
                    continue
                if sequence.first_token_s < 0:
                    sequence.first_token_s = now
                rank.start_decode(sequence, step)
                self.batch_changed(rank)
            rank.arrived.clear()
            while self._can_reserve(rank):
                sequence = rank.expected[0]
                if not self.scheduler.has_room(rank, sequence):
                    rank.blocked = True
                    break
                rank.expected.popleft()
                rank.reserve(sequence, self.next_order())
                assert self.events.on_reserved is not None
                self.events.on_reserved(sequence, self, rank)
            if not rank.expected:
                self._visited.remove(index)

    def _can_reserve(self, rank: Rank) -> bool:
        """Whether a rank could look for blocks for a request prefilled elsewhere."""
        return bool(
            rank.expected
            and not rank.waiting
            and not rank.blocked
            and self.scheduler.may_start(rank)
        )

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


def _due_step(rank: Rank) -> int:
    """Worker step at which the next request of a rank's decode batch leaves."""
    running = rank.batch.running
    return running[0][0] + rank.lag if running else NEVER
