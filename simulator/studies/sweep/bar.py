"""What a point has to reach to be worth its whole run, and the end of one that does not."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.prediction.part_of_run import LOOKED_AT, whole_run
from simulator.serving.deployment import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.analysis.objectives import Objectives
    from simulator.scenario.configuration import RunConfiguration
    from simulator.serving.records import Records

    Place = tuple[float, float]

BEHIND = "behind"
"""Status of a run that was ended early."""

NEAR_LOOKED_AT = 0.85
"""Share of the bar below which a look at a run ends it: what it estimates of throughput is as
little as 0.87 times the whole run's (`simulator.prediction.part_of_run`). [-]"""
NEAR_LOOKED_AT_POOLED = 0.9
"""The same where prefill and decode have pools of their own: 0.91 times at the least. [-]"""
ABOUT_LOOKED_AT = 1.6
"""Use of a limit by such an estimate beyond which a run is ended. A lower one as it is, it was
too high, and 1.57 times, where KV room for long outputs takes three requests to settle. [-]"""
WORTH_LOOKING = 64
"""Clients from which a run takes long enough to be looked at. [requests]"""


class BehindError(Exception):
    """A run was ended since what it showed so far keeps it off the frontier."""

    def __init__(self, cells: dict[str, Any]) -> None:
        super().__init__("three requests of each client show it behind others")
        self.cells = cells


class Staircase:
    """The most throughput at a speed or faster."""

    def __init__(self, points: Iterable[Place]) -> None:
        ordered = sorted(points)
        self._speeds = [speed for speed, _ in ordered]
        rates = [rate for _, rate in ordered]
        self._best = np.maximum.accumulate(rates[::-1])[::-1].tolist() if rates else []

    def share(self, speed: float, rate: float) -> float:
        """Throughput over the best of others that are at least as fast; infinite beyond them."""
        position = bisect_left(self._speeds, speed)
        if position == len(self._best):
            return inf
        return rate / float(self._best[position])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What runs have shown that are on a frontier so far.

    Parameters
    ----------
    places:
        Speed and throughput of each. [tok/s/user, tok/s/GPU]
    limits:
        TTFT limits and goodput of the frontier.
    """

    places: tuple[Place, ...]
    limits: Objectives

    def checkpoint(self, configuration: RunConfiguration) -> Checkpoint | None:
        """A look at a run that ends it with `BehindError`; ``None``: it is not worth one."""
        clients, each = configuration.concurrency, configuration.requests_per_client
        if clients < WORTH_LOOKING or each < 2 * LOOKED_AT:
            return None
        near = NEAR_LOOKED_AT_POOLED if len(configuration.pools) > 1 else NEAR_LOOKED_AT

        def look(part: Records) -> None:
            cells = whole_run(
                part,
                clients=clients,
                requests_per_client=each,
                gpus=configuration.gpus,
                good_ttft_s=self.limits.goodput_ttft_s,
            ).to_cells()
            share = Staircase(self.places).share(
                cells["interactivity"], cells["total_tput_per_gpu"]
            )
            if share < near or self.limits.ttft_use(cells) > ABOUT_LOOKED_AT:
                raise BehindError(cells)

        return Checkpoint(after=LOOKED_AT * clients, look=look)
