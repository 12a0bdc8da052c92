"""Derivatives of all observations from those of a few runs of each series."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from calibration.observations import Observation

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]

SAMPLED_PER_SERIES = 3
"""Concurrencies of a series at which derivatives are simulated. They change slowly along a curve
and hardly with the date of the software. [-]"""


class SampledRuns:
    """The runs whose derivatives are simulated, and what they say of all others.

    Parameters
    ----------
    observations:
        All observations. Of each series, whatever the dates, the smallest and largest
        concurrency and one between are sampled; those whose acceptance is known and those whose
        is not count as two.

    Attributes
    ----------
    rows:
        Positions of the sampled runs.
    """

    def __init__(self, observations: Sequence[Observation]) -> None:
        sweeps: dict[tuple[str, bool], dict[int, list[int]]] = {}
        for position, each in enumerate(observations):
            sweep = sweeps.setdefault((each.series, each.fixed_acceptance), {})
            sweep.setdefault(each.configuration.concurrency, []).append(position)
        rows: list[int] = []
        self._below: IntArray = np.zeros(len(observations), dtype=np.int64)
        self._above: IntArray = np.zeros(len(observations), dtype=np.int64)
        self._share: FloatArray = np.zeros(len(observations))
        for sweep in sweeps.values():
            ladder = sorted(sweep)
            count = min(len(ladder), SAMPLED_PER_SERIES)
            places = np.linspace(0, len(ladder) - 1, count).round().astype(int)
            knots = [ladder[place] for place in places]
            first = len(rows)
            rows += [sweep[clients][0] for clients in knots]
            for clients, positions in sweep.items():
                above = int(np.searchsorted(knots, clients))
                below = above if knots[above] == clients else above - 1
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
