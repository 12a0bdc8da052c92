"""Mooncake traces, AIPerf's dialect of them, and Bailian (Qwen) traces: JSON lines with block ids.

Mooncake (github.com/kvcache-ai/Mooncake, FAST '25): ``timestamp`` [ms], ``input_length``,
``output_length`` [tokens] and ``hash_ids``, one per block of 512 prompt tokens, the last one
partly filled. The block size is not in the file. AIPerf (``mooncake_trace`` of AIPerf 0.13)
adds ``session_id`` and ``delay`` [ms]: the rows of a session are turns whose ``input_length``
counts only the new text, the history is resent. Bailian
(github.com/alibaba-edu/qwen-bailian-usagetraces-anon): ``timestamp`` in seconds, blocks of 16
tokens, conversations linked by ``chat_id`` and ``parent_chat_id``, whole prompts in every turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.requests.traces.rows import (
    TraceRow,
    TraceSource,
    check_time_unit,
    hash_ids,
    number,
    output_tokens,
    requests_from_rows,
    seconds,
    text_id,
    text_tokens,
    whole_number,
)

if TYPE_CHECKING:
    from workloads.requests.request import Request

MOONCAKE_BLOCK_TOKENS = 512
BAILIAN_BLOCK_TOKENS = 16


def read_mooncake(source: TraceSource) -> list[Request]:
    """Requests of a Mooncake trace or of AIPerf's dialect of it.

    Raises
    ------
    UserError
        On a bad row (see `TraceOptions.on_error`), among them rows whose block count does not
        fit the block size.
    """
    options = source.options
    block_tokens = options.block_tokens or MOONCAKE_BLOCK_TOKENS

    def parse(line: int, row: dict[str, Any]) -> TraceRow:
        if row.get("input_length") is None and row.get("text_input") is not None:
            prompt = text_tokens(row["text_input"], "text_input", options)
        else:
            prompt = whole_number(row, "input_length")
        session = text_id(row, "session_id")
        return TraceRow(
            line=line,
            prompt_tokens=prompt,
            output_tokens=output_tokens(row, "output_length", options),
            arrival_s=seconds(row, "timestamp", source),
            hash_ids=hash_ids(row, prompt_tokens=prompt, block_tokens=block_tokens),
            session=session,
            think_s=seconds(row, "delay", source) or 0.0,
            adds_to_history=session is not None,
        )

    rows = source.parsed(source.json_lines(), parse)
    check_time_unit(rows, source=source)
    return requests_from_rows(rows, source=source, block_tokens=block_tokens)


def read_bailian(source: TraceSource) -> list[Request]:
    """Requests of a Bailian trace; chained chats become the turns of one session."""
    block_tokens = source.options.block_tokens or BAILIAN_BLOCK_TOKENS
    root_of: dict[int, int] = {}

    def parse(line: int, row: dict[str, Any]) -> TraceRow:
        prompt = whole_number(row, "input_length")
        chat = whole_number(row, "chat_id", least=0)
        # A parent from before the recording makes its child a root.
        root_of[chat] = root_of.get(whole_number(row, "parent_chat_id", least=-1), chat)
        return TraceRow(
            line=line,
            prompt_tokens=prompt,
            output_tokens=output_tokens(row, "output_length", source.options),
            arrival_s=number(row, "timestamp"),
            hash_ids=hash_ids(row, prompt_tokens=prompt, block_tokens=block_tokens),
            session=str(root_of[chat]),
        )

    rows = source.parsed(source.json_lines(), parse)
    return requests_from_rows(rows, source=source, block_tokens=block_tokens)
