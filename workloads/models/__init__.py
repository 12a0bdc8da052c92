"""Cost models: a model's operations for a batch on a layout under an execution plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.models.expert_load import UNIFORM, ExpertLoad
from workloads.models.families import family_of

if TYPE_CHECKING:
    from workloads.architectures.base import Architecture
    from workloads.costmodel import CostModel
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout


def bind(
    *,
    architecture: Architecture,
    layout: Layout,
    plan: ExecutionPlan,
    expert_load: ExpertLoad = UNIFORM,
    drafts: int = 0,
) -> CostModel:
    """The cost model of an architecture on a layout under an execution plan.

    Parameters
    ----------
    architecture:
        From `workloads.architectures.catalog.load_architecture`.
    layout, plan:
        Parallel layout of one worker, and the kernels that its engine runs.
    expert_load:
        Distribution of tokens over the experts.
    drafts:
        Tokens drafted per step by the model's own draft module; 0 without speculation. [tokens]

    Raises
    ------
    UserError
        If the layout does not divide the model, or the model has no cost functions or no draft
        module for the drafts.
    """
    model = family_of(architecture, what="cost model").model(
        architecture=architecture,
        layout=layout,
        plan=plan,
        expert_load=expert_load,
        drafts=drafts,
    )
    model.validate()
    bound: CostModel = model
    return bound
