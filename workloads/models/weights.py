"""Every weight of a model, counted from the shapes of its published code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.models.families import family_of
from workloads.models.weight import Weight

if TYPE_CHECKING:
    from workloads.architectures.base import Architecture

__all__ = ["Weight", "weight_table"]


def weight_table(*, architecture: Architecture) -> list[Weight]:
    """All weights of a model, counted from the shapes of its published code.

    Raises
    ------
    UserError
        If the family has no weight table.
    """
    return family_of(architecture, what="weight table").weights(architecture)
