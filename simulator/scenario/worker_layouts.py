"""How one worker may spread a model over the chips of a server or scale-up domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.expert_load import UNIFORM
from workloads.models.weights import weight_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hwmodels.sku import Sku
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target
    from workloads.architectures.base import Architecture

LARGEST_WORKER = 32

FULLEST_WEIGHTS = 0.88
"""Share of a chip's memory that weights may take where a worker stays within one server: the rest
goes to the engine's reserve, activations and KV entries. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLayout:
    """A layout that cannot serve the scenario, and why."""

    label: str
    reason: str


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
            divide(architecture, layout, stated=stated)
        except UserError as error:
            if len(layouts) == 1:
                raise
            refused.append(RefusedLayout(label=layout.label, reason=str(error)))
        else:
            good.append(layout)
    return good, refused


def divide(architecture: Architecture, layout: Layout, *, stated: Mapping[str, Any]) -> None:
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
