"""One kind of weight of a model."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.models.precision import WEIGHT_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One kind of weight of a model.

    Parameters
    ----------
    name:
        Part of the model, such as ``attention.wq_b``.
    parameters:
        Parameters of all its copies together. [-]
    format:
        Storage in the checkpoint, a key of `workloads.models.precision.WEIGHT_BYTES`.
    module:
        ``main`` or ``draft``.
    active:
        Share of the parameters that one token uses. [-]
    """

    name: str
    parameters: float
    format: str
    module: str = "main"
    active: float = 1.0

    @property
    def checkpoint_bytes(self) -> float:
        """Bytes in the checkpoint, scales included. [B]"""
        return self.parameters * WEIGHT_BYTES[self.format]
