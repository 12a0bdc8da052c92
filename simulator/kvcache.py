"""KV-cache pools: what a request holds, and whether another fits."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from workloads.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class KvPoolSpec:
    """The KV pool of one attention data-parallel rank.

    Parameters
    ----------
    total_blocks:
        Blocks of the pool. [blocks]
    block_tokens:
        Tokens of one request that one block holds. [tokens]
    fixed_blocks_per_request:
        Blocks of each admitted request that do not depend on its context: sliding windows and
        compressor state kept in the same pool. [blocks]
    admission_blocks:
        Blocks that must be free beyond the request's own when it is admitted, and are not held
        afterwards: vLLM's charge for the state of tokens in flight. [blocks]
    request_slots:
        Requests that a second, separate pool can hold (SGLang's sliding-window and state
        pools); ``None`` if everything lives in one pool. [requests]

    Raises
    ------
    UserError
        If a size is out of range.
    """

    total_blocks: int
    block_tokens: int
    fixed_blocks_per_request: int = 0
    admission_blocks: int = 0
    request_slots: int | None = None

    def __post_init__(self) -> None:
        for field, least in (
            ("total_blocks", 1),
            ("block_tokens", 1),
            ("fixed_blocks_per_request", 0),
            ("admission_blocks", 0),
        ):
            if getattr(self, field) < least:
                raise UserError(
                    f"{field} of the KV pool is {getattr(self, field)}; it must be at least {least}"
                )
        if self.request_slots is not None and self.request_slots < 1:
            raise UserError(
                f"request_slots of the KV pool is {self.request_slots}; the state pool must hold "
                "at least one request"
            )

    def blocks(self, tokens: float) -> int:
        """Blocks that a request with this context holds. [blocks]"""
        return ceil(tokens / self.block_tokens) + self.fixed_blocks_per_request

    def check_fits(self, *, prompt_tokens: int, output_tokens: int) -> None:
        """Refuse a request that could never be served.

        Raises
        ------
        UserError
            If its full context does not fit an empty pool.
        """
        needed = self.blocks(prompt_tokens + output_tokens) + self.admission_blocks
        if needed > self.total_blocks:
            raise UserError(
                f"a request of {prompt_tokens} + {output_tokens} tokens needs {needed} KV blocks "
                f"of {self.block_tokens} tokens and the pool of a rank has {self.total_blocks}; "
                "shorten it, free memory or spread the model over more GPUs"
            )
