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
from simulator.studies.mlperf.result import MlperfTrial, Window
from workloads.models.expert_load import REAL_TEXT
from workloads.requests.arrivals import Gamma
from workloads.requests.synthetic import requests_from_lengths
from workloads.speculation import draw_decode_steps, expected_decode_steps

if TYPE_CHECKING:
    from simulator.analysis.mlperf import Throughput
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
        return OF_BOUND * self._bound_per_s(prompt_tokens=self.asked.prompt.mean_tokens)

    def loss_of_longer_prompts(self, *, times: float) -> float:
        """Share of the bound on throughput that prompts ``times`` as long cost. [-]"""
        mean = self.asked.prompt.mean_tokens
        bounds = [self._bound_per_s(prompt_tokens=n * mean) for n in (1.0, times)]
        return 1.0 - bounds[1] / bounds[0]

    def _bound_per_s(self, *, prompt_tokens: float) -> float:
        """Rate that no schedule passes. [1/s]"""
        pools, steps = self.assembly.pools, expected_decode_steps
        output = self.asked.output.mean_tokens
        bounds = DeploymentBounds(
            entry=pools[0],
            last=pools[-1],
            prompt_tokens=prompt_tokens,
            output_tokens=output,
            decode_steps=float(steps(output_tokens=output, acceptance=self.acceptance)),
        )
        limits = self.asked.limits
        return bounds.requests_per_s(
            concurrency=max(1, round(self.slots)),
            least_speed=0.0 if limits is None else 1.0 / limits.tpot_s,
        )

    def server(self, *, rate_per_s: float, window: Window) -> MlperfTrial:
        """The copy at a rate.

        Parameters
        ----------
        rate_per_s:
            Scheduled arrivals of the copy. [1/s]
        window:
            What is simulated of the run, and judged.
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
                    range(math.ceil(window.arrivals_s * rate_per_s / 2048) + 2),
                    strict=False,
                )
            ]
        )
        times_s = times_s[times_s <= window.arrivals_s]
        records = self._serve(self._requests(len(times_s), rng=rng, arrival_s=times_s))
        judged = records.arrival_s >= window.judged_from_s
        queries = round(rate_per_s * window.whole_s)
        verdicts = tuple(
            LatencyVerdict.of(name, values_s[judged], limit_s=limit_s, queries=queries)
            for name, values_s, limit_s in (
                ("TTFT", records.ttft_s, limits.ttft_s),
                ("TPOT", records.tpot_s, limits.tpot_s),
            )
        )
        through = server_throughput(
            records, arrivals_s=window.arrivals_s, whole_s=max(window.whole_s, window.arrivals_s)
        )
        return self._trial(
            records,
            window=window,
            rate_per_s=rate_per_s,
            throughput=through,
            verdicts=verdicts,
            between_s=(window.judged_from_s, window.arrivals_s),
        )

    def offline(self, *, queries: int) -> MlperfTrial:
        """The copy with all queries there at time zero."""
        _, rng = self._streams()
        records = self._serve(self._requests(queries, rng=rng, arrival_s=np.zeros(queries)))
        return self._trial(
            records,
            window=None,
            rate_per_s=None,
            throughput=offline_throughput(records),
            verdicts=(),
            between_s=(0.0, float(records.finish_s.max())),
        )

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
        window: Window | None,
        rate_per_s: float | None,
        throughput: Throughput,
        verdicts: tuple[LatencyVerdict, ...],
        between_s: tuple[float, float],
    ) -> MlperfTrial:
        mean, peak = _running(records, between_s=between_s)
        return MlperfTrial(
            rate_per_s=rate_per_s,
            window=window,
            queries=len(records),
            throughput=throughput,
            verdicts=verdicts,
            running=mean,
            running_per_rank=mean / self.ranks,
            most_running_per_rank=peak / self.ranks,
            preemptions=int(records.preemptions.sum()),
        )


def _running(records: Records, *, between_s: tuple[float, float]) -> tuple[float, float]:
    """Requests that are computed, mean and most, from one time to another."""
    first_s, last_s = between_s
    starts = np.clip(records.scheduled_s, first_s, last_s)
    ends = np.clip(records.finish_s, first_s, last_s)
    mean = float((ends - starts).sum()) / max(last_s - first_s, 1e-9)
    times = np.concatenate([records.scheduled_s, records.finish_s])
    change = np.concatenate([np.ones(len(records)), -np.ones(len(records))])
    order = np.lexsort((change, times))
    running = np.cumsum(change[order])
    return mean, float(running[times[order] >= first_s].max())


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
    # steps of full batches outlast their launches, which engines queue ahead of the GPU
    ahead = tuple(
        replace(pool, plan={**pool.plan, "launch_overlap": True}) for pool in configuration.pools
    )
    configuration = replace(configuration, pools=ahead, isl=isl, osl=osl, expert_load=REAL_TEXT)
    assembly = assemble(configuration)
    gpus = configuration.gpus
    acceptance = acceptance_of(configuration, software=assembly.software, on_text=True)
    told = (
        (f"{acceptance.acceptance_length:.2f} tokens a step, as text has",)
        if configuration.drafts and configuration.acceptance_length is None
        else ()
    )
    return Copy(
        asked=asked,
        configuration=configuration,
        assembly=assembly,
        copies=max(1, (asked.chips or gpus) // gpus),
        acceptance=acceptance,
        messages=(
            *recipe.messages,
            *told,
            *assembly.software.messages,
            *assembly.kv_messages,
            "launches outside graphs run ahead of the GPU: only what exceeds its time shows",
        ),
    )
