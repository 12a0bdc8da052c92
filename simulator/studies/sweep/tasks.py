"""The tasks of a sweep: which ladders run together, how many processes pay, progress."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING

from simulator.studies.sweep.executors import LocalExecutor
from simulator.studies.sweep.ladders import climb, climb_elsewhere
from simulator.studies.sweep.store import shared_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from simulator.scenario.grid import SweepSettings
    from simulator.studies.sweep.executors import Executor
    from simulator.studies.sweep.ladders import Ladder, LadderDone

    Progress = Callable[[int, int, str], None]

_LADDERS_PER_TASK = 4
_RUNS_PER_PROCESS = 24
"""Runs that are worth the start of a process."""


def _tasks(ladders: Sequence[Ladder]) -> Iterator[list[Ladder]]:
    """Ladders that share step-cost tables together, a few to a task."""
    for _, alike in groupby(
        sorted(ladders, key=lambda each: each.table_key), key=lambda each: each.table_key
    ):
        together = list(alike)
        for start in range(0, len(together), _LADDERS_PER_TASK):
            yield together[start : start + _LADDERS_PER_TASK]


def local_executor(ladders: Sequence[Ladder], *, workers: int | None) -> LocalExecutor:
    """As many processes as there are cores, or as are asked for, but no more than pay."""
    from joblib import cpu_count

    tasks = sum(1 for _ in _tasks(ladders))
    most = sum(len(ladder.steps) for ladder in ladders)
    return LocalExecutor(min(workers or cpu_count(), tasks, ceil(most / _RUNS_PER_PROCESS)))


def run_ladders(
    ladders: Sequence[Ladder],
    *,
    settings: SweepSettings,
    directory: Path,
    inputs: str,
    executor: Executor,
    on_progress: Progress | None,
) -> Iterator[LadderDone]:
    """Simulate what the files of ladders lack; what became of each, as they come.

    Raises
    ------
    UserError
        If other machines do not share the directory or have other code or data.
    """
    steps = {ladder.file_name: len(ladder.steps) for ladder in ladders}
    most = sum(steps.values())
    run = partial(climb, directory=directory, inputs=inputs)
    if executor.elsewhere:
        run = partial(
            climb_elsewhere,
            directory=directory,
            inputs=inputs,
            skus=settings.values["sku"],
            calibration=settings.calibration,
        )
    runs = 0
    if on_progress is not None:
        on_progress(0, most, "")
    with shared_directory(directory, inputs=inputs) if executor.elsewhere else nullcontext():
        for task in executor.run(run, list(_tasks(ladders))):
            yield from task
            runs += sum(steps[ladder.name] for ladder in task)
            if on_progress is not None:
                on_progress(runs, most, f"{len(ladders)} ladders")
