"""Session trees of AIPerf's DAG files and of Mooncake traces with sessions.

AIPerf 0.13 (``dag_jsonl``): a line a conversation with ``session_id`` and ``turns``; a turn has
``messages``, ``max_tokens``, ``delay`` [ms], ``forks`` (children that inherit the history) and
``spawns`` (children with a fresh one, which the parent waits for at its next turn or at
``join_at``). Mooncake's dialect: rows with ``session_id``, ``input_length`` of new text,
``output_length``, ``delay`` [ms]; every session is a tree of one chain. Neither records when calls
were made, so trees start at their first turn or anywhere among their turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workloads.errors import UserError, shown
from workloads.requests.agentx.content import CONTENT_BLOCK_TOKENS, Content
from workloads.requests.agentx.forest import Call, SessionTree, TreeRequest
from workloads.requests.traces.rows import (
    RowError,
    number,
    output_tokens,
    text_tokens,
    whole_number,
)

if TYPE_CHECKING:
    from pathlib import Path

    from workloads.requests.traces.rows import TraceSource

_EPOCH_SHIFT = 20
DEEPEST_TREE = 200
"""Conversations that may stand above one another. [-]"""


@dataclass(slots=True)
class _Turn:
    new_tokens: int
    output_tokens: int
    delay_s: float
    forks: list[str]
    spawns: list[tuple[list[str], int | None]]
    whole_prompt: bool = False


@dataclass(slots=True)
class _Conversation:
    name: str
    line: int
    turns: list[_Turn]
    before: list[str] = field(default_factory=list)


def aiperf_dag_trees(source: TraceSource) -> list[SessionTree]:
    """Trees of an AIPerf DAG file: one for every conversation that nobody forks or spawns.

    Raises
    ------
    UserError
        With the line: a conversation that is named twice, a child that is missing or has two
        parents, a cycle, a negative delay, a ``join_at`` out of range, or no root.
    """
    found: dict[str, _Conversation] = {}
    for line, row in source.json_lines():
        try:
            one = _aiperf_conversation(source, line, row)
            if one.name in found:
                raise RowError(
                    f"session_id '{one.name}' is also that of line {found[one.name].line}"
                )
            found[one.name] = one
        except RowError as error:
            source.reject(line, str(error))
    return _trees(source, found)


def mooncake_trees(source: TraceSource) -> list[SessionTree]:
    """Trees of a Mooncake trace in AIPerf's dialect: every session is one chain.

    Raises
    ------
    UserError
        On a bad row, with its line.
    """
    found: dict[str, _Conversation] = {}
    for line, row in source.json_lines():
        try:
            name = str(row.get("session_id", f"line {line}"))
            turn = _Turn(
                new_tokens=whole_number(row, "input_length"),
                output_tokens=whole_number(row, "output_length"),
                delay_s=_delay_s(row),
                forks=[],
                spawns=[],
            )
        except RowError as error:
            source.reject(line, str(error))
            continue
        found.setdefault(name, _Conversation(name, line, [])).turns.append(turn)
    return _trees(source, found)


def _aiperf_conversation(source: TraceSource, line: int, row: dict[str, Any]) -> _Conversation:
    turns = row.get("turns")
    if row.get("orchestrator"):
        raise RowError("orchestrator conversations send no request and are not replayed")
    if not isinstance(row.get("session_id"), str) or not isinstance(turns, list) or not turns:
        raise RowError("a conversation needs a session_id and at least one turn")
    whole = row.get("context_mode") == "message_array_with_responses"
    one = _Conversation(row["session_id"], line, [])
    for position, turn in enumerate(turns):
        if not isinstance(turn, dict) or not isinstance(turn.get("messages"), list):
            raise RowError(f"turn {position} has no messages")
        text = "".join(_text(message) for message in turn["messages"])
        one.turns.append(
            _Turn(
                new_tokens=text_tokens(text, f"turn {position}", source.options),
                output_tokens=output_tokens(turn, "max_tokens", source.options),
                delay_s=_delay_s(turn),
                forks=[_child(each) for each in _listed(turn, "forks")],
                spawns=[_spawn(each, position, len(turns)) for each in _listed(turn, "spawns")],
                whole_prompt=whole,
            )
        )
    one.before = [_child(each) for each in _listed(row, "pre_session_spawns")]
    return one


def _listed(row: dict[str, Any], name: str) -> list[Any]:
    value = row.get(name) or []
    if not isinstance(value, list):
        raise RowError(f"{name} is {shown(value)}; it must be a list of conversations")
    return value


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


def _child(entry: Any) -> str:
    name = entry.get("child") if isinstance(entry, dict) else entry
    if not isinstance(name, str):
        raise RowError(f"child {shown(entry)} is not the session_id of a conversation")
    return name


def _spawn(entry: Any, position: int, turns: int) -> tuple[list[str], int | None]:
    if not isinstance(entry, dict):
        return [_child(entry)], position + 1 if position + 1 < turns else None
    children, join = entry.get("children"), entry.get("join_at")
    if not isinstance(children, list) or not children:
        raise RowError("spawns has an entry without children")
    if join is not None and not (isinstance(join, int) and position < join < turns):
        raise RowError(
            f"join_at is {join!r}; it must lie after turn {position} and before turn {turns}"
        )
    return [_child(each) for each in children], join


def _delay_s(row: dict[str, Any]) -> float:
    if row.get("delay") is None:
        return 0.0
    delay_s = number(row, "delay") / 1000.0
    if delay_s < 0:
        raise RowError(f"delay is {row['delay']!r} ms; it cannot be negative")
    return delay_s


def _trees(source: TraceSource, found: dict[str, _Conversation]) -> list[SessionTree]:
    parents: dict[str, str] = {}
    for one in list(found.values()):
        children = [*one.before]
        for turn in one.turns:
            children += turn.forks + [child for names, _ in turn.spawns for child in names]
        for child in children:
            if child not in found:
                source.reject(one.line, f"child '{child}' of '{one.name}' is no line of the file")
                _forget(one, child)
            elif child in parents:
                source.reject(one.line, f"child '{child}' already belongs to '{parents[child]}'")
                _forget(one, child)
            else:
                parents[child] = one.name
    reached: set[str] = set()
    trees = []
    for name, one in found.items():
        if name not in parents:
            builder = _Builder(found, source.path)
            builder.conversation(one, agent=0, after=-1, content=(), tokens=0)
            reached |= builder.names
            trees.append(builder.tree(name))
    for name, one in found.items():
        if name not in reached:
            source.reject(one.line, f"'{name}' is its own ancestor: the conversations form a cycle")
    return trees


def _forget(one: _Conversation, child: str) -> None:
    one.before = [name for name in one.before if name != child]
    for turn in one.turns:
        turn.forks = [name for name in turn.forks if name != child]
        turn.spawns = [([n for n in names if n != child], join) for names, join in turn.spawns]


class _Builder:
    """One tree out of its conversations, request by request."""

    def __init__(self, found: dict[str, _Conversation], path: Path) -> None:
        self._found = found
        self._path = path
        self._depth = 0
        self.names: set[str] = set()
        self._requests: list[TreeRequest] = []
        self._agents = 0
        self._epochs = 0

    def conversation(
        self, one: _Conversation, *, agent: int, after: int, content: Content, tokens: int
    ) -> int:
        """Add the turns of a conversation and of its children; its last request."""
        self.names.add(one.name)
        self._depth += 1
        if self._depth > DEEPEST_TREE:
            raise UserError(
                f"{self._path}, line {one.line}: '{one.name}' lies under {DEEPEST_TREE} "
                "conversations; the limit is there to find mistakes"
            )
        for child in one.before:
            self._spawned(child, after)
        joins: dict[int, list[int]] = {}
        chain = len(self.names)
        for position, turn in enumerate(one.turns):
            tokens = turn.new_tokens + (0 if turn.whole_prompt else tokens)
            blocks = tokens // CONTENT_BLOCK_TOKENS
            kept = () if turn.whole_prompt else content
            content = self._grown(kept, blocks)
            call = Call(
                start_s=float(len(self._requests)),
                duration_s=0.0,
                prompt_tokens=tokens,
                output_tokens=turn.output_tokens,
                chain=chain,
                content=content,
                line=one.line,
            )
            index = len(self._requests)
            self._requests.append(
                TreeRequest(
                    call=call,
                    agent=agent,
                    after=after,
                    delay_s=turn.delay_s,
                    waits_for=tuple(sorted(set(joins.get(position, [])) - {after})),
                )
            )
            after = index
            tokens += turn.output_tokens
            for child in turn.forks:
                self.conversation(
                    self._found[child], agent=agent, after=index, content=content, tokens=tokens
                )
            for names, join in turn.spawns:
                last = [self._spawned(child, index) for child in names]
                if join is not None:
                    joins.setdefault(join, []).extend(last)
        self._depth -= 1
        return after

    def _spawned(self, child: str, after: int) -> int:
        self._agents += 1
        return self.conversation(
            self._found[child], agent=self._agents, after=after, content=(), tokens=0
        )

    def _grown(self, content: Content, blocks: int) -> Content:
        have = sum(count for _, count in content)
        if blocks <= have:
            return content
        self._epochs += 1
        return (*content, (self._epochs << _EPOCH_SHIFT, blocks - have))

    def tree(self, name: str) -> SessionTree:
        """The tree of what was added."""
        return SessionTree.of(name, self._requests, block_tokens=CONTENT_BLOCK_TOKENS)
