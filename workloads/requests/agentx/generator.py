"""Generated coding-agent sessions with the published statistics of AgentX's traces.

The traces themselves (Hugging Face ``semianalysisai/cc-traces-weka-062126``, 393 sessions, 98,827
requests) are not shipped. What is published of them, marginal distributions and sums, is met by
the parameters below; what is not (how length, context and pauses of a session hang together,
how often and how deep contexts are compacted, when sub-agents fork) is an estimate, chosen so
that the sums and the figures of one-hour runs come out. ``docs/background/agentx.md`` lists every
target with what the generator reaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, log
from statistics import NormalDist

import numpy as np

from workloads.requests.agentx.content import CONTENT_BLOCK_TOKENS, Content, trimmed
from workloads.requests.agentx.forest import Call, Group, Session, SessionTree, build_tree

FIRST_ENTRIES = (
    198, 33, 35, 233, 466, 107, 795, 25, 36, 52, 73, 352, 35, 119, 102, 1778, 150, 31, 172, 102,
    35, 53, 33, 28, 60, 44, 27, 163, 49, 133, 1098, 282, 40, 20, 94, 167, 241, 27, 78, 140,
)  # fmt: skip
"""Entries (main calls and sub-agent groups) of the first sessions in row order, as published."""

SESSIONS = 393
"""Sessions of the public data set."""

_EPOCH_SHIFT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentxParameters:
    """Distributions of generated sessions; a pair is a log-normal's median and sigma.

    Parameters
    ----------
    turns, fewest_turns, most_turns:
        Entries of a session.
    head, first_new, next_new:
        Prompt of tools and system; new tokens of the first call and of each later one. [tokens]
    context_limit, most_context:
        Context at which a session is compacted, and the longest of all. [tokens]
    summary:
        Tokens after the head that a compaction leaves. [tokens]
    main_output, sub_output, aux_output:
        Output lengths. [tokens]
    gap_s, long_gap_s, long_gap_share:
        Pause between main turns, a heavier end, and its share. [s]
    sub_share, groups, batch:
        Share of sessions with sub-agents, their groups, and the mean of groups started together.
    group_calls, group_head, group_first, sub_new, sub_gap_s:
        Calls of a group, its head, its first and later new tokens [tokens], its pauses [s].
    fork_share, fork_calls, fork_at_call, fork_new, parallel_share:
        Share of a group's calls after which a side chain forks, its mean calls, the share of
        forks that repeat the whole prompt of an earlier call (others any beginning), what they
        add [tokens], and the share of forks that run beside the calls they fork from.
    background_share:
        Share of batches that the main agent does not wait for.
    aux_chains_per_turn, aux_calls, aux_tokens:
        Side calls of the main agent: chains a turn, mean calls of one, prompt. [tokens]
    call_s, output_per_s, prefill_per_s:
        Recorded time of a call: a constant, and rates of output and new input. [s], [tokens/s]
    seed:
        Of all of it.
    """

    turns: tuple[float, float] = (63.0, 1.26)
    fewest_turns: int = 20
    most_turns: int = 3050
    head: tuple[float, float] = (24_000.0, 0.35)
    first_new: tuple[float, float] = (16_000.0, 0.8)
    next_new: tuple[float, float] = (1_640.0, 1.1)
    context_limit: tuple[float, float] = (950_000.0, 0.5)
    most_context: int = 990_016
    summary: tuple[float, float] = (14_000.0, 0.6)
    main_output: tuple[float, float] = (690.0, 1.3)
    sub_output: tuple[float, float] = (320.0, 1.25)
    aux_output: tuple[float, float] = (148.0, 0.9)
    most_output: int = 64_000
    gap_s: tuple[float, float] = (4.7, 2.4)
    long_gap_s: tuple[float, float] = (12_000.0, 1.5)
    long_gap_share: float = 0.008
    sub_share: float = 0.445
    groups: tuple[float, float] = (4.4, 1.33)
    groups_follow_turns: float = 0.7
    most_groups: int = 90
    batch: float = 2.2
    group_calls: tuple[float, float] = (16.0, 0.94)
    group_head: tuple[float, float] = (32_000.0, 0.25)
    group_first: tuple[float, float] = (7_000.0, 0.8)
    sub_new: tuple[float, float] = (1_550.0, 1.1)
    sub_gap_s: tuple[float, float] = (0.8, 1.0)
    fork_share: float = 0.25
    fork_calls: float = 2.0
    fork_at_call: float = 0.6
    fork_new: tuple[float, float] = (2_000.0, 1.0)
    parallel_share: float = 0.25
    background_share: float = 0.1
    aux_chains_per_turn: float = 0.025
    aux_calls: float = 5.0
    aux_tokens: tuple[float, float] = (36_000.0, 0.4)
    aux_new: tuple[float, float] = (3_000.0, 0.8)
    call_s: float = 1.5
    output_per_s: float = 100.0
    prefill_per_s: float = 20_000.0
    seed: int = 15


PUBLISHED = AgentxParameters()
"""Parameters that meet the statistics of ``cc-traces-weka-062126``."""


@lru_cache(maxsize=SESSIONS)
def generated_tree(row: int, parameters: AgentxParameters = PUBLISHED) -> SessionTree:
    """The tree of one row of the generated data set."""
    return build_tree(generated_session(row, parameters))


def generated_session(row: int, parameters: AgentxParameters = PUBLISHED) -> Session:
    """One session of the generated data set; every row has random numbers of its own."""
    return _Generator(row, parameters).session()


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng([seed, SESSIONS, stream]).permutation(SESSIONS).tolist())


class _Conversation:
    """A growing conversation of a generated session, in content blocks."""

    def __init__(self, content: Content, chain: int) -> None:
        self.content = content
        self.chain = chain

    @property
    def blocks(self) -> int:
        return sum(count for _, count in self.content)


class _Generator:
    """Draws one session."""

    def __init__(self, row: int, parameters: AgentxParameters) -> None:
        self.row = row
        self.one = parameters
        self.rng = np.random.default_rng([parameters.seed, row])
        self._normals: list[float] = []
        self._aux_head: Content = ()
        self._epochs = 0
        self._chains = 0

    # draws ------------------------------------------------------------------------------------

    def _normal(self) -> float:
        if not self._normals:
            self._normals = self.rng.standard_normal(256).tolist()
        return self._normals.pop()

    def _lognormal(self, pair: tuple[float, float]) -> float:
        median, sigma = pair
        return median * exp(sigma * self._normal())

    def _share(self, stream: int) -> float:
        """A number in (0, 1), of which every row of the data set has another."""
        order = _permutation(self.one.seed, stream)
        return (order[self.row % SESSIONS] + 0.5) / SESSIONS

    def _stratified(self, pair: tuple[float, float], stream: int) -> float:
        median, sigma = pair
        return median * exp(sigma * NormalDist().inv_cdf(self._share(stream)))

    def _blocks(self, pair: tuple[float, float]) -> int:
        return max(1, round(self._lognormal(pair) / CONTENT_BLOCK_TOKENS))

    def _output(self, pair: tuple[float, float]) -> int:
        return int(min(max(1, round(self._lognormal(pair))), self.one.most_output))

    # content ----------------------------------------------------------------------------------

    def _fresh(self, blocks: int) -> tuple[int, int]:
        self._epochs += 1
        return self._epochs << _EPOCH_SHIFT, blocks

    def _begin(self, content: Content, blocks: int) -> _Conversation:
        """A new chain that repeats a content and adds blocks of its own."""
        chain, self._chains = self._chains, self._chains + 1
        return _Conversation((*content, self._fresh(blocks)), chain)

    @staticmethod
    def _grow(conversation: _Conversation, blocks: int) -> None:
        first, count = conversation.content[-1]
        conversation.content = (*conversation.content[:-1], (first, count + blocks))

    def _call(
        self, conversation: _Conversation, *, start_s: float, output: tuple[float, float], new: int
    ) -> Call:
        one = self.one
        output_tokens = self._output(output)
        noise = exp(0.3 * self._normal())
        duration_s = noise * (
            one.call_s
            + output_tokens / one.output_per_s
            + new * CONTENT_BLOCK_TOKENS / one.prefill_per_s
        )
        return Call(
            start_s=start_s,
            duration_s=duration_s,
            prompt_tokens=conversation.blocks * CONTENT_BLOCK_TOKENS,
            output_tokens=output_tokens,
            chain=conversation.chain,
            content=conversation.content,
        )

    # the session ------------------------------------------------------------------------------

    def session(self) -> Session:
        """Draw it."""
        one, rng = self.one, self.rng
        if self.row < len(FIRST_ENTRIES):
            entries = FIRST_ENTRIES[self.row]
        else:
            drawn = round(self._stratified(one.turns, 1))
            entries = min(max(drawn, one.fewest_turns), one.most_turns)
        groups = 0
        if self._share(2) < one.sub_share:
            follow = one.groups_follow_turns
            score = log(entries / one.turns[0]) / one.turns[1] * follow
            score += (1.0 - follow**2) ** 0.5 * NormalDist().inv_cdf(self._share(3))
            wanted = one.groups[0] * exp(one.groups[1] * score)
            groups = min(max(1, round(wanted)), entries // 2, one.most_groups)
        calls = max(entries - groups, 2)
        aux_chains = int(rng.poisson(one.aux_chains_per_turn * calls))
        aux_calls = [int(rng.geometric(1.0 / one.aux_calls)) for _ in range(aux_chains)]
        turns = max(calls - sum(aux_calls), 2)
        batches = self._batches(groups, turns)
        aux_at = sorted(int(rng.integers(1, turns)) for _ in range(aux_chains))
        session = Session(name=f"generated-{self.row}", main=[])
        limit = min(max(self._lognormal(one.context_limit), 120_000.0), float(one.most_context))
        most_blocks = int(limit) // CONTENT_BLOCK_TOKENS
        head = self._blocks(one.head)
        new = self._blocks(one.first_new)
        talk = self._begin((), head + new)
        new += head
        now_s = 0.0
        for turn in range(turns):
            call = self._call(talk, start_s=now_s, output=one.main_output, new=new)
            session.main.append(call)
            until_s = self._spawn(session, batches.get(turn, 0), call.end_s)
            while aux_at and aux_at[0] == turn:
                self._aux(
                    session,
                    aux_calls[len(aux_at) - 1],
                    call.end_s,
                    trimmed(talk.content, head),
                )
                aux_at.pop(0)
            now_s = max(call.end_s + self._gap_s(), until_s)
            new = self._blocks(one.next_new)
            if talk.blocks + new > most_blocks:
                new = self._blocks(one.summary)
                kept = trimmed(talk.content, head)
                talk.content = (*kept, self._fresh(new))
            else:
                self._grow(talk, new)
        return session

    def _gap_s(self) -> float:
        one = self.one
        if self.rng.uniform() < one.long_gap_share:
            return self._lognormal(one.long_gap_s)
        return self._lognormal(one.gap_s)

    def _batches(self, groups: int, turns: int) -> dict[int, int]:
        """After which turns how many groups start together."""
        found: dict[int, int] = {}
        while groups > 0:
            size = min(groups, int(self.rng.geometric(1.0 / self.one.batch)), 10)
            turn = int(self.rng.integers(0, turns))
            found[turn] = min(found.get(turn, 0) + size, 10)
            groups -= size
        return found

    def _spawn(self, session: Session, count: int, after_s: float) -> float:
        """Start groups; when the main agent may go on, 0 if it does not wait. [s]"""
        until_s = 0.0
        for _ in range(count):
            group = self._group(after_s + float(self.rng.uniform(0.1, 2.0)))
            session.groups.append(group)
            until_s = max(until_s, group.end_s)
        if count and self.rng.uniform() < self.one.background_share:
            return 0.0
        return until_s + float(self.rng.uniform(0.1, 2.0)) if count else 0.0

    def _group(self, start_s: float) -> Group:
        one, rng = self.one, self.rng
        left = max(1, round(self._lognormal(one.group_calls)))
        new = self._blocks(one.group_head) + self._blocks(one.group_first)
        trunk = self._begin((), new)
        found: list[Call] = []
        ends: list[int] = []
        now_s = start_s
        while left:
            call = self._call(trunk, start_s=now_s, output=one.sub_output, new=new)
            found.append(call)
            ends.append(trunk.blocks)
            left -= 1
            now_s = call.end_s + self._lognormal(one.sub_gap_s)
            if left and rng.uniform() < one.fork_share:
                calls = min(int(rng.geometric(1.0 / one.fork_calls)), left)
                left -= calls
                beside = rng.uniform() < one.parallel_share
                fork_s = call.start_s if beside else now_s
                end_s = self._fork(found, trunk, ends, calls, fork_s)
                now_s = now_s if beside else end_s + self._lognormal(one.sub_gap_s)
            new = self._blocks(one.sub_new)
            self._grow(trunk, new)
        return Group(calls=found, start_s=start_s, end_s=max(call.end_s for call in found))

    def _fork_point(self, trunk: _Conversation, ends: list[int]) -> int:
        """Blocks that a fork keeps: the prompt of an earlier call, or any beginning. [blocks]"""
        at_call = self.one.fork_at_call
        drawn = float(self.rng.uniform())
        if drawn < at_call:
            return ends[int(drawn / at_call * len(ends))]
        return max(1, int(trunk.blocks * (drawn - at_call) / (1.0 - at_call)))

    def _fork(
        self,
        found: list[Call],
        trunk: _Conversation,
        ends: list[int],
        calls: int,
        start_s: float,
    ) -> float:
        """A chain that repeats a beginning of another; when its last call returns. [s]"""
        one = self.one
        new = self._blocks(one.fork_new)
        talk = self._begin(trimmed(trunk.content, self._fork_point(trunk, ends)), new)
        now_s = end_s = start_s
        for _ in range(calls):
            call = self._call(talk, start_s=now_s, output=one.sub_output, new=new)
            found.append(call)
            end_s = call.end_s
            now_s = end_s + self._lognormal(one.sub_gap_s)
            new = self._blocks(one.sub_new)
            self._grow(talk, new)
        return end_s

    def _aux(self, session: Session, calls: int, start_s: float, head: Content) -> None:
        """Side calls of the main agent: a chain that repeats the head of its prompts."""
        one = self.one
        if not self._aux_head:
            new = max(1, self._blocks(one.aux_tokens) - sum(count for _, count in head))
            self._aux_head = (*head, self._fresh(new))
        new = self._blocks(one.aux_new)
        talk = self._begin(self._aux_head, new)
        now_s = start_s + self._lognormal(one.sub_gap_s)
        for _ in range(calls):
            call = self._call(talk, start_s=now_s, output=one.aux_output, new=new)
            session.main.append(call)
            now_s = call.end_s + self._lognormal(one.sub_gap_s)
            new = self._blocks(one.sub_new)
            self._grow(talk, new)
