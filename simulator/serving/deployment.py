"""A deployment under load: the one call that runs the event simulation."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from simulator.serving.callbacks import WorkerEvents
from simulator.serving.client import Load, build_clients
from simulator.serving.clock import ARRIVAL, Clock
from simulator.serving.front_end import FrontEnd
from simulator.serving.kv_transfer import FirstToken, KvTransfers, Transfer, TransferLink
from simulator.serving.records import Records
from simulator.serving.request_state import RequestState
from simulator.serving.router import Router, WorkerPool
from simulator.serving.worker import Worker
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from simulator.serving.callbacks import StepRun
    from simulator.serving.kv_pool import KvPoolSpec
    from workloads.requests.request import Request

RECORDS_PER_CHUNK = 1 << 12
"""Finished requests that are turned into arrays at a time: few, so that their memory is reused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What serves the requests: aggregated workers, or a prefill and a decode pool.

    Parameters
    ----------
    aggregated:
        Workers that prefill and decode.
    prefill, decode:
        Workers that only prefill, and those that decode what the first have prefilled.
    transfer:
        How KV entries get from one pool to the other.
    first_token_at:
        Who streams the first token: the prefill worker when the prompt is done, or the decode
        worker when the request joins its batch.
    front_end:
        What a request passes through before it is routed.

    Raises
    ------
    UserError
        If the pools are neither the one nor the other.
    """

    aggregated: WorkerPool | None = None
    prefill: WorkerPool | None = None
    decode: WorkerPool | None = None
    transfer: TransferLink | None = None
    first_token_at: FirstToken = "prefill"
    front_end: FrontEnd = field(default_factory=FrontEnd)

    def __post_init__(self) -> None:
        split = (self.prefill, self.decode, self.transfer)
        if self.aggregated is not None:
            valid = all(part is None for part in split)
        else:
            valid = all(part is not None for part in split)
        if not valid:
            raise UserError(
                "a deployment has either an aggregated pool, or a prefill pool, a decode pool "
                "and the transfer link between them"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A look at a run on its way.

    Parameters
    ----------
    after:
        Finished requests after which it is taken; a run of no more is not looked at. [requests]
    look:
        Called once with the records of what has finished; what it raises ends the run.
    """

    after: int
    look: Callable[[Records], None]


def run_deployment(
    *,
    deployment: Deployment,
    requests: Iterable[Request],
    load: Load,
    step_by_step: bool = False,
    on_step: Callable[[StepRun], None] | None = None,
    on_transfer: Callable[[Transfer], None] | None = None,
    sink: Callable[[Records], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Records:
    """Serve all requests and return what happened to each.

    Parameters
    ----------
    deployment:
        What serves the requests. Workers are numbered from 0, prefill before decode.
    requests:
        The workload; an iterator is read as it is sent. All randomness (lengths, acceptance,
        arrivals) was drawn before, so the run itself is deterministic.
    load:
        When the requests are sent.
    step_by_step:
        Wake after every engine step; same results, slower.
    on_step, on_transfer:
        Called after every run of steps and after every KV transfer.
    sink:
        Takes records in chunks as requests finish, so that memory stays bounded; the returned
        records are then empty.
    checkpoint:
        Looks at the run on its way; not beside a ``sink``, which has the records.

    Returns
    -------
    Records
        One row per request, in the order of their last tokens.

    Raises
    ------
    UserError
        If a request could never be served or its arrival is missing.
    """
    simulation = Simulation(
        deployment=deployment,
        requests=requests,
        load=load,
        step_by_step=step_by_step,
        on_step=on_step,
        on_transfer=on_transfer,
        sink=sink,
        checkpoint=checkpoint,
    )
    return simulation.run()


class Simulation:
    """Clients, routers, workers and transfers of one run, wired together.

    Takes the parameters of `run_deployment`, which is all that most callers need.

    Attributes
    ----------
    clock:
        The event queue.
    workers:
        All workers by index, prefill before decode.
    """

    def __init__(
        self,
        *,
        deployment: Deployment,
        requests: Iterable[Request],
        load: Load,
        step_by_step: bool = False,
        on_step: Callable[[StepRun], None] | None = None,
        on_transfer: Callable[[Transfer], None] | None = None,
        sink: Callable[[Records], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        entry = deployment.prefill or deployment.aggregated
        last = deployment.decode or deployment.aggregated
        assert entry is not None
        assert last is not None
        self.clock = Clock()
        self._front_end = deployment.front_end
        self._has_front_end = deployment.front_end != FrontEnd()
        self._collector = _Collector(sink)
        self._checkpoint = checkpoint
        self._until_look = 0 if checkpoint is None else checkpoint.after
        self._in_flight = 0
        self._step_by_step = step_by_step
        self._entry_pool = _lane_pool(entry)
        self._last_pool = _lane_pool(last)
        self._longest_tokens = self._last_pool.longest_tokens
        self._entry_queries = entry.cost.queries_per_request
        self._last_queries = last.cost.queries_per_request
        self._total = entry.workers
        self._splits = deployment.decode is not None
        if not self._splits:
            self.workers = self._build(
                entry, 0, WorkerEvents(on_finish=self._finished, on_step=on_step)
            )
        else:
            assert deployment.transfer is not None
            self._total += last.workers
            transfers = KvTransfers(
                clock=self.clock,
                link=deployment.transfer,
                queries_per_request=self._last_queries,
                first_token_at=deployment.first_token_at,
                on_transfer=on_transfer,
            )
            prefill = WorkerEvents(
                on_finish=self._finished, on_prefilled=transfers.prefilled, on_step=on_step
            )
            decode = WorkerEvents(
                on_finish=self._finished, on_reserved=transfers.reserved, on_step=on_step
            )
            self.workers = self._build(entry, 0, prefill)
            decoders = self._build(last, entry.workers, decode)
            transfers.router = Router(pool=last, workers=decoders)
            self.workers += decoders
        self._router = Router(pool=entry, workers=self.workers[: entry.workers])
        self._clients = build_clients(
            clock=self.clock,
            requests=requests,
            load=load,
            send=self._send,
            pool_block_tokens=self._entry_pool.block_tokens,
            longest_tokens=min(self._longest_tokens, self._entry_pool.longest_tokens),
        )

    def run(self) -> Records:
        """Serve all requests; see `run_deployment`.

        Raises
        ------
        RuntimeError
            If requests are left that no event will ever serve, which would be a defect here.
        """
        self._clients.start()
        with _without_cycle_collection():
            self.clock.run()
        if self._in_flight and not self._clients.cuts_off:
            raise RuntimeError(f"{self._in_flight} requests are stuck and will never finish")
        return self._collector.close()

    def _build(self, pool: WorkerPool, first: int, events: WorkerEvents) -> list[Worker]:
        return [
            Worker(
                index=index,
                clock=self.clock,
                completion_priority=1 + index,
                decision_priority=1 + self._total + index,
                attention_dp=pool.layout.attention_dp,
                stages=pool.layout.pp,
                pool=_lane_pool(pool),
                cost=pool.cost,
                engine=pool.engine,
                events=events,
                step_by_step=self._step_by_step,
            )
            for index in range(first, first + pool.workers)
        ]

    def _send(self, request: Request, at_s: float | None = None) -> None:
        now = self.clock.now
        sent_s = now if at_s is None else at_s
        output_tokens = request.output_tokens + self._last_queries - 1
        if request.prompt_tokens + output_tokens > self._longest_tokens:
            self._last_pool.check_fits(
                prompt_tokens=request.prompt_tokens, output_tokens=output_tokens
            )
        sequence = RequestState(request, sent_s, self._entry_queries)
        if self._splits:
            self._entry_pool.check_fits(prompt_tokens=request.prompt_tokens, output_tokens=1)
            sequence.final_tokens = request.prompt_tokens + 1
        self._in_flight += 1
        if self._has_front_end:
            arrival_s = sent_s + self._front_end.delay_s(request.prompt_tokens)
        elif sent_s > now:
            arrival_s = sent_s
        else:
            self._arrive(sequence)
            return
        self.clock.at(arrival_s, ARRIVAL, lambda _event: self._arrive(sequence))

    def _arrive(self, sequence: RequestState) -> None:
        worker, rank = self._router.route(sequence.request)
        worker.submit(sequence, rank)

    def _finished(self, sequence: RequestState) -> None:
        self._in_flight -= 1
        if sequence.request.index >= 0:  # below zero: warm-up
            self._collector.add(sequence)
            if self._until_look:
                self._until_look -= 1
                if not self._until_look and self._checkpoint is not None:
                    self._checkpoint.look(self._collector.so_far())
        self._clients.finished(sequence.request)


def _lane_pool(pool: WorkerPool) -> KvPoolSpec:
    """The share of a rank's KV pool that one micro-batch in flight has."""
    stages = pool.layout.pp
    spec = pool.kv_pool
    if stages == 1:
        return spec
    slots = spec.request_slots
    return replace(
        spec,
        total_blocks=max(spec.total_blocks // stages, 1),
        request_slots=None if slots is None else max(slots // stages, 1),
    )


@contextmanager
def _without_cycle_collection() -> Iterator[None]:
    """Keep Python from searching for reference cycles: a run makes many objects and no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Collector:
    """Turns finished sequences into records, a chunk at a time."""

    def __init__(self, sink: Callable[[Records], None] | None) -> None:
        self._sink = sink
        self._finished: list[RequestState] = []
        self._chunks: list[Records] = []

    def add(self, sequence: RequestState) -> None:
        self._finished.append(sequence)
        if len(self._finished) >= RECORDS_PER_CHUNK:
            self._flush()

    def so_far(self) -> Records:
        return Records.concatenate([*self._chunks, _records(self._finished)])

    def close(self) -> Records:
        if self._finished:
            self._flush()
        if not self._chunks:
            return _records([])
        return self._chunks[0] if len(self._chunks) == 1 else Records.concatenate(self._chunks)

    def _flush(self) -> None:
        records = _records(self._finished)
        self._finished = []
        if self._sink is None:
            self._chunks.append(records)
        else:
            self._sink(records)


def _records(rows: list[RequestState]) -> Records:
    requests = [row.request for row in rows]
    return Records(
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
        loaded_tokens=np.array([row.loaded_tokens for row in rows], dtype=np.int64),
        drive_tokens=np.array([row.drive_tokens for row in rows], dtype=np.int64),
        preemptions=np.array([row.preemptions for row in rows], dtype=np.int32),
        accepted_drafts=np.array(
            [r.output_tokens - 1 - r.decode_steps for r in requests], dtype=np.int64
        ),
    )
