"""Siblings at equal software: one line of chips, each at the better of the engine's levels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hwmodels.sku import load_sku
from simulator.engines.labels import parse_engine, with_software_of
from simulator.scenario.deployed_forms import own_first
from simulator.scenario.target import changed_sku
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwmodels.sku import Sku
    from simulator.studies.compare.request import ComparedSystem

LINES: tuple[tuple[str, ...], ...] = (
    ("h100", "h200"),
    ("b200", "b300", "gb200", "gb300", "vr200"),
    ("mi300x", "mi325x", "mi350x", "mi355x", "mi455x"),
)
"""SKUs whose comparison is one of chips: an engine runs the same kernels on each line."""


def siblings(skus: Sequence[Sku]) -> bool:
    """Whether several SKUs are of one line."""
    keys = {sku.key for sku in skus}
    return len(keys) > 1 and any(keys <= set(line) for line in LINES)


def at_equal_software(
    systems: Sequence[ComparedSystem], *, asked: bool | None
) -> tuple[tuple[ComparedSystem, ...], tuple[str, ...]]:
    """Systems at one level of each engine, and the SKUs whose levels it is the better of.

    Parameters
    ----------
    asked:
        Whether the user wants it; ``None``: between siblings whose engines are named alike.

    Returns
    -------
    tuple
        The systems as they are, and no SKUs, where each keeps its own level.

    Raises
    ------
    UserError
        If it is asked for and the SKUs are of several vendors, or all the same.
    """
    loads = [next(system.settings.loads()) for system in systems]
    skus = [changed_sku(load.sku, overrides={}) for load in loads]
    engines = {load.engine for load in loads}
    if any(load.prefill_sku for load in loads):
        if asked:
            raise UserError("--same-software compares single chips; leave --prefill-sku out")
        return tuple(systems), ()
    if asked is False or any(map(_pinned, engines)):
        return tuple(systems), ()
    if asked is None and not (siblings(skus) and len(engines) == 1):
        return tuple(systems), ()
    keys = tuple(dict.fromkeys(sku.key for sku in skus))
    if len(keys) < 2 or len({sku.vendor for sku in skus}) > 1:
        raise UserError(
            f"--same-software compares different chips of one vendor, not {', '.join(keys)}; "
            "leave it out"
        )
    for key in keys:
        load_sku(key)  # a chip of the user's own has no levels to share
    return tuple(_with_software_of(system, keys) for system in systems), keys


def _pinned(engine: str | None) -> bool:
    """Whether an engine's text says itself whose software it has."""
    if engine is None:
        return False
    asked = parse_engine(engine)
    return asked.specification or bool(asked.engine.software_of)


def _with_software_of(system: ComparedSystem, keys: tuple[str, ...]) -> ComparedSystem:
    settings = system.settings
    (engine,) = settings.values["engine"]
    if engine is None:
        return replace(system, settings=replace(settings, software_of=keys))
    if parse_engine(engine).engine.orchestrator:
        # pools are those that ran on the chip, with settings for its memory
        load = next(settings.loads())
        keys = own_first(keys, key=changed_sku(load.sku, overrides={}).key)
    values = {**settings.values, "engine": (with_software_of(engine, keys),)}
    return replace(system, settings=replace(settings, values=values))
