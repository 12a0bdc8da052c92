"""What a comparison sets side by side: SKUs, engines, dates and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import TTFT_LIMITS, stated_limits
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings_file import SettingsFile, read_settings
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.scenario.grid import SweepSettings


@dataclass(frozen=True, kw_only=True)
class ComparedSystem:
    """One side of a comparison.

    Parameters
    ----------
    name:
        As the user wrote it, or gave it.
    settings:
        What is swept for its curve; one series.
    """

    name: str
    settings: SweepSettings


def build_systems(
    asked: Sequence[str | Mapping[str, Any]],
    *,
    flags: Mapping[str, Any],
    file: Path | None = None,
) -> tuple[ComparedSystem, ...]:
    """Systems from ``gb200``, ``mi355x:sglang@2026-05``, a YAML scenario or settings.

    Parameters
    ----------
    asked:
        A SKU, optionally with an engine and its date after a colon; a scenario file; or a
        mapping of settings with a ``name``.
    flags, file:
        Settings that hold for all of them where they do not state their own.

    Raises
    ------
    UserError
        If fewer than two are named, one twice, one not at all, a name is unknown, or a setting
        has several values: a system is one curve.
    """
    read = read_settings(file)
    if not asked and "systems" in read.values:
        return _repeated(read, flags=flags)
    stated = {name: value for name, value in flags.items() if value is not None}
    pair = [stated.pop(name, None) for name in ("prefill_sku", "decode_sku")]
    if any(pair):
        if not all(pair):
            raise UserError("name both chips of a pair: --prefill-sku b200 --decode-sku gb300")
        asked = (*asked, "+".join(map(str, pair)))
    if len(asked) < 2:
        raise UserError("a comparison needs two or more SKUs: simulate compare gb200 b200")
    named = [_named(each) for each in asked]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(
            f"{twice} is named twice; add an engine or date, as in {twice}:vllm@2026-05"
        )
    common = _without_question(read.values) | stated
    short = [each for each in asked if isinstance(each, str)]
    for field in ("sku", "engine") if any(":" in text for text in short) else ("sku",):
        if short and field in common:
            raise UserError(
                f"{field} is given beside the systems {', '.join(short)}; "
                "state it there, as in gb200:vllm"
            )
    return tuple(
        ComparedSystem(name=name, settings=_settings({**common, **own})) for name, own in named
    )


QUESTION = ("at", "denominator", "tier", "same_software", *TTFT_LIMITS)
"""What a comparison asks beside its systems."""


def question_of(file: Path | None) -> dict[str, Any]:
    """What a settings file says of `QUESTION`.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    read = read_settings(file)
    found = {name: read.values[name] for name in QUESTION if name in read.values}
    limits = stated_limits(**{name: found.pop(name, None) for name in TTFT_LIMITS})
    found |= {} if limits is None else {"limits": limits}
    return found | ({"at": tuple(found["at"])} if "at" in found else {})


def _without_question(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in QUESTION}


def _repeated(read: SettingsFile, *, flags: Mapping[str, Any]) -> tuple[ComparedSystem, ...]:
    """The systems of an earlier comparison, from its ``resolved.yaml``.

    Raises
    ------
    UserError
        If the file names other systems than it has settings of.
    """
    names = [str(name) for name in read.values["systems"]]
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    for part in ("values", "origin", "defaults"):
        for full, value in getattr(read, part).items():
            if full in (*QUESTION, "systems"):
                continue
            owner = next((name for name in names if full.startswith(f"{name}.")), None)
            if owner is None:
                raise UserError(
                    f"{full} in {read.path} is of no system; it compares {', '.join(names)}"
                )
            found[owner].setdefault(part, {})[full.removeprefix(f"{owner}.")] = value
    return tuple(
        ComparedSystem(
            name=name,
            settings=_settings(flags, file=SettingsFile(**own, path=read.path)),
        )
        for name, own in found.items()
    )


def _named(asked: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of a system and the settings that it states itself."""
    if isinstance(asked, Mapping):
        own = dict(asked)
        if not (name := own.pop("name", None)):
            raise UserError(f"a system of settings needs a name: {{'name': 'wider', **{own}}}")
        return str(name), own
    return asked, _own(asked)


def _settings(flags: Mapping[str, Any], *, file: SettingsFile | None = None) -> SweepSettings:
    settings = build_sweep(flags=flags, file=file)
    if settings.varied:
        name = settings.varied[0]
        raise UserError(
            f"{name} has several values; a comparison draws one curve for each system, so "
            "give one value, or use simulate sweep"
        )
    return settings


def _own(text: str) -> dict[str, Any]:
    """Settings that a system states itself."""
    if text.lower().endswith((".yaml", ".yml")):
        data = read_yaml_mapping(Path(text))
        # a chip's own file has figures, a scenario names a SKU
        return {"sku": text} if "figures" in data else data
    sku, _, engine = text.partition(":")
    return {"sku": sku, "engine": engine} if engine else {"sku": sku}
