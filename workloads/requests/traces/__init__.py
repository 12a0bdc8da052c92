"""Readers of recorded workloads, chosen by what a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.datafiles import parse_json
from workloads.errors import UserError
from workloads.requests.traces.aiperf import (
    read_aiperf_inputs,
    read_aiperf_records,
    read_aiperf_turns,
)
from workloads.requests.traces.azure import COLUMNS as AZURE_COLUMNS
from workloads.requests.traces.azure import read_azure
from workloads.requests.traces.burstgpt import COLUMNS as BURSTGPT_COLUMNS
from workloads.requests.traces.burstgpt import read_burstgpt
from workloads.requests.traces.mooncake import read_bailian, read_mooncake
from workloads.requests.traces.rows import BadRow, TraceOptions, TraceSource
from workloads.requests.traces.vllm_bench import read_sharegpt, read_vllm_custom, read_vllm_result
from workloads.requests.traces.weka import read_weka, read_weka_lines

if TYPE_CHECKING:
    from pathlib import Path

    from workloads.requests.request import Request

__all__ = ["BadRow", "TraceOptions", "read_trace"]

FORMATS = (
    "JSON lines: Mooncake, AIPerf (mooncake_trace, single_turn, multi_turn, profile_export), "
    "Bailian, AgentX (Weka), vLLM custom; JSON: vllm bench --save-detailed, ShareGPT, "
    "AIPerf inputs.json, AgentX (Weka); "
    "CSV: Azure LLM inference, BurstGPT"
)

_JSON_LINES = (
    ({"chat_id", "parent_chat_id"}, read_bailian),
    ({"metadata", "metrics"}, read_aiperf_records),
    ({"requests", "block_size"}, read_weka_lines),
    ({"turns"}, read_aiperf_turns),
    ({"input_length"}, read_mooncake),
    ({"text_input"}, read_mooncake),
    ({"text"}, read_aiperf_turns),
    ({"texts"}, read_aiperf_turns),
    ({"prompt"}, read_vllm_custom),
)
"""Keys that tell a format by its first object, in the order in which they are tried."""


def read_trace(path: Path, options: TraceOptions) -> tuple[list[Request], list[BadRow]]:
    """Read a recorded workload of any supported format.

    Returns
    -------
    tuple
        The requests in order of arrival, the first at time zero, and the rows left out.

    Raises
    ------
    UserError
        If the file cannot be read, its format is not known, or a row is bad and
        `TraceOptions.on_error` is ``raise``.
    """
    source = TraceSource(path, options)
    requests = _read(source)
    if options.time_unit is not None and not source.takes_time_unit:
        raise UserError(
            f"time_unit is {options.time_unit}, and the format of {path} has a unit of its own; "
            "leave it out"
        )
    return requests, source.bad_rows


def _read(source: TraceSource) -> list[Request]:
    first = next((line for line in source.lines() if line.strip()), "")
    if not first:
        raise UserError(f"workload '{source.path}' is empty")
    if first.lstrip()[0] not in "{[":
        return _read_csv(source, first)
    try:
        head = parse_json(first, source=str(source.path), line=1)
    except UserError:
        head = None
    if isinstance(head, dict):
        for keys, reader in _JSON_LINES:
            if keys <= head.keys():
                return reader(source)
    if source.path.suffix != ".jsonl":
        document = head if isinstance(head, list) else source.json_document()
        traces = document if isinstance(document, list) else [document]
        if traces and isinstance(traces[0], dict) and "block_size" in traces[0]:
            return read_weka(source, traces)
        if isinstance(document, list):
            return read_sharegpt(source, document)
        if isinstance(document, dict) and "output_lens" in document:
            return read_vllm_result(source, document)
        if isinstance(document, dict) and isinstance(document.get("data"), list):
            return read_aiperf_inputs(source, document)
    raise _unknown_format(source, first)


def _read_csv(source: TraceSource, header: str) -> list[Request]:
    columns = {name.strip().strip('"') for name in header.split(",")}
    for required, reader in ((AZURE_COLUMNS, read_azure), (BURSTGPT_COLUMNS, read_burstgpt)):
        if set(required) <= columns:
            return reader(source)
    raise _unknown_format(source, header)


def _unknown_format(source: TraceSource, first: str) -> UserError:
    return UserError(
        f"workload '{source.path}' has an unknown format: it begins with {first.strip()[:60]!r}\n"
        f"known formats: {FORMATS}"
    )
