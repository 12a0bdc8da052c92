"""This project beside AISimulate (and quoted figures of Vidur) on the same workloads.

    python benchmarks/compare_peers.py

Installs AISimulate into an environment of its own (``--environment``, default under ``~/.cache``;
1.5 GB, a few minutes), runs both simulators in turn, each run in a fresh process, and prints
medians, their ratios and what shows that both did the same work: forward passes of a rank and mean
TPOT. So that they do, this project's step costs are multiplied by one factor per chip and model,
which gives AISimulate's mean TPOT on the workload of `peer_workloads.MATCHED`; the own mean TPOT is
printed beside. Speed is compared here, not accuracy. (``w1`` sits on an edge of capacity, where a
few percent in the time of a step change passes and TPOT; ``w1-5`` is the same at 5 requests a
second.) ``--json FILE`` keeps all measured figures. Wait until the machine has nothing else to do:
ratios hold within one run only.

Engine seconds are wall time of the run call: AISimulate's own ``wall_time_ms``; here
`simulator.serving.deployment.run_deployment`; ``CPU`` is the ratio of its processor times, which a
busy machine disturbs less. Imports, reading and writing are in neither. Tables of step costs, which
AISimulate looks up while it runs, are built before the call here and take another fraction of a
second, which is printed and counted in the ratio of the last but two columns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from peer_workloads import MATCHED, WORKLOADS, PeerWorkload

PACKAGE = "aisimulate"
VIDUR_S = {"w1": 7.63, "w2": 27.0}
"""Engine seconds of Vidur, seen on a machine with two such cores in November 2026 (its repository
and profiles are not on PyPI). [s]"""

BARS = {"w1": (2.5, 20.0), "w2": (6.0, 45.0), "v4": (15.0, None)}
"""How many times as fast as AISimulate and Vidur this project means to be."""

REPORT = "prediction.json"
TRACE_BLOCK_TOKENS = 512
CPU_HOOK = """
import importlib, os, resource

load = importlib.import_module

def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

def import_module(name, package=None):
    module = load(name, package)
    if name == "aisimulate._runtime" and not hasattr(module, "untimed"):
        module.untimed = module.run_replay_json

        def timed(specification):
            start_s = cpu_s()
            report = module.untimed(specification)
            with open(os.environ["PEER_CPU"], "w") as file:
                file.write(str(cpu_s() - start_s))
            return report

        module.run_replay_json = timed
    return module

importlib.import_module = import_module
"""
"""Notes the processor time of the peer's run call, which its report does not tell."""

SAME_WORK = 0.2


def environment(folder: Path) -> Path:
    """The interpreter's folder of an environment that has AISimulate; made where it is missing."""
    programs = folder / "venv" / "bin"
    if not (programs / PACKAGE).exists():
        print(f"installing {PACKAGE} into {folder} ...", flush=True)
        wheels = folder / "wheels"
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        # the release is a stub: the development wheel is what a binary download takes
        pip = [programs / "python", "-m", "pip", "-q", "--disable-pip-version-check"]
        fetch = ["download", "--no-deps", "--only-binary", ":all:", PACKAGE, "-d", wheels]
        subprocess.run([*pip, *fetch], check=True)
        subprocess.run([*pip, "install", max(wheels.glob(f"{PACKAGE}-*.whl"))], check=True)
    return programs


def peer_config(workload: PeerWorkload, *, folder: Path) -> Path:
    """AISimulate's configuration file of a workload, with its trace where it has one."""
    path = folder / f"{workload.name}.yaml"
    if workload.rate_per_s is not None:
        traffic = {
            "source": {
                "type": "synthetic",
                "input_tokens": workload.scenario["isl"],
                "output_tokens": workload.scenario["osl"],
            },
            "load": {"type": "poisson", "requests_per_second": workload.rate_per_s},
            "stop": {"requests": workload.requests},
        }
        engine = {"model": "meta-llama/Meta-Llama-3.1-8B", "hardware": "a100_sxm"}
        engine["backend"] = "vllm"
        workers: dict[str, Any] = {"scheduler": {"max_batched_tokens": 512, "max_sequences": 128}}
    else:
        traffic = {
            "source": {
                "type": "trace",
                "paths": [str(write_trace(workload, folder=folder))],
                "format": "mooncake",
                "block_size": TRACE_BLOCK_TOKENS,
            },
            "load": {"type": "concurrency", "concurrency": workload.concurrency},
        }
        engine = {"model": "deepseek-ai/DeepSeek-V4-Pro", "hardware": "b200_sxm"}
        engine["backend"] = "sglang"
        workers = {
            "parallelism": {"tensor": 1, "attention_data": 8, "moe_expert": 8},
            "scheduler": {"max_sequences": 256},
            "kv_cache": {"prefix_caching": False},
        }
    document = {
        "traffic": traffic,
        "engine": {"mode": "aggregated", **engine, "workers": {"aggregated": workers}},
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def write_trace(workload: PeerWorkload, *, folder: Path) -> Path:
    """A Mooncake trace with the lengths that this project draws; no two prompts share a block."""
    lengths = folder / f"{workload.name}.lengths.json"
    ours([workload.name, "--write-lengths", str(lengths)])
    path, block = folder / f"{workload.name}.jsonl", 0
    with path.open("w", encoding="utf-8") as file:
        for prompt, output in json.loads(lengths.read_text(encoding="utf-8")):
            blocks = -(-prompt // TRACE_BLOCK_TOKENS)
            hashes = list(range(block, block + blocks))
            block += blocks
            row = {"timestamp": 0, "input_length": prompt, "output_length": output}
            file.write(json.dumps(row | {"hash_ids": hashes}) + "\n")
    return path


def ours(arguments: list[str]) -> str:
    """Standard output of `peer_workloads.py`."""
    script = Path(__file__).with_name("peer_workloads.py")
    done = subprocess.run(
        [sys.executable, script, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def run_ours(workload: PeerWorkload, *, factor: float, count: bool = False) -> dict[str, Any]:
    """One run of this project in a process of its own."""
    start_s = time.perf_counter()
    more = ["--factor", str(factor), *(["--count"] if count else [])]
    found: dict[str, Any] = json.loads(ours([workload.name, *more]))
    return found | {"process_s": time.perf_counter() - start_s}


def run_peer(
    workload: PeerWorkload, *, programs: Path, config: Path, count: bool = False
) -> dict[str, Any]:
    """One run of AISimulate in a process of its own."""
    out = config.with_suffix(".out")
    (out / REPORT).unlink(missing_ok=True)
    command = [programs / PACKAGE, "predict", "--config", config, "--output-dir", out]
    hook, cpu = config.parent / "hook", config.with_suffix(".cpu")
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(CPU_HOOK, encoding="utf-8")
    start_s = time.perf_counter()
    done = subprocess.run(
        [*command, "--overwrite", *(["--detail", "time"] if count else [])],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(hook), "PEER_CPU": str(cpu)},
    )
    if done.returncode and not (out / REPORT).exists():  # its shutdown may time out afterwards
        raise SystemExit(f"{PACKAGE} failed on {workload.name}:\n{done.stdout}{done.stderr}")
    process_s = time.perf_counter() - start_s
    report = json.loads((out / REPORT).read_text(encoding="utf-8"))
    found = {
        "engine_s": report["wall_time_ms"] / 1e3,
        "engine_cpu_s": float(cpu.read_text(encoding="utf-8")),
        "process_s": process_s,
        "mean_tpot_ms": report["mean_tpot_ms"],
        "mean_ttft_ms": report["mean_ttft_ms"],
        "simulated_s": report["duration_ms"] / 1e3,
        "requests": report["completed_requests"],
    }
    return found | (peer_passes(report, workload=workload) if count else {})


def peer_passes(report: dict[str, Any], *, workload: PeerWorkload) -> dict[str, float]:
    """Forward passes of a rank, from the memory traffic that AISimulate states for two operations.

    The embedding moves one row of the hidden size a token, which gives the bandwidth that the
    times were made with; the language-model head reads its table once a pass, and one row in and
    one of logits out for each sampled token.
    """
    hidden, vocabulary = (4096, 128256) if workload.rate_per_s is not None else (7168, 129280)
    table, row = 2.0 * vocabulary * hidden, 2.0 * (vocabulary + hidden)
    found: dict[str, float] = {}
    for phase in report["performance_diagnostics"]["phases"]:
        prefix = {"prefill": "context", "decode": "generation"}[phase["name"]]
        memory_ms, math_ms = (
            {op["name"]: op["sol"][kind] for op in phase["operations"] if op["sol"] is not None}
            for kind in ("memory_ms", "math_ms")
        )
        decoded = report["total_output_tokens"] - report["completed_requests"]
        tokens = {"prefill": report["total_input_tokens"], "decode": decoded}[phase["name"]]
        rate = 2.0 * hidden * tokens / memory_ms[f"{prefix}_embedding"]
        head = f"{prefix}_logits_gemm"
        if phase["name"] == "decode":
            flops_rate = 2.0 * hidden * vocabulary * tokens / math_ms[head]
        rows = tokens if phase["name"] == "decode" else math_ms[head]
        found[phase["name"]] = (memory_ms[head] * rate, rows)
    decode_bytes, decode_rows = found["decode"]
    prefill_bytes, prefill_math_ms = found["prefill"]
    prefill_rows = prefill_math_ms * flops_rate / (2.0 * hidden * vocabulary)
    ranks = workload.layout.attention_dp
    return {
        "decode_passes": (decode_bytes - row * decode_rows) / table / ranks,
        "prefill_passes": (prefill_bytes - row * prefill_rows) / table / ranks,
    }


def median(runs: list[dict[str, Any]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def step_factors(
    workloads: list[PeerWorkload], *, programs: Path, configs: dict[str, Path]
) -> dict[str, float]:
    """What this project's step costs are multiplied by in each workload. [-]"""
    found = {}
    for name in {MATCHED[each.name] for each in workloads}:
        seen = run_peer(WORKLOADS[name], programs=programs, config=configs[name])
        found[name] = float(ours([name, "--match", str(seen["mean_tpot_ms"])]))
    return {each.name: found[MATCHED[each.name]] for each in workloads}


def print_work(
    workload: PeerWorkload, *, factor: float, mine: dict[str, Any], peer: dict[str, Any]
) -> None:
    """Whether both did the same work."""
    name = workload.name
    for field, unit in (
        ("requests", ""),
        ("decode_passes", ""),
        ("prefill_passes", ""),
        ("mean_tpot_ms", " ms"),
        ("mean_ttft_ms", " ms"),
    ):
        change = mine[field] / peer[field] - 1.0
        verdict = ""
        if field in ("decode_passes", "mean_tpot_ms"):
            verdict = "same" if abs(change) <= SAME_WORK else "beyond 20 %"
        print(
            f"{name:>6}  {field:<15}{mine[field]:>14,.1f}{unit}{peer[field]:>14,.1f}{unit}"
            f"{100 * change:>+8.1f} %  {verdict}"
        )
    print(
        f"{name:>6}  step costs times {factor:g}; mean_tpot_ms without "
        f"{mine['unscaled_tpot_ms']:.1f} ms"
    )


def print_ratios(name: str, *, mine: list[dict[str, Any]], peer: list[dict[str, Any]]) -> None:
    engine_s, peer_s = median(mine, "engine_s"), median(peer, "engine_s")
    whole_s = engine_s + median(mine, "tables_s") + median(mine, "requests_s")
    cpu = median(peer, "engine_cpu_s") / median(mine, "engine_cpu_s")
    bar, vidur_bar = BARS.get(name, (None, None))
    vidur_s = VIDUR_S.get(name)
    print(
        f"{name:>6}{engine_s:>10.3f}{whole_s:>10.3f}{median(mine, 'process_s'):>10.2f}"
        f"{peer_s:>12.2f}{median(peer, 'process_s'):>10.2f}{peer_s / engine_s:>9.1f}{cpu:>7.1f}"
        f"{'' if bar is None else f'{bar:g}':>6}{peer_s / whole_s:>9.1f}"
        f"{'' if vidur_s is None else f'{vidur_s / engine_s:.0f}':>8}"
        f"{'' if vidur_bar is None else f'{vidur_bar:g}':>6}"
    )


def main() -> None:
    """Install, run in turn, compare."""
    parser = argparse.ArgumentParser(description="compare with AISimulate in one run")
    parser.add_argument("--runs", type=int, default=5, help="of each simulator and workload")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument(
        "--environment", type=Path, default=Path.home() / ".cache" / "forecurve" / PACKAGE
    )
    parser.add_argument("--json", type=Path, help="file for every measured figure")
    options = parser.parse_args()
    programs = environment(options.environment.resolve())
    load = os.getloadavg()[0]
    print(f"load average {load:.2f}" + (": wait for a calmer machine" if load > 0.5 else ""))
    workloads = [WORKLOADS[name] for name in options.workloads]
    folder = options.environment.resolve() / "runs"
    folder.mkdir(exist_ok=True)
    needed = {each.name for each in workloads} | {MATCHED[each.name] for each in workloads}
    configs = {name: peer_config(WORKLOADS[name], folder=folder) for name in needed}
    factors = step_factors(workloads, programs=programs, configs=configs)
    mine: dict[str, list[dict[str, Any]]] = {each.name: [] for each in workloads}
    peer: dict[str, list[dict[str, Any]]] = {each.name: [] for each in workloads}
    print(f"\nequal work: this project, {PACKAGE}, difference")
    counted: dict[str, Any] = {}
    for each in workloads:
        work = (
            run_ours(each, factor=factors[each.name], count=True),
            run_peer(each, programs=programs, config=configs[each.name], count=True),
        )
        print_work(each, factor=factors[each.name], mine=work[0], peer=work[1])
        counted[each.name] = {"mine": work[0], "peer": work[1]}
    for _ in range(options.runs):
        for each in workloads:
            peer[each.name].append(run_peer(each, programs=programs, config=configs[each.name]))
            mine[each.name].append(run_ours(each, factor=factors[each.name]))
    print(
        f"\nmedians of {options.runs} runs in turn [s]\n{'':>6}{'engine':>10}{'+ tables':>10}"
        f"{'process':>10}{PACKAGE:>12}{'process':>10}{'ratio':>9}{'CPU':>7}{'bar':>6}"
        f"{'+ tables':>9}{'Vidur':>8}{'bar':>6}"
    )
    for each in workloads:
        print_ratios(each.name, mine=mine[each.name], peer=peer[each.name])
    for each in workloads:
        print(f"{each.name:>6}  {each.title}")
    print(f"load average at the end {os.getloadavg()[0]:.2f}")
    if options.json is not None:
        result = {"mine": mine, "peer": peer, "counted": counted}
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
