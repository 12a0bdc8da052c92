"""AgentX (Weka) traces: recorded coding-agent sessions with hashed prompt blocks.

A JSON object per session (one file, an array, or JSON lines) with ``block_size`` [tokens] and
``requests``: calls with start ``t`` [s], ``in`` and ``out`` [tokens], ``hash_ids``, ``api_time``
[s], and markers of subagents that hold calls of their own (AIPerf 0.13,
``aiperf/dataset/loader/weka_trace_models.py``; data sets ``semianalysisai/cc-traces-weka-*``).
Hashes mean something only within their session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.requests.traces.rows import (
    RowError,
    TraceRow,
    TraceSource,
    hash_ids,
    number,
    requests_from_rows,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from workloads.requests.request import Request


def read_weka_lines(source: TraceSource) -> list[Request]:
    """Requests of JSON lines with one session each (see `read_weka`)."""
    return _read(source, source.json_lines())


def read_weka(source: TraceSource, sessions: list[Any]) -> list[Request]:
    """Requests of recorded agent sessions, one session per closed-loop client.

    The calls of a session and of its subagents become its turns in order of time, each sent
    when the one before has finished and the recorded pause has passed. Subagents that ran side
    by side are thus sent one after the other.

    Raises
    ------
    UserError
        On a bad call (see `TraceOptions.on_error`; the line is the session's), or if sessions
        differ in block size.
    """
    return _read(source, enumerate(sessions, start=1))


def _read(source: TraceSource, sessions: Iterable[tuple[int, Any]]) -> list[Request]:
    block_tokens = 0
    finished_s = 0.0

    def calls() -> Iterator[tuple[int, tuple[int, dict[str, Any], float]]]:
        nonlocal block_tokens, finished_s
        for order, (line, session) in enumerate(sessions):
            try:
                size, timed = _session_calls(session)
                if block_tokens not in (0, size):
                    raise RowError(f"block_size is {size}, but {block_tokens} in other sessions")
            except RowError as error:
                source.reject(line, str(error))
                continue
            block_tokens = size
            finished_s = timed[0][0]
            for start_s, call in timed:
                yield line, (order, call, start_s)

    def parse(line: int, item: tuple[int, dict[str, Any], float]) -> TraceRow:
        nonlocal finished_s
        order, call, start_s = item
        prompt = whole_number(call, "in")
        ids = hash_ids(call, prompt_tokens=prompt, block_tokens=block_tokens, whole_prompt=False)
        row = TraceRow(
            line=line,
            prompt_tokens=prompt,
            output_tokens=whole_number(call, "out"),
            hash_ids=tuple((order << 32) | block for block in ids),
            session=str(order),
            think_s=max(0.0, start_s - finished_s),
        )
        busy_s = number(call, "api_time") if call.get("api_time") is not None else 0.0
        finished_s = max(finished_s, start_s + busy_s)
        return row

    rows = source.parsed(calls(), parse)
    return requests_from_rows(rows, source=source, block_tokens=block_tokens)


def _session_calls(session: Any) -> tuple[int, list[tuple[float, dict[str, Any]]]]:
    """Block size of a session and its calls with their start times, in order of time."""
    if not isinstance(session, dict) or not isinstance(session.get("requests"), list):
        raise RowError("a session without requests")
    timed: list[tuple[float, dict[str, Any]]] = []
    for entry in session["requests"]:
        if not isinstance(entry, dict):
            raise RowError("a request is not an object")
        start_s = number(entry, "t")
        if entry.get("type") != "subagent":
            timed.append((start_s, entry))
            continue
        inner = entry.get("requests") or []
        if not isinstance(inner, list):
            raise RowError("a subagent's requests are not a list")
        for call in inner:
            if not isinstance(call, dict):
                raise RowError("a subagent's request is not an object")
            # Older recordings count a subagent's time from its start.
            inner_s = number(call, "t")
            timed.append((inner_s if inner_s >= start_s else start_s + inner_s, call))
    if not timed:
        raise RowError("a session without requests")
    timed.sort(key=lambda item: item[0])
    return whole_number(session, "block_size"), timed
