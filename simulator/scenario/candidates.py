"""Which deployments a sweep tries: aggregated workers, or prefill and decode pools."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

from simulator.engines.labels import engine_labels
from simulator.engines.pools import PoolLayout, deployment_label
from simulator.recipes.choice import choose_level, find_recipe
from simulator.recipes.files import load_recipes
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.configure import parse_speculation
from simulator.scenario.pairs import paired_deployments
from simulator.scenario.target import named_engine
from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.expert_load import UNIFORM
from workloads.models.weights import weight_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hwmodels.sku import Sku
    from simulator.engines.labels import EngineLabel
    from simulator.recipes.files import OfferedLayout
    from simulator.scenario.grid import PoolGrid, SweepSettings
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target
    from workloads.architectures.base import Architecture

LARGEST_WORKER = 32

FULLEST_WEIGHTS = 0.88
"""Share of a chip's memory that weights may take where a worker stays within one server: the rest
goes to the engine's reserve, activations and KV entries. [-]"""

ONE_CHIP = (
    "prefill_sku is {sku}, but nothing here has a prefill pool: an aggregated worker has one kind "
    "of chip; name pools with --prefill and --decode, or an engine that runs them"
)

Pools: TypeAlias = tuple[PoolLayout, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLayout:
    """A layout that cannot serve the scenario, and why."""

    label: str
    reason: str


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

    Raises
    ------
    UserError
        If an orchestrated engine has no recipe with deployments and none are stated, or a chip is
        named for prefill pools and there are none.
    """
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
                _divide(target.architecture, layout, stated=scenario.engine_settings)
            except UserError as error:
                refused[layout.label] = RefusedLayout(label=layout.label, reason=str(error))
            else:
                good[layout] = None
    return tuple(good), tuple(refused.values())


def candidate_layouts(*, scenario: Scenario, target: Target) -> list[Layout]:
    """Layouts of one worker that agree with what the scenario states, smallest first.

    A worker spans powers of two of chips up to one node, or up to 32 of a rack that is one
    scale-up domain; where the weights are too large for these, up to 32 over several servers (see
    `over_servers`). With ``ep`` stated and no other size, the worker has ``ep`` chips. A dense
    model has no experts to divide: tensor parallelism only, unless more is stated.

    Raises
    ------
    UserError
        If ``ep`` does not divide the chips of the worker.
    """
    sku = target.sku
    scenario = in_chips(scenario, sku=sku)
    if scenario.tp is not None or scenario.gpus is not None:
        sizes = [int(scenario.tp or scenario.gpus or 1)]
        if scenario.tp and scenario.gpus and scenario.tp != scenario.gpus:
            devices = sku.devices_per_chip
            each = f", or {devices} on each" if devices > 1 else ""
            raise UserError(
                f"tp is {scenario.tp} and gpus {scenario.gpus}; a worker has as many GPUs as tp "
                f"ranks{each}, so give one of them"
            )
    elif scenario.ep is not None:
        domain = max(sku.node_gpus, min(sku.scaleup_world, LARGEST_WORKER))
        if domain % scenario.ep and scenario.ep < domain:
            Layout(tp=domain, ep=scenario.ep)
        sizes = [max(scenario.ep, sku.node_gpus if sku.rack_gpus is None else 1)]
    else:
        largest = max(sku.node_gpus, min(sku.scaleup_world, LARGEST_WORKER))
        while 2 * largest <= LARGEST_WORKER and _too_small(largest, scenario, target=target):
            largest *= 2
        sizes = [1 << power for power in range(largest.bit_length()) if 1 << power <= largest]
    dense = not target.architecture.routed_experts
    layouts: list[Layout] = []
    for size in sizes:
        degrees = [scenario.ep] if scenario.ep is not None else [1] if dense else sorted({1, size})
        modes = [scenario.dp_attention] if scenario.dp_attention is not None else [False]
        modes += [True] if scenario.dp_attention is None and not dense else []
        layouts += [
            Layout(tp=size, ep=ep, dp_attention=dp)
            for ep in degrees
            for dp in modes
            if size > 1 or not dp
        ]
    return layouts


def in_chips(scenario: Scenario, *, sku: Sku) -> Scenario:
    """The scenario with ranks of chips where it counts their devices, as engines on TPUs do.

    ``tp`` as many times ``gpus`` as a chip has devices says so: TP8 on four chips of two. ``ep``
    then counts devices too.

    Raises
    ------
    UserError
        If ``ep`` is no multiple of a chip's devices.
    """
    devices, tp, ep = sku.devices_per_chip, scenario.tp, scenario.ep or 1
    if devices == 1 or scenario.gpus is None or tp != devices * scenario.gpus:
        return scenario
    if ep > 1 and ep % devices:
        raise UserError(
            f"ep is {ep} devices; a chip of {sku.key} has {devices}: give a multiple, or leave "
            "gpus out and count chips"
        )
    chips = None if scenario.ep is None else max(1, ep // devices)
    return scenario.model_copy(update={"tp": scenario.gpus, "ep": chips})


def _too_small(chips: int, scenario: Scenario, *, target: Target) -> bool:
    """Whether the weights of a checkpoint leave no room on as many chips."""
    architecture = target.architecture
    release = architecture.release(scenario.precision)
    stored = architecture if release is None else architecture.stored_as(release)
    resident = (
        weight.checkpoint_bytes
        for weight in weight_table(architecture=stored)
        if weight.module == "main" and weight.name != "n-gram tables"
    )
    return sum(resident) > FULLEST_WEIGHTS * target.sku.hbm_usable_bytes * chips


def over_servers(layouts: Sequence[Layout], *, target: Target) -> str:
    """What is assumed where workers span servers that are no scale-up domain; else empty."""
    sku = target.sku
    largest = max((layout.gpus for layout in layouts), default=0)
    if largest <= max(sku.node_gpus, sku.scaleup_world):
        return ""
    return (
        f"{target.model} leaves no room on {sku.node_gpus} x {sku.key}: workers of up to {largest} "
        "chips over several servers, whose network their collectives cross"
    )


def divisible_layouts(
    layouts: list[Layout], *, architecture: Architecture, stated: Mapping[str, Any]
) -> tuple[list[Layout], list[RefusedLayout]]:
    """Layouts that divide the model, and the others with the reason; one alone must divide.

    ``stated`` are server settings, of which copies of experts count.
    """
    good: list[Layout] = []
    refused: list[RefusedLayout] = []
    for layout in layouts:
        try:
            _divide(architecture, layout, stated=stated)
        except UserError as error:
            if len(layouts) == 1:
                raise
            refused.append(RefusedLayout(label=layout.label, reason=str(error)))
        else:
            good.append(layout)
    return good, refused


def _divide(architecture: Architecture, layout: Layout, *, stated: Mapping[str, Any]) -> None:
    """Make sure that a layout divides the model, with the copies of experts that are stated."""
    copies = [
        int(value)
        for name, value in stated.items()
        if name.rpartition(".")[2] == "redundant_experts" and isinstance(value, int)
    ]
    bind(
        architecture=architecture,
        layout=layout,
        plan=ExecutionPlan(),
        expert_load=UNIFORM.with_copies(max(copies, default=0)),
    )
