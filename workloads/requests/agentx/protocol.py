"""The protocol of InferenceX AgentX: constants of its client, by date."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, replace

import numpy as np

from workloads.errors import UserError, unknown_name

LONGEST_WINDOW_S = 86_400.0
"""Longest window of a replay. [s]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentxProtocol:
    """How a client replays session trees.

    Parameters
    ----------
    name, date, source:
        Version of the client, its date and where its constants stand.
    window_s:
        Requests are sent for this long after the hand-off from warm-up. [s]
    drain_s:
        What is in flight at the end of the window may finish for this long. [s]
    warm_up_requests:
        Requests of each lane between its start point and the hand-off. [requests]
    warm_up_s:
        Where it is stated, warm-up goes on for this long instead of for a number of requests.
        [s]
    start_low, start_high:
        The start point of a lane lies between these shares of the span of its tree's recorded
        request starts. [-]
    tree_idle_cap_s:
        If no request of a tree has been in flight for this long, its timers move forward. [s]
    system_idle_cap_s:
        If no request at all has been in flight for this long, all timers do. [s]
    delay_cap_s:
        Longest delay of a single turn; ``None``: no such cap. [s]
    start_gap_cap_s:
        Longest pause between two consecutive recorded request starts of a tree, sub-agents
        included, longer ones being shortened to it before the replay; delays are then those
        pauses, from the return of a turn to the start of the next. ``None``: delays as recorded,
        from return to start. [s]
    entries:
        Sessions in the order of lanes; the sequence starts again after the last. [sessions]
    seed:
        Of the start points.
    """

    name: str
    date: dt.date
    source: str
    window_s: float = 3600.0
    drain_s: float = 30.0
    warm_up_requests: int = 10
    warm_up_s: float | None = None
    start_low: float = 0.25
    start_high: float = 0.75
    tree_idle_cap_s: float | None = 300.0
    system_idle_cap_s: float | None = 10.0
    delay_cap_s: float | None = None
    start_gap_cap_s: float | None = None
    entries: int = 393
    seed: int = 42

    def __post_init__(self) -> None:
        for field, least in (("window_s", 1.0), ("drain_s", 0.0), ("warm_up_requests", 0)):
            if not getattr(self, field) >= least:
                raise UserError(f"{field} is {getattr(self, field)}; it must be at least {least:g}")
        if self.window_s > LONGEST_WINDOW_S:
            raise UserError(
                f"window_s is {self.window_s:g}; it must be at most {LONGEST_WINDOW_S:g}"
            )
        if not 0.0 <= self.start_low <= self.start_high <= 1.0:
            raise UserError(
                f"start ratios are {self.start_low} and {self.start_high}; they must lie between "
                "0 and 1, the first not above the second"
            )

    @property
    def end_s(self) -> float:
        """End of the run after the hand-off, the drain included. [s]"""
        return self.window_s + self.drain_s

    def start_share(self, *, trace: str, lane: int) -> float:
        """Where in the span of a tree a lane starts, from 0 to 1. [-]

        The first uniform number of a generator seeded with the first 8 bytes of
        ``sha256("seed:trace:lane")``, as the client draws it.
        """
        digest = hashlib.sha256(f"{self.seed}:{trace}:{lane}".encode()).digest()
        drawn = np.random.default_rng(int.from_bytes(digest[:8], "big")).uniform()
        return self.start_low + float(drawn) * (self.start_high - self.start_low)

    @property
    def text(self) -> str:
        """The constants in one line."""
        caps = ", ".join(
            f"{name} idle cap {'none' if cap is None else f'{cap:g} s'}"
            for name, cap in (
                ("tree", self.tree_idle_cap_s),
                ("system", self.system_idle_cap_s),
                ("turn", self.delay_cap_s),
            )
        )
        if self.start_gap_cap_s is not None:
            caps += f", recorded request starts at most {self.start_gap_cap_s:g} s apart"
        warm_up = f"{self.warm_up_requests} warm-up requests a lane"
        if self.warm_up_s is not None:
            warm_up = f"{self.warm_up_s:g} s of warm-up"
        return (
            f"client {self.name} of {self.date}: window {self.window_s:g} s and {self.drain_s:g} s "
            f"drain, {warm_up}, start points "
            f"{self.start_low:g} to {self.start_high:g} of the session, {caps}"
        )


AGENTX = AgentxProtocol(
    name="agentx",
    date=dt.date(2026, 8, 21),
    source=(
        "SemiAnalysisAI/InferenceX 843c6254, benchmarks/benchmark_lib.sh build_replay_cmd; client "
        "SemiAnalysisAI/aiperf 754356e9, scenario inferencex-agentx-mvp"
    ),
)
"""AgentX v1.0, the rules of the published points."""

AGENTX_FAST = AgentxProtocol(
    name="agentx-fast",
    date=dt.date(2026, 8, 21),
    source="SemiAnalysisAI/InferenceX 843c6254, fast mode",
    window_s=1200.0,
    warm_up_requests=1,
)
"""The harness's fast mode: reads about 6 % low against an hour."""

AGENTX_JULY = AgentxProtocol(
    name="agentx-2026-07",
    date=dt.date(2026, 7, 18),
    source=(
        "SemiAnalysisAI/InferenceX benchmarks/benchmark_lib.sh build_replay_cmd of July 2026 "
        "(--agentic-cache-warmup-duration 600, --trace-idle-gap-cap-seconds 10 at load time); "
        "SemiAnalysisAI/aiperf, Weka loader: "
        "delays are differences of request starts"
    ),
    warm_up_s=600.0,
    tree_idle_cap_s=None,
    system_idle_cap_s=None,
    start_gap_cap_s=10.0,
)
"""Before AgentX v1.0: pauses of a session are shortened to 10 s before the replay, so that about
one request of every session is in flight, and ten minutes of warm-up leave lanes deep in sessions,
in longer ones the more requests they have: prompts are longer than in v1.0."""

AIPERF_UPSTREAM = AgentxProtocol(
    name="aiperf",
    date=dt.date(2026, 9, 1),
    source="ai-dynamo/aiperf, defaults of agentic replay",
    window_s=1800.0,
    start_low=0.0,
    start_high=1.0,
)
"""Upstream AIPerf's defaults; figures must not be compared with AgentX's."""

AIPERF_COMPRESSED = AgentxProtocol(
    name="aiperf-10s",
    date=dt.date(2026, 5, 16),
    source="ai-dynamo/aiperf, builds that compress every gap to 10 s at most",
    window_s=1800.0,
    start_low=0.0,
    start_high=1.0,
    delay_cap_s=10.0,
)
"""Older upstream builds, which cut every pause to 10 s; not comparable with AgentX's figures."""

PROTOCOLS: dict[str, AgentxProtocol] = {
    one.name: one for one in (AGENTX, AGENTX_FAST, AGENTX_JULY, AIPERF_UPSTREAM, AIPERF_COMPRESSED)
}


def load_protocol(name: str) -> AgentxProtocol:
    """The protocol of a name, which may carry a window: ``agentx-fast:600`` of 600 s.

    Raises
    ------
    UserError
        If there is none; the message lists them. If the window is no time.
    """
    known, colon, window = name.partition(":")
    found = PROTOCOLS.get(known)
    if found is None:
        raise unknown_name(field="protocol", value=known, known=PROTOCOLS)
    if not colon:
        return found
    try:
        window_s = float(window)
    except ValueError:
        raise UserError(
            f"protocol '{name}' has the window '{window}'; write seconds, as {known}:600"
        ) from None
    return replace(found, name=name, window_s=window_s)
