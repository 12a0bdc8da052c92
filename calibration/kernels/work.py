"""FLOPs, bytes and launches behind each row of a measured kernel table.

The counts are those of the cost models (`workloads.models`): the same bytes of weights and
activations per path, the same launches per operation, so that a fitted efficiency means the same
in both places. Each function takes a frame of `calibration.importers.aiconfigurator` and returns
it with ``flops`` [FLOP], ``hbm_bytes`` [B] and ``kernels`` [launches] added (collectives and
exchanges: bytes on the links [B]).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workloads.models.kernels import KERNELS
from workloads.models.kv_bytes import ENTRY_BYTES, INDEX_KEY_BYTES
from workloads.models.linear_attention import chunked_bytes, chunked_flops, recurrent_flops
from workloads.models.parts import BF16_BYTES
from workloads.models.precision import ACTIVATION_BYTES, WEIGHT_BYTES, quantises

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

HEAD_DIM = 512
WINDOW = 128
MLA_ENTRY = 576
GQA_HEAD_DIM = 128
INDEX_WIDTH = 64 * 128
FP32_BYTES = 4.0
_PER_TENSOR = {"fp8_tensor": "fp8"}


def _by_path(frame: pd.DataFrame, table: dict[str, float]) -> npt.NDArray[np.float64]:
    return np.asarray(frame["path"].replace(_PER_TENSOR).map(table), dtype=float)


def _quantising(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    return np.asarray([float(quantises(path)) for path in frame["path"]])


def gemm_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Dense GEMM ``[m, k] x [k, n]``, as `workloads.models.parts.gemm` counts it."""
    value, quantise = _by_path(frame, ACTIVATION_BYTES), _quantising(frame)
    input_bytes = np.where(quantise > 0, 2.0 * value + BF16_BYTES, value)
    activation_bytes = frame["m"] * (frame["k"] * input_bytes + frame["n"] * BF16_BYTES)
    return frame.assign(
        flops=2.0 * frame["m"] * frame["n"] * frame["k"],
        hbm_bytes=_by_path(frame, WEIGHT_BYTES) * frame["n"] * frame["k"] + activation_bytes,
        kernels=KERNELS["gemm"] + quantise * KERNELS["quantise"],
    )


def moe_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Gated experts of one rank under balanced routing, as `workloads.models.moe` counts them.

    A rank holds ``E / ep`` experts and computes ``T k / ep`` of the ``T k`` token-expert pairs,
    spread over as many experts as there are pairs. The two grouped GEMMs are the fitted part;
    ``memory_bytes`` and ``memory_kernels`` are those of the kernels around them (quantise,
    permute, activation, weighted sum), which the memory family times. All ``T`` tokens of the
    group are quantised and summed on every rank.
    """
    local = frame["experts"] / frame["moe_ep"]
    pairs = np.maximum(frame["tokens"] * frame["top_k"] / frame["moe_ep"], 1.0)
    touched = np.minimum(local, pairs)
    width, hidden = frame["inter"] / frame["moe_tp"], frame["hidden"]
    value, quantise = _by_path(frame, ACTIVATION_BYTES), _quantising(frame)
    expert_bytes = _by_path(frame, WEIGHT_BYTES) * 3.0 * hidden * width
    mid, out = 2.0 * width * BF16_BYTES, hidden * BF16_BYTES
    per_token = hidden * quantise * (BF16_BYTES + value) + out
    return frame.assign(
        flops=6.0 * pairs * hidden * width,
        hbm_bytes=touched * expert_bytes + pairs * ((hidden + width) * value + mid + out),
        kernels=2.0 * KERNELS["gemm"],
        memory_bytes=pairs * (2.0 * hidden * value + mid + width * value + out)
        + frame["tokens"] * per_token,
        memory_kernels=KERNELS["experts.permute"]
        + KERNELS["experts.activation"]
        + KERNELS["experts.reduce"]
        + quantise * KERNELS["quantise"],
        tokens_per_expert=pairs / touched,
    )


def mega_moe_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Fused MegaMoE under balanced routing, as ``experts.fused`` of `workloads.models.moe`.

    The quantisation before it is ``memory_bytes`` and ``memory_kernels``. ``wire_bytes`` leave
    the rank: FP8 dispatch with a scale per 32 values and BF16 combine of each token-expert pair,
    ``(ep - 1) / ep`` of them to other ranks.
    """
    value = ACTIVATION_BYTES["mxfp4xfp8"]
    pairs = 1.0 * frame["tokens_per_rank"] * frame["top_k"]
    touched = np.minimum(frame["experts"] / frame["ep"], pairs)
    hidden, width = frame["hidden"], frame["inter"]
    expert_bytes = WEIGHT_BYTES["mxfp4xfp8"] * 3.0 * hidden * width
    per_pair = hidden * value + 2.0 * width * value + hidden * BF16_BYTES
    remote = (frame["ep"] - 1.0) / frame["ep"]
    return frame.assign(
        flops=6.0 * pairs * hidden * width,
        hbm_bytes=touched * expert_bytes + pairs * per_pair,
        wire_bytes=pairs * remote * hidden * (value + BF16_BYTES),
        kernels=float(KERNELS["experts.fused"]),
        memory_bytes=frame["tokens_per_rank"] * hidden * (BF16_BYTES + value),
        memory_kernels=float(KERNELS["quantise"]),
        tokens_per_expert=pairs / touched,
    )


def _entries(frame: pd.DataFrame, *, ratio: int) -> npt.NDArray[np.float64]:
    """Compressed entries seen by the new tokens of one request, summed over them.

    ``floor(n / r)`` for ``n = prefix + 1 .. prefix + queries``.
    """

    def total(n: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        q = n // ratio
        return np.asarray(ratio * q * (q - 1) / 2.0 + q * (n - ratio * q + 1))

    prefix = frame["prefix"].to_numpy(float)
    return total(prefix + frame["queries"].to_numpy(float)) - total(prefix)


def _windows(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Window entries seen by the new tokens of one request, summed over them."""

    def total(n: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        inside = np.minimum(n, WINDOW)
        return np.asarray(inside * (inside + 1) / 2.0 + (n - inside) * WINDOW)

    prefix = frame["prefix"].to_numpy(float)
    return total(prefix + frame["queries"].to_numpy(float)) - total(prefix)


def attention_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Sparse attention core over the window and ``n / 128`` compressed entries.

    As `workloads.models.deepseek_v4_attention` counts it: prefill dequantises to a workspace.
    """
    decode = frame["queries"] == 1
    context = frame["prefix"] + frame["queries"]
    window = np.minimum(context, WINDOW - 1 + frame["queries"])
    workspace = np.where(decode, 0.0, 2.0 * HEAD_DIM * BF16_BYTES)
    width = frame["heads"] * HEAD_DIM
    return frame.assign(
        flops=4.0 * width * frame["batch"] * (_windows(frame) + _entries(frame, ratio=128)),
        hbm_bytes=frame["batch"]
        * (
            (window + context // 128) * (ENTRY_BYTES["fp8_ds_mla"] + workspace)
            + frame["queries"] * 2.0 * width * BF16_BYTES
        ),
        kernels=np.where(decode, KERNELS["core.decode"], KERNELS["core.prefill"]),
        phase=np.where(decode, "decode", "prefill"),
    )


def mla_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Dense latent attention, as `workloads.models.latent_attention` counts it.

    Decode is absorbed, ``2 h (576 + 512)`` FLOP per entry; prefill is multi-head and causal,
    ``2 h (192 + 128)`` per query and key.
    """
    decode = frame["phase"] == "decode"
    n, heads = frame["context"], frame["heads"]
    tokens = frame["batch"] * np.where(decode, 1, n)
    pairs = frame["batch"] * np.where(decode, n, n * (n + 1) / 2.0)
    kv_bytes = frame["batch"] * n * MLA_ENTRY * frame["kv_bytes_per_value"]
    up_bytes = np.where(decode, 0.0, 2.0 * frame["batch"] * n * heads * 256.0 * BF16_BYTES)
    per_head = np.where(decode, 1088.0, 320.0)
    return frame.assign(
        flops=2.0 * heads * per_head * pairs,
        hbm_bytes=kv_bytes + up_bytes + tokens * heads * per_head * BF16_BYTES,
        kernels=np.where(decode, KERNELS["core.decode"], KERNELS["core.prefill"]),
    )


def gqa_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Grouped-query attention, as `workloads.models.gqa_attention` counts it.

    ``4 h d`` FLOP per query and key; keys and values are read once for all heads of a group.
    """
    decode = frame["phase"] == "decode"
    n, heads = frame["context"], frame["heads"]
    tokens = frame["batch"] * np.where(decode, 1, n)
    pairs = frame["batch"] * np.where(decode, n, n * (n + 1) / 2.0)
    entry = 2.0 * frame["kv_heads"] * GQA_HEAD_DIM * frame["kv_bytes_per_value"]
    width = heads * GQA_HEAD_DIM
    return frame.assign(
        flops=4.0 * width * pairs,
        hbm_bytes=frame["batch"] * n * entry + tokens * (2.0 * width * BF16_BYTES),
        kernels=("core.gqa_" + frame["phase"]).map(KERNELS),
    )


def delta_net_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Convolution and delta rule, as `workloads.models.linear_attention` counts them.

    A request's FP32 state is read and written once in either phase.
    """
    decode = frame["phase"] == "decode"
    rule = frame["part"] == "rule"
    tokens = frame["batch"] * np.where(decode, 1, frame["length"])
    keys, values = (frame[f"{of}_heads"] * frame[f"{of}_dim"] for of in ("key", "value"))
    channels, taps = 2.0 * keys + values, frame["taps"]
    k, v = frame["key_dim"].to_numpy(float), frame["value_dim"].to_numpy(float)
    chunked = chunked_bytes(key_dim=k, value_dim=v)
    head_bytes = np.where(decode, 2.0 * v * BF16_BYTES, chunked)
    head_flops = np.where(
        decode, recurrent_flops(key_dim=k, value_dim=v), chunked_flops(key_dim=k, value_dim=v)
    )
    state_bytes = 2.0 * frame["batch"] * values * frame["key_dim"] * FP32_BYTES
    rule_bytes = tokens * (frame["value_heads"] * head_bytes + 2.0 * keys * BF16_BYTES)
    conv_bytes = 2.0 * channels * BF16_BYTES * (tokens + frame["batch"] * (taps - 1.0))
    return frame.assign(
        flops=tokens * np.where(rule, frame["value_heads"] * head_flops, 2.0 * taps * channels),
        hbm_bytes=np.where(rule, rule_bytes + state_bytes, conv_bytes),
        kernels=np.where(rule, ("core.gdn_" + frame["phase"]).map(KERNELS), KERNELS["gdn.conv"]),
    )


def indexer_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Indexer scores with FP8 keys: 16,384 FLOP and one FP32 score per query and key."""
    scored = frame["batch"] * _entries(frame, ratio=4)
    keys = frame["batch"] * ((frame["prefix"] + frame["queries"]) // 4)
    return frame.assign(
        flops=2.0 * INDEX_WIDTH * scored,
        hbm_bytes=keys * INDEX_KEY_BYTES["fp8"] + scored * FP32_BYTES,
        kernels=float(KERNELS["index_score"]),
    )


def mhc_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Hyper-connections of both sites of a layer.

    ``18 d`` bytes a token and site, before the block (mixing) and again after it (residual
    update).
    """
    part = "mhc." + frame["part"]
    return frame.assign(
        flops=0.0,
        hbm_bytes=2.0 * 18.0 * frame["tokens"] * frame["hidden"],
        kernels=2.0 * part.map(KERNELS),
    )


def quantise_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Element-wise kernel: BF16 read, FP8 written."""
    return frame.assign(
        flops=0.0,
        hbm_bytes=(BF16_BYTES + 1.0) * frame["m"] * frame["k"],
        kernels=float(KERNELS["quantise"]),
    )


def top_k_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Selection over FP32 scores, each read once; indices written."""
    scored = frame["batch"] * _entries(frame, ratio=4)
    selected = frame["model"].map({"pro": 1024.0, "flash": 512.0})
    queries = frame["batch"] * frame["queries"]
    return frame.assign(
        flops=0.0,
        hbm_bytes=FP32_BYTES * (scored + queries * selected),
        kernels=float(KERNELS["top_k"]),
    )


def collective_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Bytes that cross a rank's links, ``wire_bytes``.

    ``2 (g-1)/g m`` for an all-reduce, else ``(g-1)/g m`` (nccl-tests, PERFORMANCE.md).
    """
    share = (frame["group"] - 1.0) / frame["group"]
    factor = np.where(frame["kind"] == "all_reduce", 2.0, 1.0)
    return frame.assign(wire_bytes=factor * share * frame["message_bytes"])


def exchange_work(frame: pd.DataFrame) -> pd.DataFrame:
    """Dispatch or combine, one message per token-expert pair to uniformly spread ranks.

    ``wire_bytes`` go to the other ranks of the scale-up domain, ``network_bytes`` to other
    domains.
    """
    message = frame["tokens_per_rank"] * frame["top_k"] * frame["hidden"] * frame["value_bytes"]
    inside = frame["ranks"] / frame["nodes"]
    return frame.assign(
        message_bytes=message,
        wire_bytes=message * (inside - 1.0) / frame["ranks"],
        network_bytes=message * (frame["ranks"] - inside) / frame["ranks"],
    )
