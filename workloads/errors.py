"""The one exception that a user is meant to read."""

from __future__ import annotations

import difflib
import re
import reprlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


LONGEST_WORD = 240
_LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")


class UserError(ValueError):
    """A request that cannot be served as stated.

    The message names the field, the value, the limit and the way out, in one or two lines; words
    beyond `LONGEST_WORD` characters are cut.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_LONG_WORD.sub(lambda word: f"{word[0][:LONGEST_SHOWN]}...", message))


class DoesNotFitError(UserError):
    """The model, or one request of the workload, does not fit the memory of the layout."""


LONGEST_SHOWN = 60
MOST_NAMES = 5


def shown(value: object) -> str:
    """A value as a message shows it: on one line, cut where it is long."""
    short = reprlib.Repr()
    short.maxlevel, short.maxdict, short.maxlist, short.maxtuple = 2, 4, 4, 4
    short.maxstring = short.maxother = short.maxlong = LONGEST_SHOWN
    text = short.repr(value)
    return text if len(text) <= 2 * LONGEST_SHOWN else f"{text[: 2 * LONGEST_SHOWN]}..."


def unknown_name(*, field: str, value: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a catalogue, with at most five names that are."""
    names = sorted(known)
    value = str(value)
    near = difflib.get_close_matches(value.lower()[:LONGEST_SHOWN], names, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?"
    if not near:
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        hint = f"known: {', '.join(names[:MOST_NAMES])}{more}"
    text = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."
    text = " ".join(text.split())
    return UserError(f"{field} '{text}' is unknown; {hint}")


def left_out(*, field: str, value: str, known: Mapping[str, Any]) -> UserError | None:
    """The error for a name that a catalogue leaves out, with the reason; ``None`` of others.

    Parameters
    ----------
    field:
        What the name is of, such as ``model``.
    known:
        A file of such names: under one key a list of ``names``, ``why`` and ``source``.
    """
    wanted = value.strip().lower()
    for entry in (one for entries in known.values() for one in entries):
        if wanted in (str(name).lower() for name in entry["names"]):
            return UserError(f"{field} '{value}' is left out: {entry['why']} ({entry['source']})")
    return None
