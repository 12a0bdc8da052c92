"""Points of one question in processes of this machine, the next one chosen as each comes back."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from typing import TYPE_CHECKING

from simulator.output.processes import begin_forked, can_fork, cores, stop_forked
from simulator.studies.sweep.chosen import ChosenPoints
from simulator.studies.sweep.planner import LONG
from simulator.studies.sweep.points import figure_of, simulate_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.studies.sweep.bar import Bar
    from simulator.studies.sweep.chosen import ChosenProgress
    from simulator.studies.sweep.planner import PointPlanner, SweepProgress
    from simulator.studies.sweep.points import Point

    Progress = SweepProgress | ChosenProgress
    Tell = Callable[[int, int, str], None]


def run_side_by_side(
    planner: PointPlanner | ChosenPoints,
    *,
    keep_records: bool = True,
    on_progress: Tell | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> dict[str, dict[int, Point]]:
    """Simulate all points of a question; by deployment and concurrency, with their records.

    A `PointPlanner` starts points from the fewest clients up, some beyond an end that is not known
    yet; those are dropped, so that the result does not depend on the number of processes.
    `ChosenPoints` come in rounds, each the most clients first.

    Parameters
    ----------
    on_progress:
        Called with (points done, points at the most or known to be worth it, what is known).
    meanwhile:
        Called once while points run in processes of their own, if they do.
    """
    found: dict[str, dict[int, Point]] = {each.sweep.label: {} for each in planner.sweeps}

    last = ""

    def tell() -> None:
        if on_progress is not None:
            done, most = planner.points()
            on_progress(done, most, last or f"{len(planner.sweeps)} deployments")

    def take(sweep: Progress, concurrency: int, point: Point) -> None:
        nonlocal last
        if point.cells["status"] == "ok":
            last = figure_of(
                sweep.sweep,
                concurrency,
                interactivity=point.cells["interactivity"],
                tput=point.cells["total_tput_per_gpu"],
            )
        found[sweep.sweep.label][concurrency] = point
        planner.take(sweep, {concurrency: point.cells})  # type: ignore[arg-type]

    def bar_of(concurrency: int) -> Bar | None:
        return planner.bar_of(concurrency) if isinstance(planner, ChosenPoints) else None

    processes = cores()
    largest = max((max(each.sweep.concurrencies) for each in planner.sweeps), default=0)
    tell()
    # what a first run or estimate loads and tabulates, processes inherit
    if isinstance(planner, ChosenPoints):
        while (lacking := planner.without_estimate()) is not None:
            each, concurrency = lacking
            take(each, concurrency, _simulate(each, concurrency, keep_records))
    if processes < 2 or largest < LONG or not can_fork():
        while (task := planner.next_point(busy=[], processes=1)) is not None:
            own, clients = task
            take(own, clients, _simulate(own, clients, keep_records, bar_of(clients)))
            tell()
    else:
        if not isinstance(planner, ChosenPoints):
            for sweep in planner.sweeps:
                first = sweep.concurrencies[0]
                take(sweep, first, _simulate(sweep, first, keep_records))
                tell()
        running: dict[Future[Point], tuple[Progress, int]] = {}
        with _forked(processes, meanwhile) as pool:
            while True:
                while len(running) <= processes:  # one more waits: none stands idle
                    task = planner.next_point(
                        busy=list(running.values()),  # type: ignore[arg-type]
                        processes=processes,
                    )
                    if task is None:
                        break
                    own, clients = task
                    bar = bar_of(clients)
                    running[_submit(pool, own, clients, keep_records, bar)] = task
                if not running:
                    break
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    take(*running.pop(future), future.result())
                tell()
    tell()
    return {
        each.sweep.label: {c: found[each.sweep.label][c] for c in each.known}
        for each in planner.sweeps
    }


def _simulate(
    sweep: Progress, concurrency: int, keep_records: bool, bar: Bar | None = None
) -> Point:
    return simulate_point(sweep.sweep, concurrency, keep_records=keep_records, bar=bar)


def _submit(
    pool: ProcessPoolExecutor,
    sweep: Progress,
    concurrency: int,
    keep_records: bool,
    bar: Bar | None,
) -> Future[Point]:
    with warnings.catch_warnings():
        # newer Pythons warn of forking beside the idle threads of the linear-algebra library
        warnings.simplefilter("ignore", DeprecationWarning)
        return pool.submit(
            simulate_point, sweep.sweep, concurrency, keep_records=keep_records, bar=bar
        )


@contextmanager
def _forked(processes: int, meanwhile: Callable[[], None] | None) -> Iterator[ProcessPoolExecutor]:
    """Processes that inherit all that is loaded; once they are, a function runs in a thread."""
    with ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("fork"),
        initializer=begin_forked,
        initargs=(os.getpid(),),
    ) as pool:
        try:
            if meanwhile is None:
                yield pool
                return
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                pool.submit(int).result()  # the first task forks all of them
            with ThreadPoolExecutor(1) as thread:
                called = thread.submit(meanwhile)
                yield pool
                called.result()
        except BaseException:
            stop_forked(pool)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
