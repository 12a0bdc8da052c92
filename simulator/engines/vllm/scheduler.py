"""vLLM's V1 scheduler (as of 0.11 to 0.20, 2025-10 to 2026-08).

Every step has one token budget per data-parallel rank. Decoding requests come first, then the
prompt in progress, then the head of the queue, cut to what is left of the budget; so a step
mixes decode and at most one unfinished prompt per rank, and prefill never stops decode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from simulator.serving.decode_batch import NEVER
from simulator.serving.scheduler import NO_ROOM, Scheduler
from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.engines.vllm.engine import VllmSettings
    from simulator.serving.rank import Rank
    from simulator.serving.request_state import RequestState
    from simulator.serving.scheduler import WorkerView


Chunks: TypeAlias = "list[tuple[int, int]]"
"""Prompt chunks of a step: tokens, and tokens of the prompt up to their end. [tokens]"""


class VllmScheduler(Scheduler):
    """Token budget, chunked prefill, first come first served, recompute preemption.

    Notes
    -----
    Rules, in the engine's order (``vllm/v1/core/sched/scheduler.py``):

    1. Running requests get their tokens and the blocks of them; if blocks run out, the request
       admitted last is preempted, returns to the head of the queue and is recomputed. Nothing is
       admitted in a step that preempted.
    2. Waiting requests are admitted in order while fewer than ``max_num_seqs`` run, budget is
       left and the whole prompt's blocks are free, the in-flight charge included. They are
       asked for, not taken: a prompt takes those of its chunks, one by one. The first that does
       not fit stops admission.
    3. Without chunked prefill a prompt waits until it fits what is left of the budget; a prompt
       longer than the whole budget is cut all the same.
    4. With ``prefill_schedule_interval`` n, a rank that decodes defers prompts, those in progress
       too, in all but every n-th lockstep step (counted anew after the worker was idle; without
       data parallelism: until n steps after the last that held a prompt), unless its last pass
       that did not defer left requests waiting. A request with one token to compute is admitted.
    5. With ``async_scheduling`` a step is composed when the one before it starts.
    6. With ``long_prefill_token_threshold`` no prompt gets more tokens than that in a step; what
       is left of the budget goes to the prompts behind it.
    7. With ``prefill_cadence_steps`` D (AMD's patch of its MLPerf submissions), a counter runs
       from 0 to D, one a step, and waiting requests are admitted where it is 0 or where fewer
       than ``prefill_cadence_min_running`` run; prompts in progress go on.
    """

    holds_prompts = False

    def __init__(self, *, worker: WorkerView, settings: VllmSettings) -> None:
        self.budget = settings.max_num_batched_tokens
        decodable = max(self.budget // worker.cost.queries_per_request, 1)
        super().__init__(worker=worker, max_running=min(settings.max_num_seqs, decodable))
        self.composes_ahead = settings.async_scheduling
        self.chunked = settings.enable_chunked_prefill
        self.charges_chunks = bool(worker.pool.admission_windows)
        self.asks_whole = settings.scheduler_reserve_full_isl or self.charges_chunks
        self._later_tokens = 0  # of the head's prompt, that admission does not ask for
        self.most_chunk_blocks = worker.pool.chunk_charge(tokens=self.budget, end_tokens=NEVER)
        self.in_flight: list[tuple[Chunks, Chunks]] = [([], []) for _ in worker.ranks]
        self._charges: dict[int, int] = {}
        windows = worker.pool.admission_windows
        self._settled_tokens = max((window + 2 * block for window, block in windows), default=0)
        self._last_pass = 0
        self._charged = False  # whether any chunk is in flight
        self.local = worker.attention_dp == 1
        applies = settings.prefill_interval_without_dp or not self.local
        self.interval = settings.prefill_schedule_interval if applies else 1
        self.cadence = settings.prefill_cadence_steps
        self.cadence_start = 0
        self.cadence_running = settings.prefill_cadence_min_running
        self.looks_at_intervals = self.interval > 1 or self.cadence > 0
        self.capacity_bound = [False] * len(worker.ranks)
        self.last_prefill = -self.interval
        self.wave_start = 0
        self.longest_chunk = settings.long_prefill_token_threshold or NEVER

    def schedule(self) -> int:
        """See `Scheduler.schedule`."""
        worker = self.worker
        queries = self.queries
        limit = NEVER
        throttled = 0
        if self.interval > 1:
            throttled = self._steps_throttled()
        if self.charges_chunks:
            self._forget_chunks()
        steps = worker.steps
        for rank in worker.ranks:
            batch = rank.batch
            if not (rank.waiting or rank.prefilling or rank.blocked) and (
                steps - rank.lag <= rank.safe_step or not batch.size
            ):  # it has nothing to decide
                self.capacity_bound[rank.index] = False
                continue
            defers = (
                throttled > 0
                and not self.capacity_bound[rank.index]
                and batch.size + rank.leaving > 0
            )
            preempted = (
                batch.size > 0 and steps - rank.lag > rank.safe_step and self.make_room(rank)
            )
            if preempted:
                limit = 1  # admission resumes after this step
            budget = self.budget - batch.size * queries
            if rank.prefilling and not defers:
                left = self._go_on(rank, budget)
                if left is None:
                    preempted, limit = True, 1
                else:
                    budget = left
            if rank.waiting and not preempted and budget > 0:
                closed = self._steps_closed(rank) if self.cadence else 0
                if closed:
                    limit = min(limit, closed)
                else:
                    self._admit(rank, budget, most=1 if defers else NEVER)
            if self.interval > 1:
                if defers:
                    if rank.waiting or rank.prefilling:
                        limit = min(limit, throttled)
                elif not preempted:
                    self.capacity_bound[rank.index] = bool(rank.waiting)
            if self.charges_chunks and rank.blocked and self._blocks_in_flight(rank):
                limit = 1  # what chunks hold is free again soon
        if self.interval > 1 and self.local and any(rank.chunks for rank in worker.ranks):
            self.last_prefill = worker.engine_steps + 1
        return limit

    def _steps_throttled(self) -> int:
        """Steps from now on in which ranks defer prompts, 0 if this one takes them. [steps]"""
        worker = self.worker
        if self.local:
            return max(self.last_prefill + self.interval - worker.engine_steps - 1, 0)
        if worker.woken:
            self.wave_start = worker.engine_steps
        phase = (worker.engine_steps - self.wave_start) % self.interval
        return self.interval - phase if phase else 0

    def _steps_closed(self, rank: Rank) -> int:
        """Steps from now on in which the cadence admits nobody, 0 if this one does. [steps]"""
        if rank.admitted_count() < self.cadence_running:
            return 0
        worker = self.worker
        if not worker.is_running():
            self.cadence_start = worker.engine_steps  # empty passes take no time
        return (self.cadence_start - worker.engine_steps) % (self.cadence + 1)

    def _go_on(self, rank: Rank, budget: int) -> int | None:
        """Compute the next chunks of prompts in progress, in order of admission.

        Returns
        -------
        int or None
            What is left of the step's budget; ``None`` if requests had to be preempted for the
            blocks of a chunk. [tokens]
        """
        preempted = False
        step = self.worker.steps - rank.lag
        longest_chunk = self.longest_chunk
        for sequence in tuple(rank.prefilling):
            if budget <= 0 or (preempted and sequence not in rank.prefilling):
                break
            tokens = sequence.target - sequence.computed
            if tokens > budget:
                tokens = budget
            if tokens > longest_chunk:
                tokens = longest_chunk
            end = sequence.computed + tokens
            more = rank.growth(sequence, end)
            while not rank.has_room(more, step):
                preempted = True
                if self.preempt(rank, step):
                    self.worker.batch_changed(rank)
                    budget += self.queries
                elif sequence not in rank.prefilling:
                    return None
            rank.take(sequence, more, step)
            self._compute(rank, sequence, tokens, end)
            budget -= tokens
        return None if preempted else budget

    def _take(self, rank: Rank, sequence: RequestState, tokens: int) -> None:
        """Compute this much of a prompt in the next step."""
        end = sequence.computed + tokens
        rank.grow(sequence, end, self.worker.steps - rank.lag)
        self._compute(rank, sequence, tokens, end)

    def _compute(self, rank: Rank, sequence: RequestState, tokens: int, end: int) -> None:
        """Compute this much of a prompt, up to ``end``, whose blocks it has."""
        rank.chunks.append((sequence, tokens))
        if self.charges_chunks:
            self.in_flight[rank.index][0].append((tokens, end))
            self._charged = True
        if rank.cache is not None:
            rank.publish(sequence, end)

    def _forget_chunks(self) -> None:
        """Let go of what the chunks of earlier steps held; those still in flight stay."""
        steps = self.worker.engine_steps - self._last_pass
        self._last_pass = self.worker.engine_steps
        if not self._charged:
            return
        stay = steps == 1 and self.composes_ahead
        self._charged = False
        for rank in self.worker.ranks:
            last, before = self.in_flight[rank.index]
            if last or before:
                if rank.blocked and self._blocks_in_flight(rank):
                    rank.blocked = False
                self.in_flight[rank.index] = ([], last if stay else [])
                self._charged = self._charged or (stay and bool(last))

    def _blocks_in_flight(self, rank: Rank) -> int:
        """Blocks that chunks of a rank hold in windows. [blocks]"""
        charge = rank.pool.chunk_charge
        last, before = self.in_flight[rank.index]
        known, settled = self._charges, self._settled_tokens
        found = 0
        for tokens, end in (*last, *before):
            if end - tokens < settled:
                found += charge(tokens=tokens, end_tokens=end)
            elif tokens in known:
                found += known[tokens]
            else:  # so far into a prompt it does not depend on where
                found += known.setdefault(tokens, charge(tokens=tokens, end_tokens=end))
        return found

    def alike_steps(self) -> int:
        """See `Scheduler.alike_steps`: prompts that take all of the budget go on as they are.

        As far as a bound says that there is room for all of their blocks, without driving out
        what is cached.
        """
        if self.interval > 1:
            return 0
        alike = NEVER
        queries = self.queries
        for rank in self.worker.ranks:
            budget = self.budget - rank.batch.size * queries
            for sequence, tokens in rank.chunks:
                budget -= tokens
                steps = (sequence.target - sequence.computed - 1) // tokens - 1
                if steps < alike:
                    if steps <= 0:
                        return 0
                    alike = steps
            if budget > 0 and (rank.waiting or rank.incoming):
                return 0
        for rank in self.worker.ranks:
            if rank.chunks:
                growth = sum(
                    max(rank.growth(sequence, sequence.computed + (alike + 1) * tokens), 0)
                    for sequence, tokens in rank.chunks
                )
                if not rank.is_roomy(growth, self.worker.steps - rank.lag + alike):
                    return 0  # a chunk may lack blocks
        return alike

    def repeated(self, steps: int) -> None:
        """See `Scheduler.repeated`."""
        self._last_pass = self.worker.engine_steps
        self._charged = self.charges_chunks
        if self.charges_chunks:
            for rank in self.worker.ranks:
                if rank.chunks:
                    ends = [(tokens, each.computed + tokens) for each, tokens in rank.chunks]
                    before = [(tokens, end - tokens) for tokens, end in ends]
                    self.in_flight[rank.index] = (ends, before if self.composes_ahead else [])
                else:
                    self.in_flight[rank.index] = ([], [])
        for rank in self.worker.ranks:
            for sequence, tokens in rank.chunks:
                end = sequence.computed + tokens
                rank.grow(sequence, end, self.worker.steps - rank.lag)
                if rank.cache is not None:
                    rank.publish(sequence, end)

    def has_room(self, rank: Rank, sequence: RequestState) -> bool:
        """See `Scheduler.has_room`."""
        if not self.charges_chunks and not self._later_tokens:
            return super().has_room(rank, sequence)
        match = sequence.match
        cached = 0 if match is None else match.tokens
        charge = rank.pool.admission_charge(tokens=sequence.target, cached_tokens=cached)
        needed = rank.blocks_needed(sequence) + charge
        step = self.worker.steps - rank.lag
        if self._later_tokens:
            pool, end = rank.pool, sequence.target - self._later_tokens
            return rank.has_room(needed - pool.blocks(sequence.target) + pool.blocks(end), step)
        last, before = self.in_flight[rank.index]
        if last or before:
            most = (len(last) + len(before)) * self.most_chunk_blocks
            if rank.is_roomy(needed + most, step):
                return True
            needed += self._blocks_in_flight(rank)
        return rank.has_room(needed, step)

    def _admit(self, rank: Rank, budget: int, *, most: int) -> None:
        waiting = rank.waiting
        running = rank.admitted_count()
        while waiting and budget > 0 and running < self.max_running and not rank.blocked:
            sequence = waiting[0]
            left = rank.prefill_tokens(sequence, self.worker.steps - rank.lag)
            if left > most:
                return
            if not self.chunked and budget < left:
                whole = sequence.request.prompt_tokens
                if whole > self.budget:
                    raise UserError(
                        f"a prompt of {whole} tokens exceeds max_num_batched_tokens {self.budget}; "
                        "raise it or set enable_chunked_prefill"
                    )
                if budget < self.budget:
                    return
            if not self.asks_whole:
                self._later_tokens = left - min(left, budget, self.longest_chunk)
            left = self.admit_head(rank)
            self._later_tokens = 0
            if left == NO_ROOM:
                return
            if left:
                tokens = min(left, budget, self.longest_chunk)
                self._take(rank, sequence, tokens)
                budget -= tokens
            running += 1
