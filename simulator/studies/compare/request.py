"""What a comparison sets side by side: SKUs, engines, dates and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.scenario.grid import build_sweep
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.scenario.grid import SweepSettings


@dataclass(frozen=True, kw_only=True)
class Contestant:
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


def build_contestants(
    asked: Sequence[str | Mapping[str, Any]],
    *,
    flags: Mapping[str, Any],
    file: Path | None = None,
) -> tuple[Contestant, ...]:
    """Contestants from ``gb200``, ``mi355x:sglang@2026-05``, a YAML scenario or settings.

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
        has several values: a contestant is one curve.
    """
    if len(asked) < 2:
        raise UserError("a comparison needs two or more SKUs: simulate compare gb200 b200")
    named = [_named(each) for each in asked]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(
            f"{twice} is named twice; add an engine or date, as in {twice}:vllm@2026-05"
        )
    common = ({} if file is None else read_yaml_mapping(file)) | {
        name: value for name, value in flags.items() if value is not None
    }
    short = [each for each in asked if isinstance(each, str)]
    for field in ("sku", "engine") if any(":" in text for text in short) else ("sku",):
        if short and field in common:
            raise UserError(
                f"{field} is given beside the contestants {', '.join(short)}; "
                "state it there, as in gb200:vllm"
            )
    return tuple(
        Contestant(name=name, settings=_settings({**common, **own})) for name, own in named
    )


def _named(asked: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of a contestant and the settings that it states itself."""
    if isinstance(asked, Mapping):
        own = dict(asked)
        if not (name := own.pop("name", None)):
            raise UserError(f"a contestant of settings needs a name: {{'name': 'wider', **{own}}}")
        return str(name), own
    return asked, _own(asked)


def _settings(flags: Mapping[str, Any]) -> SweepSettings:
    settings = build_sweep(flags=flags)
    if settings.varied:
        name = settings.varied[0]
        raise UserError(
            f"{name} has several values; a comparison draws one curve for each contestant, so "
            "give one value, or use simulate sweep"
        )
    return settings


def _own(text: str) -> dict[str, Any]:
    """Settings that a contestant states itself."""
    if text.lower().endswith((".yaml", ".yml")):
        data = read_yaml_mapping(Path(text))
        # a chip's own file has figures, a scenario names a SKU
        return {"sku": text} if "figures" in data else data
    sku, _, engine = text.partition(":")
    return {"sku": sku, "engine": engine} if engine else {"sku": sku}
