"""The one exception that a user is meant to read."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class UserError(ValueError):
    """A request that cannot be served as stated.

    The message names the field, the value, the limit and the way out, in one or two lines.
    """


def unknown_name(*, field: str, value: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a catalogue, with the nearest names that are."""
    names = sorted(known)
    near = difflib.get_close_matches(value.lower(), names, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(names)}"
    return UserError(f"{field} '{value}' is unknown; {hint}")
