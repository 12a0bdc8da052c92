"""Prefix reuse: prompt blocks that stay in the KV pool, and the tiers that they fall to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from workloads.synthetic import private_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.kvcache import KvPoolSpec, OffloadTier
    from workloads.requests import Request


BlockKey: TypeAlias = int | tuple[int]
"""Identity of a prompt block; in a tuple, of the state at its end."""


class PrefixMatch(NamedTuple):
    """What a prefix cache has of a prompt.

    Attributes
    ----------
    tokens:
        Prompt tokens that need not be computed. [tokens]
    device_keys, live_keys:
        Leading blocks that lie in the pool, and those of them that running requests hold, in
        the request's own blocks.
    load_s:
        Time to bring the rest from the offload tiers; 0 if nothing has to come. [s]
    """

    tokens: int
    device_keys: int
    live_keys: int
    load_s: float


class _Tier:
    """Blocks of one offload tier, least recently used first."""

    __slots__ = ("capacity_tokens", "spec", "tokens", "weights")

    def __init__(self, spec: OffloadTier, token_bytes: float) -> None:
        self.spec = spec
        self.capacity_tokens = spec.capacity_bytes / token_bytes
        self.weights: dict[BlockKey, int] = {}
        self.tokens = 0


class PrefixCache:
    """Prompt blocks of one rank's pool by identity, with reference counts.

    A block that a running request holds cannot be evicted. One that nobody holds stays until
    its room is needed, least recently released first, the tail of a prompt before its head; it
    then falls to the first offload tier, from there to the next, and out of the last.

    Sliding-window and compressor state exists only at some boundaries. With
    ``prefix_hit_interval_tokens`` n it is kept at multiples of n and at the last pool block of
    a prompt (0: only there), in ``fixed_blocks_per_request`` blocks of its own that nobody
    holds, and a prompt can be resumed only where it still exists. Without the setting, prompts
    can be resumed at every pool block.

    Parameters
    ----------
    pool:
        The pool that holds the blocks.
    """

    def __init__(self, pool: KvPoolSpec) -> None:
        self.pool = pool
        self._tiers = [_Tier(spec, pool.token_bytes) for spec in pool.offload]
        self._weights: dict[BlockKey, int] = {}  # what lies in the pool [tokens]
        self._holders: dict[int, int] = {}
        self._idle: dict[BlockKey, None] = {}  # least recently released first
        self._state_tokens = max(pool.fixed_blocks_per_request * pool.block_tokens, 1)
        self._held_tokens = 0
        self._idle_tokens = 0
        self._keeps_states = pool.prefix_hit_interval_tokens is not None

    @property
    def held_blocks(self) -> int:
        """Pool blocks of cached prompts that running requests hold. [blocks]"""
        return -(-self._held_tokens // self.pool.block_tokens)

    @property
    def idle_blocks(self) -> int:
        """Pool blocks of cached prompts that nobody holds. [blocks]"""
        return -(-self._idle_tokens // self.pool.block_tokens)

    def match(self, request: Request, target: int) -> PrefixMatch:
        """The longest reusable prefix of a prompt that leaves a token of ``target`` to compute."""
        keys = request.block_hashes
        size = request.block_tokens
        found, sources = self._find(keys)
        found = min(found, (target - 1) // size)
        while found and not self._resumable(keys[found - 1], found * size):
            found -= 1
        device = 0
        while device < found and sources[device] is None:
            device += 1
        live = sum(1 for key in keys[:device] if key in self._holders)
        load_s = 0.0
        state_tier = self._tier_of((keys[found - 1],)) if found else None
        for tier in self._tiers:
            tokens = sources[device:found].count(tier) * size
            if tier is state_tier:
                tokens += self._state_tokens
            if tokens:
                load_s += tier.spec.load_s(tokens * self.pool.token_bytes)
        return PrefixMatch(found * size, device, live, load_s)

    def use(self, request: Request, match: PrefixMatch) -> None:
        """Hold the blocks of a match that lie in the pool, and bring its state up to date."""
        self.hold(request.block_hashes[: match.device_keys])
        if self._keeps_states and match.tokens:
            state = (request.block_hashes[match.tokens // request.block_tokens - 1],)
            if state in self._idle:
                del self._idle[state]
                self._idle[state] = None
            else:
                self._place(state, self._state_tokens)

    def hold(self, keys: Sequence[int]) -> None:
        """Hold blocks that lie in the pool."""
        for key in keys:
            holders = self._holders.get(key, 0)
            if not holders:
                self._move_to_held(key)
            self._holders[key] = holders + 1

    def insert(self, keys: Sequence[int], size: int, first: int) -> None:
        """Add the blocks of a finished prompt from the ``first`` on, held by its request."""
        for key in keys[first:]:
            if key not in self._weights:
                self._place(key, size)
        self.hold(keys[first:])
        self._keep_states(keys, size)

    def release(self, keys: Sequence[int]) -> None:
        """Let go of blocks; what nobody holds any more may be evicted, the last block first."""
        for key in reversed(keys):
            holders = self._holders[key] - 1
            if holders:
                self._holders[key] = holders
                continue
            del self._holders[key]
            weight = self._weights[key]
            self._held_tokens -= weight
            self._idle[key] = None
            self._idle_tokens += weight

    def keep_output(self, request: Request) -> None:
        """Keep the blocks that a finished turn generated, for the next turn of its session."""
        size = request.block_tokens
        first = request.prompt_tokens // size
        last = (request.prompt_tokens + request.output_tokens - 1) // size
        keys = [private_block(request.session, position) for position in range(first, last)]
        for key in reversed(keys):
            if key not in self._weights:
                self._place(key, size)
        self._keep_states((*request.block_hashes[:first], *keys), size)

    def shrink(self, free_blocks: float) -> None:
        """Evict until what nobody holds fits the free part of the pool."""
        room = max(free_blocks, 0.0) * self.pool.block_tokens
        while self._idle_tokens > room:
            key = next(iter(self._idle))
            del self._idle[key]
            weight = self._weights.pop(key)
            self._idle_tokens -= weight
            self._demote(key, weight, 0)

    def _find(self, keys: Sequence[int]) -> tuple[int, list[_Tier | None]]:
        """Leading blocks that exist anywhere, and the tier of each; ``None`` is the pool."""
        sources: list[_Tier | None] = []
        for key in keys:
            if key in self._weights:
                sources.append(None)
                continue
            tier = self._tier_of(key)
            if tier is None:
                break
            sources.append(tier)
        return len(sources), sources

    def _tier_of(self, key: BlockKey) -> _Tier | None:
        return next((tier for tier in self._tiers if key in tier.weights), None)

    def _resumable(self, last_key: int, tokens: int) -> bool:
        if tokens % self.pool.block_tokens:
            return False
        state = (last_key,)
        return not self._keeps_states or state in self._weights or bool(self._tier_of(state))

    def _keep_states(self, keys: Sequence[int], size: int) -> None:
        """Keep the state at the boundaries of a prompt from which it can be resumed."""
        if not self._keeps_states:
            return
        interval = self.pool.prefix_hit_interval_tokens
        block = self.pool.block_tokens
        count = len(keys)
        while count and count * size % block:
            count -= 1
        for position in range(1, count + 1):
            if position == count or (interval and position * size % interval == 0):
                state = (keys[position - 1],)
                if state not in self._weights:
                    self._place(state, self._state_tokens)

    def _move_to_held(self, key: int) -> None:
        del self._idle[key]
        weight = self._weights[key]
        self._idle_tokens -= weight
        self._held_tokens += weight

    def _place(self, key: BlockKey, weight: int) -> None:
        """Put something into the pool that nobody holds yet, out of the tier that had it."""
        tier = self._tier_of(key)
        if tier is not None:
            tier.tokens -= tier.weights.pop(key)
        self._weights[key] = weight
        self._idle[key] = None
        self._idle_tokens += weight

    def _demote(self, key: BlockKey, weight: int, level: int) -> None:
        if level == len(self._tiers):
            return
        tier = self._tiers[level]
        tier.weights[key] = weight
        tier.tokens += weight
        while tier.tokens > tier.capacity_tokens:
            oldest = next(iter(tier.weights))
            size = tier.weights.pop(oldest)
            tier.tokens -= size
            self._demote(oldest, size, level + 1)
