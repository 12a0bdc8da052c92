"""AMD ATOM's scheduler (2026-03 to 2026-08; the rules of a date are in ``rules.yaml``).

Prefill comes first, as in SGLang, under vLLM's budget names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.engines.prefill_delay import Coalescer, FewRanksDelay, PassState
from simulator.serving.decode_batch import NEVER
from simulator.serving.scheduler import NO_ROOM, PrefillFirstScheduler

if TYPE_CHECKING:
    from simulator.engines.atom.engine import AtomSettings
    from simulator.serving.rank import Rank
    from simulator.serving.scheduler import WorkerView

_FAR = 1 << 20  # steps that no decode run reaches

MEMORY_SHORT = 0.9
"""KV pool use of a ready rank from which the coalescer does not wait."""


class AtomScheduler(PrefillFirstScheduler):
    """Prompts first, decode otherwise; data-parallel ranks collect prompts and start together.

    Notes
    -----
    1. Prompts in progress go on, then waiting requests are admitted in order while fewer than
       ``max_num_seqs`` run and their blocks are free. With chunked prefill a prompt is cut to
       what is left of ``max_num_batched_tokens``, at a block boundary; without, it waits until it
       fits, and one longer than the whole budget is taken alone in budget-sized steps.
    2. Otherwise the decode batch advances. If blocks run out, the request admitted last is
       preempted, returns to the head of the queue and is recomputed.
    3. ``prefill_alignment`` says when data-parallel ranks hold prompts back: ``coalescer``
       (`simulator.engines.prefill_delay.Coalescer`), ``full_budget`` (a rank is ready with a
       whole budget of prompts), ``some_ranks`` (only while some ranks could start) or ``none``.
       What is held back stops prompts in progress too; decode goes on.
    4. With ``deferred_output`` the next step is composed when the present one starts.
    """

    def __init__(self, *, worker: WorkerView, settings: AtomSettings) -> None:
        super().__init__(worker=worker, max_running=settings.max_num_seqs)
        self.budget = settings.max_num_batched_tokens
        self.chunked = settings.enable_chunked_prefill
        self.block = min(settings.block_size, self.budget)
        self.composes_ahead = settings.deferred_output
        kind = settings.prefill_alignment if worker.attention_dp > 1 else "none"
        self.whole_budget = kind == "full_budget"
        self.delay: Coalescer | FewRanksDelay | None = None
        if kind == "coalescer":
            self.delay = Coalescer(
                budget_tokens=self.budget,
                fill=settings.prefill_align_fill,
                max_hold=settings.prefill_align_max_ticks,
                max_hold_in_progress=settings.prefill_align_partial_ticks,
                max_stall=settings.prefill_align_stall_ticks,
            )
        elif kind != "none":
            self.delay = FewRanksDelay(max_hold=settings.prefill_align_max_ticks)
        self.notes_every_arrival = self.delay is not None
        self._last_pass = 0
        self._again = NEVER

    def steps_to_wait(self) -> int:
        """See `PrefillFirstScheduler.steps_to_wait`."""
        delay = self.delay
        if delay is None:
            return 0
        worker = self.worker
        delay.skip(max(worker.engine_steps - self._last_pass - 1, 0))
        self._last_pass = worker.engine_steps
        ready, pending, fitting = [], [], []
        memory_short = False
        for rank in worker.ranks:
            tokens = sum(s.target - s.computed for s in rank.prefilling)
            for sequence in rank.waiting:
                if tokens >= self.budget:
                    break
                tokens += sequence.target
            pending.append(min(tokens, self.budget))
            fits = bool(rank.waiting) and not rank.prefilling and self._fits(rank)
            if fits:
                fitting.append(rank)
            able = bool(rank.prefilling) or fits
            if self.whole_budget:
                able = tokens >= self.budget
            ready.append(able)
            if able and self._is_short(rank, 0):
                memory_short = True
        state = PassState(
            ready=ready,
            pending_tokens=pending,
            in_progress=any(rank.prefilling for rank in worker.ranks),
            decoding=any(rank.batch.size or rank.leaving for rank in worker.ranks),
            memory_short=memory_short,
        )
        fires = delay.fires(state)
        passes = _FAR if fires else delay.passes_to_fire()
        unchanged = 1 if fires and delay.at_bound else self._unchanged(passes, ready, fitting)
        self._again = unchanged if fires else NEVER
        return 0 if fires else unchanged

    def steps_to_wait_again(self) -> int:
        """See `PrefillFirstScheduler.steps_to_wait_again`."""
        return self._again

    def _fits(self, rank: Rank) -> bool:
        return self.has_room(rank, rank.waiting[0])

    def _is_short(self, rank: Rank, ahead: int) -> bool:
        """Whether a rank's pool is nearly full some steps ahead."""
        step = self.worker.steps - rank.lag + ahead
        return rank.uses(MEMORY_SHORT * rank.pool.total_blocks - rank.leaving_blocks, step)

    def _unchanged(self, passes: int, ready: list[bool], fitting: list[Rank]) -> int:
        """Passes up to this many in which decode growth does not change what the rule sees."""
        for rank in fitting:
            blocks = rank.blocks_needed(rank.waiting[0]) + rank.pool.admission_blocks
            step = self.worker.steps - rank.lag
            passes = max(rank.steps_with_room(blocks, step, passes), 1)
        for rank, able in zip(self.worker.ranks, ready, strict=True):
            if able and self._is_short(rank, passes):
                short = MEMORY_SHORT * rank.pool.total_blocks - rank.leaving_blocks
                passes = rank.steps_to_use(short, self.worker.steps - rank.lag, passes)
        return min(passes, NEVER)

    def fill(self, rank: Rank, *, may_start: bool) -> None:
        """See `PrefillFirstScheduler.fill`."""
        budget = self.budget
        for sequence in rank.prefilling:
            tokens = self._cut(sequence.target - sequence.computed, budget)
            if tokens <= 0:
                return
            rank.chunks.append((sequence, tokens))
            budget -= tokens
        waiting = rank.waiting
        running = rank.admitted_count()
        while may_start and waiting and running < self.max_running and not rank.blocked:
            sequence = waiting[0]
            left = rank.prefill_tokens(sequence, self.worker.steps - rank.lag)
            whole = budget == self.budget
            tokens = (
                left if left <= budget else self._cut(left, budget) if self.chunked or whole else 0
            )
            if tokens <= 0:
                return
            left = self.admit_head(rank)
            if left == NO_ROOM:
                return
            if left:
                tokens = min(left, tokens)
                rank.chunks.append((sequence, tokens))
                budget -= tokens
            running += 1
            if tokens < left:
                return

    def _cut(self, tokens: int, budget: int) -> int:
        """Tokens of a prompt that fit the budget: all, or whole blocks where cutting is on."""
        if tokens <= budget:
            return tokens
        return budget // self.block * self.block if self.chunked else budget
