"""AMD ATOM's scheduler (as of 2026-03 to 2026-08).

Prefill comes first, as in SGLang, but prompts are taken whole under vLLM's budget names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.serving.scheduler import NO_ROOM, Alignment, PrefillFirstScheduler

if TYPE_CHECKING:
    from simulator.engines.atom.engine import AtomSettings
    from simulator.serving.rank import Rank
    from simulator.serving.scheduler import WorkerView


class AtomScheduler(PrefillFirstScheduler):
    """Whole prompts first, decode otherwise, optional alignment of data-parallel prefills.

    Notes
    -----
    1. Waiting requests are admitted in order while fewer than ``max_num_seqs`` run, the prompt
       fits what is left of ``max_num_batched_tokens`` and its blocks are free. A prompt longer
       than the whole budget is taken alone, cut into budget-sized steps.
    2. Otherwise the decode batch advances. If blocks run out, the request admitted last is
       preempted, returns to the head of the queue and is recomputed.
    3. With ``prefill_align_steps``, prefills are held back while only some data-parallel ranks
       could start one, for at most that many decode steps.
    """

    def __init__(self, *, worker: WorkerView, settings: AtomSettings) -> None:
        super().__init__(worker=worker, max_running=settings.max_num_seqs)
        self.budget = settings.max_num_batched_tokens
        self.alignment = Alignment(settings.prefill_align_steps if worker.attention_dp > 1 else 0)

    def fill(self, rank: Rank) -> None:
        """See `PrefillFirstScheduler.fill`."""
        budget = self.budget
        for sequence in rank.prefilling:
            tokens = min(sequence.target - sequence.computed, budget)
            rank.chunks.append((sequence, tokens))
            budget -= tokens
        waiting = rank.waiting
        running = rank.admitted_count()
        while waiting and running < self.max_running and not rank.blocked:
            sequence = waiting[0]
            left = rank.prefill_tokens(sequence, self.worker.steps - rank.lag)
            if left > budget and budget < self.budget:
                return
            left = self.admit_head(rank)
            if left == NO_ROOM:
                return
            if left:
                tokens = min(left, budget)
                rank.chunks.append((sequence, tokens))
                budget -= tokens
            running += 1
