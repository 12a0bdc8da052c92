"""The one reader of settings files: a user's YAML, or the ``resolved.yaml`` of an earlier run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.output.resolved_file import plain
from simulator.version import version
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REPORTED = "settings."
"""How the server settings begin that ``resolved.yaml`` reports beside those of a scenario."""

_DATED = ("engine", "economics")
"""Defaults that a ``resolved.yaml`` names: they hold as they stand there."""

OUTCOMES = frozenset(
    {
        "level",
        "recipe",
        "kind",
        "deployment_label",
        "software_level",
        "workload_text",
        "arrivals_text",
        "expert_load_text",
    }
)
"""What a ``resolved.yaml`` tells of the run besides its settings; a run finds them again."""


@dataclass(frozen=True, kw_only=True)
class SettingsFile:
    """A settings file as it is read.

    Parameters
    ----------
    values, origin:
        Settings by name, and where each came from: as the file tells it where it is a
        ``resolved.yaml``, else the file.
    defaults:
        Settings of a ``resolved.yaml`` that nobody had stated. They are found again, so that
        what depends on whether something is stated stays as it was; see `edited_defaults`.
    reported:
        Server settings of the earlier run, by ``LABEL.NAME``; of a load by pool.
    path:
        The file.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    reported: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None


def read_settings(path: Path | None) -> SettingsFile:
    """The settings of a file; none without one.

    Raises
    ------
    UserError
        If it cannot be read or parsed, or another version of forecurve has written it.
    """
    if path is None:
        return SettingsFile()
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    defaults: dict[str, Any] = {}
    reported: dict[str, Any] = {}
    for name, entry in read_yaml_mapping(path).items():
        resolved = isinstance(entry, dict) and set(entry) == {"value", "origin"}
        value = entry["value"] if resolved else entry
        if name == "version":
            _check_version(value, path=path)
        elif name.startswith(REPORTED):
            reported[name.removeprefix(REPORTED)] = value
        elif name == "server_settings" and resolved:
            reported |= value
        elif resolved and name.rpartition(".")[2] in OUTCOMES:
            continue
        elif resolved and is_default(entry["origin"]) and name.rpartition(".")[2] not in _DATED:
            defaults[name] = value
        elif value is not None:
            values[name] = value
            origin[name] = str(entry["origin"]) if resolved else f"file {path}"
    return SettingsFile(
        values=values, origin=origin, defaults=defaults, reported=reported, path=path
    )


def edited_defaults(file: SettingsFile, *, found: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a ``resolved.yaml`` that are told as defaults and are not: a user's edits.

    Parameters
    ----------
    found:
        Values that the defaults have here, by name; names that are not among them are unknown
        settings and come back too.
    """
    return {
        name: value
        for name, value in file.defaults.items()
        if value is not None and (name not in found or plain(found[name]) != value)
    }


def _check_version(written: object, *, path: Path) -> None:
    if written != version():
        raise UserError(
            f"version is {written} in {path}; this is forecurve {version()}, which may give other "
            "figures: take the line out to run its settings here"
        )


def is_default(origin: object) -> bool:
    """Whether a recorded origin says that nobody stated the value."""
    return str(origin).startswith("default")
