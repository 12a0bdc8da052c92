"""What of a tree of prompt blocks has to go when its room is needed, level by level."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

from simulator.serving.radix_tree import GONE, POOL, BoundaryState, PrefixNode, PrefixTree

if TYPE_CHECKING:
    from simulator.serving.kv_pool import KvPoolSpec

_Item: TypeAlias = "tuple[int, int, PrefixNode | BoundaryState]"


class EvictingTree:
    """A radix tree of prompt blocks in a KV pool and the tiers behind it.

    Of what nobody holds the least recently released goes first, the tail of a prompt before its
    head; it falls to the next tier, and out of the last.

    Parameters
    ----------
    pool:
        The pool that holds the blocks.
    """

    def __init__(self, pool: KvPoolSpec) -> None:
        self.pool = pool
        self._tree = PrefixTree()
        self._size = 0
        self._time = 0
        self._serial = 0
        self._changes = 0
        self._state_tokens = max(pool.kept_state_blocks * pool.block_tokens, 1)
        self._held_tokens = 0
        # by level: tokens that nobody holds, room for them, and what to evict next
        levels = 1 + len(pool.offload)
        self._idle_tokens = [0] * levels
        self._room_tokens = [0.0] + [
            tier.capacity_bytes / pool.token_bytes for tier in pool.offload
        ]
        self._queues: list[list[_Item]] = [[] for _ in range(levels)]
        self._compact_at = [1024] * levels

    def _offer(self, node: PrefixNode) -> None:
        """Put a node in line for eviction if no other block of its level depends on it."""
        if not (node.children and _has_child_at(node, node.level)):
            self._push(node.level, node)

    def _push(self, level: int, item: PrefixNode | BoundaryState) -> None:
        queue = self._queues[level]
        if len(queue) >= self._compact_at[level]:
            queue[:] = [entry for entry in queue if self._evictable(entry, level)]
            heapify(queue)
            self._compact_at[level] = 1024 + 2 * len(queue)
        self._serial += 1
        heappush(queue, (item.time, self._serial, item))

    def _evictable(self, entry: _Item, level: int) -> bool:
        time, _, item = entry
        if item.level != level or item.time != time:
            return False
        if isinstance(item, BoundaryState):
            return True
        return not item.holders and not (item.children and _has_child_at(item, level))

    def _make_room(self, level: int) -> None:
        """Evict from a level until it fits."""
        queue = self._queues[level]
        room = self._room_tokens[level]
        if level and self.pool.offload[level - 1].inclusive:
            room = max(0.0, room - self._held_tokens - self._idle_tokens[POOL])
        while self._idle_tokens[level] > room:
            entry = heappop(queue)
            if not self._evictable(entry, level):
                continue
            item = entry[2]
            if isinstance(item, BoundaryState):
                self._move_state(item, level)
                continue
            excess = self._idle_tokens[level] - room
            blocks = int(-(-excess // self._size))
            if blocks < len(item.keys):
                self._tree.split(item, len(item.keys) - blocks)
            self._move(item, level + 1)

    def _move_state(self, state: BoundaryState, level: int) -> None:
        self._changes += 1
        self._idle_tokens[level] -= self._state_tokens
        if level + 1 == len(self._queues):
            state.level = GONE
            return
        self._time += 1
        state.level, state.time = level + 1, self._time
        self._idle_tokens[level + 1] += self._state_tokens
        self._push(level + 1, state)
        self._make_room(level + 1)

    def _move(self, node: PrefixNode, level: int) -> None:
        """Move a node that nobody holds to another level, or out of the last one."""
        old, parent = node.level, node.parent
        assert parent is not None
        self._changes += 1
        weight = len(node.keys) * self._size
        self._idle_tokens[old] -= weight
        if level == len(self._queues):
            self._remove(node)
        else:
            if level != POOL:
                self._time += 1
            node.level, node.time = level, self._time
            self._idle_tokens[level] += weight
            self._offer(node)
        if parent is not self._tree.root and parent.level == old and not parent.holders:
            self._offer(parent)
        if POOL < level < len(self._queues):
            self._make_room(level)

    def _remove(self, node: PrefixNode) -> None:
        """Take a node and what hangs from it out of the tree."""
        assert node.parent is not None
        del node.parent.children[node.keys[0]]
        node.level = GONE
        for state in node.states.values():
            if state.level != GONE:
                self._idle_tokens[state.level] -= self._state_tokens
                state.level = GONE
        for child in list(node.children.values()):
            self._idle_tokens[child.level] -= len(child.keys) * self._size
            self._remove(child)


def _has_child_at(node: PrefixNode, level: int) -> bool:
    for child in node.children.values():  # noqa: SIM110 - asked at every change of the tree
        if child.level == level:
            return True
    return False
