"""AgentX by name or by file: the trees of a replay and the rules of its client."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.requests.agentx.protocol import AGENTX, AGENTX_FAST, AgentxProtocol
from workloads.requests.agentx.source import GeneratedTrees, RecordedTrees

if TYPE_CHECKING:
    from workloads.requests.agentx.forest import SessionTree

LONGEST_TOKENS = 1_048_576
"""Longest context of generated sessions: a prompt of 990,016 tokens and its output. [tokens]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentxWorkload:
    """Session trees and the protocol by which they are replayed.

    ``skipped`` are rows of a file that were bad and left out, ``without_output`` the lines of calls
    that recorded none and send one token, as the client does, ``tolerates`` whether calls beyond a
    model's context are answered with an error rather than refused.
    """

    name: str
    source: GeneratedTrees | RecordedTrees = field(default_factory=GeneratedTrees)
    protocol: AgentxProtocol = AGENTX
    skipped: int = 0
    without_output: tuple[int, ...] = ()
    tolerates: bool = True

    @property
    def is_timed(self) -> bool:
        """Whether requests carry arrival times: lanes of sessions send them, so never."""
        return False

    @property
    def longest_tokens(self) -> int:
        """Longest prompt and output together. [tokens]"""
        if isinstance(self.source, GeneratedTrees):
            return LONGEST_TOKENS
        return max(
            one.call.prompt_tokens + one.call.output_tokens
            for tree in self.source.trees
            for one in tree.requests
        )

    def check_context(self, limit_tokens: int, *, model: str) -> None:
        """Refuse recorded calls beyond a model's context, unless they are tolerated.

        Raises
        ------
        UserError
            With the line of the first such call and how many there are.
        """
        if self.tolerates or isinstance(self.source, GeneratedTrees):
            return
        beyond = [
            one.call
            for tree in self.source.trees
            for one in tree.requests
            if one.call.prompt_tokens + one.call.output_tokens > limit_tokens
        ]
        if beyond:
            first = min(beyond, key=lambda call: call.line)
            raise UserError(
                f"{self.name}, line {first.line}: a call of {first.prompt_tokens} + "
                f"{first.output_tokens} tokens is beyond the {limit_tokens} tokens of context of "
                f"{model} ({len(beyond)} calls are); take the traces' 256k variant or another "
                "model, or --on-error skip, which answers them with an error and counts them"
            )

    @property
    def description(self) -> str:
        """One line: what is sent and where it comes from."""
        if isinstance(self.source, GeneratedTrees):
            what = (
                "generated session trees with the published statistics of AgentX v1.0 "
                "(cc-traces-weka-062126; estimate)"
            )
        else:
            trees: tuple[SessionTree, ...] = self.source.trees
            count = sum(len(tree.requests) for tree in trees)
            what = f"{len(trees)} recorded session trees of {self.name}, {count} requests"
            dropped = sum(tree.dropped for tree in trees)
            if self.skipped:
                what += f", {self.skipped} bad rows left out"
            if self.without_output:
                what += (
                    f", {len(self.without_output)} without output send one token each (the first: "
                    f"line {self.without_output[0]})"
                )
            if dropped:
                what += f", {dropped} calls before any main call left out"
        return f"{what}; {self.protocol.text}"


AGENTX_WORKLOADS: dict[str, AgentxWorkload] = {
    "agentx": AgentxWorkload(name="agentx"),
    "agentx-fast": AgentxWorkload(name="agentx-fast", protocol=AGENTX_FAST),
}
"""Named workloads of session trees."""
