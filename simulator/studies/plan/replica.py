"""One replica of a fleet: its configuration, and what single steps say before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulator.prediction.assembly import assemble
from simulator.prediction.bounds import deployment_bounds
from simulator.prediction.steady import steady_state
from simulator.recipes.stated import with_prefix_caches
from simulator.scenario.configure import configure_run
from simulator.studies.plan.fleet import CannotServeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.scenario.candidates import Pools
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario
    from simulator.studies.plan.traffic import Traffic


def configure_replica(
    load: Scenario, pools: Pools, *, concurrency: int, traffic: Traffic
) -> tuple[RunConfiguration, tuple[str, ...]]:
    """One replica with its recipe's settings at a concurrency, able to hold the longest request.

    Prefix caching is on where the traffic says which prompts share blocks.
    """
    configuration, recipe = configure_run(
        load.model_copy(update=traffic.nominal),
        pools=pools,
        concurrency=concurrency,
        traffic="agentic" if traffic.shares_prefixes else "fixed",
        longest_prompt=traffic.longest_tokens[0],
    )
    isl, osl = traffic.longest_tokens
    configuration = replace(configuration, isl=isl, osl=osl)
    messages = recipe.messages
    if traffic.shares_prefixes:
        changed = with_prefix_caches(configuration.pools, stated=load.engine_settings)
        if changed != configuration.pools:
            configuration = replace(configuration, pools=changed)
            messages = (*messages, "prefix caching switched on: the workload shares prefixes")
    return configuration, messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Hope:
    """What single steps say of a deployment before anything runs, at the speed asked for.

    Parameters
    ----------
    per_gpu, most_per_gpu:
        Requests per second and chip by mean values
        (`simulator.prediction.steady.steady_state`), and those that no schedule passes. [1/s]
    """

    per_gpu: float
    most_per_gpu: float

    def over(self, share: float) -> Hope:
        """The same over chips that are bought, of which this share is used."""
        return Hope(per_gpu=share * self.per_gpu, most_per_gpu=share * self.most_per_gpu)


def hope(
    load: Scenario,
    pools: Pools,
    *,
    traffic: Traffic,
    least_speed: float,
    ttft_limit_s: float,
    least_rate_per_s: float,
    concurrencies: Sequence[int],
) -> Hope:
    """What a deployment may carry; infinite with a prefix cache, where single steps say nothing.

    Raises
    ------
    CannotServeError
        If the bounds exclude the objectives.
    """
    most = most_requests_per_s(
        load,
        pools,
        traffic=traffic,
        least_speed=least_speed,
        ttft_limit_s=ttft_limit_s,
        least_rate_per_s=least_rate_per_s,
        largest=max(concurrencies),
    )
    gpus = sum(pool.gpus for pool in pools)
    if most == math.inf:
        return Hope(per_gpu=math.inf, most_per_gpu=math.inf)
    tokens = traffic.prompt_tokens + traffic.output_tokens
    points: list[tuple[float, float]] = []
    for concurrency in concurrencies:
        configuration, _ = configure_replica(load, pools, concurrency=concurrency, traffic=traffic)
        mean = steady_state(replace(configuration, **traffic.nominal))
        points.append((mean.interactivity, mean.total_tput_per_gpu / tokens))
        if mean.interactivity < least_speed:
            break
    fast = [rate for speed, rate in points if speed >= least_speed]
    rate = max(fast, default=points[0][1])
    if len(points) > 1 and points[-1][0] < least_speed <= points[-2][0]:
        (fast_speed, low), (slow_speed, high) = points[-2:]
        part = math.log(fast_speed / least_speed) / math.log(fast_speed / slow_speed)
        rate = max(rate, low * (high / low) ** part)
    return Hope(per_gpu=rate, most_per_gpu=most / gpus)


def most_requests_per_s(
    load: Scenario,
    pools: Pools,
    *,
    traffic: Traffic,
    least_speed: float,
    ttft_limit_s: float,
    least_rate_per_s: float,
    largest: int,
) -> float:
    """Requests per second that no schedule of a deployment passes at a speed. [1/s]

    Infinite with a prefix cache, where the bounds of TTFT and rate do not hold.

    Raises
    ------
    CannotServeError
        If the bounds exclude the objectives.
    """
    configuration, _ = configure_replica(load, pools, concurrency=largest, traffic=traffic)
    bounds = deployment_bounds(
        replace(configuration, **traffic.nominal), assembly=assemble(configuration)
    )
    # with a prefix cache a prompt may take no time at all
    shared = traffic.shares_prefixes
    reason = bounds.excludes(
        least_speed=least_speed, ttft_limit_s=math.inf if shared else ttft_limit_s
    )
    if reason:
        raise CannotServeError(reason)
    if shared:
        return math.inf
    most = bounds.requests_per_s(concurrency=1 << 16, least_speed=least_speed)
    if most < least_rate_per_s:
        raise CannotServeError(
            f"it carries at most {most:.3g} req/s, {least_rate_per_s:.3g} are needed to pay"
        )
    return most
