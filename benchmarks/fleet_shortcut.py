"""A day of a fleet: representative replicas under thinned arrivals beside the exact simulation.

    python benchmarks/fleet_shortcut.py

A fleet of B200 nodes (DeepSeek-V4-Pro, TEP8, 8192/1024) serves a cycle of traffic whose rate
swings between a fifth and all of its peak. It is simulated exactly, behind one router that picks
the node with the fewest requests, and by the shortcut of ``simulate plan``: cells of four nodes
that see arrivals kept with probability four over their number. The cycle is an hour long in place
of a day, so that the exact simulation ends; a cell's cost does not depend on the fleet's size.
Printed are the shortcut's errors in what users see, and the CPU seconds of one run of either.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from simulator.engines.pools import PoolLayout
from simulator.prediction.assembly import assemble
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario
from simulator.serving.client import OpenLoop
from simulator.serving.deployment import run_deployment
from simulator.serving.records import Records
from simulator.studies.plan.loadtest import cell_of
from simulator.studies.plan.sizing import LARGEST_CELL
from simulator.studies.plan.traffic import Thinned
from workloads.layout import Layout
from workloads.requests.arrivals import Sinusoidal
from workloads.requests.lengths import length_distribution
from workloads.requests.synthetic import open_loop_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.serving.deployment import Deployment
    from workloads.requests.arrivals import ArrivalProcess
    from workloads.requests.request import Request

CYCLE_S = 3600.0
CELLS = 5
"""Cells with other random numbers whose requests are put together."""

FIGURES = ("mean rate", "TTFT p50", "TTFT p90", "TTFT p99", "TPOT p50", "TPOT p90", "TPOT p99")


def replica() -> Deployment:
    """One node."""
    configuration, _ = configure_run(
        Scenario(sku="b200", engine="vllm@specification"),
        pools=(PoolLayout(layout=Layout(tp=8, ep=8)),),
        concurrency=256,
    )
    return assemble(configuration).deployment


def requests(arrivals: ArrivalProcess, *, seed: int) -> Iterator[Request]:
    for chunk in open_loop_requests(
        arrivals=arrivals,
        prompt=length_distribution(name="uniform_0.8", nominal_tokens=8192),
        output=length_distribution(name="uniform_0.8", nominal_tokens=1024),
        rng=np.random.default_rng(seed),
        duration_s=CYCLE_S,
    ):
        yield from chunk


def serve(deployment: Deployment, arrivals: ArrivalProcess, *, seed: int) -> tuple[Records, float]:
    """Records of one cycle and the CPU seconds of the run."""
    start_s = time.process_time()
    records = run_deployment(
        deployment=deployment, requests=requests(arrivals, seed=seed), load=OpenLoop()
    )
    return records, time.process_time() - start_s


def figures(records: Records, *, nodes: float) -> list[float]:
    """What users see, in the order of `FIGURES`; requests per second and node."""
    ttft_s = records.first_token_s - records.arrival_s
    tpot_s = (records.finish_s - records.first_token_s) / (records.output_tokens - 1)
    rate = len(ttft_s) / CYCLE_S / nodes
    return [rate, *np.quantile(ttft_s, [0.5, 0.9, 0.99]), *np.quantile(tpot_s, [0.5, 0.9, 0.99])]


def main() -> None:
    """Compare at several sizes and loads."""
    node = replica()
    header = "".join(f"{name:>11}" for name in FIGURES)
    print(f"{'nodes':>6}{'peak req/s a node':>19}{header}{'CPU s':>10}")
    for nodes in (12, 48, 192):
        for peak_per_s in (0.8, 1.4):
            traffic = Sinusoidal(
                low_per_s=0.2 * peak_per_s * nodes,
                high_per_s=peak_per_s * nodes,
                period_s=CYCLE_S,
            )
            exact, exact_s = serve(cell_of(node, replicas=nodes), traffic, seed=0)
            thinned = Thinned(process=traffic, share=LARGEST_CELL / nodes)
            found = [
                serve(cell_of(node, replicas=LARGEST_CELL), thinned, seed=seed)
                for seed in range(1, CELLS + 1)
            ]
            cells = Records.concatenate([records for records, _ in found])
            truth = figures(exact, nodes=nodes)
            near = figures(cells, nodes=LARGEST_CELL * CELLS)
            for label, values, seconds in (
                ("exact", truth, exact_s),
                ("cells", near, sum(each for _, each in found) / CELLS),
            ):
                cells_text = "".join(f"{value:>11.4g}" for value in values)
                print(f"{nodes:>6}{label:>8}{peak_per_s:>11}{cells_text}{seconds:>10.2f}")
            errors = [f"{100 * (a / b - 1):+.1f} %" for a, b in zip(near, truth, strict=True)]
            print(f"{'':>6}{'error':>8}{'':>11}" + "".join(f"{e:>11}" for e in errors), flush=True)


if __name__ == "__main__":
    main()
