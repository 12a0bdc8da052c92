"""A deployment under load: the one call that runs the event simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.client import Client, Load
from simulator.clock import Clock
from simulator.cluster import Router, WorkerPool
from simulator.engine import StepRun, Worker
from simulator.rank import Sequence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from workloads.requests import Request

_CHUNK_RECORDS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What serves the requests.

    Parameters
    ----------
    aggregated:
        Workers that prefill and decode.
    """

    aggregated: WorkerPool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordColumns:
    """One row per finished request, in the order of their last tokens.

    Attributes
    ----------
    request:
        Index in the workload.
    worker, rank:
        Where it ran.
    arrival_s, scheduled_s, first_token_s, finish_s:
        Sent; first admitted; first and last token out. [s]
    prompt_tokens, output_tokens:
        Lengths. [tokens]
    cached_tokens:
        Prompt tokens found in a prefix cache at the first admission. [tokens]
    preemptions:
        Times its KV cache was dropped and recomputed.
    accepted_drafts:
        Draft tokens that verification accepted. [tokens]
    """

    request: npt.NDArray[np.int64]
    worker: npt.NDArray[np.int32]
    rank: npt.NDArray[np.int32]
    arrival_s: npt.NDArray[np.float64]
    scheduled_s: npt.NDArray[np.float64]
    first_token_s: npt.NDArray[np.float64]
    finish_s: npt.NDArray[np.float64]
    prompt_tokens: npt.NDArray[np.int64]
    output_tokens: npt.NDArray[np.int64]
    cached_tokens: npt.NDArray[np.int64]
    preemptions: npt.NDArray[np.int32]
    accepted_drafts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.request)


def run_deployment(
    *,
    deployment: Deployment,
    requests: Iterable[Request],
    load: Load,
    step_by_step: bool = False,
    on_step: Callable[[StepRun], None] | None = None,
    sink: Callable[[RecordColumns], None] | None = None,
) -> RecordColumns:
    """Serve all requests and return what happened to each.

    Parameters
    ----------
    deployment:
        What serves the requests.
    requests:
        The workload; an iterator is consumed as it is sent. All randomness (lengths,
        acceptance, arrivals) was drawn before, so the run itself is deterministic.
    load:
        When the requests are sent.
    step_by_step:
        Wake after every engine step; same results, slower.
    on_step:
        Called after every run of steps.
    sink:
        Takes records in chunks as they come, so that memory stays bounded; the returned
        columns are then empty.

    Raises
    ------
    UserError
        If a request could never be served or its arrival is missing.
    """
    clock = Clock()
    pool = deployment.aggregated
    collector = _Collector(sink)

    def finish(sequence: Sequence, _now: float) -> None:
        collector.add(sequence)
        client.finished()

    def send(request: Request) -> None:
        kv_pool.check_fits(
            prompt_tokens=request.prompt_tokens, output_tokens=request.output_tokens + queries - 1
        )
        worker, rank = router.route()
        worker.submit(Sequence(request, clock.now, queries), rank)

    kv_pool = pool.kv_pool
    queries = pool.cost.queries_per_request
    workers = [
        Worker(
            index=index,
            clock=clock,
            completion_priority=1 + index,
            decision_priority=1 + pool.workers + index,
            ranks=pool.layout.attention_dp,
            pool=pool.kv_pool,
            cost=pool.cost,
            settings=pool.settings,
            on_finish=finish,
            step_by_step=step_by_step,
            on_step=on_step,
        )
        for index in range(pool.workers)
    ]
    router = Router(pool=pool, workers=workers)
    client = Client(clock=clock, requests=iter(requests), load=load, send=send)
    client.start()
    clock.run()
    return collector.close()


class _Collector:
    """Turns finished sequences into columns, a chunk at a time."""

    def __init__(self, sink: Callable[[RecordColumns], None] | None) -> None:
        self._sink = sink
        self._finished: list[Sequence] = []
        self._chunks: list[RecordColumns] = []

    def add(self, sequence: Sequence) -> None:
        self._finished.append(sequence)
        if len(self._finished) >= _CHUNK_RECORDS:
            self._flush()

    def close(self) -> RecordColumns:
        self._flush()
        if not self._chunks:
            return _columns([])
        if len(self._chunks) == 1:
            return self._chunks[0]
        return RecordColumns(
            **{
                name: np.concatenate([getattr(chunk, name) for chunk in self._chunks])
                for name in RecordColumns.__slots__
            }
        )

    def _flush(self) -> None:
        if self._finished:
            columns = _columns(self._finished)
            self._finished = []
            if self._sink is None:
                self._chunks.append(columns)
            else:
                self._sink(columns)


def _columns(rows: list[Sequence]) -> RecordColumns:
    requests = [row.request for row in rows]
    return RecordColumns(
        request=np.array([r.index for r in requests], dtype=np.int64),
        worker=np.array([row.worker for row in rows], dtype=np.int32),
        rank=np.array([row.rank for row in rows], dtype=np.int32),
        arrival_s=np.array([row.arrival_s for row in rows], dtype=np.float64),
        scheduled_s=np.array([row.scheduled_s for row in rows], dtype=np.float64),
        first_token_s=np.array([row.first_token_s for row in rows], dtype=np.float64),
        finish_s=np.array([row.finish_s for row in rows], dtype=np.float64),
        prompt_tokens=np.array([r.prompt_tokens for r in requests], dtype=np.int64),
        output_tokens=np.array([r.output_tokens for r in requests], dtype=np.int64),
        cached_tokens=np.array([row.cached_tokens for row in rows], dtype=np.int64),
        preemptions=np.array([row.preemptions for row in rows], dtype=np.int32),
        accepted_drafts=np.array(
            [r.output_tokens - 1 - r.decode_steps for r in requests], dtype=np.int64
        ),
    )
