"""Generated requests: InferenceX's closed loop, open loops, multi-turn conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count as counter
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from workloads.errors import UserError
from workloads.requests.arrivals import CHUNK
from workloads.requests.lengths import (
    IntArray,
    LengthDistribution,
    length_distribution,
    scaled_uniform,
)
from workloads.requests.request import Request

if TYPE_CHECKING:
    from workloads.requests.arrivals import ArrivalProcess, FloatArray

DecodeSteps: TypeAlias = Callable[[IntArray], IntArray]
"""Engine steps of each request from its first output token to its last, given output lengths."""

INFERENCEX_PROMPTS_PER_CLIENT = 10
"""Requests per closed-loop client in InferenceX's fixed-length runs (``--num-prompts 10*C``)."""


def requests_from_lengths(
    *,
    prompt_tokens: IntArray,
    output_tokens: IntArray,
    decode_steps: DecodeSteps | IntArray | None = None,
    arrival_s: FloatArray | None = None,
    first_index: int = 0,
) -> list[Request]:
    """Requests with the given lengths, numbered from `first_index`.

    Parameters
    ----------
    prompt_tokens, output_tokens:
        Lengths, one per request. [tokens]
    decode_steps:
        Steps after the first output token, one per request, or a function that gives them;
        ``None``: one token a step, ``output_tokens - 1``. [steps]
    arrival_s:
        Arrival times; ``None`` where closed-loop clients decide. [s]

    Raises
    ------
    ValueError
        If the steps are not between 1 (0 for a single output token) and ``output_tokens - 1``.
    """
    most = output_tokens - 1
    if decode_steps is None:
        steps = most
    else:
        steps = decode_steps(output_tokens) if callable(decode_steps) else decode_steps
        steps = np.asarray(steps, dtype=np.int64)
        if steps.shape != most.shape or np.any((steps < np.minimum(most, 1)) | (steps > most)):
            raise ValueError(
                "decode_steps must hold one number per request, between 1 and output_tokens - 1"
            )
    arrivals: list[float | None] = (
        [None] * output_tokens.size if arrival_s is None else arrival_s.tolist()
    )
    return [
        Request(
            index=index,
            prompt_tokens=prompt,
            output_tokens=output,
            decode_steps=step,
            arrival_s=arrival,
        )
        for index, prompt, output, step, arrival in zip(
            range(first_index, first_index + output_tokens.size),
            prompt_tokens.tolist(),
            output_tokens.tolist(),
            steps.tolist(),
            arrivals,
            strict=True,
        )
    ]


def inferencex_requests(
    *,
    isl: int,
    osl: int,
    count: int,
    rng: np.random.Generator,
    range_ratio: float = 0.8,
    distribution: str | None = None,
    template_tokens: int = 0,
    decode_steps: DecodeSteps | IntArray | None = None,
) -> list[Request]:
    """Requests of InferenceX's fixed-length benchmark, for closed-loop clients.

    Prompt and output lengths are independent whole numbers, uniform in [int(0.8 L), L], so that
    "8192/1024" averages 7373/922 tokens. Nothing is shared between prompts.

    Parameters
    ----------
    isl, osl:
        Nominal prompt and output lengths. [tokens]
    count:
        Requests; InferenceX sends `INFERENCEX_PROMPTS_PER_CLIENT` per client.
    rng:
        Source of randomness. Prompt and output lengths use one child stream each, so that the
        first n requests do not depend on `count`.
    range_ratio:
        Shortest over nominal length. [-]
    distribution:
        A name of `workloads.requests.lengths.length_distribution` in place of `range_ratio`.
    template_tokens:
        Tokens that a chat template adds. The benchmark subtracts them from the nominal prompt
        before drawing and adds the template to each prompt (``--use-chat-template``). [tokens]
    decode_steps:
        As in `requests_from_lengths`.

    Raises
    ------
    UserError
        If a length or `count` is below one, or the template leaves no prompt.

    References
    ----------
    InferenceX, ``utils/bench_serving/benchmark_serving.py::sample_random_requests``,
    github.com/SemiAnalysisAI/InferenceX.
    """
    if count < 1:
        raise UserError(f"count is {count}; a workload needs at least 1 request")
    if not 0 <= template_tokens < isl:
        raise UserError(
            f"template_tokens is {template_tokens}; it must be at least 0 and below isl, {isl}"
        )

    def lengths(nominal_tokens: int) -> LengthDistribution:
        if distribution is not None:
            return length_distribution(name=distribution, nominal_tokens=nominal_tokens)
        return scaled_uniform(nominal_tokens=nominal_tokens, range_ratio=range_ratio)

    prompt_rng, output_rng = rng.spawn(2)
    return requests_from_lengths(
        prompt_tokens=lengths(isl - template_tokens).sample(prompt_rng, count) + template_tokens,
        output_tokens=lengths(osl).sample(output_rng, count),
        decode_steps=decode_steps,
    )


def open_loop_requests(
    *,
    arrivals: ArrivalProcess,
    prompt: LengthDistribution,
    output: LengthDistribution,
    rng: np.random.Generator,
    count: int | None = None,
    duration_s: float | None = None,
    decode_steps: DecodeSteps | None = None,
    chunk: int = CHUNK,
) -> Iterator[list[Request]]:
    """Yield chunks of requests that arrive whatever the service does, in order of arrival.

    Arrivals, prompt and output lengths use one child stream of `rng` each: two deployments see
    the same requests, and a change of one distribution leaves the others alone. Memory is
    bounded by a chunk.

    Parameters
    ----------
    count:
        Stop after this many requests.
    duration_s:
        Stop before the first arrival after this time. [s]
    chunk:
        Requests of a chunk; the requests do not depend on it.

    Raises
    ------
    UserError
        If neither `count` nor `duration_s` bounds the run, or one of them is not positive.
    """
    if count is None and duration_s is None:
        raise UserError("count and duration_s are both missing; an open loop needs one of them")
    if count is not None and count < 1:
        raise UserError(f"count is {count}; a workload needs at least 1 request")
    if duration_s is not None and not duration_s > 0:
        raise UserError(f"duration_s is {duration_s}; it must be positive")
    arrival_rng, prompt_rng, output_rng = rng.spawn(3)
    return _open_loop(
        arrivals.times(arrival_rng, chunk=chunk),
        lambda size: (prompt.sample(prompt_rng, size), output.sample(output_rng, size)),
        count,
        duration_s,
        decode_steps,
    )


def _open_loop(
    times: Iterator[FloatArray],
    lengths: Callable[[int], tuple[IntArray, IntArray]],
    count: int | None,
    duration_s: float | None,
    decode_steps: DecodeSteps | None,
) -> Iterator[list[Request]]:
    sent = 0
    for arrival_s in times:
        kept = arrival_s if duration_s is None else arrival_s[arrival_s <= duration_s]
        if count is not None:
            kept = kept[: count - sent]
        if kept.size:
            prompt_tokens, output_tokens = lengths(kept.size)
            yield requests_from_lengths(
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
                decode_steps=decode_steps,
                arrival_s=kept,
                first_index=sent,
            )
            sent += kept.size
        if kept.size < arrival_s.size or sent == count:
            return


def private_block(session: int, position: int) -> int:
    """Identity of a prompt block that only one session has.

    Negative, so that it never equals a block of a trace or of a shared prefix.
    """
    return -1 - ((session << 32) | position)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """Multi-turn sessions that resend their history, with a prefix that all of them share.

    A turn's prompt is the shared prefix, all earlier inputs and outputs of the session, and the
    new input. A turn is sent when the one before has finished and the user has thought.

    Parameters
    ----------
    turns:
        Number of turns of a session.
    shared_prefix_tokens:
        System prompt and tool definitions, the same in all sessions. [tokens]
    first_input, next_input:
        New prompt tokens of the first turn and of each later turn (a user's message or the
        results of tools). [tokens]
    output:
        Output of each turn. [tokens]
    mean_think_s:
        Mean of the exponential pause before each turn but the first. [s]
    max_context_tokens:
        A session ends before the turn whose prompt and output would pass this. [tokens]
    block_tokens:
        Tokens of the blocks in which prompts are compared. [tokens]

    Raises
    ------
    UserError
        If a parameter is out of range.
    """

    turns: LengthDistribution
    shared_prefix_tokens: int
    first_input: LengthDistribution
    next_input: LengthDistribution
    output: LengthDistribution
    mean_think_s: float
    max_context_tokens: int
    block_tokens: int = 64

    def __post_init__(self) -> None:
        for field, least in (
            ("shared_prefix_tokens", 0),
            ("mean_think_s", 0),
            ("max_context_tokens", 1),
            ("block_tokens", 1),
        ):
            if not getattr(self, field) >= least:
                raise UserError(f"{field} is {getattr(self, field)}; it must be at least {least}")

    def sessions(
        self,
        *,
        rng: np.random.Generator,
        count: int,
        arrivals: ArrivalProcess | None = None,
        decode_steps: DecodeSteps | None = None,
    ) -> Iterator[list[Request]]:
        """Yield the turns of one session after the other.

        Parameters
        ----------
        rng:
            Source of randomness, one child stream per quantity.
        count:
            Sessions.
        arrivals:
            When sessions begin; ``None`` where closed-loop clients decide.

        Raises
        ------
        UserError
            If `count` is below one, or a first turn alone passes `max_context_tokens`.
        """
        if count < 1:
            raise UserError(f"count is {count}; a workload needs at least 1 session")
        turn_rng, input_rng, output_rng, think_rng, arrival_rng = rng.spawn(5)
        starts_s: Iterator[float | None] = (
            (None for _ in counter())
            if arrivals is None
            else (time_s for block in arrivals.times(arrival_rng) for time_s in block.tolist())
        )
        next_index = 0
        for session, start_s in zip(range(count), starts_s, strict=False):
            turns = int(self.turns.sample(turn_rng, 1)[0])
            inputs = self.next_input.sample(input_rng, turns)
            inputs[0] = self.shared_prefix_tokens + self.first_input.sample(input_rng, 1)[0]
            outputs = self.output.sample(output_rng, turns)
            pauses_s = think_rng.exponential(self.mean_think_s, size=turns)
            contexts = np.cumsum(inputs + outputs)
            kept = int(np.searchsorted(contexts, self.max_context_tokens, side="right"))
            if kept == 0:
                raise UserError(
                    f"max_context_tokens is {self.max_context_tokens}; the first turn of a "
                    f"session takes {contexts[0]} tokens: raise it or shorten the inputs"
                )
            requests = requests_from_lengths(
                prompt_tokens=(contexts - outputs)[:kept],
                output_tokens=outputs[:kept],
                decode_steps=decode_steps,
                first_index=next_index,
            )
            requests[0].arrival_s = start_s
            shared = self.shared_prefix_tokens // self.block_tokens
            link_turns(
                requests,
                session=session,
                think_s=[0.0, *pauses_s[1:kept].tolist()],
                shared_blocks=tuple(range(shared)),
                block_tokens=self.block_tokens,
            )
            next_index += kept
            yield requests


def link_turns(
    requests: list[Request],
    *,
    session: int,
    think_s: list[float],
    shared_blocks: tuple[int, ...],
    block_tokens: int,
) -> None:
    """Make requests the turns of one session whose prompts each extend the one before.

    The leading blocks are `shared_blocks`, which other sessions may have too; the rest belong
    to this session alone.
    """
    longest = max(request.prompt_tokens for request in requests) // block_tokens
    private = (private_block(session, k) for k in range(len(shared_blocks), longest))
    blocks = (*shared_blocks, *private)
    for turn, (request, pause_s) in enumerate(zip(requests, think_s, strict=True)):
        request.session = session
        request.turn = turn
        request.think_s = pause_s
        request.block_tokens = block_tokens
        request.block_hashes = blocks[: request.prompt_tokens // block_tokens]
