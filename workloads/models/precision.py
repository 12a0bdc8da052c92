"""Storage formats and arithmetic paths of weights, and what a FLOP of each counts."""

from __future__ import annotations

FP8_BLOCK_BYTES = 1.0 + 1.0 / 16384.0
"""FP8 e4m3 with one ue8m0 scale per 128x128 block. [B/parameter]"""

MXFP8_BYTES = 1.0 + 1.0 / 32.0
"""FP8 e4m3 with one ue8m0 scale per 32 values. [B/parameter]"""

MXFP4_BYTES = 0.5 + 1.0 / 32.0
"""FP4 e2m1 with one ue8m0 scale per 32 values. [B/parameter]"""

NVFP4_BYTES = 0.5 + 1.0 / 16.0
"""FP4 e2m1 with one e4m3 scale per 16 values. [B/parameter]"""

INT4_BYTES = 0.5 + 2.0 / 32.0
"""INT4 with one BF16 scale per 32 values (compressed-tensors, as Kimi K2). [B/parameter]"""

WEIGHT_BYTES: dict[str, float] = {
    "mxfp4xfp8": MXFP4_BYTES,
    "mxfp4": MXFP4_BYTES,
    "w4a16": MXFP4_BYTES,
    "nvfp4": NVFP4_BYTES,
    "int4": INT4_BYTES,
    "fp8": FP8_BLOCK_BYTES,
    "mxfp8": MXFP8_BYTES,
    "bf16": 2.0,
    "fp32": 4.0,
}
"""Bytes of a parameter in HBM by arithmetic path, scales included. [B/parameter]"""

ACTIVATION_BYTES: dict[str, float] = {
    "mxfp4xfp8": 1.0 + 1.0 / 32.0,
    "mxfp4": MXFP4_BYTES,
    "nvfp4": NVFP4_BYTES,
    "w4a16": 2.0,
    "int4": 2.0,
    "fp8": 1.0 + 1.0 / 128.0,
    "mxfp8": 1.0 + 1.0 / 32.0,
    "bf16": 2.0,
    "fp32": 4.0,
}
"""Bytes of a GEMM's input value by arithmetic path; scales per 32, 16 or 128 values. [B]"""

FP8_EQUIVALENT: dict[str, float] = {
    "mxfp4": 0.5,
    "nvfp4": 0.5,
    "mxfp4xfp8": 1.0,
    "fp8": 1.0,
    "bf16": 2.0,
    "w4a16": 2.0,
    "fp32": 2.0,
}
"""Weight of a FLOP in the FP8-equivalent count. [-]

The DeepSeek-V4 report (arXiv 2606.19348, Figure 1) compares models in FP8-equivalent FLOPs; only
FP4 x 0.5 and BF16 x 2 give its ratios to V3.2 for both models. The FP32 parts (mHC, 0.07 %) run
on tensor cores as TF32 and are counted as BF16.
"""


def quantises(path: str) -> bool:
    """Whether a GEMM's BF16 input is quantised by a kernel before it."""
    return path not in ("bf16", "fp32", "w4a16", "int4")


def arithmetic(path: str) -> str:
    """Arithmetic that kernels of a path run, whose rate and efficiency apply.

    INT4 weights are expanded in registers and multiplied in BF16 like FP4 ones; MXFP8 differs from
    FP8 by its scales alone.
    """
    return {"int4": "w4a16", "mxfp8": "fp8"}.get(path, path)
