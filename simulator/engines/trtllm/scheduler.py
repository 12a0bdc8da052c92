"""TensorRT-LLM's scheduler (PyTorch backend, as of 1.0 to 1.3, 2025-10 to 2026-08).

In-flight batching: generation requests and prompts share a step under a token budget, in two
stages. The capacity scheduler decides which requests may hold KV blocks, the micro-batch
scheduler which of them run in this step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.engines.prefill_delay import AttentionDpBalance
from simulator.serving.decode_batch import NEVER
from simulator.serving.scheduler import NO_ROOM, Scheduler
from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.engines.trtllm.engine import TrtllmSettings
    from simulator.serving.rank import Rank
    from simulator.serving.request_state import RequestState
    from simulator.serving.scheduler import WorkerView


class TrtllmScheduler(Scheduler):
    """Two capacity policies, optional chunked context, waiting to align data-parallel ranks.

    Notes
    -----
    1. ``guaranteed_no_evict`` admits a request if the blocks of its whole life are free beside
       those of all running requests; nothing is ever preempted. ``max_utilization`` admits
       while the prompt's blocks are free and, when blocks run out, pauses the request admitted
       last, which is recomputed.
    2. Generation requests take their tokens of ``max_num_tokens`` first, prompts in order of
       arrival what is left, at most ``max_batch_size`` requests together. Without chunked
       context a prompt waits until it fits as a whole; with it, it is cut at a block boundary.
    3. ``attention_dp_enable_balance``: prompts, those in progress too, wait until all
       data-parallel ranks have one (`simulator.engines.prefill_delay.AttentionDpBalance`).
    4. ``batch_wait_timeout_iters``: without attention data parallelism, prompts wait beside
       decoding requests for at most that many steps until a step holds
       ``batch_wait_max_tokens_ratio`` of its budget.
    5. Unless ``disable_overlap_scheduler``, a step is composed when the one before it starts.
    """

    def __init__(self, *, worker: WorkerView, settings: TrtllmSettings) -> None:
        self.budget = settings.max_num_tokens
        decodable = max(self.budget // worker.cost.queries_per_request, 1)
        super().__init__(worker=worker, max_running=min(settings.max_batch_size, decodable))
        self.composes_ahead = not settings.disable_overlap_scheduler
        self.chunked = settings.enable_chunked_prefill
        self.block = settings.tokens_per_block
        self.evicts = settings.capacity_policy == "max_utilization"
        self.balance: AttentionDpBalance | None = None
        self.wait_steps = self.waited = 0
        self.wait_tokens = 0.0
        self.waiting = False
        if worker.attention_dp == 1:
            self.wait_steps = settings.batch_wait_timeout_iters
            self.wait_tokens = settings.batch_wait_max_tokens_ratio * self.budget
        elif settings.attention_dp_enable_balance:
            self.balance = AttentionDpBalance(
                timeout=settings.attention_dp_timeout_iters,
                batching_wait=settings.attention_dp_batching_wait_iters,
            )
        self.looks_at_intervals = self.balance is not None
        self.notes_every_arrival = self.wait_steps > 0 and self.wait_tokens > 0
        self._last_pass = 0
        self._all_could = False

    def schedule(self) -> int:
        """See `Scheduler.schedule`."""
        worker = self.worker
        limit = NEVER
        hold = 0
        if self.balance is not None:
            hold = self._balance(self.balance)
        elif self.notes_every_arrival:
            hold = self._wait_for_tokens()
        if hold:
            limit = hold
        for rank in worker.ranks:
            preempted = (
                rank.batch.size > 0
                and worker.steps - rank.lag > rank.safe_step
                and self.make_room(rank)
            )
            if preempted:
                limit = 1  # admission resumes after this step
            if not hold and (rank.prefilling or (rank.waiting and not preempted)):
                self._fill(rank, not preempted)
        if self._all_could and any(rank.blocked for rank in worker.ranks):
            limit = 1  # a head that was found not to fit: not all ranks can at the next pass
        return limit

    def _passes(self) -> int:
        """Steps since the last pass that were slept through. [steps]"""
        passes = self.worker.engine_steps - self._last_pass - 1
        self._last_pass = self.worker.engine_steps
        return max(passes, 0)

    def _balance(self, balance: AttentionDpBalance) -> int:
        """Steps for which prompts wait for other ranks; 0 if they may run now."""
        ranks = self.worker.ranks
        balance.skip(self._passes())
        all_can = all(self._has_prompt(rank) for rank in ranks)
        fires = balance.fires(
            all_can=all_can,
            all_decode=all(rank.batch.size + rank.leaving for rank in ranks),
        )
        self._all_could = fires and all_can
        queued = any(rank.prefilling or rank.waiting for rank in ranks)
        return balance.passes_to_fire() if queued and not fires else 0

    def _has_prompt(self, rank: Rank) -> bool:
        return bool(rank.prefilling or (rank.waiting and not rank.blocked and self.may_start(rank)))

    def _wait_for_tokens(self) -> int:
        """Steps for which prompts wait to be more; 0 if they may run now."""
        passes = self._passes()
        if self.waiting:
            self.waited += passes
        self.waiting = False
        rank = self.worker.ranks[0]
        decoding = rank.batch.size + rank.leaving
        if not decoding or not self._has_prompt(rank):
            return 0
        tokens = decoding * self.queries + sum(s.target for s in rank.prefilling)
        for sequence in rank.waiting:
            if tokens >= self.wait_tokens:
                break
            tokens += sequence.target
        if tokens >= self.wait_tokens or self.waited >= self.wait_steps:
            self.waited = 0
            return 0
        self.waited += 1
        self.waiting = True
        return max(self.wait_steps - self.waited + 1, 1)

    def _fill(self, rank: Rank, may_start: bool) -> None:
        budget = self.budget - rank.batch.size * self.queries
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
            if not self.chunked and left > self.budget:
                raise UserError(
                    f"a prompt of {left} tokens exceeds max_num_tokens {self.budget}; raise it or "
                    "set enable_chunked_prefill"
                )
            if self._cut(left, budget) <= 0:
                return
            left = self.admit_head(rank)
            if left == NO_ROOM:
                return
            if left:
                tokens = self._cut(left, budget)
                rank.chunks.append((sequence, tokens))
                budget -= tokens
            running += 1

    def _cut(self, tokens: int, budget: int) -> int:
        """Tokens of a prompt that fit the budget: all, or whole blocks where cutting is on."""
        if tokens <= budget:
            return tokens
        return budget // self.block * self.block if self.chunked else 0

    def has_room(self, rank: Rank, sequence: RequestState) -> bool:
        """See `Scheduler.has_room`."""
        if not super().has_room(rank, sequence):
            return False
        if self.evicts:
            return True
        pool = rank.pool
        sequence.life_blocks = pool.blocks(sequence.final_tokens + self.queries)
        life_blocks = rank.life_blocks + sequence.life_blocks
        return life_blocks + pool.admission_blocks <= pool.total_blocks
