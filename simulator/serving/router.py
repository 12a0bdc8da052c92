"""Pools of identical workers and the router in front of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.serving.kv_pool import KvPoolSpec
    from simulator.serving.rank import Rank
    from simulator.serving.scheduler import RankRouting, Routing, ServingEngine
    from simulator.serving.step_cost import StepCost
    from simulator.serving.worker import Worker
    from workloads.layout import Layout
    from workloads.requests.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPool:
    """Identical workers behind one router.

    Parameters
    ----------
    layout:
        Parallel layout of one worker; it has ``layout.attention_dp`` ranks.
    engine:
        The serving engine with its settings.
    kv_pool:
        KV pool of one rank.
    cost:
        Seconds of a step of one worker.
    workers:
        Number of workers.
    routing:
        How requests are spread over the workers.
    rank_routing:
        How a worker spreads its requests over its attention ranks; ``None`` is the engine's own
        way (`ServingEngine.rank_routing`).

    Raises
    ------
    UserError
        If there is no worker.
    """

    layout: Layout
    engine: ServingEngine
    kv_pool: KvPoolSpec
    cost: StepCost
    workers: int = 1
    routing: Routing = "round_robin"
    rank_routing: RankRouting | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UserError(f"workers is {self.workers}; a pool needs at least one worker")


class Router:
    """Picks the worker and the attention rank of a request; ties go to the lowest index.

    ``round_robin`` takes turns, ``least_loaded`` picks the fewest requests (queued and running).
    ``kv_aware`` picks the least work in blocks, as Dynamo's KV router does: prompt blocks that
    are neither cached there nor computed yet, the request's own and the queue's, plus the
    blocks of the decode batch. ``session`` always takes a conversation to the same place, picked
    by a hash of its identity, as vllm-router and SGLang's router do by consistent hashing of
    ``X-Session-ID``: affinity, whatever the load. Requests without a conversation are hashed by
    their own number.

    Between ranks there are three more. ``least_loaded_rotating`` is vLLM's balancer: the fewest
    requests, each that waits counted up to four times on a rank whose KV pool is more than half
    full; the search starts behind the rank chosen last. ``least_requests`` is ATOM's: the fewest
    requests, then the fewest prompt tokens among them, then in turn. ``session_balanced`` keeps a
    conversation where its first request went, the rank with the fewest requests at that time:
    SGLang's router under ``cache_aware``, whose later turns follow their prefix.
    """

    def __init__(self, *, pool: WorkerPool, workers: Sequence[Worker]) -> None:
        self.workers = workers
        self.routing = pool.routing
        self.rank_routing = pool.rank_routing or pool.engine.rank_routing
        self._next_worker = 0
        self._next_rank = [0] * len(workers)
        self._homes: dict[tuple[int, int], int] = {}

    def route(self, request: Request) -> tuple[Worker, Rank]:
        """The worker and the rank that serve a request."""
        workers = self.workers
        spread = session_hash(request) if "session" in (self.routing, self.rank_routing) else 0
        index = 0
        if len(workers) > 1:
            if self.routing == "round_robin":
                index = self._next_worker
                self._next_worker = (index + 1) % len(workers)
            elif self.routing == "least_loaded":
                loads = [worker.total_load for worker in workers]
                index = loads.index(min(loads))
            elif self.routing == "session":
                index = spread % len(workers)
            else:
                index = min(
                    range(len(workers)),
                    key=lambda i: min(_work_blocks(rank, request) for rank in workers[i].ranks),
                )
        worker = workers[index]
        ranks = worker.ranks
        if len(ranks) == 1:
            return worker, ranks[0]
        if self.rank_routing == "round_robin":
            position = self._next_rank[index]
            self._next_rank[index] = (position + 1) % len(ranks)
            return worker, ranks[position]
        if self.rank_routing == "least_loaded":
            return worker, ranks[worker.loads.index(min(worker.loads))]
        if self.rank_routing == "session":
            return worker, ranks[spread // len(workers) % len(ranks)]
        if self.rank_routing == "session_balanced":
            return worker, ranks[self._home(request, index)]
        if self.rank_routing == "kv_aware":
            return worker, min(ranks, key=lambda rank: _work_blocks(rank, request))
        scores: list[float]
        if self.rank_routing == "least_requests":
            least = min(worker.loads)
            scores = [
                float(tokens) if load == least else float("inf")
                for load, tokens in zip(worker.loads, worker.prompt_loads, strict=True)
            ]
        else:
            scores = [
                _vllm_score(rank, load, worker)
                for rank, load in zip(ranks, worker.loads, strict=True)
            ]
        position = _first_least(scores, self._next_rank[index])
        self._next_rank[index] = (position + 1) % len(ranks)
        return worker, ranks[position]

    def _home(self, request: Request, index: int) -> int:
        """Rank of a conversation: the least loaded when its first request came, then the same."""
        loads = self.workers[index].loads
        position = _first_least([float(load) for load in loads], self._next_rank[index])
        home = self._homes.setdefault((index, request.session), position)
        if home == position:
            self._next_rank[index] = (position + 1) % len(loads)
        return home


def _first_least(scores: Sequence[float], start: int) -> int:
    """Position of the least score, searched in turn from a start."""
    least = min(scores)
    count = len(scores)
    return next(i % count for i in range(start, start + count) if scores[i % count] == least)


def _vllm_score(rank: Rank, load: int, worker: Worker) -> float:
    """Requests of a rank, those that wait weighted by how full its KV pool is."""
    waiting = len(rank.waiting) + len(rank.incoming)
    if not waiting:
        return float(load)
    used = rank.used_blocks(worker.current_step() - rank.lag) / rank.pool.total_blocks
    return load + waiting * 6.0 * max(0.0, used - 0.5)


def session_hash(request: Request) -> int:
    """A number that a request shares with all others of its conversation, spread evenly.

    The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    value = (request.session if request.session >= 0 else ~request.index) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


_MASK = (1 << 64) - 1


def _work_blocks(rank: Rank, request: Request) -> float:
    """Blocks that a rank would have to compute or read for its requests and this one."""
    tokens = float(request.prompt_tokens)
    if rank.cache is not None and request.block_hashes:
        tokens -= rank.cache.match(request, request.prompt_tokens).tokens
    tokens += sum(s.target - s.computed for s in rank.prefilling)
    tokens += sum(s.target for s in rank.waiting) + sum(s.target for s in rank.incoming)
    return (tokens + rank.batch.context_sum) / rank.pool.block_tokens
