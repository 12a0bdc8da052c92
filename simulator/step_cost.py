"""Seconds of one engine step, as the scheduler needs them: few numbers in, one number out."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Line(NamedTuple):
    """A linear piece of a cost: ``value_s + slope_s * (x - x0)`` for ``x0 <= x <= limit``."""

    value_s: float
    slope_s: float
    limit: float


class StepCost(Protocol):
    """What one lockstep step of a worker takes.

    A step takes ``fixed_s`` of the slowest rank's token counts plus, on the slowest rank, the
    decode attention of its decoding requests and the prefill attention of its prompt chunks.
    """

    queries_per_request: int

    def fixed_s(
        self,
        *,
        rank_tokens: int,
        group_tokens: int,
        rank_samples: int,
        group_samples: int,
        has_prefill: bool,
    ) -> float:
        """Everything but attention: projections, experts, exchange, head, drafts, host. [s]

        ``rank_*`` belong to the fullest attention rank, ``group_*`` sum over all of them;
        samples are requests that emit a token in this step.
        """
        ...

    def decode_attention(self, *, requests: int, context_sum: float) -> Line:
        """Decode attention of one rank, linear in the summed context of its requests. [s]"""
        ...

    def prefill_attention_s(self, *, new_tokens: int, prefix_tokens: int) -> float:
        """Attention of one prompt chunk on one rank. [s]"""
        ...
