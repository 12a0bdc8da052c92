"""Worker processes that end with the process that started them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
import warnings
from contextlib import contextmanager
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing.connection import Connection

Task = TypeVar("Task")
Result = TypeVar("Result")

CHECKED_EVERY_S = 0.5
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_watched: set[int] = set()


def end_with(parent: int) -> None:
    """End this process soon after another one has, even where that was killed.

    Parameters
    ----------
    parent:
        The process that started this one; nothing happens in that process itself.
    """
    if parent in _watched or os.getpid() == parent:
        return
    _watched.add(parent)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(CHECKED_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="ends with its parent").start()


def begin_forked(parent: int) -> None:
    """Prepare a forked process of a pool: it ends with its parent, which alone sees Ctrl-C."""
    gc.disable()  # it makes many objects, no cycles, and soon ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with(parent)


def cores() -> int:
    """Cores that this process may use: of its affinity, and of its container's quota."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        found = os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        found = min(found, ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no container, or none with a quota
        pass
    return max(found, 1)


def can_fork() -> bool:
    """Whether processes can inherit what this one has loaded."""
    return "fork" in multiprocessing.get_all_start_methods()


@contextmanager
def beside(calls: Sequence[Callable[[], None]]) -> Iterator[None]:
    """Make calls in processes of their own while the body of the context runs.

    The calls need not pickle, and all are over when the context ends; an error of one is raised
    there. Where the system cannot fork, this process makes them when the body is done.
    """
    if not can_fork():
        yield
        for call in calls:
            call()
        return
    context = multiprocessing.get_context("fork")
    started = []
    with warnings.catch_warnings():
        # newer Pythons warn of forking beside the idle threads of other libraries
        warnings.simplefilter("ignore", DeprecationWarning)
        for call in calls:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_tell, args=(call, sender, os.getpid()))
            process.start()
            sender.close()
            started.append((process, receiver))
    try:
        yield
        for _, receiver in started:
            error = receiver.recv()
            if error is not None:
                raise error
    except EOFError:
        raise RuntimeError("a process that drew beside this one has died") from None
    finally:
        for process, receiver in started:
            receiver.close()
            process.terminate()  # none is at work unless something failed
            process.join()


def _tell(call: Callable[[], None], sender: Connection, parent: int) -> None:
    begin_forked(parent)
    try:
        call()
        sender.send(None)
    except Exception as error:  # for the process that waits to raise
        sender.send(error)


def stop_forked(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool at once, whatever they are at: nobody wants their results."""
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.terminate()
    pool.shutdown(wait=False, cancel_futures=True)


def run_in_processes(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    processes: int,
    ordered: bool = True,
) -> Iterator[Result]:
    """Results of a function on each task, as they come; workers end with this process.

    Parameters
    ----------
    processes:
        How many; one alone runs in this process.
    ordered:
        Whether results come in the order of the tasks, else as they finish.
    """
    if processes == 1 or len(tasks) < 2:
        yield from map(function, tasks)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(
        n_jobs=processes,
        return_as="generator" if ordered else "generator_unordered",
        batch_size=1,
    )
    run: Any = delayed(partial(_run, function, os.getpid()))
    try:
        yield from parallel(run(task) for task in tasks)
    except KeyboardInterrupt:
        # joblib's threads find their tasks cancelled and would print a traceback each
        threading.excepthook = lambda _: None
        raise


def _run(function: Callable[[Task], Result], parent: int, task: Task) -> Result:
    end_with(parent)
    return function(task)
