"""KV pools of models with full attention beside sliding windows or linear attention.

vLLM gives every group of layers whole blocks of one shared pool; SGLang and the others keep
windows and recurrent state in pools of their own. See `simulator.engines.kv_accounting`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.engines.kv_accounting import KvPoolLayout, WindowGroup

if TYPE_CHECKING:
    from workloads.architectures.base import CacheLayers

_VLLM_BLOCK_ALIGNMENT = 16
_SGLANG_DEFAULT_STATES = 512
_SGLANG_STATES_OVER_KV = 0.9
_SGLANG_STATES_UNDER_RADIX = 3


def vllm_hybrid_pool(
    *,
    layers: CacheLayers,
    block_tokens: int,
    drafts: int = 0,
) -> KvPoolLayout:
    """Shared block pool of vLLM, in which each group of layers takes whole blocks.

    Parameters
    ----------
    block_tokens:
        Block size asked for. [tokens]
    drafts:
        Tokens drafted per step, each with a state of its own. [tokens]

    Notes
    -----
    All layers have pages of one size. Layers of a kind are divided into groups as large as the
    kind with the fewest layers, here full attention, and a block of the pool is a page of every
    layer of a group. A request holds ``ceil(n / b)`` blocks for the full layers; for each group of
    sliding layers those of the window and the tokens in flight; for each group of linear ones a
    block for its state and for that after each draft. So that a page holds a state, the block of
    attention grows to the next multiple of 16 tokens with as many bytes (vLLM 0.11 and later,
    ``_get_kv_cache_groups_uniform_page_size`` in ``vllm/v1/core/kv_cache_utils.py``,
    ``HybridAttentionMambaModelConfig`` in ``vllm/model_executor/models/config.py``).
    """
    entry, full, linear = layers.entry_bytes, layers.full, layers.linear
    if linear:
        state = layers.state_bytes / linear
        unit = _VLLM_BLOCK_ALIGNMENT
        block_tokens = max(block_tokens, unit * -(-int(state) // int(unit * entry)))
    page = full * block_tokens * entry
    sliding_groups = -(-layers.sliding // full)
    return KvPoolLayout(
        block_tokens=block_tokens,
        block_bytes=page,
        context_page_bytes=page,
        windows=tuple(
            WindowGroup(
                name=f"swa.{group}",
                block_tokens=block_tokens,
                window_tokens=layers.window_tokens,
                page_bytes=int(page),
            )
            for group in range(sliding_groups)
        ),
        state_blocks=-(-linear // full) * (1 + drafts),
    )


def sglang_hybrid_pool(
    *,
    layers: CacheLayers,
    page_tokens: int,
    swa_full_tokens_ratio: float,
    drafts: int = 0,
    radix: bool = False,
) -> KvPoolLayout:
    """Split pools of SGLang: full layers, a share of their tokens for windows, slots for state.

    Parameters
    ----------
    radix:
        Whether prefixes are cached.

    Notes
    -----
    Bytes of a token of the full pool: ``e (L_full + r L_sliding)``. Without the radix cache the
    state pool has a slot for each running request, 512 unless capped; with it three, since a
    request also holds the state of the prefix that it matched and one to give away
    (``MAMBA_CACHE_SIZE_MAX_RUNNING_REQUESTS_RATIO``, strategy ``no_buffer``). The state takes at
    most ``mamba_full_memory_ratio`` 0.9 of what the KV entries take, which bounds it here always.
    Under speculation a running request also keeps the state after each of its verified tokens
    (sgl-project/sglang, ``SWATokenToKVPoolAllocator``, ``MambaPool`` and
    ``ModelRunner.handle_max_mamba_cache``).
    """
    entry, sliding, state = layers.entry_bytes, layers.sliding, layers.state_bytes
    entries = layers.full + swa_full_tokens_ratio * sliding
    window_pages = -(-(layers.window_tokens - 1) // page_tokens) + 1
    slots = _SGLANG_STATES_UNDER_RADIX if radix else 1
    return KvPoolLayout(
        block_tokens=page_tokens,
        block_bytes=entries * entry * page_tokens,
        context_page_bytes=entries * entry * page_tokens,
        request_bytes=state * (slots + (drafts + 1 if drafts else 0)),
        default_running=_SGLANG_DEFAULT_STATES,
        state_share=_SGLANG_STATES_OVER_KV / (1.0 + _SGLANG_STATES_OVER_KV),
        slot_tokens=window_pages * page_tokens / swa_full_tokens_ratio if sliding else 0.0,
    )


def separate_hybrid_pool(
    *,
    layers: CacheLayers,
    block_tokens: int,
    windowed: bool,
    drafts: int = 0,
) -> KvPoolLayout:
    """Blocks of the full layers, and each request's windows and state beside them.

    Parameters
    ----------
    windowed:
        Whether sliding layers keep their window only. TensorRT-LLM keeps the entries of all
        tokens unless its ``max_attention_window`` is set (TensorRT-LLM, KV cache documentation);
        of ATOM nothing is published, and the window is an estimate.

    Notes
    -----
    TensorRT-LLM allots state for ``max_batch_size`` requests in advance; here a request takes it
    from the pool when it runs, an estimate that binds at the same number of requests.
    """
    entry, sliding, state = layers.entry_bytes, layers.sliding, layers.state_bytes
    entries = layers.full + (0 if windowed else sliding)
    windows = sliding * layers.window_tokens * entry if windowed else 0.0
    return KvPoolLayout(
        block_tokens=block_tokens,
        block_bytes=entries * entry * block_tokens,
        context_page_bytes=entries * entry * block_tokens,
        request_bytes=windows + state * (1 + drafts),
    )
