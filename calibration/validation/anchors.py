"""What one measured run of a series says of the others of its build."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log2
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from calibration.fit.observations import Observation
    from calibration.validation.folds import LeftOut

    FloatArray = npt.NDArray[np.float64]

REACH = 12.0
"""Doublings of the concurrency over which an anchor's miss counts for 1/e of itself. [-]"""


def move_by_anchors(
    left: LeftOut, *, predicted: FloatArray, observations: Sequence[Observation]
) -> tuple[LeftOut, list[int], FloatArray]:
    """Predictions of left-out series, moved by one run of each build.

    Parameters
    ----------
    left:
        Left-out runs, whole series together.
    predicted:
        Their logarithms, one row each.
    observations:
        What ``left.rows`` are positions of.

    Returns
    -------
    The runs that have an anchor, without the anchors; their positions in ``left``; and their
    logarithms. A build of a single run has none.

    Notes
    -----
    The anchor of a build is the run in the middle of
    its concurrencies; what is missed there, figure by figure, is added to a run n doublings of
    the concurrency away by the share ``exp(-n / 12)``, which the series of the structure split
    chose.
    """
    builds: dict[str, list[int]] = {}
    for position, row in enumerate(left.rows):
        builds.setdefault(observations[row].build, []).append(position)
    kept: list[int] = []
    moved: list[FloatArray] = []
    anchor_of: list[int] = []
    for positions in builds.values():
        if len(positions) < 2:
            continue
        by_clients = sorted(positions, key=lambda p: _clients(left.rows[p], observations))
        anchor = by_clients[len(by_clients) // 2]
        row = left.rows[anchor]
        missed = np.nan_to_num(observations[row].measured - predicted[anchor])
        for position in positions:
            if position == anchor:
                continue
            clients = _clients(left.rows[position], observations)
            doublings = abs(log2(clients / _clients(row, observations)))
            kept.append(position)
            moved.append(predicted[position] + exp(-doublings / REACH) * missed)
            anchor_of.append(row)
    known = replace(
        left,
        rows=[left.rows[p] for p in kept],
        logs=left.logs[kept],
        offsets=left.offsets[kept],
        basis=[left.basis[p] for p in kept],
        without=[left.without[p] - {row} for p, row in zip(kept, anchor_of, strict=True)],
    )
    return known, kept, np.array(moved).reshape(len(kept), predicted.shape[1])


def _clients(row: int, observations: Sequence[Observation]) -> int:
    return observations[row].configuration.concurrency
