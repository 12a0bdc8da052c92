"""Blocks of output in README and docs, each made by its command.

A block stands behind a comment that names the command, and what of its output is shown::

    <!-- output: simulate search --sku mi355x --interactivity 30 | lines 1-6, -14: -->

A figure in prose stands between two comments that name the command, the place in what it prints
as JSON, and a format::

    <!--f simulate load --sku b200 --rate 6 --json | metrics.mean_ttft_s | .0f-->38<!--/f-->

A table in Markdown that a command prints stands between ``<!-- table: command -->`` and
``<!-- end of table -->``.

Places are names and positions with points between, ``parameter=isl`` for the element of a list that
has it, and ``A / B`` for a ratio; formats are Python's, with ``%``, ``ms`` or ``GB`` behind.

``--write`` runs the commands and writes what they print; ``--check`` runs those that took under
twenty seconds of CPU when they were last written and fails where the page shows something else;
longer ones are listed with the date of their last run. ``--within SECONDS`` checks the fastest
only that together took no longer, as CI does. ``--page NAME`` is for one page, ``--stale`` leaves
out what was written today. Times and dates are kept in docs/reference/outputs.yaml. The version
that an output names may be an older one.
"""

from __future__ import annotations

import argparse
import datetime as dt
import difflib
import functools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
STATE = ROOT / "docs" / "reference" / "outputs.yaml"
CHECKED_S = 20.0
BLOCK = re.compile(
    r"(?P<head><!-- output: (?P<command>[^|]+?)(?: \| lines (?P<lines>[^>]+?))? -->\n\n?```\n)"
    r"(?P<body>.*?)(?P<end>^```$)",
    re.MULTILINE | re.DOTALL,
)
FIGURE = re.compile(
    r"(?P<head><!--f (?P<command>[^|]+?) \| (?P<place>[^|]+?) \| (?P<format>[^|]+?)-->)"
    r"(?P<body>[^<]*)(?P<end><!--/f-->)"
)

TABLE = re.compile(
    r"(?P<head><!-- table: (?P<command>[^|]+?) -->\n\n)"
    r"(?P<body>.*?)(?P<end>\n<!-- end of table -->)",
    re.DOTALL,
)
VERSION = re.compile(r"(?<=forecurve )\d[\w.+-]*")


def pages() -> list[Path]:
    """README and all pages of docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def state() -> dict[str, dict[str, Any]]:
    """Seconds and date of the last run of each command."""
    return yaml.safe_load(STATE.read_text(encoding="utf-8")) or {} if STATE.exists() else {}


@functools.cache
def output_of(command: str) -> tuple[str, float]:
    """What a command prints, without its last blanks, and its seconds of CPU."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run(
            ["bash", "-c", " ".join(command.split())],
            cwd=folder,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start
    if done.returncode:
        raise SystemExit(f"{command}\nended with {done.returncode}: {done.stderr.strip()[-800:]}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join(lines).strip("\n"), seconds


def shown(text: str, lines: str | None) -> str:
    """The lines of a text that a page shows: ``1-6, -14:``; dots where some are left out."""
    if lines is None:
        return text + "\n"
    every = text.split("\n")
    wanted: list[int] = []
    for part in lines.split(","):
        first, _, last = part.strip().partition(":" if ":" in part else "-")
        if ":" in part:
            wanted += range(len(every))[slice(int(first) if first else None, None)]
        else:
            wanted += range(int(first) - 1, min(int(last or first), len(every)))
    found: list[str] = []
    before = -1
    for index in sorted(set(wanted)):
        if index > before + 1:
            found.append("...")
        found.append(every[index])
        before = index
    if before + 1 < len(every):
        found.append("...")
    return "\n".join(found) + "\n"


def same(old: str, new: str) -> bool:
    """Whether two outputs differ in nothing but the version that they name."""
    return VERSION.sub("", old) == VERSION.sub("", new)


def checked(known: dict[str, dict[str, Any]], within_s: float | None) -> set[str]:
    """Commands that a check runs: those under twenty seconds, within a sum of them. [s]"""
    found: set[str] = set()
    total_s = 0.0
    for command, last in sorted(known.items(), key=lambda each: each[1]["seconds"]):
        total_s += last["seconds"]
        if last["seconds"] < CHECKED_S and (within_s is None or total_s <= within_s):
            found.add(command)
    return found


def figure(text: str, place: str, form: str) -> str:
    """A figure of JSON output by its path, or a ratio of two of them, in a format."""
    parts = [_at(json.loads(text), one.strip()) for one in place.split(" / ")]
    value = parts[0] if len(parts) == 1 else parts[0] / parts[1]
    for unit, factor in (("%", 100.0), ("ms", 1000.0), ("GB", 1e-9)):
        if form.endswith(unit):
            return f"{format(factor * value, form.removesuffix(unit))} {unit}"
    text = format(value, form)
    return text.replace("-", "−") if form.startswith("+") else text  # as prose writes a minus


def _at(value: Any, place: str) -> Any:
    """What stands at names, positions and ``name=value`` of an element, with points between."""
    for name in place.split("."):
        key, equals, wanted = name.partition("=")
        if equals:
            value = next(each for each in value if str(each[key]) == wanted)
        else:
            value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def rendered(match: re.Match[str]) -> str:
    """A block or figure as its command gives it now."""
    text, _ = output_of(match["command"])
    groups = match.groupdict()
    if "place" in groups:
        body = figure(text, match["place"].strip(), match["format"].strip())
    else:
        body = shown(text, groups.get("lines"))
    return f"{match['head']}{body}{match['end']}"


def main() -> int:
    """Write or check the blocks; 1 where a page shows something else."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--check", action="store_true")
    way.add_argument("--write", action="store_true")
    way.add_argument("--list", action="store_true", help="commands with their last runs")
    parser.add_argument("--page", help="only pages whose path holds this")
    parser.add_argument("--stale", action="store_true", help="not what was written today")
    parser.add_argument("--within", type=float, metavar="SECONDS", help="check the fastest only")
    asked = parser.parse_args()
    known, today, wrong = state(), dt.date.today().isoformat(), 0
    run_now = checked(known, asked.within)
    for page in pages():
        name = page.relative_to(ROOT).as_posix()
        if asked.page and asked.page not in name:
            continue
        text = page.read_text(encoding="utf-8")
        for pattern in (BLOCK, TABLE, FIGURE):
            for match in list(pattern.finditer(text)):
                command = " ".join(match["command"].split())
                last = known.get(command, {"seconds": None, "run": "never"})
                if asked.list or (asked.check and command not in run_now):
                    print(f"{name}: last run {last['run']}, {last['seconds']} s: {command}")
                    continue
                if asked.write and asked.stale and last["run"] == today:
                    continue
                new = rendered(match)
                if asked.check and not same(match[0], new):
                    wrong += 1
                    print(f"{name}: {command} prints something else now")
                    print(
                        "\n".join(
                            difflib.unified_diff(match[0].split("\n"), new.split("\n"), lineterm="")
                        )
                    )
                if asked.write:
                    if not same(match[0], new):
                        text = text.replace(match[0], new)
                    known[command] = {
                        "run": today,
                        "seconds": round(output_of(match["command"])[1], 1),
                    }
                    page.write_text(text, encoding="utf-8")
                    STATE.write_text(
                        "# Written by docs/tools/output_blocks.py --write\n"
                        + yaml.safe_dump(known, width=1000),
                        encoding="utf-8",
                    )
                    print(f"{name}: {known[command]['seconds']} s: {command}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
