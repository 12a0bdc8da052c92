"""Bytes of single entries of the KV cache: latents, heads of keys and values, indexer keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workloads.execution_plan import IndexStorage, KvStorage

ENTRY_BYTES: dict[str, float] = {"fp8_ds_mla": 584.0, "fp8": 512.0, "fp4": 288.0, "bf16": 1024.0}
"""One KV entry of DeepSeek V4, 512 values. [B]

``fp8_ds_mla``: 448 FP8 values, 64 BF16 rope values, 7 ue8m0 scales and a pad byte; the same for
window, CSA and HCA entries (vLLM, SGLang). ``fp8``: per-tensor scale. ``fp4``: one
scale of a byte per 16 values. ``bf16``: no scale.
"""

INDEX_KEY_BYTES: dict[str, float] = {"fp4": 68.0, "fp8": 132.0, "bf16": 256.0}
"""One indexer key of DeepSeek V4, 128 values with its scales; see `index_key_bytes`. [B]"""

VALUE_BYTES: dict[str, float] = {
    "fp8_ds_mla": 1.0,
    "fp8": 1.0,
    "fp4": 0.5625,
    "bf16": 2.0,
}
"""One value of a key or value vector in models without a latent, per-tensor scales. [B]

``fp8_ds_mla`` is a layout of DeepSeek's kernels; where others run it means FP8.
"""

CSA_RATIO = 4
HCA_RATIO = 128
BF16_BYTES = 2.0
FP32_BYTES = 4.0
_FP8_SCALED = 128
_FP4_SCALED = 32


def latent_entry_bytes(*, latent: int, rope: int, kv: KvStorage) -> float:
    """One KV entry of latent attention: the latent and the rope values. [B]

    ``fp8_ds_mla``: FP8 latent with an FP32 scale per 128 values, BF16 rope values (FlashMLA);
    ``fp8``: per-tensor scale; ``bf16``: no scale. 656, 576 and 1152 B for 512 and 64 values.
    """
    if kv == "fp8_ds_mla":
        return latent + -(-latent // _FP8_SCALED) * FP32_BYTES + rope * BF16_BYTES
    return (latent + rope) * VALUE_BYTES[kv]


def index_key_bytes(*, head_dim: int, index: IndexStorage) -> float:
    """One indexer key with its scales. [B]

    FP4 with a ue8m0 scale per 32 values, FP8 with an FP32 scale per 128 values, or BF16: 68, 132
    and 256 B for 128 values.
    """
    if index == "fp4":
        return head_dim / 2.0 + -(-head_dim // _FP4_SCALED)
    if index == "fp8":
        return head_dim + -(-head_dim // _FP8_SCALED) * FP32_BYTES
    return head_dim * BF16_BYTES


def head_entry_bytes(*, kv_heads: int, width: int, kv: KvStorage, attention_tp: int) -> float:
    """Keys and values of one token in one layer on one rank. [B]

    The KV heads are divided over the ranks; ranks beyond their number hold copies.

    Parameters
    ----------
    width:
        Values of a key and of a value together. [-]
    """
    return float(max(1, kv_heads // attention_tp) * width) * VALUE_BYTES[kv]
