"""The workloads of `compare_peers.py` on this project's side.

    python benchmarks/peer_workloads.py w1 --lengths FILE

Runs one workload and prints a JSON object: seconds of the run call (``engine_s``, processor time
``engine_cpu_s``), of the step-cost tables and pools (``tables_s``) and of drawing the requests
(``requests_s``), and what came out.
With ``--count`` the run is repeated with a counter of engine passes and once more with this
project's own step costs, which takes longer.

Speed is compared at equal work, so that both simulators must take about as many steps in about as
much simulated time. Their step costs differ, as their sources do; so this project's are multiplied
by ``--factor``, which ``--match MS`` finds from the other's mean TPOT. That says nothing of
accuracy: neither side is a measurement.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.engines.pools import PoolLayout
from simulator.prediction.assembly import assemble
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario
from simulator.serving.client import ClosedLoop, OpenLoop
from simulator.serving.deployment import run_deployment
from simulator.serving.front_end import FrontEnd
from simulator.serving.step_cost import Line
from workloads.layout import Layout
from workloads.requests.request import Request
from workloads.requests.synthetic import inferencex_requests

if TYPE_CHECKING:
    from simulator.serving.callbacks import StepRun
    from simulator.serving.client import Load
    from simulator.serving.deployment import Deployment
    from simulator.serving.records import Records
    from simulator.serving.step_cost import StepCost

SEED = 42

MATCHED = {"w1": "w1-5", "w1-5": "w1-5", "w2": "w1-5", "v4": "v4"}
"""Workload whose mean TPOT gives the factor on the step costs of each: one per chip and model.
``w1`` would not do: a few percent in the time of a step change its load by much more."""

MATCH_ROUNDS = 4


@dataclass(frozen=True)
class PeerWorkload:
    """One workload, the same for all simulators.

    Parameters
    ----------
    scenario, layout, settings:
        What serves it, and what differs from the recipe's server settings.
    requests, rate_per_s:
        How many, and how many a second arrive; ``None``: a closed loop of 64 clients with lengths
        uniform in [0.8 L, L].
    """

    name: str
    title: str
    scenario: dict[str, Any]
    layout: Layout
    settings: dict[str, Any]
    requests: int
    rate_per_s: float | None = None

    @property
    def concurrency(self) -> int:
        """Clients of a closed loop, or the batch cap of an open one."""
        return 64 if self.rate_per_s is None else 128


class ScaledCost:
    """A `StepCost` times a factor."""

    def __init__(self, cost: StepCost, factor: float) -> None:
        self.cost = cost
        self.factor = factor
        self.queries_per_request = cost.queries_per_request

    def fixed_s(self, **counts: Any) -> float:
        """See `StepCost.fixed_s`. [s]"""
        return self.factor * self.cost.fixed_s(**counts)

    def decode_attention(self, *, requests: int, context_sum: float) -> Line:
        """See `StepCost.decode_attention`. [s]"""
        value_s, slope_s, limit = self.cost.decode_attention(
            requests=requests, context_sum=context_sum
        )
        return Line(self.factor * value_s, self.factor * slope_s, limit)

    def prefill_attention_s(self, *, new_tokens: int, prefix_tokens: int) -> float:
        """See `StepCost.prefill_attention_s`. [s]"""
        return self.factor * self.cost.prefill_attention_s(
            new_tokens=new_tokens, prefix_tokens=prefix_tokens
        )


def _a100(name: str, *, isl: int, osl: int, rate_per_s: float) -> PeerWorkload:
    return PeerWorkload(
        name=name,
        title=f"10,000 requests {isl}/{osl}, Poisson {rate_per_s}/s, Llama-3.1-8B on A100",
        scenario={
            "sku": "a100",
            "model": "llama-3.1-8b",
            "engine": "vllm",
            "isl": isl,
            "osl": osl,
            "length_distribution": "fixed",
        },
        layout=Layout(tp=1),
        settings={
            "max_num_batched_tokens": 512,
            "max_num_seqs": 128,
            "gpu_memory_utilization": 0.9,
        },
        requests=10_000,
        rate_per_s=rate_per_s,
    )


WORKLOADS = {
    workload.name: workload
    for workload in (
        _a100("w1", isl=1024, osl=128, rate_per_s=6.45),
        _a100("w1-5", isl=1024, osl=128, rate_per_s=5.0),
        _a100("w2", isl=256, osl=512, rate_per_s=4.0),
        PeerWorkload(
            name="v4",
            title="5,120 requests 8192/1024 in [0.8 L, L], 64 clients, DeepSeek-V4-Pro, B200 DEP8",
            scenario={"sku": "b200", "model": "deepseek-v4-pro", "engine": "sglang"},
            layout=Layout(tp=8, ep=8, dp_attention=True),
            settings={"chunked_prefill_size": 8192, "max_running_requests": 2048},
            requests=5_120,
        ),
    )
}


def lengths_of(workload: PeerWorkload) -> list[tuple[int, int]]:
    """Prompt and output of each request of a closed loop. [tokens]"""
    requests = inferencex_requests(
        isl=8192, osl=1024, count=workload.requests, rng=np.random.default_rng(SEED)
    )
    return [(request.prompt_tokens, request.output_tokens) for request in requests]


def draw(workload: PeerWorkload) -> tuple[list[Request], Load]:
    """The requests and how they are sent."""
    if workload.rate_per_s is None:
        lengths, times = lengths_of(workload), None
        load: Load = ClosedLoop(concurrency=workload.concurrency)
    else:
        shape = (workload.scenario["isl"], workload.scenario["osl"])
        lengths = [shape] * workload.requests
        gaps = np.random.default_rng(SEED).exponential(1.0 / workload.rate_per_s, len(lengths))
        times = np.cumsum(gaps).tolist()
        load = OpenLoop()
    return [
        Request(
            index=index,
            prompt_tokens=prompt,
            output_tokens=output,
            decode_steps=output - 1,
            arrival_s=None if times is None else times[index],
        )
        for index, (prompt, output) in enumerate(lengths)
    ], load


def build(workload: PeerWorkload, *, factor: float = 1.0) -> tuple[Deployment, str]:
    """What serves the workload, and the kind of its prediction.

    Parameters
    ----------
    factor:
        On the step costs. [-]
    """
    configuration, _ = configure_run(
        Scenario(**workload.scenario),
        pools=(PoolLayout(layout=workload.layout),),
        concurrency=workload.concurrency,
    )
    (pool,) = configuration.pools
    pool = dataclasses.replace(pool, settings=pool.settings.model_copy(update=workload.settings))
    assembly = assemble(dataclasses.replace(configuration, pools=(pool,)))
    served = assembly.deployment.aggregated
    assert served is not None
    if factor != 1.0:
        served = dataclasses.replace(served, cost=ScaledCost(served.cost, factor))
    # AISimulate's requests are at its scheduler at once
    deployment = dataclasses.replace(assembly.deployment, aggregated=served, front_end=FrontEnd())
    return deployment, assembly.software.kind


class Passes:
    """Counts forward passes of a rank: those that decode, and those that compute a prompt chunk."""

    def __init__(self) -> None:
        self.decode = self.prefill = self.ranks = self.events = 0

    def __call__(self, run: StepRun) -> None:
        self.events += 1
        self.ranks = len(run.decode_requests)
        self.decode += run.steps * sum(1 for requests in run.decode_requests if requests)
        self.prefill += run.steps * sum(1 for tokens in run.prefill_tokens if tokens)

    def to_dict(self) -> dict[str, float]:
        return {
            "decode_passes": self.decode / self.ranks,
            "prefill_passes": self.prefill / self.ranks,
            "events": self.events,
        }


def figures(records: Records) -> dict[str, float]:
    """What the simulators are compared by."""
    tpot_s = (records.finish_s - records.first_token_s) / (records.output_tokens - 1)
    return {
        "mean_tpot_ms": 1e3 * float(tpot_s.mean()),
        "mean_ttft_ms": 1e3 * float((records.first_token_s - records.arrival_s).mean()),
        "simulated_s": float(records.finish_s.max()),
        "requests": len(tpot_s),
    }


def matching_factor(workload: PeerWorkload, *, tpot_ms: float) -> float:
    """The factor on the step costs that gives a mean TPOT. [-]"""
    requests, load = draw(workload)
    factor = 1.0
    for _ in range(MATCH_ROUNDS):
        deployment, _ = build(workload, factor=factor)
        own = figures(run_deployment(deployment=deployment, requests=requests, load=load))
        factor *= tpot_ms / own["mean_tpot_ms"]
    return round(factor, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description="run one workload of compare_peers.py")
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--count", action="store_true", help="count engine passes as well")
    parser.add_argument("--write-lengths", type=Path, help="write the lengths as JSON, run nothing")
    parser.add_argument("--factor", type=float, default=1.0, help="on the step costs")
    parser.add_argument("--match", type=float, help="print the factor that gives this TPOT [ms]")
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    if options.match is not None:
        print(matching_factor(workload, tpot_ms=options.match))
        return
    if options.write_lengths is not None:
        options.write_lengths.write_text(json.dumps(lengths_of(workload)), encoding="utf-8")
        return
    marks = [time.perf_counter()]
    deployment, kind = build(workload, factor=options.factor)
    marks.append(time.perf_counter())
    requests, load = draw(workload)
    marks.append(time.perf_counter())
    cpu_s = time.process_time()
    records = run_deployment(deployment=deployment, requests=requests, load=load)
    cpu_s = time.process_time() - cpu_s
    marks.append(time.perf_counter())
    tables_s, requests_s, engine_s = np.diff(marks).tolist()
    result = {"engine_s": engine_s, "engine_cpu_s": cpu_s, "kind": kind}
    result |= {"tables_s": tables_s, "requests_s": requests_s}
    result |= figures(records)
    if options.count:
        passes = Passes()
        run_deployment(deployment=deployment, requests=requests, load=load, on_step=passes)
        result |= passes.to_dict()
        own = build(workload)[0]
        unscaled = figures(run_deployment(deployment=own, requests=requests, load=load))
        result["unscaled_tpot_ms"] = unscaled["mean_tpot_ms"]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
