"""One thing of the catalogue in full: every figure with its value, unit, kind and source."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hwmodels.economics import list_economics, load_economics
from hwmodels.engine_files import kernel_table, list_levels
from hwmodels.fitted import effect_groups, fitted_factor, fitted_level_dates, read_fits
from hwmodels.floors import FLOOR, dated_floors, floor_s, floor_trend
from hwmodels.sku import figure_fields, list_skus, load_sku
from hwmodels.software import PARAMETERS, load_software, parse_date
from simulator.engines.host_times import host_times
from simulator.engines.labels import engine_labels, load_engine
from simulator.engines.rules import rules_in_force
from simulator.recipes.files import load_recipes, recipe_paths
from simulator.studies.explain.model import explain_model
from workloads.architectures.catalog import architecture_names, load_architecture, note_of
from workloads.architectures.names import canonical_model, default_precision
from workloads.errors import UserError, unknown_name
from workloads.models.weights import weight_table

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from hwmodels.quantities import Figure
    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from workloads.architectures.base import Architecture

_SHOWN_MODEL = "deepseek-v4-pro"
_ACCOUNTED_CONTEXT = 8192


def sheet_of(what: str, name: str) -> dict[str, Any]:
    """Everything that is known of one thing.

    Parameters
    ----------
    what:
        One of `SHEETS`.
    name:
        Its name; a SKU or an economics file may also be a path.

    Raises
    ------
    UserError
        If there is no such kind or name.
    """
    if what not in SHEETS:
        raise unknown_name(field="show", value=what, known=SHEETS)
    return SHEETS[what](name)


def _figure(name: str, figure: Figure) -> dict[str, Any]:
    return {
        "name": name,
        "value": figure.value,
        "unit": figure.unit,
        "kind": figure.kind,
        "low": figure.low,
        "high": figure.high,
        "source": figure.source,
        "note": figure.note,
    }


def _sku(name: str) -> dict[str, Any]:
    sku = load_sku(name)
    known = [field for field in figure_fields() if field in sku.figures]
    costs = [
        {"economics": dated, **_figure(field, figure)}
        for dated in list_economics()
        for field, figure in load_economics(dated).for_sku(sku.key).figures.items()
    ]
    return {
        "sku": sku.key,
        "name": sku.name,
        "vendor": sku.vendor,
        "generation": sku.generation,
        "status": sku.status,
        "announced": sku.announced,
        "shipping_since": sku.shipping_since,
        "expected": sku.expected,
        "scaleup_topology": sku.scaleup_topology,
        "related_skus": list(sku.related_skus),
        "aliases": list(sku.aliases),
        "note": sku.note,
        "figures": [_figure(field, sku.figures[field]) for field in known],
        "unknown": [field for field in figure_fields() if field not in sku.figures],
        "floors": floor_text(sku),
        "floors_by_date": dated_floor_text(sku),
        "economics": costs,
    }


def _stored_bytes(architecture: Architecture) -> float:
    """Bytes of a checkpoint, draft module included. [B]"""
    return sum(weight.checkpoint_bytes for weight in weight_table(architecture=architecture))


def floor_text(sku: Sku) -> str:
    """What the kernel floors of a chip are, and what they are taken from."""
    table = kernel_table()
    trend = floor_trend(generation=sku.generation, table=table)
    gemm = table["families"]["gemm"]["bf16"]
    shown = f"{1e6 * floor_s(generations=gemm, trend=trend):.1f} us a BF16 GEMM"
    if trend.base == sku.generation:
        if gemm.get(trend.base, {"t0_s": {"kind": "fitted"}})["t0_s"]["kind"] == "fitted":
            return f"{shown}, measured on {sku.generation}"
        return f"{shown}, assumed: the mean of the generations that kernels were measured on"
    if trend.base == "generic":
        return f"{shown}, assumed: the mean of the generations that kernels were measured on"
    steps = ", ".join(
        f"{older} to {newer} {ratio:.2f} ({count} kernels)"
        for older, newer, ratio, count in trend.steps
    )
    return (
        f"{shown}, assumed: {trend.ratio:.2f} of {trend.base}'s ({trend.low:.2f} to "
        f"{trend.high:.2f}), the median step between generations: {steps}"
    )


def dated_floor_text(sku: Sku) -> str:
    """How floors moved over the dates of software on a chip, or on those that it is related to."""
    (fit, *_) = read_fits()

    def factor_of(family: str, engine: str, chip: str, date: str) -> float:
        groups = effect_groups(
            family=family,
            model=next(name for name, of in fit["families"].items() if of == family),
            engine=engine,
            sku=chip,
            vendor=load_sku(chip).vendor,
            generation=fit["generations"][chip],
            precision="",
            level_date=date,
        )
        return fitted_factor(fit, parameter=FLOOR, groups=groups)

    for skus in ((sku.key,), sku.related_skus):
        found = dated_floors(skus, factor_of=factor_of, runs=list(fit["runs"]))
        if found is not None:
            return (
                f"by date: floors of {found.levels} engines and model families on "
                f"{', '.join(found.skus)} moved by {found.change:+.1%} a month "
                f"({found.low:+.1%} to {found.high:+.1%}), {found.first} to {found.last}; "
                "not carried on beyond it"
            )
    return "by date: no fitted software of three dates on the chip or its relations"


def _model(name: str) -> dict[str, Any]:
    canonical = canonical_model(name)
    architecture = load_architecture(canonical)
    config = architecture.describe()
    context = min(_ACCOUNTED_CONTEXT, architecture.max_position_embeddings)
    releases = [
        asdict(release) | {"checkpoint_bytes": _stored_bytes(architecture.stored_as(release))}
        for release in architecture.releases
    ]
    return {
        "model": canonical,
        "family": architecture.family,
        "aliases": list(architecture_names().get(canonical, ())),
        "note": note_of(canonical),
        "releases": releases,
        "config": config,
        "figures": {
            name: value
            for name, value in explain_model(name, context=context).items()
            if name != "ops"
        },
    }


def _engine(name: str) -> dict[str, Any]:
    label, _, date = name.partition("@")
    engine = load_engine(label)
    day = parse_date(date) if date else None
    recipes = [
        path.stem
        for path, recipe in zip(recipe_paths(), load_recipes(), strict=True)
        if engine.label in recipe.engines
    ]
    return {
        "engine": engine.label,
        "scheduler": engine.engine,
        "kernels": engine.software,
        "orchestrator": engine.orchestrator or None,
        "parameters": PARAMETERS,
        "levels": _levels_of(engine.software),
        "recipes": recipes,
        "rules_of": date or "the latest build",
        "rules": [
            rule.model_dump(mode="json") for rule in rules_in_force(engine=engine.engine, day=day)
        ],
        "host_times": {name: time.model_dump(mode="json") for name, time in host_times().items()},
    }


def _levels_of(engine: str) -> list[dict[str, Any]]:
    """Levels of an engine for DeepSeek-V4-Pro in its default precision, by SKU and date."""
    found: list[dict[str, Any]] = []
    plans = list_levels(engine=engine)
    without: list[str] = []
    for key in list_skus():
        dates = {str(plan["date"]) for plan in plans if key in plan.get("skus", [])}
        dates |= set(fitted_level_dates(engine=engine, sku=key, model=_SHOWN_MODEL))
        if not dates:
            without.append(key)
        for date in sorted(dates):
            is_day = date[:4].isdigit()
            level = load_software(
                engine=engine,
                sku=load_sku(key),
                model=_SHOWN_MODEL,
                precision=default_precision(_SHOWN_MODEL),
                date=parse_date(date) if is_day else None,
                median=not is_day,
            )
            found.append({"sku": key} | _level(level))
    if without:
        level = load_software(
            engine=engine, sku=load_sku(without[0]), model=_SHOWN_MODEL, specification=True
        )
        found.append({"sku": "any, nothing fitted"} | _level(level))
    return found


def _level(level: SoftwareLevel) -> dict[str, Any]:
    return {
        "level": level.name,
        "kind": level.kind,
        "basis": level.basis,
        "parameters": {
            name: {"value": value, "source": level.provenance.get(name, "")}
            for name, value in level.parameters.items()
        },
        "plan": asdict(level.plan),
        "messages": list(level.messages),
    }


def _recipe(name: str) -> dict[str, Any]:
    recipes = {
        path.stem: recipe for path, recipe in zip(recipe_paths(), load_recipes(), strict=True)
    }
    if name not in recipes:
        near = [stem for stem in recipes if name in engine_labels() and name in stem]
        if near:
            raise UserError(f"recipe '{name}' names an engine; choose one of {', '.join(near)}")
        raise unknown_name(field="recipe", value=name, known=recipes)
    document: dict[str, Any] = _finite(recipes[name].model_dump(mode="json"))
    return {"recipe": name} | document


def _finite(node: Any) -> Any:
    """The same without infinite numbers, which JSON has no word for: an open end is ``None``."""
    if isinstance(node, dict):
        return {name: _finite(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and math.isinf(node) else node


def _economics(name: str) -> dict[str, Any]:
    economics = load_economics(name)
    return {
        "economics": economics.name,
        "effective_from": economics.effective_from,
        "note": economics.note,
        "sources": list(economics.sources),
        "figures": [
            {"sku": sku, **_figure(field, figure)}
            for sku, cells in economics.skus.items()
            for field, figure in cells.items()
        ],
    }


SHEETS: dict[str, Callable[[str], dict[str, Any]]] = {
    "sku": _sku,
    "model": _model,
    "engine": _engine,
    "recipe": _recipe,
    "economics": _economics,
}
"""Kinds of things that `sheet_of` shows."""


def sheet_rows(what: str, sheet: dict[str, Any]) -> pd.DataFrame:
    """The main table of a sheet, one figure, level or setting a row."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    match what:
        case "sku" | "economics":
            rows = [*sheet["figures"], *(sheet["economics"] if what == "sku" else [])]
        case "model":
            values = sheet["config"] | sheet["figures"]
            rows = [{"name": name, "value": value} for name, value in values.items()]
        case "engine":
            rows = [
                {name: level[name] for name in ("sku", "level", "kind", "basis")}
                | {name: one["value"] for name, one in level["parameters"].items()}
                | {f"plan.{name}": value for name, value in level["plan"].items()}
                for level in sheet["levels"]
            ]
        case "recipe":
            rows = [
                {
                    "level": level["name"],
                    "date": level["date"],
                    "when": json.dumps(cell["when"]),
                    "setting": f"{part}.{name}",
                    "value": value,
                    "kind": cell["kind"],
                    "source": cell["source"] or level["source"],
                    "note": cell["note"],
                }
                for level in sheet["levels"]
                for cell in level["cells"]
                for part in ("settings", "plan", "unknown")
                for name, value in cell[part].items()
            ]
    return pd.DataFrame(rows)
