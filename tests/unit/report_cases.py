"""Small made-up runs for tests of reports: two curves with bands, prices and every metric."""

import json

import numpy as np
import pandas as pd

from simulator.version import version

# interactivity, throughput, label and p90 TTFT; the last two of each are dominated
CURVES = {
    "mi355x": [
        (10.0, 3000.0, "DEP8", 9.0),
        (20.0, 2000.0, "DEP8", 4.0),
        (40.0, 900.0, "TEP8", 1.0),
        (60.0, 200.0, "TP8", 0.5),
        (15.0, 1200.0, "TEP8", 2.0),
        (35.0, 300.0, "DEP8", 3.0),
    ],
    "b200": [
        (12.0, 2500.0, "2xDEP8+1xDEP8", 6.0),
        (30.0, 1500.0, "TEP8", 1.5),
        (75.0, 250.0, "TP4", 0.4),
        (18.0, 700.0, "TP4", 0.9),
        (25.0, 500.0, "TEP8", 0.9),
    ],
}
BAND = (0.8, 1.3)
USD_PER_GPU_HOUR, KW = 1.8, 2.0


def curve_points(sku, **changes):
    """Points of one SKU in the columns of a sweep."""
    x, y, labels, p90 = (np.array(column) for column in zip(*CURVES[sku], strict=True))
    x, y, p90 = x.astype(float), y.astype(float), p90.astype(float)
    low, high = BAND
    rows = {
        "sku": sku,
        "model": "deepseek-v4-pro",
        "engine": "sglang" if sku == "mi355x" else "vllm",
        "level": "sglang@2026-05-21" if sku == "mi355x" else "vllm@2026-05-17",
        "precision": "fp4",
        "spec": "none",
        "isl": 8192,
        "osl": 1024,
        "disagg": ["+" in label for label in labels],
        "recipe": "recorded",
        "label": labels,
        "concurrency": [2**n for n in range(len(x))],
        "gpus": [24 if "+" in label else int(label[-1]) for label in labels],
        "interactivity": x,
        "median_tpot_s": 1 / x,
        "median_tpot_s_lo": 1 / x * low,
        "median_tpot_s_hi": 1 / x * high,
        "total_tput_per_gpu": y,
        "total_tput_per_gpu_lo": y * low,
        "total_tput_per_gpu_hi": y * high,
        "input_tput_per_gpu": y * 8 / 9,
        "output_tput_per_gpu": y / 9,
        "median_ttft_s": p90 / 2,
        "median_ttft_s_lo": p90 / 4,
        "median_ttft_s_hi": p90,
        "p90_ttft_s": p90,
        "p99_ttft_s": p90 * 1.5,
        "median_e2el_s": p90 / 2 + 1023 / x,
        "usd_per_million_tokens": USD_PER_GPU_HOUR * 1e6 / 3600 / y,
        "tokens_per_s_per_mw": y / KW * 1e3,
        "bottleneck": "decode: HBM bandwidth",
        "kind": "calibrated",
        "on_frontier": [True] * (len(x) - 2) + [False] * 2,
        "meets_limits": True,
        "economics": "2026-09",
        "series": f"{sku.upper()} curve",
    }
    return pd.DataFrame({**rows, **changes})


def write_run(path, *, skus=("mi355x",), summary=None, **changes):
    """A directory as ``simulate sweep`` leaves it."""
    path.mkdir()
    tables = [curve_points(sku, **changes) for sku in skus]
    pd.concat(tables, ignore_index=True).to_csv(path / "points.csv", index=False)
    told = {
        "generator": f"forecurve {version()}",
        "simulated": True,
        "caption": f"deepseek-v4-pro FP4 on {', '.join(skus)}, simulated by forecurve {version()}",
        "settings": {
            "sku": {"value": list(skus), "origin": "flag"},
            "isl": {"value": 8192, "origin": "default"},
            "ttft_p90_s": {"value": None, "origin": "default"},
        },
        "refused": [
            {
                "series": "B200 curve",
                "label": "TP1",
                "reason": "TP1 does not fit\n  usable  1 GB\n  weights -2 GB",
            }
        ],
        "messages": ["no recipe: that of b200 stands in"],
    }
    text = json.dumps(told | (summary or {}))
    (path / "summary.json").write_text(text, encoding="utf-8")
    return path


def measured_runs(**changes):
    """Two measured runs of the MI355X in the columns of the measured table, one with MTP."""
    rows = {
        "model": "deepseek-v4-pro",
        "sku": "mi355x",
        "engine": "sglang",
        "precision": "fp4",
        "speculation": ["none", "mtp"],
        "disaggregated": False,
        "layout": ["TP8", "DEP8"],
        "decode_gpus": 8.0,
        "gpus": 8.0,
        "isl": 8192.0,
        "osl": 1024.0,
        "concurrency": [16.0, 64.0],
        "date": "2026-05-20",
        "quality": "ok",
        "source": "own.csv",
        "median_tpot_s": [1 / 22, 1 / 50],
        "mean_tpot_s": np.nan,
        "median_ttft_s": [np.nan, 0.7],
        "total_tput_per_gpu": [1800.0, 800.0],
        "output_tput_per_gpu": [200.0, np.nan],
    }
    return pd.DataFrame({**rows, **changes})
