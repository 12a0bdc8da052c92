"""How much open-loop load a replica carries while its users get what the SLOs ask."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from simulator.analysis.metrics import Distribution
from simulator.analysis.statistics import Interval, mean_interval
from simulator.serving.client import OpenLoop
from simulator.serving.deployment import run_deployment
from simulator.serving.records import Records
from workloads.errors import UserError
from workloads.speculation import NO_SPECULATION, Acceptance, draw_decode_steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.analysis.objectives import Objectives
    from simulator.serving.deployment import Deployment
    from simulator.studies.plan.traffic import Traffic, Window

CONFIDENCE = 0.9
"""Two-sided; a limit is met if the upper end of the interval is, so with 95 % confidence. [-]"""

MOST_GROWTH = 0.05
"""Growth of the wait over time from which a queue counts as growing without end. [s/s]"""

SEARCH_RATIO = 1.04
"""How near the largest rate that meets the objectives is pinned down. [-]"""

SEARCH_REPLICATIONS, LEAST_REPLICATIONS = 1, 3
COARSE_RATIO = 1.1
"""The same where a fleet is tested at its own load afterwards. [-]"""
_STEP = 1.2
_LEAST_SHARE = 0.02


class _Load(TypedDict):
    rate_per_s: float
    share: float


def cell_of(deployment: Deployment, *, replicas: int) -> Deployment:
    """Some replicas of a deployment behind one router that picks the one with fewest requests.

    Of a disaggregated deployment the pools grow: their routers stay as they are.
    """
    if replicas == 1:
        return deployment
    aggregated, prefill, decode = (
        None if pool is None else replace(pool, workers=replicas * pool.workers)
        for pool in (deployment.aggregated, deployment.prefill, deployment.decode)
    )
    if aggregated is not None:
        aggregated = replace(aggregated, routing="least_loaded")
    return replace(deployment, aggregated=aggregated, prefill=prefill, decode=decode)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """A replica at one rate, over replications.

    Parameters
    ----------
    rate_per_s:
        Mean arrivals of a replica. [1/s]
    slo_use:
        How much of each objective is used up, mean and interval over the replications; 1 is
        just met. See `simulator.analysis.objectives.Objectives.slo_use`.
    growth:
        Growth of the wait for the first token over the run, for a steady rate. [s/s]
    ttft, tpot, e2el, queue:
        Latencies of all judged requests.
    prompt_tokens, output_tokens:
        Mean lengths. [tokens]
    requests:
        Judged requests of all replications.
    """

    rate_per_s: float
    slo_use: dict[str, Interval]
    growth: float
    ttft: Distribution
    tpot: Distribution
    e2el: Distribution
    queue: Distribution
    prompt_tokens: float
    output_tokens: float
    requests: int

    @property
    def met(self) -> bool:
        """Whether every objective is met with confidence and the queue does not grow."""
        return self.growth <= MOST_GROWTH and all(s.high <= 1.0 for s in self.slo_use.values())

    @property
    def met_on_average(self) -> bool:
        """Whether the means meet every objective: where to look, not what to rely on."""
        return self.growth <= MOST_GROWTH and all(s.mean <= 1.0 for s in self.slo_use.values())

    @property
    def highest_slo_use(self) -> float:
        """The largest SLO utilisation: how near it is to its first missed objective. [-]"""
        return max(s.high for s in self.slo_use.values())

    @property
    def binding(self) -> str:
        """The objective that is missed first, or that a growing queue will miss."""
        return max(self.slo_use, key=lambda name: self.slo_use[name].high)

    @property
    def interactivity(self) -> float:
        """1 / median TPOT. [tok/s]"""
        return 1.0 / self.tpot.median_s if self.tpot.median_s > 0 else float("inf")

    @property
    def in_flight(self) -> float:
        """Mean requests in the replica, by Little's law. [requests]"""
        return self.rate_per_s * self.e2el.mean_s


@dataclass(slots=True, kw_only=True)
class LoadTest:
    """Runs a cell of replicas under its part of a fleet's traffic.

    A cell is some replicas behind one router. The requests of the fleet are spread over its
    cells at random, which is what a cell is judged on; one of all replicas is exact. The same
    replication has the same random numbers at every rate.

    Parameters
    ----------
    deployment:
        The cell, see `cell_of`.
    replicas:
        Replicas in it.
    traffic:
        The fleet's traffic.
    objectives:
        SLOs of users; not empty.
    latency_s:
        A guess of the mean latency, which sets the length of a run. [s]
    acceptance:
        Of drafted tokens.
    seed:
        Of all random streams.
    replications:
        Independent runs that confirm a result.
    history:
        Results so far, in order.

    Raises
    ------
    UserError
        If there are fewer than three replications, or no objective.
    """

    deployment: Deployment
    traffic: Traffic
    objectives: Objectives
    latency_s: float
    replicas: int = 1
    acceptance: Acceptance = NO_SPECULATION
    seed: int = 0
    replications: int = 5
    history: list[LoadResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.replications < LEAST_REPLICATIONS:
            raise UserError(
                f"replications is {self.replications}; an interval of use needs at least "
                f"{LEAST_REPLICATIONS}"
            )
        if self.objectives.is_empty:
            raise UserError("no objective is given; give a TTFT or an interactivity")

    def at(self, rate_per_s: float, *, share: float, replications: int | None = None) -> LoadResult:
        """A replica at a rate, with its share of the fleet's requests.

        Raises
        ------
        UserError
            If no request arrives, or one can never be served.
        """
        runs = [
            self._run(rate_per_s, share=share, replication=index)
            for index in range(replications or self.replications)
        ]
        judged = [records for records, _ in runs]
        slo_use = [self.objectives.slo_use(records) for records in judged]
        pooled = Records.concatenate(judged)
        result = LoadResult(
            rate_per_s=rate_per_s,
            slo_use={name: _interval([each[name] for each in slo_use]) for name in slo_use[0]},
            growth=float(np.mean([growth for _, growth in runs])),
            ttft=Distribution.of(pooled.ttft_s),
            tpot=Distribution.of(pooled.tpot_s),
            e2el=Distribution.of(pooled.e2el_s),
            queue=Distribution.of(pooled.queue_s),
            prompt_tokens=float(pooled.prompt_tokens.mean()),
            output_tokens=float(pooled.output_tokens.mean()),
            requests=len(pooled),
        )
        self.history.append(result)
        return result

    def largest_rate(self, *, guess_per_s: float, share_of: Callable[[float], float]) -> LoadResult:
        """The largest rate at which the replica meets its objectives with confidence.

        Parameters
        ----------
        guess_per_s:
            Where to look first, such as the throughput of a closed loop. [1/s]
        share_of:
            The replica's share of the fleet's requests at a rate.

        Returns
        -------
        LoadResult
            At that rate, or one that is not `LoadResult.met` if there is no such rate.

        Notes
        -----
        `about` to 4 %; steps down, of 4 % at first, until all replications confirm a rate; then
        bisection between that and the last one that they did not confirm.
        """
        result = self.about(guess_per_s=guess_per_s, share_of=share_of, ratio=SEARCH_RATIO)
        if not result.met_on_average:
            return result
        rate, bad = result.rate_per_s, float("inf")
        result = self.at(rate, share=share_of(rate))
        step = SEARCH_RATIO
        while not result.met and rate > _LEAST_SHARE * guess_per_s:
            bad = rate
            rate /= step
            step *= SEARCH_RATIO
            result = self.at(rate, share=share_of(rate))
        while result.met and SEARCH_RATIO < (bad / result.rate_per_s) < float("inf"):
            rate = (result.rate_per_s * bad) ** 0.5
            trial = self.at(rate, share=share_of(rate))
            if trial.met:
                result = trial
            else:
                bad = rate
        return result

    def about(
        self,
        *,
        guess_per_s: float,
        share_of: Callable[[float], float],
        ratio: float = COARSE_RATIO,
    ) -> LoadResult:
        """The largest rate whose means meet the objectives: where to look, not a guarantee.

        Bisection on a logarithmic scale on one replication.

        Parameters
        ----------
        ratio:
            How near it is pinned down. [-]

        Returns
        -------
        LoadResult
            At that rate, or one that is not `LoadResult.met_on_average` if there is no such rate.
        """
        good: LoadResult | None = None
        rate, bad = guess_per_s, float("inf")
        while good is None or bad / ratio > good.rate_per_s:
            result = self.at(rate, share=share_of(rate), replications=SEARCH_REPLICATIONS)
            if result.met_on_average:
                good = result
                rate = rate * _STEP if bad == float("inf") else (rate * bad) ** 0.5
                continue
            bad = rate
            if good is not None:
                rate = (good.rate_per_s * bad) ** 0.5
                continue
            rate /= _STEP**2
            if rate < _LEAST_SHARE * guess_per_s:
                return result
        return good

    def _run(self, rate_per_s: float, *, share: float, replication: int) -> tuple[Records, float]:
        """Judged records of one replication, and the growth of their wait."""
        requests_rng, steps_rng = np.random.default_rng([self.seed, replication]).spawn(2)
        load: _Load = {
            "rate_per_s": self.replicas * rate_per_s,
            "share": min(1.0, self.replicas * share),
        }
        window = self.traffic.window(**load, latency_s=self.latency_s)
        requests = self.traffic.requests(
            **load,
            window=window,
            rng=requests_rng,
            decode_steps=lambda output_tokens: draw_decode_steps(
                rng=steps_rng, output_tokens=output_tokens, acceptance=self.acceptance
            ),
        )
        records = run_deployment(deployment=self.deployment, requests=requests, load=OpenLoop())
        judged = records.select(
            (records.arrival_s >= window.start_s) & (records.arrival_s < window.end_s)
        )
        if not len(judged):
            raise UserError(
                f"no request of a cell falls into the time that is judged, {window.start_s:.0f} "
                "s after the start; the workload is too short for its rate"
            )
        return judged, self._growth(judged, window=window)

    def _growth(self, judged: Records, *, window: Window) -> float:
        """Least-squares slope of the wait over the time of arrival; 0 where the rate swings."""
        if not self.traffic.is_steady or len(judged) < 3:
            return 0.0
        arrival_s = judged.arrival_s - judged.arrival_s.mean()
        return float(arrival_s @ judged.ttft_s) / float(arrival_s @ arrival_s)


def _interval(values: list[float]) -> Interval:
    if len(values) == 1 or not np.isfinite(values).all():
        mean = values[0] if len(values) == 1 else float("inf")
        return Interval(mean=mean, half_width=0.0, confidence=CONFIDENCE, observations=len(values))
    return mean_interval(values, confidence=CONFIDENCE)
