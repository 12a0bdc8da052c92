"""The host's share of TTFT: what happens to a request before a scheduler sees it."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEnd:
    """A server's front end with the client's side of it.

    A request reaches the scheduler ``request_s + token_s * prompt_tokens`` after the client has
    sent it. The detokenised first chunk on its way back is part of ``request_s``: in a closed
    loop it does not matter on which side of the engine a wait lies. Front ends are taken to be as
    many as are needed, so that no request waits for another's.

    Parameters
    ----------
    request_s:
        HTTP, the hand-over between the server's processes, detokenising and sending the first
        chunk. [s/request]
    token_s:
        Tokenising the prompt. [s/token]

    Raises
    ------
    UserError
        If one of them is negative or not finite.
    """

    request_s: float = 0.0
    token_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (
            ("client_overhead_s", self.request_s),
            ("tokenise_s_per_token", self.token_s),
        ):
            if not 0 <= value < float("inf"):
                raise UserError(f"{name} is {value}; it must be 0 or more seconds")

    def delay_s(self, prompt_tokens: int) -> float:
        """From the client's sending to the arrival at the scheduler. [s]"""
        return self.request_s + self.token_s * prompt_tokens
