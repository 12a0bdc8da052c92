"""The measured runs: what ships, what is refused, what is suspect, what a run is called."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.measured.checks import little_closure, request_rate_per_s
from calibration.measured.keys import frontier_key, series_key, split_of, sweep_key
from calibration.measured.runs import (
    CLOSURE,
    check_runs,
    implied_mean_ttft_s,
    load_measured,
    load_sources,
    measurements_folder,
    to_predict_columns,
    to_records,
)
from calibration.measured.schema import COLUMNS, NAMES
from calibration.measured.table import MeasuredTableError, read_runs_csv
from simulator.cli.main import run as simulate
from simulator.output.csv_table import read_run_table
from simulator.scenario.table_rows import configure_row
from workloads.errors import UserError

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "measurements.md"

# One client that needs a second to the first token and 20 ms for each further one: with lengths
# uniform in [0.8 L, L] a request takes 1 + 921.5 x 0.02 = 19.43 s, so that 32 clients complete
# 1.647 requests/s of 8294 tokens: 1707 tok/s on each of 8 GPUs.
GOOD = {
    "model": "deepseek-v4-pro",
    "sku": "b200",
    "engine": "sglang",
    "precision": "fp4",
    "speculation": "none",
    "drafts": "",
    "disaggregated": "false",
    "decode_workers": "1",
    "decode_tp": "8",
    "decode_ep": "8",
    "decode_dp_attention": "true",
    "decode_gpus": "8",
    "prefill_workers": "",
    "prefill_tp": "",
    "prefill_ep": "",
    "prefill_gpus": "",
    "gpus": "8",
    "isl": "8192",
    "osl": "1024",
    "length_distribution": "uniform_0.8",
    "concurrency": "32",
    "date": "2026-06-01",
    "kind": "single",
    "n_runs": "",
    "total_tput_per_gpu": "1707",
    "output_tput_per_gpu": "",
    "input_tput_per_gpu": "",
    "mean_ttft_s": "1.0",
    "median_ttft_s": "0.9",
    "p99_ttft_s": "2.0",
    "mean_tpot_s": "",
    "median_tpot_s": "0.02",
    "quality": "ok",
    "source": "inferencex-runs",
}


def table(tmp_path, *changes):
    """A checked table of the good row, changed in turn."""
    path = tmp_path / "runs.csv"
    pd.DataFrame([GOOD | change for change in changes]).to_csv(path, index=False)
    frame, violations = read_runs_csv(path)
    return check_runs(frame, violations=violations)


# What ships


def test_the_shipped_runs_are_many_and_of_the_published_hardware():
    runs = load_measured()
    assert len(runs) > 10500
    assert runs["model"].value_counts()["deepseek-v4-pro"] > 850
    assert set(runs["sku"]) == {
        *("h100", "h200", "b200", "b300", "gb200", "gb300"),
        *("mi300x", "mi325x", "mi350x", "mi355x"),
    }
    assert set(runs["source"]) <= set(load_sources())


@pytest.mark.parametrize("path", sorted(measurements_folder().glob("*.csv")), ids=lambda p: p.stem)
def test_a_shipped_file_holds_one_model_in_canonical_cells(path):
    cells = read_run_table(path)
    assert list(cells.columns) == list(NAMES)
    assert set(cells["model"]) == {path.stem}
    frame, violations = read_runs_csv(path)
    assert violations == []
    for column in COLUMNS:
        written = cells[column.name]
        if column.required:
            assert (written != "").all()
        if column.type == "whole":  # 8, not 8.0
            assert not written.str.contains(r"[.eE]").any()
        if column.type == "text":  # already the canonical name
            assert written.tolist() == frame[column.name].tolist()


def test_no_undated_median_repeats_a_dated_run_of_its_label():
    runs = load_measured()
    figures = ["series", "concurrency", "total_tput_per_gpu", "median_tpot_s"]
    runs = runs[runs["median_tpot_s"].notna()]
    assert not runs.duplicated(figures).any()


def test_trusted_runs_obey_littles_law():
    runs = load_measured(quality="ok")
    closure = little_closure(runs).dropna()
    assert len(closure) > 1000
    assert closure.between(0.75, 1.15).all()
    assert closure.median() == pytest.approx(CLOSURE, abs=0.003)


def test_the_implied_mean_ttft_is_near_the_measured_one():
    """Within 5 % of the time of a request at either end of the middle 80 %."""
    runs = load_measured(quality="ok")
    runs = runs[runs["mean_ttft_s"].notna() & (runs["source"] == "inferencex-runs")]
    request_s = runs["concurrency"] / request_rate_per_s(runs)
    error = (implied_mean_ttft_s(runs) - runs["mean_ttft_s"]) / request_s
    low, middle, high = error.quantile([0.1, 0.5, 0.9])
    assert -0.05 < low < middle < high < 0.05
    assert abs(middle) < 0.01


def test_run_ids_are_unique_and_follow_from_the_published_cells(tmp_path):
    runs = load_measured()
    assert runs["run_id"].is_unique
    same, other = table(tmp_path, {}, {"concurrency": "64", "total_tput_per_gpu": "3400"})["run_id"]
    assert same != other
    flagged = table(tmp_path, {"quality": "suspect"})["run_id"][0]
    assert flagged == same


# What is refused


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("concurrency", "many", "is not a number"),
        ("concurrency", "2.5", "not a whole number"),
        ("concurrency", "", "is blank"),
        ("median_tpot_s", "20", "runs from 0.0001 to 3"),  # milliseconds
        ("total_tput_per_gpu", "inf", "must be finite"),
        ("sku", "b2000", "did you mean"),
        ("engine", "sglangs", "did you mean"),
        ("speculation", "eagle", "is unknown"),
        ("decode_dp_attention", "maybe", "neither true nor false"),
        ("date", "June 2026", "is not a date"),
        ("length_distribution", "normal", "is unknown"),
        ("source", "hearsay", "is unknown"),
        ("gpus", "16", "not the sum of the pools' GPUs"),
        ("decode_ep", "3", "does not divide"),
        ("decode_tp", "16", "a worker has fewer GPUs"),
        ("prefill_tp", "8", "belongs in the decode columns"),
        ("isl", "", "are needed unless"),
        ("length_distribution", "agentic_traces", "must then be blank"),
        ("drafts", "3", "speculation is none"),
        ("p99_ttft_s", "0.5", "below the median"),
        ("n_runs", "3", "a single run is one run"),
    ],
)
def test_a_wrong_cell_is_named_with_file_line_field_and_value(tmp_path, field, value, problem):
    with pytest.raises(MeasuredTableError) as caught:
        table(tmp_path, {}, {"concurrency": "64", "total_tput_per_gpu": "3400"} | {field: value})
    (violation,) = [v for v in caught.value.violations if problem in v.problem]
    assert violation.file == str(tmp_path / "runs.csv")
    assert violation.place == "line 3"
    assert str(violation).startswith(f"{tmp_path / 'runs.csv'} line 3, ")
    assert field in str(violation)


def test_pools_that_do_not_share_their_gpus_evenly_are_refused(tmp_path):
    pools = {"disaggregated": "true", "gpus": "15", "decode_tp": "1", "decode_ep": "1"}
    pools |= {"prefill_workers": "2", "prefill_tp": "1", "prefill_gpus": "7", "decode_gpus": "8"}
    with pytest.raises(MeasuredTableError, match="do not share them evenly"):
        table(tmp_path, pools)


def test_rates_over_their_pools_must_add_up(tmp_path):
    pools = {
        "disaggregated": "true",
        "prefill_tp": "8",
        "prefill_ep": "8",
        "prefill_gpus": "16",
        "prefill_workers": "2",
        "gpus": "24",
        "concurrency": "96",
        "output_tput_per_gpu": "569",
        "input_tput_per_gpu": "2276",
    }
    assert len(table(tmp_path, pools)) == 1  # (569 x 8 + 2276 x 16) / 24 = 1707
    with pytest.raises(MeasuredTableError, match="do not add up"):
        table(tmp_path, pools | {"output_tput_per_gpu": "190"})


def test_a_run_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(MeasuredTableError, match="the same run stands in an earlier row"):
        table(tmp_path, {}, {})
    assert len(table(tmp_path, {}, {"date": "2026-06-02"})) == 2


def test_columns_of_a_table_to_predict_are_understood_but_not_both_names(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(
        "model,sku,engine,isl,osl,concurrency,spec_decoding,num_gpus,total_tput_per_gpu\n"
        "dsr1,B200,trtllm,1024,1024,8.0,MTP,8,500\n"
    )
    frame, violations = read_runs_csv(path)
    assert violations == []
    row = frame.iloc[0]
    assert (row["model"], row["sku"], row["engine"]) == ("deepseek-r1", "b200", "trt")
    assert (row["speculation"], row["gpus"], row["source"]) == ("mtp", 8.0, str(path))
    path.write_text("model,sku,engine,isl,osl,concurrency,disagg,disaggregated\n")
    with pytest.raises(UserError, match="disaggregated and disagg mean the same"):
        read_runs_csv(path)


# What is suspect


def test_a_run_that_contradicts_littles_law_is_suspect(tmp_path):
    runs = table(
        tmp_path,
        {},
        {"concurrency": "64"},
        {"concurrency": "16"},
        {"concurrency": "8", "mean_ttft_s": ""},
    )
    assert runs["quality"].tolist() == ["ok", "suspect", "suspect", "suspect"]
    assert "Little's law" in runs["quality_reason"][1]
    assert "decoding clients" in runs["quality_reason"][3]
    assert runs["quality_reason"][0] == ""


def test_builds_mixed_in_an_undated_series_are_told_apart(tmp_path):
    points = [(64, 1000, 0.060), (128, 1500, 0.080), (256, 3000, 0.075), (512, 3500, 0.130)]
    median = {"date": "", "kind": "median", "mean_ttft_s": "", "source": "inferencex-medians"}
    series = [
        median
        | {
            "concurrency": str(clients),
            "total_tput_per_gpu": str(rate),
            "median_tpot_s": str(tpot_s),
        }
        for clients, rate, tpot_s in [*points, (1024, 3900, 0.25)]
    ]
    runs = table(tmp_path, *series)
    # Doubling the clients of one build cannot lower TPOT: the shorter piece is the odd one.
    assert runs["quality"].tolist() == ["suspect", "suspect", "ok", "ok", "ok"]
    assert "another build" in runs["quality_reason"][0]
    dated = table(tmp_path, *[row | {"date": "2026-06-01"} for row in series])
    assert set(dated["quality"]) == {"ok"}


def test_one_median_under_two_labels_counts_under_the_fuller_one(tmp_path):
    median = {"date": "", "kind": "median", "mean_ttft_s": "", "source": "inferencex-medians"}
    plain = median | {"decode_ep": "1", "decode_dp_attention": "false"}
    parallel = median | {"decode_ep": "8", "decode_dp_attention": "true"}
    runs = table(
        tmp_path,
        plain | {"concurrency": "64", "total_tput_per_gpu": "1000", "median_tpot_s": "0.06"},
        parallel | {"concurrency": "64", "total_tput_per_gpu": "1001", "median_tpot_s": "0.06"},
        plain | {"concurrency": "128", "total_tput_per_gpu": "1500", "median_tpot_s": "0.08"},
        parallel | {"concurrency": "128", "total_tput_per_gpu": "1501", "median_tpot_s": "0.081"},
    )
    assert runs["quality"].tolist() == ["suspect", "ok", "ok", "ok"]
    assert "another layout" in runs["quality_reason"][0]


def test_a_run_with_one_slow_decode_worker_is_suspect(tmp_path):
    pools = {"disaggregated": "true", "total_tput_per_gpu": "", "mean_ttft_s": ""}
    pools |= {"prefill_workers": "1", "prefill_tp": "8", "prefill_ep": "8", "prefill_gpus": "8"}
    pools |= {"decode_workers": "3", "decode_gpus": "24", "gpus": "32"}
    alone = {"median_tpot_s": "", "concurrency": "64"}
    undated = {"date": "", "kind": "median", "concurrency": "64", "median_ttft_s": ""}
    runs = table(
        tmp_path,
        pools | {"mean_tpot_s": "0.0225"},
        pools | {"mean_tpot_s": "0.0215", "concurrency": "48"},
        pools | alone | {"mean_tpot_s": "0.0225"},
        pools | alone | {"mean_tpot_s": "0.0225", "concurrency": "128"},
        pools | undated | {"p99_ttft_s": "", "source": "inferencex-medians"},
    )
    # Three workers in turn at 20, 20 and 28 ms: the mean is 22.7 ms and the median 20.
    assert runs["quality"].tolist() == ["suspect", "ok", "suspect", "ok", "ok"]
    assert "slow worker" in runs["quality_reason"][0]


# What a run is called


def row(**changes):
    return table_row(GOOD | changes)


def table_row(cells):
    from calibration.measured.table import typed_runs

    frame, violations = typed_runs(pd.DataFrame([cells]), file="x", places=["line 2"])
    assert violations == []
    return frame.iloc[0].to_dict()


def test_a_series_is_a_label_without_concurrency_date_source_and_drafts():
    base = row(decode_ep="1", decode_dp_attention="false")
    same = row(
        decode_ep="", decode_dp_attention="", concurrency="64", date="", source="inferencex-medians"
    )
    assert series_key(base) == series_key(same)
    assert series_key(base) == (
        "deepseek-v4-pro b200 sglang fp4 none aggregated 8192/1024 TP8 on 8"
    )
    assert frontier_key(base) != frontier_key(same)
    for change in (
        {"decode_ep": "8"},
        {"speculation": "mtp"},
        {"isl": "1024"},
        {"sku": "b300"},
        {"precision": "fp8"},
    ):
        assert series_key(base) != series_key(row(**change))


def test_layouts_of_one_sweep_share_its_key():
    assert sweep_key(row(decode_tp="4", decode_gpus="4", gpus="4", decode_ep="4")) == sweep_key(
        row()
    )
    assert sweep_key(row()) != sweep_key(row(speculation="mtp"))


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "DEP8"),
        ({"decode_dp_attention": "false"}, "TEP8"),
        # InferenceX labels ranks that each serve their own requests with the degree of one.
        ({"decode_tp": "1", "decode_dp_attention": "false"}, "DEP8"),
        ({"decode_workers": "2", "decode_gpus": "16", "gpus": "16"}, "2xDEP8"),
        ({"decode_tp": "", "decode_ep": "", "decode_workers": ""}, "8 GPUs"),
        ({"decode_tp": "", "decode_gpus": "", "gpus": "", "decode_ep": ""}, "? GPUs"),
        (
            {
                "disaggregated": "true",
                "prefill_workers": "3",
                "prefill_tp": "4",
                "prefill_ep": "4",
                "prefill_gpus": "12",
                "gpus": "20",
            },
            "3xTEP4+1xDEP8",
        ),
    ],
)
def test_a_layout_carries_inferencex_label(changes, label):
    from calibration.measured.keys import deployment_text

    assert deployment_text(row(**changes)) == label


def test_the_split_is_pinned_forever():
    """Changing these answers would leak held-back series into choices already made."""
    assert split_of("deepseek-v4-pro b200 sglang fp4 none aggregated 8192/1024 TP8 on 8") == (
        "structure"
    )
    series = load_measured().groupby("series")["split"].agg(["first", "nunique"])
    assert (series["nunique"] == 1).all()
    assert (series["first"] == "held").mean() == pytest.approx(1 / 3, abs=0.04)


@settings(max_examples=50)
@given(st.lists(st.text(min_size=1), min_size=1, unique=True))
def test_the_split_depends_on_the_key_alone(keys):
    assert [split_of(key) for key in keys] == [split_of(key) for key in reversed(keys)][::-1]


# What is handed on


def test_filters_understand_aliases_and_dates():
    runs = load_measured(models=["dsv4"], skus=["MI355X"], engines=["sglang"], since="2026-05")
    assert set(runs["model"]) == {"deepseek-v4-pro"}
    assert (runs["date"] >= "2026-05").all()
    until = load_measured(models=["dsv4"], skus=["mi355x"], until="2026-05-02")
    assert set(until["date"]) == {"2026-04-25", "2026-05-02"}
    assert set(load_measured(speculation=["dspark"])["speculation"]) == {"dspark"}
    assert set(load_measured(sources=["srt-slurm"])["source"]) == {"srt-slurm"}


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ({"models": ["deepseek-v5"]}, "model 'deepseek-v5' is unknown; did you mean"),
        ({"skus": ["b2000"]}, "sku 'b2000' is unknown; did you mean"),
        ({"sources": ["inferencex"]}, "source 'inferencex' is unknown; did you mean"),
        ({"quality": "good"}, "quality 'good' is unknown"),
        ({"since": "May"}, "date 'May' is not a date"),
    ],
)
def test_an_unknown_filter_is_a_user_error(filters, problem):
    with pytest.raises(UserError, match=problem):
        load_measured(**filters)


def test_measured_runs_are_a_table_that_predict_reads():
    runs = load_measured(models=["deepseek-v4-pro"], skus=["b300"], quality="ok")
    cells = to_predict_columns(runs)
    assert "total_tput_per_gpu" not in cells
    configurations = [configure_row(row)[0] for row in cells.to_dict("records")]
    assert [each.concurrency for each in configurations] == runs["concurrency"].tolist()
    assert {each.gpus for each in configurations} == set(runs["gpus"])


def test_cells_survive_a_round_trip_through_csv(tmp_path):
    runs = load_measured(models=["deepseek-v4-pro"])
    path = tmp_path / "again.csv"
    to_predict_columns(runs, figures=True).to_csv(path, index=False)
    frame, violations = read_runs_csv(path)
    again = check_runs(frame, violations=violations)
    ignored = ["quality", "quality_reason", "file", "place"]
    pd.testing.assert_frame_equal(
        again.drop(columns=ignored), runs.reset_index(drop=True).drop(columns=ignored)
    )


def test_records_hold_numbers_and_nothing_that_is_not_json():
    runs = load_measured(sources=["srt-slurm"], skus=["gb200"])
    (record,) = json.loads(json.dumps(to_records(runs), allow_nan=False))
    assert record["num_gpus"] == 24
    assert record["spec_decoding"] == "mtp"
    assert record["disagg"] is True
    assert record["mean_ttft_s"] is None


def test_simulate_runs_lists_filters_and_exports(capsys):
    assert simulate(["runs", "--engine", "sglang", "--model", "dsv4", "--since", "2026-05-21"]) == 0
    listed = capsys.readouterr().out
    assert "1,814.4" in listed
    assert "2026-05-21" in listed
    assert "undated medians left out" in listed
    assert simulate(["runs"]) == 0
    assert "list each with --all" in capsys.readouterr().out
    assert simulate(["runs", "--source", "srt-slurm", "--sku", "gb200", "--csv"]) == 0
    exported = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert exported["total_tput_per_gpu"].tolist() == [7489.46]
    assert simulate(["runs", "--source", "srt-slurm", "--sku", "gb200", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["concurrency"] == 1024
    assert simulate(["runs", "--until", "2020-01"]) == 0
    assert "no measured run matches" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--sku", "b2000"], ["--csv", "--json"]])
def test_simulate_runs_refuses_bad_requests_in_one_line(arguments, capsys):
    assert simulate(["runs", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_the_reference_names_every_column_and_source():
    text = DOCS.read_text(encoding="utf-8")
    for column in COLUMNS:
        assert f"`{column.name}`" in text
        low, high = column.low, column.high
        assert low is None or high is None or low < high
    for key in load_sources():
        assert f"`{key}`" in text


def test_numbers_are_floats_and_unknown_ones_nan():
    runs = load_measured()
    for column in COLUMNS:
        if column.type in ("whole", "number"):
            assert runs[column.name].dtype == np.float64
    assert set(runs["disaggregated"]) == {True, False}
    assert set(map(str, runs["decode_dp_attention"].unique())) == {"True", "False", "None"}
