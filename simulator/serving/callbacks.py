"""What a worker reports: runs of steps, and what became of its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.serving.rank import Rank
    from simulator.serving.request_state import RequestState
    from simulator.serving.worker import Worker


class StepRun(NamedTuple):
    """A run of engine steps, as handed to ``on_step``.

    Attributes
    ----------
    worker:
        Index of the worker.
    start_s, end_s:
        Start of the first and end of the last step. [s]
    steps:
        Steps of the run; 1 if there is any prefill.
    prefill_tokens:
        Prompt tokens computed by each rank. [tokens]
    decode_requests:
        Requests that each rank decoded, 0 where its batch stood still. [requests]
    waiting:
        Requests queued at each rank. [requests]
    used_blocks:
        Blocks in use on each rank in the last step. [blocks]
    """

    worker: int
    start_s: float
    end_s: float
    steps: int
    prefill_tokens: tuple[int, ...]
    decode_requests: tuple[int, ...]
    waiting: tuple[int, ...]
    used_blocks: tuple[int, ...]


class WorkerEvents:
    """What a worker tells its surroundings; the defaults suit a worker on its own.

    Parameters
    ----------
    on_finish:
        Called with a request whose last token is out.
    on_prefilled:
        Called with a request whose prompt is done, the worker and the rank, where another
        worker is to decode it; its blocks stay held until `Worker.release`.
    on_reserved:
        Called with a request that has got its blocks here, the worker and the rank, where its
        KV entries come from another worker; `Worker.arrive` is to be called once they have.
    on_step:
        Called after every run of steps, for logs and traces.
    """

    __slots__ = ("on_finish", "on_prefilled", "on_reserved", "on_step")

    def __init__(
        self,
        *,
        on_finish: Callable[[RequestState], None],
        on_prefilled: Callable[[RequestState, Worker, Rank], None] | None = None,
        on_reserved: Callable[[RequestState, Worker, Rank], None] | None = None,
        on_step: Callable[[StepRun], None] | None = None,
    ) -> None:
        self.on_finish = on_finish
        self.on_prefilled = on_prefilled
        self.on_reserved = on_reserved
        self.on_step = on_step
