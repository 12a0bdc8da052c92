"""Which deployments a sweep tries: aggregated workers, or prefill and decode pools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

from simulator.engines.labels import engine_labels
from simulator.engines.pools import PoolLayout, deployment_label
from simulator.recipes.choice import choose_level, find_recipe
from simulator.recipes.files import load_recipes
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.configure import parse_speculation
from simulator.scenario.pairs import paired_deployments
from simulator.scenario.target import named_engine
from simulator.scenario.worker_layouts import (
    LARGEST_WORKER,
    RefusedLayout,
    candidate_layouts,
    divide,
)
from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwmodels.sku import Sku
    from simulator.engines.labels import EngineLabel
    from simulator.recipes.files import OfferedLayout
    from simulator.scenario.grid import PoolGrid, SweepSettings
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target
    from workloads.layout import Layout

ONE_CHIP = (
    "prefill_sku is {sku}, but nothing here has a prefill pool: an aggregated worker has one kind "
    "of chip; name pools with --prefill and --decode, or an engine that runs them"
)

Pools: TypeAlias = tuple[PoolLayout, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Deployments that divide the model, those that do not, and what was assumed."""

    deployments: tuple[Pools, ...]
    refused: tuple[RefusedLayout, ...]
    messages: tuple[str, ...] = ()


def candidate_deployments(*, settings: SweepSettings, load: Scenario, target: Target) -> Candidates:
    """Deployments of a load that agree with the stated layouts and pools, smallest first.

    Where numbers of workers are stated: each with each, of every layout. Else, for an engine
    with an orchestrator, the deployments that its recipe ran under such a load; for a bare
    engine, aggregated workers of every layout.

    Of one kind alone, with prefill and decode pools or without, where that is asked for.

    Raises
    ------
    UserError
        If an orchestrated engine has no recipe with deployments and none are stated, a chip is
        named for prefill pools and there are none, or none is of the kind that is asked for.
    """
    found = within_gpus(
        _candidates(settings=settings, load=load, target=target), most=settings.pools.max_gpus
    )
    pooled = settings.pools.disaggregated
    if pooled is None:
        return found
    alike = tuple(pools for pools in found.deployments if (len(pools) > 1) == pooled)
    if not alike:
        kind = "has no prefill and decode pools" if pooled else "runs in pools alone"
        raise UserError(f"{target.engine.engine.label} {kind} here; name another engine, or none")
    return replace(found, deployments=alike)


def within_gpus(found: Candidates, *, most: int | None) -> Candidates:
    """Deployments of at most so many chips, all their workers together; all without a limit.

    Raises
    ------
    UserError
        If every one has more.
    """
    if most is None:
        return found
    sizes = [sum(pool.gpus for pool in pools) for pools in found.deployments]
    small = tuple(
        pools for pools, gpus in zip(found.deployments, sizes, strict=True) if gpus <= most
    )
    if found.deployments and not small:
        raise UserError(f"max_gpus is {most}; the smallest deployment here has {min(sizes)} chips")
    left_out = len(sizes) - len(small)
    counted = f"{left_out} deployment{'' if left_out == 1 else 's'}"
    told = f"{counted} of more than {most} chips left out (--max-gpus)"
    return replace(
        found, deployments=small, messages=(*found.messages, *([told] if left_out else []))
    )


def _candidates(*, settings: SweepSettings, load: Scenario, target: Target) -> Candidates:
    scenarios = list(settings.layouts_of(load))
    if settings.pools.is_stated:
        found = _grid(settings.pools, load=load, scenarios=scenarios, target=target)
        if target.prefill_sku is not None and not found.deployments:
            raise UserError(ONE_CHIP.format(sku=target.prefill_sku.key))
        return found
    if target.engine.engine.orchestrator:
        found = _offered(load, scenarios=scenarios, target=target)
        return paired_candidates(found, load=load, target=target)
    if target.prefill_sku is not None:
        raise UserError(ONE_CHIP.format(sku=target.prefill_sku.key))
    layouts, refused = _layouts(scenarios, target=target)
    return Candidates(
        deployments=tuple((PoolLayout(layout=layout),) for layout in layouts), refused=refused
    )


def paired_candidates(found: Candidates, *, load: Scenario, target: Target) -> Candidates:
    """Deployments with their prefill pool on the chip that is named for it, if one is.

    Raises
    ------
    UserError
        If none of them has a prefill pool that the chip can take.
    """
    sku = target.prefill_sku
    if sku is None:
        return found
    try:
        offers, _ = _offers(load, target=target.prefill_side)
    except UserError:
        offers = []
    recorded = [offer.pools[0].layout for offer in offers if len(offer.pools) > 1]
    recorded = [layout for layout in dict.fromkeys(recorded) if layout.gpus <= LARGEST_WORKER]
    deployments = paired_deployments(found.deployments, recorded=recorded, sku=sku)
    if not deployments:
        raise UserError(ONE_CHIP.format(sku=sku.key))
    labels = ", ".join(layout.label for layout in recorded) or "as those deployments lay them out"
    return Candidates(
        deployments=deployments,
        refused=found.refused,
        messages=(
            *found.messages,
            f"prefill workers on {sku.key}: {labels}; half to twice the GPUs of the prefill pools "
            f"that ran on {target.sku.key}",
        ),
    )


def orchestrated(engine: EngineLabel, *, sku: Sku) -> EngineLabel | None:
    """The stack of an engine with recorded prefill and decode pools on a SKU or a related one."""
    if engine.orchestrator:
        return engine
    stacks = [
        stack
        for stack in engine_labels().values()
        if stack.orchestrator and (stack.engine, stack.software) == (engine.engine, engine.software)
    ]
    for name in (sku.key, *sku.related_skus):
        for stack in stacks:
            for recipe in load_recipes():
                if stack.label in recipe.engines and name in recipe.skus:
                    return stack
    return None


def stack_of(load: Scenario, *, sku: Sku, pooled: bool) -> str:
    """Label of what serves a load: of a bare engine with pools, the stack that moves the KV."""
    model = load_architecture(load.model).name
    engine = named_engine(load.engine, sku=sku, model=model)[0].engine
    stack = orchestrated(engine, sku=sku) if pooled else None
    return (stack or engine).label


def _grid(
    grid: PoolGrid, *, load: Scenario, scenarios: Sequence[Scenario], target: Target
) -> Candidates:
    decode_layouts, refused = _layouts(scenarios, target=target)
    prefill_layouts, more_refused, messages = _prefill_layouts(
        grid, load=load, target=target.prefill_side
    )
    deployments: list[Pools] = []
    for layout in decode_layouts:
        for prefill, decode in product(grid.prefill or (1,), grid.decode or (1,)):
            if prefill == 0 and target.prefill_sku is not None:
                continue
            if prefill == 0:
                deployments.append((PoolLayout(layout=layout),))
                continue
            deployments += [
                (
                    PoolLayout(role="prefill", workers=prefill, layout=first),
                    PoolLayout(role="decode", workers=decode, layout=layout),
                )
                for first in prefill_layouts or (layout,)
            ]
    unique = dict.fromkeys(deployments)
    return Candidates(
        deployments=tuple(sorted(unique, key=lambda pools: sum(pool.gpus for pool in pools))),
        refused=refused + more_refused,
        messages=messages,
    )


def _prefill_layouts(
    grid: PoolGrid, *, load: Scenario, target: Target
) -> tuple[tuple[Layout, ...], tuple[RefusedLayout, ...], tuple[str, ...]]:
    """Layouts of a prefill worker; none: that of the decode worker."""
    if grid.tp or grid.ep or grid.dp_attention:
        scenarios = [
            load.model_copy(update={"tp": tp, "ep": ep, "dp_attention": dp})
            for tp, ep, dp in product(
                grid.tp or (None,), grid.ep or (None,), grid.dp_attention or (None,)
            )
        ]
        layouts, refused = _layouts(scenarios, target=target)
        return layouts, refused, ()
    offers, name = _offers(load, target=target)
    found = tuple(dict.fromkeys(offer.pools[0].layout for offer in offers if len(offer.pools) > 1))
    if found:
        labels = ", ".join(layout.label for layout in found)
        return found, (), (f"prefill workers as recipe {name} ran them: {labels}",)
    return (), (), (f"recipe {name} ran no prefill pool: prefill workers as decode workers",)


def _offered(load: Scenario, *, scenarios: Sequence[Scenario], target: Target) -> Candidates:
    offers, name = _offers(load, target=target)
    stated = [
        PoolRequest(tp=each.tp or each.gpus, ep=each.ep, dp_attention=each.dp_attention)
        for each in scenarios
    ]
    found = [
        offer.pools
        for offer in offers
        if any(_agrees(request, offer.pools[-1].layout) for request in stated)
    ]
    if not found:
        raise UserError(
            f"recipe {name} of {load.engine} ran no deployment of {load.model} on "
            f"{target.sku.key} that agrees with what is stated; name the pools with --prefill "
            "and --decode"
        )
    unique = dict.fromkeys(found)
    labels = ", ".join(deployment_label(pools) for pools in unique)
    return Candidates(
        deployments=tuple(unique),
        refused=(),
        messages=(f"deployments as recipe {name} ran them: {labels}",),
    )


def _agrees(request: PoolRequest, layout: Layout) -> bool:
    return request.accepts(PoolLayout(layout=layout))


def _offers(load: Scenario, *, target: Target) -> tuple[list[OfferedLayout], str]:
    """Deployments that the recipe in force ran under such a load, and the recipe's name.

    Where it ran none, those under any fixed lengths.
    """
    engine, sku = target.engine, target.sku
    recipe, _ = find_recipe(
        engine=engine.engine, sku=sku.key, model=target.model, related_skus=sku.related_skus
    )
    level, _ = choose_level(recipe, date=engine.date, median=engine.median)
    context: dict[str, object] = {
        "isl": load.isl,
        "osl": load.osl,
        "speculation": parse_speculation(load.spec)[0],
        "precision": load.precision,
        "scenario": "fixed",
    }
    offers = [offer for offer in level.layouts if offer.applies(context)]
    if not offers:
        offers = [offer for offer in level.layouts if "scenario" not in offer.when]
    return offers, f"{recipe.engines[0]}@{level.name}"


def _layouts(
    scenarios: Sequence[Scenario], *, target: Target
) -> tuple[tuple[Layout, ...], tuple[RefusedLayout, ...]]:
    """Layouts of one worker that divide the chips and the model, and the others with why."""
    good: dict[Layout, None] = {}
    refused: dict[str, RefusedLayout] = {}
    for scenario in scenarios:
        try:
            layouts = candidate_layouts(scenario=scenario, target=target)
        except ValueError as error:
            stated = {"tp": scenario.tp or scenario.gpus, "ep": scenario.ep}
            label = ", ".join(f"{name} {n}" for name, n in stated.items() if n is not None)
            refused[label] = RefusedLayout(label=label, reason=str(error))
            continue
        for layout in layouts:
            try:
                divide(target.architecture, layout, stated=scenario.engine_settings)
            except UserError as error:
                refused[layout.label] = RefusedLayout(label=layout.label, reason=str(error))
            else:
                good[layout] = None
    return tuple(good), tuple(refused.values())
