"""Runs every command of README, guides and background pages as written.

``python docs/tools/run_commands.py`` runs those that took under a minute when they were last
timed; ``--all`` runs the long ones too, ``--within SECONDS`` the fastest that together took no
longer, as CI does. ``--record`` writes times and dates to docs/reference/commands.yaml, from which
docs/reference/commands.md is made, after each command; before a release: ``--all --record``. A
command that ends with another status than 0, prints a traceback or takes longer than ``--timeout``
fails the run. ``--stale`` leaves out what ran today, so that a run that was ended goes on;
``--page NAME`` and ``--only WORDS`` choose.

Commands run in a scratch folder which holds what the pages assume a reader has: measured runs of
their own, results of earlier commands.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
STATE = ROOT / "docs" / "reference" / "commands.yaml"
PAGE = ROOT / "docs" / "reference" / "commands.md"
LONG_S = 60.0
TIMEOUT_S = 900.0
_FENCE = re.compile(r"^```(?:console|bash|sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(simulate [^`]+)`")
_WORDS = ("simulate ", "python -m ")
# Commands that need what a machine of CI has not, and what that is.
NOT_RUN = {
    "python -m calibration.microbench": "a GPU with PyTorch",
    "python -m calibration.kernels.microbench_report": "rows that a GPU measured",
    "python -m calibration.kernels.table": "the extra op-tables (82 MB)",
    "python -m calibration.kernels.report": "the extra op-tables (82 MB)",
    "simulate sweep --sku gb200 --prefill 1-4 --decode 1-4 --ep 4,8,16,32 --executor dask": (
        "a Dask cluster"
    ),
    "simulate calibrate fit --steps engine.log": "the log of an engine",
    "simulate calibrate validate --held": "a maintainer: every look at held-out runs is counted",
    "python -m calibration.ship": "a maintainer: it writes the shipped fit",
    "simulate show model": "a name; the page means it in general",
}
# Commands that take minutes wherever they run.
LONG = ("simulate calibrate", "simulate plan", "simulate predict", "simulate timeline")
# Commands that simulate nothing, and how long one takes where nothing is recorded.
QUICK = ("simulate list", "simulate show", "simulate explain", "simulate runs")
QUICK_S = 2.0
# Files that a long command makes: what reads them runs with the long ones.
MADE_BY_LONG = ("my_fit", "out/fit")
# What pages assume: files and folders of a reader, and the command that makes each.
PREPARED = {
    "runs.csv": "simulate runs --sku b300 --quality ok --csv | head -40 > runs.csv",
    "my_runs.csv": (
        "simulate runs --model deepseek-v4-pro --sku mi355x --engine sglang --csv | head -12 "
        "> my_runs.csv"
    ),
    "my_runs": "mkdir my_runs && cp my_runs.csv my_runs/",
    "out/mi355x-run": "simulate --sku mi355x --ep 8 --out out/mi355x-run",
    "out/sweep-run": "simulate sweep --sku mi355x --ep 8 --concurrency 8,64 --out out/sweep-run",
    "out/RUN": "simulate --sku b300 --tp 8 --concurrency 8,64 --out out/RUN",
}


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command as a page shows it, and the page."""

    page: str
    text: str


def commands_of(page: Path) -> list[Command]:
    """Commands of a page, in its order: fenced shell blocks, and inline code of tables."""
    text = page.read_text(encoding="utf-8")
    found: dict[str, None] = {}
    for body in _FENCE.findall(text):
        joined = body.replace("\\\n", " ")
        for line in joined.splitlines():
            command = re.sub(r"\s+", " ", line.split("  #")[0].split(" #")[0]).strip()
            if command.startswith(_WORDS):
                found[command] = None
    for line in text.splitlines():
        if line.startswith("|"):
            for command in _INLINE.findall(line):
                if "..." not in command and len(command.split()) > 2:
                    found[command.strip()] = None
    name = page.relative_to(ROOT).as_posix()
    return [Command(page=name, text=command) for command in found]


def all_commands() -> list[Command]:
    """Commands of all pages; one that stands on several pages counts for the first."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    seen: dict[str, Command] = {}
    for page in pages:
        if page != PAGE:
            for command in commands_of(page):
                seen.setdefault(command.text, command)
    return list(seen.values())


def reason_not_run(command: Command) -> str | None:
    """What a command needs that machines of CI have not; ``None`` where it runs."""
    return next((why for start, why in NOT_RUN.items() if command.text.startswith(start)), None)


def is_long(command: Command, known: dict[str, dict[str, object]]) -> bool:
    """Whether a command took a minute when last timed, or reads what such a command makes."""
    return (
        (timed_s(known, command.text) or 0.0) >= LONG_S
        or command.text.startswith(LONG)
        or any(name in command.text for name in MADE_BY_LONG)
    )


def timed_s(known: dict[str, dict[str, object]], text: str) -> float | None:
    """Seconds of a command's last run; ``None`` if it was never run. [s]"""
    entry = known.get(text, {"seconds": ""})
    return float(str(entry["seconds"])) if str(entry["seconds"]) else None


def recorded() -> dict[str, dict[str, object]]:
    """Seconds and date of the last timed run of each command."""
    if not STATE.exists():
        return {}
    entries = yaml.safe_load(STATE.read_text(encoding="utf-8"))["commands"]
    return {str(entry["command"]): entry for entry in entries}


def fastest(
    commands: list[Command], known: dict[str, dict[str, object]], *, within_s: float
) -> list[Command]:
    """Commands that together took at most so long when last timed, the fastest first. [s]

    One that was never timed counts if it simulates nothing.
    """
    timed: dict[str, float] = {}
    for command in commands:
        seconds = timed_s(known, command.text)
        if seconds is not None or command.text.startswith(QUICK):
            timed[command.text] = QUICK_S if seconds is None else seconds
    chosen: set[str] = set()
    total_s = 0.0
    for text, seconds in sorted(timed.items(), key=lambda each: each[1]):
        total_s += seconds
        if total_s > within_s:
            break
        chosen.add(text)
    return [command for command in commands if command.text in chosen]


def prepare(folder: Path, commands: list[Command]) -> None:
    """Make what the pages of some commands assume a reader to have."""
    texts = [each.text for each in commands]
    for target in reversed(PREPARED):  # what is made of another stands after it
        if any(target in text for text in texts):
            texts.append(PREPARED[target])
    for target, command in PREPARED.items():
        if any(target in text for text in texts) and not (folder / target).exists():
            _, status, output = run_one(Command(page="prepared", text=command), folder)
            if status != 0:
                raise SystemExit(f"cannot prepare {target}: {output.strip()[-400:]}")


def run_one(command: Command, folder: Path, timeout_s: float = TIMEOUT_S) -> tuple[float, int, str]:
    """Seconds, exit status and output of a command in the scratch folder; 124 if it took longer."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    start = time.perf_counter()
    process = subprocess.Popen(
        ["bash", "-c", command.text],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": python_path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate()
        status, output = 124, f"{output}\ntook longer than {timeout_s:.0f} s"
    return time.perf_counter() - start, status, output


def main() -> int:
    """Run the commands; 1 if any fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="the long commands too")
    parser.add_argument("--record", action="store_true", help="write times, dates and the page")
    parser.add_argument("--within", type=float, metavar="SECONDS", help="the fastest only")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, metavar="SECONDS")
    parser.add_argument("--stale", action="store_true", help="not what ran today")
    parser.add_argument("--page", help="only pages whose path holds this")
    parser.add_argument("--only", help="only commands that hold this")
    asked = parser.parse_args()
    known = recorded()
    commands = [command for command in all_commands() if reason_not_run(command) is None]
    chosen = [command for command in commands if asked.all or not is_long(command, known)]
    if asked.within is not None:
        chosen = fastest(chosen, known, within_s=asked.within)
    today = dt.date.today().isoformat()
    chosen = [
        command
        for command in chosen
        if (not asked.page or asked.page in command.page)
        and (not asked.only or asked.only in command.text)
        and not (asked.stale and known.get(command.text, {}).get("last_run") == today)
    ]
    pages = [
        [command for command in chosen if command.page == page]
        for page in dict.fromkeys(command.page for command in chosen)
    ]
    folder = Path(tempfile.mkdtemp(prefix="commands-"))
    lock = threading.Lock()
    failed: list[str] = []

    def run_page(page: list[Command]) -> None:
        for command in page:
            seconds, status, output = run_one(command, folder, asked.timeout)
            wrong = status != 0 or "Traceback (most recent call last)" in output
            with lock:
                print(
                    f"{'FAILED' if wrong else 'ok':6} {seconds:7.1f} s  {command.text}", flush=True
                )
                if wrong:
                    failed.append(command.text)
                    print(f"       {command.page}: {output.strip()[-1500:]}", flush=True)
                elif asked.record:
                    known[command.text] = {
                        "command": command.text,
                        "page": command.page,
                        "seconds": round(seconds, 1),
                        "last_run": today,
                    }
                    write_record([known.get(each.text, _not_run(each)) for each in commands])

    try:
        prepare(folder, chosen)
        with ThreadPoolExecutor(asked.workers) as pool:
            list(pool.map(run_page, pages))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.record:
        write_record([known.get(each.text, _not_run(each)) for each in commands])
    print(
        f"{len(chosen) - len(failed)} passed, {len(failed)} failed, "
        f"{len(commands) - len(chosen)} not run"
    )
    return int(bool(failed))


def _not_run(command: Command) -> dict[str, object]:
    return {"command": command.text, "page": command.page, "seconds": "", "last_run": "never"}


def write_record(entries: list[dict[str, object]]) -> None:
    """Write the timed runs, and the page made from them."""
    text = yaml.safe_dump({"commands": entries}, sort_keys=False, width=1000)
    STATE.write_text(f"# Written by docs/tools/run_commands.py --record\n{text}", encoding="utf-8")
    PAGE.write_text(page_text(entries), encoding="utf-8")


def page_text(entries: list[dict[str, object]]) -> str:
    """The page of all commands with the time and date of their last run."""
    rows = "\n".join(
        f"| `{str(entry['command']).replace('|', chr(92) + '|')}` | {entry['page']} | "
        f"{entry['seconds']} | {entry['last_run']} |"
        for entry in entries
    )
    left_out = "\n".join(f"- `{start}`: {why}" for start, why in NOT_RUN.items())
    return (
        "# Commands of these pages\n\n"
        "Every command of README and docs, run as written by `docs/tools/run_commands.py`. CI\n"
        "parses all and runs the fastest (`--within`); without an option those under "
        f"{LONG_S:.0f} s run;\n`--all --record` runs all and writes this page. Times are those "
        "of a shared machine of two cores.\n\n"
        "| command | page | seconds | last run |\n|---|---|---|---|\n"
        f"{rows}\n\nNot run, and what each needs:\n\n{left_out}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
