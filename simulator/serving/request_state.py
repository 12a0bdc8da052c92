"""The engine's state of one request."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.serving.prefix_match import PrefixMatch
    from simulator.serving.radix_tree import PrefixNode
    from workloads.requests.request import Request


class RequestState:
    """One request as a worker sees it, from its arrival to its last token.

    Attributes
    ----------
    arrival_s, reached_s:
        When the client sent it, and when it came to the scheduler. [s]
    base_tokens, rate:
        Context of decode step ``j`` (from 0), its own tokens included, is
        ``base_tokens + rate * j``. [tokens], [tokens/step]
    final_tokens:
        Prompt and output. [tokens]
    steps_done:
        Decode steps behind the request when it last left or joined a batch. [steps]
    start:
        Rank step that would have been this request's decode step 0.
    target, computed:
        Tokens whose KV entries its prefill must produce, and those that exist. [tokens]
    resumed:
        Tokens found in the prefix cache when it was last admitted. [tokens]
    blocks:
        Private pool blocks held while it is not decoding. [blocks]
    life_blocks:
        Pool blocks at its full length, where a scheduler counts them before it admits. [blocks]
    prefix, shared_blocks:
        Leading prompt blocks that it holds through the prefix cache: their end in its tree, and
        how many pool blocks they are.
    published:
        Leading prompt tokens that later prompts may hit as soon as one is looked up; 0: no more
        than are in the tree. [tokens]
    cached_tokens, loaded_tokens, drive_tokens:
        Prompt tokens found in the prefix cache when it was first admitted, those of them that
        came from offload tiers, and of these from tiers behind the first. [tokens]
    match:
        What the prefix cache has of its prompt, as of the instant of its admission.
    swapped:
        Its KV entries wait in another tier; they come back instead of being computed again.
    order:
        Admission order within the worker; breaks ties.
    """

    __slots__ = (
        "arrival_s",
        "base_tokens",
        "blocks",
        "cached_tokens",
        "computed",
        "drive_tokens",
        "final_tokens",
        "finish_s",
        "first_token_s",
        "life_blocks",
        "loaded_tokens",
        "match",
        "order",
        "preemptions",
        "prefix",
        "published",
        "rank",
        "rate",
        "reached_s",
        "request",
        "resumed",
        "scheduled_s",
        "shared_blocks",
        "start",
        "steps_done",
        "swapped",
        "target",
        "worker",
    )

    def __init__(self, request: Request, arrival_s: float, queries_per_request: int) -> None:
        steps = request.decode_steps
        generated = request.output_tokens - 1
        if generated < 0 or request.prompt_tokens < 1 or (steps == 0) != (generated == 0):
            raise UserError(
                f"request {request.index} has prompt_tokens {request.prompt_tokens}, output_tokens "
                f"{request.output_tokens} and decode_steps {steps}; lengths must be at least 1 and "
                "decode_steps 0 exactly where output_tokens is 1"
            )
        self.request = request
        self.arrival_s = arrival_s
        self.reached_s = arrival_s
        self.scheduled_s = -1.0
        self.first_token_s = -1.0
        self.finish_s = -1.0
        self.base_tokens = request.prompt_tokens + queries_per_request
        self.final_tokens = request.prompt_tokens + request.output_tokens
        self.rate = generated / steps if steps else 0.0
        self.steps_done = 0
        self.start = 0
        self.target = request.prompt_tokens
        self.computed = 0
        self.resumed = 0
        self.blocks = 0
        self.life_blocks = 0
        self.prefix: PrefixNode | None = None
        self.shared_blocks = 0
        self.published = 0
        self.match: PrefixMatch | None = None
        self.swapped = False
        self.cached_tokens = 0
        self.loaded_tokens = 0
        self.drive_tokens = 0
        self.preemptions = 0
        self.order = 0
        self.worker = 0
        self.rank = 0

    def context_at(self, step: int) -> float:
        """Context in a step of its rank, the tokens of that step included. [tokens]"""
        return self.base_tokens + self.rate * (step - self.start)

    def restart(self) -> None:
        """Forget all KV entries: the prompt and what was generated are to be computed again."""
        self.target = self.request.prompt_tokens
        if self.first_token_s >= 0:
            self.target += 1 + floor(self.rate * self.steps_done)
        self.computed = self.resumed = 0
        self.preemptions += 1

    def swap_out(self) -> None:
        """Set all KV entries aside in another tier."""
        self.target = ceil(self.base_tokens + self.rate * self.steps_done)
        self.computed = self.resumed = 0
        self.swapped = True
        self.preemptions += 1
