"""What an engine's KV pool is charged for a request.

Engines differ: vLLM gives every group of layers whole blocks of one shared pool, SGLang splits its
memory into pools in advance. Both take more than the logical bytes of `workloads.models.kv_bytes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.models.kv_bytes import (
    CSA_RATIO,
    ENTRY_BYTES,
    HCA_RATIO,
    INDEX_KEY_BYTES,
    csa_state_bytes,
    hca_online_state_bytes,
    hca_state_bytes,
    kv_bytes_per_context_token,
)

if TYPE_CHECKING:
    from workloads.architectures.base import Architecture
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.execution_plan import IndexStorage, KvStorage

_VLLM_PAGE_ALIGNMENT_BYTES = 576
_VLLM_BLOCK_TOKENS = 256
_VLLM_SWA_BLOCK_TOKENS = 64
_VLLM_CSA_STATE_BLOCK_TOKENS = 4
_VLLM_HCA_STATE_BLOCK_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowGroup:
    """Layers whose cache in vLLM is a sliding window with blocks of its own.

    Parameters
    ----------
    name:
        Such as ``swa.0`` or ``csa.state``.
    block_tokens, window_tokens:
        Tokens of a block, and tokens that stay needed. [tokens]
    page_bytes:
        Bytes of one block over the layers of the group. [B]
    """

    name: str
    block_tokens: int
    window_tokens: int
    page_bytes: int

    def blocks(self, *, in_flight_tokens: int) -> int:
        """Blocks of a request that has ``in_flight_tokens`` tokens in the current step."""
        return -(-(self.window_tokens - 1 + in_flight_tokens) // self.block_tokens) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KvPoolLayout:
    """How an engine's KV pool is charged by a request.

    Parameters
    ----------
    block_tokens:
        Context tokens of one block. [tokens]
    block_bytes:
        Bytes of one block. [B]
    windows:
        Groups that take whole blocks for windows and state (vLLM).
    context_page_bytes:
        Bytes of a block that the context group really uses. [B]
    state_blocks:
        Blocks of a request for state that its context does not change (vLLM). [blocks]
    request_bytes:
        State of a request in a pool of its own. [B/request]
    default_running:
        Running requests that such a pool is made for where no cap is set (SGLang). [requests]
    state_share:
        Most of the memory that such a pool takes (SGLang). [-]
    slot_tokens:
        Context tokens of the pool that come with room for one running request's window; 0 where
        windows need no room of their own (SGLang's window pool is a share of the full pool).
    """

    block_tokens: int
    block_bytes: float
    windows: tuple[WindowGroup, ...] = ()
    context_page_bytes: float = 0.0
    state_blocks: int = 0
    request_bytes: float = 0.0
    default_running: int = 2048
    state_share: float = 1.0
    slot_tokens: float = 0.0

    def fixed_blocks(self, *, in_flight_tokens: int = 1) -> int:
        """Blocks of a request that do not grow with its context. [blocks]

        ``in_flight_tokens`` is 1 for a decoding request, drafts + 1 under speculation; vLLM
        admits a request with the charge of its whole token budget.
        """
        windows = (group.blocks(in_flight_tokens=in_flight_tokens) for group in self.windows)
        return self.state_blocks + sum(windows)

    def request_blocks(self, *, context_tokens: int, in_flight_tokens: int = 1) -> int:
        """All blocks of a request. [blocks]"""
        return -(-context_tokens // self.block_tokens) + self.fixed_blocks(
            in_flight_tokens=in_flight_tokens
        )

    def request_slots(self, *, total_blocks: int) -> int | None:
        """Running requests that the window pool beside ``total_blocks`` can hold, if it binds."""
        if not self.slot_tokens:
            return None
        return int(total_blocks * self.block_tokens / self.slot_tokens)


def vllm_pool(
    *,
    architecture: DeepseekV4Architecture,
    kv: KvStorage = "fp8_ds_mla",
    index: IndexStorage = "fp8",
    draft_layers: int = 0,
) -> KvPoolLayout:
    """Shared block pool of vLLM for DeepSeek V4.

    Parameters
    ----------
    draft_layers:
        Sliding-window layers of the draft module. [-]

    Notes
    -----
    One logical block is 256 tokens: 64 CSA entries and keys, 2 HCA entries. Windows have blocks
    of 64 tokens, CSA state of 4, HCA state of 8. Pages are aligned to 576 bytes. The pool's block
    is the page of the largest group; the windows are divided into as few groups as do not exceed
    it, and every group takes whole pool blocks, whatever its own page needs
    (vLLM `vllm/v1/core/kv_cache_utils.py`; group pages as logged in vllm-project/vllm#54703).
    """
    csa = architecture.layers_of_ratio(CSA_RATIO)
    hca = architecture.layers_of_ratio(HCA_RATIO)
    entry = ENTRY_BYTES[kv]
    csa_entries = _VLLM_BLOCK_TOKENS // CSA_RATIO
    context_page = (
        csa * _page(csa_entries * entry)
        + csa * _page(csa_entries * INDEX_KEY_BYTES[index])
        + hca * _page(_VLLM_BLOCK_TOKENS // HCA_RATIO * entry)
    )
    row, index_row = csa_state_bytes(architecture=architecture)
    csa_state = WindowGroup(
        name="csa.state",
        block_tokens=_VLLM_CSA_STATE_BLOCK_TOKENS,
        window_tokens=2 * CSA_RATIO,
        page_bytes=csa
        * (
            _page(_VLLM_CSA_STATE_BLOCK_TOKENS * row)
            + _page(_VLLM_CSA_STATE_BLOCK_TOKENS * index_row)
        ),
    )
    hca_state = WindowGroup(
        name="hca.state",
        block_tokens=_VLLM_HCA_STATE_BLOCK_TOKENS,
        window_tokens=HCA_RATIO,
        page_bytes=hca
        * _page(_VLLM_HCA_STATE_BLOCK_TOKENS * hca_state_bytes(architecture=architecture)),
    )
    block_bytes = max(context_page, csa_state.page_bytes, hca_state.page_bytes)
    window_page = _page(_VLLM_SWA_BLOCK_TOKENS * entry)
    window_layers = architecture.num_hidden_layers + draft_layers
    groups = -(-window_layers * window_page // block_bytes)
    windows = [
        WindowGroup(
            name=f"swa.{group}",
            block_tokens=_VLLM_SWA_BLOCK_TOKENS,
            window_tokens=architecture.sliding_window,
            page_bytes=window_page * ((window_layers + groups - 1 - group) // groups),
        )
        for group in range(groups)
    ]
    return KvPoolLayout(
        block_tokens=_VLLM_BLOCK_TOKENS,
        block_bytes=float(block_bytes),
        windows=(*windows, csa_state, hca_state),
        context_page_bytes=float(context_page),
    )


def _page(content_bytes: float) -> int:
    """Bytes rounded up to vLLM's page alignment. [B]"""
    return -(-int(content_bytes) // _VLLM_PAGE_ALIGNMENT_BYTES) * _VLLM_PAGE_ALIGNMENT_BYTES


def sglang_bytes_per_full_token(
    *,
    architecture: DeepseekV4Architecture,
    kv: KvStorage = "fp8_ds_mla",
    index: IndexStorage = "fp8",
    swa_full_tokens_ratio: float = 0.1,
    speculative: bool = False,
    version: tuple[int, int, int] = (0, 5, 14),
) -> float:
    """Bytes of all SGLang sub-pools for one token of the full pool. [B/token]

    Parameters
    ----------
    swa_full_tokens_ratio:
        Tokens of the window pool over tokens of the full pool. [-]
    speculative:
        Whether a draft module shares the pool.
    version:
        SGLang release; before 0.5.14 the HCA state was sized with the window pool and the
        window pool counted the draft layer always.

    Notes
    -----
    ``r e N + e N4/4 + e N128/128 + k N4/4 + r R/128 s N4 [+ r s' N128 before 0.5.14]`` with the
    CSA state ring R of 8 tokens per 128 window slots, 16 with speculation; times ``(N + 1) / N``
    with speculation. Reproduces the values that SGLang logs for Pro on 0.5.12 and Flash with
    DSpark (sgl-project/sglang, DSV4 pool configurator).
    """
    csa = architecture.layers_of_ratio(CSA_RATIO)
    hca = architecture.layers_of_ratio(HCA_RATIO)
    ratio = swa_full_tokens_ratio
    entry = ENTRY_BYTES[kv]
    old = version < (0, 5, 14)
    layers = architecture.num_hidden_layers
    ring = 16 if speculative else 8
    total = ratio * entry * (layers + 1 if old else layers)
    total += csa * (entry + INDEX_KEY_BYTES[index]) / CSA_RATIO + hca * entry / HCA_RATIO
    total += ratio * ring / 128 * sum(csa_state_bytes(architecture=architecture)) * csa
    if old:
        total += ratio * hca_state_bytes(architecture=architecture) * hca
    return total * ((layers + 1) / layers if speculative else 1.0)


def sglang_pool(
    *,
    architecture: DeepseekV4Architecture,
    kv: KvStorage = "fp8_ds_mla",
    index: IndexStorage = "fp8",
    swa_full_tokens_ratio: float = 0.1,
    speculative: bool = False,
    online_state: bool = False,
    page_tokens: int = 256,
    version: tuple[int, int, int] = (0, 5, 14),
) -> KvPoolLayout:
    """Split pools of SGLang for DeepSeek V4; see `sglang_bytes_per_full_token`.

    From 0.5.14 each running request also holds the HCA state in a pool of its own. A window of
    128 tokens straddles two pages at the most, which bounds the running requests by the window
    pool.
    """
    if not 0.0 < swa_full_tokens_ratio <= 1.0:
        raise UserError(
            f"swa_full_tokens_ratio is {swa_full_tokens_ratio}; it must be above 0 and up to 1"
        )
    per_token = sglang_bytes_per_full_token(
        architecture=architecture,
        kv=kv,
        index=index,
        swa_full_tokens_ratio=swa_full_tokens_ratio,
        speculative=speculative,
        version=version,
    )
    hca = architecture.layers_of_ratio(HCA_RATIO)
    state = (
        hca_online_state_bytes(architecture=architecture)
        if online_state
        else HCA_RATIO * hca_state_bytes(architecture=architecture)
    )
    window_pages = -(-(architecture.sliding_window - 1) // page_tokens) + 1
    return KvPoolLayout(
        block_tokens=page_tokens,
        block_bytes=per_token * page_tokens,
        context_page_bytes=per_token * page_tokens,
        request_bytes=0.0 if version < (0, 5, 14) else hca * state,
        slot_tokens=window_pages * page_tokens / swa_full_tokens_ratio,
    )


def plain_pool(
    *,
    architecture: Architecture,
    block_tokens: int,
    kv: KvStorage,
    index: IndexStorage,
    online_state: bool = False,
    attention_tp: int = 1,
) -> KvPoolLayout:
    """Blocks of exactly the logical bytes of a rank, windows and state beside them.

    For engines whose pool arithmetic is not published (TensorRT-LLM, ATOM), and for models
    without compression.
    """
    per_token = kv_bytes_per_context_token(
        architecture=architecture, kv=kv, index=index, attention_tp=attention_tp
    )
    longest = float(architecture.max_position_embeddings)
    bounded = float(architecture.bounded_bytes(context=longest, kv=kv))
    request_bytes = bounded + architecture.compressor_bytes(online=online_state)
    return KvPoolLayout(
        block_tokens=block_tokens,
        block_bytes=per_token * block_tokens,
        context_page_bytes=per_token * block_tokens,
        request_bytes=request_bytes,
    )
