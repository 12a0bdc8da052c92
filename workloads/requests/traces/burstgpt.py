"""BurstGPT traces: a CSV row per request, times in seconds, failures as rows without output.

``Timestamp, Model, Request tokens, Response tokens, Total tokens, Log Type``
(github.com/HPMLL/BurstGPT, arXiv:2401.17644).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.requests.traces.rows import (
    RowError,
    TraceRow,
    TraceSource,
    number,
    requests_from_rows,
    whole_number,
)

if TYPE_CHECKING:
    from workloads.requests.request import Request

COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


def read_burstgpt(source: TraceSource) -> list[Request]:
    """Requests of a BurstGPT trace.

    Raises
    ------
    UserError
        On a bad row (see `TraceOptions.on_error`), among them failed requests, whose
        ``Response tokens`` are zero.
    """
    rows = source.parsed(source.csv_rows(COLUMNS), _parse)
    return requests_from_rows(rows, source=source)


def _parse(line: int, row: dict[str, str]) -> TraceRow:
    output = whole_number(row, "Response tokens", least=0)
    if output == 0:
        raise RowError("Response tokens is 0, a request that failed")
    return TraceRow(
        line=line,
        prompt_tokens=whole_number(row, "Request tokens"),
        output_tokens=output,
        arrival_s=number(row, "Timestamp"),
    )
