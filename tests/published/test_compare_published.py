"""Published figures through ``simulate compare``: its curves, dollars and megawatts.

Nothing is simulated here: published points stand in for runs, so that what is tested is the
frontier rule, the interpolation and the arithmetic that a comparison applies to them.
"""

import numpy as np
import pandas as pd
import pytest

from simulator.studies.compare.request import build_systems
from simulator.studies.compare.sides import side_of, side_row

# InferenceX-app, gb300-nvl72-vs-gb200-nvl72-dsv4-pro-vllm-fp4.mdx (2026-05-22): DeepSeek-V4-Pro
# FP4, 8K/1K, Dynamo vLLM, disaggregated, no MTP; tok/s/user, tok/s/GPU over all GPUs, prefill
# and decode GPUs.
GB200 = (
    (74.13, 32.8, 8, 8),
    (32.69, 1613.8, 8, 32),
    (28.31, 2004.5, 8, 32),
    (24.42, 3148.0, 8, 8),
    (21.26, 5336.2, 8, 8),
    (21.60, 6036.2, 8, 8),
    (18.51, 8153.1, 16, 8),
    (15.26, 8933.0, 24, 8),
)


def runs(rows, *, output_share=1 / 9):
    """Published points as a table of runs."""
    x, y, prefill, decode = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    gpus = prefill + decode
    missing = np.full(len(rows), np.nan)
    return pd.DataFrame(
        {
            "interactivity": x,
            "median_tpot_s": 1 / x,
            "total_tput_per_gpu": y,
            "input_tput_per_gpu": y * (1 - output_share),
            "output_tput_per_gpu": y * output_share,
            "input_tput_per_prefill_gpu": y * (1 - output_share) * gpus / prefill,
            "output_tput_per_decode_gpu": y * output_share * gpus / decode,
            "total_tput_per_gpu_lo": missing,
            "total_tput_per_gpu_hi": missing,
            "median_tpot_s_lo": missing,
            "median_tpot_s_hi": missing,
            "p90_ttft_s": 1.0,
            "meets_limits": True,
            "label": [f"{p:.0f}+{d:.0f} GPUs" for p, d in zip(prefill, decode, strict=True)],
            "concurrency": 1,
            "bottleneck": "",
            "kind": "measured",
            "sku": "gb200",
            "engine": "dynamo-vllm",
        }
    )


def side(sku, rows, *, denominator="all", economics="2026-04", **options):
    system, _ = build_systems([sku, "h100"], flags={"economics": economics})
    return side_of(system, runs(rows, **options), denominator=denominator)


def test_gb200_is_reproduced_at_its_knots():
    """Exact: to 1e-12 in throughput, and in dollars and megawatts at 2.21 $/h and 2.10 kW."""
    gb200 = side("gb200", GB200)
    for x, y, prefill, decode in GB200:
        row = side_row(gb200, gb200, x=x, tier="hyperscaler")
        if (x, y) == (21.26, 5336.2):  # beaten by 6,036.2 at 21.60
            assert row["total_tput_per_gpu"] > y
            continue
        assert row["total_tput_per_gpu"] == pytest.approx(y, rel=1e-12)
        assert row["between"] == f"{prefill}+{decode} GPUs c1"
        assert row["usd_per_million_tokens"] == pytest.approx(2.21e6 / 3600 / y, rel=1e-12)
        assert row["tokens_per_s_per_mw"] == pytest.approx(y / 2.10e-3, rel=1e-12)


@pytest.mark.parametrize("x", [74.2, 150.0])
def test_gb200_is_unreachable_beyond_its_points(x):
    gb200 = side("gb200", GB200)
    assert not side_row(gb200, gb200, x=x, tier="hyperscaler")["reachable"]


def test_at_a_lower_speed_than_its_points_gb200_gives_what_its_slowest_gives():
    gb200 = side("gb200", GB200)
    slow, asked = (side_row(gb200, gb200, x=x, tier="hyperscaler") for x in (15.26, 15.0))
    assert asked["total_tput_per_gpu"] == max(y for _, y, _, _ in GB200)
    moved = {name for name in asked if asked[name] != slow[name]}
    assert moved == {"interactivity"}


def test_b200_tokens_per_megawatt():
    """~300k to ~500k tok/s/MW at 50 tok/s/user and 2.17 kW are 651 to 1,085 tok/s/GPU (1 %).

    SemiAnalysis InferenceX, "B200 vLLM DeepSeek-V4-Pro" (May 2026).
    """
    early = side("b200", ((60, 500, 8, 8), (50, 651, 8, 8), (40, 800, 8, 8)))
    late = side("b200", ((60, 900, 8, 8), (50, 1085, 8, 8), (40, 1300, 8, 8)))
    row = side_row(late, early, x=50.0, tier="hyperscaler")
    assert row["tokens_per_s_per_mw"] == pytest.approx(500e3, rel=0.01)
    before = side_row(early, early, x=50.0, tier="hyperscaler")
    assert before["tokens_per_s_per_mw"] == pytest.approx(300e3, rel=0.01)
    assert row["ratio"] == row["mw_ratio"] == pytest.approx(500 / 300, rel=0.01)


def test_gb300_dollars_per_million_output_tokens_on_both_denominators():
    """$0.156 at 2.652 $/h is 4,722 output tok/s per decode GPU; over all GPUs it is dearer.

    SemiAnalysis InferenceX blog (May 2026): GB300, MTP, 8k/1k, 50 tok/s/user. The pools are
    assumed here (16 prefill, 8 decode GPUs); their ratio is what the two denominators differ by.
    """
    output_per_gpu = 4722.0 * 8 / 24
    rows = ((60, 8000.0, 16, 8), (50, output_per_gpu * 9, 16, 8), (40, 16000.0, 16, 8))
    pool = side("gb300", rows, denominator="pool")
    row = side_row(pool, pool, x=50.0, tier="hyperscaler")
    assert row["output_tput_per_gpu"] == pytest.approx(4722.0, rel=1e-12)
    assert round(row["usd_per_million_output_tokens"], 3) == 0.156
    every = side("gb300", rows)
    row = side_row(every, every, x=50.0, tier="hyperscaler")
    assert row["usd_per_million_output_tokens"] == pytest.approx(3 * 2.652e6 / 3600 / 4722.0)
