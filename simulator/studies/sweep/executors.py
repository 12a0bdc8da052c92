"""Where the tasks of a sweep run: processes of this machine, or a cluster that exists already.

A task goes out as a call of a function that pickles and comes back as a few numbers; what it
found stands in files by then. So an executor needs no more than to run calls and to hand back
their results as they come, and a call that runs twice, since a worker was lost, does no harm.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from simulator.output.processes import can_fork, run_in_processes
from simulator.studies.processes import ForkedPool
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distributed import Client

Task = TypeVar("Task")
Result = TypeVar("Result")

ExecutorName = Literal["local", "dask"]
EXECUTORS: tuple[ExecutorName, ...] = ("local", "dask")
CONNECT_WITHIN_S = 15.0


class Executor(Protocol):
    """Runs the tasks of a sweep.

    Attributes
    ----------
    elsewhere:
        Whether tasks may run on other machines, so that code and files there have to be checked.
    """

    elsewhere: bool

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Results of ``function`` on each task, in the order in which they finish."""
        ...

    def close(self) -> None:
        """Let go of what runs the tasks; those that run elsewhere go on serving others."""
        ...


class LocalExecutor:
    """Processes of this machine; one alone runs in this process.

    They are forked, so that they inherit what is loaded, and serve all calls till the executor is
    closed, so that they keep what they tabulate; where that cannot be, joblib starts them.

    Parameters
    ----------
    processes:
        How many. [processes]
    """

    elsewhere = False

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool = ForkedPool(processes, meanwhile=load_table_writers)

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Executor.run`."""
        if self._processes > 1 and can_fork():
            yield from self._pool.run(function, tasks)
            return
        yield from run_in_processes(function, tasks, processes=self._processes, ordered=False)

    def close(self) -> None:
        """End the processes."""
        self._pool.close()


def load_table_writers() -> None:
    """Import what tables and pictures of runs need, which takes a while, ahead of its use."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401


class DaskExecutor:
    """Workers of a Dask cluster that runs already.

    Parameters
    ----------
    address:
        Of its scheduler, such as ``tcp://10.0.0.1:8786``, or a ``scheduler.json`` file.

    Notes
    -----
    The scheduler gives the tasks of a worker that is lost to another one; a task that has taken
    several workers with it (``distributed.scheduler.allowed-failures``, 3) fails the sweep.
    """

    elsewhere = True

    def __init__(self, address: str) -> None:
        self._address = address

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Executor.run`.

        Raises
        ------
        UserError
            If the package is not installed, the scheduler does not answer or has no worker, or
            a task took its workers with it.
        """
        try:
            from distributed import Client, KilledWorker, as_completed
        except ImportError:
            raise UserError(
                "executor dask needs the package distributed: pip install 'forecurve[dask]'"
            ) from None
        with _connection(Client, self._address) as client:
            # the same call may have to run again: never take its result from a cache
            futures = client.map(function, tasks, pure=False)
            try:
                for future in as_completed(futures, loop=client.loop):
                    yield future.result()
                    future.release()
            except KilledWorker as error:
                raise UserError(
                    f"a task was given up after several workers of {self._address} died with "
                    f"it: {error}; finished runs are kept, and the same command goes on there"
                ) from None
            finally:
                client.cancel(futures)

    def close(self) -> None:
        """Nothing: the cluster is not this executor's."""


@contextmanager
def _connection(client_class: Callable[..., Client], address: str) -> Iterator[Client]:
    """A client of a cluster that has at least one worker.

    Raises
    ------
    UserError
        If there is none at the address.
    """
    place = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    try:
        client = client_class(**place, timeout=CONNECT_WITHIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"address {address}: no Dask scheduler answers there ({error}); "
            "start one with dask scheduler"
        ) from None
    with client:
        if not client.nthreads():
            raise UserError(
                f"address {address}: the Dask scheduler has no worker; "
                f"start some with dask worker {address} --nthreads 1 --nworkers -1"
            )
        yield client


def cluster_executor(*, executor: ExecutorName | str, address: str | None) -> Executor | None:
    """The executor of a name, or ``None`` for this machine's processes.

    Raises
    ------
    UserError
        If the name is unknown, or an address is missing or has nothing to belong to.
    """
    if executor not in EXECUTORS:
        raise UserError(f"executor is '{executor}'; it must be one of {', '.join(EXECUTORS)}")
    if executor == "local":
        if address is not None:
            raise UserError(
                f"address {address} belongs to a cluster; name its kind with --executor dask"
            )
        return None
    if address is None:
        raise UserError(
            "executor dask needs the address of its scheduler: --address tcp://HOST:8786"
        )
    return DaskExecutor(address)
