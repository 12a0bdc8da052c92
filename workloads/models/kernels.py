"""Reference count of kernel launches per operation, inside a CUDA graph.

The count is that of the fused kernels which vLLM and SGLang run on DeepSeek V4 since May 2026
(vLLM blog "DeepSeek V4", 2026-04-24, section on kernel fusion; `vllm/models/deepseek_v4`). An
engine that fuses more or less scales all of them with `ExecutionPlan.kernels_scale`. Collectives
are operations of their own and carry their own latency.
"""

from __future__ import annotations

KERNELS: dict[str, float] = {
    "gemm": 1,  # the matrix product itself
    "quantise": 1,  # BF16 activations to FP8 or FP4, fused with the norm before it
    "mhc.pre": 2,  # coefficient GEMM with RMS statistics; Sinkhorn and stream mixing
    "mhc.post": 1,  # residual update of the four streams
    "window_insert": 1,  # q head norm, rope of q and kv, quantise and insert the KV entry
    "compress": 1,  # state update; on a boundary pool, norm, rope, quantise, insert
    "index_query": 1,  # rope, Hadamard rotation and quantisation of the indexer queries
    "index_score": 1,  # all keys of a request
    "top_k": 1,  # selection over the scores
    "core.decode": 2,  # split-KV attention and its combination
    "core.prefill": 2,  # gather and dequantise into a workspace; attention
    "rope_insert": 2,  # rope of queries and keys; write of keys and values to the cache
    "core.gqa_decode": 2,  # split-KV attention and its combination
    "core.gqa_prefill": 1,  # attention over the paged cache
    "qk_norm": 1,  # RMS norms of queries and keys
    "core.gdn_decode": 1,  # recurrent step of the gated delta rule
    "core.gdn_prefill": 6,  # its chunks: gates, keys, inverse, W and U, states, outputs
    "gdn.conv": 1,  # causal convolution over queries, keys and values, SiLU
    "gdn.norm": 1,  # norm of the output, times the gate
    "gdn.split": 1,  # queries, keys, values and gates out of the fused projections
    "select": 1,  # top-k of the router scores with bias, or the hash table
    "experts.permute": 1,  # sort token-expert pairs by expert
    "experts.activation": 1,  # SwiGLU and quantisation between the two grouped GEMMs
    "experts.reduce": 1,  # weighted sum over a token's experts and the shared expert
    "experts.fused": 1,  # MegaMoE: exchange, both GEMMs and activation
    "activation": 1,  # SwiGLU of a dense feed-forward layer
    "add_norm": 1,  # residual addition and RMS norm
    "embedding": 1,  # gather
    "head.mix": 1,  # final mHC combination and norm
    "sampling": 4,  # penalties, temperature, softmax, draw
    "draft.norm": 1,  # norm of an input of the draft module
    "markov": 2,  # row gather and low-rank correction of the logits, per drafted token
}
