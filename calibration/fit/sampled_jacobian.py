"""Derivatives of all observations from those of a few runs of each series."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from calibration.fit.observations import Observation

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]

SAMPLED_PER_SWEEP = 2
"""Concurrencies of a sweep at which derivatives are simulated; they change slowly along a curve."""

LARGEST_SAMPLED = 128
"""Clients of the largest runs whose derivatives are simulated, unless a sweep has only larger
ones; those above are taken to move as these. [requests]"""

ALIKE = 0.25
"""Root mean square difference of log parameters up to which dates share derivatives. [-]"""


class SampledRuns:
    """The runs whose derivatives are simulated, and what they say of all others.

    Parameters
    ----------
    observations:
        All observations. Of each sweep the smallest and largest concurrency are sampled, see
        `LARGEST_SAMPLED`. A sweep
        are the runs of a series whose software is alike and whose layout, where the label leaves
        it to the recipe of the date, and knowledge of the acceptance are the same.
    logs:
        Log parameters that they are simulated at, one row each.

    Attributes
    ----------
    rows:
        Positions of the sampled runs.
    """

    def __init__(self, observations: Sequence[Observation], *, logs: FloatArray) -> None:
        rows: list[int] = []
        self._below: IntArray = np.zeros(len(observations), dtype=np.int64)
        self._above: IntArray = np.zeros(len(observations), dtype=np.int64)
        self._share: FloatArray = np.zeros(len(observations))
        for sweep in _sweeps(observations, logs=logs):
            swept = sorted(sweep)
            swept = [clients for clients in swept if clients <= LARGEST_SAMPLED] or swept
            count = min(len(swept), SAMPLED_PER_SWEEP)
            places = np.linspace(0, len(swept) - 1, count).round().astype(int)
            knots = [swept[place] for place in places]
            first = len(rows)
            rows += [sweep[clients][0] for clients in knots]
            for clients, positions in sweep.items():
                above = min(int(np.searchsorted(knots, clients)), len(knots) - 1)
                below = above - 1 if clients < knots[above] else above
                self._below[positions] = first + below
                self._above[positions] = first + above
                if below < above:
                    span = log(knots[above] / knots[below])
                    self._share[positions] = log(clients / knots[below]) / span
        self.rows: IntArray = np.array(rows, dtype=np.int64)

    def spread(self, sampled: FloatArray) -> FloatArray:
        """Derivatives of all observations, linear in log concurrency between sampled runs.

        ``sampled`` are those of `rows`, (sampled runs, metrics, parameters).
        """
        share = self._share[:, None, None]
        return (1.0 - share) * sampled[self._below] + share * sampled[self._above]


def _sweeps(
    observations: Sequence[Observation], *, logs: FloatArray
) -> Iterator[dict[int, list[int]]]:
    """Positions by concurrency of the runs that share derivatives."""
    labels: dict[tuple[object, ...], list[int]] = {}
    for position, each in enumerate(observations):
        layouts = tuple(pool.layout for pool in each.configuration.pools)
        labels.setdefault((each.series, each.fixed_acceptance, layouts), []).append(position)
    for positions in labels.values():
        alike: list[tuple[FloatArray, dict[int, list[int]]]] = []
        for position in positions:
            clients = observations[position].configuration.concurrency
            for software, sweep in alike:
                if float(np.sqrt(np.mean((logs[position] - software) ** 2))) <= ALIKE:
                    sweep.setdefault(clients, []).append(position)
                    break
            else:
                alike.append((logs[position], {clients: [position]}))
        yield from (sweep for _, sweep in alike)
