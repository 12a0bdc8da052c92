"""Bytes of the KV cache that a sequence needs: entries, indexer keys, state, transfers.

What an engine's pool takes for them is another thing: `simulator.engines.kv_accounting`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.architectures.storage import (
    CSA_RATIO,
    ENTRY_BYTES,
    HCA_RATIO,
    INDEX_KEY_BYTES,
    VALUE_BYTES,
    index_key_bytes,
    latent_entry_bytes,
)
from workloads.errors import unknown_name

if TYPE_CHECKING:
    from workloads.architectures.base import Architecture
    from workloads.architectures.deepseek_v3 import DeepseekV3Architecture
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.architectures.dense import DenseArchitecture
    from workloads.architectures.moe_gqa import MoeGqaArchitecture
    from workloads.execution_plan import IndexStorage, KvStorage
    from workloads.ops import Quantity

__all__ = [
    "CSA_RATIO",
    "ENTRY_BYTES",
    "HCA_RATIO",
    "INDEX_KEY_BYTES",
    "STORAGES",
    "VALUE_BYTES",
    "compressor_state_bytes",
    "csa_state_bytes",
    "gqa_entry_bytes",
    "hca_online_state_bytes",
    "hca_state_bytes",
    "index_key_bytes",
    "kv_bytes_per_context_token",
    "kv_bytes_per_sequence",
    "kv_copies",
    "linear_state_bytes",
    "mla_entry_bytes",
    "storage_of",
    "transfer_bytes",
]

STORAGES: dict[str, tuple[KvStorage, IndexStorage]] = {
    "fp8_fp4idx": ("fp8_ds_mla", "fp4"),
    "fp8_fp8idx": ("fp8_ds_mla", "fp8"),
    "bf16": ("bf16", "bf16"),
}
"""Named pairs of KV and indexer storage."""


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
    return total + architecture.bounded_bytes(context=context, kv=kv)


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
    return architecture.context_bytes(kv=kv, index=index, attention_tp=attention_tp)


def mla_entry_bytes(*, architecture: DeepseekV3Architecture, kv: KvStorage) -> float:
    """One KV entry of DeepSeek V3's latent attention; see `latent_entry_bytes`. [B]"""
    return latent_entry_bytes(
        latent=architecture.kv_lora_rank, rope=architecture.qk_rope_head_dim, kv=kv
    )


def gqa_entry_bytes(
    *, architecture: DenseArchitecture | MoeGqaArchitecture, kv: KvStorage, attention_tp: int
) -> float:
    """Keys and values of one token in one layer on one rank. [B]

    The KV heads are divided over the ranks; ranks beyond their number hold copies.
    """
    return architecture.entry_bytes(kv=kv, attention_tp=attention_tp)


def kv_copies(*, architecture: Architecture, attention_tp: int) -> int:
    """Copies of a sequence's KV entries that a worker's ranks hold together. [-]

    A latent is whole on each of the ranks that share the attention; KV heads are divided first.
    """
    return architecture.kv_copies(attention_tp=attention_tp)


def linear_state_bytes(*, architecture: Architecture, attention_tp: int = 1) -> float:
    """State of one request in all linear layers on one rank, whatever its context. [B]"""
    return architecture.state_bytes(attention_tp=attention_tp)


def csa_state_bytes(*, architecture: DeepseekV4Architecture) -> tuple[float, float]:
    """FP32 compressor row of one token in a CSA layer: entries, indexer keys. [B]"""
    return architecture.csa_state_bytes()


def hca_state_bytes(*, architecture: DeepseekV4Architecture) -> float:
    """FP32 compressor row of one token in an HCA layer: value and gate. [B]"""
    return architecture.hca_state_bytes()


def hca_online_state_bytes(*, architecture: DeepseekV4Architecture) -> float:
    """Running row (max, sum, value) of the online HCA compressor, per request and layer. [B]"""
    return architecture.hca_online_state_bytes()


def compressor_state_bytes(*, architecture: Architecture, online: bool) -> float:
    """Compressor state of one request over all layers; 0 without compressors. [B]"""
    return architecture.compressor_bytes(online=online)


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
    return total + architecture.compressor_bytes(online=online_state)
