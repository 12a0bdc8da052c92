"""What users must get: service-level objectives, and how near a run comes to each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.analysis.metrics import goodput
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from simulator.serving.records import Records


ONLINE_TTFT_S = 10.0
"""Longest TTFT of a service that counts as online, where no TTFT is asked for. [s]

SemiAnalysis, "InferenceX AgentX" (August 2026): above 5 to 10 s at p90 traffic is not online.
"""

TTFT_CELLS = {50.0: "median_ttft_s", 90.0: "p90_ttft_s", 99.0: "p99_ttft_s"}
"""Columns of runs with a percentile of the TTFT."""

TTFT_LIMITS = ("ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "goodput")
"""Objectives that limit a frontier, on which speed is an axis."""

_OVER_P90 = ((0.0, 50.0, 90.0, 99.0, 100.0), (0.1, 2.0 / 3.0, 1.0, 1.5, 2.0))
"""About how percentiles of the TTFT lie to its p90, of waits between even and exponential. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """Service-level objectives; what is ``None`` is not asked for.

    Parameters
    ----------
    interactivity:
        Least tokens per second of the median user after the first token, 1 / median TPOT.
        [tok/s]
    interactivity_p90, interactivity_p99:
        The same of the slow tail, 1 / p90 and 1 / p99 TPOT, as InferenceX names them. [tok/s]
    ttft_p50_s, ttft_p90_s, ttft_p99_s:
        Largest median, p90 and p99 time to first token. [s]
    goodput:
        Share of the requests that must meet the tightest TTFT and the highest interactivity
        stated, both at once. [-]

    Raises
    ------
    UserError
        If a number is out of range, or ``goodput`` has no limit to judge a request by.
    """

    interactivity: float | None = None
    interactivity_p90: float | None = None
    interactivity_p99: float | None = None
    ttft_p50_s: float | None = None
    ttft_p90_s: float | None = None
    ttft_p99_s: float | None = None
    goodput: float | None = None

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{name} is {value}; it must be positive and finite")
        if self.goodput is not None and self.goodput > 1:
            raise UserError(f"goodput is {self.goodput}; it is a share of requests, at most 1")
        if self.goodput is not None and not (self.tpot_limits or self.ttft_limits):
            raise UserError("goodput needs a limit to judge requests by; add a TTFT or a speed")

    @property
    def ttft_limits(self) -> dict[float, float]:
        """Largest TTFT by percentile. [s]"""
        limits = {50.0: self.ttft_p50_s, 90.0: self.ttft_p90_s, 99.0: self.ttft_p99_s}
        return {percentile: limit for percentile, limit in limits.items() if limit is not None}

    @property
    def tpot_limits(self) -> dict[float, float]:
        """Largest TPOT by percentile. [s]"""
        speeds = {
            50.0: self.interactivity,
            90.0: self.interactivity_p90,
            99.0: self.interactivity_p99,
        }
        return {percentile: 1.0 / speed for percentile, speed in speeds.items() if speed}

    @property
    def least_speed(self) -> float:
        """Speed that at least half of the users must have; 0 without such an objective. [tok/s]"""
        speeds = (self.interactivity, self.interactivity_p90, self.interactivity_p99)
        return max((speed for speed in speeds if speed is not None), default=0.0)

    def online(self) -> tuple[Objectives, tuple[str, ...]]:
        """The same with the TTFT of an online service if none is asked for, and a note of it."""
        if self.ttft_limits:
            return self, ()
        note = (
            f"no TTFT is asked for: p90 <= {ONLINE_TTFT_S:g} s, the bound of online service "
            "(SemiAnalysis AgentX, 2026-08)"
        )
        return replace(self, ttft_p90_s=ONLINE_TTFT_S), (note,)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.ttft_limits or self.tpot_limits)

    @property
    def goodput_ttft_s(self) -> float | None:
        """TTFT within which requests count as good; ``None`` where no goodput is asked for. [s]"""
        return None if self.goodput is None else min(self.ttft_limits.values(), default=None)

    def ttft_use(self, runs: Mapping[str, Any] | pd.DataFrame) -> Any:
        """How much of each TTFT limit and of the goodput runs use up, the most; above 1: missed.

        Parameters
        ----------
        runs:
            Cells of one run, or a table of several: percentiles of the TTFT [s] and, where a
            goodput is asked for, ``goodput``, the share of requests within the tightest limit.
        """
        used: Any = 0.0
        for percentile, limit in self.ttft_limits.items():
            used = np.maximum(used, runs[TTFT_CELLS[percentile]] / limit)
        if self.goodput is not None:
            used = np.maximum(used, self.goodput / np.maximum(runs["goodput"], 1e-9))
        return used

    def about_ttft_use(self, p90_s: float) -> float:
        """About the same from an estimate of the p90 alone. [-]"""
        wanted = list(self.ttft_limits.items())
        if self.goodput is not None and (within := self.goodput_ttft_s) is not None:
            wanted.append((100.0 * self.goodput, within))
        return max(
            (p90_s * float(np.interp(each, *_OVER_P90)) / limit for each, limit in wanted),
            default=0.0,
        )

    @property
    def ttft_words(self) -> str:
        """The TTFT limits and the goodput in words; empty where there are none."""
        parts = [f"p{each:g} up to {limit:g} s" for each, limit in self.ttft_limits.items()]
        if (within := self.goodput_ttft_s) is not None:
            parts.append(f"{100 * (self.goodput or 0):g} % of requests within {within:g} s")
        return ", ".join(parts)

    @property
    def caption_words(self) -> str:
        """The same for the caption of a picture, with a comma before it; empty without limits."""
        parts = [f"p{each:g} TTFT up to {limit:g} s" for each, limit in self.ttft_limits.items()]
        if (within := self.goodput_ttft_s) is not None:
            parts.append(f"{100 * (self.goodput or 0):g} % of TTFTs within {within:g} s")
        return "".join(f", {part}" for part in parts)

    @property
    def ttft_flags(self) -> str:
        """Flags that state them."""
        found = [f"--ttft-p{each:g}" for each in self.ttft_limits]
        return ", ".join([*found, *(["--goodput"] if self.goodput is not None else [])])

    def to_dict(self) -> dict[str, float | None]:
        """The TTFT limits and the goodput by name. [s], [-]"""
        return {name: getattr(self, name) for name in TTFT_LIMITS}

    def slo_use(self, records: Records) -> dict[str, float]:
        """How much of each objective finished requests use up: 1 is just met, more is missed.

        Latencies over their limits; for goodput the share asked for over the share reached.
        """
        found = {
            f"TTFT p{percentile:g}": _percentile(records.ttft_s, percentile) / limit
            for percentile, limit in self.ttft_limits.items()
        }
        found |= {
            f"interactivity{'' if percentile == 50 else f' p{percentile:g}'}": _percentile(
                records.tpot_s, percentile
            )
            / limit
            for percentile, limit in self.tpot_limits.items()
        }
        if self.goodput is not None:
            reached = goodput(
                records,
                ttft_slo_s=min(self.ttft_limits.values(), default=None),
                tpot_slo_s=min(self.tpot_limits.values(), default=None),
            ).joint_share
            found["goodput"] = self.goodput / reached if reached else float("inf")
        return found

    def __str__(self) -> str:
        parts = [
            f"{1.0 / limit:g} tok/s/user ({'median' if percentile == 50 else f'p{percentile:g}'})"
            for percentile, limit in self.tpot_limits.items()
        ]
        parts += [
            f"TTFT p{percentile:g} <= {limit:g} s" for percentile, limit in self.ttft_limits.items()
        ]
        if self.goodput is not None:
            parts.append(f"{100 * self.goodput:g} % of requests meet them at once")
        return ", ".join(parts) or "no objective"


NO_LIMIT = Objectives()
"""Any TTFT may stand on a frontier."""


def stated_limits(**stated: float | None) -> Objectives | None:
    """Limits of a frontier by name; ``None`` where none is stated.

    A goodput alone is judged by the TTFT of an online service.

    Raises
    ------
    UserError
        If a number is out of range.
    """
    if all(value is None for value in stated.values()):
        return None
    if all(value is None for name, value in stated.items() if name != "goodput"):
        stated = {**stated, "ttft_p90_s": ONLINE_TTFT_S}
    return Objectives(**stated)


def resolved_limits(
    limits: Objectives, *, origin: Mapping[str, str]
) -> dict[str, dict[str, float | str | None]]:
    """Limits of a frontier with where each came from."""
    return {
        name: {
            "value": value,
            "origin": "default" if value is None else origin.get(name, "flag"),
        }
        for name, value in limits.to_dict().items()
    }


def _percentile(values_s: np.ndarray[tuple[int], np.dtype[np.float64]], percentile: float) -> float:
    present = values_s[~np.isnan(values_s)]
    return float(np.percentile(present, percentile)) if present.size else 0.0
