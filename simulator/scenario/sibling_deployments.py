"""Deployments that siblings at equal software take from each other, so that only chips differ."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulator.engines.labels import with_software_of
from simulator.scenario.target import resolve_target
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hwmodels.sku import Sku
    from simulator.scenario.candidates import Pools
    from simulator.scenario.deployed_forms import Competition, Competitor
    from simulator.scenario.settings import Scenario

    Key = tuple[str, str]


def with_those_of_siblings(
    own: Competition,
    *,
    load: Scenario,
    sku: Sku,
    software_of: tuple[str, ...],
    competing_on: Callable[[Scenario], Competition],
) -> Competition:
    """What competes on a chip, and what ran on its siblings besides.

    One chip's rack and another's server were seldom run in the same layouts. Where their software
    is taken to be equal, a layout that only one of them ran would be a difference of the chips.
    Workers that reach beyond the chip's scale-up domain are left out.

    Parameters
    ----------
    own:
        What competes by the chip's own runs and recipes.
    load, sku:
        The question about it, and the chip.
    software_of:
        SKUs whose software is equal, the chip first.
    competing_on:
        What competes where a question is about one chip alone.
    """
    found = {_key(each): each for each in own.competitors}
    forms = {(form.engine, form.speculation, form.disaggregated): form for form in own.forms}
    refused = dict(own.refused)
    taken: dict[str, int] = {}
    too_wide = 0
    for name in software_of:
        if name == sku.key:
            continue
        alike = load.model_copy(update={"sku": name, "overrides": {}})
        try:
            theirs = competing_on(alike)
        except UserError as error:
            refused[f"layouts of {name}"] = str(error)
            continue
        for each in theirs.competitors:
            try:
                mine = found.get(_key(each)) or _without_deployments(
                    each, load=load, software_of=software_of
                )
            except UserError as error:
                refused[f"{' '.join(_key(each))} of {name}"] = str(error)
                continue
            known = set(mine.candidates.deployments)
            others = [pools for pools in each.candidates.deployments if pools not in known]
            more = [pools for pools in others if _within_domain(pools, sku=sku)]
            too_wide += len(others) - len(more)
            if not more:
                continue
            deployments = (*mine.candidates.deployments, *more)
            candidates = replace(mine.candidates, deployments=deployments)
            found[_key(each)] = replace(mine, candidates=candidates)
            taken[name] = taken.get(name, 0) + len(more)
        for form in theirs.forms:
            if any(key[0] == form.engine and key[1] == form.speculation for key in found):
                forms.setdefault((form.engine, form.speculation, form.disaggregated), form)
    counts = " and ".join(f"{count} deployments of {name}" for name, count in taken.items())
    told = f"; besides, since equal software has equal layouts, {counts}" if taken else ""
    if too_wide:
        told += (
            f"; {too_wide} more are left out, whose workers reach beyond the "
            f"{sku.scaleup_world} chips of a scale-up domain"
        )
    said, pin, how = own.message.partition("; pin")
    return replace(
        own,
        competitors=tuple(found.values()),
        forms=tuple(forms.values()),
        refused=refused,
        message=f"{said}{told}{pin}{how}",
    )


def _key(each: Competitor) -> Key:
    return each.target.engine.engine.label, each.load.spec


def _without_deployments(
    theirs: Competitor, *, load: Scenario, software_of: Sequence[str]
) -> Competitor:
    """A sibling's form on the chip itself, its deployments aside.

    Raises
    ------
    UserError
        If its engine does not run on the chip.
    """
    engine = with_software_of(theirs.target.engine.engine.label, tuple(software_of))
    own = load.model_copy(update={"engine": engine, "spec": theirs.load.spec})
    target = resolve_target(own)
    candidates = replace(theirs.candidates, deployments=(), refused=(), messages=())
    return replace(theirs, load=own, target=target, candidates=candidates)


def _within_domain(pools: Pools, *, sku: Sku) -> bool:
    return all(pool.layout.gpus <= sku.scaleup_world for pool in pools)
