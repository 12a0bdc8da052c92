"""Measured op tables of linear attention in the ``aiconfigurator-core`` wheel, read in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.importers.aiconfigurator import gather, per_shape

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

_PARTS = {"causal_conv1d": "conv", "gated_delta_rule": "rule"}


def read_delta_net(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Convolution and gated delta rule of one layer (Qwen3.5), core only.

    Columns ``sku, engine, part, phase, batch, length, key_heads, key_dim, value_heads, value_dim,
    taps, time_s``: ``part`` is ``conv`` or ``rule``, ``phase`` ``decode`` of one token per request
    or ``prefill`` of ``length`` tokens per request.
    """
    frame = gather(root, skus=skus, family="linear_attention", table="gdn")
    kernel = frame["kernel_source"]
    part = sum(
        (kernel.str.contains(name).map({True: short, False: ""}) for name, short in _PARTS.items()),
        start=kernel.str.slice(0, 0),
    )
    frame = frame.assign(
        part=part,
        phase=frame["phase"].map({"generation": "decode", "context": "prefill"}),
    )
    frame = frame.rename(
        columns={
            "batch_size": "batch",
            "seq_len": "length",
            "num_k_heads": "key_heads",
            "head_k_dim": "key_dim",
            "num_v_heads": "value_heads",
            "head_v_dim": "value_dim",
            "d_conv": "taps",
        }
    )
    shape = ["batch", "length", "key_heads", "key_dim", "value_heads", "value_dim", "taps"]
    return per_shape(frame, ["sku", "engine", "part", "phase", *shape])
