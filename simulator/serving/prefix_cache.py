"""Prefix reuse: prompt blocks that stay in the KV pool, and the tiers that they fall to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.serving.eviction import EvictingTree
from simulator.serving.prefix_match import Look, PrefixMatch, state_positions
from simulator.serving.radix_tree import GONE, POOL, BoundaryState, PrefixNode
from workloads.errors import UserError
from workloads.requests.synthetic import private_block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.serving.kv_pool import KvPoolSpec
    from workloads.requests.request import Request


_APART = 1 << 100
"""First identity of generated blocks that nobody repeats, beyond those of all prompts."""


class PrefixCache(EvictingTree):
    """Prompt blocks of one rank's pool as a radix tree with reference counts.

    A block that a running request holds cannot be evicted. One that nobody holds stays until
    its room is needed, least recently released first, the tail of a prompt before its head; it
    then falls to the first offload tier, from there to the next, and out of the last. A tier that
    is inclusive has copies of all that the pool caches too, so that much less room for the rest.

    Sliding-window, compressor and linear-attention state exists only at some boundaries. With
    ``prefix_hit_interval_tokens`` n it is kept at multiples of n and at the last pool block of
    a prompt (0: only there), with ``keeps_output_state`` also at that of what a request generated,
    in ``state_blocks`` blocks of its own that nobody holds and that grow old as others do. A
    prompt can be resumed only where it still exists. Without the setting, prompts can be resumed
    at every pool block.

    A block's identity is taken to imply that of all before it, as the engines' chained hashes
    do. All requests must use the same block size.

    Parameters
    ----------
    pool:
        The pool that holds the blocks.

    Raises
    ------
    UserError
        From methods that take a request, if its block size differs from the first one's.
    """

    def __init__(self, pool: KvPoolSpec) -> None:
        super().__init__(pool)
        self._apart = _APART
        self._keeps_states = pool.prefix_hit_interval_tokens is not None
        self._keeps_output_state = self._keeps_states and pool.keeps_output_state
        self._last: Look | None = None

    @property
    def held_blocks(self) -> int:
        """Pool blocks of cached prompts that running requests hold. [blocks]"""
        return -(-self._held_tokens // self.pool.block_tokens)

    @property
    def idle_blocks(self) -> int:
        """Pool blocks of cached prompts that nobody holds. [blocks]"""
        return -(-self._idle_tokens[POOL] // self.pool.block_tokens)

    # what is known of a prompt ---------------------------------------------------------------

    def match(self, request: Request, target: int) -> PrefixMatch:
        """The longest reusable prefix of a prompt that leaves a token of ``target`` to compute."""
        size = self._check(request)
        keys, most = request.block_hashes, (target - 1) // size
        last = self._last
        if (
            last is not None
            and last.keys is keys
            and last.most == most
            and last.changes == self._changes
        ):
            return last.match
        path = self._tree.walk(keys)
        found = self._last_resumable(path, most)
        pool = live = drives = depth = 0
        moving = [0] * len(self._idle_tokens)
        for node, count in path:
            used = min(count, found - depth)
            if used <= 0:
                break
            if node.level == POOL:
                pool += used
                if node.holders:
                    live += used
            elif node.level > 1:
                drives += used
            moving[node.level] += used * size
            depth += used
        state = None
        if found and self._keeps_states:
            state = self._state_at(path, found)
            moving[state.level if state else POOL] += self._state_tokens
        load_s = 0.0
        for level, tier in enumerate(self.pool.offload, start=1):
            if moving[level]:
                load_s += tier.load_s(moving[level] * self.pool.token_bytes)
        match = PrefixMatch(found * size, pool * size, live * size, load_s, drives * size)
        self._last = Look(keys, most, self._changes, path, state, match)
        return match

    def hold(self, request: Request, match: PrefixMatch) -> PrefixNode:
        """Hold the blocks of a match that lie in the pool, to be released by the result."""
        last = self._last
        if last is None or last.match is not match or last.changes != self._changes:
            self._last = None
            self.match(request, match.tokens + 1)
            last = self._last
            assert last is not None
        if match.tokens and self._keeps_states:
            assert last.state is not None
            self._raise_state(last.state)
        node = self._tree.end_on(last.path, match.pool_tokens // self._size)
        self._add_holder(node)
        self._changes += 1
        return node

    def insert(
        self,
        request: Request,
        held: PrefixNode | None,
        *,
        blocks: int | None = None,
        keeps_end: bool = True,
        resumed: int = 0,
    ) -> PrefixNode:
        """Keep the blocks of a prompt, held by its request from now on.

        ``held`` is what the request holds so far, which is released.

        Parameters
        ----------
        blocks:
            How many of its blocks; ``None``: all. [blocks]
        keeps_end:
            Whether the state at their end is kept, from which a prompt can be resumed.
        resumed:
            Tokens from which the request was computed: the state of what lies before was not
            made anew. [tokens]
        """
        self._check(request)
        self._changes += 1
        keys = request.block_hashes[:blocks]
        done = 0 if held is None else held.end
        made = max(resumed // self._size, done)
        last = self._aligned(len(keys)) if keeps_end and self._keeps_states else 0
        if done and (last > done or not last) and len(keys) >= done:
            # what it holds is there: only what follows is looked at
            keys = keys[done:]
            node = self._place(keys, below=held)
        else:
            done = 0
            node = self._place(keys)
        if self._keeps_states:
            path = self._tree.walk(keys, below=held if done else None)
            self._keep_states_of_path(path, done, last=last, made=made)
        self._add_holder(node)
        if held is not None:
            self.release(held)
        return node

    def extend(
        self, request: Request, held: PrefixNode, *, blocks: int, resumed: int = 0
    ) -> PrefixNode:
        """Keep more blocks of a prompt in progress, held by its request from now on.

        Only blocks beyond ``held``, which the request holds so far, are looked at. The state at
        their end is not kept.

        Parameters
        ----------
        blocks:
            How many of its blocks to hold, more than it does. [blocks]
        resumed:
            As in `insert`. [tokens]
        """
        self._changes += 1
        done = held.end
        made = max(done, resumed // self._size)
        keys = request.block_hashes[done:blocks]
        if keys[0] in held.children:  # others have sent these blocks before
            node = self._place(keys, below=held)
            if self._keeps_states:
                path = self._tree.walk(keys, below=held)
                self._keep_states_of_path(path, done, last=0, made=made)
            self._add_holder(node, above=held)
            self._tree.join(node)
            return node
        self._time += 1
        self._held_tokens += len(keys) * self._size
        if held.holders == 1 and not held.children and held is not self._tree.root:
            node = held
            node.keys += keys
            node.end += len(keys)
        else:
            node = held.children[keys[0]] = PrefixNode(keys, held)
            node.holders = 1
        if self._keeps_states:
            start = node.end - len(node.keys)
            for n in self._state_positions(done, len(keys), 0):
                if done + n <= made:
                    continue
                node.states[done - start + n] = state = BoundaryState(self._time)
                self._idle_tokens[POOL] += self._state_tokens
                self._push(POOL, state)
        return node

    def keep_output(self, request: Request) -> None:
        """Keep the blocks that a finished turn generated, for the next turn of its session."""
        size = self._size
        first = request.prompt_tokens // size
        last = (request.prompt_tokens + request.output_tokens - 1) // size
        if not request.output_recurs:
            if last > first:
                self._keep_apart(first, last)
            return
        self._changes += 1
        output = (private_block(request.session, position) for position in range(first, last))
        keys = (*request.block_hashes[:first], *output)
        node = self._place(keys)
        end = self._aligned(last)
        at = end - last + len(node.keys)
        if self._keeps_output_state and at > 0 and end > first:
            state = node.states.get(at)
            if state is None or state.level == GONE:
                node.states[at] = state = BoundaryState(self._time)
                self._idle_tokens[POOL] += self._state_tokens
                self._push(POOL, state)

    def _keep_apart(self, first: int, last: int) -> None:
        """Keep generated blocks that no prompt will ask for: they only take room and grow old."""
        self._time += 1
        keys = tuple(range(self._apart, self._apart + last - first))
        self._apart += last - first
        node = PrefixNode(keys, self._tree.root)
        self._tree.root.children[keys[0]] = node
        node.time = self._time
        self._idle_tokens[POOL] += len(keys) * self._size
        self._offer(node)
        end = self._aligned(last)
        if self._keeps_output_state and end > first:
            node.states[end - first] = state = BoundaryState(self._time)
            self._idle_tokens[POOL] += self._state_tokens
            self._push(POOL, state)

    def _aligned(self, blocks: int) -> int:
        """Blocks of prompts up to the last end of a pool block, rounded down to whole ones."""
        pool_block = self.pool.block_tokens
        return blocks * self._size // pool_block * pool_block // self._size

    # references --------------------------------------------------------------------------------

    def release(self, held: PrefixNode) -> None:
        """Let go of blocks; what nobody holds any more may be evicted, the last block first."""
        self._time += 1
        self._changes += 1
        node: PrefixNode | None = held
        while node is not None and node is not self._tree.root:
            node.holders -= 1
            if not node.holders:
                weight = len(node.keys) * self._size
                self._held_tokens -= weight
                self._idle_tokens[POOL] += weight
                node.time = self._time
                self._offer(node)
            node = node.parent
        self._tree.join(held)

    def shrink(self, free_blocks: float) -> None:
        """Evict until what nobody holds fits the free part of the pool."""
        room = self._room_tokens[POOL] = max(free_blocks, 0.0) * self.pool.block_tokens
        if self._idle_tokens[POOL] > room:
            self._make_room(POOL)

    def _add_holder(self, end: PrefixNode, *, above: PrefixNode | None = None) -> None:
        """Hold a node and what it depends on, below a node that is held already."""
        node: PrefixNode | None = end
        last = self._tree.root if above is None else above
        while node is not None and node is not last:
            if not node.holders:
                weight = len(node.keys) * self._size
                self._idle_tokens[POOL] -= weight
                self._held_tokens += weight
            node.holders += 1
            node = node.parent

    # the tree ----------------------------------------------------------------------------------

    def _check(self, request: Request) -> int:
        size = request.block_tokens
        if self._size == 0:
            self._size = size
        if size != self._size or size < 1:
            raise UserError(
                f"request {request.index} has blocks of {size} tokens, others of {self._size}; "
                "block_tokens must be positive and the same in all requests of a workload"
            )
        return size

    def _place(self, keys: tuple[int, ...], *, below: PrefixNode | None = None) -> PrefixNode:
        """Have these blocks in the pool, idle where nobody holds them; their last node."""
        self._time += 1
        node, depth = self._tree.part(keys, below=below)
        lifted: PrefixNode | None = node
        while lifted is not None and lifted.level != POOL:
            self._move(lifted, POOL)
            lifted = lifted.parent
        if depth < len(keys):
            child = PrefixNode(keys[depth:], node)
            node.children[keys[depth]] = child
            child.time = self._time
            self._idle_tokens[POOL] += len(child.keys) * self._size
            self._offer(child)
            node = child
        return node

    # state at boundaries -----------------------------------------------------------------------

    def _last_resumable(self, path: list[tuple[PrefixNode, int]], most: int) -> int:
        """Blocks up to the last boundary, at most ``most``, from which a prompt can go on."""
        depth = sum(count for _, count in path)
        if not self._keeps_states:
            return self._aligned(min(depth, most))
        for node, count in reversed(path):
            depth -= count
            usable = [
                depth + n
                for n, state in node.states.items()
                if n <= count and depth + n <= most and state.level != GONE
            ]
            if usable:
                return max(usable)
        return 0

    def _state_at(self, path: list[tuple[PrefixNode, int]], blocks: int) -> BoundaryState | None:
        depth = 0
        for node, count in path:
            if depth + count >= blocks:
                return node.states.get(blocks - depth)
            depth += count
        return None

    def _keep_states_of_path(
        self, path: list[tuple[PrefixNode, int]], depth: int, *, last: int, made: int
    ) -> None:
        """Keep the state at boundaries of a path that begins ``depth`` blocks into its prompt.

        That of the first ``made`` blocks was made earlier and stays as it is, gone or not; only
        the one at the ``last`` is kept anyhow.
        """
        for node, count in path:
            for n in self._state_positions(depth, count, last):
                if depth + n <= made and depth + n != last:
                    continue
                state = node.states.get(n)
                if state is None or state.level == GONE:
                    node.states[n] = state = BoundaryState(self._time)
                    self._idle_tokens[POOL] += self._state_tokens
                    self._push(POOL, state)
                else:
                    self._raise_state(state)
            depth += count

    def _state_positions(self, depth: int, count: int, last: int) -> Iterator[int]:
        return state_positions(self.pool, self._size, depth=depth, count=count, last=last)

    def _raise_state(self, state: BoundaryState) -> None:
        """Bring a state to the pool and to the end of the queue of what is evicted."""
        self._idle_tokens[state.level] -= self._state_tokens
        self._idle_tokens[POOL] += self._state_tokens
        state.level = POOL
        state.time = self._time
        self._push(POOL, state)
