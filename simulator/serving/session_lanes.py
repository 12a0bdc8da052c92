"""Lanes of session trees as a load: the closed loop of InferenceX AgentX.

Each lane replays one tree of requests at a time and takes the next one when it has drained
(`simulator.serving.lane_clients`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from workloads.errors import UserError

if TYPE_CHECKING:
    from workloads.requests.agentx.forest import SessionTree
    from workloads.requests.agentx.protocol import AgentxProtocol
    from workloads.requests.synthetic import DecodeSteps


class TreeSource(Protocol):
    """Session trees in the order in which lanes take them."""

    def tree(self, position: int) -> SessionTree:
        """The tree at a position; positions beyond the last start again."""
        ...


@dataclass(slots=True)
class LaneCounts:
    """What a run of lanes did, beside its records.

    Attributes
    ----------
    primers, warm_up:
        Requests before the window. [requests]
    recycled:
        Trees that lanes took after their first. [trees]
    overflows:
        Requests that fit no pool and were answered with an error. [requests]
    open_at_end:
        Requests that were in flight at the end of the drain. [requests]
    start_s:
        Hand-off from warm-up to the window, on the clock. [s]
    prompt_blocks, repeated_blocks:
        Content blocks of the prompts sent in the window, and those of them that the session had
        sent before: what an infinite cache of every session would hit. [blocks]
    """

    primers: int = 0
    warm_up: int = 0
    recycled: int = 0
    overflows: int = 0
    open_at_end: int = 0
    start_s: float = 0.0
    prompt_blocks: int = 0
    repeated_blocks: int = 0

    @property
    def infinite_cache_hit(self) -> float:
        """Share of prompt blocks that an infinite cache of every session would hit. [-]"""
        return self.repeated_blocks / self.prompt_blocks if self.prompt_blocks else float("nan")


@dataclass(frozen=True, kw_only=True)
class SessionLanes:
    """A closed loop of session trees.

    Parameters
    ----------
    concurrency:
        Lanes: session trees that are live at a time. [trees]
    source:
        The trees.
    protocol:
        Rules and constants of the client.
    decode_steps:
        Engine steps of outputs under speculation; ``None``: a token a step.
    counts:
        Filled by the run.

    Raises
    ------
    UserError
        If there is no lane.
    """

    concurrency: int
    source: TreeSource
    protocol: AgentxProtocol
    decode_steps: DecodeSteps | None = None
    counts: LaneCounts = field(default_factory=LaneCounts)

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise UserError(f"concurrency is {self.concurrency}; sessions need at least one lane")
