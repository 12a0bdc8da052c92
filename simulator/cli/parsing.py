"""How the texts of flags are read: lists, pairs, ranges."""

from __future__ import annotations

import math
import re
from typing import Any

from workloads.errors import UserError, shown

LARGEST_CONCURRENCY = 1_000_000


def parse_concurrency(text: str | None) -> tuple[int, ...] | None:
    """Concurrencies from ``1,8,64`` and ranges such as ``1-512``, which double; ascending.

    Raises
    ------
    UserError
        If a part is neither, or a number is out of range.
    """
    if text is None:
        return None
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,12})\s*(?:-\s*(\d{1,12})\s*)?", part)
        if match is None:
            raise UserError(
                f"concurrency '{text}' is not a list of whole numbers; "
                "write 1,8,64 or 1-512 for every doubling from 1 to 512"
            )
        low, high = int(match[1]), int(match[2] or match[1])
        if not 1 <= low <= high <= LARGEST_CONCURRENCY:
            raise UserError(
                f"concurrency {part.strip()} is out of range; "
                f"it runs from 1 to {LARGEST_CONCURRENCY:,}, the smaller number first"
            )
        chosen.add(high)
        while low < high:
            chosen.add(low)
            low *= 2
    return tuple(sorted(chosen))


def parse_overrides(pairs: list[str] | None) -> dict[str, float] | None:
    """SKU fields to change, from ``field=value`` pairs.

    Raises
    ------
    UserError
        If a pair has another form, its value is not a finite number, or a field comes twice.
    """
    if not pairs:
        return None
    overrides: dict[str, float] = {}
    for pair in pairs:
        field, _, value = (part.strip() for part in pair.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not field or number - number != 0:
            raise UserError(f"--set '{pair}' is not FIELD=NUMBER; write hbm_usable_bytes=298e9")
        if field in overrides:
            raise UserError(f"--set gives {field} twice; keep one of them")
        overrides[field] = number
    return overrides


def listed(text: str | None) -> list[str] | None:
    """Values with commas between; ``None`` if the flag is not given.

    Raises
    ------
    UserError
        If a value is empty.
    """
    if text is None:
        return None
    values = [value.strip() for value in text.split(",")]
    if not all(values):
        raise UserError(f"'{text}' has an empty value; write values with commas between: a,b")
    return values


def numbers(text: str | None, *, flag: str) -> list[float] | None:
    """Numbers with commas between; ``None`` if the flag is not given.

    Raises
    ------
    UserError
        If a value is no number.
    """
    values = listed(text)
    try:
        return None if values is None else [float(value) for value in values]
    except ValueError:
        raise UserError(f"{flag} '{text}' is not a list of numbers; write 20,27,50") from None


def listed_overrides(pairs: list[str] | None) -> dict[str, list[float]] | None:
    """SKU fields and the values to try, from ``field=value,value`` pairs.

    Raises
    ------
    UserError
        As `parse_overrides`.
    """
    if not pairs:
        return None
    overrides: dict[str, list[float]] = {}
    for pair in pairs:
        field, _, values = pair.partition("=")
        singles = [parse_overrides([f"{field}={value}"]) or {} for value in values.split(",")]
        name = field.strip()
        if name in overrides:
            raise UserError(f"--set gives {name} twice; write {name}=VALUE,VALUE")
        overrides[name] = [single[name] for single in singles]
    return overrides


def parse_steps(text: str | None) -> tuple[tuple[float, float], ...] | None:
    """Windows from ``60:2,120:8``, seconds and requests per second.

    Raises
    ------
    UserError
        If a part is not such a pair.
    """
    if text is None:
        return None
    windows: list[tuple[float, float]] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([\d.eE+]+):([\d.eE+]+)\s*", part)
        try:
            if match is None:
                raise ValueError
            windows.append((float(match[1]), float(match[2])))
        except ValueError:
            raise UserError(
                f"steps '{part.strip()}' is not SECONDS:REQ/S; write --steps 60:2,120:8"
            ) from None
    return tuple(windows)


def parse_values(pairs: list[str], *, flag: str) -> dict[str, Any]:
    """Settings and their values from ``NAME=VALUE`` pairs: numbers, true, false, none or names.

    Raises
    ------
    UserError
        If a pair has another form or a name comes twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = (part.strip() for part in pair.partition("="))
        if not (name and separator and text):
            raise UserError(
                f"{flag} {shown(pair)} is not NAME=VALUE; write max_num_batched_tokens=8192"
            )
        if name in found:
            raise UserError(f"{flag} gives {name} twice; keep one of them")
        found[name] = parse_value(text)
    return found


def parse_vary(pairs: list[str]) -> dict[str, tuple[Any, ...]]:
    """Values of settings from ``NAME=VALUE,VALUE`` pairs.

    Raises
    ------
    UserError
        If a pair has another form or a name comes twice.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for pair in pairs:
        name, _, text = (part.strip() for part in pair.partition("="))
        values = [value.strip() for value in text.split(",")]
        if not name or not all(values):
            raise UserError(
                f"--vary '{pair}' is not NAME=VALUES; write max_num_batched_tokens=4096,8192"
            )
        if name in found:
            raise UserError(f"--vary gives {name} twice; keep one of them")
        found[name] = tuple(parse_value(value) for value in values)
    return found


def parse_value(text: str) -> Any:
    """A number, truth value or ``None`` from its text; other texts stay."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() == "none":
        return None
    for kind in (int, float):
        try:
            number: float = kind(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    return text


def choice(text: str, choices: tuple[str, ...]) -> str:
    """A name whose words may be joined by dashes where the setting has underscores."""
    name = text.replace("-", "_")
    return name if name in choices else text
