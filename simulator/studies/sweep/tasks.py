"""The tasks of a sweep: which points run together, how many processes pay, progress."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING

from simulator.studies.sweep.executors import LocalExecutor
from simulator.studies.sweep.segments import run_segments, run_segments_elsewhere
from simulator.studies.sweep.store import file_name, shared_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from simulator.scenario.grid import SweepSettings
    from simulator.studies.sweep.executors import Executor
    from simulator.studies.sweep.planner import PointPlanner, Segment
    from simulator.studies.sweep.points import ConcurrencySweep

    Progress = Callable[[int, int, str], None]

_SEGMENTS_PER_TASK = 4
_RUNS_PER_PROCESS = 24
"""Runs that are worth the start of a process."""


def _table_key(segment: Segment) -> str:
    return segment.sweep.table_key


def _tasks(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Segments that share step-cost tables together, a few to a task."""
    for _, alike in groupby(sorted(segments, key=_table_key), key=_table_key):
        together = list(alike)
        for start in range(0, len(together), _SEGMENTS_PER_TASK):
            yield together[start : start + _SEGMENTS_PER_TASK]


def local_executor(sweeps: Sequence[ConcurrencySweep], *, workers: int | None) -> LocalExecutor:
    """As many processes as there are cores, or as are asked for, but no more than pay."""
    from joblib import cpu_count

    alike = [len(list(group)) for _, group in groupby(sorted(each.table_key for each in sweeps))]
    tasks = sum(ceil(count / _SEGMENTS_PER_TASK) for count in alike)
    most = sum(len(each.concurrencies) for each in sweeps)
    return LocalExecutor(min(workers or cpu_count(), tasks, ceil(most / _RUNS_PER_PROCESS)))


def run_points(
    planners: Sequence[PointPlanner],
    *,
    settings: SweepSettings,
    directory: Path,
    inputs: str,
    executor: Executor,
    on_progress: Progress | None,
) -> int:
    """Simulate what the files of a sweep lack, in rounds of points that can run side by side.

    Returns
    -------
    Runs that were simulated now.

    Raises
    ------
    UserError
        If other machines do not share the directory or have other code or data.
    """
    run = partial(run_segments, directory=directory, inputs=inputs)
    if executor.elsewhere:
        run = partial(
            run_segments_elsewhere,
            directory=directory,
            inputs=inputs,
            skus=settings.values["sku"],
            calibration=settings.calibration,
        )
    deployments = sum(len(planner.sweeps) for planner in planners)
    counts = [planner.points() for planner in planners]
    most = sum(total for _, total in counts)

    def tell() -> None:
        if on_progress is not None:
            done = sum(planner.points()[0] for planner in planners)
            on_progress(done, most, f"{deployments} deployments" if done else "")

    fresh = 0
    tell()
    with shared_directory(directory, inputs=inputs) if executor.elsewhere else nullcontext():
        while ready := {
            file_name(segment.sweep): (planner, sweep, segment)
            for planner in planners
            for sweep, segment in planner.segments()
        }:
            segments = [segment for _, _, segment in ready.values()]
            for task in executor.run(run, list(_tasks(segments))):
                for one in task:
                    planner, sweep, _ = ready[one.name]
                    planner.take(sweep, one.points)
                    fresh += one.fresh
                tell()
    return fresh
