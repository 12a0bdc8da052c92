"""Pools of identical workers and the router in front of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence as List

    from simulator.engine import Worker
    from simulator.kvcache import KvPoolSpec
    from simulator.rank import Rank
    from simulator.settings import EngineSettings
    from simulator.step_cost import StepCost
    from workloads.layout import Layout

Routing: TypeAlias = Literal["round_robin", "least_loaded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPool:
    """Identical workers behind one router.

    Parameters
    ----------
    layout:
        Parallel layout of one worker; it has ``layout.attention_dp`` ranks.
    settings:
        Engine and scheduler settings.
    kv_pool:
        KV pool of one rank.
    cost:
        Seconds of a step of one worker.
    workers:
        Number of workers.
    routing:
        How requests are spread over the workers.
    rank_routing:
        How a worker spreads its requests over its attention ranks.

    Raises
    ------
    UserError
        If there is no worker.
    """

    layout: Layout
    settings: EngineSettings
    kv_pool: KvPoolSpec
    cost: StepCost
    workers: int = 1
    routing: Routing = "round_robin"
    rank_routing: Routing = "round_robin"

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UserError(f"workers is {self.workers}; a pool needs at least one worker")


class Router:
    """Picks the worker and the attention rank of a request; ties go to the lowest index."""

    def __init__(self, *, pool: WorkerPool, workers: List[Worker]) -> None:
        self.workers = workers
        self.routing = pool.routing
        self.rank_routing = pool.rank_routing
        self._next_worker = 0
        self._next_rank = [0] * len(workers)

    def route(self) -> tuple[Worker, Rank]:
        """The worker and the rank that serve the next request."""
        workers = self.workers
        if len(workers) == 1:
            index = 0
        elif self.routing == "round_robin":
            index = self._next_worker
            self._next_worker = (index + 1) % len(workers)
        else:
            index = min(range(len(workers)), key=lambda i: sum(map(_load, workers[i].ranks)))
        worker = workers[index]
        ranks = worker.ranks
        if len(ranks) == 1:
            return worker, ranks[0]
        if self.rank_routing == "round_robin":
            position = self._next_rank[index]
            self._next_rank[index] = (position + 1) % len(ranks)
            return worker, ranks[position]
        return worker, min(ranks, key=_load)


def _load(rank: Rank) -> int:
    """Requests that a rank has to serve."""
    return rank.decoding + len(rank.prefilling) + len(rank.waiting)
