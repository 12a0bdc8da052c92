"""Where a replay's session trees come from: the generator or a user's own files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.requests.agentx.generator import PUBLISHED, SESSIONS, generated_tree

if TYPE_CHECKING:
    from workloads.requests.agentx.forest import SessionTree
    from workloads.requests.agentx.generator import AgentxParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedTrees:
    """Trees of the generated data set, in row order, from the first again after the last."""

    parameters: AgentxParameters = PUBLISHED
    entries: int = SESSIONS

    def tree(self, position: int) -> SessionTree:
        """The tree at a position."""
        return generated_tree(position % self.entries, self.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrees:
    """Trees of a user's own trace file."""

    trees: tuple[SessionTree, ...]

    def tree(self, position: int) -> SessionTree:
        """The tree at a position."""
        return self.trees[position % len(self.trees)]
