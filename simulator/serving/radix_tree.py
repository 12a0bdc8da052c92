"""A radix tree over prompt blocks: runs of blocks that only occur together."""

from __future__ import annotations

POOL = 0
"""Level of the KV pool; offload tiers follow."""
GONE = 1 << 30
"""Level of what exists nowhere any more."""


class PrefixNode:
    """A run of blocks that only occur together, after those of its parents.

    Attributes
    ----------
    holders:
        Running requests that hold all of its blocks.
    level:
        Where its blocks lie.
    time:
        When its blocks were last released or came to this level, as a serial number.
    end:
        Blocks from the start of a prompt to the last of these. [blocks]
    states:
        State kept at the end of some blocks, by their number in the run (from 1).
    """

    __slots__ = ("children", "end", "holders", "keys", "level", "parent", "states", "time")

    def __init__(self, keys: tuple[int, ...], parent: PrefixNode | None) -> None:
        self.keys = keys
        self.parent = parent
        self.end: int = len(keys) + (0 if parent is None else parent.end)
        self.children: dict[int, PrefixNode] = {}
        self.states: dict[int, BoundaryState] = {}
        self.holders = 0
        self.level = POOL
        self.time = 0


class BoundaryState:
    """Sliding-window and compressor state at the end of one block."""

    __slots__ = ("level", "time")

    def __init__(self, time: int) -> None:
        self.level = POOL
        self.time = time


class PrefixTree:
    """Prompt blocks by identity; a block's identity implies that of all before it."""

    def __init__(self) -> None:
        self.root = PrefixNode((), None)

    def walk(
        self, keys: tuple[int, ...], *, below: PrefixNode | None = None
    ) -> list[tuple[PrefixNode, int]]:
        """Nodes along blocks from a node on, each with how many of its blocks match."""
        path = []
        node = self.root if below is None else below
        depth = 0
        while depth < len(keys):
            child = node.children.get(keys[depth])
            if child is None:
                break
            wanted = keys[depth : depth + len(child.keys)]
            if wanted != child.keys:
                path.append((child, _common(wanted, child.keys)))
                break
            path.append((child, len(wanted)))
            depth += len(wanted)
            node = child
        return path

    def end_on(self, path: list[tuple[PrefixNode, int]], blocks: int) -> PrefixNode:
        """The node that ends with the last of the first blocks of a path from the root."""
        if not blocks:
            return self.root
        for node, count in path:
            if count >= blocks:
                return node if blocks == len(node.keys) else self.split(node, blocks)
            blocks -= count
        raise ValueError(f"the path ends {blocks} blocks before its node")

    def part(
        self, keys: tuple[int, ...], *, below: PrefixNode | None = None
    ) -> tuple[PrefixNode, int]:
        """The node that ends with the last of these blocks that exists, and how many do."""
        path = self.walk(keys, below=below)
        if not path:
            return (self.root if below is None else below), 0
        node, count = path[-1]
        found = sum(matched for _, matched in path)
        return (node if count == len(node.keys) else self.split(node, count)), found

    def split(self, node: PrefixNode, count: int) -> PrefixNode:
        """Make the first ``count`` blocks of a node its parent, and return that."""
        assert node.parent is not None
        upper = PrefixNode(node.keys[:count], node.parent)
        upper.holders, upper.level, upper.time = node.holders, node.level, node.time
        upper.children[node.keys[count]] = node
        node.parent.children[node.keys[0]] = upper
        node.keys = node.keys[count:]
        node.parent = upper
        upper.states = {n: state for n, state in node.states.items() if n <= count}
        node.states = {n - count: state for n, state in node.states.items() if n > count}
        return upper

    def join(self, node: PrefixNode) -> None:
        """Join a node with parents that share its fate, so that paths stay short.

        What requests hold has no time of its own until the last of them lets go of it.
        """
        parent = node.parent
        while (
            parent is not None
            and parent is not self.root
            and len(parent.children) == 1
            and parent.holders == node.holders
            and parent.level == node.level
            and (node.holders or parent.time == node.time)
        ):
            assert parent.parent is not None
            length = len(parent.keys)
            node.states = {n + length: state for n, state in node.states.items()} | parent.states
            node.keys = parent.keys + node.keys
            node.parent = parent.parent
            node.parent.children[node.keys[0]] = node
            parent.level = GONE
            parent = node.parent


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Length of the common start of two tuples."""
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length
