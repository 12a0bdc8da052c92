"""KV-cache pools: what a request holds, and whether another fits."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from workloads.errors import DoesNotFitError, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadTier:
    """Memory outside the KV pool that keeps blocks for later: host DRAM, a local disk.

    Parameters
    ----------
    name:
        Such as ``host``.
    capacity_bytes:
        Room for one rank's blocks. [B]
    bandwidth_bytes_per_s:
        Of the way back into the pool, for one rank. [B/s]
    latency_s:
        Fixed time of one load. [s]
    inclusive:
        Whether it also has a copy of every cached block that the pool holds (write-through), so
        that only what it holds beyond them is left for blocks that the pool has lost; else it
        takes blocks as the pool evicts them (write-back, vLLM's lazy offloading).

    Raises
    ------
    UserError
        If a figure is out of range.
    """

    name: str
    capacity_bytes: float
    bandwidth_bytes_per_s: float
    latency_s: float = 0.0
    inclusive: bool = False

    def __post_init__(self) -> None:
        if self.capacity_bytes < 0 or self.bandwidth_bytes_per_s <= 0 or self.latency_s < 0:
            raise UserError(
                f"offload tier '{self.name}' has capacity_bytes {self.capacity_bytes}, "
                f"bandwidth_bytes_per_s {self.bandwidth_bytes_per_s} and latency_s "
                f"{self.latency_s}; bandwidth must be positive and nothing negative"
            )

    def load_s(self, size_bytes: float) -> float:
        """Time to bring this much back into the pool. [s]"""
        return self.latency_s + size_bytes / self.bandwidth_bytes_per_s


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
    admission_windows, in_flight_tokens:
        Sliding windows and state of that pool as (window, block) in tokens, and the tokens that
        may be in flight: where they are given, ``admission_blocks`` is only the most that a
        request is charged, see `admission_charge`. [tokens]
    request_slots:
        Requests that a second, separate pool can hold (SGLang's sliding-window and state
        pools); ``None`` if everything lives in one pool. [requests]
    windows_apart:
        Whether sliding windows have a pool of their own (SGLang's hybrid pools).
    block_bytes:
        Size of a block; needed where blocks move (offload, swap). [B]
    prefix_hit_interval_tokens:
        Where a cached prefix can be resumed: see `simulator.serving.prefix_cache.PrefixCache`.
        [tokens]
    state_blocks:
        Blocks of the state that is kept at one such boundary; ``None``:
        ``fixed_blocks_per_request``. [blocks]
    keeps_output_state:
        Whether it is kept at the end of what a request generated too.
    offload:
        Tiers that keep evicted prefix blocks, the fastest first.
    swap:
        Where a preempted request's blocks go; ``None``: they are dropped and recomputed.

    Raises
    ------
    UserError
        If a size is out of range.
    """

    total_blocks: int
    block_tokens: int
    fixed_blocks_per_request: int = 0
    admission_blocks: int = 0
    admission_windows: tuple[tuple[int, int], ...] = ()
    in_flight_tokens: int = 0
    request_slots: int | None = None
    windows_apart: bool = False
    block_bytes: float = 0.0
    prefix_hit_interval_tokens: int | None = None
    state_blocks: int | None = None
    keeps_output_state: bool = False
    offload: tuple[OffloadTier, ...] = ()
    swap: OffloadTier | None = None

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
        if (self.offload or self.swap) and self.block_bytes <= 0:
            raise UserError(
                f"block_bytes of the KV pool is {self.block_bytes}; blocks that move to another "
                "tier need a size"
            )

    @property
    def kept_state_blocks(self) -> int:
        """Blocks of the state that is kept at one boundary. [blocks]"""
        return self.fixed_blocks_per_request if self.state_blocks is None else self.state_blocks

    @property
    def token_bytes(self) -> float:
        """Pool bytes of one context token. [B/token]"""
        return self.block_bytes / self.block_tokens

    def blocks(self, tokens: float) -> int:
        """Blocks that a request with this context holds. [blocks]"""
        return ceil(tokens / self.block_tokens) + self.fixed_blocks_per_request

    def admission_charge(self, *, tokens: int, cached_tokens: int) -> int:
        """Blocks that must be free beyond its own for a request to be admitted. [blocks]

        Each window group asks for the blocks of all tokens, at most those of its window and the
        tokens in flight, less the blocks that lie wholly below the window of the cached prefix.
        """
        if not self.admission_windows:
            return self.admission_blocks
        charge = 0
        for window, block in self.admission_windows:
            needed = -(-(window - 1 + self.in_flight_tokens) // block) + 1
            whole = -(-tokens // block)
            if whole < needed:
                needed = whole
            if cached_tokens >= window:
                needed -= (cached_tokens - window + 1) // block
            if needed > 0:
                charge += needed
        return max(charge - self.fixed_blocks_per_request, 0)

    def chunk_charge(self, *, tokens: int, end_tokens: int) -> int:
        """Blocks that a prompt chunk holds in windows while its step is in flight. [blocks]

        Parameters
        ----------
        tokens, end_tokens:
            Tokens of the chunk and of the prompt up to its end. [tokens]
        """
        charge = 0
        for window, block in self.admission_windows:
            held = -(-(window - 1 + tokens) // block) + 1
            whole = -(-end_tokens // block)
            charge += whole if whole < held else held
        return max(charge - self.fixed_blocks_per_request, 0)

    @property
    def longest_tokens(self) -> int:
        """Longest context that an empty pool holds. [tokens]"""
        free_blocks = self.total_blocks - self.fixed_blocks_per_request - self.admission_blocks
        return free_blocks * self.block_tokens

    def check_fits(self, *, prompt_tokens: int, output_tokens: int) -> None:
        """Refuse a request that could never be served.

        Raises
        ------
        DoesNotFitError
            If its full context does not fit an empty pool.
        """
        tokens = prompt_tokens + output_tokens
        if tokens > self.longest_tokens:
            needed = self.blocks(tokens) + self.admission_blocks
            raise DoesNotFitError(
                f"a request of {prompt_tokens} + {output_tokens} tokens needs {needed} KV blocks "
                f"of {self.block_tokens} tokens and the pool of a rank has {self.total_blocks}; "
                "shorten it, free memory or spread the model over more GPUs"
            )
