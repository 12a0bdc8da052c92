"""What there is to choose from: SKUs, models, engines, levels, recipes, workloads, price files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from hwmodels.economics import list_economics, load_economics
from hwmodels.engine_files import list_engines, list_levels
from hwmodels.fitted import fitted_level_dates
from hwmodels.sku import list_skus, load_sku
from simulator.engines.labels import engine_labels
from simulator.recipes.files import load_recipes, recipe_paths
from simulator.studies.explain.model import explain_model
from workloads.architectures.catalog import architecture_names, load_architecture
from workloads.errors import unknown_name
from workloads.requests.catalog import NAMED_WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hwmodels.sku import Sku

_ACCOUNTED_CONTEXT = 8192


def catalog_list(what: str) -> pd.DataFrame:
    """One row for each thing of a kind.

    Parameters
    ----------
    what:
        One of `CATALOGUES`.

    Raises
    ------
    UserError
        If there is no such kind.
    """
    if what not in CATALOGUES:
        raise unknown_name(field="list", value=what, known=CATALOGUES)
    return pd.DataFrame(list(CATALOGUES[what]()))


def availability(sku: Sku) -> str:
    """When a chip that nobody ships is expected."""
    if sku.status == "announced" and sku.expected:
        return f"expected {sku.expected}"
    return sku.status


def _skus() -> Iterator[dict[str, Any]]:
    newest = load_economics()
    recipes = load_recipes()
    for key in list_skus():
        sku = load_sku(key)
        costs = newest.for_sku(key)
        engines = {name for recipe in recipes if key in recipe.skus for name in recipe.engines}
        yield {
            "sku": key,
            "name": sku.name,
            "status": sku.status,
            "ships": sku.shipping_since or availability(sku),
            "flops_fp4": sku.flops_fp4,
            "flops_fp8": sku.flops_fp8,
            "hbm_usable_bytes": sku.hbm_usable_bytes,
            "hbm_bytes_per_s": sku.hbm_bytes_per_s,
            "scaleup_bytes_per_s": sku.scaleup_bytes_per_s,
            "scaleup_world": sku.scaleup_world,
            "node_gpus": sku.node_gpus,
            "inferencex_kw": costs.inferencex_kw,
            "hyperscaler_usd_per_h": costs.usd_per_gpu_hour(),
            "economics": newest.name,
            "recipes": ", ".join(sorted(engines)),
        }


def _models() -> Iterator[dict[str, Any]]:
    for name, aliases in architecture_names().items():
        architecture = load_architecture(name)
        context = min(_ACCOUNTED_CONTEXT, architecture.max_position_embeddings)
        figures = explain_model(name, context=context)
        yield {
            "model": name,
            "family": architecture.family,
            "parameters_total": figures["parameters_total"],
            "parameters_active": figures["parameters_active"],
            "checkpoint_bytes": figures["checkpoint_bytes"],
            "layers": architecture.num_hidden_layers,
            "context_tokens": architecture.max_position_embeddings,
            "experts": architecture.native_expert_path,
            "aliases": ", ".join(aliases),
        }


def _engines() -> Iterator[dict[str, Any]]:
    recipes = load_recipes()
    for label, engine in engine_labels().items():
        own = [recipe for recipe in recipes if label in recipe.engines]
        yield {
            "engine": label,
            "scheduler": engine.engine,
            "kernels": engine.software,
            "orchestrator": engine.orchestrator,
            "deploys": "prefill and decode pools" if engine.orchestrator else "aggregated",
            "recipes_for": ", ".join(sorted({sku for recipe in own for sku in recipe.skus})),
        }


def _levels() -> Iterator[dict[str, Any]]:
    """Plan levels as they stand in their files, and fitted levels with their runs."""
    for engine in list_engines():
        for level in list_levels(engine=engine):
            yield {
                "engine": engine,
                "date": str(level.get("date") or ""),
                "skus": ", ".join(level.get("skus", ["any"])),
                "models": ", ".join(level.get("models", ["any"])),
                "what": "execution plan",
                "runs": None,
                "note": level.get("note", ""),
            }
        for sku in list_skus():
            for model in architecture_names():
                for level_date, runs in fitted_level_dates(
                    engine=engine, sku=sku, model=model
                ).items():
                    yield {
                        "engine": engine,
                        "date": level_date,
                        "skus": sku,
                        "models": model,
                        "what": "fitted",
                        "runs": runs,
                        "note": "",
                    }


def _recipes() -> Iterator[dict[str, Any]]:
    for path, recipe in zip(recipe_paths(), load_recipes(), strict=True):
        for level in recipe.levels:
            yield {
                "recipe": path.stem,
                "engines": ", ".join(recipe.engines),
                "skus": ", ".join(recipe.skus) or "any",
                "level": level.name,
                "date": str(level.date or ""),
                "layouts": len(recipe.level(level.name).layouts),
                "settings": len(recipe.level(level.name).cells),
            }


def _workloads() -> Iterator[dict[str, Any]]:
    for name, workload in NAMED_WORKLOADS.items():
        yield {
            "workload": name,
            "timed": workload.is_timed,
            "description": workload.description,
        }


def _economics() -> Iterator[dict[str, Any]]:
    for name in list_economics():
        economics = load_economics(name)
        fields = sorted({field for cells in economics.skus.values() for field in cells})
        yield {
            "economics": name,
            "effective_from": economics.effective_from,
            "skus": len(economics.skus),
            "figures": ", ".join(fields),
            "note": economics.note,
        }


CATALOGUES: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "skus": _skus,
    "models": _models,
    "engines": _engines,
    "levels": _levels,
    "recipes": _recipes,
    "workloads": _workloads,
    "economics": _economics,
}
"""Kinds of things that `catalog_list` lists."""
