"""Public AgentX runs: which system, layout and settings each row is of.

``measured.csv`` holds published runs, third-party repetitions and vendors' figures of InferenceX
AgentX with their sources; a figure that a source does not state is blank.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

FIGURES = (
    *("total_tok_s_gpu", "out_tok_s_gpu", "ttft_p50_s", "ttft_p90_s", "itl_p90_ms"),
    *("requests", "gpu_hit", "host_hit"),
)
"""Columns that a prediction has a counterpart of."""

_ENGINES = {
    **{name: name for name in ("vllm", "sglang", "atom", "dynamo-sglang")},
    "dynamo-trtllm": "dynamo-trt",
    "vllm+lmcache": "vllm",
}
_SPLIT = re.compile(r"^(\d+)P(\d+)D\b")
_DSPARK_LENGTH = 3.61
"""Forced length of DSpark with five drafts where a row states none. [tokens/step]"""
_DRAFTS = {"kimi-k3": "dspark:7"}
"""Drafts of rows that state an acceptance length alone: the model's published DSpark module
(Inferact/Kimi-K3-DSpark, block of eight)."""
_FOUR_BITS = ("glm-5.2", "minimax-m3", "qwen3.5")
_FOUR_BIT_CHIPS = ("b200", "b300", "gb200", "gb300", "mi355x")
"""Models whose agentic runs on chips with four-bit units take the NVFP4 or MXFP4 checkpoint."""

_LAYOUT = re.compile(r"^(TP(\d+)DP\d+EP\d+|DEP(\d+)|DPA(\d+)\+EP\d+|DPA?(\d+)|TP(\d+))")


@dataclass(frozen=True, kw_only=True)
class MeasuredRow:
    """One published run.

    Parameters
    ----------
    name, title, kind, source:
        Identity, system and layout in words, class and public source.
    settings:
        What simulates it: ``system``, ``concurrency`` and settings of a scenario.
    kv_offload, protocol:
        Host memory, ``None``: the recipe's; and the client's rules.
    figures:
        Measured figures by the columns of `FIGURES`.
    skipped:
        Why it cannot be simulated; empty if it can.
    """

    name: str
    title: str
    kind: str
    source: str
    settings: dict[str, Any]
    kv_offload: str | None
    protocol: str
    figures: dict[str, float]
    skipped: str

    @property
    def hit_total(self) -> float | None:
        """Share of prompt tokens from device and host; ``None`` where not published. [-]"""
        device = self.figures.get("gpu_hit")
        return None if device is None else device + self.figures.get("host_hit", 0.0)


def measured_rows() -> list[MeasuredRow]:
    """All rows of ``measured.csv``."""
    path = Path(str(resources.files("calibration") / "agentx" / "measured.csv"))
    with path.open(encoding="utf-8", newline="") as stream:
        return [_row(row) for row in csv.DictReader(stream)]


def _row(row: dict[str, str]) -> MeasuredRow:
    figures = {name: float(row[name]) for name in FIGURES if row[name]}
    if "itl_p90_ms" not in figures and row["intvty_p90"]:
        figures["itl_p90_ms"] = 1000.0 / float(row["intvty_p90"])
    engine = _ENGINES.get(row["engine"].split(" ")[0])
    layout = _layout(row["layout"], gpus=row["gpus"])
    skipped = ""
    if row["class"] in ("agentx-perMW", "agentx-extreme", "agentx-other", "agentx-stratum"):
        skipped = f"class {row['class']} has no run of its own"
    elif not row["conc"] or not row["sku"] or row["sku"] == "unknown":
        skipped = "sessions or hardware are not stated"
    elif engine is None:
        skipped = f"engine {row['engine'] or 'not stated'} is not simulated here"
    elif layout is None:
        skipped = f"layout {row['layout'] or 'not stated'} is none"
    settings: dict[str, Any] = {}
    if not skipped and layout is not None:
        settings = {
            "system": f"{row['sku']}:{engine}",
            "model": row["model"],
            "concurrency": (int(row["conc"]),),
            **layout,
        }
        if ":" in row["spec"]:
            settings["spec"] = row["spec"]
        elif row["spec"] == "dspark":
            settings |= {"spec": "dspark:5", "acceptance_length": _DSPARK_LENGTH}
        elif row["al"] and row["model"] in _DRAFTS:
            settings["spec"] = _DRAFTS[row["model"]]
        if row["al"]:
            settings["acceptance_length"] = float(row["al"])
        if row["model"] in _FOUR_BITS and row["sku"] in _FOUR_BIT_CHIPS:
            settings["precision"] = "fp4"
    return MeasuredRow(
        name=row["id"],
        title=f"{row['sku']} {row['engine']} {row['layout']} {row['model']}",
        kind=row["class"],
        source=row["source"],
        settings=settings,
        kv_offload=_kv_offload(row["offload"]),
        protocol=_protocol(row),
        figures=figures,
        skipped=skipped,
    )


def _kv_offload(text: str) -> str | None:
    """Host memory of a row: none, an eighth where the launcher gave that, else the recipe's.

    Until InferenceX PR 2622 the launcher of B300 gave each rank's bytes where vLLM divides again.
    """
    if "1/8 effective" in text:
        return "cpu:356GB"
    return "none" if text == "none" else None


def _protocol(row: dict[str, str]) -> str:
    """The client of a row's day: sessions' pauses were shortened to 10 s before August 2026."""
    if row["duration_s"] in ("600", "900", "1200"):
        return f"agentx-fast:{row['duration_s']}"
    return "agentx-2026-07" if row["date"] < "2026-08" else "agentx"


def _layout(text: str, *, gpus: str) -> dict[str, Any] | None:
    if text.startswith("decode cap"):
        return {}  # of the recipe, which was run with these sessions
    split = _SPLIT.match(text)
    if split is not None and gpus:
        prefill, decode = (int(count) for count in split.groups())
        ranks = int(gpus) // (prefill + decode)
        return {"prefill": prefill, "decode": decode, "tp": ranks, "ep": 1, "dp_attention": False}
    match = _LAYOUT.match(text)
    if match is None:
        return None
    label, joint, expert, attention, data, tensor = match.groups()
    del label
    if tensor:
        return {"tp": int(tensor), "ep": 1, "dp_attention": False}
    if data:
        return {"tp": int(data), "ep": 1, "dp_attention": True}
    ranks = int(joint or expert or attention)
    return {"tp": ranks, "ep": ranks, "dp_attention": True}
