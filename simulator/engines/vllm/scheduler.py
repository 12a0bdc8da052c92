"""vLLM's V1 scheduler (as of 0.11 to 0.20, 2025-10 to 2026-08).

Every step has one token budget per data-parallel rank. Decoding requests come first, then the
prompt in progress, then the head of the queue, cut to what is left of the budget; so a step
mixes decode and at most one unfinished prompt per rank, and prefill never stops decode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.serving.decode_batch import NEVER
from simulator.serving.scheduler import NO_ROOM, Scheduler

if TYPE_CHECKING:
    from simulator.engines.vllm.engine import VllmSettings
    from simulator.serving.rank import Rank
    from simulator.serving.scheduler import WorkerView


class VllmScheduler(Scheduler):
    """Token budget, chunked prefill, first come first served, recompute preemption.

    Notes
    -----
    Rules, in the engine's order (``vllm/v1/core/sched/scheduler.py``):

    1. Running requests get their tokens; if blocks run out, the request admitted last is
       preempted, returns to the head of the queue and is recomputed. Nothing is admitted in a
       step that preempted.
    2. Waiting requests are admitted in order while fewer than ``max_num_seqs`` run, budget is
       left and the whole prompt's blocks are free, the in-flight charge included. The first
       that does not fit stops admission.
    3. Without chunked prefill a prompt waits until it fits what is left of the budget; a prompt
       longer than the whole budget is cut all the same.
    4. With ``prefill_schedule_interval`` n, prompts start only in every n-th step, so that
       data-parallel ranks start them together.
    """

    def __init__(self, *, worker: WorkerView, settings: VllmSettings) -> None:
        self.budget = settings.max_num_batched_tokens
        decodable = max(self.budget // worker.cost.queries_per_request, 1)
        super().__init__(worker=worker, max_running=min(settings.max_num_seqs, decodable))
        self.chunked = settings.enable_chunked_prefill
        self.interval = settings.prefill_schedule_interval

    def schedule(self) -> int:
        """See `Scheduler.schedule`."""
        worker = self.worker
        queries = self.queries
        phase = worker.engine_steps % self.interval
        may_start = phase == 0 or not worker.is_running()
        limit = NEVER if may_start or not worker.has_queued() else self.interval - phase
        for rank in worker.ranks:
            preempted = (
                rank.batch.size > 0
                and worker.steps - rank.lag > rank.safe_step
                and self.make_room(rank)
            )
            if preempted:
                limit = 1  # admission resumes after this step
            if rank.prefilling:
                budget = self.budget - rank.batch.size * queries
                for sequence in rank.prefilling:
                    if budget <= 0:
                        break
                    tokens = min(sequence.target - sequence.computed, budget)
                    rank.chunks.append((sequence, tokens))
                    budget -= tokens
                if budget > 0 and rank.waiting and may_start and not preempted:
                    self._admit(rank, budget)
            elif rank.waiting and may_start and not preempted:
                self._admit(rank, self.budget - rank.batch.size * queries)
        return limit

    def _admit(self, rank: Rank, budget: int) -> None:
        waiting = rank.waiting
        running = rank.admitted_count()
        while waiting and budget > 0 and running < self.max_running and not rank.blocked:
            sequence = waiting[0]
            left = rank.prefill_tokens(sequence, self.worker.steps - rank.lag)
            if not self.chunked and budget < left and budget < self.budget:
                return
            left = self.admit_head(rank)
            if left == NO_ROOM:
                return
            if left:
                tokens = min(left, budget)
                rank.chunks.append((sequence, tokens))
                budget -= tokens
            running += 1
