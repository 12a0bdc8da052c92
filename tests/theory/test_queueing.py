"""Limits in which the engine is a textbook queue: theory inside the interval of replications.

Each test runs independent replications and asks that the theoretical mean lies in their 99 %
t-interval. Seeds are fixed, so that the outcome is too.
"""

import math

import numpy as np
import pytest
from scipy import stats

from simulator.engines.registry import bind_engine
from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.client import ClosedLoop, OpenLoop
from simulator.serving.deployment import Deployment, run_deployment
from simulator.serving.kv_pool import KvPoolSpec
from simulator.serving.router import WorkerPool
from simulator.serving.step_cost import Line
from workloads.layout import Layout
from workloads.requests.request import Request

REPLICATIONS = 8
WARM_UP = 0.2
"""Share of the requests at the start that is left out: the queue starts empty."""


class PromptSeconds:
    """A step takes a microsecond per prompt token: service times of any distribution."""

    queries_per_request = 1

    def fixed_s(self, *, rank_tokens, group_tokens, rank_samples, group_samples, has_prefill):
        return 0.0

    def decode_attention(self, *, requests, context_sum):
        return Line(0.0, 0.0, math.inf)

    def prefill_attention_s(self, *, new_tokens, prefix_tokens):
        return 1e-6 * new_tokens


class BatchSteps(PromptSeconds):
    """A step takes ``base_s`` and ``each_s`` more for every request in it."""

    def __init__(self, *, base_s, each_s):
        self.base_s = base_s
        self.each_s = each_s

    def fixed_s(self, *, rank_tokens, group_tokens, rank_samples, group_samples, has_prefill):
        return self.base_s + self.each_s * rank_tokens

    def prefill_attention_s(self, *, new_tokens, prefix_tokens):
        return 0.0


def server(cost, *, batch) -> Deployment:
    return Deployment(
        aggregated=WorkerPool(
            layout=Layout(tp=1),
            engine=bind_engine(
                VllmSettings(
                    async_scheduling=False, max_num_batched_tokens=1 << 40, max_num_seqs=batch
                )
            ),
            kv_pool=KvPoolSpec(total_blocks=1 << 50, block_tokens=1),
            cost=cost,
        )
    )


def prompts_of(service_s, arrivals_s=None, **fields):
    """Requests that a `PromptSeconds` server serves in these times."""
    return [
        Request(
            index=index,
            prompt_tokens=max(1, round(1e6 * float(service_s[index]))),
            output_tokens=1,
            decode_steps=0,
            arrival_s=None if arrivals_s is None else float(arrivals_s[index]),
            **fields,
        )
        for index in range(len(service_s))
    ]


def steps_of(steps, arrivals_s):
    """Requests of one prompt step and ``steps - 1`` decode steps."""
    return [
        Request(
            index=index,
            prompt_tokens=1,
            output_tokens=int(steps[index]),
            decode_steps=int(steps[index]) - 1,
            arrival_s=float(arrivals_s[index]),
        )
        for index in range(len(steps))
    ]


def poisson(rng, rate_per_s, count):
    return np.cumsum(rng.exponential(1.0 / rate_per_s, count))


def assert_inside(theory, values) -> None:
    mean = np.mean(values)
    half = stats.t.ppf(0.995, len(values) - 1) * stats.sem(values)
    assert abs(mean - theory) <= half, f"{theory} outside {mean} ± {half}"
    assert half < 0.15 * theory  # an interval that excludes something


def replications():
    return [np.random.default_rng(seed) for seed in range(REPLICATIONS)]


def steady_wait_s(records):
    by_arrival = np.argsort(records.arrival_s, kind="stable")
    kept = by_arrival[int(WARM_UP * len(records)) :]
    return float((records.scheduled_s - records.arrival_s)[kept].mean())


def test_m_d_1_wait() -> None:
    """Pollaczek-Khinchine: W = rho S / (2 (1 - rho))."""
    load, service_s, count = 0.7, 0.05, 6_000
    waits = [
        steady_wait_s(
            run_deployment(
                deployment=server(PromptSeconds(), batch=1),
                requests=prompts_of(
                    np.full(count, service_s), poisson(rng, load / service_s, count)
                ),
                load=OpenLoop(),
            )
        )
        for rng in replications()
    ]
    assert_inside(load * service_s / (2.0 * (1.0 - load)), waits)


def test_m_m_1_wait() -> None:
    """W = rho S / (1 - rho)."""
    load, mean_s, count = 0.6, 0.05, 8_000
    waits = [
        steady_wait_s(
            run_deployment(
                deployment=server(PromptSeconds(), batch=1),
                requests=prompts_of(
                    rng.exponential(mean_s, count), poisson(rng, load / mean_s, count)
                ),
                load=OpenLoop(),
            )
        )
        for rng in replications()
    ]
    assert_inside(load * mean_s / (1.0 - load), waits)


def erlang_c(servers, offered) -> float:
    """Probability that all servers are busy."""
    busy = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return busy / (sum(offered**k / math.factorial(k) for k in range(servers)) + busy)


@pytest.mark.parametrize("servers", [2, 4])
def test_m_m_c_wait(servers) -> None:
    """A batch whose step time does not depend on the batch is c servers: W by Erlang's C.

    Steps of 1/5000 of the mean service: a request waits for the end of a step, half of one on
    average while the server is busy, which theory does not; it is taken off.
    """
    load, step_s, mean_steps, count = 0.8, 1e-4, 5_000, 6_000
    mean_s = step_s * mean_steps
    rate_per_s = load * servers / mean_s
    waits = []
    for rng in replications():
        steps = np.maximum(1, np.ceil(rng.exponential(mean_steps, count)))
        records = run_deployment(
            deployment=server(BatchSteps(base_s=step_s, each_s=0.0), batch=servers),
            requests=steps_of(steps, poisson(rng, rate_per_s, count)),
            load=OpenLoop(),
        )
        waits.append(steady_wait_s(records) - 0.5 * step_s)
    assert_inside(erlang_c(servers, load * servers) * mean_s / (servers * (1.0 - load)), waits)


def test_a_batch_without_limit_and_with_constant_steps_is_m_d_infinity() -> None:
    """Nobody slows anybody: the time in the system is the steps, their number is Poisson's mean."""
    load, step_s, steps, count = 6.0, 0.001, 200, 3_000
    numbers = []
    for rng in replications():
        arrivals_s = poisson(rng, load / (steps * step_s), count)
        records = run_deployment(
            deployment=server(BatchSteps(base_s=step_s, each_s=0.0), batch=10**6),
            requests=steps_of(np.full(count, steps), arrivals_s),
            load=OpenLoop(),
        )
        in_service_s = records.finish_s - records.scheduled_s
        np.testing.assert_allclose(in_service_s, steps * step_s, rtol=1e-9)
        assert np.all(records.scheduled_s - records.arrival_s <= step_s * (1 + 1e-9))
        numbers.append(in_service_s.sum() / (arrivals_s[-1] - arrivals_s[0]))
    assert_inside(load, numbers)


@pytest.mark.parametrize("exponential", [True, False])
def test_a_batch_whose_steps_lengthen_with_it_shares_the_processor(exponential) -> None:
    """M/G/1 processor sharing: T = S / (1 - rho), whatever the distribution of the work."""
    load, each_s, mean_steps, count = 0.6, 1e-5, 4_000, 4_000
    mean_s = each_s * mean_steps
    times_s = []
    for rng in replications():
        steps = (
            np.maximum(1, np.ceil(rng.exponential(mean_steps, count)))
            if exponential
            else np.full(count, mean_steps)
        )
        records = run_deployment(
            deployment=server(BatchSteps(base_s=0.0, each_s=each_s), batch=10**6),
            requests=steps_of(steps, poisson(rng, load / mean_s, count)),
            load=OpenLoop(),
        )
        order = np.argsort(records.arrival_s)[int(WARM_UP * count) :]
        times_s.append((records.finish_s - records.arrival_s)[order].mean())
    assert_inside(mean_s / (1.0 - load), times_s)


def test_closed_loop_follows_littles_law() -> None:
    """N = X T while all clients are busy: exact over any window of one client's cycles."""
    clients, count = 16, 2_000
    rng = np.random.default_rng(0)
    records = run_deployment(
        deployment=server(BatchSteps(base_s=0.01, each_s=0.002), batch=8),
        requests=steps_of(rng.integers(1, 300, count), np.zeros(count)),
        load=ClosedLoop(concurrency=clients),
    )
    until_s = np.sort(records.arrival_s)[-1]  # after it, clients run out of work
    inside_s = np.minimum(records.finish_s, until_s) - records.arrival_s
    assert inside_s.sum() / until_s == pytest.approx(clients, rel=1e-9)


def test_machine_repair() -> None:
    """M/M/1//N: clients that think and one server; throughput from the finite-source formula."""
    clients, think_s, mean_s, turns = 6, 0.2, 0.05, 1_000
    ratio = mean_s / think_s
    idle = 1.0 / sum(
        math.factorial(clients) / math.factorial(clients - n) * ratio**n for n in range(clients + 1)
    )
    rates_per_s = []
    for rng in replications():
        requests = []
        for session in range(clients):
            conversation = prompts_of(rng.exponential(mean_s, turns), session=session)
            for turn, request in enumerate(conversation):
                request.index += session * turns
                request.turn = turn
                request.think_s = float(rng.exponential(think_s)) if turn else 0.0
            requests += conversation
        records = run_deployment(
            deployment=server(PromptSeconds(), batch=1),
            requests=requests,
            load=ClosedLoop(concurrency=clients),
        )
        first_done_s = min(records.finish_s[records.request % turns == turns - 1])
        start_s = 0.05 * first_done_s
        served = (records.finish_s > start_s) & (records.finish_s <= first_done_s)
        rates_per_s.append(served.sum() / (first_done_s - start_s))
    assert_inside((1.0 - idle) / mean_s, rates_per_s)


def test_machine_repair_limits() -> None:
    """Many clients saturate the server; one alone sees think and service in turn, exactly."""
    service_s, think_s, turns = 0.05, 0.2, 50
    for clients, period_s in ((1, service_s + think_s), (40, service_s)):
        requests = []
        for session in range(clients):
            conversation = prompts_of(np.full(turns, service_s), session=session)
            for turn, request in enumerate(conversation):
                request.index += session * turns
                request.turn = turn
                request.think_s = think_s if turn else 0.0
            requests += conversation
        records = run_deployment(
            deployment=server(PromptSeconds(), batch=1),
            requests=requests,
            load=ClosedLoop(concurrency=clients),
        )
        np.testing.assert_allclose(np.diff(records.finish_s), period_s, rtol=1e-6)
