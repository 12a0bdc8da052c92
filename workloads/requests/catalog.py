"""Workloads by name or file: what ``--workload NAME|FILE`` means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from workloads.datafiles import is_file
from workloads.errors import UserError, unknown_name
from workloads.requests.length_laws import longest_tokens, read_lengths
from workloads.requests.lengths import LognormalLength, UniformLength
from workloads.requests.synthetic import (
    Conversations,
    inferencex_requests,
    requests_from_lengths,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workloads.requests.lengths import LengthDistribution
    from workloads.requests.request import Request
    from workloads.requests.synthetic import DecodeSteps
    from workloads.requests.traces import BadRow, TraceOptions


class Workload(Protocol):
    """A named source of requests."""

    @property
    def name(self) -> str:
        """Name or path by which the user asked for it."""
        ...

    @property
    def description(self) -> str:
        """One line: what is sent and where it comes from."""
        ...

    @property
    def is_timed(self) -> bool:
        """Whether requests carry arrival times; otherwise closed-loop clients send them."""
        ...

    def requests(
        self,
        *,
        rng: np.random.Generator,
        count: int | None = None,
        decode_steps: DecodeSteps | None = None,
    ) -> Iterator[Request]:
        """Yield `count` requests, or all of them; the turns of a session stay in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedLengthWorkload:
    """InferenceX's fixed-length benchmark at nominal lengths `isl` and `osl`. [tokens]"""

    isl: int
    osl: int
    name: str
    is_timed: bool = False

    @property
    def description(self) -> str:
        """One line: what is sent and where it comes from."""
        return (
            f"InferenceX closed loop, prompts and outputs uniform in [0.8 L, L] of "
            f"{self.isl}/{self.osl} tokens, nothing shared"
        )

    def requests(
        self,
        *,
        rng: np.random.Generator,
        count: int | None = None,
        decode_steps: DecodeSteps | None = None,
    ) -> Iterator[Request]:
        """Yield `count` requests.

        Raises
        ------
        UserError
            If `count` is missing: it follows from the concurrency.
        """
        if count is None:
            raise UserError(
                f"workload {self.name} has no length of its own; give the number of requests "
                "(InferenceX sends 10 per client)"
            )
        yield from inferencex_requests(
            isl=self.isl, osl=self.osl, count=count, rng=rng, decode_steps=decode_steps
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLengthWorkload:
    """Single requests of drawn lengths, nothing shared.

    Parameters
    ----------
    prompt, output:
        Their distributions, independent of each other.
    ttft_s, tpot_s:
        Limits on the latencies that belong to it; ``None`` without. [s]
    """

    prompt: LengthDistribution
    output: LengthDistribution
    name: str
    description: str
    ttft_s: float | None = None
    tpot_s: float | None = None
    is_timed: bool = False

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Mean prompt and output. [tokens]"""
        return self.prompt.mean_tokens, self.output.mean_tokens

    @property
    def nominal_tokens(self) -> tuple[int, int]:
        """Mean prompt and output in whole tokens, which stand for them in tables. [tokens]"""
        prompt, output = (max(1, round(tokens)) for tokens in self.mean_tokens)
        return prompt, output

    @property
    def longest_tokens(self) -> tuple[int, int]:
        """Longest prompt and output. [tokens]"""
        return longest_tokens(self.prompt), longest_tokens(self.output)

    @property
    def limits_text(self) -> str:
        """Limits on the latencies in words; empty without."""
        limits = (("TTFT", self.ttft_s), ("TPOT", self.tpot_s))
        return " and ".join(f"p99 {name} {s:g} s" for name, s in limits if s is not None)

    def requests(
        self,
        *,
        rng: np.random.Generator,
        count: int | None = None,
        decode_steps: DecodeSteps | None = None,
    ) -> Iterator[Request]:
        """Yield `count` requests.

        Raises
        ------
        UserError
            If `count` is missing: lengths are drawn without end.
        """
        if count is None:
            raise UserError(
                f"workload {self.name} has no length of its own; give the number of requests"
            )
        prompt_rng, output_rng = rng.spawn(2)
        yield from requests_from_lengths(
            prompt_tokens=self.prompt.sample(prompt_rng, count),
            output_tokens=self.output.sample(output_rng, count),
            decode_steps=decode_steps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationWorkload:
    """Generated multi-turn sessions, closed loop."""

    conversations: Conversations
    default_sessions: int
    name: str
    description: str
    is_timed: bool = False

    def requests(
        self,
        *,
        rng: np.random.Generator,
        count: int | None = None,
        decode_steps: DecodeSteps | None = None,
    ) -> Iterator[Request]:
        """Yield the turns of `default_sessions` sessions, or the first `count` turns."""
        sessions = self.default_sessions if count is None else count
        stream = self.conversations.sessions(rng=rng, count=sessions, decode_steps=decode_steps)
        return islice((turn for turns in stream for turn in turns), count)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceWorkload:
    """A recorded workload.

    Parameters
    ----------
    recorded:
        Its requests in order of arrival.
    bad_rows:
        Rows that were left out.
    """

    recorded: tuple[Request, ...]
    bad_rows: tuple[BadRow, ...]
    name: str

    @property
    def is_timed(self) -> bool:
        """Whether requests carry arrival times; otherwise closed-loop clients send them."""
        return self.recorded[0].arrival_s is not None

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Mean prompt and output. [tokens]"""
        prompts = sum(request.prompt_tokens for request in self.recorded)
        outputs = sum(request.output_tokens for request in self.recorded)
        return prompts / len(self.recorded), outputs / len(self.recorded)

    @property
    def longest_tokens(self) -> tuple[int, int]:
        """Longest prompt, and what the longest context has beyond it. [tokens]"""
        prompt = max(request.prompt_tokens for request in self.recorded)
        context = max(request.prompt_tokens + request.output_tokens for request in self.recorded)
        return prompt, context - prompt

    @property
    def shares_prefixes(self) -> bool:
        """Whether prompts say which blocks they have in common."""
        return any(request.block_hashes for request in self.recorded)

    @property
    def description(self) -> str:
        """One line: what is sent and where it comes from."""
        skipped = f", {len(self.bad_rows)} bad rows left out" if self.bad_rows else ""
        return f"trace {self.name}: {len(self.recorded)} requests{skipped}"

    def requests(
        self,
        *,
        rng: np.random.Generator,
        count: int | None = None,
        decode_steps: DecodeSteps | None = None,
        speedup: float = 1.0,
    ) -> Iterator[Request]:
        """Yield copies of the recorded requests, arriving `speedup` times as fast.

        Raises
        ------
        UserError
            If `speedup` is not positive.
        """
        if not speedup > 0:
            raise UserError(f"speedup is {speedup}; it must be positive")
        chosen = self.recorded[:count]
        steps = None
        if decode_steps is not None:
            steps = decode_steps(np.array([r.output_tokens for r in chosen], dtype=np.int64))
        for position, request in enumerate(chosen):
            yield replace(
                request,
                arrival_s=None if request.arrival_s is None else request.arrival_s / speedup,
                decode_steps=request.decode_steps if steps is None else int(steps[position]),
            )


def traffic_kind(workload: Workload) -> Literal["fixed", "agentic"]:
    """Which recipes a workload is served with: ``agentic`` where its prompts share prefixes.

    The one place that decides it, for generated sessions and for traces.
    """
    if isinstance(workload, TraceWorkload):
        return "agentic" if workload.shares_prefixes else "fixed"
    return "agentic" if isinstance(workload, ConversationWorkload) else "fixed"


AGENTIC = Conversations(
    turns=UniformLength(30, 90),
    shared_prefix_tokens=20_000,
    first_input=LognormalLength(4_000, 0.8, 40_000),
    next_input=LognormalLength(1_550, 1.0, 60_000),
    output=LognormalLength(650, 0.8, 16_000),
    mean_think_s=5.0,
    max_context_tokens=400_000,
    block_tokens=64,
)
"""Coding-agent sessions of InferenceX AgentX's published size.

Estimate: the published means are about 135,000 prompt and 850 to 1,000 output tokens a request,
in hashed blocks of 64 tokens (InferenceX AgentX, traces ``cc-traces-weka-062126``); the split
into turns, shared prefix, tool results and pauses is not published and is chosen to meet those
means.
"""

NAMED_WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        FixedLengthWorkload(name="8k1k", isl=8192, osl=1024),
        FixedLengthWorkload(name="1k1k", isl=1024, osl=1024),
        FixedLengthWorkload(name="1k8k", isl=1024, osl=8192),
        ConversationWorkload(
            name="agentic",
            description=(
                "estimate: generated coding-agent sessions, 135k/900 tokens a request on average, "
                "resent history, shared prefix, pauses between turns"
            ),
            conversations=AGENTIC,
            default_sessions=100,
        ),
    )
}


MLPERF = "mlperf-"
"""How names of MLPerf's workloads begin: ``mlperf-r1-server``, ``mlperf-llama2-70b``."""


def mlperf_workload(name: str) -> DrawnLengthWorkload:
    """Lengths of an MLPerf benchmark, and with a scenario its limits: ``mlperf-r1-server``.

    Raises
    ------
    UserError
        If there is no such benchmark, or it has no such scenario.
    """
    from workloads.requests.mlperf import SHORT_NAMES, benchmark_of

    asked, _, scenario = name.removeprefix(MLPERF).rpartition("-")
    if scenario not in ("offline", "server", "interactive"):
        asked, scenario = name.removeprefix(MLPERF), ""
    benchmark = benchmark_of(SHORT_NAMES.get(asked, asked))
    limits = benchmark.limits_of(scenario) if scenario in ("server", "interactive") else None
    prompt, output = benchmark.prompt, benchmark.output
    return DrawnLengthWorkload(
        name=name,
        description=(
            f"lengths of MLPerf's {benchmark.name}, {prompt.mean_tokens:,.0f}/"
            f"{output.mean_tokens:,.0f} tokens in/out on average, nothing shared"
        ),
        prompt=prompt,
        output=output,
        ttft_s=None if limits is None else limits.ttft_s,
        tpot_s=None if limits is None else limits.tpot_s,
    )


def lengths_workload(path: Path) -> DrawnLengthWorkload:
    """Requests whose lengths a file describes, see `workloads.requests.length_laws`.

    Raises
    ------
    UserError
        If the file cannot be read or describes no distribution.
    """
    prompt, output = read_lengths(path)
    return DrawnLengthWorkload(
        name=str(path),
        description=(
            f"lengths of {path}, {prompt.mean_tokens:,.0f}/{output.mean_tokens:,.0f} tokens "
            "in/out on average, nothing shared"
        ),
        prompt=prompt,
        output=output,
    )


def says_lengths(text: str) -> bool:
    """Whether a text names drawn lengths, a file or ``mlperf-...``, and no law around a length."""
    return text.startswith(MLPERF) or text.endswith((".yaml", ".yml")) or is_file(Path(text))


def drawn_lengths(name_or_path: str) -> DrawnLengthWorkload:
    """Requests of drawn lengths by the name of an MLPerf workload, or of a file.

    Raises
    ------
    UserError
        If there is no such benchmark, or the file cannot be read or describes no distribution.
    """
    if name_or_path.startswith(MLPERF):
        return mlperf_workload(name_or_path)
    return lengths_workload(Path(name_or_path))


def load_workload(name_or_path: str | Path, *, options: TraceOptions | None = None) -> Workload:
    """The workload of a name in `NAMED_WORKLOADS`, or read from a trace file.

    Parameters
    ----------
    name_or_path:
        A name, or a file of any format that `workloads.requests.traces.read_trace` knows.
    options:
        How to read a file.

    Raises
    ------
    UserError
        If there is neither such a name nor such a file, or the file cannot be used.
    """
    from workloads.requests.traces import TraceOptions, read_trace

    named = NAMED_WORKLOADS.get(str(name_or_path))
    if named is not None:
        return named
    if str(name_or_path).startswith(MLPERF):
        return mlperf_workload(str(name_or_path))
    path = Path(name_or_path)
    if not is_file(path):
        looks_like_a_file = path.suffix != "" or len(path.parts) > 1
        if looks_like_a_file:
            raise UserError(
                f"workload '{path}' does not exist; give a trace file or one of "
                f"{', '.join(sorted(NAMED_WORKLOADS))}"
            )
        raise unknown_name(field="workload", value=str(path), known=NAMED_WORKLOADS)
    requests, bad_rows = read_trace(path, options or TraceOptions())
    return TraceWorkload(name=str(name_or_path), recorded=tuple(requests), bad_rows=tuple(bad_rows))
