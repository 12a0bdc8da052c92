"""Azure LLM inference traces: a CSV row per request, no prefix information.

``TIMESTAMP, ContextTokens, GeneratedTokens``, the timestamp as wall-clock time with up to
seven decimals and, in the 2024 files, an offset
(github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023 and 2024).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from workloads.requests.traces.rows import (
    RowError,
    TraceRow,
    TraceSource,
    requests_from_rows,
    whole_number,
)

if TYPE_CHECKING:
    from workloads.requests.request import Request

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

_TIMESTAMP = re.compile(
    r"(?P<second>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?P<fraction>\.\d+)?(?P<offset>Z|[+-]\d\d:\d\d)?"
)


def read_azure(source: TraceSource) -> list[Request]:
    """Requests of an Azure LLM inference trace.

    Raises
    ------
    UserError
        On a bad row (see `TraceOptions.on_error`), among them requests without output.
    """
    rows = source.parsed(source.csv_rows(COLUMNS), _parse)
    return requests_from_rows(rows, source=source)


def _parse(line: int, row: dict[str, str]) -> TraceRow:
    return TraceRow(
        line=line,
        prompt_tokens=whole_number(row, "ContextTokens"),
        output_tokens=whole_number(row, "GeneratedTokens"),
        arrival_s=_seconds(row["TIMESTAMP"]),
    )


def _seconds(text: str) -> float:
    # Seven decimals are more than datetime holds.
    match = _TIMESTAMP.fullmatch(text.strip())
    if match is not None:
        try:
            moment = datetime.fromisoformat(match["second"] + (match["offset"] or "+00:00"))
        except ValueError:
            match = None
    if match is None:
        raise RowError(f"TIMESTAMP is {text!r}; expected such as 2023-11-16 18:17:03.9799600")
    since = moment - datetime(2020, 1, 1, tzinfo=UTC)
    return since.days * 86400 + since.seconds + float(match["fraction"] or 0)
