"""Session trees of agentic Mooncake traces: rows that say which requests they wait for.

Version 2 of NVIDIA Dynamo's form (``dynamo.agentic_mooncake``): a header with ``block_size``
[tokens], then a row a request with ``play_id`` (the tree), ``session_id`` (the conversation),
``request_id``, ``input_length``, ``output_length`` [tokens], ``hash_ids`` of the whole prompt,
``not_before_ms`` and ``dependencies``, each a ``request_id`` with ``trigger`` (its completion or
its dispatch), ``delay_ms`` and ``relation``. Hashes mean something within a play.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from workloads.errors import shown
from workloads.requests.agentx.forest import Call, SessionTree, TreeRequest
from workloads.requests.agentx.weka import chained
from workloads.requests.traces.rows import RowError, hash_ids, number, whole_number

if TYPE_CHECKING:
    from workloads.requests.traces.rows import TraceSource

SCHEMA = "dynamo.agentic_mooncake"
VERSION = 2

_FIRST = ("sequence", "spawn")
"""Relations whose delay a request's own is; of others it only waits."""


@dataclass(slots=True)
class _Row:
    line: int
    name: str
    session: str
    model: str
    prompt_tokens: int
    output_tokens: int
    ids: tuple[int, ...]
    not_before_s: float
    waits: list[tuple[str, bool, float, str]] = field(default_factory=list)
    start_s: float = 0.0


def agentic_mooncake_trees(source: TraceSource) -> list[SessionTree]:
    """One tree a play, in the order in which plays begin in the file.

    Raises
    ------
    UserError
        With the line: a header of another version, a request that is named twice, waits for one
        that is not in its play or for itself, a negative delay, or lengths out of range.
    """
    plays: dict[str, dict[str, _Row]] = {}
    block_tokens = 0
    for line, row in source.json_lines():
        try:
            if "schema" in row:
                block_tokens = _block_tokens(row)
                continue
            if not block_tokens:
                raise RowError(f"a request before the header of schema {SCHEMA}")
            one = _row(source, row, line, block_tokens=block_tokens)
            play = plays.setdefault(_text(row, "play_id"), {})
            if one.name in play:
                raise RowError(
                    f"request_id '{one.name}' is also that of line {play[one.name].line}"
                )
            play[one.name] = one
        except RowError as error:
            source.reject(line, str(error))
    trees = []
    for name, play in plays.items():
        rows = _ordered(source, play)
        if rows:
            trees.append(_tree(name, rows, block_tokens=block_tokens))
    return trees


def _block_tokens(header: dict[str, Any]) -> int:
    if header["schema"] != SCHEMA or header.get("version") != VERSION:
        raise RowError(
            f"schema {header['schema']!r} of version {header.get('version')!r}; {SCHEMA} of "
            f"version {VERSION} is read"
        )
    return whole_number(header, "block_size")


def _row(source: TraceSource, row: dict[str, Any], line: int, *, block_tokens: int) -> _Row:
    prompt = whole_number(row, "input_length" if "input_length" in row else "input_tokens")
    output = whole_number(
        row, "output_length" if "output_length" in row else "output_tokens", least=0
    )
    ids = hash_ids(row, prompt_tokens=prompt, block_tokens=block_tokens, whole_prompt=False)
    one = _Row(
        line=line,
        name=_text(row, "request_id"),
        session=_text(row, "session_id"),
        model=str(row.get("model", "")),
        prompt_tokens=prompt,
        output_tokens=source.sent_tokens(line, output),
        ids=ids[: prompt // block_tokens],
        not_before_s=_time_s(row, "not_before_ms"),
    )
    dependencies = row.get("dependencies") or []
    if not isinstance(dependencies, list):
        raise RowError(f"dependencies is {shown(dependencies)}; it must be a list")
    for each in dependencies:
        if not isinstance(each, dict):
            raise RowError(f"dependency {shown(each)} is not an object")
        trigger = each.get("trigger", "completion")
        if trigger not in ("completion", "dispatch"):
            raise RowError(f"trigger is {shown(trigger)}; it is completion or dispatch")
        parent, relation = _text(each, "request_id"), str(each.get("relation", "sequence"))
        one.waits.append((parent, trigger == "dispatch", _time_s(each, "delay_ms"), relation))
    return one


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise RowError(f"{name} is {shown(value)}; it must name something")
    return value


def _time_s(row: dict[str, Any], name: str) -> float:
    if row.get(name) is None:
        return 0.0
    value_s = number(row, name) / 1e3
    if value_s < 0:
        raise RowError(f"{name} is {row[name]!r}; it cannot be negative")
    return value_s


def _ordered(source: TraceSource, play: dict[str, _Row]) -> list[_Row]:
    """Rows by the earliest time at which they can be sent, those waited for before the rest."""
    children: dict[str, list[str]] = {name: [] for name in play}
    missing = dict.fromkeys(play, 0)
    for one in play.values():
        known = []
        for wait in one.waits:
            if wait[0] in play:
                known.append(wait)
                children[wait[0]].append(one.name)
                missing[one.name] += 1
            else:
                reason = f"'{one.name}' waits for '{wait[0]}', which is no request of its play"
                source.reject(one.line, reason)
        one.waits = known
        one.start_s = one.not_before_s
    ready = [(one.start_s, one.line, name) for name, one in play.items() if not missing[name]]
    heapify(ready)
    found = []
    while ready:
        start_s, _, name = heappop(ready)
        found.append(play[name])
        for child in children[name]:
            one = play[child]
            delay_s = max(wait[2] for wait in one.waits if wait[0] == name)
            one.start_s = max(one.start_s, start_s + delay_s)
            missing[child] -= 1
            if not missing[child]:
                heappush(ready, (one.start_s, one.line, child))
    for name, count in missing.items():
        if count:
            reason = f"'{name}' is its own ancestor: the dependencies form a cycle"
            source.reject(play[name].line, reason)
    return found


def _tree(name: str, rows: list[_Row], *, block_tokens: int) -> SessionTree:
    calls = chained(
        [
            (
                Call(
                    start_s=one.start_s,
                    duration_s=0.0,
                    prompt_tokens=one.prompt_tokens,
                    output_tokens=one.output_tokens,
                    chain=-1,
                    content=(),
                    line=one.line,
                ),
                one.ids,
                one.model,
            )
            for one in rows
        ]
    )
    index = {one.name: position for position, one in enumerate(rows)}
    agents: dict[str, int] = {}
    requests: list[TreeRequest] = []
    for one, call in zip(rows, calls, strict=True):
        agent = agents.setdefault(one.session, len(agents))
        after, delay_s, waits = -1, one.not_before_s if not one.waits else 0.0, set[int]()
        waited = sorted(one.waits, key=lambda wait: wait[3] not in _FIRST)
        for position, (parent, at_dispatch, own_delay_s, _) in enumerate(waited):
            above = index[parent]
            if at_dispatch:  # sent with it: waits for what that waited for
                other = requests[above]
                own_delay_s += other.delay_s
                waits |= set(other.waits_for)
                above = other.after
            if position == 0:
                after, delay_s = above, own_delay_s
            elif above >= 0:
                waits.add(above)
        waits.discard(after)
        requests.append(
            TreeRequest(
                call=call,
                agent=agent,
                after=after,
                delay_s=delay_s,
                waits_for=tuple(sorted(waits)),
            )
        )
    return SessionTree.of(name, requests, block_tokens=block_tokens)
