"""Reading YAML data files, with errors that a user can act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import ValidationError

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that must hold a mapping.

    Raises
    ------
    UserError
        If the file cannot be read, is not YAML (with line and column) or is not a mapping.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}{_place(error)}: {_problem(error)}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold 'name: value' lines; it holds {type(data).__name__}")
    return data


def mapping_of(field: str, node: Any) -> dict[str, Any]:
    """The mapping that a field of a data file must hold; a blank one is empty.

    Raises
    ------
    UserError
        If the field holds anything else.
    """
    if node is None:
        return {}
    if not isinstance(node, Mapping):
        raise UserError(f"{field} must hold 'name: value' lines; it holds {type(node).__name__}")
    return dict(node)


def invalid_data(*, source: str, error: ValidationError) -> UserError:
    """The error for data that parsed but does not fit its schema: field, reason, value."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    given = first["input"]
    value = f" (given: {given!r})" if isinstance(given, str | int | float) else ""
    return UserError(f"{source}: {field + ': ' if field else ''}{message}{value}")


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML")
