"""The requests of a load: a workload's lengths and conversations at the times of its arrivals."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.requests.catalog import (
    ConversationWorkload,
    DrawnLengthWorkload,
    FixedLengthWorkload,
    TraceWorkload,
    traffic_kind,
)
from workloads.requests.lengths import length_distribution
from workloads.requests.synthetic import inferencex_requests, open_loop_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from simulator.studies.load.request import LoadRequest
    from workloads.requests.arrivals import ArrivalProcess
    from workloads.requests.catalog import Workload
    from workloads.requests.request import Request
    from workloads.requests.synthetic import DecodeSteps

_ENDLESS = 1 << 31
_SESSIONS_PER_CLIENT = 3


def load_requests(
    asked: LoadRequest,
    *,
    rng: np.random.Generator,
    arrivals_rng: np.random.Generator,
    decode_steps: DecodeSteps | None = None,
) -> Iterator[Request]:
    """The requests of one replication, in order of arrival, a few at a time.

    Parameters
    ----------
    rng, arrivals_rng:
        Sources of lengths, and of the arrivals of conversations and traces.
    decode_steps:
        Engine steps of outputs under speculation.

    Raises
    ------
    UserError
        If a length is out of range.
    """
    workload = asked.workload
    if isinstance(workload, FixedLengthWorkload):
        return _fixed_lengths(asked, workload, rng=rng, decode_steps=decode_steps)
    if isinstance(workload, DrawnLengthWorkload):
        return _drawn_lengths(asked, workload, rng=rng, decode_steps=decode_steps)
    requests = _unbounded(asked, workload, rng=rng, decode_steps=decode_steps)
    if asked.process is not None:
        requests = _arriving(requests, asked.process, rng=arrivals_rng)
    if asked.settings.concurrency is None:
        requests = _until(
            requests,
            sys.float_info.max if asked.duration_s is None else asked.duration_s,
            sessions_follow=isinstance(workload, ConversationWorkload),
        )
    return islice(requests, asked.requests)


def longest_tokens(workload: Workload) -> tuple[int, int]:
    """Longest prompt, and what the longest context has beyond it. [tokens]"""
    if isinstance(workload, FixedLengthWorkload):
        return workload.isl, workload.osl
    if isinstance(workload, ConversationWorkload):
        return workload.conversations.max_context_tokens - 1, 1
    assert isinstance(workload, TraceWorkload | DrawnLengthWorkload)
    return workload.longest_tokens


def typical_tokens(workload: Workload) -> tuple[int, int]:
    """Lengths by which a recipe is looked up: nominal ones, or a trace's means. [tokens]"""
    if isinstance(workload, FixedLengthWorkload):
        return workload.isl, workload.osl
    if isinstance(workload, ConversationWorkload):
        one = workload.conversations
        prompt = one.shared_prefix_tokens + one.first_input.mean_tokens
        return round(prompt), round(one.output.mean_tokens)
    assert isinstance(workload, TraceWorkload | DrawnLengthWorkload)
    prompt_tokens, output_tokens = workload.mean_tokens
    return max(1, round(prompt_tokens)), max(1, round(output_tokens))


def shares_prefixes(workload: Workload) -> bool:
    """Whether prompts say which blocks they have in common."""
    return traffic_kind(workload) == "agentic"


def has_conversations(workload: Workload) -> bool:
    """Whether some requests are turns of one conversation."""
    if isinstance(workload, TraceWorkload):
        return any(request.session >= 0 for request in workload.recorded)
    return isinstance(workload, ConversationWorkload)


def _fixed_lengths(
    asked: LoadRequest,
    workload: FixedLengthWorkload,
    *,
    rng: np.random.Generator,
    decode_steps: DecodeSteps | None,
) -> Iterator[Request]:
    distribution = asked.scenario.length_distribution
    if asked.process is None:
        assert asked.requests is not None
        return iter(
            inferencex_requests(
                isl=workload.isl,
                osl=workload.osl,
                count=asked.requests,
                rng=rng,
                distribution=distribution,
                decode_steps=decode_steps,
            )
        )
    return chain.from_iterable(
        open_loop_requests(
            arrivals=asked.process,
            prompt=length_distribution(name=distribution, nominal_tokens=workload.isl),
            output=length_distribution(name=distribution, nominal_tokens=workload.osl),
            rng=rng,
            count=asked.requests,
            duration_s=asked.duration_s,
            decode_steps=decode_steps,
        )
    )


def _drawn_lengths(
    asked: LoadRequest,
    workload: DrawnLengthWorkload,
    *,
    rng: np.random.Generator,
    decode_steps: DecodeSteps | None,
) -> Iterator[Request]:
    if asked.process is None:
        return workload.requests(rng=rng, count=asked.requests, decode_steps=decode_steps)
    return chain.from_iterable(
        open_loop_requests(
            arrivals=asked.process,
            prompt=workload.prompt,
            output=workload.output,
            rng=rng,
            count=asked.requests,
            duration_s=asked.duration_s,
            decode_steps=decode_steps,
        )
    )


def _unbounded(
    asked: LoadRequest,
    workload: Workload,
    *,
    rng: np.random.Generator,
    decode_steps: DecodeSteps | None,
) -> Iterator[Request]:
    """Requests of a trace, or turns of conversations, before any limit of time."""
    if isinstance(workload, TraceWorkload):
        rate = asked.settings.rate
        speedup = 1.0
        if rate is not None and asked.process is None:
            speedup = rate / recorded_rate_per_s(workload)
        return workload.requests(rng=rng, decode_steps=decode_steps, speedup=speedup)
    assert isinstance(workload, ConversationWorkload)
    sessions = max(
        workload.default_sessions, _SESSIONS_PER_CLIENT * (asked.settings.concurrency or 0)
    )
    if asked.requests is not None or asked.duration_s is not None:
        sessions = _ENDLESS
    stream = workload.conversations.sessions(rng=rng, count=sessions, decode_steps=decode_steps)
    return chain.from_iterable(stream)


def recorded_rate_per_s(workload: TraceWorkload) -> float:
    """Mean arrivals of conversations and single requests in a trace. [1/s]

    Raises
    ------
    UserError
        If all of them arrive at once.
    """
    times_s = [r.arrival_s for r in workload.recorded if not r.turn and r.arrival_s is not None]
    if not times_s or not max(times_s) > 0:
        raise UserError(
            f"all requests of {workload.name} arrive at once, so it has no rate to change; leave "
            "--rate out, or give --arrivals poisson"
        )
    return len(times_s) / max(times_s)


def _arriving(
    requests: Iterator[Request], process: ArrivalProcess, *, rng: np.random.Generator
) -> Iterator[Request]:
    """The requests with new times: one for each conversation and each single request.

    Those that come after the process has ended never arrive: their time is infinite.
    """
    times_s = (time_s for block in process.times(rng) for time_s in block.tolist())
    for request in requests:
        if request.turn:
            yield replace(request, arrival_s=None)
            continue
        yield replace(request, arrival_s=next(times_s, math.inf))


def _until(
    requests: Iterator[Request], duration_s: float, *, sessions_follow: bool
) -> Iterator[Request]:
    """Requests that arrive within a time, and all turns of the conversations that begin in it.

    ``sessions_follow`` says that the turns of each conversation follow each other.
    """
    begun: set[int] = set()
    for request in requests:
        if request.turn:
            if request.session in begun:
                yield request
        elif request.arrival_s is not None and request.arrival_s <= duration_s:
            if request.session >= 0:
                begun.add(request.session)
            yield request
        elif sessions_follow:
            return
