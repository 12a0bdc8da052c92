from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from simulator.studies.overlay import (
    UNMATCHED,
    CurveLabel,
    comparable_points,
    labels_of_runs,
    overlay_points,
)
from simulator.studies.pareto_plot import Series, pareto_figure

B200 = CurveLabel(
    name="B200 (vllm)",
    model="deepseek-v4-pro",
    sku="b200",
    engine="vllm",
    precision="fp4",
    speculation="none",
    disaggregated=False,
    isl=8192,
    osl=1024,
)
TRT = replace(B200, name="B200 (trt)", engine="trtllm")


def own(**changes):
    row = {
        "model": "deepseek-v4-pro",
        "sku": "b200",
        "engine": "trt",
        "precision": "fp4",
        "speculation": "none",
        "disaggregated": False,
        "isl": 8192.0,
        "osl": 1024.0,
        "median_tpot_s": 0.02,
        "mean_tpot_s": 0.03,
        "total_tput_per_gpu": 500.0,
    }
    return {**row, **changes}


def test_points_take_the_curve_that_they_are_like():
    points, notes = overlay_points(pd.DataFrame([own(), own(engine="vllm")]), curves=[B200, TRT])
    assert points["series"].tolist() == ["B200 (trt)", "B200 (vllm)"]
    assert points["median_tpot_s"].tolist() == [0.02, 0.02]
    assert notes == []


UNLIKE = {
    "model": (own(model="deepseek-r1"), "1 of another model (deepseek-r1)"),
    "lengths": (own(isl=1024.0), "1 of other lengths (1024/1024)"),
    "conversations": (own(isl=np.nan, osl=np.nan), "1 of other lengths (nan/nan)"),
    "sku": (own(sku="b300"), "1 of another SKU (b300)"),
    "engine": (own(engine="sglang"), "1 of another engine (sglang)"),
    "precision": (own(precision="fp8"), "1 of another precision (fp8)"),
    "speculation": (own(speculation="mtp"), "1 of another speculation (mtp)"),
    "pools": (own(disaggregated=True, engine="dynamo-trt"), "1 served otherwise (disaggregated)"),
    "silent": (own(median_tpot_s=np.nan, mean_tpot_s=np.nan), "1 without a TPOT"),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_what_is_unlike_the_curve_is_left_out_and_one_line_says_why(kind):
    row, reason = UNLIKE[kind]
    points, notes = overlay_points(pd.DataFrame([own(), row]), curves=[TRT])
    assert len(points) == 1
    assert notes == [f"1 of 2 measured runs are not drawn: {reason}"]


def test_what_a_run_does_not_tell_is_no_difference():
    rows = [
        own(precision=None, speculation=np.nan),
        own(precision="NVFP4", speculation=""),
        own(median_tpot_s=np.nan),
    ]
    points, notes = overlay_points(pd.DataFrame(rows), curves=[TRT])
    assert points["median_tpot_s"].tolist() == [0.02, 0.02, 0.03]
    assert notes == []


def test_a_disaggregated_curve_takes_disaggregated_runs():
    runs = pd.DataFrame([own(disaggregated=True, engine="dynamo-trt"), own()])
    points, _ = overlay_points(runs, curves=[replace(TRT, disaggregated=True)])
    assert points["disaggregated"].tolist() == [True]


def test_runs_that_match_nothing_are_told_beside_what_is_simulated():
    runs = pd.DataFrame([own(sku="b300"), own(sku="h200"), own(speculation="mtp")])
    points, notes = overlay_points(runs, curves=[TRT])
    assert points is None
    assert notes == [
        "no measured run is drawn, for none is like the curve: 2 of another SKU (b300, h200); "
        "1 of another speculation (mtp). Simulated: deepseek-v4-pro fp4 8192/1024 on b200 with "
        "trtllm, no speculation, aggregated"
    ]


def test_a_page_with_filters_takes_all_of_one_model_and_lengths():
    runs = pd.DataFrame(
        [
            own(engine="sglang"),
            own(sku="b300"),
            own(isl=1024.0),
            own(model="deepseek-r1"),
            own(median_tpot_s=np.nan, mean_tpot_s=np.nan),
        ]
    )
    points, notes = comparable_points(runs, curves=[B200, TRT])
    assert points["series"].tolist() == ["B200 (vllm)", UNMATCHED]
    assert points["differs"].tolist() == ["engine", "SKU"]
    assert notes == [
        "2 own runs of another model or lengths are not drawn",
        "1 own runs without a TPOT are not drawn",
    ]


def test_without_runs_there_is_nothing_to_draw():
    assert overlay_points(None, curves=[B200]) == (None, [])
    assert comparable_points(None, curves=[B200]) == (None, [])


def test_the_curves_of_a_table_of_runs():
    runs = pd.DataFrame(
        {
            "series": ["a", "a", "b"],
            "model": "deepseek-v4-pro",
            "sku": ["b200", "b200", "MI355X"],
            "engine": ["vllm@2026-05", "vllm@2026-05", "atom-sglang"],
            "precision": "fp4",
            "spec": ["none", "none", "mtp:2"],
            "disagg": [False, False, True],
            "isl": 8192,
            "osl": 1024,
        }
    )
    labels = labels_of_runs(runs)
    assert [
        (each.name, each.sku, each.engine, each.speculation, each.disaggregated) for each in labels
    ] == [("a", "b200", "vllm", "none", False), ("b", "mi355x", "atom", "mtp", True)]


@pytest.mark.parametrize(
    ("days", "legend"),
    [
        (["2026-05-21", "2026-05-10", "2026-05"], "measured, 2026-05 to 2026-05-21"),
        (["2026-05-21", None], "measured, 2026-05-21 and undated"),
        (["2026-05-21", "", np.nan], "measured, 2026-05-21 and undated"),
        (["2026-05-21", "2026-05-21"], "measured"),
        ([None, None], "measured"),
    ],
)
def test_the_legend_says_of_which_days_measured_runs_are(days, legend):
    runs = pd.DataFrame([own(date=day, series="TRT") for day in days])
    one = Series(
        name="TRT",
        vendor="nvidia",
        interactivity=np.array([20.0, 50.0]),
        tput_per_gpu=np.array([900.0, 300.0]),
        layouts=["TP8", "TP8"],
        concurrencies=[8, 1],
        on_frontier=np.array([True, True]),
        band=np.full((2, 4), np.nan),
    )
    (axes,) = pareto_figure(series=[one], caption="", measured=runs).axes
    assert f"filled: {legend}" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_band_of_points_of_several_kinds_holds_the_curve():
    """Bands of knots differ in width: the shade lies between the frontiers of their corners."""
    x = np.array([7.0, 30.0, 56.0, 60.0, 65.0, 85.0, 110.0])
    y = np.array([7900.0, 6900.0, 6700.0, 5900.0, 2600.0, 1700.0, 1600.0])
    wide = np.array([1.3, 1.1, 1.4, 1.4, 1.1, 1.1, 1.4])
    one = Series(
        name="B200",
        vendor="nvidia",
        interactivity=x,
        tput_per_gpu=y,
        layouts=["TP8"] * len(x),
        concurrencies=list(range(1, len(x) + 1)),
        on_frontier=np.ones(len(x), dtype=bool),
        band=np.column_stack([x / wide, x * wide, y / wide, y * wide]),
        late=np.zeros(len(x), dtype=bool),
    )
    (axes,) = pareto_figure(series=[one], caption="").axes
    shade = axes.patches[0].get_path()
    # the ends of the curve lie on the edges between their own corners
    inner = [shade.contains_point(point) for point in zip(x[1:-1], y[1:-1], strict=True)]
    assert all(inner), inner


@pytest.mark.slow
def test_own_points_change_the_picture(tmp_path, monkeypatch):
    from simulator.cli.main import run

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
