"""Open-loop traffic of a fleet, and the part of it that one of many equal replicas sees."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from workloads.errors import UserError
from workloads.requests.arrivals import CHUNK, Gamma, Sinusoidal, poisson
from workloads.requests.catalog import traffic_kind
from workloads.requests.lengths import length_distribution
from workloads.requests.synthetic import open_loop_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workloads.requests.arrivals import ArrivalProcess, FloatArray
    from workloads.requests.catalog import DrawnLengthWorkload, TraceWorkload
    from workloads.requests.lengths import LengthDistribution
    from workloads.requests.request import Request
    from workloads.requests.synthetic import DecodeSteps

WARM_UP_LATENCIES = 1.5
"""Run-in before requests are judged, and a third of it after the last one. [mean latencies]"""

JUDGED_LATENCIES = 10.0
"""Stretch in which requests are judged, [mean latencies], where that is not very many."""

LEAST_LATENCIES = 2.0
"""The stretch of a replica that serves very many requests at a time. [mean latencies]"""

LEAST_JUDGED, MANY_JUDGED = 500, 2_500
"""Requests to judge at the least, and beyond which more add little. [requests]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A run: requests arrive until ``stop_s`` and are judged from ``start_s`` to ``end_s``. [s]"""

    start_s: float
    end_s: float
    stop_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinned:
    """Arrivals of which each is kept with the same probability, independently.

    This is what one of n replicas sees behind front ends that pick a replica at random, with a
    ``share`` of 1/n. Of a Poisson process it is a Poisson process; of gaps with a squared
    coefficient of variation c it has ``1 + share (c - 1)``, so that bursts spread out.

    Parameters
    ----------
    process:
        All arrivals.
    share:
        Probability to keep one. [-]
    """

    process: ArrivalProcess
    share: float

    @property
    def mean_rate_per_s(self) -> float:
        """Long-run arrivals per second. [1/s]"""
        return self.share * self.process.mean_rate_per_s

    def times(self, rng: np.random.Generator, *, chunk: int = CHUNK) -> Iterator[FloatArray]:
        """Yield arrays of arrival times. [s]"""
        times_rng, keep_rng = rng.spawn(2)
        for times_s in self.process.times(times_rng, chunk=chunk):
            kept = keep_rng.random(times_s.size) < self.share
            if kept.any():
                yield times_s[kept]


class Traffic(Protocol):
    """What a fleet has to serve."""

    @property
    def prompt_tokens(self) -> float:
        """Mean prompt. [tokens]"""
        ...

    @property
    def output_tokens(self) -> float:
        """Mean output. [tokens]"""
        ...

    @property
    def longest_tokens(self) -> tuple[int, int]:
        """Longest prompt, and what the longest context has beyond it. [tokens]"""
        ...

    @property
    def nominal(self) -> dict[str, Any]:
        """``isl``, ``osl`` and ``length_distribution`` of a closed loop that stands in."""
        ...

    @property
    def shares_prefixes(self) -> bool:
        """Whether prompts say which blocks they have in common."""
        ...

    @property
    def is_steady(self) -> bool:
        """Whether the rate is the same at all times."""
        ...

    def describe(self) -> str:
        """The arrivals in a few words."""
        ...

    def window(self, *, rate_per_s: float, share: float, latency_s: float) -> Window:
        """How long to run and what to judge, given a guess of the mean latency."""
        ...

    def requests(
        self,
        *,
        rate_per_s: float,
        share: float,
        window: Window,
        rng: np.random.Generator,
        decode_steps: DecodeSteps | None = None,
    ) -> list[Request]:
        """Requests of one replica in order of arrival.

        Parameters
        ----------
        rate_per_s:
            Mean rate of the replica. [1/s]
        share:
            Its share of the fleet's requests. [-]
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticTraffic:
    """Requests of drawn lengths on a renewal process, or on a Poisson process with cycles.

    Parameters
    ----------
    isl, osl, distribution:
        Nominal lengths [tokens] and how they are drawn.
    burstiness:
        Shape of the gamma gaps, see `workloads.requests.arrivals.Gamma`; 1 is Poisson. [-]
    peak:
        Highest rate over the mean one; the lowest lies as far below. [-]
    period_s:
        Length of such a cycle. [s]
    drawn:
        Distributions of lengths in place of ``distribution``; ``isl`` and ``osl`` are their means.

    Raises
    ------
    UserError
        If a number is out of range, or bursts and cycles are asked for at once.
    """

    isl: int
    osl: int
    distribution: str = "uniform_0.8"
    burstiness: float = 1.0
    peak: float = 1.0
    period_s: float = 86_400.0
    drawn: DrawnLengthWorkload | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.peak <= 2:
            raise UserError(
                f"peak is {self.peak}; it is the highest rate over the mean one, from 1 to 2: "
                "a sinusoid cannot swing further"
            )
        if not 0 < self.period_s < math.inf:
            raise UserError(f"period_s is {self.period_s}; it must be positive and finite")
        if not 0 < self.burstiness < math.inf:
            raise UserError(f"burstiness is {self.burstiness}; it must be positive and finite")
        if self.peak > 1 and self.burstiness != 1:
            raise UserError(
                f"burstiness is {self.burstiness} and peak {self.peak}; cycles are Poisson, "
                "so give one of the two"
            )

    @property
    def prompt_tokens(self) -> float:
        """Mean prompt. [tokens]"""
        return self._laws[0].mean_tokens

    @property
    def output_tokens(self) -> float:
        """Mean output. [tokens]"""
        return self._laws[1].mean_tokens

    @property
    def _laws(self) -> tuple[LengthDistribution, LengthDistribution]:
        """Distributions of prompts and outputs."""
        if self.drawn is not None:
            return self.drawn.prompt, self.drawn.output
        prompt, output = (
            length_distribution(name=self.distribution, nominal_tokens=n)
            for n in (self.isl, self.osl)
        )
        return prompt, output

    @property
    def longest_tokens(self) -> tuple[int, int]:
        """Longest prompt and output. [tokens]"""
        return (self.isl, self.osl) if self.drawn is None else self.drawn.longest_tokens

    @property
    def nominal(self) -> dict[str, Any]:
        """The same lengths, of drawn ones the means."""
        if self.drawn is not None:
            return {"isl": self.isl, "osl": self.osl, "length_distribution": "fixed"}
        return {"isl": self.isl, "osl": self.osl, "length_distribution": self.distribution}

    @property
    def shares_prefixes(self) -> bool:
        """Drawn prompts have nothing in common."""
        return False

    @property
    def is_steady(self) -> bool:
        """Whether the rate is the same at all times."""
        return self.peak == 1

    def describe(self) -> str:
        """The arrivals in a few words."""
        if not self.is_steady:
            return (
                f"sinusoidal Poisson arrivals, peak {self.peak:g} x mean over {self.period_s:g} s"
            )
        if self.burstiness == 1:
            return "Poisson arrivals"
        return f"gamma arrivals of burstiness {self.burstiness:g} (1 is Poisson)"

    def window(self, *, rate_per_s: float, share: float, latency_s: float) -> Window:
        """How long to run: whole cycles, or their busiest stretch where a cycle is too long."""
        start_s = WARM_UP_LATENCIES * latency_s
        judged_s = max(
            min(JUDGED_LATENCIES * latency_s, MANY_JUDGED / rate_per_s),
            LEAST_LATENCIES * latency_s,
            LEAST_JUDGED / rate_per_s,
        )
        if not self.is_steady:
            whole_s = math.ceil(judged_s / self.period_s) * self.period_s
            busiest_s = MANY_JUDGED / (rate_per_s * self.peak)
            is_short = rate_per_s * whole_s <= MANY_JUDGED
            judged_s = whole_s if is_short else max(judged_s, busiest_s)
        end_s = start_s + judged_s
        return Window(start_s=start_s, end_s=end_s, stop_s=end_s + start_s / 3.0)

    def requests(
        self,
        *,
        rate_per_s: float,
        share: float,
        window: Window,
        rng: np.random.Generator,
        decode_steps: DecodeSteps | None = None,
    ) -> list[Request]:
        """Requests of one replica; the peak of a cycle lies in the middle of the window."""
        arrivals: ArrivalProcess
        if not self.is_steady:
            middle_s = (window.start_s + window.end_s) / 2
            arrivals = Sinusoidal(
                low_per_s=rate_per_s * (2 - self.peak),
                high_per_s=rate_per_s * self.peak,
                period_s=self.period_s,
                phase=(0.5 - middle_s / self.period_s) % 1.0,
            )
        elif self.burstiness == 1:
            arrivals = poisson(rate_per_s=rate_per_s)
        else:
            fleet = Gamma(rate_per_s=rate_per_s / share, burstiness=self.burstiness)
            arrivals = Thinned(process=fleet, share=share)
        chunks = open_loop_requests(
            arrivals=arrivals,
            prompt=self._laws[0],
            output=self._laws[1],
            rng=rng,
            duration_s=window.stop_s,
            decode_steps=decode_steps,
        )
        return [request for chunk in chunks for request in chunk]


class RecordedTraffic:
    """A recorded workload, played faster or slower, whose conversations are spread at random.

    Parameters
    ----------
    workload:
        The trace; its requests, or the first turns of its conversations, carry arrival times.

    Raises
    ------
    UserError
        If it has no arrival times, or they are all the same.
    """

    def __init__(self, workload: TraceWorkload) -> None:
        if not workload.is_timed:
            raise UserError(
                f"workload {workload.name} has no arrival times, so it says no rate; give a trace "
                "with timestamps, or lengths with --isl and --osl"
            )
        self.workload = workload
        recorded = workload.recorded
        self.duration_s = max(r.arrival_s for r in recorded if r.arrival_s is not None)
        if not self.duration_s > 0:
            raise UserError(
                f"all requests of {workload.name} arrive at once; a rate needs timestamps"
            )
        self.rate_per_s = len(recorded) / self.duration_s
        self._keys = np.array([r.session if r.session >= 0 else -1 - r.index for r in recorded])

    @property
    def prompt_tokens(self) -> float:
        """Mean prompt. [tokens]"""
        return self.workload.mean_tokens[0]

    @property
    def output_tokens(self) -> float:
        """Mean output. [tokens]"""
        return self.workload.mean_tokens[1]

    @property
    def longest_tokens(self) -> tuple[int, int]:
        """Longest prompt, and what the longest context has beyond it. [tokens]"""
        return self.workload.longest_tokens

    @property
    def nominal(self) -> dict[str, Any]:
        """Requests of the mean lengths."""
        return {
            "isl": round(self.prompt_tokens),
            "osl": max(1, round(self.output_tokens)),
            "length_distribution": "fixed",
        }

    @property
    def shares_prefixes(self) -> bool:
        """Whether prompts say which blocks they have in common."""
        return traffic_kind(self.workload) == "agentic"

    @property
    def is_steady(self) -> bool:
        """A recorded day has its own swings."""
        return False

    def describe(self) -> str:
        """The arrivals in a few words."""
        return f"{self.workload.description}, recorded at {self.rate_per_s:.3g} req/s"

    def window(self, *, rate_per_s: float, share: float, latency_s: float) -> Window:
        """The whole trace, less the run-in where it is long enough."""
        duration_s = self.duration_s * self.rate_per_s / (rate_per_s / share)
        run_in_s = WARM_UP_LATENCIES * latency_s
        start_s = run_in_s if duration_s > 2 * JUDGED_LATENCIES * latency_s else 0.0
        return Window(start_s=start_s, end_s=math.inf, stop_s=duration_s)

    def requests(
        self,
        *,
        rate_per_s: float,
        share: float,
        window: Window,
        rng: np.random.Generator,
        decode_steps: DecodeSteps | None = None,
    ) -> list[Request]:
        """One replica's part of the trace: each conversation goes to it with probability share."""
        keep_rng, draw_rng = rng.spawn(2)
        keys, position = np.unique(self._keys, return_inverse=True)
        kept = (keep_rng.random(keys.size) < share)[position]
        everything = self.workload.requests(
            rng=draw_rng,
            decode_steps=decode_steps,
            speedup=(rate_per_s / share) / self.rate_per_s,
        )
        mine = [request for request, keep in zip(everything, kept, strict=True) if keep]
        return [replace(request, index=index) for index, request in enumerate(mine)]
