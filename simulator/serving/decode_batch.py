"""The decode batch of one attention rank: who decodes, with what context, at what cost.

Decoding requests advance together, one engine step at a time, and each request's context grows
at its own constant rate. So a batch keeps sums and a list in the order of last steps, and no
step touches a request. Where the KV pool is nearly full, blocks are counted: from what
`simulator.serving.block_count` keeps where all requests gain a token a step, else request by
request, over columns of the batch.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from simulator.serving.block_count import BlockCount, Outlook

if TYPE_CHECKING:
    import numpy.typing as npt

    from simulator.serving.request_state import RequestState
    from simulator.serving.step_cost import StepCost

    Floats = npt.NDArray[np.float64]

NEVER = 1 << 62
"""A step that no run reaches."""

Entry: TypeAlias = "tuple[int, int, RequestState]"
"""A request of the decode batch: the step after its last, its admission order, itself."""


class DecodeBatch:
    """Requests that decode together on one rank; step numbers are the rank's own.

    Parameters
    ----------
    cost:
        Seconds of a step.
    block_tokens:
        Tokens of one request that one KV block holds. [tokens]

    Attributes
    ----------
    running, size:
        The requests, the first to finish first, and their number. [requests]
    context_sum, rate_sum, final_context_sum:
        Context in step ``mark`` [tokens], its growth [tokens/step], and the context at the end
        [tokens], over all requests.
    line_value_s, line_x0, line_slope_s, line_limit:
        The attention cost found last [s], the context that it was found for [tokens], what is added
        per token beyond [s] and the context up to which that holds [tokens].
    line_stale:
        The batch is not the one that they were found for.
    uneven:
        Requests that do not gain exactly a token a step. [requests]
    """

    __slots__ = (
        "_block_count",
        "_columns",
        "_contexts",
        "_contexts_step",
        "_counted",
        "_outlook",
        "block_tokens",
        "context_sum",
        "cost",
        "final_context_sum",
        "line_limit",
        "line_slope_s",
        "line_stale",
        "line_value_s",
        "line_x0",
        "mark",
        "rate_sum",
        "running",
        "size",
        "uneven",
    )

    def __init__(self, *, cost: StepCost, block_tokens: int) -> None:
        self.cost = cost
        self.block_tokens = block_tokens
        self.running: list[Entry] = []
        self.size = 0
        self.mark = 0
        self.context_sum = 0.0
        self.rate_sum = 0.0
        self.final_context_sum = 0
        self.uneven = 0
        self.line_limit = inf
        self.line_slope_s = 0.0
        self.line_stale = True
        self.line_value_s = self.line_x0 = 0.0
        self._columns: Floats | None = None
        self._contexts = np.empty(0)
        self._counted = (-1, 0)
        self._contexts_step = -1
        self._block_count: BlockCount | None = None
        self._outlook: Outlook | None = None

    def context_at(self, step: int) -> float:
        """Summed context in a step. [tokens]"""
        return self.context_sum + self.rate_sum * (step - self.mark)

    def next_finish(self) -> int:
        """Step before which the next request leaves."""
        return self.running[0][0] if self.running else NEVER

    def last_admitted(self) -> Entry | None:
        """The request that was admitted last."""
        return max(self.running, key=_order_of, default=None)

    def join(self, sequence: RequestState, step: int) -> None:
        """Add a request from this step on."""
        done = sequence.steps_done
        self.context_sum += (
            self.rate_sum * (step - self.mark) + sequence.base_tokens + sequence.rate * done
        )
        self.rate_sum += sequence.rate
        self.final_context_sum += sequence.final_tokens
        self.mark = step
        sequence.start = step - done
        entry = (sequence.start + sequence.request.decode_steps, sequence.order, sequence)
        position = bisect_left(self.running, entry)
        if self._columns is not None:
            self._insert(position, sequence)
        if sequence.rate != 1.0:
            self.uneven += 1
            self._block_count = self._outlook = None
        elif self._block_count is not None:
            origin = sequence.base_tokens - sequence.start
            self._block_count.join(origin)
            if self._outlook is not None:
                self._outlook.join(position, origin=origin, final=sequence.final_tokens)
        self.running.insert(position, entry)
        self.size += 1
        self.line_stale = True
        self._counted = (-1, 0)
        self._contexts_step = -1

    def leave(self, position: int, step: int) -> RequestState:
        """Remove the request at a position and note how far it came."""
        sequence = self.running.pop(position)[2]
        self.size -= 1
        sequence.steps_done = step - sequence.start
        if self.size:
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
        if self._columns is not None:
            self._columns[:, position : self.size] = self._columns[:, position + 1 : self.size + 1]
        if sequence.rate != 1.0:
            self.uneven -= 1
        elif self._block_count is not None:
            origin = sequence.base_tokens - sequence.start
            self._block_count.leave(origin)
            if self._outlook is not None:
                self._outlook.leave(position, origin=origin)
        self.line_stale = True
        self._counted = (-1, 0)
        self._contexts_step = -1
        return sequence

    # blocks -------------------------------------------------------------------------------

    def blocks(self, step: int) -> int:
        """Blocks that the contexts of a step take. [blocks]"""
        if not self.uneven:
            return self._counted_blocks().blocks(step)
        counted_step, blocks = self._counted
        if counted_step != step:
            blocks = int(np.ceil(self.contexts(step) / self.block_tokens).sum())
            self._counted = (step, blocks)
        return blocks

    def least_cover(self, step: int, *, joining: list[tuple[int, int]], fixed_tokens: int) -> int:
        """See `simulator.serving.block_count.Outlook.least_cover`; no request may be `uneven`."""
        outlook = self._outlook
        if outlook is None:
            self._counted_blocks()
            outlook = self._outlook = Outlook(fixed_tokens)
            for position, (_, _, sequence) in enumerate(self.running):
                outlook.join(
                    position,
                    origin=sequence.base_tokens - sequence.start,
                    final=sequence.final_tokens,
                )
        return outlook.least_cover(step, joining=joining)

    def _counted_blocks(self) -> BlockCount:
        """What `blocks` is answered from, kept up to date once asked for."""
        found = self._block_count
        if found is None:
            found = self._block_count = BlockCount(self.block_tokens)
            for _, _, sequence in self.running:
                found.join(sequence.base_tokens - sequence.start)
        return found

    # request by request -------------------------------------------------------------------

    def contexts(self, step: int) -> Floats:
        """Context of each request in a step, as `RequestState.context_at` computes it. [tokens]"""
        if self._contexts_step != step:
            base, rate, start, _ = self._rows()
            self._contexts = base + rate * (step - start)
            self._contexts_step = step
        return self._contexts

    def final_contexts(self) -> Floats:
        """Prompt and output of each request. [tokens]"""
        final: Floats = self._rows()[3]
        return final

    def _rows(self) -> Floats:
        """Base, rate, start and final context of the requests, kept up to date once asked for."""
        columns = self._columns
        if columns is None:
            columns = self._columns = np.empty((4, self.size + _SPARE))
            for position, (_, _, sequence) in enumerate(self.running):
                columns[:, position] = _column(sequence)
        rows: Floats = columns[:, : self.size]
        return rows

    def _insert(self, position: int, sequence: RequestState) -> None:
        columns = self._columns
        assert columns is not None
        size = self.size
        if size == columns.shape[1]:
            spare = np.empty((4, size + _SPARE))
            columns = self._columns = np.concatenate((columns, spare), axis=1)
        columns[:, position + 1 : size + 1] = columns[:, position:size]
        columns[:, position] = _column(sequence)

    # attention cost -----------------------------------------------------------------------

    def attention_s(self, step: int) -> float:
        """Decode attention in a step. [s]

        The line found last serves until the batch changes or its segment ends.
        """
        context = self.context_sum + self.rate_sum * (step - self.mark)
        if self.line_stale or context > self.line_limit:
            line = self.cost.decode_attention(requests=self.size, context_sum=context)
            self.line_value_s, self.line_slope_s, self.line_limit = line
            self.line_x0 = context
            self.line_stale = False
            return self.line_value_s
        return self.line_value_s + self.line_slope_s * (context - self.line_x0)


_SPARE = 16


def _column(sequence: RequestState) -> tuple[float, float, int, int]:
    return sequence.base_tokens, sequence.rate, sequence.start, sequence.final_tokens


def _order_of(entry: Entry) -> int:
    return entry[1]
