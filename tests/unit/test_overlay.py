import numpy as np
import pandas as pd
import pytest

from simulator.overlay import UNMATCHED, CurveLabel, labels_of_runs, overlay_points

B200 = CurveLabel(
    name="B200 (vllm)", model="deepseek-v4-pro", sku="b200", engine="vllm", isl=8192, osl=1024
)
TRT = CurveLabel(
    name="B200 (trt)", model="deepseek-v4-pro", sku="b200", engine="trtllm", isl=8192, osl=1024
)


def own(**changes):
    row = {
        "model": "deepseek-v4-pro",
        "sku": "b200",
        "engine": "dynamo-trt",
        "isl": 8192.0,
        "osl": 1024.0,
        "median_tpot_s": 0.02,
        "mean_tpot_s": 0.03,
        "total_tput_per_gpu": 500.0,
    }
    return {**row, **changes}


def test_points_take_the_curve_of_their_sku_and_engine():
    points, notes = overlay_points(pd.DataFrame([own()]), curves=[B200, TRT])
    assert points["series"].tolist() == ["B200 (trt)"]
    assert points["median_tpot_s"].tolist() == [0.02]
    assert notes == []


def test_another_engine_takes_the_curve_of_its_sku_and_another_sku_none():
    runs = pd.DataFrame([own(engine="sglang"), own(sku="b300")])
    points, _ = overlay_points(runs, curves=[B200, TRT])
    assert points["series"].tolist() == ["B200 (vllm)", UNMATCHED]


def test_other_lengths_models_and_runs_without_speed_are_not_drawn_but_told():
    runs = pd.DataFrame(
        [
            own(isl=1024.0),
            own(model="deepseek-r1"),
            own(median_tpot_s=np.nan, mean_tpot_s=np.nan),
            own(median_tpot_s=np.nan),
        ]
    )
    points, notes = overlay_points(runs, curves=[B200])
    assert points["median_tpot_s"].tolist() == [0.03]
    assert notes == [
        "2 own runs of another model or lengths are not drawn",
        "1 own runs without a TPOT are not drawn",
    ]


def test_without_runs_there_is_nothing_to_draw():
    assert overlay_points(None, curves=[B200]) == (None, [])
    points, notes = overlay_points(pd.DataFrame([own(osl=1.0)]), curves=[B200])
    assert points is None
    assert len(notes) == 1


def test_the_curves_of_a_table_of_runs():
    runs = pd.DataFrame(
        {
            "series": ["a", "a", "b"],
            "model": "deepseek-v4-pro",
            "sku": ["b200", "b200", "MI355X"],
            "engine": ["vllm@2026-05", "vllm@2026-05", "atom-sglang"],
            "isl": 8192,
            "osl": 1024,
        }
    )
    labels = labels_of_runs(runs)
    assert [(each.name, each.sku, each.engine) for each in labels] == [
        ("a", "b200", "vllm"),
        ("b", "mi355x", "atom"),
    ]


@pytest.mark.slow
def test_own_points_change_the_picture(tmp_path, monkeypatch):
    from simulator.cli import run

    monkeypatch.chdir(tmp_path)
    header = "model,sku,engine,precision,spec_decoding,decode_tp,num_gpus,isl,osl,concurrency"
    row = "deepseek-v4-pro,b300,vllm,fp4,none,8,8,1024,1024,1"
    (tmp_path / "own.csv").write_text(
        f"{header},total_tput_per_gpu,median_tpot_s\n{row},18,0.013\n", encoding="utf-8"
    )
    flags = ["--sku", "b300", "--tp", "8", "--ep", "8", "--isl", "1024", "--concurrency", "1,2"]
    flags += ["--engine", "vllm"]
    assert run([*flags, "--out", "plain"]) == 0
    assert run([*flags, "--out", "overlaid", "--overlay", "own.csv"]) == 0
    plain, overlaid = (
        (tmp_path / name / "frontier.png").read_bytes() for name in ("plain", "overlaid")
    )
    assert plain != overlaid
    assert run([*flags, "--out", "missing", "--overlay", "none.csv"]) == 2
