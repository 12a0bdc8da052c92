"""The ``summary.json`` of a run as a report reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from workloads.datafiles import invalid_data, read_json
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


class _Setting(BaseModel):
    value: Any = None
    origin: str


class _Refused(BaseModel):
    label: str
    reason: str


class _Summary(BaseModel):
    """What a report needs of a summary; other entries are left alone."""

    model_config = ConfigDict(extra="allow", strict=True)

    caption: str
    generator: str
    settings: dict[str, _Setting]
    messages: list[str]
    refused: list[_Refused]
    reference: str = ""
    remarks: list[str] = []


def read_summary(file: Path) -> dict[str, Any]:
    """The summary of a run.

    Raises
    ------
    UserError
        If the file cannot be read or does not hold what every command writes.
    """
    data = read_json(file)
    if not isinstance(data, dict):
        raise UserError(f"{file} holds {type(data).__name__}, not an object; run the command again")
    try:
        _Summary.model_validate(data)
    except ValidationError as error:
        raise invalid_data(source=str(file), error=error) from None
    return data
