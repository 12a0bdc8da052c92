"""What requests spend outside the engine, by default: values with their sources."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workloads.datafiles import invalid_data, read_yaml_mapping


class HostTime(BaseModel):
    """A time of the host or the client with the range of the credible sources. [s]"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float = Field(ge=0, allow_inf_nan=False)
    low: float = Field(ge=0)
    high: float = Field(ge=0, allow_inf_nan=False)
    unit: str
    kind: str
    source: str
    note: str
    valid: str


@cache
def host_times() -> dict[str, HostTime]:
    """Every time by the name of the setting that changes it.

    Raises
    ------
    UserError
        If the data file is not valid.
    """
    path = Path(__file__).with_suffix(".yaml")
    try:
        return {
            name: HostTime.model_validate(entry) for name, entry in read_yaml_mapping(path).items()
        }
    except ValidationError as error:
        raise invalid_data(source=str(path), error=error) from None


def host_times_table() -> list[str]:
    """The times as a section of ``docs/reference/engines.md``."""
    lines = [
        "## Outside the engine",
        "",
        "What a request spends before a scheduler sees it is part of TTFT: `client_overhead_s` and",
        "`tokenise_s_per_token` for each prompt token. `client_turnaround_s` passes between a",
        "client's last token and its next request. The same for every engine; each is a flag and a",
        "scenario setting. Front ends are taken as enough of them: no request waits for another's.",
        "",
        "| time | value | range | kind | holds for | source |",
        "|---|---|---|---|---|---|",
    ]
    return lines + [
        f"| `{name}` | {time.value:g} {time.unit} | {time.low:g} to {time.high:g} | {time.kind} "
        f"| {time.valid} | {time.source}. {time.note} |"
        for name, time in host_times().items()
    ]
