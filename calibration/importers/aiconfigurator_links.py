"""Communication tables of the ``aiconfigurator-core`` wheel, read in place.

Collectives of NCCL and of the engines, and the exchange of routed tokens between ranks; see
`calibration.importers.aiconfigurator`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.importers.aiconfigurator import gather, per_shape, read_table
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

_GPUS_PER_NODE = {"gb200": 4, "gb300": 4}
_EXCHANGE_VERSIONS = ("0.5.12", "0.5.6.post2")  # one node; up to eight nodes of H100


def read_collectives(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """NCCL collectives and the engines' own all-reduce inside CUDA graphs.

    Columns ``sku, kernel, kind, group, message_bytes, time_s``. The tables state message sizes
    in elements of two bytes, of the full tensor. Eager rows of the custom all-reduce are left
    out: they time the launch (20 to 60 µs). Repeated rows of one shape become their minimum.
    """
    import pandas as pd

    nccl = gather(root, skus=skus, family="comm", table="nccl", engines=("nccl",))
    nccl = nccl[nccl["nccl_dtype"] == "half"].assign(kernel="nccl")
    nccl["kind"] = nccl["op_name"].replace({"alltoall": "all_to_all"})
    custom = gather(root, skus=skus, family="comm", table="custom_allreduce")
    custom = custom[~custom["kernel_source"].str.contains("eager")]
    custom = custom.assign(kernel="custom", kind="all_reduce")
    frame = pd.concat([nccl, custom], ignore_index=True)
    frame = frame.assign(group=frame["num_gpus"], message_bytes=2.0 * frame["message_size"])
    keys = ["sku", "kernel", "kind", "group", "message_bytes"]
    return frame.groupby(keys)["time_s"].min().reset_index()


def read_moe_exchange(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Dispatch and combine of routed tokens.

    Columns ``sku, kernel, phase, ranks, nodes, tokens_per_rank, hidden, top_k, value_bytes,
    time_s``. Kernels: ``deepep_ll`` (low latency), ``deepep_normal`` (20 or 24 SMs) and
    ``nvlink_one_sided`` (TensorRT-LLM on GB200). ``value_bytes`` is the wire format of one
    value: FP8 with a scale per 128 values on dispatch, BF16 on combine, NVFP4 on the one-sided
    dispatch. The inter-node rows of H100 and H200 are one measurement under two names; they are
    taken once, from H200.
    """
    import pandas as pd

    shape = ["nodes", "tokens_per_rank", "hidden", "top_k"]
    keys = ["sku", "kernel", "phase", "ranks", *shape, "value_bytes"]
    parts = []
    for sku in skus:
        for version in _EXCHANGE_VERSIONS:
            for table, kernel in (("ll", "deepep_ll"), ("normal", "deepep_normal")):
                name = f"wideep_deepep_{table}"
                frame = read_table(
                    root, sku=sku, family="comm", engine="sglang", table=name, version=version
                )
                if frame is not None:
                    parts.append(_deepep(frame, kernel=kernel)[[*keys, "time_s"]])
    if "gb200" in skus:
        parts.append(_one_sided(root)[[*keys, "time_s"]])
    if not parts:
        raise UserError(f"op tables: no MoE exchange table for {', '.join(skus)} under {root}")
    frame = pd.concat(parts, ignore_index=True)
    return per_shape(frame[~((frame["sku"] == "h100") & (frame["nodes"] > 1))], keys)


def _deepep(frame: pd.DataFrame, *, kernel: str) -> pd.DataFrame:
    import pandas as pd

    frame = frame.rename(
        columns={
            "node_num": "nodes",
            "hidden_size": "hidden",
            "num_token": "tokens_per_rank",
            "num_topk": "top_k",
        }
    )
    if kernel == "deepep_normal":
        frame = frame[frame["dispatch_sms"].isin([20, 24])]
    parts = []
    for phase, value_bytes in (("dispatch", 1.0 + 4.0 / 128.0), ("combine", 2.0)):
        times = [f"{phase}_transmit_us", f"{phase}_notify_us"]
        if kernel == "deepep_ll":
            times = [f"{phase}_avg_t_us"]
        time_s = frame[times].sum(axis=1, skipna=False) * 1e-6
        gpus = frame["sku"].map(_GPUS_PER_NODE).fillna(8).astype(int)
        parts.append(
            frame.assign(
                kernel=kernel,
                phase=phase,
                ranks=gpus * frame["nodes"],
                value_bytes=value_bytes,
                time_s=time_s,
            )[time_s.notna()]
        )
    return pd.concat(parts, ignore_index=True)


def _one_sided(root: Path) -> pd.DataFrame:
    frame = read_table(root, sku="gb200", family="comm", engine="trtllm", table="trtllm_alltoall")
    if frame is None:
        raise UserError(f"op tables: no trtllm_alltoall table for gb200 under {root}")
    frame = frame[frame["kernel_source"].str.contains("OneSided")]
    phase = frame["op_name"].str.extract(r"_(dispatch|combine)$", expand=False)
    frame = frame.assign(phase=phase, kernel="nvlink_one_sided", nodes=1)
    frame = frame[frame["phase"].notna() & (frame["moe_dtype"] == "nvfp4")]
    frame["value_bytes"] = (frame["phase"] == "dispatch").map({True: 0.5625, False: 2.0})
    return frame.rename(
        columns={
            "moe_ep_size": "ranks",
            "num_tokens": "tokens_per_rank",
            "hidden_size": "hidden",
            "topk": "top_k",
        }
    )
