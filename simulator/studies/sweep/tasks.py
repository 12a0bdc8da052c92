"""The tasks of a sweep: which points run together, how many processes pay, progress."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING, Any

from simulator.output.processes import cores
from simulator.studies.sweep.executors import LocalExecutor
from simulator.studies.sweep.points import figure_of
from simulator.studies.sweep.segments import run_segments, run_segments_elsewhere
from simulator.studies.sweep.store import file_name, shared_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from simulator.scenario.grid import SweepSettings
    from simulator.studies.sweep.chosen import ChosenPoints
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
    """Segments that share step-cost tables together, a few to a task.

    Single points come alone, the longest first, so that none is left over at the end.
    """
    single = [segment for segment in segments if not segment.is_open]
    for segment in sorted(single, key=lambda each: -sum(each.concurrencies)):
        yield [segment]
    ascending = sorted((each for each in segments if each.is_open), key=_table_key)
    for _, alike in groupby(ascending, key=_table_key):
        together = list(alike)
        for start in range(0, len(together), _SEGMENTS_PER_TASK):
            yield together[start : start + _SEGMENTS_PER_TASK]


def _figure(sweep: ConcurrencySweep, points: Mapping[int, Mapping[str, Any]]) -> str:
    """One of some points as a first figure."""
    for concurrency, cells in points.items():
        if cells["status"] == "ok":
            return figure_of(
                sweep,
                concurrency,
                interactivity=cells["interactivity"],
                tput=cells["total_tput_per_gpu"],
            )
    return ""


def local_executor(sweeps: Sequence[ConcurrencySweep], *, workers: int | None) -> LocalExecutor:
    """As many processes as there are cores, or as are asked for, but no more than pay."""
    alike = [len(list(group)) for _, group in groupby(sorted(each.table_key for each in sweeps))]
    tasks = sum(ceil(count / _SEGMENTS_PER_TASK) for count in alike)
    most = sum(len(each.concurrencies) for each in sweeps)
    return LocalExecutor(min(workers or cores(), tasks, ceil(most / _RUNS_PER_PROCESS)))


def run_points(
    planners: Sequence[PointPlanner | ChosenPoints],
    *,
    settings: Sequence[SweepSettings],
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
            skus=[
                sku
                for each in settings
                for load in each.loads()
                for sku in (load.sku, load.prefill_sku)
                if sku is not None
            ],
            calibration=settings[0].calibration,
        )
    deployments = sum(len(planner.sweeps) for planner in planners)
    last = ""

    def tell() -> None:
        if on_progress is not None:
            counts = [planner.points() for planner in planners]
            done, most = (sum(each) for each in zip(*counts, strict=True))
            on_progress(done, most, last or f"{deployments} deployments")

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
                    planner.take(sweep, one.points)  # type: ignore[arg-type]
                    last = _figure(sweep.sweep, one.points) or last
                    fresh += one.fresh
                tell()
    return fresh
