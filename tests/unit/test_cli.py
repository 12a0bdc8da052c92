"""The command line: what it prints, writes and refuses."""

import json
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from simulator.cli.main import run
from simulator.serving.records import read_records

CURVE = ["--sku", "mi355x", "--ep", "8", "--concurrency", "1,8"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("curve") / "run"
    assert run([*CURVE, "--out", str(path)]) == 0
    return path


def test_a_curve_leaves_settings_summary_points_requests_and_picture(directory):
    names = {path.name for path in directory.iterdir()}
    assert names == {
        "resolved.yaml",
        "summary.json",
        "points.parquet",
        "requests.parquet",
        "frontier.png",
    }
    assert (directory / "frontier.png").read_bytes()[:4] == b"\x89PNG"


def test_points_are_the_summary_and_follow_from_the_requests(directory):
    points = pd.read_parquet(directory / "points.parquet")
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["simulated"] is True
    assert len(points) == len(summary["points"]) == 4
    assert set(points["label"]) == {"TEP8", "DEP8"}
    requests = pd.read_parquet(directory / "requests.parquet")
    one = requests[(requests["label"] == "TEP8") & (requests["concurrency"] == 8)]
    assert len(one) == 80
    tpot_s = (one["finish_s"] - one["first_token_s"]) / (one["output_tokens"] - 1)
    point = points[(points["label"] == "TEP8") & (points["concurrency"] == 8)].iloc[0]
    assert point["median_tpot_s"] == pytest.approx(tpot_s.median())
    tokens = one["prompt_tokens"].sum() + one["output_tokens"].sum()
    rate = tokens / (one["finish_s"].max() - one["arrival_s"].min()) / 8
    assert point["total_tput_per_gpu"] == pytest.approx(rate)


def test_every_setting_says_where_it_came_from(directory):
    resolved = yaml.safe_load((directory / "resolved.yaml").read_text())
    assert resolved["ep"] == {"value": 8, "origin": "flag"}
    assert resolved["isl"]["origin"] == "default"
    assert resolved["engine"]["value"] == "sglang"
    assert resolved["level"]["value"].startswith("sglang@")
    assert all(set(entry) == {"value", "origin"} for entry in resolved.values())


def test_the_same_seed_gives_the_same_bytes(directory, tmp_path):
    assert run([*CURVE, "--out", str(tmp_path / "again")]) == 0
    for name in ("points.parquet", "requests.parquet", "frontier.png"):
        assert (tmp_path / "again" / name).read_bytes() == (directory / name).read_bytes()


def test_json_prints_the_points(tmp_path, capsys):
    assert run([*CURVE, "--dp-attention", "--json", "--out", str(tmp_path / "o")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [point["label"] for point in printed["points"]] == ["DEP8", "DEP8"]


def test_the_table_names_engine_kind_and_directory(tmp_path, capsys):
    assert run([*CURVE, "--engine", "vllm@specification", "--out", str(tmp_path / "o")]) == 0
    text = capsys.readouterr().out
    assert "prediction: specification" in text
    assert "vllm@" in text
    assert str(tmp_path / "o") in text
    assert max(len(line) for line in text.splitlines()[3:7]) <= 140


def test_a_changed_chip_changes_the_curve(tmp_path, capsys):
    values = []
    for pairs in ([], ["--set", "hbm_bytes_per_s=16e12"]):
        arguments = [*CURVE, "--no-dp-attention", *pairs, "--json", "--out", str(tmp_path / "o")]
        assert run(arguments) == 0
        values.append(json.loads(capsys.readouterr().out)["points"][1]["total_tput_per_gpu"])
    assert values[1] > 1.05 * values[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sku", "mi335x"], "sku 'mi335x' is unknown; did you mean mi355x"),
        (["--sku", "b200", "--model", "deepsek-v4"], "model 'deepsek-v4' is unknown"),
        (["--sku", "b200", "--engine", "vlm"], "did you mean vllm"),
        (["--sku", "b200", "--engine", "vllm@May"], "write YYYY-MM"),
        (["--sku", "b200", "--ep", "7"], "ep is 7, which does not divide"),
        (["--sku", "b200", "--tp", "6", "--no-dp-attention", "--ep", "1"], "tp is 6"),
        (["--sku", "b200", "--tp", "1"], "weights: routed experts"),
        (["--sku", "b200", "--gpus", "5"], "tp is 5, which does not divide"),
        (["--sku", "b200", "--osl", "1"], "osl is 1; the speed of a user"),
        (["--sku", "b200", "--concurrency", "0"], "concurrency 0 is out of range"),
        (["--sku", "b200", "--isl", "2000000"], "beyond the 1048576 tokens"),
        (["--sku", "b200", "--precision", "fp5"], "precision"),
        (["--sku", "b200", "--spec", "eagle"], "write none, mtp, mtp:K, dspark:K or eagle3:K"),
        (["--sku", "b200", "--set", "hbm_bytes=many"], "is not FIELD=NUMBER"),
        (["--sku", "b200", "--set", "hbm_byts=1e9"], "hbm_bytes"),
        (["--sku", "b200", "--economics", "2025-01"], "did you mean 2026-09"),
        (["--sku", "b200", "--out", "/proc/nowhere"], "name another directory with --out"),
        (["--ep", "8"], "name one with --sku"),
        (["--sku", "b200", "--no-such-flag"], "--no-such-flag"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments, told, capsys):
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error
    assert "Traceback" not in error


def test_malformed_scenario_names_line_and_column(tmp_path, capsys):
    path = tmp_path / "scenario.yaml"
    path.write_text("sku: b200\nisl: [8192\n", encoding="utf-8")
    assert run(["--scenario", str(path)]) == 2
    assert "line 3, column 1" in capsys.readouterr().err


def test_an_unknown_setting_in_a_scenario_gets_the_nearest(tmp_path, capsys):
    path = tmp_path / "scenario.yaml"
    path.write_text("sku: b200\nconcurency: [1]\n", encoding="utf-8")
    assert run(["--scenario", str(path)]) == 2
    assert "did you mean concurrency" in capsys.readouterr().err


def test_a_failed_run_leaves_earlier_results_alone(directory, tmp_path):
    path = tmp_path / "kept"
    assert run([*CURVE, "--out", str(path)]) == 0
    before = (path / "summary.json").read_bytes()
    assert run(["--sku", "b200", "--tp", "1", "--out", str(path)]) == 2
    assert (path / "summary.json").read_bytes() == before


def test_predict_answers_every_row_and_keeps_their_order(tmp_path, capsys):
    runs = tmp_path / "runs.csv"
    runs.write_text(
        "run_id,model,sku,engine,precision,spec_decoding,disagg,decode_tp,decode_gpus,isl,osl,"
        "concurrency\n"
        "b,dsv4-pro,b200,vllm,fp4,none,False,8,8,1024,1024,4\n"
        "a,dsv4-pro,b200,vllm,fp4,none,False,1,1,1024,1024,4\n"
        "c,unknown-model,b200,vllm,fp4,none,False,8,8,1024,1024,4\n",
        encoding="utf-8",
    )
    out = tmp_path / "pred.csv"
    assert run(["predict", str(runs), "--out", str(out), "--workers", "1"]) == 0
    table = pd.read_csv(out)
    assert list(table["run_id"]) == ["b", "a", "c"]
    assert list(table["status"]) == ["ok", "does_not_fit", "unsupported"]
    assert "3 rows" in capsys.readouterr().err


def test_predict_refuses_a_malformed_table(tmp_path, capsys):
    runs = tmp_path / "runs.csv"
    runs.write_text("model,sku\ndsv4-pro,b200,extra\n", encoding="utf-8")
    assert run(["predict", str(runs), "--out", str(tmp_path / "p.csv")]) == 2
    assert "line 2" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    code = (
        "import sys, simulator.cli.main;"
        "print([m for m in ('numpy', 'pandas', 'matplotlib', 'scipy', 'pydantic', 'pyarrow')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_records_of_a_curve_can_be_read_back(directory):
    records = read_records(directory / "requests.parquet")
    assert len(records) == 2 * (10 + 80)
    assert (records.finish_s > records.first_token_s).all()
