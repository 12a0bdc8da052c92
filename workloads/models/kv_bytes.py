"""Bytes of the KV cache that a sequence needs: entries, indexer keys, state, transfers.

What an engine's pool takes for them is another thing: `simulator.engines.kv_accounting`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workloads.architectures.catalog import (
    DeepseekV3Architecture,
    DeepseekV4Architecture,
    DenseArchitecture,
    MoeGqaArchitecture,
)
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from workloads.architectures.catalog import Architecture
    from workloads.execution_plan import IndexStorage, KvStorage
    from workloads.ops import Quantity

ENTRY_BYTES: dict[str, float] = {"fp8_ds_mla": 584.0, "fp8": 512.0, "bf16": 1024.0}
"""One KV entry of DeepSeek V4, 512 values. [B]

``fp8_ds_mla``: 448 FP8 values, 64 BF16 rope values, 7 ue8m0 scales and a pad byte; the same for
window, CSA and HCA entries (vLLM, SGLang). ``fp8``: per-tensor scale. ``bf16``: no scale.
"""

INDEX_KEY_BYTES: dict[str, float] = {"fp4": 68.0, "fp8": 132.0, "bf16": 256.0}
"""One indexer key of DeepSeek V4, 128 values with its scales; see `index_key_bytes`. [B]"""

VALUE_BYTES: dict[str, float] = {"fp8_ds_mla": 1.0, "fp8": 1.0, "bf16": 2.0}
"""One value of a key or value vector in models without a latent, per-tensor scales. [B]

``fp8_ds_mla`` is a layout of DeepSeek's kernels; where others run it means FP8.
"""

STORAGES: dict[str, tuple[KvStorage, IndexStorage]] = {
    "fp8_fp4idx": ("fp8_ds_mla", "fp4"),
    "fp8_fp8idx": ("fp8_ds_mla", "fp8"),
    "bf16": ("bf16", "bf16"),
}
"""Named pairs of KV and indexer storage."""

CSA_RATIO = 4
HCA_RATIO = 128
_BF16_BYTES = 2.0
_FP32_BYTES = 4.0
_FP8_SCALED = 128
_FP4_SCALED = 32


def storage_of(name: str) -> tuple[KvStorage, IndexStorage]:
    """KV and indexer storage of a name in `STORAGES`.

    Raises
    ------
    UserError
        If the name is unknown.
    """
    if name not in STORAGES:
        raise unknown_name(field="KV storage", value=name, known=STORAGES)
    return STORAGES[name]


def kv_bytes_per_sequence(
    *, architecture: Architecture, context: Quantity, kv: KvStorage, index: IndexStorage
) -> Quantity:
    """Logical KV bytes of one sequence, without page rounding and compressor state. [B]

    Parameters
    ----------
    context:
        Tokens of the sequence. [tokens]
    kv, index:
        Storage of entries and indexer keys.

    Notes
    -----
    V4: ``min(n, 128) e L + n/4 (e + k) L_CSA + n/128 e L_HCA`` with entry e and key k. V3:
    ``n (e + k) L``, k only with an indexer. GQA: ``n 2 h d b L`` with h KV heads of d
    values of b bytes.
    """
    total = context * kv_bytes_per_context_token(architecture=architecture, kv=kv, index=index)
    if isinstance(architecture, DeepseekV4Architecture):
        window = np.minimum(context, architecture.sliding_window)
        total = total + window * (ENTRY_BYTES[kv] * architecture.num_hidden_layers)
    if isinstance(architecture, MoeGqaArchitecture):
        window = np.minimum(context, architecture.sliding_window)
        entry = gqa_entry_bytes(architecture=architecture, kv=kv, attention_tp=1)
        total = total + window * (entry * architecture.layers_of("sliding_attention"))
        total = total + linear_state_bytes(architecture=architecture)
    return total


def kv_bytes_per_context_token(
    *, architecture: Architecture, kv: KvStorage, index: IndexStorage, attention_tp: int = 1
) -> float:
    """Marginal KV bytes of a context token on one rank, beyond the window of V4. [B/token]

    Parameters
    ----------
    attention_tp:
        Ranks that share the attention; the latents of V3 and V4 are whole on each of them.

    Raises
    ------
    UserError
        If the family has no KV arithmetic here.
    """
    if isinstance(architecture, DeepseekV4Architecture):
        key = index_key_bytes(head_dim=architecture.index_head_dim, index=index)
        csa = architecture.layers_of_ratio(CSA_RATIO)
        hca = architecture.layers_of_ratio(HCA_RATIO)
        return csa * (ENTRY_BYTES[kv] + key) / CSA_RATIO + hca * ENTRY_BYTES[kv] / HCA_RATIO
    if isinstance(architecture, DeepseekV3Architecture):
        entry = mla_entry_bytes(architecture=architecture, kv=kv)
        if architecture.index_topk:
            entry += index_key_bytes(head_dim=architecture.index_head_dim, index=index)
        return architecture.num_hidden_layers * entry
    if isinstance(architecture, DenseArchitecture):
        return architecture.num_hidden_layers * gqa_entry_bytes(
            architecture=architecture, kv=kv, attention_tp=attention_tp
        )
    if isinstance(architecture, MoeGqaArchitecture):
        return architecture.layers_of("full_attention") * gqa_entry_bytes(
            architecture=architecture, kv=kv, attention_tp=attention_tp
        )
    raise UserError(
        f"model {architecture.name}: no KV arithmetic for family '{architecture.family}'"
    )


def mla_entry_bytes(*, architecture: DeepseekV3Architecture, kv: KvStorage) -> float:
    """One KV entry of DeepSeek V3's latent attention: the latent and the rope values. [B]

    ``fp8_ds_mla``: FP8 latent with an FP32 scale per 128 values, BF16 rope values (FlashMLA);
    ``fp8``: per-tensor scale; ``bf16``: no scale. 656, 576 and 1152 B for 512 and 64 values.
    """
    latent, rope = architecture.kv_lora_rank, architecture.qk_rope_head_dim
    if kv == "fp8_ds_mla":
        return latent + -(-latent // _FP8_SCALED) * _FP32_BYTES + rope * _BF16_BYTES
    return (latent + rope) * VALUE_BYTES[kv]


def index_key_bytes(*, head_dim: int, index: IndexStorage) -> float:
    """One indexer key with its scales. [B]

    FP4 with a ue8m0 scale per 32 values, FP8 with an FP32 scale per 128 values, or BF16: 68, 132
    and 256 B for 128 values.
    """
    if index == "fp4":
        return head_dim / 2.0 + -(-head_dim // _FP4_SCALED)
    if index == "fp8":
        return head_dim + -(-head_dim // _FP8_SCALED) * _FP32_BYTES
    return head_dim * _BF16_BYTES


def gqa_entry_bytes(
    *, architecture: DenseArchitecture | MoeGqaArchitecture, kv: KvStorage, attention_tp: int
) -> float:
    """Keys and values of one token in one layer on one rank. [B]

    The KV heads are divided over the ranks; ranks beyond their number hold copies.
    """
    heads = max(1, architecture.num_key_value_heads // attention_tp)
    return 2.0 * heads * architecture.head_dim * VALUE_BYTES[kv]


def kv_copies(*, architecture: Architecture, attention_tp: int) -> int:
    """Copies of a sequence's KV entries that a worker's ranks hold together. [-]

    A latent is whole on each of the ranks that share the attention; KV heads are divided first.
    """
    if isinstance(architecture, DenseArchitecture | MoeGqaArchitecture):
        return max(1, attention_tp // architecture.num_key_value_heads)
    return attention_tp


def linear_state_bytes(*, architecture: MoeGqaArchitecture, attention_tp: int = 1) -> float:
    """State of one request in all linear-attention layers on one rank, whatever its context. [B]

    A matrix ``key width x value width`` of each value head, and the last ``taps - 1`` inputs of
    the convolution in BF16; both divided over the ranks like the heads (shapes of
    ``gated_delta_net_state_shape`` in vLLM's ``mamba_utils.py``). Yang et al., "Gated Delta
    Networks", arXiv 2412.06464, equation 10.
    """
    linear = architecture.linear
    if linear is None:
        return 0.0
    value = _FP32_BYTES if linear.mamba_ssm_dtype == "float32" else _BF16_BYTES
    taps = (linear.linear_conv_kernel_dim - 1) * linear.conv_width
    layer = linear.state_values * value + taps * _BF16_BYTES
    return architecture.layers_of("linear_attention") * layer / attention_tp


def csa_state_bytes(*, architecture: DeepseekV4Architecture) -> tuple[float, float]:
    """FP32 compressor row of one token in a CSA layer: entries, indexer keys. [B]

    Two overlapping windows, each with a value and a gate: ``2 * 2 * width * 4`` bytes.
    """
    row = 2.0 * 2.0 * _FP32_BYTES
    return row * architecture.head_dim, row * architecture.index_head_dim


def hca_state_bytes(*, architecture: DeepseekV4Architecture) -> float:
    """FP32 compressor row of one token in an HCA layer: value and gate. [B]"""
    return 2.0 * _FP32_BYTES * architecture.head_dim


def hca_online_state_bytes(*, architecture: DeepseekV4Architecture) -> float:
    """Running row (max, sum, value) of the online HCA compressor, per request and layer. [B]"""
    return 3.0 * _FP32_BYTES * architecture.head_dim


def compressor_state_bytes(*, architecture: DeepseekV4Architecture, online: bool) -> float:
    """Compressor state of one request over all layers. [B]

    A CSA layer keeps the 8 tokens of its overlapping windows, an HCA layer the 128 of its
    window or, ``online``, one running row.
    """
    csa = (
        architecture.layers_of_ratio(CSA_RATIO)
        * 2
        * CSA_RATIO
        * sum(csa_state_bytes(architecture=architecture))
    )
    per_layer = (
        hca_online_state_bytes(architecture=architecture)
        if online
        else HCA_RATIO * hca_state_bytes(architecture=architecture)
    )
    return csa + architecture.layers_of_ratio(HCA_RATIO) * per_layer


def transfer_bytes(
    *,
    architecture: Architecture,
    context: Quantity,
    kv: KvStorage,
    index: IndexStorage,
    online_state: bool = False,
) -> Quantity:
    """Bytes that a prefill worker hands to a decode worker for one request. [B]

    All compressed entries, the last window and the compressor state (vLLM blog "DeepSeek V4",
    2026-04-24); every KV entry, window and state for models without compression.
    """
    total = kv_bytes_per_sequence(architecture=architecture, context=context, kv=kv, index=index)
    if isinstance(architecture, DeepseekV4Architecture):
        total = total + compressor_state_bytes(architecture=architecture, online=online_state)
    return total
