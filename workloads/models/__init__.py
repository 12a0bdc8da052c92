"""Cost models: a model's operations for a batch on a layout under an execution plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.architectures.catalog import (
    DeepseekV3Architecture,
    DeepseekV4Architecture,
    DenseArchitecture,
    MoeGqaArchitecture,
)
from workloads.errors import UserError
from workloads.models.deepseek_v3 import DeepseekV3
from workloads.models.deepseek_v4 import DeepseekV4
from workloads.models.dense import Dense
from workloads.models.expert_load import UNIFORM, ExpertLoad
from workloads.models.moe_gqa import MoeGqa

if TYPE_CHECKING:
    from workloads.architectures.catalog import Architecture
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
    model: DeepseekV3 | DeepseekV4 | Dense | MoeGqa
    if isinstance(architecture, DeepseekV4Architecture):
        model = DeepseekV4(
            architecture=architecture,
            layout=layout,
            plan=plan,
            expert_load=expert_load,
            drafts=drafts,
        )
    elif isinstance(architecture, DeepseekV3Architecture):
        model = DeepseekV3(
            architecture=architecture,
            layout=layout,
            plan=plan,
            expert_load=expert_load,
            drafts=drafts,
        )
    elif isinstance(architecture, MoeGqaArchitecture):
        model = MoeGqa(
            architecture=architecture,
            layout=layout,
            plan=plan,
            expert_load=expert_load,
            drafts=drafts,
        )
    elif isinstance(architecture, DenseArchitecture):
        if drafts:
            raise UserError(
                f"drafts is {drafts}, but {architecture.name} has no draft module; "
                "leave speculation off"
            )
        model = Dense(architecture=architecture, layout=layout, plan=plan)
    else:
        raise UserError(
            f"model {architecture.name}: no cost model for family {architecture.family}"
        )
    model.validate()
    return model
