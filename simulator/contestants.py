"""What a comparison sets side by side: SKUs, engines and dates, by short names or files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.sweep_settings import build_sweep
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.sweep_settings import SweepSettings


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One side of a comparison.

    Parameters
    ----------
    name:
        As the user wrote it.
    settings:
        What is swept for its curve; one series.
    """

    name: str
    settings: SweepSettings


def build_contestants(
    texts: Sequence[str], *, flags: Mapping[str, Any], file: Path | None = None
) -> tuple[Contestant, ...]:
    """Contestants from ``gb200``, ``mi355x:sglang@2026-05`` or a YAML scenario.

    Parameters
    ----------
    texts:
        A SKU, optionally with an engine and its date after a colon; or a scenario file.
    flags, file:
        Settings that hold for all of them where they do not state their own.

    Raises
    ------
    UserError
        If fewer than two are named, one twice, a name is unknown, or a setting has several
        values: a contestant is one curve.
    """
    if len(texts) < 2:
        raise UserError("a comparison needs two or more SKUs: simulate compare gb200 b200")
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if list(texts).count(text) > 1)
        raise UserError(
            f"{twice} is named twice; add an engine or date, as in {twice}:vllm@2026-05"
        )
    common = ({} if file is None else read_yaml_mapping(file)) | {
        name: value for name, value in flags.items() if value is not None
    }
    for field in ("sku", "engine") if any(":" in text for text in texts) else ("sku",):
        if field in common:
            raise UserError(
                f"{field} is given beside the contestants {', '.join(texts)}; "
                "state it there, as in gb200:vllm"
            )
    return tuple(Contestant(name=text, settings=_settings(text, common)) for text in texts)


def _settings(text: str, common: Mapping[str, Any]) -> SweepSettings:
    settings = build_sweep(flags={**common, **_own(text)})
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
