"""Block counts and the memory outlook of a decode batch whose requests all gain a token a step.

Without speculation contexts are whole numbers that grow in step. How many blocks they take then
depends on how the contexts lie within a block, which no step changes, and whether memory will
last depends on numbers that a step shifts by one constant. Both are kept from one change of the
batch to the next instead of being counted over all requests. All of it is whole numbers, so that
the answers are those of a count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]


class BlockCount:
    """Blocks of requests whose contexts grow by a token a step.

    Parameters
    ----------
    block_tokens:
        Tokens of one request that one block holds. [tokens]
    """

    __slots__ = ("_block_tokens", "_known", "_known_step", "_offsets", "_size", "_whole_blocks")

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._offsets = [0] * block_tokens
        self._size = 0
        self._whole_blocks = 0
        self._known_step = -1
        self._known = 0

    def join(self, origin: int) -> None:
        """Add a request whose context in step n is ``origin + n``. [tokens]"""
        blocks, offset = divmod(origin, self._block_tokens)
        self._whole_blocks += blocks
        self._offsets[offset] += 1
        self._size += 1
        self._known_step = -1

    def leave(self, origin: int) -> None:
        """Remove a request that joined with this origin. [tokens]"""
        blocks, offset = divmod(origin, self._block_tokens)
        self._whole_blocks -= blocks
        self._offsets[offset] -= 1
        self._size -= 1
        self._known_step = -1

    def blocks(self, step: int) -> int:
        """Blocks that the contexts of a step take. [blocks]"""
        if step != self._known_step:
            blocks, shift = divmod(step, self._block_tokens)
            found = self._whole_blocks + self._size * (blocks + 1)
            if shift:
                found += sum(self._offsets[self._block_tokens - shift + 1 :])
            else:
                found -= self._offsets[0]  # those that fill their last block
            self._known = found
            self._known_step = step
        return self._known


class Outlook:
    """What memory is short of at worst until all requests have finished.

    Requests leave in the order of their last steps. When request k leaves, those before it have
    freed what they hold and it and all after it have written what it had left; memory lasts if
    that is covered at every k. With ``P_k`` the origins (and fixed tokens) of those before k,
    ``L_k`` its last step and n requests, the cover in step s is the free tokens plus
    ``n s + P_k - (L_k + 1) (n - k)``: the step shifts all k alike, so that the bracket is kept.

    Parameters
    ----------
    fixed_tokens:
        Tokens that a request holds beside its context. [tokens]
    """

    __slots__ = ("_covers", "_ends", "_first", "_fixed_tokens", "_held", "_shift", "_size")

    def __init__(self, fixed_tokens: int) -> None:
        self._fixed_tokens = fixed_tokens
        self._first = self._size = 0
        self._held = 0  # P of one after the last
        self._shift = 0  # of all covers
        self._covers = np.empty(_SPARE, dtype=np.int64)
        self._ends = np.empty(_SPARE, dtype=np.int64)

    def join(self, position: int, *, origin: int, final: int) -> None:
        """Add a request in the order of last steps.

        Parameters
        ----------
        position:
            How many leave before it. [requests]
        origin:
            Its context in step n is ``origin + n``. [tokens]
        final:
            Its context at the end. [tokens]
        """
        size = self._size
        if self._first + size == len(self._covers):
            self._make_room()
        covers, ends = self._window(size + 1)
        end = final - origin + 1
        held = self._held_before(position)
        added = origin + self._fixed_tokens
        covers[:position] -= ends[:position]
        covers[position + 1 :] = covers[position:size] + added
        ends[position + 1 :] = ends[position:size].copy()
        covers[position] = held - end * (size + 1 - position) - self._shift
        ends[position] = end
        self._held += added
        self._size = size + 1

    def leave(self, position: int, *, origin: int) -> None:
        """Remove the request at a position that joined with this origin."""
        size = self._size
        gone = origin + self._fixed_tokens
        self._held -= gone
        self._size = size - 1
        if position == 0:
            self._first += 1
            self._shift -= gone
            return
        covers, ends = self._window(size)
        covers[:position] += ends[:position]
        covers[position : size - 1] = covers[position + 1 :] - gone
        ends[position : size - 1] = ends[position + 1 :].copy()

    def least_cover(self, step: int, *, joining: list[tuple[int, int]]) -> int:
        """What free memory must exceed to last, negated, if some requests join now. [tokens]

        Parameters
        ----------
        step:
            The step in which all of them hold their context.
        joining:
            Context of each that joins, and tokens that it has yet to write. [tokens]
        """
        size = self._size
        covers, ends = self._window(size)
        later = len(joining)
        start = joined = 0
        least: list[int] = []
        for context, left in sorted(joining, key=_left_of):
            stop = int(ends.searchsorted(left + step + 1, side="right"))
            if stop > start:
                written = ends[start:stop] if later == 1 else later * ends[start:stop]
                worst = int(_minimum(covers[start:stop] - written))
                least.append(worst + self._shift + (size + later) * step + joined)
            before = self._held_before(stop) + stop * step + joined
            least.append(before - (left + 1) * (size - stop + later))
            joined += context + self._fixed_tokens
            later -= 1
            start = stop
        if size > start:
            least.append(int(_minimum(covers[start:])) + self._shift + size * step + joined)
        return min(least)

    def _held_before(self, position: int) -> int:
        """P of the request at a position, or of one after the last. [tokens]"""
        if position == self._size:
            return self._held
        at = self._first + position
        cover = int(self._covers[at]) + self._shift
        return cover + int(self._ends[at]) * (self._size - position)

    def _window(self, size: int) -> tuple[Ints, Ints]:
        window = slice(self._first, self._first + size)
        return self._covers[window], self._ends[window]

    def _make_room(self) -> None:
        covers, ends = self._window(self._size)
        spare = np.empty(self._size + _SPARE, dtype=np.int64)
        self._covers = np.concatenate((covers, spare))
        self._ends = np.concatenate((ends, spare))
        self._first = 0


_SPARE = 64
_minimum = np.minimum.reduce


def _left_of(joiner: tuple[int, int]) -> int:
    return joiner[1]
