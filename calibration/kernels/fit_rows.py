"""Which rows of the public op tables each kernel family is fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from calibration.importers import aiconfigurator as tables
from calibration.importers import aiconfigurator_deepseek_v4 as deepseek_v4_tables
from calibration.importers import aiconfigurator_links as link_tables
from calibration.importers.aiconfigurator_linear import read_delta_net
from calibration.kernels import work as work
from calibration.kernels.collectives import collective_samples, fit_links, network_samples
from calibration.kernels.fit import fit_family, kernel_samples

if TYPE_CHECKING:
    from pathlib import Path

    from calibration.kernels.collectives import LinkFit
    from calibration.kernels.fit import FamilyFit
    from hwmodels.sku import Sku

NO_FP4 = ("h100", "h200")
INDEXED_CONTEXT = 4096
"""Up to here every compressed entry is selected and the indexer is skipped. [tokens]"""
UNBOUND = {
    "memory": {"e_c": 0.5},
    "indexer": {"e_m": 0.84},
    "gdn_decode": {"e_c": 0.5},
}
"""Efficiencies that no row of a family or path is bound by, held at: one half for the few FLOPs of
memory kernels and of the recurrent delta rule; for the indexer that of the memory family, since
the keys of its tables, at most 35 MB, sit in the last-level cache."""


def _gemm(root: Path, skus: list[str]) -> pd.DataFrame:
    """Dense GEMMs of language-model size."""
    frame = work.gemm_work(tables.read_gemm(root, skus=skus))
    size = frame["n"] * frame["k"]
    return frame[size.between(2**20, 2**28) & (frame["m"] <= 16384)]


def _gqa(root: Path, skus: list[str]) -> pd.DataFrame:
    """Grouped-query attention of language-model size."""
    frame = work.gqa_work(tables.read_gqa(root, skus=skus))
    grouped = (frame["kv_heads"] <= 16) & (frame["heads"] >= 4)
    return frame[grouped & (frame["context"] >= 128)]


def _delta_net(root: Path, skus: list[str]) -> pd.DataFrame:
    """Gated delta nets of language-model size, in batches that an engine forms."""
    frame = work.delta_net_work(read_delta_net(root, skus=skus))
    prefill = (frame["length"] >= 64) & (frame["batch"] * frame["length"] <= 65536)
    return frame[(frame["value_heads"] >= 8) & ((frame["phase"] == "decode") | prefill)]


def _experts(root: Path, skus: list[str]) -> pd.DataFrame:
    """Expert rows of language-model size; of several kernels of an engine the fastest."""
    frame = work.moe_work(tables.read_moe(root, skus=skus))
    wide = (frame["hidden"] >= 2048) & (frame["inter"] / frame["moe_tp"] >= 256)
    many = frame["experts"].between(32, 512) & (frame["top_k"] >= 4)
    held = frame["experts"] / frame["moe_ep"] >= 4
    busy = frame["tokens"] * frame["top_k"] >= frame["moe_ep"]
    kernel = frame["kernel"].str.contains("marlin|trtllm") | (frame["path"] != "w4a16")
    frame = frame[wide & many & held & busy & kernel]
    shape = [column for column in frame.columns if column not in ("kernel", "time_s")]
    return frame.groupby(shape)["time_s"].min().reset_index()


def _fused_experts(root: Path, skus: list[str]) -> pd.DataFrame:
    """MegaMoE rows of DeepSeek V4's shape (the table of B200 is of another model)."""
    chips = [sku for sku in skus if sku in ("b200", "gb200", "gb300")]
    frame = work.mega_moe_work(deepseek_v4_tables.read_mega_moe(root, skus=chips))
    return frame[(frame["experts"] == 384) & (frame["top_k"] == 6)]


def _around_experts_s(
    frame: pd.DataFrame, *, memory: dict[str, FamilyFit], skus: dict[str, Sku]
) -> pd.Series:
    """Time of the kernels around the grouped GEMMs by the memory family. [s]"""
    fit = frame["sku"].map({key: memory[sku.generation].parameters for key, sku in skus.items()})
    rate = frame["sku"].map({key: sku.hbm_bytes_per_s for key, sku in skus.items()})
    floor_s = frame["memory_kernels"] * fit.map(lambda p: p.t0_s)
    return floor_s + frame["memory_bytes"] / (rate * fit.map(lambda p: p.e_m))


def fit_families(root: Path, *, skus: dict[str, Sku]) -> dict[str, dict[str, dict[str, FamilyFit]]]:
    """Fits of all families by family, path and generation.

    Parameters
    ----------
    root:
        From `calibration.importers.aiconfigurator.find_tables`.
    skus:
        Chips whose tables are read, by key.
    """
    keys = list(skus)
    generation_of = {key: sku.generation for key, sku in skus.items()}

    def fit(frame: pd.DataFrame, precision: str, family: str = "") -> dict[str, FamilyFit]:
        if precision in ("nvfp4", "mxfp4xfp8"):
            frame = frame[~frame["sku"].isin(NO_FP4)]
        samples = kernel_samples(frame, skus=skus, precision=precision)
        return fit_family(samples, generation_of=generation_of, fixed=UNBOUND.get(family))

    gemm = _gemm(root, keys)
    mhc = work.mhc_work(deepseek_v4_tables.read_mhc(root, skus=keys))
    pre, post = mhc[mhc["part"] == "pre"], mhc[mhc["part"] == "post"]
    quantise = work.quantise_work(tables.read_quantise(root, skus=keys))
    top_k = work.top_k_work(deepseek_v4_tables.read_top_k(root, skus=keys))
    top_k = top_k[top_k["prefix"] + top_k["queries"] > INDEXED_CONTEXT]
    top_k["engine"] = np.where(top_k["queries"] == 1, "decode", "prefill")
    streams = pd.concat([post.assign(engine="mhc"), quantise], ignore_index=True)
    linear = _delta_net(root, keys)
    rule = linear[linear["part"] == "rule"]
    memory = {
        "any": fit(streams, "bf16", "memory"),
        "mhc_pre": fit(pre, "bf16", "memory"),
        "mhc_post": fit(post, "bf16", "memory"),
        "top_k": fit(top_k, "bf16", "memory"),
        "conv": fit(linear[linear["part"] == "conv"], "bf16", "memory"),
    }
    experts = _experts(root, keys)
    experts["fixed_s"] = _around_experts_s(experts, memory=memory["any"], skus=skus)
    fused = _fused_experts(root, keys)
    fused["fixed_s"] = _around_experts_s(fused, memory=memory["any"], skus=skus)
    core = work.attention_work(deepseek_v4_tables.read_attention_core(root, skus=keys))
    core["engine"] = core["phase"]
    mla = work.mla_work(tables.read_mla(root, skus=keys))
    mla = mla[(mla["heads"] >= 8) & (mla["context"] >= 128)]
    mla["engine"] = mla["kv_bytes_per_value"].astype(str)
    gqa = _gqa(root, keys)
    index = work.indexer_work(deepseek_v4_tables.read_indexer(root, skus=keys))
    index = index[index["prefix"] + index["queries"] > INDEXED_CONTEXT]
    return {
        "gemm": {p: fit(gemm[gemm["path"] == p], p) for p in ("bf16", "fp8", "nvfp4")},
        "grouped_gemm": {
            **{
                p: fit(experts[experts["path"] == p], p)
                for p in ("bf16", "fp8", "mxfp4xfp8", "nvfp4", "w4a16")
            },
            "fused": fit(fused, "mxfp4xfp8"),
        },
        "attention": {
            "any": fit(core, "bf16"),
            **{p: fit(core[core["phase"] == p], "bf16") for p in ("decode", "prefill")},
            **{f"mla_{p}": fit(mla[mla["phase"] == p], "bf16") for p in ("decode", "prefill")},
            **{f"gqa_{p}": fit(gqa[gqa["phase"] == p], "bf16") for p in ("decode", "prefill")},
            **{
                f"gdn_{p}": fit(rule[rule["phase"] == p], "bf16", f"gdn_{p}")
                for p in ("decode", "prefill")
            },
        },
        "indexer": {"fp8": fit(index, "fp8", "indexer")},
        "memory": memory,
    }


def fit_dense_families(
    root: Path, *, skus: dict[str, Sku]
) -> dict[str, dict[str, dict[str, FamilyFit]]]:
    """Fits to chips that have tables of dense models only, by family, path and generation.

    They come without ``generic``: chips that the fits to all generations do not see leave the
    values that other chips inherit as they are.
    """
    generation_of = {key: sku.generation for key, sku in skus.items()}

    def fit(frame: pd.DataFrame) -> dict[str, FamilyFit]:
        samples = kernel_samples(frame, skus=skus, precision="bf16")
        fits = fit_family(samples, generation_of=generation_of)
        return {name: one for name, one in fits.items() if name != "generic"}

    gemm, gqa = _gemm(root, list(skus)), _gqa(root, list(skus))
    return {
        "gemm": {"bf16": fit(gemm[gemm["path"] == "bf16"])},
        "attention": {f"gqa_{p}": fit(gqa[gqa["phase"] == p]) for p in ("decode", "prefill")},
    }


def fit_collectives(root: Path, *, skus: dict[str, Sku]) -> dict[str, dict[str, LinkFit]]:
    """Fits of all-reduce, all-gather and reduce-scatter by kind and generation."""
    generation_of = {key: sku.generation for key, sku in skus.items()}
    frame = work.collective_work(link_tables.read_collectives(root, skus=list(skus)))
    samples = collective_samples(frame[frame["group"] >= 4], skus=skus)
    return {
        str(kind): fit_links(
            rows,
            generation_of=generation_of,
            max_efficiency=2.0 if kind == "all_reduce" else 1.0,
        )
        for kind, rows in samples.groupby("kind")
        if kind != "all_to_all"
    }


def fit_all_links(root: Path, *, skus: dict[str, Sku]) -> dict[str, dict[str, LinkFit]]:
    """Fits of all collectives by kind and generation.

    Beside the kinds: named exchange kernels, and the exchange across nodes (``network``).
    """
    keys = list(skus)
    generation_of = {key: sku.generation for key, sku in skus.items()}
    fits = fit_collectives(root, skus=skus)
    exchange = work.exchange_work(link_tables.read_moe_exchange(root, skus=keys))
    exchange = exchange[exchange["hidden"] >= 4096]
    inside = exchange[exchange["nodes"] == 1]
    fits["all_to_all"] = fit_links(
        collective_samples(inside, skus=skus), generation_of=generation_of
    )
    for kernel, rows in inside.groupby("kernel"):
        fits[str(kernel)] = fit_links(
            collective_samples(rows, skus=skus), generation_of=generation_of
        )
    across = exchange[exchange["kernel"] == "deepep_ll"]
    fits["network"] = fit_links(network_samples(across, skus=skus), generation_of=generation_of)
    return fits
