"""A million requests in bounded memory."""

import math
import resource

import numpy as np
import pytest

from simulator.engines.registry import bind_engine
from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.client import OpenLoop
from simulator.serving.deployment import Deployment, run_deployment
from simulator.serving.kv_pool import KvPoolSpec
from simulator.serving.router import WorkerPool
from simulator.serving.step_cost import Line
from workloads.layout import Layout
from workloads.requests.request import Request


class StraightCost:
    queries_per_request = 1

    def fixed_s(self, *, rank_tokens, group_tokens, rank_samples, group_samples, has_prefill):
        return 8e-3 + 5e-5 * rank_tokens

    def decode_attention(self, *, requests, context_sum):
        return Line(3e-8 * context_sum, 3e-8, math.inf)

    def prefill_attention_s(self, *, new_tokens, prefix_tokens):
        return 1e-9 * new_tokens * (prefix_tokens + 0.5 * new_tokens)


def poisson(count, rate_per_s):
    rng = np.random.default_rng(0)
    time_s = 0.0
    for first in range(0, count, 10_000):
        for position, gap_s in enumerate(rng.exponential(1.0 / rate_per_s, 10_000).tolist()):
            time_s += gap_s
            yield Request(
                index=first + position,
                prompt_tokens=256,
                output_tokens=512,
                decode_steps=511,
                arrival_s=time_s,
            )


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


@pytest.mark.slow
def test_a_million_requests_take_no_more_memory_than_a_hundred_thousand() -> None:
    deployment = Deployment(
        aggregated=WorkerPool(
            layout=Layout(tp=1),
            engine=bind_engine(
                VllmSettings(async_scheduling=False, max_num_batched_tokens=512, max_num_seqs=128)
            ),
            kv_pool=KvPoolSpec(total_blocks=100_000, block_tokens=16),
            cost=StraightCost(),
        )
    )
    peaks_mb = []
    for count in (100_000, 1_000_000):
        finished = 0
        busy_s = 0.0

        def sink(records) -> None:
            nonlocal finished, busy_s
            finished += len(records)
            busy_s += float((records.finish_s - records.arrival_s).sum())

        run_deployment(
            deployment=deployment, requests=poisson(count, 4.0), load=OpenLoop(), sink=sink
        )
        assert finished == count
        assert 4.0 < busy_s / count < 8.0  # a stable queue
        peaks_mb.append(peak_mb())
    assert peaks_mb[1] - peaks_mb[0] < 50.0
