"""Settings of a question beside those of its scenario: one file, one set of flags, told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from simulator.analysis.objectives import TTFT_LIMITS
from simulator.scenario.drawn_lengths import MEANS_OF, without_means
from simulator.scenario.grid import POOL_FIELDS, build_sweep
from simulator.scenario.reported import check_reported
from simulator.scenario.settings import Scenario, scenario_defaults, with_pool_skus
from simulator.scenario.settings_file import edited_defaults, read_settings
from workloads.errors import UserError, shown, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from simulator.scenario.grid import SweepSettings
    from simulator.scenario.settings_file import SettingsFile


class Question(BaseModel):
    """What is asked of a scenario; a command's own settings are a subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyQuestion = TypeVar("AnyQuestion", bound=Question)


def build_question(
    kind: type[AnyQuestion],
    *,
    flags: Mapping[str, Any],
    file: Path | None = None,
    default_skus: Callable[[str], Sequence[str]] | None = None,
) -> tuple[AnyQuestion, SweepSettings, dict[str, dict[str, Any]]]:
    """A question and the scenarios that it is about, from a YAML file with flags on top.

    Parameters
    ----------
    kind:
        Class of the question; its fields and those of a scenario share one name space.
    flags:
        Settings by name; ``None`` means not given.
    file:
        YAML file of settings of both kinds.
    default_skus:
        SKUs where none is named, given the name of the economics; ``None``: one must be named.

    Returns
    -------
    tuple
        The question, the scenarios, and every setting with its value and where it came from.

    Raises
    ------
    UserError
        If the file cannot be read, or a setting is unknown or out of range.
    """
    own: dict[str, Any] = {}
    others: dict[str, Any] = {}
    origin: dict[str, str] = {}
    read = _as_asked(read_settings(file), kind=kind)
    check_reported(read)
    known = [*kind.model_fields, *Scenario.model_fields, *POOL_FIELDS]
    stated = {name: value for name, value in flags.items() if value is not None}
    flags, _ = with_pool_skus(stated, origin={})
    told, _ = with_pool_skus(read.values, origin={})
    whence = {**dict.fromkeys(told, f"file {file}"), **read.origin}
    read = replace(read, values=told, origin=whence)
    edited = edited_defaults(
        read,
        found=scenario_defaults(read.values)
        | dict.fromkeys(POOL_FIELDS)
        | question_defaults(kind)
        | ({} if default_skus is None else {"sku": _skus(default_skus, read.values)}),
    )
    for where, values in (("", read.values), (f"file {file}", edited), ("flag", flags)):
        for name, value in values.items():
            if value is None:
                continue
            if name not in known:
                raise unknown_name(field="setting", value=name, known=known)
            origin[name] = where or read.origin[name]
            (own if name in kind.model_fields else others)[name] = value
    if "sku" not in others and default_skus is not None:
        others["sku"] = _skus(default_skus, others)
        origin["sku"] = "default: shipping, with a price in the economics file"
    built = build_sweep(flags=without_means(others, origin=origin, flags=flags))
    origin |= {name: told for name, told in built.origin.items() if told.startswith(MEANS_OF)}
    settings = replace(built, origin=origin)
    try:
        question = kind(**own)
    except ValidationError as error:
        raise _first_error(error) from None
    resolved = settings.to_dict() | {
        name: {"value": value, "origin": origin.get(name, "default")}
        for name, value in question.model_dump(mode="json").items()
    }
    return question, settings, resolved


def _as_asked(read: SettingsFile, *, kind: type[BaseModel]) -> SettingsFile:
    """A file with the limits of a frontier under the names of the question; others left out."""

    def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
        names = {name: name.removesuffix("_s") for name in TTFT_LIMITS}
        return {
            names.get(name, name): value
            for name, value in values.items()
            if name not in names or names[name] in kind.model_fields
        }

    return replace(
        read,
        values=renamed(read.values),
        origin=renamed(read.origin),
        defaults=renamed(read.defaults),
    )


def question_defaults(kind: type[BaseModel]) -> dict[str, Any]:
    """Values of the settings of a question that are not stated, as its file tells them."""
    return {
        name: setting.get_default(call_default_factory=True)
        for name, setting in kind.model_fields.items()
        if not setting.is_required()
    }


def _skus(default: Callable[[str], Sequence[str]], values: Mapping[str, Any]) -> list[str]:
    return list(default(str(values.get("economics", "latest"))))


def _first_error(error: ValidationError) -> UserError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":
        return UserError(str(first["ctx"]["error"]))
    given = "" if first["type"] == "missing" else f" is {shown(first['input'])}"
    return UserError(f"{field}{given}: {first['msg'][0].lower()}{first['msg'][1:]}")
