"""Series of simulated runs: their names, their frontiers, the caption of their picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodels.sku import load_sku
from simulator.analysis.pareto import frontier_indices
from simulator.engines.labels import level_text
from simulator.scenario.run_cells import LOAD_COLUMNS
from simulator.version import version
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from hwmodels.sku import Sku
    from simulator.analysis.objectives import Objectives


MOST_NAMED_LEVELS = 3
AS_DEPLOYED = " as best deployed"
"""How the name of a series ends on which all forms of a SKU compete."""


def on_frontier(runs: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which runs within the limits no other of their series beats, on both axes together."""
    best = np.zeros(len(runs), dtype=np.bool_)
    x, y = runs["interactivity"].to_numpy(float), runs["total_tput_per_gpu"].to_numpy(float)
    names, allowed = runs["series"].to_numpy(), runs["meets_limits"].to_numpy(np.bool_)
    for name in dict.fromkeys(names):
        members = np.flatnonzero((names == name) & allowed)
        best[members[frontier_indices(x[members], y[members])]] = True
    return best


def limit_line(runs: pd.DataFrame, *, limits: Objectives) -> str:
    """The TTFT limits that a frontier was drawn under, and what they leave off."""
    if limits.is_empty:
        return "no TTFT limit: points may stand on the frontier whose users wait for minutes"
    late = int((~runs["meets_limits"]).sum())
    return (
        f"TTFT limit: {limits.ttft_words} ({limits.ttft_flags}, --no-ttft-limit); {late:,} of "
        f"{len(runs):,} runs are beyond it and off the frontier"
    )


def known_sku(name: str) -> Sku | None:
    """A SKU by name or file; ``None`` for an own chip whose file is no longer there."""
    try:
        return load_sku(name)
    except UserError:
        return None


def series_names(runs: pd.DataFrame) -> list[str]:
    """A name for the series of each run: SKU and engine, and what else differs among the runs."""
    if runs.empty:
        return []
    varied = [
        name
        for name in LOAD_COLUMNS
        if name not in ("sku", "prefill_sku", "engine") and runs[name].nunique(dropna=False) > 1
    ]
    names: dict[tuple[Any, ...], str] = {}
    columns = [runs[name].tolist() for name in ("sku", "prefill_sku", "engine", *varied)]
    found = []
    for sku, first, engine, *rest in zip(*columns, strict=True):
        identity = (sku, first, engine, *(None if value != value else value for value in rest))
        if identity not in names:
            parts = [_part(name, value) for name, value in zip(varied, identity[3:], strict=True)]
            inside = ", ".join([engine, *filter(None, parts)])
            names[identity] = f"{chips_of(sku, first)} ({inside})"
        found.append(names[identity])
    return found


def chips_of(sku: str, prefill_sku: object) -> str:
    """Name of the chip of a series; of two both, with what each does."""
    name = load_sku(sku).name
    if not isinstance(prefill_sku, str) or not prefill_sku:
        return name
    return f"{load_sku(prefill_sku).name} prefill with {name} decode"


def _part(name: str, value: Any) -> str:
    if name in ("model", "length_distribution"):
        return str(value)
    if name == "precision":
        return str(value).upper()
    if name == "spec":
        return "no speculation" if value == "none" else str(value)
    if name == "overrides":
        changes: dict[str, float] = json.loads(value) if value else {}
        return ", ".join(f"{field} {number:g}" for field, number in changes.items()) or "as sold"
    if name == "engine_settings":
        stated: dict[str, Any] = json.loads(value) if value else {}
        return ", ".join(f"{key} {one}" for key, one in stated.items()) or "the recipe's settings"
    if name == "acceptance_length":
        return "acceptance of the recipe" if value is None else f"acceptance {value:g}"
    return f"{name} {value}"


def caption_of(
    runs: pd.DataFrame,
    *,
    limits: Objectives | None = None,
    calibration: Path | None = None,
) -> str:
    """Model, precision, lengths, levels, speculation, price list and version of runs."""
    if runs.empty:
        return f"no run, simulated by forecurve {version()}"

    def every(name: str) -> str:
        return ", ".join(str(value) for value in runs[name].unique())

    kinds = ["disaggregated" if each else "aggregated" for each in sorted(runs["disagg"].unique())]
    lengths = (runs["isl"].astype(str) + "/" + runs["osl"].astype(str)).unique()
    pairs = runs[["sku", "prefill_sku"]].drop_duplicates().itertuples(index=False)
    skus = ", ".join(chips_of(sku, first) for sku, first in pairs)
    limit = "" if limits is None else limits.caption_words
    spec = every("spec").replace("none", "no speculation")
    fit = "" if calibration is None else f", calibration {calibration}"
    return (
        f"{every('model')} {every('precision').upper()} on {skus}, {', '.join(lengths)}, "
        f"{_levels(runs)}, {' and '.join(kinds)}, {spec}{limit}{fit}, "
        f"economics {every('economics')}, simulated by forecurve {version()}"
    )


def _levels(runs: pd.DataFrame) -> str:
    """Software levels, each once; of many of one engine the first and the last."""
    kinds: dict[str, dict[str, None]] = {}
    for level, kind in runs[["level", "kind"]].drop_duplicates().itertuples(index=False):
        kinds.setdefault(str(level), {})[str(kind)] = None
    names = [
        level_text(level, kind=next(iter(found)))
        if len(found) == 1
        else f"{level} ({' and '.join(sorted(found))})"
        for level, found in kinds.items()
    ]
    engines = {name.partition("@")[0] for name in names}
    if len(names) > MOST_NAMED_LEVELS and len(engines) == 1:
        first, *_, last = sorted(names)
        return f"{first} to {last.partition('@')[2]} ({len(names)} levels)"
    common = {kind for found in kinds.values() for kind in found}
    if len(names) > 1 and len(common) == 1 and common != {"calibrated"}:
        return f"{', '.join(kinds)} (all {common.pop()})"
    return ", ".join(names)
