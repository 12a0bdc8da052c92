"""The families of models: what computes the operations and the weights of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workloads.errors import UserError
from workloads.models.deepseek_v4 import DeepseekV4
from workloads.models.layered import Layered
from workloads.models.weights_gqa import dense_weights, moe_gqa_weights
from workloads.models.weights_layered import layered_weights
from workloads.models.weights_v3 import v3_weights
from workloads.models.weights_v4 import v4_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads.architectures.base import Architecture
    from workloads.models.weight import Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a family of architectures brings besides its architecture class.

    Parameters
    ----------
    model:
        Class of its cost models, which take ``architecture``, ``layout``, ``plan``,
        ``expert_load`` and ``drafts`` and check themselves with ``validate``; see
        `workloads.costmodel.CostModel`.
    weights:
        Gives all weights of an architecture.
    """

    model: Callable[..., Any]
    weights: Callable[[Any], list[Weight]]


FAMILIES: dict[str, Family] = {
    "deepseek_v3": Family(model=Layered, weights=v3_weights),
    "deepseek_v4": Family(model=DeepseekV4, weights=v4_weights),
    "dense": Family(model=Layered, weights=dense_weights),
    "layers": Family(model=Layered, weights=layered_weights),
    "moe_gqa": Family(model=Layered, weights=moe_gqa_weights),
}
"""By the ``family`` of the architecture; a new one is a package and a line here."""


def family_of(architecture: Architecture, *, what: str) -> Family:
    """The family of an architecture.

    Parameters
    ----------
    what:
        What is asked of it, for the message.

    Raises
    ------
    UserError
        If the family is not known.
    """
    family = FAMILIES.get(architecture.family)
    if family is None:
        raise UserError(f"model {architecture.name}: no {what} for family {architecture.family}")
    return family
