"""InferenceX's aggregated results, ``agg_*.json`` and arrays of them (``agg_bmk.json``).

As ``process_result.py`` writes them (github.com/SemiAnalysisAI/InferenceX): one flat object with
latencies in seconds and rates per GPU. A single-node result has one layout, a multi-node one a
prefill and a decode pool; results before 2025-12-19 know no roles and give ``tp``, ``ep`` and
``dp_attention`` only.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from calibration.importers.results import (
    LATENCIES,
    STATISTICS,
    RunRecord,
    model_named,
    sku_named,
)
from hwmodels.sku import load_sku
from simulator.engines.labels import load_engine
from workloads.errors import UserError

if TYPE_CHECKING:
    from typing import Any

    from calibration.importers.results import BenchmarkResult

_RATES = {
    "total_tput_per_gpu": "tput_per_gpu",
    "output_tput_per_gpu": "output_tput_per_gpu",
    "input_tput_per_gpu": "input_tput_per_gpu",
}
_SPLIT_RANKS = ("pp", "dcp_size", "pcp_size")
_RANKS = ("tp", "ep", "gpus")
_UNDRAWN = ("none", "", "None", None)


def is_aggregate(data: dict[str, Any]) -> bool:
    """Whether a JSON object is an aggregated result."""
    return "hw" in data and ("tput_per_gpu" in data or "scenario_type" in data)


def read_aggregate(result: BenchmarkResult) -> RunRecord:
    """The run of an aggregated result.

    Raises
    ------
    UserError
        If the result replays agentic traces, or splits a worker in a way that the table has no
        column for, or a field is no number.
    """
    data = result.data
    if "tput_per_gpu" not in data:
        raise result.error(
            "scenario_type", f"is {data['scenario_type']}; only runs of fixed lengths are read"
        )
    fields: dict[str, object] = {
        "model": model_named(data.get("model"), data.get("infmax_model_prefix")),
        "sku": sku_named(data["hw"]),
        "engine": data.get("framework"),
        "precision": data.get("precision"),
        "speculation": "none" if data.get("spec_decoding") in _UNDRAWN else data["spec_decoding"],
        "isl": result.number("isl"),
        "osl": result.number("osl"),
        "length_distribution": "uniform_0.8",
        "concurrency": result.number("conc"),
        "kind": "single",
    }
    fields |= {name: result.number(key) for name, key in _RATES.items()}
    for statistic in STATISTICS:
        for latency in LATENCIES:
            name = f"{statistic}_{latency}"
            fields[f"{name}_s"] = result.number(name)
    layout = _in_chips(_layout(result), sku=fields["sku"])
    return RunRecord(
        fields=fields | layout,
        hints={"sku": f"hw '{data['hw']}' names no SKU of the catalogue"},
    )


def _in_chips(layout: dict[str, object], *, sku: object) -> dict[str, object]:
    """A layout in chips, where the benchmark counts several devices of a chip as ranks.

    InferenceX's ``tp`` of a TPU v7 counts TensorCores, its rates are per chip: only so do they
    agree with the speed of its users.
    """
    devices = 1 if sku is None else load_sku(str(sku)).devices_per_chip
    if devices == 1:
        return layout
    counts = {"gpus", *(f"{pool}_{name}" for pool in ("prefill", "decode") for name in _RANKS)}
    return {
        name: ceil(value / devices) if name in counts and isinstance(value, int | float) else value
        for name, value in layout.items()
    }


def _layout(result: BenchmarkResult) -> dict[str, object]:
    if result.flag("is_multinode"):
        return _pools(result)
    tp = result.number("tp")
    if "is_multinode" not in result.data and _orchestrated(result):
        # Before roles, a multi-node result carries all its GPUs as tp and nothing of its pools.
        return {"disaggregated": True, "gpus": tp}
    return _pool(result, source="", target="decode") | {
        "disaggregated": False,
        "decode_gpus": tp,
        "gpus": tp,
    }


def _orchestrated(result: BenchmarkResult) -> bool:
    try:
        return bool(load_engine(str(result.data.get("framework", ""))).orchestrator)
    except UserError:
        return False


def _pools(result: BenchmarkResult) -> dict[str, object]:
    prefill_gpus, decode_gpus = result.number("num_prefill_gpu"), result.number("num_decode_gpu")
    gpus = (prefill_gpus or 0) + (decode_gpus or 0)
    if not result.flag("disagg") or result.number("decode_num_workers") == 0:
        return _pool(result, source="prefill_", target="decode") | {
            "disaggregated": False,
            "decode_workers": result.number("prefill_num_workers"),
            "decode_gpus": gpus,
            "gpus": gpus,
        }
    return (
        _pool(result, source="prefill_", target="prefill")
        | _pool(result, source="decode_", target="decode")
        | {
            "disaggregated": True,
            "prefill_workers": result.number("prefill_num_workers"),
            "decode_workers": result.number("decode_num_workers"),
            "prefill_gpus": prefill_gpus,
            "decode_gpus": decode_gpus,
            "gpus": gpus,
        }
    )


def _pool(result: BenchmarkResult, *, source: str, target: str) -> dict[str, object]:
    for name in _SPLIT_RANKS:
        if (result.number(f"{source}{name}") or 1) > 1:
            raise result.error(
                f"{source}{name}",
                f"is {result.data[source + name]}; a table of runs has no column for it",
            )
    return {
        f"{target}_tp": result.number(f"{source}tp"),
        f"{target}_ep": result.number(f"{source}ep"),
        f"{target}_dp_attention": result.flag(f"{source}dp_attention"),
    }
