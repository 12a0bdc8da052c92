"""How the engine's run time grows: requests, output length, concurrency, context, ranks.

    python benchmarks/engine_scaling.py

Prints one table per curve. The step cost is a straight line, so that what is timed is the
engine itself: scheduling, KV pools, clock. Times are CPU seconds of the run call, the best of
three.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import simpy

from simulator.client import ClosedLoop, Load, OpenLoop
from simulator.cluster import WorkerPool
from simulator.deployment import Deployment, run_deployment
from simulator.kvcache import KvPoolSpec
from simulator.settings import EngineSettings, SglangSettings, VllmSettings
from simulator.step_cost import Line
from workloads.layout import Layout
from workloads.requests import Request
from workloads.synthetic import inferencex_requests

if TYPE_CHECKING:
    from collections.abc import Callable


class StraightCost:
    """8 ms a step, 50 µs a token, 30 ns per context token of a decode, a little per prompt."""

    queries_per_request = 1

    def fixed_s(
        self,
        *,
        rank_tokens: int,
        group_tokens: int,
        rank_samples: int,
        group_samples: int,
        has_prefill: bool,
    ) -> float:
        return 8e-3 + 5e-5 * rank_tokens

    def decode_attention(self, *, requests: int, context_sum: float) -> Line:
        return Line(3e-8 * context_sum, 3e-8, math.inf)

    def prefill_attention_s(self, *, new_tokens: int, prefix_tokens: int) -> float:
        return 1e-9 * new_tokens * (prefix_tokens + 0.5 * new_tokens)


def deployment(settings: EngineSettings, *, ranks: int = 1) -> Deployment:
    return Deployment(
        aggregated=WorkerPool(
            layout=Layout(tp=ranks, ep=ranks, dp_attention=ranks > 1),
            settings=settings,
            kv_pool=KvPoolSpec(total_blocks=1 << 24, block_tokens=256),
            cost=StraightCost(),
        )
    )


def poisson(count: int, *, prompt: int, output: int, rate_per_s: float) -> list[Request]:
    times_s = np.cumsum(np.random.default_rng(0).exponential(1.0 / rate_per_s, count))
    return [
        Request(
            index=index,
            prompt_tokens=prompt,
            output_tokens=output,
            decode_steps=output - 1,
            arrival_s=time_s,
        )
        for index, time_s in enumerate(times_s.tolist())
    ]


def uniform(count: int, *, isl: int, osl: int) -> list[Request]:
    return inferencex_requests(isl=isl, osl=osl, count=count, rng=np.random.default_rng(0))


def lengthened(requests: list[Request], factor: int) -> list[Request]:
    """The requests with ``factor`` times their decode steps."""
    for request in requests:
        request.decode_steps *= factor
        request.output_tokens = request.decode_steps + 1
    return requests


def measure(
    served_by: Deployment, requests: Callable[[], list[Request]], load: Load
) -> tuple[float, int, int]:
    """CPU seconds of a run, its events and the engine steps that they cover."""
    workload = requests()
    best_s = math.inf
    for _ in range(3):
        start_s = time.process_time()
        run_deployment(deployment=served_by, requests=workload, load=load)
        best_s = min(best_s, time.process_time() - start_s)
    runs: list[int] = []
    run_deployment(
        deployment=served_by,
        requests=workload,
        load=load,
        on_step=lambda run: runs.append(run.steps),
    )
    return best_s, len(runs), sum(runs)


def row(label: str, requests: int, measured: tuple[float, int, int]) -> None:
    seconds, events, steps = measured
    print(
        f"{label:>24} {seconds:9.3f} {1e6 * seconds / requests:12.1f} {events:9d} "
        f"{1e6 * seconds / events:9.1f} {steps:10d}",
        flush=True,
    )


def title(text: str) -> None:
    print(f"\n{text}\n{'':>24} {'CPU s':>9} {'us/request':>12} {'events':>9} {'us/event':>9} steps")


def simpy_floor() -> float:
    """Microseconds of one SimPy timeout in one process."""

    def ticks(env: simpy.Environment) -> simpy.events.ProcessGenerator:
        for _ in range(200_000):
            yield env.timeout(1.0)

    env = simpy.Environment()
    env.process(ticks(env))
    start_s = time.process_time()
    env.run()
    return 1e6 * (time.process_time() - start_s) / 200_000


def main() -> None:
    """Print all curves."""
    print(f"SimPy: {simpy_floor():.2f} us per timeout")
    vllm = VllmSettings(max_num_batched_tokens=512, max_num_seqs=128)
    title("requests: 256/512, Poisson 4/s, vLLM, batch 128, budget 512")
    for count in (1_000, 10_000, 100_000):
        served = measure(
            deployment(vllm),
            lambda n=count: poisson(n, prompt=256, output=512, rate_per_s=4.0),
            OpenLoop(),
        )
        row(str(count), count, served)
    title("requests: 1024/128, Poisson 6.45/s, vLLM, batch 128, budget 512")
    for count in (1_000, 10_000):
        served = measure(
            deployment(vllm),
            lambda n=count: poisson(n, prompt=1024, output=128, rate_per_s=6.45),
            OpenLoop(),
        )
        row(str(count), count, served)
    # prefill steps of their own leave the order of completions as it is, so that only the number
    # of decode steps grows
    title("every output n times as long: 8,000 requests of 16/128, SGLang, closed loop 64")
    for factor in (1, 2, 4, 8, 16):
        served = measure(
            deployment(SglangSettings()),
            lambda n=factor: lengthened(uniform(8_000, isl=16, osl=128), n),
            ClosedLoop(concurrency=64),
        )
        row(f"x{factor}", 8_000, served)
    title("concurrency: 8192/1024, 10 requests a client, SGLang, chunk 8192")
    for clients in (1, 4, 16, 64, 256, 1024):
        served = measure(
            deployment(SglangSettings()),
            lambda n=clients: uniform(10 * n, isl=8192, osl=1024),
            ClosedLoop(concurrency=clients),
        )
        row(str(clients), 10 * clients, served)
    title("context: 2,000 requests of L/1024, SGLang, chunk 8192, closed loop 64")
    for prompt in (1024, 8192, 65536, 524288):
        served = measure(
            deployment(SglangSettings()),
            lambda n=prompt: uniform(2_000, isl=n, osl=1024),
            ClosedLoop(concurrency=64),
        )
        row(str(prompt), 2_000, served)
    title("attention ranks: 5,120 requests of 8192/1024, SGLang, chunk 4096 a rank, closed loop 64")
    for ranks in (1, 2, 4, 8, 16, 32):
        served = measure(
            deployment(SglangSettings(chunked_prefill_size=4096 * ranks), ranks=ranks),
            lambda: uniform(5_120, isl=8192, osl=1024),
            ClosedLoop(concurrency=64),
        )
        row(str(ranks), 5_120, served)


if __name__ == "__main__":
    main()
