"""Measured op tables of DeepSeek V4's kernels in the ``aiconfigurator-core`` wheel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.importers.aiconfigurator import gather, per_shape

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def read_mega_moe(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Fused dispatch, experts and combine (DeepGEMM MegaMoE) under balanced routing.

    Columns ``sku, tokens_per_rank, hidden, inter, top_k, experts, ep, time_s``.
    """
    frame = gather(root, skus=skus, family="moe", table="dsv4_megamoe_module", engines=("sglang",))
    frame = frame[frame["distribution"] == "balanced"].rename(
        columns={
            "num_tokens": "tokens_per_rank",
            "hidden_size": "hidden",
            "inter_size": "inter",
            "topk": "top_k",
            "num_experts": "experts",
            "moe_ep_size": "ep",
        }
    )
    return per_shape(frame, ["sku", "tokens_per_rank", "hidden", "inter", "top_k", "experts", "ep"])


def read_attention_core(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """FlashMLA sparse core over window and compressed entries, 64 heads of 512, ratio 128.

    Columns ``sku, batch, queries, prefix, heads, time_s``; ``queries`` new tokens of each
    request.
    """
    frame = gather(
        root, skus=skus, family="sparse_attention", table="dsv4_hca_attn_module", engines=("vllm",)
    )
    frame = frame.rename(
        columns={
            "batch_size": "batch",
            "isl": "queries",
            "step": "prefix",
            "local_num_heads": "heads",
        }
    )
    return per_shape(frame, ["sku", "batch", "queries", "prefix", "heads"])


def read_indexer(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Paged FP8 indexer scores, 64 heads of 128, ratio 4.

    Columns ``sku, engine, batch, queries, prefix, time_s``.
    """
    frame = gather(
        root,
        skus=skus,
        family="sparse_attention",
        table="dsv4_paged_mqa_logits_module",
        engines=("sglang", "vllm"),
    )
    frame = frame.rename(columns={"batch_size": "batch", "isl": "queries", "step": "prefix"})
    return per_shape(frame, ["sku", "engine", "batch", "queries", "prefix"])


def read_top_k(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Top-k selection over indexer scores with distinct values.

    Columns ``sku, model, batch, queries, prefix, time_s``. Rows with flat scores are left out:
    equal keys drive the radix select into its worst case, 75 to 80 µs too slow at 8k to 64k.
    """
    frame = gather(
        root,
        skus=skus,
        family="sparse_attention",
        table="dsv4_csa_topk_calib",
        engines=("sglang",),
    )
    decode = (frame["score_mode"] == "v2_top_last") & (frame["isl"] == 1)
    prefill = (frame["score_mode"] == "v1_top_last") & (frame["isl"] > 1)
    frame = frame[decode | prefill]
    frame = frame.rename(columns={"batch_size": "batch", "isl": "queries", "step": "prefix"})
    frame["model"] = frame["model"].str.extract(r"(Pro|Flash)", expand=False).str.lower()
    return per_shape(frame, ["sku", "model", "batch", "queries", "prefix"])


def read_attention_module(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Whole CSA and HCA modules of DeepSeek V4, projections included.

    Columns ``sku, engine, model, ratio, path, tp, batch, queries, prefix, time_s``. CSA rows in
    which the selection works on flat scores (see `read_top_k`) are left out: SGLang decode from
    8k tokens on, and vLLM and TensorRT-LLM prefill as soon as there are more compressed entries
    than the indexer selects; there the modules jump by 1 to 3 ms at 8192 tokens.
    """
    import pandas as pd

    frames = [
        gather(root, skus=skus, family="sparse_attention", table=f"dsv4_{kind}_{phase}_module")
        for kind in ("csa", "hca")
        for phase in ("context", "generation")
    ]
    frame = pd.concat(frames, ignore_index=True).rename(
        columns={
            "batch_size": "batch",
            "isl": "queries",
            "step": "prefix",
            "tp_size": "tp",
            "compress_ratio": "ratio",
        }
    )
    frame["path"] = frame["gemm_type"].map({"bfloat16": "bf16", "fp8_block": "fp8"})
    frame["model"] = frame["model"].str.extract(r"(Pro|Flash)", expand=False).str.lower()
    decode, csa = frame["queries"] == 1, frame["ratio"] == 4
    entries = (frame["prefix"] + frame["queries"]) // 4
    selecting = entries > frame["model"].map({"pro": 1024, "flash": 512})
    sglang = frame["engine"] == "sglang"
    flat = csa & ((sglang & decode & (frame["prefix"] >= 8192)) | (~sglang & ~decode & selecting))
    keys = ["sku", "engine", "model", "ratio", "path", "tp", "batch", "queries", "prefix"]
    return per_shape(frame[~flat & frame["path"].notna()], keys)


def read_mhc(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Hyper-connection kernels of a layer, both sites.

    Columns ``sku, engine, part, tokens, hidden, time_s`` with ``part`` ``pre`` (mixing,
    sinkhorn, reduction) or ``post`` (expansion).
    """
    frame = gather(root, skus=skus, family="mhc", table="mhc_module")
    frame = frame.rename(
        columns={"op_name": "part", "num_tokens": "tokens", "hidden_size": "hidden"}
    )
    return per_shape(frame, ["sku", "engine", "part", "tokens", "hidden"])
