"""Calls side by side in processes that inherit what this one has loaded and tabulated."""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from simulator.output.processes import begin_forked, can_fork, cores, stop_forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

Task = TypeVar("Task")
Result = TypeVar("Result")

_inherited: list[Callable[[], Any]] = []


class ForkedPool:
    """Processes that inherit what this one has loaded, and keep what they tabulate till closed.

    Use as a context manager.

    Parameters
    ----------
    processes:
        How many; they start with the first call. [processes]
    meanwhile:
        Called once in a thread of this process when they have started: it waits for them.
    """

    def __init__(self, processes: int, *, meanwhile: Callable[[], None] | None = None) -> None:
        self._processes = processes
        self._meanwhile = meanwhile
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; another call starts new ones."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Results of a function on each task, in their order; tasks and results must pickle."""
        with warnings.catch_warnings():
            # newer Pythons warn of forking beside the idle threads of the linear-algebra library
            warnings.simplefilter("ignore", DeprecationWarning)
            pool = self._started()
            try:
                yield from pool.map(function, tasks)
            except BaseException:
                stop_forked(pool)
                self._pool = None
                raise

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._processes,
                mp_context=multiprocessing.get_context("fork"),
                initializer=begin_forked,
                initargs=(os.getpid(),),
            )
            self._pool.submit(int).result()  # the first task forks all of them
            if self._meanwhile is not None:
                threading.Thread(target=self._meanwhile, daemon=True).start()
                self._meanwhile = None
        return self._pool


def side_by_side(
    calls: Sequence[Callable[[], Result]], *, workers: int | None = None
) -> Iterator[Result]:
    """Results of calls, in their order.

    The calls need not pickle, their results must. One after another in this process where the
    system cannot fork, or one process is all there is.

    Parameters
    ----------
    workers:
        Processes; ``None``: one per core. [processes]
    """
    processes = min(workers or cores(), len(calls))
    if processes < 2 or not can_fork():
        for call in calls:
            yield call()
        return
    _inherited[:] = calls
    try:
        with warnings.catch_warnings():
            # newer Pythons warn of forking beside the idle threads of the linear-algebra library
            warnings.simplefilter("ignore", DeprecationWarning)
            with ProcessPoolExecutor(
                processes,
                mp_context=multiprocessing.get_context("fork"),
                initializer=begin_forked,
                initargs=(os.getpid(),),
            ) as pool:
                try:
                    yield from pool.map(_call, range(len(calls)))
                except BaseException:
                    stop_forked(pool)
                    raise
    finally:
        _inherited.clear()


def _call(index: int) -> Any:
    return _inherited[index]()
