"""Which server settings are recorded only; each engine's own stand in its module."""

from __future__ import annotations

from workloads.errors import UserError

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
