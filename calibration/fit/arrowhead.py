"""Normal equations of a fit, whose levels touch each other only through what they share.

With shared unknowns s and those of each block l (a level's own effects and the offsets of its
builds), ``A x = b`` has no entry between two blocks. Blocks are eliminated one by one, ::

    (A_ss - sum_l A_sl A_ll^-1 A_ls) x_s = b_s - sum_l A_sl A_ll^-1 b_l
    x_l = A_ll^-1 (b_l - A_ls x_s)

so that the equations to solve are as many as shared unknowns, and rows that are taken out change
the addends of their own blocks alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Rows of a level, over the shared columns that they touch and those of its own."""

    rows: IntArray
    shared: IntArray
    own: IntArray
    over_shared: FloatArray
    over_own: FloatArray
    targets: FloatArray
    precision: FloatArray

    def eliminated(self, weights: FloatArray) -> _Addend:
        """What the block adds to the shared equations at some weights of its rows."""
        weighted = self.over_shared * weights[:, None]
        matrix = self.over_shared.T @ weighted
        vector = weighted.T @ self.targets
        if not len(self.own):
            empty = np.empty((0, len(self.shared)))
            return _Addend(matrix, vector, empty, np.empty(0), np.empty((0, 0)))
        coupled = self.over_own.T @ weighted
        matrix_of_own = self.over_own.T @ (self.over_own * weights[:, None])
        inverse = np.asarray(
            np.linalg.inv(matrix_of_own + np.diag(self.precision)), dtype=np.float64
        )
        follows = inverse @ coupled
        constant = inverse @ (self.over_own.T @ (weights * self.targets))
        return _Addend(
            matrix - coupled.T @ follows, vector - coupled.T @ constant, follows, constant, inverse
        )


@dataclass(frozen=True, slots=True)
class _Addend:
    """A block eliminated: addends of the shared equations, and ``x_l = constant - follows x_s``."""

    matrix: FloatArray
    vector: FloatArray
    follows: FloatArray
    constant: FloatArray
    inverse: FloatArray


class Arrowhead:
    """Least squares with a prior, by blocks.

    Parameters
    ----------
    design, targets:
        (rows, columns), and what the columns have to explain of each row. [-]
    widths:
        Prior standard deviation of each column. [-]
    block:
        Block of each column; -1: shared. A row has columns of one block at most.
    """

    def __init__(
        self, *, design: FloatArray, targets: FloatArray, widths: FloatArray, block: IntArray
    ) -> None:
        self.columns = design.shape[1]
        self.shared = np.flatnonzero(block < 0)
        self.precision = widths[self.shared] ** -2.0
        self._row, self._column = np.nonzero(design)
        self._entries, self._count = design[self._row, self._column], design.shape[0]
        place = np.full(self.columns, -1, dtype=np.int64)
        place[self.shared] = np.arange(len(self.shared))
        touched = design != 0.0
        of_row = np.where(touched, block[None, :], -1).max(axis=1, initial=-1)
        self.blocks: list[_Block] = []
        for number in np.unique(np.concatenate([of_row, block])):
            rows = np.flatnonzero(of_row == number)
            own = np.flatnonzero(block == number) if number >= 0 else np.empty(0, dtype=np.int64)
            columns = np.flatnonzero(touched[rows].any(axis=0) & (block < 0))
            self.blocks.append(
                _Block(
                    rows=rows,
                    shared=place[columns],
                    own=own,
                    over_shared=design[np.ix_(rows, columns)],
                    over_own=design[np.ix_(rows, own)],
                    targets=targets[rows],
                    precision=widths[own] ** -2.0,
                )
            )

    def responses(self, solution: FloatArray) -> FloatArray:
        """What a solution says of each row. [-]"""
        addends = self._entries * solution[self._column]
        found = np.bincount(self._row, weights=addends, minlength=self._count)
        return np.asarray(found, dtype=np.float64)

    def solved(self, weights: FloatArray) -> Solved:
        """The equations at some weights of the rows, solved."""
        return Solved(self, weights)


class Solved:
    """Normal equations at fixed weights, solved, and ready to lose some rows.

    Parameters
    ----------
    arrowhead, weights:
        The equations and the weight of each row; 0 leaves a row out. [-]
    """

    def __init__(self, arrowhead: Arrowhead, weights: FloatArray) -> None:
        self.arrowhead = arrowhead
        self.weights = weights
        self._addends = [b.eliminated(weights[b.rows]) for b in arrowhead.blocks]
        self._matrix = np.diag(arrowhead.precision)
        self._vector = np.zeros(len(arrowhead.shared))
        for block, addend in zip(arrowhead.blocks, self._addends, strict=True):
            self._matrix[np.ix_(block.shared, block.shared)] += addend.matrix
            self._vector[block.shared] += addend.vector
        self._inverse: FloatArray | None = None
        self.solution = self._complete(_solve(self._matrix, self._vector), self._addends)

    def without(self, rows: npt.NDArray[np.bool_]) -> FloatArray:
        """The solution without some rows, at the same weights of the others. [-]

        Of a change D that touches the shared unknowns c alone, ``(A + D)^-1 b`` follows from
        ``A^-1`` by Woodbury's identity.
        """
        addends = list(self._addends)
        vector = self._vector.copy()
        changes: list[tuple[IntArray, FloatArray]] = []
        for number, block in enumerate(self.arrowhead.blocks):
            out = rows[block.rows]
            if not out.any():
                continue
            less = block.eliminated(np.where(out, 0.0, self.weights[block.rows]))
            changes.append((block.shared, less.matrix - addends[number].matrix))
            vector[block.shared] += less.vector - addends[number].vector
            addends[number] = less
        if not changes:
            return self.solution
        touched = np.unique(np.concatenate([columns for columns, _ in changes]))
        if len(touched) > len(vector) // 2:
            matrix = self._matrix.copy()
            for columns, change in changes:
                matrix[np.ix_(columns, columns)] += change
            return self._complete(_solve(matrix, vector), addends)
        total = np.zeros((len(touched), len(touched)))
        for columns, change in changes:
            at = np.searchsorted(touched, columns)
            total[np.ix_(at, at)] += change
        inverse = self._inverted()
        first = inverse @ vector
        spread = inverse[:, touched]
        core = np.eye(len(touched)) + total @ spread[touched]
        shared = first - spread @ np.linalg.solve(core, total @ first[touched])
        return self._complete(shared, addends)

    def covariance(self, count: int) -> FloatArray:
        """Covariance of the first columns. [-]"""
        return self.covariance_at(np.arange(count))

    def covariance_at(self, columns: IntArray) -> FloatArray:
        """Covariance of some columns, in their order. [-]"""
        arrowhead = self.arrowhead
        place = np.full(arrowhead.columns, -1, dtype=np.int64)
        place[columns] = np.arange(len(columns))
        follows = np.zeros((len(columns), len(arrowhead.shared)))
        shared = np.flatnonzero(place[arrowhead.shared] >= 0)
        follows[place[arrowhead.shared[shared]], shared] = 1.0
        touched = []
        for block, addend in zip(arrowhead.blocks, self._addends, strict=True):
            own = np.flatnonzero(place[block.own] >= 0)
            if len(own):
                at = place[block.own[own]]
                follows[np.ix_(at, block.shared)] = -addend.follows[own]
                touched.append((at, addend.inverse[np.ix_(own, own)]))
        covariance: FloatArray = follows @ self._inverted() @ follows.T
        for at, inverse in touched:
            covariance[np.ix_(at, at)] += inverse
        return covariance

    def _inverted(self) -> FloatArray:
        if self._inverse is None:
            self._inverse = np.asarray(np.linalg.inv(self._matrix), dtype=np.float64)
        return self._inverse

    def _complete(self, shared: FloatArray, addends: list[_Addend]) -> FloatArray:
        solution = np.zeros(self.arrowhead.columns)
        solution[self.arrowhead.shared] = shared
        for block, addend in zip(self.arrowhead.blocks, addends, strict=True):
            solution[block.own] = addend.constant - addend.follows @ shared[block.shared]
        return solution


def _solve(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    if not len(vector):
        return vector
    return np.asarray(np.linalg.solve(matrix, vector), dtype=np.float64)
