"""Requests: what a client sends, independent of how it is served."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Request:
    """One generation request.

    Parameters
    ----------
    index:
        Position in the workload; ties in time are broken by it.
    prompt_tokens, output_tokens:
        Lengths. [tokens]
    decode_steps:
        Engine steps from the first output token to the last: ``output_tokens - 1`` without
        speculation, fewer with accepted drafts (drawn beforehand, see
        `workloads.speculation`). [steps]
    arrival_s:
        Arrival on the workload's own clock; ``None`` where a closed-loop client decides. [s]
    block_hashes:
        Identity of each full block of the prompt, for prefix reuse; empty if nothing is shared.
    block_tokens:
        Tokens of one such block. [tokens]
    session, turn:
        Conversation and position in it; a turn is sent when the one before it has finished and
        ``think_s`` has passed. ``session`` is -1 for single-turn requests.
    think_s:
        Pause of the user before this turn. [s]
    output_recurs:
        Whether a later prompt may repeat what this request generates; recorded sessions repeat
        the recorded text instead.
    """

    index: int
    prompt_tokens: int
    output_tokens: int
    decode_steps: int
    arrival_s: float | None = None
    block_hashes: tuple[int, ...] = ()
    block_tokens: int = 0
    session: int = -1
    turn: int = 0
    think_s: float = 0.0
    output_recurs: bool = True
