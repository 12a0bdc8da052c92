"""Runs that ask for more than their GPUs can give at peak are suspect, by closed forms."""

import pandas as pd
import pytest

from calibration.measured.physics import beyond_peak, near_peak, peak_flops, peak_shares
from calibration.measured.runs import load_measured
from calibration.measured.selection import NEAR_PEAK_TRUST, select_for_fit
from calibration.pages.accuracy_plots import accuracy_figure
from hwmodels.sku import load_sku

RUN = {
    "model": "llama-3.1-8b",
    "sku": "h200",
    "precision": "fp8",
    "speculation": "none",
    "drafts": float("nan"),
    "acceptance_length": float("nan"),
    "disaggregated": False,
    "prefill_gpus": float("nan"),
    "decode_gpus": 1.0,
    "decode_workers": 1.0,
    "gpus": 1.0,
    "concurrency": 64.0,
}


def shares(*, rate=10.0, prompt=1000.0, output=100.0, tpot_s=0.01, **changes):
    frame = pd.DataFrame([RUN | changes])

    def column(value):
        return pd.Series([value], dtype=float)

    return peak_shares(
        frame,
        requests_per_s=column(rate),
        inputs=column(prompt),
        outputs=column(output),
        tpot_s=column(tpot_s),
    ).iloc[0]


def test_flops_are_two_a_parameter_and_token_and_the_attention_of_the_prompt():
    # Llama 3.1 8B: 6.98 G parameters in its layers; QK' and PV over half the prompt: 4 h d n / 2
    layers = 32 * (4096 * (4096 + 2 * 1024 + 4096) + 3 * 4096 * 14336)
    prompt = 1000 * (2 * layers + 32 * 4 * 4096 * 1000 / 2)
    head = 2 * 4096 * 128256
    output = 100 * (2 * layers + head + 32 * 4 * 4096 * 1050)
    said = shares(rate=10.0)["flops"]
    assert said == pytest.approx(10.0 * (prompt + output) / 1979e12, rel=0.02)
    assert shares(rate=20.0)["flops"] == pytest.approx(2 * said)
    assert shares(rate=10.0, gpus=2.0, decode_gpus=2.0)["flops"] == pytest.approx(said / 2)


def test_every_decode_step_reads_the_weights_and_the_entries_of_its_requests():
    alone = shares(rate=1.0, output=100.0, tpot_s=0.01)
    # 99 steps of 10 ms a second: one request decodes 99 % of the time
    weights = 8.03e9 - 4096 * 128256
    entries = 1050 * 32 * 2 * 1024
    assert alone["hbm"] == pytest.approx(0.99 * (weights + entries) / 0.01 / 4.8e12, rel=0.01)
    many = shares(rate=32.0, output=101.0, tpot_s=0.01)
    assert many["hbm"] == pytest.approx((weights + 32 * entries) / 0.01 / 4.8e12, rel=0.02)
    assert many["both"] == pytest.approx(many["flops"] + 32 * entries / 0.01 / 4.8e12, rel=0.02)


def test_accepted_drafts_spare_steps():
    plain = shares(rate=1.0)["hbm"]
    drafted = shares(rate=1.0, speculation="mtp", drafts=3.0)["hbm"]
    assert drafted == pytest.approx(plain / 4)
    stated = shares(rate=1.0, speculation="mtp", drafts=3.0, acceptance_length=2.0)["hbm"]
    assert stated == pytest.approx(plain / 2)


def test_prompts_of_a_disaggregated_run_are_the_work_of_its_prefill_gpus():
    pools = {"disaggregated": True, "gpus": 8.0, "prefill_gpus": 1.0, "decode_gpus": 7.0}
    whole = shares(rate=50.0, output=1.0, gpus=1.0)["flops"]
    assert shares(rate=50.0, output=1.0, **pools)["flops"] == pytest.approx(whole, rel=0.02)


def test_experts_count_from_below_and_as_under_uniform_routing():
    run = {"model": "deepseek-v3.2", "sku": "mi355x", "gpus": 4.0, "decode_gpus": 4.0}
    said = shares(rate=0.6, output=8192.0, tpot_s=0.01, **run)
    assert said["hbm"] < 0.5 * said["hbm_uniform"]


def test_the_fastest_format_that_the_label_and_the_chip_allow_is_the_peak():
    h200, b200 = load_sku("h200"), load_sku("b200")
    assert peak_flops("h200", label="fp4") == h200.flops_fp8
    assert peak_flops("h200", label="bf16") == h200.flops_bf16
    assert peak_flops("b200", label="fp8") == b200.flops_fp8
    assert peak_flops("b200", label="") == b200.flops_fp4


def test_runs_beyond_a_peak_are_told_from_runs_near_it():
    names = ["flops", "hbm", "hbm_uniform", "both"]
    table = pd.DataFrame(
        [
            [1.2, 0.1, 0.1, 1.3],
            [0.95, 0.1, 0.1, 0.97],
            [0.1, 0.4, 1.3, 0.2],
            [0.8, 0.89, 0.9, 0.9],
            [float("nan")] * 4,
        ],
        columns=names,
    )
    beyond, near = beyond_peak(table), near_peak(table)
    assert list(beyond.index) == [0]
    assert beyond[0] == "asks for 120 % of peak FLOP/s"
    assert sorted(near.index) == [1, 2]
    assert near[1] == "asks for 95 % of peak FLOP/s"
    assert "130 %" in near[2]
    assert "evenly" in near[2]


def test_published_runs_beyond_physics_stay_out_and_those_near_it_count_half():
    runs = load_measured(models=["llama-3.1-8b", "deepseek-v3.2"], engines=["vllm", "atom-vllm"])
    beyond = runs["quality_reason"].str.contains("asks for")
    assert 1 <= beyond.sum() < 0.02 * len(runs)
    assert set(runs.loc[beyond, "sku"]) == {"h200"}
    named = beyond | (runs["near_peak"] != "")
    selection = select_for_fit(runs[named])
    reasons = selection.excluded.set_index("run_id")["reason"]
    assert reasons[runs.loc[beyond, "run_id"]].str.startswith("suspect: asks for").all()
    near = selection.runs["near_peak"] != ""
    assert 1 <= near.sum() < 0.1 * len(runs)
    assert (near == (selection.runs["quality"] == "ok")).all()
    assert (selection.runs.loc[near, "trust"] <= NEAR_PEAK_TRUST).all()
    assert selection.runs.loc[near, "trust_reasons"].str.contains("suspect: asks for").all()


def test_a_long_caption_is_wrapped_within_the_picture():
    columns = ["sku", "software"]
    columns += [
        f"{w}_{m}" for w in ("measured", "predicted") for m in ("throughput", "tpot", "ttft")
    ]
    runs = pd.DataFrame([["b200", "vllm", *([1.0] * 6)]], columns=columns)
    words = "3,214 published runs to 2026-07-19, deepseek-v4-pro, kimi-k2.5, "
    figure = accuracy_figure(runs, title="Layouts", caption=words * 12)
    renderer = figure.canvas.get_renderer()
    width, height = figure.bbox.width, figure.bbox.height
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    assert all(box.x0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    panels = [axes.get_tightbbox(renderer) for axes in figure.axes]
    assert min(box.y0 for box in boxes) > max(box.y1 for box in panels)
    assert min(box.y0 for box in panels) >= 0
