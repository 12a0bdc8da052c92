"""Session trees: what each request of an agent session waits for, and what its prompt repeats.

A session is a main agent and groups of sub-agent calls. Its calls fall into chains, each of
which extends one growing conversation; `build_tree` turns the recorded times into delays and
barriers as the AgentX client does, so that a replay keeps the order whatever the server's speed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.requests.agentx.content import CONTENT_BLOCK_TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workloads.requests.agentx.content import Content


@dataclass(slots=True, kw_only=True)
class Call:
    """One recorded or generated model call.

    Parameters
    ----------
    start_s, duration_s:
        When it was sent, on the session's clock, and how long it took. [s]
    prompt_tokens, output_tokens:
        Lengths. [tokens]
    chain:
        Conversation within the session that it extends; the main agent's first chain is 0.
    content:
        Its full prompt blocks.
    line:
        Where it stands in a trace file, for messages; 0 if generated.
    """

    start_s: float
    duration_s: float
    prompt_tokens: int
    output_tokens: int
    chain: int
    content: Content
    line: int = 0

    @property
    def end_s(self) -> float:
        """When it returned, on the session's clock. [s]"""
        return self.start_s + self.duration_s


@dataclass(slots=True, kw_only=True)
class Group:
    """Calls of one sub-agent; ``end_s`` is when the main agent had its answer. [s]"""

    calls: list[Call]
    start_s: float
    end_s: float


@dataclass(slots=True, kw_only=True)
class Session:
    """A session as recorded: the main agent's calls and its sub-agent groups."""

    name: str
    main: list[Call]
    groups: list[Group] = field(default_factory=list)
    block_tokens: int = CONTENT_BLOCK_TOKENS

    @property
    def entries(self) -> int:
        """Main calls and groups, as a trace file lists them."""
        return len(self.main) + len(self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeRequest:
    """One request of a tree.

    Parameters
    ----------
    call:
        Lengths, recorded times and content.
    agent:
        0 for the main agent, from 1 for each sub-agent group: what a router takes for one
        conversation.
    after:
        Request whose return starts the delay; -1 for the first of a tree.
    delay_s:
        Time from that return to the earliest sending. [s]
    waits_for:
        Further requests that must have returned.
    """

    call: Call
    agent: int
    after: int
    delay_s: float
    waits_for: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTree:
    """A session ready for replay; requests stand in the order of their recorded starts.

    Parameters
    ----------
    name:
        Of the trace.
    requests:
        Its requests.
    block_tokens:
        Tokens of a content block. [tokens]
    dropped:
        Calls of groups that no main call precedes, which are not replayed.
    children, parents:
        Requests that wait for each one, and how many it waits for itself.
    """

    name: str
    requests: tuple[TreeRequest, ...]
    block_tokens: int
    dropped: int
    children: tuple[tuple[int, ...], ...]
    parents: tuple[int, ...]

    @classmethod
    def of(
        cls,
        name: str,
        requests: Sequence[TreeRequest],
        *,
        block_tokens: int,
        dropped: int = 0,
    ) -> SessionTree:
        """The tree of some requests, who waits for whom counted."""
        children: list[list[int]] = [[] for _ in requests]
        parents = []
        for index, one in enumerate(requests):
            above = [*one.waits_for, *((one.after,) if one.after >= 0 else ())]
            parents.append(len(above))
            for parent in above:
                children[parent].append(index)
        return cls(
            name=name,
            requests=tuple(requests),
            block_tokens=block_tokens,
            dropped=dropped,
            children=tuple(map(tuple, children)),
            parents=tuple(parents),
        )

    @property
    def span_s(self) -> tuple[float, float]:
        """First and last recorded request start. [s]"""
        return self.requests[0].call.start_s, self.requests[-1].call.start_s

    def before(self, time_s: float) -> int:
        """How many requests were recorded as sent before a time."""
        low, high = 0, len(self.requests)
        while low < high:
            middle = (low + high) // 2
            if self.requests[middle].call.start_s < time_s:
                low = middle + 1
            else:
                high = middle
        return low

    def primers(self, sent: int) -> list[int]:
        """Last of the first `sent` requests of every chain that goes on after them."""
        last: dict[int, int] = {}
        for index in range(sent):
            last[self.requests[index].call.chain] = index
        alive = {request.call.chain for request in self.requests[sent:]}
        return sorted(index for chain, index in last.items() if chain in alive)


def build_tree(session: Session) -> SessionTree:
    """Delays and barriers of a session's calls.

    Raises
    ------
    UserError
        If the session has no main call, or a time or a length is out of range.

    Notes
    -----
    With start ``t`` and duration ``a`` as recorded, turn ``k`` of a chain is sent
    ``max(0, t_k - t_(k-1) - a_(k-1))`` after the replayed return of turn ``k - 1``. A group is
    spawned by the last main turn that had returned before its first call, and any other new
    chain by the last call of its scope that had returned; where none had, by the last that had
    been sent. The first main call that starts after a group's end waits for all of its chains.
    Every request also waits for the last request of each other chain of its scope that had
    returned at its recorded start (InferenceX AgentX; its client's conflux replay).
    """
    _check(session)
    main = sorted(session.main, key=lambda call: call.start_s)
    first_s = main[0].start_s
    groups = [group for group in session.groups if group.calls and _start_s(group) >= first_s]
    dropped = sum(len(g.calls) for g in session.groups) - sum(len(g.calls) for g in groups)
    flat = [(call, 0) for call in main]
    for number, group in enumerate(groups, start=1):
        flat += [(call, number) for call in group.calls]
    flat.sort(key=lambda item: item[0].start_s)
    scopes: dict[int, _Scope] = {agent: _Scope() for agent in range(len(groups) + 1)}
    joins = sorted((group.end_s, number) for number, group in enumerate(groups, start=1))
    joined = 0
    requests: list[TreeRequest] = []
    for index, (call, agent) in enumerate(flat):
        scope = scopes[agent]
        after, waits = scope.parents(call)
        if after < 0 and agent:
            after = scopes[0].last_returned(call.start_s)
        if agent == 0 and call.chain == main[0].chain:
            while joined < len(joins) and joins[joined][0] <= call.start_s:
                waits |= scopes[joins[joined][1]].last_requests()
                joined += 1
        waits.discard(after)
        delay_s = 0.0 if after < 0 else max(0.0, call.start_s - flat[after][0].end_s)
        requests.append(
            TreeRequest(
                call=call,
                agent=agent,
                after=after,
                delay_s=delay_s,
                waits_for=tuple(sorted(waits)),
            )
        )
        scope.add(call, index)
    return SessionTree.of(
        session.name, requests, block_tokens=session.block_tokens, dropped=dropped
    )


class _Look:
    """What a chain has seen of the others: calls that it waited for, and chains still open."""

    __slots__ = ("known", "open", "position")

    def __init__(self) -> None:
        self.known: dict[int, int] = {}
        self.open: set[int] = set()
        self.position = 0


class _Scope:
    """The chains of one agent as far as they have been replayed."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[Call, int]] = {}
        self._changed: list[int] = []
        self._looks: dict[int, _Look] = {}
        self._returned: list[tuple[float, int]] = []
        self._sent: tuple[float, int] = (0.0, -1)

    def parents(self, call: Call) -> tuple[int, set[int]]:
        """What a call's delay counts from, and what else it waits for."""
        previous = self._last.get(call.chain)
        look = self._looks.get(call.chain)
        if look is None:
            look = self._looks[call.chain] = _Look()
        # calls come in the order of their starts: what had returned once has returned for good
        chains = {*look.open, *self._changed[look.position :]}
        look.position = len(self._changed)
        look.open.clear()
        waits: set[int] = set()
        for chain in chains:
            if chain == call.chain:
                continue
            other, index = self._last[chain]
            if other.end_s > call.start_s:
                look.open.add(chain)
            elif look.known.get(chain) != index:
                look.known[chain] = index
                waits.add(index)
        if previous is not None:
            return previous[1], waits
        latest_s, latest = -1.0, -1
        for other, index in self._last.values():
            if latest_s < other.end_s <= call.start_s:
                latest_s, latest = other.end_s, index
        return (latest if latest >= 0 else self._sent[1]), waits

    def last_returned(self, time_s: float) -> int:
        """Last request that had returned at a time, else the last that had been sent."""
        best_s, best = -1.0, -1
        for end_s, index in reversed(self._returned):
            if end_s <= time_s and end_s > best_s:
                best_s, best = end_s, index
                break
        return best if best >= 0 else self._sent[1]

    def last_requests(self) -> set[int]:
        """The last request of every chain."""
        return {index for _, index in self._last.values()}

    def add(self, call: Call, index: int) -> None:
        """Note a call of the scope."""
        self._last[call.chain] = (call, index)
        self._changed.append(call.chain)
        self._sent = (call.start_s, index)
        self._returned.append((call.end_s, index))


def _start_s(group: Group) -> float:
    return min(call.start_s for call in group.calls)


def _check(session: Session) -> None:
    if not session.main:
        raise UserError(f"session {session.name} has no call of its main agent")
    calls: Sequence[Call] = [*session.main, *(c for group in session.groups for c in group.calls)]
    for call in calls:
        where = f"session {session.name}" + (f", line {call.line}" if call.line else "")
        if not (call.start_s >= 0 and call.duration_s >= 0):
            raise UserError(
                f"{where}: a call starts at {call.start_s} s and takes {call.duration_s} s; "
                "neither may be negative"
            )
        if call.prompt_tokens < 1 or call.output_tokens < 1:
            raise UserError(
                f"{where}: a call has {call.prompt_tokens} + {call.output_tokens} tokens; "
                "both must be at least 1"
            )
