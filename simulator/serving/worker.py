"""The serving engine of one worker: attention ranks in lockstep, one event per run of steps.

A worker wakes at the end of a step, completes what finished, asks its scheduler what comes
next and sleeps again: through one step if it holds prompt chunks, else through as many decode
steps as the batch stays the same. An arrival that could be admitted ends such a run at the next
step boundary. Times are in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.serving.clock import ARRIVAL
from simulator.serving.decode_batch import NEVER
from simulator.serving.worker_state import WorkerState

if TYPE_CHECKING:
    import simpy

    from simulator.serving.rank import Rank
    from simulator.serving.request_state import RequestState


NO_END = float("inf")
"""End of a run of steps that does not begin. [s]"""


class Worker(WorkerState):
    """One engine instance: its ranks, its scheduler and its step clock.

    See `simulator.serving.worker_state.WorkerState` for its parameters and attributes.
    """

    def load(self, sequence: RequestState, rank: Rank, load_s: float) -> None:
        """Bring a request's KV entries back from another tier, after earlier loads of the rank."""
        index = rank.index
        done_s = max(self._load_free_s[index], self.clock.now) + load_s
        self._load_free_s[index] = done_s
        self.clock.at(done_s, ARRIVAL, lambda _event: self.arrive(sequence, rank))

    def _hand_over(self, sequence: RequestState, rank: Rank) -> None:
        assert self.events.on_prefilled is not None
        self.events.on_prefilled(sequence, self, rank)

    # requests that come and go -------------------------------------------------------------

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
                ),
                limit=limit,
            )
        if min(self._due) < NEVER:  # some rank decodes
            return self._plan_decode_run(now, limit)
        self._idle = True
        self._run_steps = 0
        return NO_END

    def _repeat_chunks(self, end_s: float, *, limit: int) -> float:
        """Go through steps that only take the same prompts on, up to the next event; when it ends.

        Each begins where the one before it ends and differs from it in nothing but the prompts'
        and the batches' contexts, so that the scheduler need not be asked. [s]

        Parameters
        ----------
        end_s:
            When the step that was composed ends. [s]
        limit:
            Steps after which a scheduler that does not mix is to be asked again. [steps]
        """
        scheduler = self.scheduler
        mixes = scheduler.mixes
        until_s = self.clock.peek()
        if end_s >= until_s or self.step_by_step or self._visited or self.events.on_step:
            return end_s
        if self.stages > 1 or (limit <= 1 and not mixes):
            return end_s
        due, advancing = self._due, self._advancing
        most = min((due[rank.index] for rank in advancing), default=NEVER) - self.steps - 1
        if most <= 0:
            return end_s
        most = min(scheduler.alike_steps(), most)
        if not mixes:
            most = min(most, limit - 1)
        step_timing = self.step_timing
        moves = 1 if advancing else 0
        if most > 0:
            for rank in advancing:
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
            end_s += step_timing.prefill_step_again_s(
                self.steps, mixes=mixes, joint_prefill=scheduler.joint_prefill
            )
        if done:
            self.engine_steps += done
            if moves and not mixes:
                for rank in self._prefilling:  # their decode batches stood still
                    if rank.batch.size:
                        rank.lag += done
                        due[rank.index] += done
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
