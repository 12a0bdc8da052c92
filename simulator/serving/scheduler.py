"""What every scheduler shares: the interface to the worker, admission and preemption."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from simulator.serving.decode_batch import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.serving.kv_pool import KvPoolSpec
    from simulator.serving.rank import Rank
    from simulator.serving.request_state import RequestState
    from simulator.serving.step_cost import StepCost


Routing: TypeAlias = Literal["round_robin", "least_loaded", "kv_aware", "session"]
RankRouting: TypeAlias = Literal[
    "round_robin",
    "least_loaded",
    "least_loaded_rotating",
    "least_requests",
    "kv_aware",
    "session",
    "session_balanced",
]
"""How requests are spread over workers and over ranks, see `simulator.serving.router.Router`."""

NO_ROOM = -1
"""`Scheduler.admit_head`: the head of the queue stays."""


class WorkerView(Protocol):
    """What a scheduler sees of its worker, and what it may ask of it.

    Attributes
    ----------
    pool, cost:
        KV pool of each rank; seconds of a step.
    attention_dp, stages:
        Attention data-parallel ranks in lockstep; pipeline stages with ranks of their own.
    steps:
        Steps in which decode batches advanced; a rank that stood still lags behind.
    engine_steps:
        All steps.
    now_s:
        Time of the last decision. [s]
    known_s:
        Arrivals up to here count in the decision under way. [s]
    woken:
        Whether the decision under way ends a time in which nothing ran.
    """

    pool: KvPoolSpec
    cost: StepCost
    attention_dp: int
    stages: int
    steps: int
    engine_steps: int
    now_s: float
    known_s: float
    woken: bool

    @property
    def ranks(self) -> Sequence[Rank]:
        """All ranks."""
        ...

    def next_order(self) -> int:
        """A number that grows with every admission."""
        ...

    def is_decoding(self) -> bool:
        """Whether any rank has a decode batch."""
        ...

    def is_running(self) -> bool:
        """Whether any rank computes something."""
        ...

    def has_queued(self) -> bool:
        """Whether any rank has requests whose prompt is not finished."""
        ...

    def batch_changed(self, rank: Rank) -> None:
        """Note that a rank's decode batch is not what it was timed as."""
        ...

    def load(self, sequence: RequestState, rank: Rank, load_s: float) -> None:
        """Bring a request's KV entries back from another tier, after earlier loads of the rank."""
        ...


class ServingEngine(Protocol):
    """What a worker and its router ask of a serving engine."""

    @property
    def caches_prefixes(self) -> bool:
        """Whether the blocks of finished prompts are kept for later ones."""
        ...

    @property
    def rank_routing(self) -> RankRouting:
        """How a worker spreads its requests over its attention ranks."""
        ...

    @property
    def mixes(self) -> bool:
        """Whether prompt chunks and decoding requests share a step of a rank."""
        ...

    def build_scheduler(self, *, worker: WorkerView) -> Scheduler:
        """The engine's scheduler, bound to a worker."""
        ...

    @property
    def title(self) -> str:
        """Name in sentences."""
        ...

    def pool_tokens(self, spec: KvPoolSpec, *, longest_context: int) -> int:
        """Tokens of a rank's KV pool as the engine's log counts them. [tokens]"""
        ...

    def step_token_budget(self, *, attention_dp: int) -> int:
        """Most tokens that one rank computes in one step. [tokens]"""
        ...

    def running_cap(self, *, attention_dp: int) -> float:
        """Most requests that one rank runs at a time by its settings. [requests]"""
        ...


class Scheduler:
    """Decides what the ranks of one worker compute in their next lockstep step.

    Parameters
    ----------
    worker:
        The worker to schedule.
    max_running:
        Requests of one attention rank that may be admitted at a time, over all micro-batches
        in flight. [requests]

    Attributes
    ----------
    mixes:
        Whether the decode batch of a rank advances in a step in which that rank prefills.
    joint_prefill:
        Whether a prefill on one rank keeps the decode batches of all ranks from advancing.
    looks_at_intervals:
        Whether new requests are seen only every few steps.
    notes_every_arrival:
        Whether arrivals at a queue that is not empty matter too.
    composes_ahead:
        Whether a step is composed when the one before it starts, so that the host works while
        the GPU computes: from what had arrived and finished by then.
    holds_prompts:
        Whether a request holds the blocks of its whole prompt from admission on.
    """

    mixes: bool = True
    joint_prefill: bool = False
    looks_at_intervals: bool = False
    notes_every_arrival: bool = False
    composes_ahead: bool = False
    holds_prompts: bool = True

    def __init__(self, *, worker: WorkerView, max_running: int) -> None:
        slots = self.slots = worker.pool.request_slots
        share = max(max_running // worker.stages, 1)
        self.worker = worker
        self.max_running = share if slots is None else min(share, slots)
        self.queries = worker.cost.queries_per_request

    def schedule(self) -> int:
        """Fill ``rank.chunks`` of every rank for the next step.

        Returns
        -------
        int
            If no rank prefills: after how many decode steps to ask again although nothing has
            arrived, finished or run out. [steps]
        """
        raise NotImplementedError

    def alike_steps(self) -> int:
        """Steps after the composed one, with prompts, that would be composed like it. [steps]

        Under the condition that nothing arrives or finishes, and that decode batches do not run
        out of memory on ranks without prompts. Where the scheduler does not mix, `schedule` says
        too when it is to be asked again.
        """
        return 0

    def repeated(self, steps: int) -> None:
        """Note that this many of `alike_steps` have begun, the last one's prompts as they are."""

    def may_start(self, rank: Rank) -> bool:
        """Whether a request that arrives at an empty queue could be admitted at once."""
        return rank.admitted_count() < self.max_running

    def make_room(self, rank: Rank) -> bool:
        """Preempt requests until the blocks of the next decode step fit; whether any was."""
        worker = self.worker
        preempted = False
        step = worker.steps - rank.lag
        while not rank.fits(step):
            self.preempt(rank, step)
            preempted = True
        if preempted:
            worker.batch_changed(rank)
        return preempted

    def preempt(self, rank: Rank, step: int) -> bool:
        """Take back the request admitted last; it returns to the head of the queue.

        Returns
        -------
        bool
            Whether it was decoding.
        """
        decoding = rank.batch.last_admitted()
        prefilling = max(rank.prefilling, key=attrgetter("order"), default=None)
        if prefilling is not None and (decoding is None or prefilling.order > decoding[1]):
            rank.prefilling.remove(prefilling)
            rank.drop(prefilling)
            rank.requeue(prefilling)
            return False
        assert decoding is not None
        rank.requeue(rank.remove_decoding(decoding, step))
        return True

    def has_room(self, rank: Rank, sequence: RequestState) -> bool:
        """Whether the pool has the blocks that this engine asks for before it admits a request."""
        match = sequence.match
        needed = rank.blocks_needed(sequence) + rank.pool.admission_charge(
            tokens=sequence.target, cached_tokens=0 if match is None else match.tokens
        )
        return rank.has_room(needed, self.worker.steps - rank.lag)

    def admit_head(self, rank: Rank) -> int:
        """Admit the head of a rank's queue if there is room, else mark the rank blocked.

        Returns
        -------
        int
            Tokens that it has to compute; 0 if its KV entries have to come from another tier
            first, `NO_ROOM` if it was not admitted. [tokens]
        """
        sequence = rank.waiting[0]
        worker = self.worker
        if not ((self.slots is None or self._has_slot(rank)) and self.has_room(rank, sequence)):
            rank.blocked = True
            return NO_ROOM
        rank.waiting.popleft()
        load_s = rank.admit(
            sequence,
            now=worker.now_s,
            order=worker.next_order(),
            step=worker.steps - rank.lag,
            holds_prompt=self.holds_prompts,
        )
        if load_s:
            worker.load(sequence, rank, load_s)
            return 0
        return sequence.target - sequence.computed

    def _has_slot(self, rank: Rank) -> bool:
        """Whether the state pool has room beside the requests that await their transfer."""
        assert self.slots is not None
        return rank.admitted_count() + rank.handed_over < self.slots


class PrefillFirstScheduler(Scheduler):
    """Prefill whenever something can be prefilled, decode otherwise.

    Subclasses say how a rank's prefill batch is filled and when prompts are held back.

    Attributes
    ----------
    holds_chunks:
        Whether prompts in progress wait too while prompts are held back.
    """

    mixes = False
    holds_chunks: bool = True

    def schedule(self) -> int:
        """See `Scheduler.schedule`."""
        worker = self.worker
        limit = NEVER
        prefills = False
        if worker.has_queued():
            wait = self.steps_to_wait()
            if wait:
                limit = wait
            for rank in worker.ranks:
                if (rank.prefilling and not (wait and self.holds_chunks)) or (
                    rank.waiting and not (wait or rank.blocked)
                ):
                    self.fill(rank, may_start=not wait)
                    prefills = prefills or bool(rank.chunks)
            if not (wait or prefills):
                limit = self.steps_to_wait_again()
        stalled = prefills and self.joint_prefill
        steps = worker.steps
        for rank in worker.ranks:
            if (
                steps - rank.lag > rank.safe_step
                and rank.batch.size
                and (self.mixes or not (rank.chunks or stalled))
                and self.make_room(rank)
            ):
                limit = 1  # what was preempted may be admitted again after this step
        return limit

    def steps_to_wait(self) -> int:
        """Decode steps before a prompt may start; 0 if it may now."""
        return 0

    def steps_to_wait_again(self) -> int:
        """Decode steps before prompts that could start, but did not, may have to wait again."""
        return NEVER

    def fill(self, rank: Rank, *, may_start: bool) -> None:
        """Put the rank's next prefill batch into ``rank.chunks``."""
        raise NotImplementedError
