"""The contract between a model's cost functions and everything that uses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Op, Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillChunk:
    """A contiguous piece of one prompt processed in one step.

    Parameters
    ----------
    new_tokens:
        Tokens computed now. [tokens]
    prefix_tokens:
        Tokens of the same request whose KV entries exist already. [tokens]
    """

    new_tokens: int
    prefix_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatch:
    """What the slowest rank of a worker computes in one step, and what its group computes.

    Parameters
    ----------
    decode_requests:
        Requests of this rank that decode. [requests]
    decode_context:
        Their mean context, the new token included. [tokens]
    queries_per_request:
        Tokens verified per decoding request: 1, or drafts + 1 under speculation. [tokens]
    prefill:
        Prompt chunks of this rank; each ends its prompt, so that a token is sampled.
    group_tokens, group_samples:
        Tokens, and requests that emit one, of all attention ranks of the worker together;
        ``None`` if all are alike. [tokens], [requests]
    """

    decode_requests: int = 0
    decode_context: float = 0.0
    queries_per_request: int = 1
    prefill: tuple[PrefillChunk, ...] = ()
    group_tokens: int | None = None
    group_samples: int | None = None

    @property
    def rank_tokens(self) -> int:
        """Tokens that this rank's GEMMs see. [tokens]"""
        return self.decode_requests * self.queries_per_request + sum(
            chunk.new_tokens for chunk in self.prefill
        )

    @property
    def rank_samples(self) -> int:
        """Requests of this rank that emit a token. [requests]"""
        return self.decode_requests + len(self.prefill)

    def of_group(self, *, ranks: int) -> tuple[int, int]:
        """Tokens and samples of ``ranks`` attention ranks together. [tokens], [requests]"""
        tokens, samples = self.group_tokens, self.group_samples
        return (
            ranks * self.rank_tokens if tokens is None else tokens,
            ranks * self.rank_samples if samples is None else samples,
        )


class CostModel(Protocol):
    """A model bound to a layout and an execution plan.

    Every ``*_ops`` method accepts scalars or equally shaped arrays and returns operations whose
    quantities have that shape. A step's operations are the concatenation of the five groups,
    each a function of few numbers, so that a step's time can be tabulated group by group.
    """

    @property
    def layout(self) -> Layout:
        """Parallel layout of the worker."""
        ...

    @property
    def plan(self) -> ExecutionPlan:
        """Kernels that the engine runs."""
        ...

    def token_ops(self, *, rank_tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        """Projections, mHC, router, experts and their communication.

        ``rank_tokens`` are the tokens of the slowest attention rank, ``group_tokens`` those of
        all attention ranks of the worker together (equal where attention is tensor parallel).
        A model bound with drafts adds the first draft pass, which runs over all tokens.
        """
        ...

    def decode_attention_ops(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Attention cores, indexer scores and KV traffic of decoding requests of one rank."""
        ...

    def prefill_attention_ops(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """Attention cores, indexer scores and KV traffic of one prompt chunk on one rank."""
        ...

    def head_ops(self, *, samples: Quantity) -> list[Op]:
        """Language-model head and sampling for the sampled positions of one rank."""
        ...

    def draft_ops(self, *, requests: Quantity, group_requests: Quantity, drafts: int) -> list[Op]:
        """Draft passes after the first and all draft heads; an empty list without drafts."""
        ...

    def weight_bytes_per_rank(self, *, speculative: bool) -> dict[str, float]:
        """Resident weight bytes of the fullest rank by part (dense, experts, ...). [B]"""
        ...

    def kv_bytes_per_token(self) -> float:
        """Marginal KV-cache growth of one request per context token on one rank. [B/token]"""
        ...

    def state_bytes_per_request(self) -> float:
        """Context-independent cache of one request (windows, compressor state). [B/request]"""
        ...
