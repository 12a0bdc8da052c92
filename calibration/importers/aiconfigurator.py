"""Measured op tables of the ``aiconfigurator-core`` wheel, read in place.

The wheel (PyPI, NVIDIA, Apache-2.0; ``pip install 'forecurve[op-tables]'``) carries parquet
tables ``systems/data/<system>/<family>/<engine>/<version>/<table>_perf.parquet`` of kernel and
module times on NVIDIA GPUs. Nothing of it is copied: each reader below opens the tables where
they lie, drops rows that are known to be wrong, and returns one row per measured shape with the
time in seconds. FLOPs and bytes of a shape are `calibration.kernels.work`'s business.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = "aiconfigurator_core"

SYSTEM_OF_SKU = {
    "h100": "h100_sxm",
    "h200": "h200_sxm",
    "b200": "b200_sxm",
    "b300": "b300_sxm",
    "gb200": "gb200",
    "gb300": "gb300",
    "a100": "a100_sxm",
}
"""Folder of the wheel that holds each SKU's tables."""

DENSE_ONLY = ("a100",)
"""SKUs with tables of dense models only, which stay out of the fits to all generations."""

_DEVICE_OF_SKU = {
    "h100": "H100",
    "h200": "H200",
    "b200": " B200",
    "b300": " B300",
    "gb200": "GB200",
    "gb300": "GB300",
    "a100": "A100",
}
_ENGINES = ("trtllm", "sglang", "vllm")


def find_tables(root: str | Path | None = None) -> Path:
    """Folder ``systems/data`` of the installed wheel, or of an unpacked copy of it.

    Parameters
    ----------
    root:
        Folder that holds ``<system>/<family>/...``; ``None`` looks for the installed package
        without importing it.

    Raises
    ------
    UserError
        If the tables are not there.
    """
    if root is None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            raise UserError(
                "op tables: the package aiconfigurator-core is not installed; "
                "run pip install 'forecurve[op-tables]' or name the folder of its tables"
            )
        path = Path(spec.origin).parent / "systems" / "data"
    else:
        path = Path(root)
    if not any((path / system).is_dir() for system in SYSTEM_OF_SKU.values()):
        raise UserError(
            f"op tables: {path} holds none of {', '.join(SYSTEM_OF_SKU.values())}; "
            "name the folder systems/data of an aiconfigurator-core wheel"
        )
    return path


def wheel_version(root: Path) -> str:
    """Version of the wheel that a folder of tables belongs to, or ``unknown``."""
    name = "aiconfigurator_core-"
    found = [path.name for path in root.parents[2].glob(f"{name}*.dist-info")]
    return found[0].removeprefix(name).removesuffix(".dist-info") if found else "unknown"


def _version_key(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", name))


def read_table(
    root: Path, *, sku: str, family: str, engine: str, table: str, version: str | None = None
) -> pd.DataFrame | None:
    """One table as it stands, or ``None`` where the wheel has none for this SKU and engine.

    Parameters
    ----------
    root:
        From `find_tables`.
    sku:
        Key of `SYSTEM_OF_SKU`.
    family, engine, table:
        Parts of the path, such as ``gemm``, ``trtllm``, ``gemm``.
    version:
        Engine version; ``None`` takes the newest table that is not a fragment (at least a
        third of the rows of the fullest version; some releases only add a model's shapes).

    Returns
    -------
    The rows measured on the device that the folder names (a few folders hold rows of another),
    with ``sku``, ``engine``, ``version`` and ``time_s`` (from ``latency``, in ms) added. [s]

    Raises
    ------
    UserError
        If the SKU is not one of the wheel's.
    """
    import pandas as pd
    from pyarrow import parquet

    if sku not in SYSTEM_OF_SKU:
        raise unknown_name(field="sku", value=sku, known=list(SYSTEM_OF_SKU))
    base = root / SYSTEM_OF_SKU[sku] / family / engine
    paths = sorted(base.glob(f"*/{table}_perf.parquet"), key=lambda p: _version_key(p.parent.name))
    if version is not None:
        paths = [path for path in paths if path.parent.name == version]
    if not paths:
        return None
    rows = [parquet.ParquetFile(path).metadata.num_rows for path in paths]
    chosen = max(i for i, n in enumerate(rows) if 3 * n >= max(rows))
    frame = pd.read_parquet(paths[chosen])
    if "device" in frame:
        frame = frame[frame["device"].str.contains(_DEVICE_OF_SKU[sku], regex=False)]
    if frame.empty:
        return None
    frame = frame.drop(columns=["framework", "device"], errors="ignore")
    frame = frame.assign(sku=sku, engine=engine, version=paths[chosen].parent.name)
    if "latency" in frame:
        frame = frame[frame["latency"] > 0]
        frame = frame.assign(time_s=frame["latency"] * 1e-3)
    return frame


def gather(
    root: Path, *, skus: list[str], family: str, table: str, engines: tuple[str, ...] = _ENGINES
) -> pd.DataFrame:
    """`read_table` of several SKUs and engines, one below the other.

    Raises
    ------
    UserError
        If none of them has the table.
    """
    import pandas as pd

    frames = [
        frame
        for sku in skus
        for engine in engines
        if (frame := read_table(root, sku=sku, family=family, engine=engine, table=table))
        is not None
    ]
    if not frames:
        raise UserError(f"op tables: no {table} table for {', '.join(skus)} under {root}")
    return pd.concat(frames, ignore_index=True)


def per_shape(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Repeated rows of one shape become their median."""
    return frame.groupby(keys)["time_s"].median().reset_index()


def read_gemm(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Dense GEMMs.

    Columns ``sku, engine, path, m, n, k, time_s``; ``path`` is ``bf16``, ``fp8`` (128×128
    blocks, the activation quantisation included), ``fp8_tensor`` (one scale per tensor) or
    ``nvfp4``. vLLM's block-FP8 rows are left out: they were timed eagerly and show floors of 70
    to 390 µs.
    """
    paths = {"bfloat16": "bf16", "fp8_block": "fp8", "fp8": "fp8_tensor", "nvfp4": "nvfp4"}
    frame = gather(root, skus=skus, family="gemm", table="gemm")
    frame = frame.assign(path=frame["gemm_dtype"].map(paths))
    frame = frame[frame["path"].notna() & (frame["m"] > 0)]
    frame = frame[~((frame["engine"] == "vllm") & (frame["path"] == "fp8"))]
    return per_shape(frame, ["sku", "engine", "path", "m", "n", "k"])


def read_moe(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Routed experts of one rank.

    Columns ``sku, engine, kernel, path, tokens, hidden, inter, top_k, experts, moe_tp, moe_ep,
    time_s``; ``tokens`` are those of the whole expert-parallel group, the time is one rank's
    share. Only balanced routing is taken: which experts the power-law rows touch is not recorded.
    """
    paths = {
        "bfloat16": "bf16",
        "fp8_block": "fp8",
        "nvfp4": "nvfp4",
        "w4a8_mxfp4_mxfp8": "mxfp4xfp8",
        "w4a16_mxfp4": "w4a16",
        "int4_wo": "w4a16",
    }
    frame = gather(root, skus=skus, family="moe", table="moe")
    frame = frame.assign(path=frame["moe_dtype"].map(paths), kernel=frame["kernel_source"])
    gated = ~frame["kernel"].str.contains("nongated")
    frame = frame[frame["path"].notna() & gated & (frame["distribution"] == "balanced")]
    frame = frame.rename(
        columns={
            "num_tokens": "tokens",
            "hidden_size": "hidden",
            "inter_size": "inter",
            "topk": "top_k",
            "num_experts": "experts",
            "moe_tp_size": "moe_tp",
            "moe_ep_size": "moe_ep",
        }
    )
    shape = ["tokens", "hidden", "inter", "top_k", "experts", "moe_tp", "moe_ep"]
    return per_shape(frame, ["sku", "engine", "kernel", "path", *shape])


def read_mla(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Dense multi-head latent attention (DeepSeek V3, R1), core only, TensorRT-LLM.

    Columns ``sku, phase, kv_bytes_per_value, batch, context, heads, time_s``: absorbed decode of
    one token per request, or prefill of ``context`` tokens without a prefix. SGLang's rows are
    left out: on Hopper they time kernels three times slower than those it serves with.
    """
    import pandas as pd

    frames = []
    for phase, table in (("decode", "generation_mla"), ("prefill", "context_mla")):
        frame = gather(root, skus=skus, family="mla", table=table, engines=("trtllm",))
        context = frame["step"] + 1 if phase == "decode" else frame["isl"]
        value = (frame["kv_cache_dtype"] == "fp8").map({True: 1.0, False: 2.0})
        frames.append(frame.assign(phase=phase, context=context, kv_bytes_per_value=value))
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.rename(columns={"batch_size": "batch", "num_heads": "heads"})
    return per_shape(frame, ["sku", "phase", "kv_bytes_per_value", "batch", "context", "heads"])


def read_gqa(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Grouped-query attention over the whole context, heads of 128 values, core only.

    Columns ``sku, engine, phase, kv_bytes_per_value, batch, context, heads, kv_heads, time_s``:
    decode of one token per request, or prefill of ``context`` tokens without a prefix. Sliding
    windows, other head widths and FP8 arithmetic are left out.
    """
    import pandas as pd

    frames = []
    for phase, table in (("decode", "generation_attention"), ("prefill", "context_attention")):
        frame = gather(root, skus=skus, family="attention", table=table)
        context = frame["step"] + 1 if phase == "decode" else frame["isl"]
        value = (frame["kv_cache_dtype"] == "fp8").map({True: 1.0, False: 2.0})
        frames.append(frame.assign(phase=phase, context=context, kv_bytes_per_value=value))
    frame = pd.concat(frames, ignore_index=True)
    if "window_size" in frame:
        frame = frame[frame["window_size"].fillna(0) == 0]
    plain = (frame["head_dim"] == 128) & (frame["attn_dtype"].fillna("bfloat16") == "bfloat16")
    grouped = frame["num_key_value_heads"].between(1, frame["num_heads"])
    frame = frame[plain & grouped].rename(
        columns={
            "batch_size": "batch",
            "num_heads": "heads",
            "num_key_value_heads": "kv_heads",
        }
    )
    shape = ["batch", "context", "heads", "kv_heads"]
    return per_shape(frame, ["sku", "engine", "phase", "kv_bytes_per_value", *shape])


def read_quantise(root: Path, *, skus: list[str]) -> pd.DataFrame:
    """Element-wise BF16 to FP8 kernels, one scale per tensor: ``sku, engine, m, k, time_s``.

    SGLang's rows are left out: they time a call of 5 to 7 µs that moves a tenth of the bandwidth.
    """
    frame = gather(
        root, skus=skus, family="quantize", table="scale_matrix", engines=("trtllm", "vllm")
    )
    return per_shape(frame, ["sku", "engine", "m", "k"])
