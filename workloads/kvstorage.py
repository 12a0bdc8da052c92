"""Bytes of the KV cache of DeepSeek V4: entries, indexer keys and compressor state."""

from __future__ import annotations

ENTRY_BYTES: dict[str, float] = {"fp8_ds_mla": 584.0, "fp8": 512.0, "bf16": 1024.0}
"""One KV entry of 512 values. [B]

``fp8_ds_mla``: 448 FP8 values, 64 BF16 rope values, 7 ue8m0 scales and a pad byte; the same for
window, CSA and HCA entries (vLLM, SGLang). ``fp8``: per-tensor scale. ``bf16``: no scale.
"""

INDEX_KEY_BYTES: dict[str, float] = {"fp4": 68.0, "fp8": 132.0, "bf16": 256.0}
"""One indexer key of 128 values with its scales. [B]"""
