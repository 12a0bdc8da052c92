"""What prompts of a session consist of: runs of blocks, their identities, what repeats."""

from __future__ import annotations

from typing import TypeAlias

Content: TypeAlias = tuple[tuple[int, int], ...]
"""Prompt blocks as runs ``(first identity, blocks)``; identities mean something in one session."""

CONTENT_BLOCK_TOKENS = 64
"""Tokens of the blocks in which AgentX's traces hash prompts. [tokens]"""

_PLAY_SHIFT = 40


class BlockIds:
    """Identities of pool blocks in one play of a tree.

    Equal blocks are the same objects, so that comparing prompts takes little time.

    Parameters
    ----------
    play:
        Number of the play; plays share no identity.
    stride:
        Content blocks in a pool block, whose identity is that of its last content block.
    """

    def __init__(self, *, play: int, stride: int) -> None:
        self._base = play << _PLAY_SHIFT
        self._stride = stride
        self._runs: dict[int, list[int]] = {}

    def of(self, content: Content, *, full_blocks: int | None = None) -> tuple[int, ...]:
        """Identities of a prompt's pool blocks.

        Parameters
        ----------
        content:
            Content blocks.
        full_blocks:
            Content blocks to take; all if not given.
        """
        left = sum(count for _, count in content) if full_blocks is None else full_blocks
        stride = self._stride
        ids: list[int] = []
        position = 0
        for first, count in content:
            count = min(count, left - position)
            if count <= 0:
                break
            skip = (-position - 1) % stride  # content blocks before the run's first identity
            wanted = len(range(skip, count, stride))
            run = self._runs.setdefault(first, [])
            if wanted > len(run):
                start = self._base + first + skip
                run.extend(range(start + len(run) * stride, start + wanted * stride, stride))
            ids += run[:wanted]
            position += count
        return tuple(ids)


def common_blocks(one: Content, other: Content) -> int:
    """Leading blocks that two contents have in common. [blocks]"""
    common = 0
    for (first, count), (other_first, other_count) in zip(one, other, strict=False):
        if first != other_first:
            break
        shared = min(count, other_count)
        common += shared
        if count != other_count:
            break
    return common


def trimmed(content: Content, blocks: int) -> Content:
    """The first `blocks` blocks of a content."""
    kept: list[tuple[int, int]] = []
    for first, count in content:
        if blocks <= 0:
            break
        kept.append((first, min(count, blocks)))
        blocks -= count
    return tuple(kept)


class SeenContent:
    """What an infinite cache of one session holds: runs of blocks that follow each other."""

    def __init__(self) -> None:
        self._longest: dict[int, int] = {}

    def match(self, content: Content) -> int:
        """Leading blocks that are there. [blocks]"""
        found = 0
        for first, count in content:
            known = min(self._longest.get(first, 0), count)
            found += known
            if known < count:
                break
        return found

    def add(self, content: Content) -> None:
        """Have all of a content."""
        for first, count in content:
            if self._longest.get(first, 0) < count:
                self._longest[first] = count
