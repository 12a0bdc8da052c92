"""Manifold-constrained hyper-connections (mHC): mixing of several residual streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.models.kernels import KERNELS
from workloads.models.parts import BF16_BYTES, FP32_BYTES
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.ops import Quantity

_SITES = 2  # before attention and before the experts


def mhc_ops(*, tokens: Quantity, hidden: int, streams: int, layers: int, scale: float) -> list[Op]:
    """Mixing of the residual streams around the sublayers of ``layers`` layers.

    Notes
    -----
    ``pre`` reads the streams twice (coefficients, mixing) and writes the layer's input: 18 d
    bytes with four BF16 streams. ``post`` reads streams and layer output and writes the
    streams: 18 d bytes. Two sites a layer: 72 d bytes per token and layer. The streams are
    replicated under tensor parallelism. Coefficients are computed in TF32.
    """
    d, m = hidden, streams
    coefficients = m * (2 + m)
    moved = tokens * ((2.0 * m + 1.0) * d * BF16_BYTES)
    return [
        Op(
            name="mhc.pre",
            component=Component.MHC,
            kind=OpKind.MEMORY,
            variant="mhc_pre",
            flops=tokens * (2.0 * coefficients * m * d + 2.0 * m * d),
            weight_bytes=coefficients * m * d * FP32_BYTES,
            activation_bytes=moved,
            kernels=KERNELS["mhc.pre"] * scale,
            layers=_SITES * layers,
        ),
        Op(
            name="mhc.post",
            component=Component.MHC,
            kind=OpKind.MEMORY,
            variant="mhc_post",
            flops=tokens * (2.0 * (m * m + m) * d),
            activation_bytes=moved,
            kernels=KERNELS["mhc.post"] * scale,
            layers=_SITES * layers,
        ),
    ]
