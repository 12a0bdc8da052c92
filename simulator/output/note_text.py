"""Notes of an answer as they are printed: alike ones in one line, what decides most first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_WHO = r"(?:[^\s:][^:]*(?::[^\s:]+)?: ){0,2}"
"""Systems and pools in front of a note, such as ``b200:vllm@2026-05:`` and ``prefill on b200:``."""


_NAME = r"[\w+@.()-]+"
_SUBJECT = rf"(?P<who>(?:(?:prefill|decode) on )?{_NAME}(?::{_NAME})?): (?P<text>.+)"


class _Alike(NamedTuple):
    """Notes that say the same of different things, and how one line says it of all."""

    pattern: re.Pattern[str]
    line: Callable[[Sequence[dict[str, str]]], str]


def note_lines(messages: Iterable[str]) -> list[str]:
    """Lines ``note: ...`` of what was assumed, inherited or clamped.

    Nothing is left out but the list of runs behind each form where several SKUs compete: then a
    line counts the forms, and the list stands in the JSON. In front stands what bounds the figures
    or was chosen for the user, then the evidence, drafts, server settings, prices, memory.
    """
    return [f"note: {message}" for message in grouped(messages)]


def grouped(messages: Iterable[str]) -> list[str]:
    """Messages with alike ones merged, what decides most first."""
    kept: dict[str, None] = dict.fromkeys(messages)
    for alike in _ALIKE:
        found = {
            message: {name: value or "" for name, value in match.groupdict().items()}
            for message in kept
            if (match := alike.pattern.fullmatch(message)) is not None
        }
        if len(found) > 1:
            line = alike.line(list(found.values()))
            first = next(iter(found))
            kept = dict.fromkeys(
                line if message == first else message
                for message in kept
                if message == first or message not in found
            )
    return sorted(_same_of_several(kept), key=_rank)


def _same_of_several(messages: Iterable[str]) -> list[str]:
    """One line where the same is said of several SKUs, pools or roles."""
    said: dict[str, list[str]] = {}
    for message in messages:
        who, text = _subject(message)
        while who and text.startswith(f"{who}: "):  # a system called as its chip
            text = text.removeprefix(f"{who}: ")
        said.setdefault(text, [])
        if who:
            said[text].append(who)
    return [f"{', '.join(whos)}: {text}" if whos else text for text, whos in said.items()]


def _subject(message: str) -> tuple[str, str]:
    """Whom a message is about, where it begins with a name of one word, and the rest."""
    match = re.fullmatch(_SUBJECT, message)
    return ("", message) if match is None else (match["who"], match["text"])


def _by(
    found: Sequence[dict[str, str]], *, key: str, value: str, joint: str = ", "
) -> dict[str, str]:
    """Values joined by what they belong to, each once and in order."""
    lists: dict[str, dict[str, None]] = {}
    for each in found:
        lists.setdefault(each[key], {})[each[value]] = None
    return {name: joint.join(values) for name, values in lists.items()}


def _drafts(found: Sequence[dict[str, str]]) -> str:
    by_engine = _by(found, key="engine", value="drafts", joint=" or ")
    told = "; ".join(f"{engine} {drafts}" for engine, drafts in by_engine.items())
    return f"drafts per step from the recipes: {told}"


def _levels(found: Sequence[dict[str, str]]) -> str:
    rows = [each | {"of": f"{each['runs']} on {each['sku']}"} for each in found]
    by_level = _by(rows, key="level", value="of")
    told = "; ".join(f"{level} {runs}" for level, runs in by_level.items())
    return f"levels that rest on few measured runs, and on what related runs share: {told}"


def _generations(found: Sequence[dict[str, str]]) -> str:
    told = _by(found, key="skus", value="engine", joint=" and ")
    return "no run on this chip generation: " + "; ".join(
        f"{engines} efficiencies of {skus}" for skus, engines in told.items()
    )


def _forms(found: Sequence[dict[str, str]]) -> str:
    rows = [
        each | {"form": f"{each['model']} under {each['engine']}{each['spec']}, {each['pools']}"}
        for each in found
    ]
    told = "; ".join(
        f"{form} on {skus}" for form, skus in _by(rows, key="form", value="sku").items()
    )
    return f"no run was fitted of {told}: kernels of other deployments, bands of a relation"


def _followers(found: Sequence[dict[str, str]]) -> str:
    told = _by(found, key="why", value="name")
    return "; ".join(
        f"{names} follow{'' if ',' in names else 's'} the load: {why}"
        for why, names in told.items()
    )


def _outside_graphs(found: Sequence[dict[str, str]]) -> str:
    rows = [each | {"from": f"beyond {each['tokens']} tokens a rank"} for each in found]
    told = _by(rows, key="from", value="label")
    fixes = dict.fromkeys(each["fix"] for each in found)
    return (
        f"{found[0]['steps']} run outside graphs, "
        + "; ".join(f"{labels} {beyond}" for beyond, labels in told.items())
        + f": {'; '.join(fixes)}"
    )


def _no_graphs(found: Sequence[dict[str, str]]) -> str:
    labels = ", ".join(dict.fromkeys(each["label"] for each in found))
    fixes = dict.fromkeys(each["fix"] for each in found)
    return (
        f"no graphs at this software level: decode steps of {labels} pay for every launch; "
        f"{'; '.join(fixes)}"
    )


def _too_large(found: Sequence[dict[str, str]]) -> str:
    count = sum(int(each["count"]) for each in found)
    return f"{count} deployments of more than {found[0]['most']} chips left out (--max-gpus)"


def _prices(found: Sequence[dict[str, str]]) -> str:
    told = "; ".join(f"{each['name']} {each['value']} ({each['why']})" for each in found)
    return f"economics {found[0]['file']}: {told}"


def _competed(found: Sequence[dict[str, str]]) -> str:
    told = ", ".join(f"{each['sku']} {each['forms'].count('(')}" for each in found)
    return (
        f"as best deployed: ways of deployment that compete (engine, speculation, pools): {told}; "
        "summary.json lists them; pin one with --engine and --spec"
    )


_ALIKE = (
    _Alike(
        re.compile(_WHO + r"(?P<engine>\S+ \S+): (?P<drafts>\d+) drafts per step from the recipe"),
        _drafts,
    ),
    _Alike(
        re.compile(
            _WHO + r"level (?P<level>\S+) rests on (?P<runs>\d+) measured runs? on (?P<sku>\S+) "
            r"and on what related runs share"
        ),
        _levels,
    ),
    _Alike(
        re.compile(
            _WHO + r"no run on this chip generation: (?P<engine>\S+) efficiencies of (?P<skus>.+)"
        ),
        _generations,
    ),
    _Alike(
        re.compile(
            _WHO + r"no run of (?P<model>\S+) under (?P<engine>[^\s,]+)(?: with)?(?P<spec> \S+)?, "
            r"(?P<pools>\w+), on (?P<sku>\S+) was fitted: .+"
        ),
        _forms,
    ),
    _Alike(
        re.compile(
            _WHO + r"no graphs at this software level: decode steps of (?P<label>\S+) pay for "
            r"every launch; (?P<fix>.+)"
        ),
        _no_graphs,
    ),
    _Alike(
        re.compile(
            _WHO + r"(?P<count>\d+) deployments? of more than (?P<most>\d+) chips left out .+"
        ),
        _too_large,
    ),
    _Alike(
        re.compile(_WHO + r"(?P<name>\S+) follows the load: (?P<why>.+)"),
        _followers,
    ),
    _Alike(
        re.compile(
            _WHO + r"(?P<steps>decode steps|steps with prompts) of (?P<label>\S+) beyond "
            r"(?P<tokens>[\d,]+) tokens a rank run outside graphs: (?P<fix>.+)"
        ),
        _outside_graphs,
    ),
    _Alike(
        re.compile(
            _WHO
            + r"economics (?P<file>\S+): (?P<name>\S+ of \S+) is (?P<value>[\d.]+): (?P<why>.+)"
        ),
        _prices,
    ),
    _Alike(
        re.compile(
            _WHO + r"(?P<sku>\S+) as best deployed, of (?P<forms>.+); pin one with --engine and "
            r"--spec"
        ),
        _competed,
    ),
)

_RANKS = (
    (r"as best deployed at |the default engine serves", 1),
    (r"economics ", 5),
    (r"KV tokens|KV of", 6),
    (r"were not run", 7),
    (r"as best deployed", 8),
    (r"step token budgets|running cap|graphs|predictions were compared", 0),
    (r"engine \S+ stands in", 1),
    (r"no run|rests? on|nobody is known|no dated run|efficiencies|no recipe on", 2),
    (r"drafts|acceptance", 3),
)
"""What a note is about, and where it stands: first what bounds the figures or was chosen for the
user, then the evidence, drafts, server settings (4), prices, memory, what was left out."""
_SETTINGS = 4


def _rank(message: str) -> int:
    found = (rank for pattern, rank in _RANKS if re.search(pattern, message))
    return next(found, _SETTINGS)
