"""Open-loop arrival processes: when requests arrive, whatever the service does.

A process yields chunks of arrival times without end, in order, so that a run of any length
needs bounded memory. The times do not depend on the chunk size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

FloatArray = npt.NDArray[np.float64]

CHUNK = 4096
"""Arrivals drawn at a time. [requests]"""


class ArrivalProcess(Protocol):
    """A stream of arrivals on a clock that starts at zero."""

    @property
    def mean_rate_per_s(self) -> float:
        """Long-run arrivals per second. [1/s]"""
        ...

    def times(self, rng: np.random.Generator, *, chunk: int = CHUNK) -> Iterator[FloatArray]:
        """Yield non-empty arrays of non-decreasing arrival times, up to `chunk` long. [s]

        The stream ends only where the process does.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deterministic:
    """Arrivals at equal distances, the first at zero."""

    rate_per_s: float

    def __post_init__(self) -> None:
        _require_rate("rate_per_s", self.rate_per_s)

    @property
    def mean_rate_per_s(self) -> float:
        """Long-run arrivals per second. [1/s]"""
        return self.rate_per_s

    def times(self, rng: np.random.Generator, *, chunk: int = CHUNK) -> Iterator[FloatArray]:
        """Yield arrays of arrival times. [s]"""
        start = 0
        while True:
            yield np.arange(start, start + chunk) / self.rate_per_s
            start += chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Independent gamma-distributed gaps, as ``vllm bench serve --request-rate --burstiness``.

    Parameters
    ----------
    rate_per_s:
        Mean arrival rate. [1/s]
    burstiness:
        Shape of the gamma law; the gaps' coefficient of variation is ``1/sqrt(burstiness)``.
        1 is a Poisson process, less is burstier, more is smoother. [-]

    Raises
    ------
    UserError
        If a parameter is not positive and finite.
    """

    rate_per_s: float
    burstiness: float = 1.0

    def __post_init__(self) -> None:
        _require_rate("rate_per_s", self.rate_per_s)
        _require_rate("burstiness", self.burstiness)

    @classmethod
    def with_cv(cls, *, rate_per_s: float, cv: float) -> Gamma:
        """The process whose gaps have the coefficient of variation `cv`."""
        _require_rate("cv", cv)
        return cls(rate_per_s=rate_per_s, burstiness=cv**-2)

    @property
    def mean_rate_per_s(self) -> float:
        """Long-run arrivals per second. [1/s]"""
        return self.rate_per_s

    def times(self, rng: np.random.Generator, *, chunk: int = CHUNK) -> Iterator[FloatArray]:
        """Yield arrays of arrival times. [s]"""
        scale_s = 1 / (self.rate_per_s * self.burstiness)
        last_s = 0.0
        while True:
            gaps = rng.gamma(self.burstiness, scale_s, size=chunk)
            gaps[0] += last_s
            times_s = np.cumsum(gaps)
            last_s = float(times_s[-1])
            yield times_s


def poisson(*, rate_per_s: float) -> Gamma:
    """A Poisson process: exponential gaps of mean ``1/rate_per_s``."""
    return Gamma(rate_per_s=rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sinusoidal:
    """A Poisson process whose rate swings between two values, such as a day's traffic.

    ``rate(t) = (low + high)/2 - (high - low)/2 * cos(2 pi (t/period + phase))``: with phase 0
    the clock starts at the lowest rate.

    Parameters
    ----------
    low_per_s, high_per_s:
        Lowest and highest rate. [1/s]
    period_s:
        Length of a cycle. [s]
    phase:
        Part of a cycle that has passed at time zero. [-]

    Raises
    ------
    UserError
        If the rates are not ``0 <= low <= high``, ``high > 0``, or the period is not positive.

    References
    ----------
    Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes by thinning",
    Naval Research Logistics Quarterly 26 (1979).
    """

    low_per_s: float
    high_per_s: float
    period_s: float
    phase: float = 0.0

    def __post_init__(self) -> None:
        _require_rate("high_per_s", self.high_per_s)
        _require_rate("period_s", self.period_s)
        if not 0 <= self.low_per_s <= self.high_per_s:
            raise UserError(
                f"low_per_s is {self.low_per_s}; it must lie between 0 and high_per_s, "
                f"{self.high_per_s}"
            )

    @property
    def mean_rate_per_s(self) -> float:
        """Long-run arrivals per second. [1/s]"""
        return (self.low_per_s + self.high_per_s) / 2

    def rate_per_s(self, time_s: FloatArray) -> FloatArray:
        """Rate at given times. [1/s]"""
        swing_per_s = (self.high_per_s - self.low_per_s) / 2
        angle = 2 * math.pi * (time_s / self.period_s + self.phase)
        return self.mean_rate_per_s - swing_per_s * np.cos(angle)

    def times(self, rng: np.random.Generator, *, chunk: int = CHUNK) -> Iterator[FloatArray]:
        """Yield arrays of arrival times. [s]"""
        candidate_rng, thinning_rng = rng.spawn(2)
        candidates = poisson(rate_per_s=self.high_per_s).times(candidate_rng, chunk=chunk)
        for times_s in candidates:
            kept = thinning_rng.random(times_s.size) * self.high_per_s < self.rate_per_s(times_s)
            if kept.any():
                yield times_s[kept]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateWindow:
    """A stretch of time with one arrival rate. Duration in [s], rate in [1/s]."""

    duration_s: float
    rate_per_s: float

    def __post_init__(self) -> None:
        _require_rate("duration_s", self.duration_s)
        if not (self.rate_per_s >= 0 and math.isfinite(self.rate_per_s)):
            raise UserError(f"rate_per_s is {self.rate_per_s}; it must be finite and not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A rate that is constant in each of a row of windows: steps, ramps, a recorded day.

    A renewal process of unit rate with gamma gaps runs on the integral of the rate; with
    ``burstiness`` 1 this is exactly a Poisson process with that rate.

    Parameters
    ----------
    windows:
        The windows in order.
    repeat:
        Whether the row starts again when it has ended; otherwise the process ends.
    burstiness:
        As in `Gamma`. [-]

    Raises
    ------
    UserError
        If there is no window, or none with a positive rate.
    """

    windows: tuple[RateWindow, ...]
    repeat: bool = False
    burstiness: float = 1.0

    def __post_init__(self) -> None:
        _require_rate("burstiness", self.burstiness)
        if not any(window.rate_per_s > 0 for window in self.windows):
            raise UserError("windows have no positive rate; give at least one rate_per_s above 0")

    @property
    def mean_rate_per_s(self) -> float:
        """Arrivals per second over all windows. [1/s]"""
        duration_s = sum(window.duration_s for window in self.windows)
        return sum(w.rate_per_s * w.duration_s for w in self.windows) / duration_s

    def times(self, rng: np.random.Generator, *, chunk: int = CHUNK) -> Iterator[FloatArray]:
        """Yield arrays of arrival times. [s]"""
        durations_s = np.array([window.duration_s for window in self.windows])
        rates_per_s = np.array([window.rate_per_s for window in self.windows])
        edges_s = np.concatenate(([0.0], np.cumsum(durations_s)))
        edges = np.concatenate(([0.0], np.cumsum(durations_s * rates_per_s)))
        busy = rates_per_s > 0
        starts_s, starts, slopes = edges_s[:-1][busy], edges[:-1][busy], rates_per_s[busy]
        per_cycle, cycle_s = float(edges[-1]), float(edges_s[-1])
        for units in Gamma(rate_per_s=1.0, burstiness=self.burstiness).times(rng, chunk=chunk):
            inside = units if self.repeat else units[units < per_cycle]
            cycles, within = np.divmod(inside, per_cycle)
            piece = np.searchsorted(starts, within, side="right") - 1
            times_s = cycles * cycle_s + starts_s[piece] + (within - starts[piece]) / slopes[piece]
            if times_s.size:
                yield times_s
            if inside.size < units.size:
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class Superposition:
    """The union of independent streams, such as clients of which a few send bursts.

    Traffic of many clients with very different rates and burstiness is not a Poisson process
    (Xiang et al., "ServeGen: Workload Characterization and Generation of Large Language Model
    Serving in Production", 2025, arXiv:2505.09999); describe each client by a `Gamma`
    or `Steps` process of its own.
    """

    clients: tuple[ArrivalProcess, ...]

    def __post_init__(self) -> None:
        if not self.clients:
            raise UserError("clients is empty; give at least one arrival process")

    @property
    def mean_rate_per_s(self) -> float:
        """Long-run arrivals per second. [1/s]"""
        return sum(client.mean_rate_per_s for client in self.clients)

    def times(self, rng: np.random.Generator, *, chunk: int = CHUNK) -> Iterator[FloatArray]:
        """Yield arrays of arrival times, longer than `chunk` where streams coincide. [s]"""
        children = rng.spawn(len(self.clients))
        streams = [
            client.times(child, chunk=chunk)
            for client, child in zip(self.clients, children, strict=True)
        ]
        waiting = [next(stream, None) for stream in streams]
        while any(block is not None for block in waiting):
            # Nothing that is still to be drawn comes before the earliest end of a block.
            horizon_s = min(float(block[-1]) for block in waiting if block is not None)
            ready = []
            for index, block in enumerate(waiting):
                if block is None:
                    continue
                cut = int(np.searchsorted(block, horizon_s, side="right"))
                ready.append(block[:cut])
                waiting[index] = block[cut:] if cut < block.size else next(streams[index], None)
            yield np.sort(np.concatenate(ready), kind="stable")


def _require_rate(field: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise UserError(f"{field} is {value}; it must be positive and finite")
