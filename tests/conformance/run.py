"""The engines' own scheduler classes beside ours, by one command:

    python tests/conformance/run.py [--environment DIR] [--page docs/reference/conformance.md]

Builds an environment of its own (CPU torch, vllm and sglang wheels without their dependencies;
4 GB, a few minutes; kept for the next time), runs the scenarios of `scenarios.py` in both, and
demands equal traces. Exits with 1 if a scenario differs that `EXCEPTIONS` does not allow.
"""

import argparse
import collections
import datetime as dt
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import ours  # noqa: E402
import scenarios  # noqa: E402

VLLM, SGLANG, TORCH = "0.33.0", "0.5.23", "2.13.0"
EXCEPTIONS = {
    "in_flight_tiny": (
        0.1,
        "a step in flight while the pool is exhausted: the engine decides on preemption a step "
        "earlier, while requests that finish meanwhile hold their blocks",
    ),
}
"""By kind: the share of scenarios that may differ, and why."""

MOST_TTFT = 0.03
"""Largest deviation of a closed loop's mean and median TTFT."""

STATISTICS = ("mean", "median")

SKIPPED = {
    "ATOM": "not on PyPI; its coalescer is tested as a statement of the rule in "
    "tests/unit/test_prefill_delay.py",
    "TensorRT-LLM": "its package does not import without a GPU",
    "vLLM, sliding windows and state groups": "the fake model has full attention only",
}


def environment(folder):
    """The interpreter of an environment that has the engines; made where it is missing."""
    python = folder / "venv" / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing into {folder} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pip = [python, "-m", "pip", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", f"torch=={TORCH}"], check=True)
        subprocess.run([*pip, "install", "-r", HERE / "requirements.txt"], check=True)
        subprocess.run([*pip, "install", "--no-deps", f"vllm=={VLLM}"], check=True)
        fetch = ["download", "--no-deps", "--only-binary", ":all:", "-d", folder / "wheels"]
        subprocess.run([*pip, *fetch, f"sglang=={SGLANG}"], check=True)
        (folder / "ready").touch()
    return python


def ask(python, driver, cases, *arguments):
    """What a driver answers to a list of cases."""
    done = subprocess.run(
        [python, HERE / driver, *arguments],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
    )
    if done.returncode:
        raise SystemExit(f"{driver} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare_vllm(python, each):
    """Scenarios, equal traces, equal times of first and last tokens and errors, by kind."""
    rows = collections.defaultdict(collections.Counter)
    cases = scenarios.vllm_scenarios(each=each)
    for case, real in zip(cases, ask(python, "vllm_driver.py", cases), strict=True):
        row = rows[case["kind"]]
        row["scenarios"] += 1
        if "error" in real:
            row["errors"] += 1
            continue
        mine = ours.run(case)
        times = mine["first"] == real["first"] and mine["last"] == real["last"]
        row["times"] += times
        row["equal"] += times and mine["steps"] == real["steps"]
    return rows


def compare_closed_loops(python):
    """Mean and median TTFT of the engine and ours under each closed loop. [s]"""
    rows = []
    cases = scenarios.closed_loops()
    for case, real in zip(cases, ask(python, "vllm_driver.py", cases), strict=True):
        if "error" in real:
            raise SystemExit(f"closed loop: {real['error']}")
        waits = [first - sent for first, sent in zip(real["first"], real["sent"], strict=True)]
        mine = ours.closed(case)
        loop, settings = case["closed"], case["settings"]
        rows.append(
            {
                "clients": loop["clients"],
                "interval": settings["prefill_schedule_interval"],
                "mean": (statistics.mean(waits), float(mine.mean())),
                "median": (statistics.median(waits), statistics.median(mine.tolist())),
            }
        )
    return rows


def compare_sglang(python, folder, count):
    """Decisions and equal decisions of the prefill delayer."""
    cases = scenarios.delayer_cases(count=count)
    wheel = next((folder / "wheels").glob(f"sglang-{SGLANG}*.whl"))
    real = ask(python, "sglang_driver.py", cases, str(wheel))
    mine = [ours.decide(case) for case in cases]
    pairs = [pair for a, b in zip(real, mine, strict=True) for pair in zip(a, b, strict=True)]
    return len(pairs), sum(a == b for a, b in pairs)


def page(rows, delayer, loops):
    """The results as a page of the documentation."""
    lines = [
        "# Conformance",
        "",
        f"Last run: {dt.date.today()}, vllm {VLLM}, sglang {SGLANG}, CPU torch {TORCH}.",
        "Made by `python tests/conformance/run.py --page docs/reference/conformance.md`.",
        "",
        "vLLM's own `Scheduler` and `AsyncScheduler` with a fake model runner beside ours, step by",
        "step: prompt tokens and decoding requests of each rank, times of first and last tokens.",
        "",
        "| kind | scenarios | equal step by step | equal times | may differ |",
        "|---|---|---|---|---|",
    ]
    for kind, row in rows.items():
        share, why = EXCEPTIONS.get(kind, (0, ""))
        allowed = f"{share:.0%}: {why}" if share else "none"
        lines.append(
            f"| {kind} | {row['scenarios']} | {row['equal']} | {row['times']} | {allowed} |"
        )
    total, equal = delayer
    lines += [
        "",
        "Closed loops of 8,192/1,024 tokens on eight data-parallel ranks, two batches in flight",
        "(`AsyncScheduler`), steps of 30 ms and 0.1 ms a token of the fullest rank, 10 ms between",
        f"a client's requests; TTFT [s], at most {MOST_TTFT:.0%} apart:",
        "",
        "| clients | prefill interval | mean, engine | ours | median, engine | ours |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['clients']} | {row['interval']} "
            + "".join(f"| {row[name][side]:.3f} " for name in STATISTICS for side in (0, 1))
            + "|"
            for row in loops
        ),
        "",
        f"SGLang's own `PrefillDelayer` with a fake all-gather: {equal} of {total} decisions",
        "alike.",
        "",
        "Not driven:",
        "",
        *(f"- {name}: {why}." for name, why in SKIPPED.items()),
        "",
    ]
    return "\n".join(lines)


def failures(rows, delayer, loops):
    """What differs beyond the exceptions."""
    found = [
        f"closed loop of {row['clients']} clients, interval {row['interval']}: {name} TTFT "
        f"{row[name][1]:.3f} s, the engine's {row[name][0]:.3f}"
        for row in loops
        for name in STATISTICS
        if abs(row[name][1] / row[name][0] - 1.0) > MOST_TTFT
    ]
    for kind, row in rows.items():
        share, _ = EXCEPTIONS.get(kind, (0, ""))
        if row["errors"] or row["scenarios"] - row["equal"] > share * row["scenarios"]:
            found.append(f"{kind}: {row['equal']} of {row['scenarios']} equal")
    if delayer[0] != delayer[1]:
        found.append(f"SGLang's delayer: {delayer[1]} of {delayer[0]} alike")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path.home() / ".cache" / "forecurve-conformance"
    parser.add_argument("--environment", type=Path, default=default)
    parser.add_argument("--each", type=int, default=scenarios.EACH, help="scenarios of a kind")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    python = environment(options.environment)
    rows = compare_vllm(python, options.each)
    delayer = compare_sglang(python, options.environment, count=100)
    loops = compare_closed_loops(python)
    text = page(rows, delayer, loops)
    print(text)
    if options.page:
        options.page.write_text(text, encoding="utf-8")
    wrong = failures(rows, delayer, loops)
    print("\n".join(wrong) or "all within the exceptions")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
