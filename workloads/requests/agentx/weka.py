"""AgentX's trace files as session trees: chains and groups of recorded agent sessions.

One session a JSON object with ``block_size`` [tokens] and ``requests``: calls with ``t`` [s],
``in``, ``out`` [tokens], ``hash_ids``, ``api_time`` [s], ``model``, and entries of type
``subagent`` that hold calls of their own (data sets ``semianalysisai/cc-traces-weka-*``, the 256k
variant included). A call without output sends one token, as the client does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from workloads.requests.agentx.content import trimmed
from workloads.requests.agentx.forest import Call, Group, Session, build_tree
from workloads.requests.traces.rows import RowError, hash_ids, number, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workloads.requests.agentx.content import Content
    from workloads.requests.agentx.forest import SessionTree
    from workloads.requests.traces.rows import TraceSource

_Raw: TypeAlias = "tuple[Call, tuple[int, ...], str]"
_EPOCH_SHIFT = 20
_LOOK_AHEAD = 200
SEAM_GAP_S = 3600.0
"""A main agent's call after a longer pause that repeats less than `SEAM_OVERLAP` of the context
begins a chain of its own. [s]"""
SEAM_OVERLAP = 0.5


def weka_trees(source: TraceSource, sessions: Iterable[tuple[int, Any]]) -> list[SessionTree]:
    """Trees of numbered sessions, in the order of the file, which is the order of lanes.

    Raises
    ------
    UserError
        On a bad session or call, with its line (see `TraceOptions.on_error`), or if none is left.
    """
    trees: list[SessionTree] = []
    for line, session in sessions:
        try:
            trees.append(build_tree(_session(source, line, session)))
        except RowError as error:
            source.reject(line, str(error))
        if source.options.limit is not None and len(trees) >= source.options.limit:
            break
    return trees


def _session(source: TraceSource, line: int, session: Any) -> Session:
    if not isinstance(session, dict) or not isinstance(session.get("requests"), list):
        raise RowError("a session without requests")
    block_tokens = whole_number(session, "block_size")
    chains = _Chains()
    main_calls: list[_Raw] = []
    groups: list[Group] = []
    for start_s, entry in _timed(session["requests"]):
        if entry.get("type") != "subagent":
            call = _call(source, line, entry, start_s, block_tokens=block_tokens)
            if call is not None:
                main_calls.append(call)
            continue
        inner: list[_Raw] = []
        for inner_s, each in _timed(entry.get("requests") or []):
            # older recordings count a sub-agent's time from its start
            at_s = inner_s if inner_s >= start_s else start_s + inner_s
            call = _call(source, line, each, at_s, block_tokens=block_tokens)
            if call is not None:
                inner.append(call)
        calls = _ScopeChains(chains, joins_seams=False).sorted_into_chains(inner)
        if calls:
            end_s = max(each.end_s for each in calls)
            groups.append(Group(calls=calls, start_s=start_s, end_s=end_s))
    main = _ScopeChains(chains, joins_seams=True).sorted_into_chains(main_calls)
    if not main:
        raise RowError("a session without a call of its main agent")
    name = str(session.get("id", session.get("session_id", line)))
    return Session(name=name, main=main, groups=groups, block_tokens=block_tokens)


def _timed(entries: list[Any]) -> list[tuple[float, dict[str, Any]]]:
    timed: list[tuple[float, dict[str, Any]]] = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise RowError("a request is not an object")
        start_s = number(entry, "t")
        if start_s < 0:
            raise RowError(f"t is {entry['t']!r}; a call cannot start before its session")
        timed.append((start_s, entry))
    return sorted(timed, key=lambda item: item[0])


def _call(
    source: TraceSource, line: int, entry: dict[str, Any], start_s: float, *, block_tokens: int
) -> _Raw | None:
    """A call, its block hashes and its model; ``None`` if it was bad and is skipped."""
    try:
        prompt = whole_number(entry, "in")
        output = source.sent_tokens(line, whole_number(entry, "out", least=0))
        duration_s = 0.0 if entry.get("api_time") is None else number(entry, "api_time")
        if duration_s < 0:
            raise RowError(f"api_time is {entry['api_time']!r}; it cannot be negative")
        ids = hash_ids(entry, prompt_tokens=prompt, block_tokens=block_tokens, whole_prompt=False)
    except RowError as error:
        source.reject(line, f"call at t = {start_s:g} s: {error}")
        return None
    call = Call(
        start_s=start_s,
        duration_s=duration_s,
        prompt_tokens=prompt,
        output_tokens=output,
        chain=-1,
        content=(),
        line=line,
    )
    return call, ids[: prompt // block_tokens], str(entry.get("model", ""))


def chained(calls: list[_Raw]) -> list[Call]:
    """Calls of one play, in the order of their starts, with their chains and contents."""
    return _ScopeChains(_Chains(), joins_seams=False).sorted_into_chains(calls)


class _Chain:
    """A conversation as its calls come up."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ids: tuple[int, ...] = ()
        self.content: Content = ()
        self.end_s = 0.0
        self.model = ""


class _Chains:
    """Numbers chains and new content over all scopes of a session."""

    def __init__(self) -> None:
        self.chains = 0
        self.epochs = 0

    def fresh(self, blocks: int) -> tuple[int, int]:
        self.epochs += 1
        return self.epochs << _EPOCH_SHIFT, blocks


class _ScopeChains:
    """Sorts the calls of one agent into chains by their longest common prefix.

    A call extends the chain whose whole tail it repeats, if the model is the same and the tail had
    returned. The first chain of a main agent also goes on across a compaction, which no later
    call goes back behind, unless after a long pause with little overlap. Everything else begins
    a chain, repeating what it has in common with another.
    """

    def __init__(self, session: _Chains, *, joins_seams: bool) -> None:
        self._session = session
        self._joins_seams = joins_seams
        self._chains: list[_Chain] = []

    def sorted_into_chains(self, calls: list[_Raw]) -> list[Call]:
        """The calls, in order of time, each with its chain and its content."""
        return [
            self._add(*one, later=calls[position + 1 : position + 1 + _LOOK_AHEAD])
            for position, one in enumerate(calls)
        ]

    def _add(self, call: Call, ids: tuple[int, ...], model: str, *, later: list[_Raw]) -> Call:
        best, common = None, 0
        for chain in self._chains:
            shared = _common(ids, chain.ids)
            if shared > common or (best is None and shared == len(chain.ids)):
                best, common = chain, shared
        if best is None and self._chains and not ids:
            best = self._chains[0]
        extends = (
            best is not None
            and best.model == model
            and best.end_s <= call.start_s
            and (common == len(best.ids) or self._is_seam(best, call, common, later))
        )
        base = () if best is None else trimmed(best.content, common)
        if extends and best is not None:
            chain = best
        else:
            chain = _Chain(self._session.chains)
            self._session.chains += 1
            self._chains.append(chain)
        new = len(ids) - common
        if new:
            grows = chain is best and best is not None and common == len(best.ids) and base
            if grows:
                first, count = base[-1]
                base = (*base[:-1], (first, count + new))
            else:
                base = (*base, self._session.fresh(new))
        chain.ids, chain.content = ids, base
        chain.end_s, chain.model = max(chain.end_s, call.end_s), model
        call.chain, call.content = chain.number, base
        return call

    def _is_seam(self, chain: _Chain, call: Call, common: int, later: list[_Raw]) -> bool:
        if not self._joins_seams or chain is not self._chains[0] or not common:
            return False
        length = len(chain.ids)
        if any(ids[:length] == chain.ids for _, ids, _ in later):
            return False  # the conversation goes on as it was: this is a call on the side
        overlap = common / max(len(chain.ids), 1)
        return call.start_s - chain.end_s <= SEAM_GAP_S or overlap >= SEAM_OVERLAP


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Length of the common start, by bisection over equal slices."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle
    return low
