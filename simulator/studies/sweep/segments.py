"""Segments: points of one deployment that a worker simulates in one go and saves as they come."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.studies.sweep.bar import BEHIND
from simulator.studies.sweep.planner import ends_with
from simulator.studies.sweep.points import configure_point, simulate_point
from simulator.studies.sweep.store import (
    check_shared,
    digest_of_inputs,
    file_name,
    read_points,
    run_key,
    write_points,
)
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from simulator.studies.sweep.planner import Segment

_ONE_AT_A_TIME = threading.Lock()
_SAVE_EVERY_S = 5.0
_JUDGED = (
    "status",
    "total_tput_per_gpu",
    "interactivity",
    "median_ttft_s",
    "p90_ttft_s",
    "p99_ttft_s",
    "goodput",
    "bottleneck",
    "kv_fill",
)
"""Cells of a point that say where a concurrency sweep ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentDone:
    """What became of a segment.

    Parameters
    ----------
    name:
        File with its runs.
    points:
        Of each concurrency that was run the cells that say where its sweep ends.
    fresh:
        Runs that were simulated now and not found on disk.
    """

    name: str
    points: dict[int, dict[str, Any]]
    fresh: int


def run_segments(segments: Sequence[Segment], *, directory: Path, inputs: str) -> list[SegmentDone]:
    """Simulate the runs of segments that their files lack, and save them as they come."""
    return [_run(segment, directory=directory, inputs=inputs) for segment in segments]


def run_segments_elsewhere(
    segments: Sequence[Segment],
    *,
    directory: Path,
    inputs: str,
    skus: Sequence[str],
    calibration: Path | None,
) -> list[SegmentDone]:
    """`run_segments` in a process of another machine.

    One task at a time, however many threads the process has.

    Raises
    ------
    UserError
        If the directory is not the one that the sweep gathers from, or code or data differ.
    """
    with _ONE_AT_A_TIME:
        check_shared(directory, inputs=inputs)
        if digest_of_inputs(skus=skus, calibration=calibration) != inputs:
            raise UserError(
                f"worker {socket.gethostname()} has other code or data than this machine; "
                "install the same version of forecurve there"
            )
        return run_segments(segments, directory=directory, inputs=inputs)


def _run(segment: Segment, *, directory: Path, inputs: str) -> SegmentDone:
    sweep = segment.sweep
    path = directory / file_name(sweep)
    found = read_points(path)
    rows: dict[int, dict[str, Any]] = (
        {} if found is None else {row["concurrency"]: row for row in found.to_pylist()}
    )
    points: dict[int, dict[str, Any]] = {}
    fresh, saved, saved_at = 0, 0, time.monotonic()
    try:
        for concurrency in segment.concurrencies:
            row = rows.get(concurrency)
            configured = configure_point(sweep, concurrency)
            key = run_key(configured, inputs=inputs, good_ttft_s=sweep.good_ttft_s)
            if row is None or row["key"] != key:
                point = simulate_point(
                    sweep,
                    concurrency,
                    configured=configured,
                    bar=None if concurrency in segment.whole else segment.bar,
                )
                row = point.cells | {"key": key}
                if row["status"] != BEHIND:
                    rows[concurrency] = row
                    fresh += 1
            points[concurrency] = {name: row.get(name) for name in _JUDGED}
            if time.monotonic() - saved_at > _SAVE_EVERY_S:
                write_points(path, list(rows.values()))
                saved, saved_at = fresh, time.monotonic()
            if segment.is_open and ends_with(list(points.values())):
                break
    finally:
        if fresh > saved:
            write_points(path, list(rows.values()))
    return SegmentDone(name=path.name, points=points, fresh=fresh)
