"""Changing server settings, whichever engine's they are; each engine's stand in its own module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from workloads.errors import UserError, shown, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.engines.base import EngineSettings


def changed_settings(settings: EngineSettings, changes: Mapping[str, Any]) -> EngineSettings:
    """The settings of a server with some replaced by a user's.

    Raises
    ------
    UserError
        If the engine has no such setting, a value is out of range, or the setting is recorded
        only (`INFORMATIVE`) and changes no figure.
    """
    kind = type(settings)
    known = [name for name in kind.model_fields if name != "scheduler"]
    for name in changes:
        if name not in known:
            raise unknown_name(field=f"setting of {settings.scheduler}", value=name, known=known)
        check_is_simulated(scheduler=settings.scheduler, name=name)
    try:
        return kind.model_validate({**settings.model_dump(exclude_unset=True), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{settings.scheduler} setting {name} is {shown(first['input'])}: "
            f"{first['msg'][0].lower()}{first['msg'][1:]}"
        ) from None


INFORMATIVE: dict[str, dict[str, str]] = {}
"""Settings by scheduler that are recorded and printed but change no figure, and why."""


def check_is_simulated(*, scheduler: str, name: str) -> None:
    """Refuse a setting that no figure depends on.

    Raises
    ------
    UserError
        If the setting is one of `INFORMATIVE`.
    """
    reason = INFORMATIVE.get(scheduler, {}).get(name)
    if reason is not None:
        raise UserError(
            f"setting {name} of {scheduler} is recorded only and changes no figure: {reason}; "
            "leave it out"
        )
