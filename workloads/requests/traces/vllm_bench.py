"""Inputs and results of ``vllm bench serve``: detailed results, custom and ShareGPT data sets.

A result written with ``--save-detailed`` holds ``input_lens``, ``output_lens`` and
``start_times`` [s], one entry per request; without start times the requests are closed loop.
A custom data set is JSON lines with ``prompt`` and ``output_tokens``; ShareGPT is a JSON array
of ``conversations`` of which the benchmark sends the first turn. Both carry text, so that they
need `TraceOptions.characters_per_token`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.errors import UserError
from workloads.requests.traces.rows import (
    RowError,
    TraceRow,
    TraceSource,
    number,
    output_tokens,
    requests_from_rows,
    text_tokens,
    whole_number,
)

if TYPE_CHECKING:
    from workloads.requests.request import Request


def read_vllm_result(source: TraceSource, document: dict[str, Any]) -> list[Request]:
    """Requests of a detailed benchmark result, to be sent again as they were.

    Raises
    ------
    UserError
        If the arrays differ in length, or on a bad entry, such as a failed request without
        output.
    """
    columns = {
        name: document[name]
        for name in ("input_lens", "output_lens", "start_times")
        if document.get(name)
    }
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1 or "output_lens" not in columns:
        raise UserError(
            f"{source.path}: input_lens, output_lens and start_times must have one entry per "
            f"request, found {lengths}; write the result with --save-detailed"
        )
    entries = (
        (position, dict(zip(columns, values, strict=True)))
        for position, values in enumerate(zip(*columns.values(), strict=True), start=1)
    )

    def parse(position: int, entry: dict[str, Any]) -> TraceRow:
        return TraceRow(
            line=position,
            prompt_tokens=whole_number(entry, "input_lens"),
            output_tokens=whole_number(entry, "output_lens"),
            arrival_s=number(entry, "start_times") if "start_times" in entry else None,
        )

    return requests_from_rows(source.parsed(entries, parse), source=source)


def read_vllm_custom(source: TraceSource) -> list[Request]:
    """Requests of a custom data set, closed loop."""
    options = source.options

    def parse(line: int, row: dict[str, Any]) -> TraceRow:
        return TraceRow(
            line=line,
            prompt_tokens=text_tokens(row.get("prompt"), "prompt", options),
            output_tokens=output_tokens(row, "output_tokens", options),
        )

    return requests_from_rows(source.parsed(source.json_lines(), parse), source=source)


def read_sharegpt(source: TraceSource, document: list[Any]) -> list[Request]:
    """First turns of ShareGPT conversations, closed loop."""
    options = source.options

    def parse(position: int, entry: Any) -> TraceRow:
        turns = entry.get("conversations") if isinstance(entry, dict) else None
        if not isinstance(turns, list) or len(turns) < 2:
            raise RowError("conversations has fewer than two turns")
        prompt, answer = (
            turn.get("value") if isinstance(turn, dict) else None for turn in turns[:2]
        )
        return TraceRow(
            line=position,
            prompt_tokens=text_tokens(prompt, "the first turn", options),
            output_tokens=text_tokens(answer, "the second turn", options),
        )

    entries = enumerate(document, start=1)
    return requests_from_rows(source.parsed(entries, parse), source=source)
