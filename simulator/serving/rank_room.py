"""What is free in a rank's KV pool, now and some steps ahead."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

from simulator.serving.decode_batch import NEVER

if TYPE_CHECKING:
    from simulator.serving.decode_batch import DecodeBatch
    from simulator.serving.kv_pool import KvPoolSpec
    from simulator.serving.prefix_cache import PrefixCache


class RankRoom:
    """Room in the KV pool of a `simulator.serving.rank.Rank`, whose attributes these are.

    Bounds that are linear in the steps answer while memory is plentiful or far gone; blocks are
    counted only between them.
    """

    __slots__ = ("batch", "cache", "held", "leaving_blocks", "pool", "safe_step")

    pool: KvPoolSpec
    batch: DecodeBatch
    cache: PrefixCache | None
    held: int
    leaving_blocks: int
    safe_step: int

    def is_roomy(self, blocks: float, step: int) -> bool:
        """Whether `has_room` holds and nothing cached has to go, by a bound that counts nothing."""
        pool = self.pool
        batch = self.batch
        room = pool.total_blocks - self.held - blocks - batch.size * pool.fixed_blocks_per_request
        room -= self.leaving_blocks
        if self.cache is not None:
            room -= self.cache.idle_blocks + 1
        return batch.context_at(step) / pool.block_tokens + batch.size <= room

    def has_room(self, blocks: float, step: int) -> bool:
        """Whether this many blocks are free once the batch has what its next step needs."""
        pool = self.pool
        batch = self.batch
        room = pool.total_blocks - self.held - blocks - batch.size * pool.fixed_blocks_per_request
        room -= self.leaving_blocks
        linear = (batch.context_sum + batch.rate_sum * (step - batch.mark)) / pool.block_tokens
        if linear + batch.size <= room:
            return True
        return linear <= room and batch.blocks(step) <= room

    def steps_with_room(self, blocks: float, step: int, horizon: int) -> int:
        """Steps from this one in which `has_room` holds, at most ``horizon``. [steps]"""
        if self.has_room(blocks, step + horizon - 1):
            return horizon
        low, high = 0, horizon
        while high - low > 1:
            middle = (low + high) // 2
            if self.has_room(blocks, step + middle - 1):
                low = middle
            else:
                high = middle
        return low

    def used_blocks(self, step: int) -> int:
        """Blocks in use in a step. [blocks]"""
        fixed = self.batch.size * self.pool.fixed_blocks_per_request
        return self.held + fixed + self.batch.blocks(step)

    def uses(self, blocks: float, step: int) -> bool:
        """Whether `used_blocks` in a step are at least so many; counted only near them.

        Each request takes the blocks of its context and less than one more; a block to either
        side covers the rounding of sums.
        """
        batch = self.batch
        fixed = batch.size * self.pool.fixed_blocks_per_request
        least = self.held + fixed + batch.context_at(step) / self.pool.block_tokens - 1.0
        if least + batch.size + 2.0 < blocks:
            return False
        return least >= blocks or self.used_blocks(step) >= blocks

    def steps_to_use(self, blocks: float, step: int, horizon: int) -> int:
        """Steps after which `uses` holds, at least one; it does after ``horizon``. [steps]"""
        batch = self.batch
        low, high = 0, horizon
        if batch.rate_sum > 0.0:
            per_step = batch.rate_sum / self.pool.block_tokens
            fixed = batch.size * self.pool.fixed_blocks_per_request
            left = blocks - self.held - fixed - batch.context_at(step) / self.pool.block_tokens
            low = max(low, min(floor((left - batch.size - 1.0) / per_step) - 1, horizon - 1))
            high = min(high, max(ceil((left + 1.0) / per_step) + 1, low + 1))
        while high - low > 1:
            middle = (low + high) // 2
            if self.uses(blocks, step + middle):
                high = middle
            else:
                low = middle
        return high

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
        batch = self.batch
        room = pool.total_blocks - self.held - batch.size * pool.fixed_blocks_per_request
        if batch.rate_sum <= 0.0:
            self.safe_step = NEVER if batch.blocks(step) <= room else step - 1
            return min(self.safe_step, horizon)
        spare = (room - batch.size) * pool.block_tokens - batch.context_sum
        self.safe_step = max(batch.mark + floor(spare / batch.rate_sum), step - 1)
        if horizon <= self.safe_step:
            return horizon
        if batch.blocks(horizon) <= room:
            self.safe_step = horizon
            return horizon
        low, high = self.safe_step, horizon
        while high - low > 1:
            middle = (low + high) // 2
            if batch.blocks(middle) <= room:
                low = middle
            else:
                high = middle
        self.safe_step = low
        return low
