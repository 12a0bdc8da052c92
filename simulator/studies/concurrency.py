"""The one concurrency sweep: at which concurrencies a deployment is tried, and where it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.prediction.bottleneck import KV_CAPACITY

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST_CONCURRENCY = 2048
"""Closed-loop clients up to which a deployment is tried at least. [requests]"""
MOST_PER_GPU = 128
"""Clients for each GPU of a large deployment up to which it is tried. [requests]"""
LEAST_GAIN = 1.01
"""Throughput that two doublings must gain together. [-]"""
FULL = 0.9
"""Share of a KV pool in use from which twice the clients would mostly wait. [-]"""
ENDS = (
    "layouts end where memory is full or more clients cannot bring them to the frontier; "
    "--concurrency simulates every point"
)
"""What a reader of a table is told where no concurrencies were stated."""


def concurrencies(stated: Sequence[int] | None, *, gpus: int = 1) -> tuple[int, ...]:
    """Concurrencies to try: the stated ones, else powers of two. [requests]

    Parameters
    ----------
    gpus:
        GPUs of the deployment; powers of two go to 2,048, or to 128 for each of them.
    """
    if stated is not None:
        return tuple(stated)
    largest = max(LARGEST_CONCURRENCY, MOST_PER_GPU * gpus)
    return tuple(1 << power for power in range(largest.bit_length()))


def has_stalled(throughputs: Sequence[float]) -> bool:
    """Whether the last two doublings of concurrency gained less than 1 % throughput."""
    return len(throughputs) > 2 and throughputs[-1] < LEAST_GAIN * throughputs[-3]


def ends_after(throughputs: Sequence[float], *, bottleneck: str, kv_fill: float) -> bool:
    """Whether a sweep over powers of two ends after its last run.

    It ends where throughput has stalled, or where the KV pools are full, so that more clients
    would mostly wait.

    Parameters
    ----------
    throughputs:
        Of the runs so far, by ascending concurrency. [tok/s/GPU]
    bottleneck, kv_fill:
        What binds the last run, and the share of its KV pools' blocks that its requests take.
    """
    return bottleneck == KV_CAPACITY or kv_fill > FULL or has_stalled(throughputs)
