"""One attention data-parallel rank: its queue, its running requests and its KV pool.

Decoding requests advance together, one engine step at a time, and each request's context grows
at its own constant rate. So a rank keeps sums over its batch and a heap of last steps, and no
step touches a request: admission, completion and preemption cost O(log n), a step O(1).
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from math import ceil, floor, inf
from typing import TYPE_CHECKING, TypeAlias

from simulator.prefixcache import PrefixCache

if TYPE_CHECKING:
    from simulator.kvcache import KvPoolSpec
    from simulator.sequence import Sequence
    from simulator.step_cost import StepCost

NEVER = 1 << 62
"""A step that no run reaches."""

Entry: TypeAlias = "tuple[int, int, Sequence]"
"""A request of the decode batch: the step after its last, its admission order, itself."""


class Rank:
    """Queue, batch and KV pool of one rank.

    All step numbers are the rank's own: it counts the decode steps that its batch took part in.

    Attributes
    ----------
    waiting:
        Requests that hold nothing yet, first come first.
    expected:
        Requests that were prefilled elsewhere and have no blocks here yet.
    reserved:
        Admitted requests whose KV entries are on their way (transfer, load, swap).
    arrived:
        Those of them whose KV entries have come since the last decision.
    prefilling:
        Admitted requests whose prompt is not finished, in admission order.
    handed_over:
        Requests whose prompt is done and whose KV entries another worker has yet to fetch.
    chunks:
        Prompt chunks (request, tokens) of the step that is running.
    running, decoding:
        The decode batch as a heap, and its size. [requests]
    context_sum, rate_sum, final_context_sum:
        Over the batch: context in step ``mark`` [tokens], its growth [tokens/step], and the
        context at the end [tokens].
    held:
        Blocks in use beyond what `context_sum` and the batch's fixed blocks account for. [blocks]
    blocked:
        The head of the queue did not fit; nothing changes that until something is released.
    """

    __slots__ = (
        "arrived",
        "blocked",
        "cache",
        "chunks",
        "context_sum",
        "cost",
        "decoding",
        "expected",
        "final_context_sum",
        "handed_over",
        "held",
        "index",
        "lag",
        "line_limit",
        "line_slope_s",
        "line_stale",
        "line_value_s",
        "line_x0",
        "mark",
        "pool",
        "prefilling",
        "rate_sum",
        "reserved",
        "running",
        "safe_step",
        "swapped_bytes",
        "waiting",
    )

    def __init__(
        self, *, index: int, pool: KvPoolSpec, cost: StepCost, caches_prefixes: bool
    ) -> None:
        self.index = index
        self.pool = pool
        self.cost = cost
        self.cache = PrefixCache(pool) if caches_prefixes else None
        self.waiting: deque[Sequence] = deque()
        self.expected: deque[Sequence] = deque()
        self.reserved: list[Sequence] = []
        self.arrived: list[Sequence] = []
        self.prefilling: list[Sequence] = []
        self.chunks: list[tuple[Sequence, int]] = []
        self.running: list[Entry] = []
        self.decoding = 0
        self.handed_over = 0
        self.held = 0
        self.swapped_bytes = 0.0
        self.blocked = False
        self.lag = 0
        self.mark = 0
        self.context_sum = 0.0
        self.rate_sum = 0.0
        self.final_context_sum = 0
        self.safe_step = -1
        self.line_stale = True
        self.line_value_s = self.line_slope_s = self.line_x0 = 0.0
        self.line_limit = inf

    def admitted_count(self) -> int:
        """Requests that hold blocks here. [requests]"""
        return self.decoding + len(self.prefilling) + len(self.reserved)

    def admitted(self) -> list[Sequence]:
        """Requests that hold blocks here."""
        return self.filling() + [sequence for _, _, sequence in self.running]

    def filling(self) -> list[Sequence]:
        """Admitted requests that do not decode yet."""
        return self.reserved + self.prefilling

    # decode batch -------------------------------------------------------------------------

    def context_at(self, step: int) -> float:
        """Summed context of the batch in a step. [tokens]"""
        return self.context_sum + self.rate_sum * (step - self.mark)

    def start_decode(self, sequence: Sequence, step: int) -> None:
        """Add a request to the batch from this step on."""
        done = sequence.steps_done
        self.context_sum += (
            self.rate_sum * (step - self.mark) + sequence.base_tokens + sequence.rate * done
        )
        self.rate_sum += sequence.rate
        self.final_context_sum += sequence.final_tokens
        self.mark = step
        self.decoding += 1
        self.safe_step = -1
        self.line_stale = True
        self.held -= sequence.blocks + sequence.shared_blocks
        sequence.blocks = 0
        sequence.start = step - done
        last = sequence.start + sequence.request.decode_steps
        heappush(self.running, (last, sequence.order, sequence))

    def next_finish(self) -> int:
        """Step before which the next request leaves the batch."""
        return self.running[0][0] if self.running else NEVER

    def pop_finished(self, step: int) -> Sequence:
        """Remove the request that leaves the batch next, all of its steps done."""
        sequence = heappop(self.running)[2]
        self._leave(sequence, step)
        self.drop(sequence, finished=True)
        return sequence

    def remove_decoding(self, entry: Entry, step: int) -> Sequence:
        """Take a request out of the batch before its last step; its blocks are free."""
        self.running.remove(entry)
        heapify(self.running)
        sequence = entry[2]
        self._leave(sequence, step)
        self.drop(sequence)
        return sequence

    def last_admitted(self) -> Entry | None:
        """The request of the batch that was admitted last."""
        return max(self.running, key=_order_of, default=None)

    def _leave(self, sequence: Sequence, step: int) -> None:
        if self.cache is not None:
            self.trim_cache(step)  # evict for the fullest moment before anything is freed
        self.decoding -= 1
        self.line_stale = True
        sequence.steps_done = step - sequence.start
        if self.decoding:
            self.context_sum += (
                self.rate_sum * (step - self.mark)
                - sequence.base_tokens
                - sequence.rate * sequence.steps_done
            )
            self.rate_sum -= sequence.rate
            self.final_context_sum -= sequence.final_tokens
        else:
            self.context_sum = self.rate_sum = 0.0
            self.final_context_sum = 0
        self.mark = step
        self.held += sequence.shared_blocks

    # KV pool ------------------------------------------------------------------------------

    def prefill_tokens(self, sequence: Sequence, step: int) -> int:
        """Tokens of the head of the queue that are not in the prefix cache. [tokens]"""
        if self.cache is None or sequence.swapped or not sequence.request.block_hashes:
            return sequence.target
        self.trim_cache(step)
        sequence.match = self.cache.match(sequence.request, sequence.target)
        return sequence.target - sequence.match.tokens

    def blocks_needed(self, sequence: Sequence) -> int:
        """Pool blocks that admission takes, those that others already hold left out. [blocks]"""
        blocks = self.pool.blocks(sequence.target)
        if sequence.match is not None:
            blocks -= sequence.match.live_tokens // self.pool.block_tokens
        return blocks

    def admit(self, sequence: Sequence, *, now: float, order: int, step: int) -> float:
        """Give a request its blocks and put it into prefill.

        Returns
        -------
        float
            Time until its KV entries have come from another tier, 0 if nothing has to come; in
            the first case it is reserved, not yet in prefill. [s]
        """
        sequence.order = order
        self.safe_step = -1
        load_s = 0.0
        match = sequence.match
        if match is not None:
            assert self.cache is not None
            before = self.cache.held_blocks
            sequence.prefix = self.cache.hold(sequence.request, match)
            self.held += self.cache.held_blocks - before
            sequence.shared_blocks = match.pool_tokens // self.pool.block_tokens
            sequence.computed = match.tokens
            load_s = match.load_s
            sequence.match = None
        elif sequence.swapped:
            assert self.pool.swap is not None
            size_bytes = sequence.target * self.pool.token_bytes
            load_s = self.pool.swap.load_s(size_bytes)
            self.swapped_bytes -= size_bytes
            sequence.computed = sequence.target
            sequence.swapped = False
        if sequence.scheduled_s < 0:
            sequence.scheduled_s = now
            sequence.cached_tokens = sequence.computed
        sequence.blocks = self.pool.blocks(sequence.target) - sequence.shared_blocks
        self.held += sequence.blocks
        if self.cache is not None:
            self.trim_cache(step)
        (self.reserved if load_s else self.prefilling).append(sequence)
        return load_s

    def reserve(self, sequence: Sequence, order: int) -> None:
        """Give blocks to a request that was prefilled elsewhere."""
        sequence.order = order
        sequence.computed = sequence.target
        sequence.blocks = self.pool.blocks(sequence.target)
        self.held += sequence.blocks
        self.safe_step = -1
        self.reserved.append(sequence)

    def requeue(self, sequence: Sequence) -> None:
        """Put a preempted request, its blocks freed, back to the head of the queue.

        Its KV entries are swapped out where there is room, else dropped to be recomputed.
        """
        swap = self.pool.swap
        if swap is not None and sequence.steps_done and sequence.computed >= sequence.target:
            size_bytes = self.pool.token_bytes * ceil(
                sequence.base_tokens + sequence.rate * sequence.steps_done
            )
            if self.swapped_bytes + size_bytes <= swap.capacity_bytes:
                self.swapped_bytes += size_bytes
                sequence.swap_out()
                self.waiting.appendleft(sequence)
                return
        sequence.restart()
        self.waiting.appendleft(sequence)

    def finish_prefill(self, sequence: Sequence) -> None:
        """The whole prompt has its KV entries; its blocks may serve later prompts from now on."""
        cache = self.cache
        request = sequence.request
        if cache is None or not request.block_hashes:
            return
        before = cache.held_blocks
        sequence.prefix = cache.insert(request, sequence.prefix)
        self.held += cache.held_blocks - before
        shared = len(request.block_hashes) * request.block_tokens // self.pool.block_tokens
        self.held -= shared - sequence.shared_blocks
        sequence.blocks -= shared - sequence.shared_blocks
        sequence.shared_blocks = shared
        self.safe_step = -1

    def drop(self, sequence: Sequence, *, finished: bool = False) -> None:
        """Free what a request holds outside the decode batch."""
        self.held -= sequence.blocks
        sequence.blocks = 0
        if sequence.prefix is not None:
            cache = self.cache
            assert cache is not None
            before = cache.held_blocks
            cache.release(sequence.prefix)
            if finished and sequence.request.session >= 0:
                cache.keep_output(sequence.request)
            self.held += cache.held_blocks - before
            sequence.prefix = None
            sequence.shared_blocks = 0
        self.safe_step = -1
        self.blocked = False

    def trim_cache(self, step: int) -> None:
        """Evict cached blocks whose room the running requests need in this step."""
        assert self.cache is not None
        pool = self.pool
        growing = self.context_at(step) / pool.block_tokens + self.decoding
        fixed = self.decoding * pool.fixed_blocks_per_request
        self.cache.shrink(pool.total_blocks - self.held - fixed - growing)

    def has_room(self, blocks: float, step: int) -> bool:
        """Whether this many blocks are free once the batch has what its next step needs."""
        pool = self.pool
        room = (
            pool.total_blocks - self.held - blocks - self.decoding * pool.fixed_blocks_per_request
        )
        linear = (self.context_sum + self.rate_sum * (step - self.mark)) / pool.block_tokens
        if linear + self.decoding <= room:
            return True
        return linear <= room and self._growing_blocks(step) <= room

    def used_blocks(self, step: int) -> int:
        """Blocks in use in a step. [blocks]"""
        fixed = self.decoding * self.pool.fixed_blocks_per_request
        return self.held + fixed + self._growing_blocks(step)

    def fits(self, step: int) -> bool:
        """Whether the batch's blocks in this step fit the pool."""
        return step <= self.safe_step or self.last_fitting_step(step, step) >= step

    def last_fitting_step(self, step: int, horizon: int) -> int:
        """Last step up to ``horizon`` whose blocks fit if nothing joins or leaves.

        Below ``step`` if not even that one fits. A bound that is linear in the steps answers
        at once while memory is plentiful; otherwise blocks are counted and the step is bisected.
        """
        if horizon <= self.safe_step:
            return horizon
        pool = self.pool
        room = pool.total_blocks - self.held - self.decoding * pool.fixed_blocks_per_request
        if self.rate_sum <= 0.0:
            self.safe_step = NEVER if self._growing_blocks(step) <= room else step - 1
            return min(self.safe_step, horizon)
        spare = (room - self.decoding) * pool.block_tokens - self.context_sum
        self.safe_step = max(self.mark + floor(spare / self.rate_sum), step - 1)
        if horizon <= self.safe_step:
            return horizon
        if self._growing_blocks(horizon) <= room:
            self.safe_step = horizon
            return horizon
        low, high = self.safe_step, horizon
        while high - low > 1:
            middle = (low + high) // 2
            if self._growing_blocks(middle) <= room:
                low = middle
            else:
                high = middle
        self.safe_step = low
        return low

    def _growing_blocks(self, step: int) -> int:
        tokens = self.pool.block_tokens
        return sum(
            ceil((s.base_tokens + s.rate * (step - s.start)) / tokens) for _, _, s in self.running
        )

    # attention cost -----------------------------------------------------------------------

    def decode_attention_s(self, step: int) -> float:
        """Decode attention of this rank in a step. [s]

        The line found last serves until the batch changes or its segment ends.
        """
        context = self.context_sum + self.rate_sum * (step - self.mark)
        if self.line_stale or context > self.line_limit:
            line = self.cost.decode_attention(requests=self.decoding, context_sum=context)
            self.line_value_s, self.line_slope_s, self.line_limit = line
            self.line_x0 = context
            self.line_stale = False
            return self.line_value_s
        return self.line_value_s + self.line_slope_s * (context - self.line_x0)


def _order_of(entry: Entry) -> int:
    return entry[1]
