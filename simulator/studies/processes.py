"""Calls side by side in processes that inherit what this one has loaded and tabulated."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from simulator.output.processes import begin_forked, stop_forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Result = TypeVar("Result")

_inherited: list[Callable[[], Any]] = []


def can_fork() -> bool:
    """Whether processes can inherit what this one has loaded."""
    return "fork" in multiprocessing.get_all_start_methods()


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
    processes = min(workers or os.cpu_count() or 1, len(calls))
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
