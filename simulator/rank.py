"""One attention data-parallel rank: its queue, its running requests and its KV pool.

Decoding requests advance together, one engine step at a time, and each request's context grows
at its own constant rate. So a rank keeps sums over its batch and a heap of last steps, and no
step touches a request: admission, completion and preemption cost O(log n), a step O(1).
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from math import ceil, floor, inf
from typing import TYPE_CHECKING

from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.kvcache import KvPoolSpec
    from simulator.step_cost import StepCost
    from workloads.requests import Request

NEVER = 1 << 62
"""A step that no run reaches."""


class Sequence:
    """The engine's state of one request.

    Attributes
    ----------
    base_tokens, rate:
        Context of decode step ``j`` (from 0), its own tokens included, is
        ``base_tokens + rate * j``. [tokens], [tokens/step]
    steps_done:
        Decode steps behind the request when it last left or joined a batch. [steps]
    final_tokens:
        Prompt and output. [tokens]
    start:
        Rank step that would have been this request's decode step 0.
    target, computed:
        Tokens whose KV entries its prefill must produce, and those that exist. [tokens]
    blocks:
        Pool blocks held while it is not decoding. [blocks]
    order:
        Admission order within the worker; breaks ties.
    """

    __slots__ = (
        "arrival_s",
        "base_tokens",
        "blocks",
        "cached_tokens",
        "computed",
        "final_tokens",
        "finish_s",
        "first_token_s",
        "order",
        "preemptions",
        "rank",
        "rate",
        "request",
        "scheduled_s",
        "start",
        "steps_done",
        "target",
        "worker",
    )

    def __init__(self, request: Request, arrival_s: float, queries_per_request: int) -> None:
        steps = request.decode_steps
        generated = request.output_tokens - 1
        if generated < 0 or request.prompt_tokens < 1 or (steps == 0) != (generated == 0):
            raise UserError(
                f"request {request.index} has prompt_tokens {request.prompt_tokens}, output_tokens "
                f"{request.output_tokens} and decode_steps {steps}; lengths must be at least 1 and "
                "decode_steps 0 exactly where output_tokens is 1"
            )
        self.request = request
        self.arrival_s = arrival_s
        self.scheduled_s = -1.0
        self.first_token_s = -1.0
        self.finish_s = -1.0
        self.base_tokens = request.prompt_tokens + queries_per_request
        self.final_tokens = request.prompt_tokens + request.output_tokens
        self.rate = generated / steps if steps else 0.0
        self.steps_done = 0
        self.start = 0
        self.target = request.prompt_tokens
        self.computed = 0
        self.blocks = 0
        self.cached_tokens = 0
        self.preemptions = 0
        self.order = 0
        self.worker = 0
        self.rank = 0


class Rank:
    """Queue, batch and KV pool of one rank.

    All step numbers are the rank's own: it counts the decode steps that its batch took part in.

    Attributes
    ----------
    waiting:
        Requests that hold nothing yet, first come first.
    prefilling:
        Admitted requests whose prompt is not finished, in admission order.
    chunks:
        Prompt chunks (request, tokens) of the step that is running.
    decoding:
        Requests of the decode batch.
    context_sum, rate_sum, final_context_sum:
        Over the batch: context in step ``mark`` [tokens], its growth [tokens/step], and the
        context at the end [tokens].
    held:
        Blocks of requests that are not decoding (in prefill, or awaiting transfer). [blocks]
    blocked:
        The head of the queue did not fit; nothing changes that until something is released.
    """

    __slots__ = (
        "blocked",
        "chunks",
        "context_sum",
        "cost",
        "decoding",
        "final_context_sum",
        "held",
        "index",
        "lag",
        "line_limit",
        "line_slope_s",
        "line_stale",
        "line_value_s",
        "line_x0",
        "mark",
        "pool",
        "prefilling",
        "rate_sum",
        "running",
        "safe_step",
        "waiting",
    )

    def __init__(self, *, index: int, pool: KvPoolSpec, cost: StepCost) -> None:
        self.index = index
        self.pool = pool
        self.cost = cost
        self.waiting: deque[Sequence] = deque()
        self.prefilling: list[Sequence] = []
        self.chunks: list[tuple[Sequence, int]] = []
        self.running: list[tuple[int, int, Sequence]] = []
        self.decoding = 0
        self.held = 0
        self.blocked = False
        self.lag = 0
        self.mark = 0
        self.context_sum = 0.0
        self.final_context_sum = 0
        self.rate_sum = 0.0
        self.safe_step = -1
        self.line_stale = True
        self.line_value_s = self.line_slope_s = self.line_x0 = 0.0
        self.line_limit = inf

    # decode batch -------------------------------------------------------------------------

    def context_at(self, step: int) -> float:
        """Summed context of the batch in a step. [tokens]"""
        return self.context_sum + self.rate_sum * (step - self.mark)

    def start_decode(self, sequence: Sequence, step: int) -> int:
        """Add a request to the batch from this step on; return the step after its last."""
        done = sequence.steps_done
        self.context_sum += (
            self.rate_sum * (step - self.mark) + sequence.base_tokens + sequence.rate * done
        )
        self.rate_sum += sequence.rate
        self.final_context_sum += sequence.final_tokens
        self.mark = step
        self.decoding += 1
        self.safe_step = -1
        self.line_stale = True
        sequence.start = step - done
        finish = sequence.start + sequence.request.decode_steps
        heappush(self.running, (finish, sequence.order, sequence))
        return finish

    def next_finish(self) -> int:
        """Step before which the next request leaves the batch."""
        return self.running[0][0] if self.running else NEVER

    def pop_finished(self, step: int) -> Sequence:
        """Remove the request that leaves the batch next, all of its steps done."""
        _, _, sequence = heappop(self.running)
        sequence.steps_done = step - sequence.start
        self._leave(sequence, step)
        return sequence

    def preempt_last(self, step: int) -> Sequence:
        """Take back the request admitted last, decoding or in prefill, and free its blocks.

        It returns to the head of the queue and will recompute its prompt and what it generated.
        """
        last_prefill = self.prefilling[-1] if self.prefilling else None
        last_decode = max(self.running, key=_order_of, default=None)
        if last_prefill is not None and (
            last_decode is None or last_prefill.order > last_decode[1]
        ):
            sequence = self.prefilling.pop()
            self.held -= sequence.blocks
            self.safe_step = -1
        else:
            assert last_decode is not None
            sequence = last_decode[2]
            self.remove_decoding(last_decode, step)
        self.requeue(sequence)
        return sequence

    def remove_decoding(self, entry: tuple[int, int, Sequence], step: int) -> None:
        """Take a request out of the batch before its last step."""
        self.running.remove(entry)
        heapify(self.running)
        sequence = entry[2]
        sequence.steps_done = step - sequence.start
        self._leave(sequence, step)

    def requeue(self, sequence: Sequence) -> None:
        """Put a preempted request at the head of the queue, to be recomputed."""
        request = sequence.request
        generated = 1 + floor(sequence.rate * sequence.steps_done)
        sequence.target = request.prompt_tokens + (generated if sequence.first_token_s >= 0 else 0)
        sequence.computed = 0
        sequence.blocks = 0
        sequence.preemptions += 1
        self.waiting.appendleft(sequence)

    def _leave(self, sequence: Sequence, step: int) -> None:
        self.decoding -= 1
        self.safe_step = -1
        self.line_stale = True
        self.blocked = False
        if self.decoding:
            self.context_sum += (
                self.rate_sum * (step - self.mark)
                - sequence.base_tokens
                - sequence.rate * sequence.steps_done
            )
            self.rate_sum -= sequence.rate
            self.final_context_sum -= sequence.final_tokens
        else:
            self.context_sum = self.rate_sum = 0.0
            self.final_context_sum = 0
        self.mark = step

    # KV pool ------------------------------------------------------------------------------

    def admit(self, sequence: Sequence, now: float, order: int) -> None:
        """Take the head of the queue into prefill; its prompt's blocks are held from now on."""
        sequence.order = order
        if sequence.scheduled_s < 0:
            sequence.scheduled_s = now
        sequence.blocks = self.pool.blocks(sequence.target)
        self.held += sequence.blocks
        self.safe_step = -1
        self.prefilling.append(sequence)

    def admitted(self) -> list[Sequence]:
        """Requests that hold blocks: in prefill and in the decode batch."""
        return self.prefilling + [sequence for _, _, sequence in self.running]

    def release(self, blocks: int) -> None:
        """Return blocks that a request held outside the decode batch."""
        self.held -= blocks
        self.safe_step = -1
        self.blocked = False

    def has_room(self, blocks: float, step: int) -> bool:
        """Whether this many blocks are free once the batch has what its next step needs."""
        pool = self.pool
        room = (
            pool.total_blocks - self.held - blocks - self.decoding * pool.fixed_blocks_per_request
        )
        linear = (self.context_sum + self.rate_sum * (step - self.mark)) / pool.block_tokens
        if linear + self.decoding <= room:
            return True
        return linear <= room and self._growing_blocks(step) <= room

    def used_blocks(self, step: int) -> int:
        """Blocks in use in a step. [blocks]"""
        fixed = self.decoding * self.pool.fixed_blocks_per_request
        return self.held + fixed + self._growing_blocks(step)

    def fits(self, step: int) -> bool:
        """Whether the batch's blocks in this step fit the pool."""
        return step <= self.safe_step or self.last_fitting_step(step, step) >= step

    def last_fitting_step(self, step: int, horizon: int) -> int:
        """Last step up to ``horizon`` whose blocks fit if nothing joins or leaves.

        Below ``step`` if not even that one fits. A bound that is linear in the steps answers
        at once while memory is plentiful; otherwise blocks are counted and the step is bisected.
        """
        if horizon <= self.safe_step:
            return horizon
        pool = self.pool
        room = pool.total_blocks - self.held - self.decoding * pool.fixed_blocks_per_request
        spare = (room - self.decoding) * pool.block_tokens - self.context_sum
        if self.rate_sum <= 0.0:
            self.safe_step = NEVER if self._growing_blocks(step) <= room else step - 1
            return min(self.safe_step, horizon)
        self.safe_step = max(self.mark + floor(spare / self.rate_sum), step - 1)
        if horizon <= self.safe_step:
            return horizon
        if self._growing_blocks(horizon) <= room:
            self.safe_step = horizon
            return horizon
        low, high = self.safe_step, horizon
        while high - low > 1:
            middle = (low + high) // 2
            if self._growing_blocks(middle) <= room:
                low = middle
            else:
                high = middle
        self.safe_step = low
        return low

    def _growing_blocks(self, step: int) -> int:
        tokens = self.pool.block_tokens
        return sum(
            ceil((s.base_tokens + s.rate * (step - s.start)) / tokens) for _, _, s in self.running
        )

    # attention cost -----------------------------------------------------------------------

    def decode_attention_s(self, step: int) -> float:
        """Decode attention of this rank in a step. [s]

        The line found last serves until the batch changes or its segment ends.
        """
        context = self.context_sum + self.rate_sum * (step - self.mark)
        if self.line_stale or context > self.line_limit:
            self.refresh_line(context)
        return self.line_value_s + self.line_slope_s * (context - self.line_x0)

    def refresh_line(self, context: float) -> None:
        """Ask the step cost for the segment that holds this summed context."""
        line = self.cost.decode_attention(requests=self.decoding, context_sum=context)
        self.line_value_s, self.line_slope_s, self.line_limit = line
        self.line_x0 = context
        self.line_stale = False


def _order_of(entry: tuple[int, int, Sequence]) -> int:
    return entry[1]
