"""How MLPerf Inference judges a run: percentiles with early stopping, and the time that counts.

Source: mlcommons/inference ``loadgen`` (``early_stopping.cc``, ``results.cc``) and the rules of
mlcommons/inference_policies, 2026.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.serving.records import FloatArray, Records

PERCENTILE = 0.99
CONFIDENCE = 0.99


def allowed_over_limit(queries: int) -> int:
    """Most queries over a limit with which a run passes early stopping; -1: it is too short.

    A run of ``n`` queries of which ``t`` are over passes if ``P[Binomial(n, 1 - 0.99) <= t]`` is
    below 1 - 0.99.

    Parameters
    ----------
    queries:
        Queries of the run.
    """
    over = 1.0 - PERCENTILE
    # terms of the distribution up to where they add up to 1 - CONFIDENCE, from the first one of
    # a size that counts: ten standard deviations below the mean nothing does
    mean, sd = queries * over, math.sqrt(queries * over * PERCENTILE)
    count = max(0, int(mean - 10.0 * sd))
    log_term = (
        math.lgamma(queries + 1)
        - math.lgamma(count + 1)
        - math.lgamma(queries - count + 1)
        + count * math.log(over)
        + (queries - count) * math.log(PERCENTILE)
    )
    term = math.exp(log_term)
    below = term
    while below < 1.0 - CONFIDENCE:
        term *= (queries - count) / (count + 1) * over / PERCENTILE
        count += 1
        below += term
    return count - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyVerdict:
    """One latency against its limit.

    Parameters
    ----------
    name:
        ``TTFT`` or ``TPOT``.
    limit_s, mean_s, p50_s, p90_s, p99_s:
        Limit, mean and percentiles over all queries. [s]
    judged, over, allowed:
        Queries judged, those over the limit, and the most with which the run passes.
    """

    name: str
    limit_s: float
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    judged: int
    over: int
    allowed: int

    @property
    def passed(self) -> bool:
        """Whether the limit is met, early stopping included."""
        return self.over <= self.allowed

    @property
    def used(self) -> float:
        """99th percentile over the limit. [-]"""
        return self.p99_s / self.limit_s

    @classmethod
    def of(
        cls, name: str, values_s: FloatArray, *, limit_s: float, queries: int | None = None
    ) -> LatencyVerdict:
        """The verdict on latencies.

        Parameters
        ----------
        values_s:
            Of the queries that are judged. [s]
        queries:
            Queries of the run that they stand for, whose early stopping decides on the share that
            may be over; ``None``: those judged.
        """
        count = len(values_s)
        whole = count if queries is None else max(queries, count)
        allowed = allowed_over_limit(whole)
        p50, p90, p99 = np.percentile(values_s, [50, 90, 99]).tolist()
        return cls(
            name=name,
            limit_s=limit_s,
            mean_s=float(values_s.mean()),
            p50_s=p50,
            p90_s=p90,
            p99_s=p99,
            judged=count,
            over=int(np.count_nonzero(values_s > limit_s)),
            allowed=allowed if whole == count else int(allowed * count / whole),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What MLPerf reports of a run.

    Parameters
    ----------
    queries_per_s:
        Completed queries; of Server ``(n - 1)`` over the time at which the last-issued query is
        done. [1/s]
    tokens_per_s:
        Output tokens over the same time; of Offline over the time of the last answer. [tok/s]
    """

    queries_per_s: float
    tokens_per_s: float


def server_throughput(
    records: Records, *, arrivals_s: float | None = None, whole_s: float | None = None
) -> Throughput:
    """Completed queries and output tokens of a Server or Interactive run.

    Parameters
    ----------
    arrivals_s, whole_s:
        Time of scheduled arrivals, and that of the run that this one stands for: what the last
        query takes beyond it is divided among as many more queries. [s]

    Raises
    ------
    UserError
        If there are fewer than two queries.
    """
    if len(records) < 2:
        raise UserError(f"queries is {len(records)}; a Server run needs at least 2")
    last_issued = int(np.lexsort((records.request, records.arrival_s))[-1])
    end_s = float(records.finish_s[last_issued])
    longer = 1.0
    if arrivals_s is not None and whole_s is not None:
        longer = whole_s / arrivals_s
        end_s += whole_s - arrivals_s
    return Throughput(
        queries_per_s=(longer * len(records) - 1) / end_s,
        tokens_per_s=longer * float(records.output_tokens.sum()) / end_s,
    )


def offline_throughput(records: Records) -> Throughput:
    """Queries and output tokens of an Offline run."""
    end_s = float(records.finish_s.max())
    return Throughput(
        queries_per_s=len(records) / end_s,
        tokens_per_s=float(records.output_tokens.sum()) / end_s,
    )
