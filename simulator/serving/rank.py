"""One attention data-parallel rank: its queue, its decode batch and its KV pool."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from math import ceil, lcm
from typing import TYPE_CHECKING

from simulator.serving.decode_batch import DecodeBatch
from simulator.serving.prefix_cache import PrefixCache
from simulator.serving.rank_room import RankRoom

if TYPE_CHECKING:
    from simulator.serving.decode_batch import Entry
    from simulator.serving.kv_pool import KvPoolSpec
    from simulator.serving.request_state import RequestState
    from simulator.serving.step_cost import StepCost


class Rank(RankRoom):
    """Queue, decode batch and KV pool of one rank.

    All step numbers are the rank's own: it counts the decode steps that its batch took part in.

    Attributes
    ----------
    waiting:
        Requests that hold nothing yet, first come first.
    incoming:
        Requests that have arrived since the composition of the next step was fixed.
    leaving, leaving_blocks:
        Requests that finished after that, and their blocks: both still count as taken.
        [requests], [blocks]
    expected:
        Requests that were prefilled elsewhere and have no blocks here yet.
    reserved:
        Admitted requests whose KV entries are on their way (transfer, load, swap), by their
        admission order.
    arrived:
        Those of them whose KV entries have come since the last decision.
    prefilling:
        Admitted requests whose prompt is not finished, in admission order.
    handed_over:
        Requests whose prompt is done and whose KV entries another worker has yet to fetch.
    chunks:
        Prompt chunks (request, tokens) of the step that is running.
    batch:
        The requests that decode.
    life_blocks:
        Blocks that the admitted requests will hold at their full length, where the scheduler
        counts them (`RequestState.life_blocks`). [blocks]
    held:
        Blocks in use beyond those of the decode batch. [blocks]
    blocked:
        The head of the queue did not fit; nothing changes that until something is released.
    safe_step:
        Last step known to fit the pool if nothing joins or leaves.
    """

    __slots__ = (
        "arrived",
        "blocked",
        "chunks",
        "expected",
        "handed_over",
        "incoming",
        "index",
        "lag",
        "leaving",
        "life_blocks",
        "prefilling",
        "reserved",
        "swapped_bytes",
        "waiting",
    )

    def __init__(
        self, *, index: int, pool: KvPoolSpec, cost: StepCost, caches_prefixes: bool
    ) -> None:
        self.index = index
        self.pool = pool
        self.batch = DecodeBatch(cost=cost, block_tokens=pool.block_tokens)
        self.cache = PrefixCache(pool) if caches_prefixes else None
        self.waiting: deque[RequestState] = deque()
        self.incoming: deque[RequestState] = deque()
        self.leaving = self.leaving_blocks = 0
        self.expected: deque[RequestState] = deque()
        self.reserved: dict[int, RequestState] = {}
        self.arrived: list[RequestState] = []
        self.prefilling: list[RequestState] = []
        self.chunks: list[tuple[RequestState, int]] = []
        self.handed_over = 0
        self.held = 0
        self.life_blocks = 0
        self.swapped_bytes = 0.0
        self.blocked = False
        self.lag = 0
        self.safe_step = -1

    def admitted_count(self) -> int:
        """Requests that hold blocks here, as the engine knows it when it decides. [requests]"""
        count = self.batch.size + self.leaving
        if self.prefilling:
            count += len(self.prefilling)
        if self.reserved:
            count += len(self.reserved)
        return count

    def filling(self) -> list[RequestState]:
        """Admitted requests that do not decode yet."""
        return [*self.reserved.values(), *self.prefilling]

    # decode batch -------------------------------------------------------------------------

    def start_decode(self, sequence: RequestState, step: int) -> None:
        """Add a request to the batch from this step on."""
        self.batch.join(sequence, step)
        self.held -= sequence.blocks + sequence.shared_blocks
        sequence.blocks = 0
        self.safe_step = -1

    def pop_finished(self, step: int) -> RequestState:
        """Remove the request that leaves the batch next, all of its steps done."""
        sequence = self._leave(0, step)
        self.drop(sequence, finished=True)
        return sequence

    def remove_decoding(self, entry: Entry, step: int) -> RequestState:
        """Take a request out of the batch before its last step; its blocks are free."""
        sequence = self._leave(bisect_left(self.batch.running, entry), step)
        self.drop(sequence)
        return sequence

    def _leave(self, position: int, step: int) -> RequestState:
        if self.cache is not None:
            self.trim_cache(step)  # evict for the fullest moment before anything is freed
        sequence = self.batch.leave(position, step)
        self.held += sequence.shared_blocks
        return sequence

    # KV pool ------------------------------------------------------------------------------

    def prefill_tokens(self, sequence: RequestState, step: int) -> int:
        """Tokens of the head of the queue that are not in the prefix cache. [tokens]"""
        if self.cache is None or sequence.swapped or not sequence.request.block_hashes:
            return sequence.target
        for other in self.prefilling:
            self._catch_up(other)
        self.trim_cache(step)
        sequence.match = self.cache.match(sequence.request, sequence.target)
        return sequence.target - sequence.match.tokens

    def blocks_needed(self, sequence: RequestState) -> int:
        """Pool blocks that admission takes, those that others already hold left out. [blocks]"""
        blocks = self.pool.blocks(sequence.target)
        if sequence.match is not None:
            blocks -= sequence.match.live_tokens // self.pool.block_tokens
        return blocks

    def admit(
        self,
        sequence: RequestState,
        *,
        now: float,
        order: int,
        step: int,
        holds_prompt: bool = True,
    ) -> float:
        """Give a request its blocks and put it into prefill.

        Parameters
        ----------
        holds_prompt:
            Whether it gets the blocks of its whole prompt, or only those of what is computed, and
            the others by `grow`.

        Returns
        -------
        float
            Time until its KV entries have come from another tier, 0 if nothing has to come; in
            the first case it is reserved, not yet in prefill. [s]
        """
        sequence.order = order
        self.safe_step = -1
        load_s = 0.0
        loaded = from_drives = 0
        match = sequence.match
        if match is not None:
            assert self.cache is not None
            before = self.cache.held_blocks
            sequence.prefix = self.cache.hold(sequence.request, match)
            self.held += self.cache.held_blocks - before
            sequence.shared_blocks = match.pool_tokens // self.pool.block_tokens
            sequence.computed = sequence.resumed = match.tokens
            load_s = match.load_s
            loaded = match.tokens - match.pool_tokens
            from_drives = match.drive_tokens
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
            sequence.loaded_tokens = loaded
            sequence.drive_tokens = from_drives
        tokens = sequence.target if holds_prompt else sequence.computed
        sequence.blocks = self.pool.blocks(tokens) - sequence.shared_blocks
        self.held += sequence.blocks
        if self.cache is not None:
            self.trim_cache(step)
        self.life_blocks += sequence.life_blocks
        if load_s:
            self.reserved[order] = sequence
        else:
            self.prefilling.append(sequence)
        return load_s

    def growth(self, sequence: RequestState, tokens: int) -> int:
        """Blocks that a prompt in progress lacks for this many of its tokens. [blocks]"""
        pool = self.pool
        blocks = -(-tokens // pool.block_tokens) + pool.fixed_blocks_per_request
        return blocks - sequence.shared_blocks - sequence.blocks

    def grow(self, sequence: RequestState, tokens: int, step: int) -> None:
        """Give a prompt in progress the blocks of this many of its tokens. [tokens]"""
        self.take(sequence, self.growth(sequence, tokens), step)

    def take(self, sequence: RequestState, more: int, step: int) -> None:
        """Give a prompt in progress so many blocks more; 0 or less: none. [blocks]"""
        if more > 0:
            sequence.blocks += more
            self.held += more
            self.safe_step = -1
            if self.cache is not None:
                self.trim_cache(step)

    def reserve(self, sequence: RequestState, order: int) -> None:
        """Give blocks to a request that was prefilled elsewhere."""
        sequence.order = order
        sequence.computed = sequence.target
        sequence.blocks = self.pool.blocks(sequence.target)
        self.held += sequence.blocks
        self.life_blocks += sequence.life_blocks
        self.safe_step = -1
        self.reserved[order] = sequence

    def requeue(self, sequence: RequestState) -> None:
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

    def finish_prefill(self, sequence: RequestState) -> None:
        """The whole prompt has its KV entries; its blocks may serve later prompts from now on."""
        self.publish(sequence, sequence.request.prompt_tokens, is_whole=True)

    def publish(self, sequence: RequestState, tokens: int, *, is_whole: bool = False) -> None:
        """Let later prompts hit the full blocks among the first tokens of a prompt.

        Those of a prompt in progress are put into the tree when the next prompt is looked up.

        Parameters
        ----------
        tokens:
            Tokens that are computed or in the step that is being composed. [tokens]
        is_whole:
            Whether that is all of the prompt, whose end keeps its state too.
        """
        if self.cache is None or not sequence.request.block_hashes:
            return
        if is_whole:
            self._put(sequence, tokens, is_whole=True)
        else:
            sequence.published = tokens

    def _catch_up(self, sequence: RequestState) -> None:
        """Put into the tree what a prompt in progress has published."""
        if sequence.published:
            self._put(sequence, sequence.published, is_whole=False)

    def _put(self, sequence: RequestState, tokens: int, *, is_whole: bool) -> None:
        cache, request = self.cache, sequence.request
        assert cache is not None
        sequence.published = 0
        block = self.pool.block_tokens
        whole = len(request.block_hashes) * request.block_tokens
        both = lcm(block, request.block_tokens)  # ends a block of the pool and of the prompt
        published = whole if is_whole else min(tokens, whole) // both * both
        shared = published // block
        if not is_whole and shared <= sequence.shared_blocks:
            return
        before = cache.held_blocks
        blocks = published // request.block_tokens
        if is_whole or sequence.prefix is None:
            sequence.prefix = cache.insert(
                request,
                sequence.prefix,
                blocks=blocks,
                keeps_end=is_whole,
                resumed=sequence.resumed,
            )
        else:
            sequence.prefix = cache.extend(
                request, sequence.prefix, blocks=blocks, resumed=sequence.resumed
            )
        self.held += cache.held_blocks - before
        self.held -= shared - sequence.shared_blocks
        sequence.blocks -= shared - sequence.shared_blocks
        sequence.shared_blocks = shared
        self.safe_step = -1

    def hand_over(self, sequence: RequestState) -> None:
        """A prompt is done that is decoded elsewhere; it holds blocks until they are fetched."""
        self.handed_over += 1
        self.life_blocks -= sequence.life_blocks
        sequence.life_blocks = 0

    def drop(self, sequence: RequestState, *, finished: bool = False) -> None:
        """Free what a request holds outside the decode batch."""
        self._catch_up(sequence)
        self.held -= sequence.blocks
        self.life_blocks -= sequence.life_blocks
        sequence.blocks = sequence.life_blocks = 0
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
        batch = self.batch
        size = batch.size
        context = batch.context_sum + batch.rate_sum * (step - batch.mark)
        growing = context / pool.block_tokens + size
        fixed = size * pool.fixed_blocks_per_request
        self.cache.shrink(pool.total_blocks - self.held - fixed - growing)
