"""Memory that an engine sets aside: of a rank beside its KV blocks, and of the host for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReserve:
    """What an engine sets aside of a rank's memory or blocks before requests get any.

    Parameters
    ----------
    bytes:
        Taken off the memory that the blocks share, for state of running requests. [B]
    fixed_blocks:
        Blocks of each running request beside those of its context. [blocks]
    admission_blocks:
        Blocks that must be free beyond a request's own when it is admitted. [blocks]
    windows, in_flight_tokens:
        Window groups as (window, block) and tokens in flight that they are charged for.
        [tokens]
    request_slots:
        Running requests for which there is state, if that is bounded. [requests]
    """

    bytes: float = 0.0
    fixed_blocks: int = 0
    admission_blocks: int = 0
    windows: tuple[tuple[int, int], ...] = ()
    in_flight_tokens: int = 0
    request_slots: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOffload:
    """Host memory for KV blocks as a server was set up.

    Parameters
    ----------
    write_through:
        Whether new blocks are copied at once; else as the pool evicts them.
    pool_ratio:
        Host pool over device pool; ``None``: all the memory that there is. [-]
    """

    write_through: bool
    pool_ratio: float | None = None
