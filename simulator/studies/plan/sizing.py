"""From a deployment to the open-loop load that it carries: closed loops, load test."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simulator.engines.pools import deployment_label
from simulator.prediction.assembly import assemble
from simulator.prediction.run import acceptance_of, simulate_run
from simulator.studies.plan.fleet import CannotServeError as CannotServeError
from simulator.studies.plan.loadtest import LoadTest, cell_of
from simulator.studies.plan.replica import configure_replica, most_requests_per_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.analysis.objectives import Objectives
    from simulator.scenario.candidates import Pools
    from simulator.scenario.settings import Scenario
    from simulator.studies.plan.traffic import Traffic

SKETCH_CONCURRENCIES = (1, 4, 16, 64, 256, 1024)
"""Concurrencies of the closed loops that estimate what a deployment carries. [requests]"""

SKETCH_REQUESTS_PER_CLIENT, SKETCH_REQUESTS = 4, 64
"""Requests in units of the concurrency, and in all at the least: enough for an estimate. [-]"""

_REFINEMENTS = 1
_STALLED = 1.02
_ROOM = 1.5

LARGEST_CELL = 4
"""Most replicas that are simulated behind one router. [replicas]"""

CELL_REQUESTS = 256
"""Requests at a time beyond which a cell gets no further replica: there chance evens out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedPoint:
    """A closed loop of the deployment: what it carries at a concurrency."""

    concurrency: int
    requests_per_s: float
    interactivity: float
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """A deployment and the closed loops that say about what it carries.

    Parameters
    ----------
    load, pools:
        What it is.
    points:
        Closed loops by ascending concurrency.
    kind:
        Kind of prediction.
    level:
        Software level.
    band:
        90 % interval of throughput at a concurrency over its prediction, where predictions of
        this kind have been compared. [-]
    messages:
        What was assumed.
    """

    load: Scenario
    pools: Pools
    points: tuple[ClosedPoint, ...]
    kind: str
    level: str
    band: tuple[float, float] | None
    messages: tuple[str, ...]

    @property
    def label(self) -> str:
        """InferenceX's label of the deployment."""
        return deployment_label(self.pools)

    @property
    def gpus(self) -> int:
        """Chips of one replica."""
        return sum(pool.gpus for pool in self.pools)

    def capacity_band(
        self, speed: float, *, among: Sequence[Sketch] = ()
    ) -> tuple[float, float] | None:
        """90 % interval of the rate per chip at a speed, over its prediction. [-]

        A deployment that takes ``1/f`` of the predicted time for everything carries
        ``f R(s/f)`` at speed ``s``, if it is predicted to carry ``R(s)``. Users of a slower one
        lose more than ``f``: to keep the speed, fewer must share it. 0 means that the speed is
        out of reach. ``f`` runs over the band of throughput.

        Parameters
        ----------
        among:
            Other deployments of the SKU; at either end of the band the best one is taken, as
            whoever finds the machine slower or faster would.
        """
        if self.band is None:
            return None
        here = self.rate_at(speed) / self.gpus
        able = [(each, each.band) for each in (self, *among) if each.band is not None]
        low, high = (
            max(band[end] * each.rate_at(speed / band[end]) / each.gpus for each, band in able)
            / here
            for end in (0, 1)
        )
        return low, high

    def speed_band(self, requests_per_s: float) -> tuple[float, float] | None:
        """90 % interval of the speed that it gives at a rate, over its prediction. [-]"""
        if self.band is None:
            return None
        here = self._speed_at(requests_per_s)
        low, high = (f * self._speed_at(requests_per_s / f) / here for f in self.band)
        return low, high

    def rate_at(self, speed: float) -> float:
        """Rate at a speed between the closed loops; 0 beyond the fastest. [1/s]"""
        points = sorted((point.interactivity, point.requests_per_s) for point in self.points)
        speeds, rates = np.array(points).T
        if speed > speeds[-1]:
            return 0.0
        return float(np.exp(np.interp(np.log(speed), np.log(speeds), np.log(rates))))

    def _speed_at(self, requests_per_s: float) -> float:
        """Speed at a rate between the closed loops; 0 beyond the largest. [tok/s]"""
        points = sorted((point.requests_per_s, point.interactivity) for point in self.points)
        rates, speeds = np.array(points).T
        if requests_per_s > rates[-1]:
            return 0.0
        return float(np.exp(np.interp(np.log(requests_per_s), np.log(rates), np.log(speeds))))

    def fastest_with(self, speed: float) -> ClosedPoint | None:
        """The point of most throughput whose users have this speed."""
        fast = [point for point in self.points if point.interactivity >= speed]
        return max(fast, key=lambda point: point.requests_per_s, default=None)

    def first_carrying(self, requests_per_s: float) -> ClosedPoint | None:
        """The point of most speed that carries this rate."""
        able = [point for point in self.points if point.requests_per_s >= requests_per_s]
        return max(able, key=lambda point: point.interactivity, default=None)


def sketch(
    load: Scenario,
    pools: Pools,
    *,
    traffic: Traffic,
    least_speed: float,
    ttft_limit_s: float = math.inf,
    least_rate_per_s: float = 0.0,
    concurrencies: Sequence[int] = SKETCH_CONCURRENCIES,
) -> Sketch:
    """Closed loops of one deployment, as far up as they help.

    Parameters
    ----------
    least_speed:
        Speed of the median user that is asked for; concurrency ends where it is lost, and a
        point near that is added. [tok/s]
    ttft_limit_s:
        TTFT that at least half of the users must have. [s]
    least_rate_per_s:
        Rate that a deployment must be able to carry. [1/s]

    Raises
    ------
    CannotServeError
        If a bound excludes the objectives.
    DoesNotFitError
        If the model does not fit.
    UserError
        If a name is unknown or a request can never be served.
    """
    points: list[ClosedPoint] = []
    messages: dict[str, None] = {}
    kind, level, band = "", "", None

    def run(concurrency: int) -> ClosedPoint:
        nonlocal kind, level, band
        configuration, notes = configure_replica(
            load, pools, concurrency=concurrency, traffic=traffic
        )
        each = max(SKETCH_REQUESTS_PER_CLIENT, math.ceil(SKETCH_REQUESTS / concurrency))
        closed = replace(configuration, **traffic.nominal, requests_per_client=each)
        outcome = simulate_run(closed)
        metrics = outcome.metrics
        messages.update(dict.fromkeys((*notes, *outcome.messages)))
        kind, level = outcome.kind, outcome.assembly.software.name
        if "total_tput_per_gpu" in outcome.bands and metrics.total_tput_per_gpu > 0:
            low, high = outcome.bands["total_tput_per_gpu"]
            band = (low / metrics.total_tput_per_gpu, high / metrics.total_tput_per_gpu)
        return ClosedPoint(
            concurrency=concurrency,
            requests_per_s=metrics.requests_per_s,
            interactivity=metrics.interactivity,
            latency_s=metrics.e2el.mean_s,
        )

    most_requests_per_s(
        load,
        pools,
        traffic=traffic,
        least_speed=least_speed,
        ttft_limit_s=ttft_limit_s,
        least_rate_per_s=least_rate_per_s,
        largest=max(concurrencies),
    )
    for concurrency in concurrencies:
        points.append(run(concurrency))
        if points[-1].interactivity < least_speed:
            break
        if len(points) > 2 and points[-1].requests_per_s < _STALLED * points[-2].requests_per_s:
            break
    if len(points) > 1 and points[-1].interactivity < least_speed <= points[-2].interactivity:
        low, high = points[-2].concurrency, points[-1].concurrency
        for _ in range(_REFINEMENTS):
            middle = round(math.sqrt(low * high))
            if not low < middle < high:
                break
            points.append(run(middle))
            low, high = (middle, high) if points[-1].interactivity >= least_speed else (low, middle)
    return Sketch(
        load=load,
        pools=pools,
        points=tuple(sorted(points, key=lambda point: point.concurrency)),
        kind=kind,
        level=level,
        band=band,
        messages=tuple(messages),
    )


def cell_size(near: ClosedPoint) -> int:
    """Replicas to simulate behind one router, given where one of them operates."""
    return max(1, min(LARGEST_CELL, CELL_REQUESTS // near.concurrency))


def load_test(
    one: Sketch,
    *,
    near: ClosedPoint,
    traffic: Traffic,
    objectives: Objectives,
    replications: int,
    replicas: int,
) -> LoadTest:
    """A load test of a cell of replicas, configured with room above an operating point.

    Settings follow from one and a half times the concurrency of the point, so that a burst
    finds room.
    """
    concurrency = max(1, math.ceil(_ROOM * near.concurrency))
    configuration, _ = configure_replica(
        one.load, one.pools, concurrency=concurrency, traffic=traffic
    )
    assembly = assemble(configuration)
    return LoadTest(
        deployment=cell_of(assembly.deployment, replicas=replicas),
        traffic=traffic,
        objectives=objectives,
        latency_s=near.latency_s,
        replicas=replicas,
        acceptance=acceptance_of(configuration, software=assembly.software),
        seed=one.load.seed,
        replications=replications,
    )
