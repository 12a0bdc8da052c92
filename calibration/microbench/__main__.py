"""``python -m calibration.microbench --out rows.csv``: time small kernels on this machine."""

from __future__ import annotations

import argparse
import datetime as dt
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.command_line import run_main
from calibration.microbench.cases import small_cases, standard_cases
from calibration.microbench.rows import write_rows
from calibration.microbench.timing import (
    choose_device,
    describe_machine,
    free_bytes,
    load_torch,
    time_case,
)
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration.microbench.cases import Case
    from calibration.microbench.rows import Timing

_DRIVER_QUERIES = (
    ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
    ("rocm-smi", "--showdriverversion", "--csv"),
)


def driver_version() -> str:
    """Version of the GPU driver as its own tool tells it; ``unknown`` where there is no tool."""
    for query in _DRIVER_QUERIES:
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        if lines:
            return lines[-1].rpartition(",")[2].strip()
    return "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0, or 2 on a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m calibration.microbench",
        description="Time matrix products, memory streams, gathers and launches on this GPU.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="CSV to write")
    parser.add_argument("--device", default="cuda", metavar="NAME", help="cuda, cuda:1 or cpu")
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="default 20")
    parser.add_argument(
        "--small", action="store_true", help="one tiny case of each kind, to see that it runs"
    )
    options = parser.parse_args(arguments)
    try:
        _run(out=options.out, device=options.device, repeats=options.repeats, small=options.small)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(*, out: Path, device: str, repeats: int, small: bool) -> None:
    if repeats < 1:
        raise UserError(f"repeats is {repeats}; it must be at least 1")
    torch = load_torch()
    device = choose_device(torch, device)
    machine = describe_machine(torch, device=device, driver=driver_version(), date=dt.date.today())
    cases = (
        small_cases() if small else standard_cases(memory_bytes=free_bytes(torch, device=device))
    )
    rows: list[tuple[Case, Timing]] = []
    for done, case in enumerate(cases, start=1):
        timing = time_case(torch, case, device=device, repeats=repeats)
        shown = "not supported here" if timing is None else f"{1e6 * timing.time_s:.1f} us"
        print(f"{done}/{len(cases)} {case.kind} {case.path} {_size(case)}: {shown}")
        if timing is not None:
            rows.append((case, timing))
    if not rows:
        raise UserError(f"no case ran on {machine.device}")
    write_rows(out, rows, machine=machine)
    print(f"{len(rows)} of {len(cases)} cases on {machine.device}; wrote {out}")


def _size(case: Case) -> str:
    if case.size_bytes:
        return f"{case.size_bytes / 1e6:.1f} MB"
    return f"{case.groups} x {case.m} x {case.n} x {case.k}"


if __name__ == "__main__":
    run_main(main)
