"""Cells of recorded settings: constants, expressions, and tables keyed by load and layout."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from simulator.recipes.expressions import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Table: TypeAlias = tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]
"""Variables, and values with the keys that they hold for."""


def cell_value(text: str, *, context: Mapping[str, object], beside: Sequence[str] = ()) -> str:
    """What a cell says under a load: a constant, an expression's value or a table's entry.

    ``beside`` are the tables of the row's other cells. A key that one of the same variables lists
    and this complete one does not had no value here: the release's default.
    """
    if text.startswith("by "):
        if _left_blank(text, context=context, beside=beside):
            return ""
        text = _from_table(text, context=context)
    if not text.startswith("= "):
        return text
    variables = {name: value for name, value in context.items() if isinstance(value, int | float)}
    return str(evaluate(text[2:], variables=variables))


@lru_cache(maxsize=4096)
def table_of(text: str) -> Table:
    """Variables, and values with their keys, of ``by a,b: value <- key key; value <- key``."""
    head, _, body = text.partition(":")
    # a value may hold a semicolon itself, keys may not
    entries = re.findall(r"\s*(.*?) <- ([^;]*)(?:;|$)", body)
    return tuple(head.removeprefix("by ").split(",")), tuple(
        (value.strip(), tuple(keys.split())) for value, keys in entries
    )


_VARIABLES = {"conc": "concurrency", "dpa": "dp_attention"}


def _left_blank(text: str, *, context: Mapping[str, object], beside: Sequence[str]) -> bool:
    """Whether a complete table lacks a key that another one of the same variables lists."""
    names, entries = table_of(text)
    key = _key(names, context)
    listed = {each for _, keys in entries for each in keys}
    if key in listed or "..." in listed:
        return False
    return any(
        other_names == names and any(key in keys for _, keys in other_entries)
        for other_names, other_entries in map(table_of, beside)
    )


def _key(names: Sequence[str], context: Mapping[str, object]) -> str:
    return "/".join(str(context.get(_VARIABLES.get(name, name), "")) for name in names)


def _from_table(text: str, *, context: Mapping[str, object]) -> str:
    """The entry of the key that lies nearest: flags and degrees first, then lengths and load.

    A list that ends in an ellipsis holds further keys of its value: where it is the only one,
    it answers for a key that stands nowhere, but for loads beyond all that are listed.
    """
    names, entries = table_of(text)
    wanted = [str(context.get(_VARIABLES.get(name, name), "")) for name in names]
    exact = "/".join(wanted)
    for value, keys in entries:
        if exact in keys:
            return value
    open_ended = [value for value, keys in entries if keys and keys[-1] == "..."]
    if len(open_ended) == 1 and not _beyond(wanted, [key for _, keys in entries for key in keys]):
        return open_ended[0]
    nearest = [
        (_apart(names, wanted, key.split("/")), value)
        for value, keys in entries
        for key in keys
        if key != "..." and key.count("/") == len(names) - 1
    ]
    return min(nearest)[1] if nearest else ""


def _beyond(wanted: Sequence[str], keys: Sequence[str]) -> bool:
    """Whether the last number asked for lies outside those of all keys."""
    listed = [float(key.rpartition("/")[2]) for key in keys if key[-1].isdigit()]
    asked = wanted[-1]
    return bool(listed) and asked.isdigit() and not min(listed) <= float(asked) <= max(listed)


def _apart(names: Sequence[str], wanted: Sequence[str], key: Sequence[str]) -> float:
    """Doublings between two keys; degrees, lengths and flags weigh more than load."""
    apart = 0.0
    for name, one, other in zip(names, wanted, key, strict=True):
        if one == other:
            continue
        try:
            doublings = abs(math.log2(float(one) / float(other)))
        except (ValueError, ZeroDivisionError):
            doublings = 10.0
        apart += doublings * (1.0 if name == "conc" else 8.0)
    return apart


def keys_of(tables: Sequence[Table], name: str) -> set[int]:
    """Values of a variable that tables are keyed by."""
    found: set[int] = set()
    for names, entries in tables:
        if name not in names:
            continue
        place = names.index(name)
        parts = [key.split("/") for _, keys in entries for key in keys]
        full = [part[place] for part in parts if len(part) == len(names)]
        found |= {int(value) for value in full if value.isdigit()}
    return found
