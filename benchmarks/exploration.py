"""How long the everyday questions take: help, a first curve, a Pareto curve, sweeps, long runs.

    python benchmarks/exploration.py

Each question is asked in a fresh process, as a user would, some times, and the median is printed
with its bar: wall seconds, CPU seconds of all processes, largest resident memory of one process.
``--questions`` asks those of planners alone. With ``--peer``, the ``aisimulate`` program of an
environment such as `compare_peers` makes, AISimulate's own example of a search is asked of both.
Wait until the machine has nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SIMULATE = Path(sys.executable).with_name("simulate")

LONG_RUN = """
import numpy as np
from peer_workloads import WORKLOADS, build
from simulator.serving.client import OpenLoop
from simulator.serving.deployment import run_deployment
from workloads.requests.request import Request

COUNT = {count}
workload = WORKLOADS["w2"]

def requests():
    rng = np.random.default_rng(42)
    last_s = 0.0
    for start in range(0, COUNT, 65536):
        times = last_s + np.cumsum(rng.exponential(1.0 / workload.rate_per_s, 65536))
        last_s = float(times[-1])
        for index, time_s in enumerate(times[: COUNT - start].tolist(), start):
            yield Request(index=index, prompt_tokens=256, output_tokens=512, decode_steps=511,
                          arrival_s=time_s)

seen = []
run_deployment(deployment=build(workload, factor=1.0)[0], requests=requests(), load=OpenLoop(),
               sink=lambda records: seen.append((len(records.request), records.finish_s.max())))
assert sum(count for count, _ in seen) == COUNT
"""

CURVE = """
import sys, time
from simulator.studies.curve.run import explore_curve
from simulator.scenario.settings import build_scenario

source = build_scenario(flags={"sku": sys.argv[1]})
start = time.perf_counter()
explore_curve(source)
print(time.perf_counter() - start)
"""

SWEEP = """
from pathlib import Path
import simulator

common = dict(sku="b200", tp=8, isl=8192, osl=1024, concurrency=[1 << n for n in range(9)],
              overrides={{"hbm_bytes_per_s": [6e12 + 5e10 * n for n in range(56)]}})
tp8 = simulator.sweep(ep=1, dp_attention=False, out=Path({folder!r}) / "tp8", **common)
dep8 = simulator.sweep(ep=8, dp_attention=True, out=Path({folder!r}) / "dep8", **common)
assert tp8.fresh + dep8.fresh == 2 * 56 * 9, (tp8.fresh, dep8.fresh)
"""
QUESTIONS = (
    ("curve of one engine: simulate --sku b200 --engine vllm", "3 s", "--sku b200 --engine vllm"),
    ("curve as best deployed: simulate --sku b200", "12 s", "--sku b200"),
    ("compare two SKUs as best deployed", "12 s", "compare gb200 mi355x"),
    ("compare two racks' worth of siblings", "12 s", "compare b200 gb300"),
    (
        "plan over the catalogue",
        "30 s",
        "plan --interactivity 50 --ttft-p90 5 --rate 40",
    ),
    (
        "sweep of 64 xPyD deployments",
        "45 s",
        "sweep --sku gb200 --prefill 1-4 --decode 1-4 --ep 4,8,16,32",
    ),
    (
        "timeline of one SKU",
        "20 s",
        "timeline --sku mi355x --engine sglang",
    ),
    (
        "an hour of 64 coding agents on B200",
        "3 s",
        "agentx b200:vllm --concurrency 64 --spec mtp:3",
    ),
    (
        "their curve, eight numbers of sessions up to 196",
        "20 s",
        "agentx b200:vllm --spec mtp:3",
    ),
    (
        "an hour of 384 on B300",
        "bounded memory",
        "agentx b300:vllm --concurrency 384 --spec mtp:3",
    ),
)
"""What a planner asks: label, bar, command."""

RECOMMEND = """
traffic:
  source: {type: synthetic, input_tokens: 1024, output_tokens: 128}
  load: {type: concurrency, concurrency: 10}
  stop: {requests: 100}
engine:
  mode: aggregated
  model: Qwen/Qwen3-32B-FP8
  hardware: auto
  backend: {choices: [vllm, sglang]}
  workers: {aggregated: {parallelism: {preset: default}}}
optimization:
  target: throughput_per_gpu
  hardware: h200_sxm
  constraints: {max_candidate_gpus: 8}
optimizer: {max_trials: 8}
"""
"""AISimulate's own example of a search: which layout of up to 8 H200 gives most per GPU."""

SAME_SEARCH = (
    "sweep --sku h200 --model qwen3-32b --precision fp8 --engine vllm,sglang --isl 1024 --osl 128 "
    "--concurrency 10"
)

SWEEP_COUNT = 2 * 56 * 9


@dataclass(frozen=True)
class Measured:
    """One process and its children."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def timed(command: list[str | Path]) -> Measured:
    """Run a command in a process that reports its own and its children's use."""
    watcher = (
        "import json, resource, subprocess, sys, time\n"
        "start = time.perf_counter()\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "use = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([time.perf_counter() - start, use.ru_utime + use.ru_stime,"
        " use.ru_maxrss]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", watcher, *command],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )
    wall_s, cpu_s, kibibytes = json.loads(done.stdout)
    return Measured(wall_s=wall_s, cpu_s=cpu_s, peak_bytes=1024 * kibibytes)


def ask(
    label: str, bar: str, make: list[str | Path], *, runs: int, folder: str | None = None
) -> Measured:
    """Median of several fresh processes, printed beside its bar."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as scratch:
            found.append(
                timed([str(part).replace(folder, scratch) if folder else part for part in make])
            )
    median = Measured(
        wall_s=statistics.median(each.wall_s for each in found),
        cpu_s=statistics.median(each.cpu_s for each in found),
        peak_bytes=max(each.peak_bytes for each in found),
    )
    print(
        f"{label:<58}{median.wall_s:>8.2f}{median.cpu_s:>8.2f}{median.peak_bytes / 1e6:>8.0f}"
        f"   {bar}",
        flush=True,
    )
    return median


def time_curve(sku: str, *, runs: int) -> None:
    """Print the median time of the run call of a curve, without imports and files."""
    command = [sys.executable, "-c", CURVE, sku]
    found = [
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(runs)
    ]
    print(f"{'  the run call alone':<58}{statistics.median(found):>8.2f}", flush=True)


def ask_questions(*, runs: int) -> None:
    """Ask what planners ask."""
    here = "@scratch@"
    for label, bar, words in QUESTIONS:
        ask(label, bar, [SIMULATE, *words.split(), "--out", here], runs=runs, folder=here)


def ask_both(peer: Path, *, runs: int) -> None:
    """The same search of this project and of AISimulate, one after the other."""
    here = "@scratch@"
    label = "layout of 8 H200 with most tok/s/GPU, Qwen3-32B FP8"
    ask(label, "", [SIMULATE, *SAME_SEARCH.split(), "--out", here], runs=runs, folder=here)
    with tempfile.TemporaryDirectory() as scratch:
        asked = Path(scratch) / "recommendation.yaml"
        asked.write_text(RECOMMEND, encoding="utf-8")
        command: list[str | Path] = [peer, "recommend", "--config", asked, "--overwrite"]
        command += ["--output-dir", Path(scratch) / "found"]
        ask("  AISimulate recommend, 8 trials", "", command, runs=runs)


def main() -> None:
    """Ask all questions."""
    parser = argparse.ArgumentParser(description="time everyday questions")
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the long run")
    parser.add_argument("--runs", type=int, default=3, help="of each question")
    parser.add_argument("--questions", action="store_true", help="those of planners alone")
    parser.add_argument("--peer", type=Path, help="the aisimulate program")
    options = parser.parse_args()
    runs = options.runs
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, load average {os.getloadavg()[0]:.2f}, median of {runs}")
    print(f"{'':<58}{'wall s':>8}{'CPU s':>8}{'MB':>8}   bar")
    here = "@scratch@"
    if options.questions:
        ask_questions(runs=runs)
        if options.peer:
            ask_both(options.peer.absolute(), runs=runs)
        print(f"load average at the end {os.getloadavg()[0]:.2f}")
        return
    ask("simulate --help", "0.5 s", [SIMULATE, "--help"], runs=runs)
    ask(
        "first curve: simulate --sku mi355x --ep 8",
        "5 s",
        [SIMULATE, "--sku", "mi355x", "--ep", "8", "--out", here],
        runs=runs,
        folder=here,
    )
    for sku in ("b300", "mi355x", "b200", "h200"):
        ask(
            f"Pareto: simulate --sku {sku} --engine vllm, all layouts on 8 GPUs, 1-2048",
            "3 s, AIConfigurator 23 s",
            [SIMULATE, "--sku", sku, "--engine", "vllm", "--out", here],
            runs=runs,
            folder=here,
        )
        time_curve(sku, runs=runs)
    ask_questions(runs=runs)
    if options.peer:
        ask_both(options.peer.absolute(), runs=runs)
    swept = ask(
        f"sweep: {SWEEP_COUNT} configurations, TP8 and DEP8, 8k/1k, 1-256",
        "100 ms wall x cores / configuration",
        [sys.executable, "-c", SWEEP.format(folder=here)],
        runs=runs,
        folder=here,
    )
    print(f"{'':<58}{1e3 * swept.wall_s * cores / SWEEP_COUNT:>8.1f} ms a configuration")
    ask(
        f"W2 with {options.requests:,} requests, open loop",
        "60 s, 1,000 MB",
        [sys.executable, "-c", LONG_RUN.format(count=options.requests)],
        runs=runs,
    )
    print(f"load average at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
