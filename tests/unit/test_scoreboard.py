"""Scores of a table of runs: definitions that rivals publish under, checked by hand."""

import numpy as np
import pandas as pd
import pytest

from calibration.scoreboard.page import score_text, write_score_page
from calibration.scoreboard.scoring import beside, score_groups
from simulator.cli.main import run
from workloads.errors import UserError


def runs(**columns):
    count = len(columns["concurrency"])
    whole = {
        "model": "m",
        "sku": "b200",
        "engine": "vllm",
        "precision": "fp4",
        "speculation": "none",
        "disaggregated": False,
        "isl": 1024.0,
        "osl": 1024.0,
        "layout": "TP8",
        "total_tput_per_gpu": np.nan,
        "median_tpot_s": np.nan,
        "mean_tpot_s": np.nan,
        "mean_ttft_s": np.nan,
        "median_ttft_s": np.nan,
    }
    return pd.DataFrame(
        {name: columns.get(name, [value] * count) for name, value in whole.items()} | columns
    )


def predicted(count, **columns):
    names = ("total_tput_per_gpu", "median_tpot_s", "mean_tpot_s", "mean_ttft_s", "median_ttft_s")
    empty = {f"pred_{name}": [np.nan] * count for name in names}
    return pd.DataFrame(
        {"status": ["ok"] * count, "bottleneck": ["memory"] * count} | empty | columns
    )


def test_a_constant_factor_is_an_error_and_no_shape_error():
    measured = runs(concurrency=[1, 8, 64], total_tput_per_gpu=[10.0, 60.0, 200.0])
    twice = predicted(3, pred_total_tput_per_gpu=[20.0, 120.0, 400.0])
    (group,) = score_groups(beside(measured, twice))
    score = group.metrics["throughput"]
    assert (score.median, score.mean, score.bias) == pytest.approx((1.0, 1.0, 1.0))
    assert score.shape == pytest.approx(0.0, abs=1e-12)
    assert "tpot" not in group.metrics


def test_what_is_not_answered_counts_against_the_share_alone():
    measured = runs(concurrency=[1, 8], mean_tpot_s=[0.01, 0.02])
    table = predicted(2, pred_mean_tpot_s=[0.011, np.nan], status=["ok", "unsupported"])
    (group,) = score_groups(beside(measured, table))
    assert group.answered_share == 0.5
    assert group.metrics["tpot"].median == pytest.approx(0.1)


def test_a_band_is_scored_on_coverage_and_width():
    measured = runs(concurrency=[1, 8], total_tput_per_gpu=[10.0, 10.0])
    table = predicted(
        2,
        pred_total_tput_per_gpu=[10.0, 10.0],
        pred_total_tput_per_gpu_lo=[5.0, 20.0],
        pred_total_tput_per_gpu_hi=[20.0, 40.0],
    )
    (group,) = score_groups(beside(measured, table))
    score = group.metrics["throughput"]
    assert score.coverage == 0.5
    # widths ln 4 and ln 2; the second misses by ln 2, which counts twenty times
    assert score.interval == pytest.approx((np.log(4) + np.log(2) + 20 * np.log(2)) / 2)


def test_pairs_of_chips_are_ranked():
    measured = runs(concurrency=[8, 8], sku=["a", "b"], total_tput_per_gpu=[1.0, 2.0])
    right = predicted(2, pred_total_tput_per_gpu=[3.0, 4.0])
    wrong = predicted(2, pred_total_tput_per_gpu=[4.0, 3.0])
    assert [score_groups(beside(measured, each))[0].right for each in (right, wrong)] == [1, 0]


def test_tables_of_other_lengths_are_refused():
    with pytest.raises(UserError, match="predictions has 2 rows, measured 1"):
        beside(runs(concurrency=[1]), predicted(2))


def test_the_page_has_a_table_and_a_picture(tmp_path):
    measured = runs(concurrency=[1, 8], total_tput_per_gpu=[10.0, 60.0])
    table = beside(measured, predicted(2, pred_total_tput_per_gpu=[11.0, 66.0]))
    page = write_score_page(table, folder=tmp_path / "new", title="Runs")
    assert page.read_text(encoding="utf-8") == score_text(table, title="Runs")
    assert "| all | 2 | 100 % | 10.0 % / 10.0 % |" in page.read_text(encoding="utf-8")
    assert (tmp_path / "new" / "score.png").stat().st_size > 5000


def test_the_command_scores_a_table_of_runs(tmp_path, capsys):
    assert (
        run(["runs", "--sku", "b200", "--engine", "vllm", "--model", "gpt-oss-120b", "--csv"]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    assert run(["score", str(path), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "2 runs of runs.csv, 2 predicted (100 %)" in out
    assert "throughput" in out


def test_a_missing_file_is_named(tmp_path, capsys):
    assert run(["score", str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
