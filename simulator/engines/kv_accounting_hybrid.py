"""KV pools of models with full attention beside sliding windows or linear attention.

vLLM gives every group of layers whole blocks of one shared pool; SGLang and the others keep
windows and recurrent state in pools of their own. See `simulator.engines.kv_accounting`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.engines.kv_accounting import KvPoolLayout, WindowGroup
from workloads.models.kv_bytes import gqa_entry_bytes, linear_state_bytes

if TYPE_CHECKING:
    from workloads.architectures.catalog import MoeGqaArchitecture
    from workloads.execution_plan import KvStorage

_VLLM_BLOCK_ALIGNMENT = 16
_SGLANG_DEFAULT_STATES = 512
_SGLANG_STATES_OVER_KV = 0.9


def vllm_hybrid_pool(
    *,
    architecture: MoeGqaArchitecture,
    kv: KvStorage,
    block_tokens: int,
    attention_tp: int = 1,
    drafts: int = 0,
) -> KvPoolLayout:
    """Shared block pool of vLLM, in which each group of layers takes whole blocks.

    Parameters
    ----------
    block_tokens:
        Block size asked for. [tokens]
    attention_tp:
        Ranks that share the attention.
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
    entry = gqa_entry_bytes(architecture=architecture, kv=kv, attention_tp=attention_tp)
    full = _full_layers(architecture, drafts=drafts)
    linear = architecture.layers_of("linear_attention")
    if linear:
        state = linear_state_bytes(architecture=architecture, attention_tp=attention_tp) / linear
        unit = _VLLM_BLOCK_ALIGNMENT
        block_tokens = max(block_tokens, unit * -(-int(state) // int(unit * entry)))
    page = full * block_tokens * entry
    sliding_groups = -(-architecture.layers_of("sliding_attention") // full)
    return KvPoolLayout(
        block_tokens=block_tokens,
        block_bytes=page,
        context_page_bytes=page,
        windows=tuple(
            WindowGroup(
                name=f"swa.{group}",
                block_tokens=block_tokens,
                window_tokens=architecture.sliding_window,
                page_bytes=int(page),
            )
            for group in range(sliding_groups)
        ),
        state_blocks=-(-linear // full) * (1 + drafts),
    )


def sglang_hybrid_pool(
    *,
    architecture: MoeGqaArchitecture,
    kv: KvStorage,
    page_tokens: int,
    swa_full_tokens_ratio: float,
    attention_tp: int = 1,
    drafts: int = 0,
) -> KvPoolLayout:
    """Split pools of SGLang: full layers, a share of their tokens for windows, slots for state.

    Notes
    -----
    Bytes of a token of the full pool: ``e (L_full + r L_sliding)``. Without the radix cache the
    state pool has a slot for each running request, 512 unless capped; with it the state takes at
    most ``mamba_full_memory_ratio`` 0.9 of what the KV entries take, which bounds it here always.
    Under speculation a running request also keeps the state after each of its verified tokens
    (sgl-project/sglang, ``SWATokenToKVPoolAllocator``, ``MambaPool`` and
    ``ModelRunner.handle_max_mamba_cache``).
    """
    entry = gqa_entry_bytes(architecture=architecture, kv=kv, attention_tp=attention_tp)
    sliding = architecture.layers_of("sliding_attention")
    layers = _full_layers(architecture, drafts=drafts) + swa_full_tokens_ratio * sliding
    state = linear_state_bytes(architecture=architecture, attention_tp=attention_tp)
    window_pages = -(-(architecture.sliding_window - 1) // page_tokens) + 1
    return KvPoolLayout(
        block_tokens=page_tokens,
        block_bytes=layers * entry * page_tokens,
        context_page_bytes=layers * entry * page_tokens,
        request_bytes=state * (drafts + 2 if drafts else 1),
        default_running=_SGLANG_DEFAULT_STATES,
        state_share=_SGLANG_STATES_OVER_KV / (1.0 + _SGLANG_STATES_OVER_KV),
        slot_tokens=window_pages * page_tokens / swa_full_tokens_ratio if sliding else 0.0,
    )


def separate_hybrid_pool(
    *,
    architecture: MoeGqaArchitecture,
    kv: KvStorage,
    block_tokens: int,
    windowed: bool,
    attention_tp: int = 1,
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
    entry = gqa_entry_bytes(architecture=architecture, kv=kv, attention_tp=attention_tp)
    sliding = architecture.layers_of("sliding_attention")
    layers = _full_layers(architecture, drafts=drafts) + (0 if windowed else sliding)
    windows = sliding * architecture.sliding_window * entry if windowed else 0.0
    state = linear_state_bytes(architecture=architecture, attention_tp=attention_tp)
    return KvPoolLayout(
        block_tokens=block_tokens,
        block_bytes=layers * entry * block_tokens,
        context_page_bytes=layers * entry * block_tokens,
        request_bytes=windows + state * (1 + drafts),
    )


def _full_layers(architecture: MoeGqaArchitecture, *, drafts: int) -> int:
    """Layers that keep the whole context, the draft layer among them where it drafts."""
    draft_layers = architecture.mtp_num_hidden_layers if drafts else 0
    return architecture.layers_of("full_attention") + draft_layers
