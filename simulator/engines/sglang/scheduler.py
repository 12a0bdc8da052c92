"""SGLang's scheduler (as of 0.5.x, 2025-10 to 2026-08).

Prefill comes first: whenever waiting requests and memory allow, the next step is a prefill
batch and the decode batch stands still; it advances only in steps without prefill, unless
mixed chunks are enabled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.engines.prefill_delay import SlotDelayer
from simulator.serving.decode_batch import NEVER
from simulator.serving.scheduler import NO_ROOM, PrefillFirstScheduler

if TYPE_CHECKING:
    from simulator.engines.sglang.engine import SglangSettings
    from simulator.serving.rank import Rank
    from simulator.serving.request_state import RequestState
    from simulator.serving.scheduler import WorkerView

CLIP_MAX_NEW_TOKENS = 4096
"""Output that admission reserves for one request at most (``SGLANG_CLIP_MAX_NEW_TOKENS``)."""
INITIAL_NEW_TOKEN_RATIO = 0.7
MIN_NEW_TOKEN_RATIO = 0.7 * 0.14
NEW_TOKEN_RATIO_DECAY = (INITIAL_NEW_TOKEN_RATIO - MIN_NEW_TOKEN_RATIO) / 600
"""Share of the remaining output that admission reserves, and its decay per decode step
(``SGLANG_INIT_NEW_TOKEN_RATIO``, ``..._MIN_..._FACTOR``, ``..._DECAY_STEPS``)."""
RETRACT_DECODE_STEPS = 20
"""Steps that a retraction makes room for (``SGLANG_RETRACT_DECODE_STEPS``)."""
FEW_JOINING = 16
"""Requests that join up to which what the batch keeps answers faster than a count."""


class Looks:
    """When an engine that looks for new requests only every few steps does so.

    Parameters
    ----------
    interval:
        Decode steps between two looks; it looks at once after a prefill and while idle. [steps]

    Attributes
    ----------
    last_s:
        Time of the last look at which something was waiting. [s]
    next_in:
        Decode steps to the next look. [steps]
    after_prefill:
        Whether the last step was a prefill.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.last_s = -1.0
        self.next_in = interval
        self.after_prefill = False
        self._from_step = 0

    def look(self, *, step: int, now_s: float, decoding: bool) -> bool:
        """Whether the engine looks now; and, from now, when it looks again."""
        if self.after_prefill or not decoding:
            self._from_step = step
        passed = (step - self._from_step) % self.interval
        self.next_in = self.interval - passed
        if passed:
            return False
        self.last_s = now_s
        return True


class SglangScheduler(PrefillFirstScheduler):
    """Prefill-first batches, chunked prefill, retraction, prefill delayer.

    Notes
    -----
    Rules, in the engine's order (``managers/scheduler.py``, ``schedule_policy.py``):

    1. A prompt in progress continues first. Then waiting requests are admitted in order while
       fewer than ``max_running_requests`` (per data-parallel rank: divided by the ranks) run
       and their tokens fit. ``chunked_prefill_size``, divided by the ranks, bounds the step; a
       prompt that exceeds what is left of it is cut at a page boundary and ends the batch.
       ``max_prefill_tokens`` bounds every prompt after the first of a batch.
    2. Without a radix cache, where requests run to their full length, a request is admitted if
       no future step can run out of memory (``add_one_req_ignore_eos``); where windows have a
       pool of their own, if its prompt and a page fit. With one, it is
       admitted if its prompt, its output up to 4,096 tokens and a decaying share of what the
       running requests have yet to write are free.
    3. If a decode step does not fit, the requests with the fewest output tokens are retracted,
       return to the end of the queue and are recomputed.
    4. Prefill delayer: under attention data parallelism new prompts are held back until all ranks
       could start one and the fullest has slots for a whole prefill batch
       (`simulator.engines.prefill_delay.SlotDelayer`); a prompt in progress goes on.
    5. With ``scheduler_recv_interval`` n, new requests are seen every n decode steps after the
       last prefill, and at once after a prefill or when idle (``SchedulerRecvSkipper``).
    6. With ``prefill_decode_interval`` n, a prefill starts n decode steps after the last one at the
       earliest, the next chunk of a prompt in progress too (``_should_defer_prefill`` comes before
       the chunked request is looked at); at once where nothing decodes.
    7. Attention ranks without a prefill decode beside those that have one; with speculation
       prefill and decode do not share a step, so they idle.
    """

    holds_chunks = False

    def __init__(self, *, worker: WorkerView, settings: SglangSettings) -> None:
        ranks = worker.attention_dp
        cap = settings.max_running_requests
        super().__init__(worker=worker, max_running=NEVER if cap is None else max(cap // ranks, 1))
        chunk = settings.chunked_prefill_size
        self.composes_ahead = not settings.disable_overlap_schedule
        self.page = settings.page_size
        self.chunk = max(chunk // ranks, self.page) if chunk > 0 else NEVER
        self.max_prefill = settings.max_prefill_tokens
        self.mixes = settings.enable_mixed_chunk
        self.joint_prefill = not self.mixes and self.queries > 1
        self.runs_to_length = settings.disable_radix_cache
        self.delayer: SlotDelayer | None = None
        if settings.enable_prefill_delayer and ranks > 1:
            self.delayer = SlotDelayer(
                max_passes=settings.prefill_delayer_max_delay_passes,
                slots=self.max_running,
                bounded=settings.prefill_delayer_bounds_slots,
                window=settings.prefill_delayer_window,
                ranks=len(worker.ranks),
            )
        self.chunk_is_ready = settings.prefill_delayer_counts_chunks
        self.notes_every_arrival = (
            self.delayer is not None and settings.prefill_delayer_window is not None
        )
        self._last_pass = 0
        self._negotiated = False
        self._again = NEVER
        self.looks = Looks(settings.scheduler_recv_interval)
        self.looks_at_intervals = self.looks.interval > 1
        self.pause = settings.prefill_decode_interval
        self._last_prefill_step = -self.pause
        self.ratios = [(INITIAL_NEW_TOKEN_RATIO, 0)] * len(worker.ranks)

    def schedule(self) -> int:
        """See `Scheduler.schedule`."""
        self._negotiated = False
        limit = super().schedule()
        ranks = self.worker.ranks
        if self._negotiated and self.delayer is not None:
            self.delayer.started([len(rank.chunks) for rank in ranks])
        if self.pause and any(rank.chunks for rank in ranks):
            self._last_prefill_step = self.worker.steps
        if not self.looks_at_intervals:
            return limit
        self.looks.after_prefill = any(rank.chunks for rank in ranks)
        return min(limit, self.looks.next_in) if any(rank.waiting for rank in ranks) else limit

    def alike_steps(self) -> int:
        """See `Scheduler.alike_steps`: prompts that fill their chunk go on, and none may start.

        None may, where the delayer holds them back, the chunk is full or nothing waits.
        """
        if self.mixes or self.pause or self.looks_at_intervals or self._negotiated:
            return 0
        held = self.delayer is not None
        alike = NEVER
        for rank in self.worker.ranks:
            filled = False
            if rank.chunks:
                if len(rank.chunks) > 1 or len(rank.prefilling) > 1:
                    return 0
                ((sequence, tokens),) = rank.chunks
                steps = (sequence.target - sequence.computed - self.chunk - 1) // tokens
                if steps < alike:
                    if steps <= 0:
                        return 0
                    alike = steps
                filled = tokens == self.chunk
            if rank.waiting and not (held or filled or rank.blocked):
                return 0
        return alike

    def steps_to_wait(self) -> int:
        """See `PrefillFirstScheduler.steps_to_wait`."""
        worker = self.worker
        self.holds_chunks = False
        if self.pause and self.worker.is_decoding():
            left = self._last_prefill_step + self.pause - self.worker.steps
            self.holds_chunks = left > 0
            if left > 0:
                return left
        if self.looks_at_intervals:
            heads = [rank.waiting[0].reached_s for rank in worker.ranks if rank.waiting]
            looked = self.looks.look(
                step=worker.steps, now_s=worker.known_s, decoding=worker.is_decoding()
            )
            seen = looked or any(reached_s <= self.looks.last_s for reached_s in heads)
            if not seen and not any(rank.prefilling for rank in worker.ranks):
                return self.looks.next_in
        return 0 if self.delayer is None else self._negotiate(self.delayer)

    def _negotiate(self, delayer: SlotDelayer) -> int:
        """Passes for which the ranks hold new prompts back; 0 if they may start now."""
        worker = self.worker
        passes = worker.engine_steps
        if passes - self._last_pass > 1:
            delayer.skip(passes - self._last_pass - 1)
        self._last_pass = passes
        chunk_is_ready, slots = self.chunk_is_ready, self.max_running
        ready, running, waiting = [], [], []
        busy = False
        for rank in worker.ranks:  # `may_start` written out: asked of every rank in every pass
            queued = len(rank.waiting)
            decoding = rank.batch.size + rank.leaving
            filling = len(rank.prefilling)
            ready.append(
                (
                    queued > 0
                    and not rank.blocked
                    and decoding + filling + len(rank.reserved) < slots
                )
                or (chunk_is_ready and filling > 0)
            )
            running.append(decoding)
            waiting.append(queued)
            if decoding or filling:
                busy = True
        allowed = delayer.allows(ready=ready, running=running, waiting=waiting)
        if not busy:
            while not allowed:  # passes take no time while nothing runs
                allowed = delayer.allows(ready=ready, running=running, waiting=waiting)
        if allowed:
            self._negotiated = True
            self._again = 1 if any(ready) else NEVER
            return 0
        return delayer.passes_to_fire()

    def steps_to_wait_again(self) -> int:
        """See `PrefillFirstScheduler.steps_to_wait_again`."""
        return self._again if self._negotiated else NEVER

    def fill(self, rank: Rank, *, may_start: bool) -> None:
        """See `PrefillFirstScheduler.fill`."""
        budget = self.chunk
        input_left = self.max_prefill
        if self.mixes:
            budget -= rank.batch.size * self.queries
        for sequence in rank.prefilling:
            tokens = self._cut(sequence.target - sequence.computed, budget)
            if tokens <= 0:
                return
            rank.chunks.append((sequence, tokens))
            budget -= tokens
            input_left -= tokens
        waiting = rank.waiting
        running = rank.admitted_count()
        while (
            may_start and waiting and budget > 0 and input_left > 0 and running < self.max_running
        ):
            if rank.blocked:
                return
            sequence = waiting[0]
            left = rank.prefill_tokens(sequence, self.worker.steps - rank.lag)
            if rank.chunks and left > input_left:
                return
            tokens = self._cut(left, budget)
            if tokens <= 0:
                return
            left = self.admit_head(rank)
            if left == NO_ROOM:
                return
            running += 1
            if not left:
                continue
            rank.chunks.append((sequence, tokens))
            budget -= tokens
            input_left -= tokens
            if tokens < left:
                return

    def _cut(self, tokens: int, budget: int) -> int:
        """Tokens of a prompt that this step takes: all, or whole pages of the budget."""
        return tokens if tokens <= budget else budget // self.page * self.page

    def has_room(self, rank: Rank, sequence: RequestState) -> bool:
        """See `Scheduler.has_room`."""
        page = rank.pool.block_tokens
        step = self.worker.steps - rank.lag
        blocks = rank.blocks_needed(sequence) + rank.pool.admission_blocks
        if not (rank.batch.size or rank.prefilling or rank.reserved):
            return rank.has_room(blocks, step)
        rest_decoding = rank.batch.final_context_sum - rank.batch.context_at(step)
        if self.runs_to_length and rank.pool.windows_apart:
            return rank.has_room(blocks + 1, step)
        if self.runs_to_length:
            rest = sequence.final_tokens - sequence.target
            if rank.prefilling or rank.reserved:
                rest += sum(s.final_tokens - s.target for s in rank.filling())
            if rank.has_room(blocks + (rest + rest_decoding) / page + 1, step):
                return True
            return rank.has_room(blocks, step) and self._never_runs_out(rank, sequence, step)
        rest = min(sequence.final_tokens - sequence.target, CLIP_MAX_NEW_TOKENS)
        rest += sum(min(s.final_tokens - s.target, CLIP_MAX_NEW_TOKENS) for s in rank.filling())
        return rank.has_room(blocks + (rest + self._ratio(rank, step) * rest_decoding) / page, step)

    def _never_runs_out(self, rank: Rank, sequence: RequestState, step: int) -> bool:
        """Whether the batch with this request fits in every step until all have finished."""
        page = rank.pool.block_tokens
        fixed = rank.pool.fixed_blocks_per_request * page
        free = (rank.pool.total_blocks - rank.used_blocks(step)) * page
        free -= rank.blocks_needed(sequence) * page
        joining = [sequence, *rank.filling()]
        if not rank.batch.uneven and len(joining) <= FEW_JOINING:
            contexts = [(s.target, s.final_tokens - s.target) for s in joining]
            return free + rank.batch.least_cover(step, joining=contexts, fixed_tokens=fixed) > 0
        decoding, size = rank.batch.size, rank.batch.size + len(joining)
        occupied, left = np.empty((2, size))
        occupied[:decoding] = rank.batch.contexts(step)
        left[:decoding] = rank.batch.final_contexts()
        left[:decoding] -= occupied[:decoding]
        for index, joiner in enumerate(joining, start=decoding):
            occupied[index] = joiner.target
            left[index] = joiner.final_tokens - joiner.target
        order = left.argsort(kind="stable")
        # tokens that are free once only those are left that have at least as much to write
        freed = np.empty(size)
        freed[0] = free
        np.add(occupied[order[:-1]], fixed, out=freed[1:])
        freed.cumsum(out=freed)
        left = left[order]
        left += 1.0
        left *= np.arange(size, 0, -1)
        return bool((freed > left).all())

    def _ratio(self, rank: Rank, step: int) -> float:
        ratio, since = self.ratios[rank.index]
        return max(ratio - NEW_TOKEN_RATIO_DECAY * (step - since), MIN_NEW_TOKEN_RATIO)

    def preempt(self, rank: Rank, step: int) -> bool:
        """Retract the request with the fewest output tokens, the longest prompt among equals."""
        entry = min(
            rank.batch.running,
            key=lambda e: (e[2].rate * (step - e[2].start), -e[2].request.prompt_tokens, -e[1]),
        )
        rank.requeue(rank.remove_decoding(entry, step))
        rank.waiting.rotate(-1)
        written = sum(s.rate * (step - s.start) for _, _, s in rank.batch.running)
        total = sum(s.request.output_tokens for _, _, s in rank.batch.running)
        if total:
            ratio = (written + RETRACT_DECODE_STEPS * rank.batch.size) / total
            self.ratios[rank.index] = (min(ratio, 1.0), step)
        return True
