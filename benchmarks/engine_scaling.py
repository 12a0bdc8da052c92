"""How the engine's run time grows: requests, output length, concurrency, context, ranks, agents.

    python benchmarks/engine_scaling.py

Prints one table per curve and writes all of them to ``engine_scaling.csv`` and
``engine_scaling.png`` beside this file. The step cost is a straight line, so that what is timed is
the engine itself: scheduling, KV pools, clock. Times are CPU seconds of the run call, the best of
five, without a profiler.
"""

from __future__ import annotations

import csv
import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simpy

from simulator.engines.registry import bind_engine
from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.client import ClosedLoop, Load, OpenLoop
from simulator.serving.deployment import Deployment, run_deployment
from simulator.serving.kv_pool import KvPoolSpec
from simulator.serving.router import WorkerPool
from simulator.serving.step_cost import Line
from workloads.layout import Layout
from workloads.requests.catalog import load_workload
from workloads.requests.request import Request
from workloads.requests.synthetic import inferencex_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.axes import Axes

    from simulator.engines.base import EngineSettings

HERE = Path(__file__).parent
REPEATS = 5


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


@dataclass(frozen=True)
class Row:
    """One measured run: CPU seconds, events and the engine steps that they cover."""

    curve: str
    x: int
    requests: int
    cpu_s: float
    events: int
    steps: int

    @property
    def us_per_request(self) -> float:
        return 1e6 * self.cpu_s / self.requests

    @property
    def us_per_event(self) -> float:
        return 1e6 * self.cpu_s / self.events


def deployment(
    settings: EngineSettings, *, ranks: int = 1, blocks: int = 1 << 24, block_tokens: int = 256
) -> Deployment:
    return Deployment(
        aggregated=WorkerPool(
            layout=Layout(tp=ranks, ep=ranks, dp_attention=ranks > 1),
            engine=bind_engine(settings),
            kv_pool=KvPoolSpec(total_blocks=blocks, block_tokens=block_tokens),
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


def lengthened(count: int, factor: int) -> list[Request]:
    """Requests of 16/128 with ``factor`` times their decode steps."""
    requests = uniform(count, isl=16, osl=128)
    for request in requests:
        request.decode_steps *= factor
        request.output_tokens = request.decode_steps + 1
    return requests


def agents(count: int) -> list[Request]:
    """Turns of coding agents that resend their history: about 137,000 prompt tokens each."""
    return list(load_workload("agentic").requests(rng=np.random.default_rng(0), count=count))


def measure(
    curve: str, x: int, served_by: Deployment, requests: Callable[[], list[Request]], load: Load
) -> Row:
    """Time a run, then count its events and steps in another."""
    workload = requests()
    best_s = math.inf
    for _ in range(REPEATS):
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
    row = Row(curve, x, len(workload), best_s, len(runs), sum(runs))
    print(
        f"{x:>12,} {row.requests:9,} {best_s:9.3f} {row.us_per_request:12.1f} {row.events:10,} "
        f"{row.us_per_event:9.1f} {row.steps:11,}",
        flush=True,
    )
    return row


def title(text: str) -> None:
    print(
        f"\n{text}\n{'':>12} {'requests':>9} {'CPU s':>9} {'us/request':>12} {'events':>10} "
        f"{'us/event':>9} {'steps':>11}"
    )


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


def cases() -> Iterator[tuple[str, int, Deployment, Callable[[], list[Request]], Load]]:
    """Every run of every curve: its curve, its place on it, and what is served."""
    vllm = deployment(VllmSettings(max_num_batched_tokens=512, max_num_seqs=128))
    sglang = deployment(SglangSettings())
    name = "requests: 256/512, Poisson 4/s, vLLM, batch 128, budget 512"
    for n in (1_000, 3_000, 10_000, 30_000, 100_000):
        yield name, n, vllm, partial(poisson, n, prompt=256, output=512, rate_per_s=4.0), OpenLoop()
    name = "requests: 1024/128, Poisson 6.45/s, vLLM, batch 128, budget 512"
    for n in (1_000, 10_000):
        served = partial(poisson, n, prompt=1024, output=128, rate_per_s=6.45)
        yield name, n, vllm, served, OpenLoop()
    # prefill steps of their own leave the order of completions as it is, so that only the number
    # of decode steps grows
    name = "output, times 128 tokens: 8,000 requests of 16/128, SGLang, closed loop 64"
    for n in (1, 2, 4, 8, 16):
        yield name, n, sglang, partial(lengthened, 8_000, n), ClosedLoop(concurrency=64)
    name = "concurrency: 8192/1024, 10 requests a client, SGLang, chunk 8192"
    for n in (1, 4, 16, 64, 256, 1024):
        served = partial(uniform, 10 * n, isl=8192, osl=1024)
        yield name, n, sglang, served, ClosedLoop(concurrency=n)
    name = "context: 2,000 requests of L/1024, SGLang, chunk 8192, closed loop 64"
    for n in (1024, 8192, 65536, 524288):
        served = partial(uniform, 2_000, isl=n, osl=1024)
        yield name, n, sglang, served, ClosedLoop(concurrency=64)
    name = "attention ranks: 5,120 requests of 8192/1024, SGLang, chunk 4096 a rank"
    for n in (1, 2, 4, 8, 16, 32):
        ranks = deployment(SglangSettings(chunked_prefill_size=4096 * n), ranks=n)
        served = partial(uniform, 5_120, isl=8192, osl=1024)
        yield name, n, ranks, served, ClosedLoop(concurrency=64)
    name = "turns of coding agents: SGLang with a radix cache of 16 M tokens, 16 clients"
    settings = SglangSettings(disable_radix_cache=False, page_size=64)
    caching = deployment(settings, blocks=1 << 18, block_tokens=64)
    for n in (300, 1_000, 3_000):
        yield name, n, caching, partial(agents, n), ClosedLoop(concurrency=16)


def curves() -> list[Row]:
    """Measure all curves."""
    rows: list[Row] = []
    for curve, x, served_by, requests, load in cases():
        if not rows or rows[-1].curve != curve:
            title(curve)
        rows.append(measure(curve, x, served_by, requests, load))
    return rows


def write_table(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*asdict(rows[0]), "us_per_request", "us_per_event"])
        for row in rows:
            cells = asdict(row) | {"cpu_s": f"{row.cpu_s:.4f}"}
            writer.writerow(
                [*cells.values(), f"{row.us_per_request:.2f}", f"{row.us_per_event:.2f}"]
            )


def plot(rows: list[Row], path: Path) -> None:
    """CPU seconds against each variable; requests and output beside what theory asks of them."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row.curve for row in rows))
    names = [name for name in names if sum(row.curve == name for row in rows) > 2]
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    axes: list[Axes] = figure.subplots(2, 3).flatten().tolist()
    for axis, name in zip(axes, names, strict=True):
        mine = [row for row in rows if row.curve == name]
        x = [row.x for row in mine]
        axis.plot(x, [row.cpu_s for row in mine], "o-", color="C0")
        axis.set_xscale("log")
        axis.set_xticks(x, [f"{n:,}" for n in x], rotation=30, ha="right")
        axis.minorticks_off()
        if name.startswith(("requests", "turns")):
            axis.plot(x, [mine[-1].cpu_s * n / x[-1] for n in x], ":", color="grey", label="linear")
            axis.legend()
        if name.startswith("output"):
            axis.axhline(1.2 * mine[0].cpu_s, ls=":", color="grey", label="20 % above the first")
            axis.legend(loc="lower right")
            axis.set_ylim(0, 1.6 * mine[0].cpu_s)
        else:
            axis.set_yscale("log")
        variable, _, rest = name.partition(": ")
        axis.set_title(rest, fontsize=8)
        axis.set_xlabel(variable)
        axis.set_ylabel("CPU s of the run")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print, write and draw all curves."""
    print(f"SimPy: {simpy_floor():.2f} us per timeout")
    rows = curves()
    write_table(rows, HERE / "engine_scaling.csv")
    plot(rows, HERE / "engine_scaling.png")


if __name__ == "__main__":
    main()
