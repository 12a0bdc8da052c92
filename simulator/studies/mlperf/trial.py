"""One copy of a system under a scenario's queries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simulator.analysis.mlperf import LatencyVerdict, offline_throughput, server_throughput
from simulator.prediction.assembly import assemble
from simulator.prediction.bounds import DeploymentBounds
from simulator.prediction.run import acceptance_of
from simulator.scenario.configure import configure_run
from simulator.serving.client import OpenLoop
from simulator.serving.deployment import run_deployment
from simulator.serving.front_end import FrontEnd
from simulator.studies.mlperf.request import LEAST_ARRIVALS_S
from simulator.studies.mlperf.result import MlperfTrial
from workloads.requests.arrivals import Gamma
from workloads.requests.synthetic import requests_from_lengths
from workloads.speculation import draw_decode_steps, expected_decode_steps

if TYPE_CHECKING:
    from simulator.prediction.assembly import Assembly
    from simulator.scenario.candidates import Pools
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.target import Target
    from simulator.serving.records import Records
    from simulator.studies.mlperf.request import MlperfRequest
    from workloads.requests.request import Request
    from workloads.speculation import Acceptance

OF_BOUND = 0.7
"""Where the search for a rate begins, over a rate that no schedule passes. [-]"""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One copy of the system: a deployment that serves its share of the queries.

    Parameters
    ----------
    configuration, assembly:
        The deployment, bound to its cost models.
    copies:
        Copies behind a balancer that hands queries to them in turn, so that of Poisson arrivals
        each sees gaps that are sums of ``copies`` exponential ones.
    acceptance:
        Of drafted tokens.
    messages:
        What was assumed.
    """

    asked: MlperfRequest
    configuration: RunConfiguration
    assembly: Assembly
    copies: int
    acceptance: Acceptance
    messages: tuple[str, ...]

    @property
    def ranks(self) -> int:
        """Data-parallel ranks of the pool that decodes."""
        last = self.assembly.pools[-1]
        return last.workers * last.layout.attention_dp

    @property
    def slots(self) -> float:
        """Requests of mean length that the copy runs at a time, by settings and memory."""
        last = self.assembly.pools[-1]
        cap = last.engine.running_cap(attention_dp=last.layout.attention_dp)
        # what a slot sees is the length-biased answer: long ones stay longer
        tokens = self.asked.prompt.mean_tokens + self.asked.output.mean_tokens
        held = last.kv_pool.total_blocks / last.kv_pool.blocks(tokens)
        return min(cap, held) * self.ranks

    @property
    def full_rate_per_s(self) -> float:
        """A first guess of the rate that the copy carries within the limit on TPOT. [1/s]"""
        pools, steps = self.assembly.pools, expected_decode_steps
        output = self.asked.output.mean_tokens
        bounds = DeploymentBounds(
            entry=pools[0],
            last=pools[-1],
            prompt_tokens=self.asked.prompt.mean_tokens,
            output_tokens=output,
            decode_steps=float(steps(output_tokens=output, acceptance=self.acceptance)),
        )
        limits = self.asked.limits
        return OF_BOUND * bounds.requests_per_s(
            concurrency=max(1, round(self.slots)),
            least_speed=0.0 if limits is None else 1.0 / limits.tpot_s,
        )

    def server(self, *, rate_per_s: float, arrivals_s: float) -> MlperfTrial:
        """The copy at a rate: every query counts, from the first to the last.

        Parameters
        ----------
        rate_per_s:
            Scheduled arrivals of the copy. [1/s]
        arrivals_s:
            Time of scheduled arrivals. [s]
        """
        limits = self.asked.limits
        assert limits is not None
        arrivals_rng, rng = self._streams()
        process = Gamma(rate_per_s=rate_per_s, burstiness=float(self.copies))
        times_s = np.concatenate(
            [
                block
                for block, _ in zip(
                    process.times(arrivals_rng),
                    range(math.ceil(arrivals_s * rate_per_s / 2048) + 2),
                    strict=False,
                )
            ]
        )
        times_s = times_s[times_s <= max(arrivals_s, LEAST_ARRIVALS_S)]
        records = self._serve(self._requests(len(times_s), rng=rng, arrival_s=times_s))
        return self._trial(
            records,
            rate_per_s=rate_per_s,
            verdicts=(
                LatencyVerdict.of("TTFT", records.ttft_s, limit_s=limits.ttft_s),
                LatencyVerdict.of("TPOT", records.tpot_s, limit_s=limits.tpot_s),
            ),
        )

    def offline(self, *, queries: int) -> MlperfTrial:
        """The copy with all queries there at time zero."""
        _, rng = self._streams()
        records = self._serve(self._requests(queries, rng=rng, arrival_s=np.zeros(queries)))
        return self._trial(records, rate_per_s=None, verdicts=())

    def _streams(self) -> tuple[np.random.Generator, np.random.Generator]:
        first, second = np.random.default_rng(self.configuration.seed).spawn(2)
        return first, second

    def _requests(
        self, count: int, *, rng: np.random.Generator, arrival_s: np.ndarray
    ) -> list[Request]:
        prompt_rng, output_rng, steps_rng = rng.spawn(3)
        return requests_from_lengths(
            prompt_tokens=self.asked.prompt.sample(prompt_rng, count),
            output_tokens=self.asked.output.sample(output_rng, count),
            arrival_s=arrival_s,
            decode_steps=lambda output_tokens: draw_decode_steps(
                rng=steps_rng, output_tokens=output_tokens, acceptance=self.acceptance
            ),
        )

    def _serve(self, requests: list[Request]) -> Records:
        # LoadGen hands over token ids within the process
        deployment = replace(self.assembly.deployment, front_end=FrontEnd())
        return run_deployment(deployment=deployment, requests=requests, load=OpenLoop())

    def _trial(
        self,
        records: Records,
        *,
        rate_per_s: float | None,
        verdicts: tuple[LatencyVerdict, ...],
    ) -> MlperfTrial:
        through = offline_throughput(records) if rate_per_s is None else server_throughput(records)
        spent_s = float(records.e2el_s.sum())
        in_flight = spent_s / float(records.finish_s.max())
        return MlperfTrial(
            rate_per_s=rate_per_s,
            queries=len(records),
            throughput=through,
            verdicts=verdicts,
            in_flight=in_flight,
            in_flight_per_rank=in_flight / self.ranks,
            preemptions=int(records.preemptions.sum()),
        )


def prepare_copy(asked: MlperfRequest, *, target: Target, pools: Pools, tuned_for: int) -> Copy:
    """A copy with its recipe's settings, able to hold the longest query.

    Parameters
    ----------
    tuned_for:
        Requests in flight for which a recipe's settings are chosen. [requests]

    Raises
    ------
    UserError
        If the recipe cannot fill what is open, or the model or the longest query does not fit.
    """
    configuration, recipe = configure_run(
        asked.base,
        target=target,
        pools=pools,
        concurrency=tuned_for,
        longest_prompt=asked.longest[0],
    )
    isl, osl = asked.longest
    configuration = replace(configuration, isl=isl, osl=osl)
    assembly = assemble(configuration)
    gpus = configuration.gpus
    return Copy(
        asked=asked,
        configuration=configuration,
        assembly=assembly,
        copies=max(1, (asked.chips or gpus) // gpus),
        acceptance=acceptance_of(configuration, software=assembly.software),
        messages=(*recipe.messages, *assembly.software.messages, *assembly.kv_messages),
    )
