"""AIPerf inputs and records: single- and multi-turn data sets, ``inputs.json``, exports.

As AIPerf 0.13 defines them (pypi.org/project/aiperf, ``aiperf/dataset/loader/models.py`` and
``aiperf/common/models/record_models.py``). Its Mooncake dialect is read by
`workloads.requests.traces.mooncake`. Data sets carry text and need
`TraceOptions.characters_per_token`;
``profile_export.jsonl`` carries the token counts and times of requests that were sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.requests.traces.rows import (
    RowError,
    TraceOptions,
    TraceRow,
    TraceSource,
    check_time_unit,
    number,
    output_tokens,
    requests_from_rows,
    seconds,
    text_id,
    text_tokens,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workloads.requests.request import Request

HISTORY_BLOCK_TOKENS = 64
"""Blocks in which the resent history of a session is compared; the files state none. [tokens]"""


def read_aiperf_turns(source: TraceSource) -> list[Request]:
    """Requests of a ``single_turn`` or ``multi_turn`` data set.

    A multi-turn line holds ``turns``; each adds its text to the session's history. Single-turn
    lines with a common ``session_id`` are sent one after the other, each on its own.
    """
    options = source.options

    def turns() -> Iterator[tuple[int, tuple[dict[str, Any], dict[str, Any], bool]]]:
        for line, row in source.json_lines():
            if "turns" not in row:
                yield line, (row, row, False)
                continue
            if not isinstance(row["turns"], list) or not row["turns"]:
                source.reject(line, "turns is not a list of at least one turn")
                continue
            for turn in row["turns"]:
                yield line, (turn, row, True)

    def parse(line: int, item: tuple[dict[str, Any], dict[str, Any], bool]) -> TraceRow:
        turn, row, adds_to_history = item
        if not isinstance(turn, dict):
            raise RowError("a turn is not an object")
        session = text_id(row, "session_id")
        if adds_to_history:
            session = session or f"line {line}"
        return TraceRow(
            line=line,
            prompt_tokens=_turn_tokens(turn, options),
            output_tokens=output_tokens(turn, "output_length", options),
            arrival_s=seconds(turn, "timestamp", source),
            session=session,
            think_s=seconds(turn, "delay", source) or 0.0,
            adds_to_history=adds_to_history,
        )

    rows = source.parsed(turns(), parse)
    check_time_unit(rows, source=source)
    block_tokens = options.block_tokens or HISTORY_BLOCK_TOKENS
    return requests_from_rows(rows, source=source, block_tokens=block_tokens)


def _turn_tokens(turn: dict[str, Any], options: TraceOptions) -> int:
    texts = turn.get("texts")
    if texts is None:
        return text_tokens(turn.get("text"), "text", options)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RowError("texts is not a list of texts")
    return text_tokens("".join(texts), "texts", options)


def read_aiperf_inputs(source: TraceSource, document: dict[str, Any]) -> list[Request]:
    """Requests of an ``inputs.json``: sessions of complete chat payloads, closed loop."""
    options = source.options

    def payloads() -> Iterator[tuple[int, tuple[dict[str, Any], str]]]:
        for position, session in enumerate(document["data"], start=1):
            turns = session.get("payloads") if isinstance(session, dict) else None
            if not isinstance(turns, list) or not turns:
                source.reject(position, "a session without payloads")
                continue
            for payload in turns:
                yield position, (payload, str(session.get("session_id", position)))

    def parse(position: int, item: tuple[dict[str, Any], str]) -> TraceRow:
        payload, session = item
        if not isinstance(payload, dict):
            raise RowError("a payload is not an object")
        limit = "max_completion_tokens" if "max_completion_tokens" in payload else "max_tokens"
        return TraceRow(
            line=position,
            prompt_tokens=text_tokens(_payload_text(payload), "the payload", options),
            output_tokens=output_tokens(payload, limit, options),
            session=session,
        )

    return requests_from_rows(source.parsed(payloads(), parse), source=source)


def _payload_text(payload: dict[str, Any]) -> str:
    if isinstance(payload.get("prompt"), str):
        return str(payload["prompt"])
    parts: list[str] = []
    for message in payload.get("messages") or ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else (content,):
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                parts.append(text)
    return "".join(parts)


def read_aiperf_records(source: TraceSource) -> list[Request]:
    """Requests of a ``profile_export.jsonl``, sent again when they were; warm-up is left out.

    Turns of a session wait, after the turn before, as long as the client did.
    """
    finished_s: dict[str, float] = {}

    def parse(line: int, row: dict[str, Any]) -> TraceRow | None:
        metadata, metrics = row.get("metadata"), row.get("metrics")
        if not isinstance(metadata, dict) or not isinstance(metrics, dict):
            raise RowError("metadata or metrics is missing")
        if metadata.get("benchmark_phase") == "warmup":
            return None
        if row.get("error") is not None or metadata.get("was_cancelled"):
            raise RowError("a request that failed or was cancelled")
        lengths = {
            name: value.get("value") if isinstance(value, dict) else None
            for name, value in metrics.items()
        }
        start_s = number(metadata, "request_start_ns") / 1e9
        session = text_id(metadata, "x_correlation_id")
        trace_row = TraceRow(
            line=line,
            prompt_tokens=whole_number(lengths, "input_sequence_length"),
            output_tokens=whole_number(lengths, "output_sequence_length"),
            arrival_s=start_s,
        )
        if session is not None:
            trace_row.session = session
            if session in finished_s:
                trace_row.arrival_s = None
                trace_row.think_s = max(0.0, start_s - finished_s[session])
            finished_s[session] = number(metadata, "request_end_ns") / 1e9
        return trace_row

    return requests_from_rows(source.parsed(source.json_lines(), parse), source=source)
