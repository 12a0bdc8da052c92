"""What a measured run is called: its layout, series, sweep and frontier, and who may learn from it.

Keys are readable text. They leave out what differs between sources of one label, so that such
rows never fall on two sides of a split; blank expert parallelism counts as 1 and blank attention
data parallelism as none, and the number of drafts, rarely recorded, is left out.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from workloads.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

Split = Literal["structure", "held"]


def deployment_text(row: Mapping[str, object]) -> str:
    """InferenceX's label of the pools of a run: ``TP8``, ``1xDEP8+6xTP8``; ``?`` where unknown."""
    if not row["disaggregated"]:
        return _pool_text(row, "decode", counted=False)
    return "+".join(_pool_text(row, prefix, counted=True) for prefix in ("prefill", "decode"))


def _pool_text(row: Mapping[str, object], prefix: str, *, counted: bool) -> str:
    tp = _whole(row[f"{prefix}_tp"])
    gpus = _whole(row[f"{prefix}_gpus"])
    workers = _whole(row[f"{prefix}_workers"]) or (gpus // tp if gpus and tp else None)
    ep = _whole(row[f"{prefix}_ep"]) or 1
    ranks = gpus // workers if gpus and workers else tp
    if ranks is None:
        return f"{gpus or '?'} GPUs"
    # A tensor parallel degree below the ranks of a worker means that attention is data parallel.
    dp_attention = bool(row[f"{prefix}_dp_attention"]) or (tp is not None and tp < ranks)
    try:
        label = Layout(tp=ranks, ep=ep, dp_attention=dp_attention).label
    except ValueError:
        label = f"{ranks} ranks EP{ep}"
    if counted:
        return f"{workers or '?'}x{label}"
    return label if workers in (None, 1) else f"{workers}x{label}"


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, float | int) and value == value else None


def sweep_key(row: Mapping[str, object]) -> str:
    """One concurrency sweep: model, SKU, engine, precision, speculation, disaggregated, lengths.

    All layouts that a sweep goes through, and all sources of it, share the key.
    """
    pools = "disaggregated" if row["disaggregated"] else "aggregated"
    isl, osl = _whole(row["isl"]), _whole(row["osl"])
    lengths = f"{isl}/{osl}" if isl and osl else str(row["length_distribution"])
    names = (row["model"], row["sku"], row["engine"], row["precision"], row["speculation"])
    return " ".join(str(name) or "?" for name in (*names, pools, lengths))


def series_key(row: Mapping[str, object]) -> str:
    """One layout of a sweep: the label of a run without its concurrency, date and source."""
    gpus = _whole(row["gpus"])
    return f"{sweep_key(row)} {deployment_text(row)} on {gpus or '?'}"


def frontier_key(row: Mapping[str, object]) -> str:
    """One published frontier: a sweep as one source measured it."""
    return f"{sweep_key(row)} by {row['source']}"


def split_of(key: str) -> Split:
    """Whether a series serves to choose structure and priors (two thirds) or is held back.

    Decided by SHA-256 of the key, so that the split is the same everywhere and forever.
    """
    return "held" if int(hashlib.sha256(key.encode()).hexdigest(), 16) % 3 == 0 else "structure"
