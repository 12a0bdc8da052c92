"""What a launch command needs of a configuration, and the flags that an engine gives for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workloads.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """One worker of a configuration.

    Parameters
    ----------
    layout:
        How the worker spreads the model.
    longest_context:
        Longest context to allow. [tokens]
    speculation, drafts:
        Method and draft tokens per step; 0 without speculation. [tokens]
    plan:
        Fields of the execution plan in which the pool differs from its software level.
    """

    layout: Layout
    longest_context: int
    speculation: str
    drafts: int
    plan: Mapping[str, Any]


@dataclass(slots=True)
class LaunchFlags:
    """Flags of one worker, options that the engine reads from a file, and what has no flag."""

    words: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, flag: str, value: Any = None, *, when: bool = True) -> None:
        """Append a flag, with its value if it has one."""
        if when:
            self.words += [flag] if value is None else [flag, _text(value)]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
