"""Altered inputs: what a truncated, edited or hostile file may look like."""

import random
import re

HOSTILE = (
    *(
        "",
        "null",
        "true",
        "-1",
        "0",
        "1e999",
        ".nan",
        "NaN",
        "[]",
        "{}",
        "[[[[[[",
        "}}}}",
        "&a",
        "*a",
    ),
    *("2147483648", "9223372036854775808", "9" * 400, "1" + "0" * 30, "-0.0", "1e-320", "0x7f"),
    *("2026-02-30", "!!int x", "!!python/none x", "'", '"', "\\", "\t", "\x00", "\ufeff", "\u2028"),
    *("é" * 40, "x" * 5000, "1:", "? [a]\n: b", "<<: *a", "---\n---", "a: 1\na: 2", "\r\n", ",,,,"),
)


def mutated(text: str, seed: int) -> str:
    """A text with one to four places changed."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 4)):
        text = rng.choice(_WAYS)(text, rng)
    return text


def _truncate(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _insert(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(HOSTILE) + text[at:]


def _replace_value(text: str, rng: random.Random) -> str:
    """A number, word or quoted text gives way to something hostile."""
    found = list(re.finditer(r"-?\d+(?:\.\d+)?|\w+|\"[^\"\n]*\"", text))
    if not found:
        return _insert(text, rng)
    token = rng.choice(found)
    return text[: token.start()] + rng.choice(HOSTILE) + text[token.end() :]


def _drop(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at + rng.randint(1, 30) :]


def _replace_one(text: str, rng: random.Random) -> str:
    if not text:
        return text
    at = rng.randrange(len(text))
    return (
        text[:at]
        + chr(rng.choice((9, 10, 34, 39, 44, 58, 91, 93, 123, 125, 45, 48)))
        + text[at + 1 :]
    )


def _double_line(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    return "\n".join([*lines[: at + 1], *lines[at:]])


def _swap(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return "\n".join(lines)


_WAYS = (
    _truncate,
    _insert,
    _replace_value,
    _replace_value,
    _replace_value,
    _drop,
    _replace_one,
    _double_line,
    _swap,
)
