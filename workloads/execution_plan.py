"""How an engine executes a model: precision paths, fusion, padding, graphs.

An execution plan belongs to a software level (engine, SKU, date). It says *which* kernels run;
how fast they run is the hardware model's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ExpertPath = Literal["mxfp4xfp8", "mxfp4", "nvfp4", "w4a16", "int4", "mxfp8", "fp8", "bf16"]
DensePath = Literal["fp8", "mxfp8", "bf16", "nvfp4", "mxfp4", "int4"]
MoeBackend = Literal["tensor_parallel", "dispatch_combine", "fused", "allgather", "gather_reduce"]
KvStorage = Literal["fp8_ds_mla", "fp8", "fp4", "bf16"]
IndexStorage = Literal["fp4", "fp8", "bf16"]
ExchangeMode = Literal["auto", "normal", "low_latency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPlan:
    """Which kernels an engine runs.

    Parameters
    ----------
    expert_path:
        Weights and activations of the routed experts: ``mxfp4xfp8`` (FP4 weights, FP8
        activations), ``mxfp4`` and ``nvfp4`` (both FP4), ``w4a16`` (FP4 weights expanded in
        registers, Marlin-like), ``int4`` (the same with 16 bits of scales per 32 weights, as
        INT4 checkpoints and NVFP4 ones have), ``fp8`` (experts expanded to FP8 in memory) or
        ``bf16``.
    dense_path:
        Projections outside the experts.
    feed_forward_path:
        Shared expert and dense feed-forward layers of models related to DeepSeek V3; ``None``: as
        ``dense_path``.
    output_a_path:
        DeepSeek V4's grouped output projection ``wo_a``: FP8 einsum, or BF16 as the reference.
    kv_storage, index_storage:
        KV entry and indexer key formats in HBM.
    moe_backend:
        ``dispatch_combine``: all-to-all, grouped GEMM, all-to-all; ``fused``: one kernel that
        overlaps the three (MegaMoE); ``allgather``: all-gather the tokens, reduce-scatter the
        results; ``gather_reduce``: all-gather the tokens, each rank's padded to those of the
        fullest, all-reduce the results of all; ``tensor_parallel``: every rank holds a slice of
        every expert, all-reduce.
        Used where the layout's ``ep`` exceeds one; otherwise experts are tensor parallel.
    dispatch_bytes_per_value, combine_bytes_per_value:
        Wire format of the exchanged hidden states, scales included. [B]
    exchange_library:
        Communication library of ``dispatch_combine``, such as ``deepep`` or ``mori``; empty: the
        engine's own choice (`hwmodels.exchange_libraries`).
    exchange_mode:
        Its mode: ``normal`` for prefill, ``low_latency`` for decode, ``auto`` by the tokens of a
        step.
    transfer_library:
        Library that moves KV entries to decode workers, such as ``nixl``; empty: the
        orchestrator's own choice (`hwmodels.kv_transfers`).
    attention_head_multiple:
        The decode core computes this many heads at the least; fewer local heads are padded.
    graph_max_tokens:
        Decode steps up to this many tokens a rank replay a captured graph. [tokens]
    graph_prefill:
        Whether steps with prefill also replay (piecewise) graphs.
    graph_prefill_max_tokens:
        Up to how many tokens of a rank they do; ``None``: to ``graph_max_tokens``. [tokens]
    launch_overlap:
        Whether the host launches the kernels of an eager step ahead of the GPU, so that only
        what exceeds the GPU's time shows; ``eager_launch_s`` is then all of a launch.
    aux_stream_overlap:
        Whether indexer, compressor and window insert run beside the query projections.
    shared_expert_overlap:
        Whether the shared expert runs beside the routed ones.
    two_batch_overlap:
        Whether a step is computed as two half batches, one's exchange beside the other's experts;
        weights are read and kernels launched once a half.
    online_compressor_state:
        SGLang's online C128 state (max, sum, value) in place of 128 raw rows.
    kernels_scale:
        Kernel launches relative to the reference count of each op: fusion below 1, unfused
        first releases above it. [-]
    """

    expert_path: ExpertPath = "mxfp4xfp8"
    dense_path: DensePath = "fp8"
    feed_forward_path: DensePath | None = None
    output_a_path: DensePath = "fp8"
    kv_storage: KvStorage = "fp8_ds_mla"
    index_storage: IndexStorage = "fp8"
    moe_backend: MoeBackend = "dispatch_combine"
    dispatch_bytes_per_value: float = 1.0 + 1.0 / 32.0
    combine_bytes_per_value: float = 2.0
    exchange_library: str = ""
    exchange_mode: ExchangeMode = "auto"
    transfer_library: str = ""
    attention_head_multiple: int = 64
    graph_max_tokens: int = 512
    graph_prefill: bool = False
    graph_prefill_max_tokens: int | None = None
    launch_overlap: bool = False
    aux_stream_overlap: bool = True
    shared_expert_overlap: bool = True
    two_batch_overlap: bool = False
    online_compressor_state: bool = False
    kernels_scale: float = 1.0
