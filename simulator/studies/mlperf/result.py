"""What a system does in an MLPerf scenario."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.analysis.mlperf import LatencyVerdict, Throughput


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What of a Server run is simulated and judged.

    Parameters
    ----------
    arrivals_s, whole_s:
        Arrivals that are simulated, and those of the run that they stand for. [s]
    judged_from_s:
        Queries that arrive later are judged; 0: all, as MLPerf does. [s]
    """

    arrivals_s: float
    whole_s: float
    judged_from_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beyond:
    """The nearest rate that failed, above the one that counts.

    Parameters
    ----------
    ratio:
        Its rate over the one that passes. [-]
    name, p99_s, limit_s:
        The latency that failed by most. [s]
    over, allowed:
        Queries over the limit, and as many as early stopping grants; -1: the run is too short
        for it. [requests]
    """

    ratio: float
    name: str
    p99_s: float
    limit_s: float
    over: int
    allowed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MlperfTrial:
    """One run of a copy.

    Parameters
    ----------
    rate_per_s:
        Scheduled arrivals of the copy; ``None`` offline. [1/s]
    queries:
        Queries of the run.
    throughput:
        Of the copy.
    verdicts:
        TTFT and TPOT against their limits; none offline.
    window:
        What was simulated and judged; ``None`` offline.
    running, running_per_rank, most_running_per_rank:
        Requests that the copy computes, in the mean; on one data-parallel rank, and the most.
        [requests]
    preemptions:
        Times that requests lost their KV blocks.
    beyond:
        What stops a higher rate, where the rate was searched.
    """

    rate_per_s: float | None
    queries: int
    throughput: Throughput
    verdicts: tuple[LatencyVerdict, ...]
    window: Window | None
    running: float
    running_per_rank: float
    most_running_per_rank: float
    preemptions: int
    beyond: Beyond | None = None

    @property
    def passed(self) -> bool:
        """Whether every limit is met."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def binding(self) -> str:
        """The latency that uses up most of its limit; offline ``throughput``."""
        if not self.verdicts:
            return "throughput"
        return max(self.verdicts, key=lambda verdict: verdict.used).name


@dataclass(frozen=True, slots=True, kw_only=True)
class MlperfResult:
    """A system in a scenario.

    Parameters
    ----------
    benchmark, scenario, sku, model, level, kind, deployment:
        What ran, on what.
    chips, copies:
        Chips of the system, and independent copies behind its balancer.
    trial:
        The run that counts, of one copy.
    band:
        90 % interval of throughput over its prediction, where known. [-]
    others:
        Output tokens per second per chip of other deployments that were tried.
    messages:
        What was assumed.
    """

    benchmark: str
    scenario: str
    sku: str
    model: str
    level: str
    kind: str
    deployment: str
    chips: int
    copies: int
    trial: MlperfTrial
    band: tuple[float, float] | None
    others: tuple[tuple[str, float], ...]
    messages: tuple[str, ...]

    @property
    def queries_per_s(self) -> float:
        """Completed queries of the system. [1/s]"""
        return self.copies * self.trial.throughput.queries_per_s

    @property
    def tokens_per_s(self) -> float:
        """Output tokens of the system. [tok/s]"""
        return self.copies * self.trial.throughput.tokens_per_s

    @property
    def tokens_per_s_per_chip(self) -> float:
        """Output tokens per chip. [tok/s]"""
        return self.tokens_per_s / self.chips

    def to_dict(self) -> dict[str, Any]:
        """All figures in one mapping, in SI units."""
        trial = self.trial
        return {
            "benchmark": self.benchmark,
            "scenario": self.scenario,
            "sku": self.sku,
            "model": self.model,
            "software_level": self.level,
            "kind": self.kind,
            "deployment": self.deployment,
            "chips": self.chips,
            "copies": self.copies,
            "target_queries_per_s": None
            if trial.rate_per_s is None
            else trial.rate_per_s * self.copies,
            "completed_queries_per_s": self.queries_per_s,
            "tokens_per_s": self.tokens_per_s,
            "tokens_per_s_per_chip": self.tokens_per_s_per_chip,
            "band": None if self.band is None else list(self.band),
            "passed": trial.passed,
            "binding": trial.binding,
            "latencies": [
                {**asdict(verdict), "passed": verdict.passed} for verdict in trial.verdicts
            ],
            "queries_of_a_copy": trial.queries,
            "window": None if trial.window is None else asdict(trial.window),
            "running_per_copy": trial.running,
            "running_per_rank": trial.running_per_rank,
            "most_running_per_rank": trial.most_running_per_rank,
            "preemptions": trial.preemptions,
            "beyond": None if trial.beyond is None else asdict(trial.beyond),
            "others_tokens_per_s_per_chip": dict(self.others),
            "messages": list(self.messages),
        }
