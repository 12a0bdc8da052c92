"""Tables of others: point files with predictions beside them, and MLPerf's results."""

import json
from pathlib import Path

import pandas as pd
import pytest

from calibration.importers.point_table import is_foreign, translated
from calibration.importers.runs import import_runs
from calibration.scoreboard.mlperf_table import is_mlperf_table, read_mlperf_rows, text_table
from simulator.cli.main import run

POINTS = """\
hw,framework,model,precision,tp,isl,osl,conc,actual_tpot_ms,predicted_tpot_ms,tput_per_gpu
h200,vllm,llama-3.1-8b,bf16,1,1024,1024,16,8.0,8.8,1800
no-chip,vllm,llama-3.1-8b,bf16,1,1024,1024,16,8.0,800,1800
h200,vllm,llama-3.1-8b,bf16,1,1024,1024,64,10.0,13.0,4800
"""
RESULTS = """\
Submitter,Accelerator,# of Accelerators,Model,Scenario,Units,Result
A,NVIDIA H200-SXM-141GB,8,llama3_1-8b,Offline,Tokens/s,"160,000"
A,NVIDIA H200-SXM-141GB,8,llama2-70b-99,Server,Tokens/s,32000
A,NVIDIA H200-SXM-141GB,8,llama2-70b-99.9,Server,Tokens/s,32000
A,Foo 9000,8,llama2-70b-99.9,Server,Tokens/s,32000
A,AMD Instinct MI325X 256GB,8,llama2-70b-interactive-99,Server,Tokens/s,8000
A,NVIDIA H200-SXM-141GB,8,resnet,Offline,Samples/s,7
"""


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_point_file_is_scored_on_the_predictions_that_it_holds(tmp_path, capsys):
    assert run(["score", written(tmp_path, "points.csv", POINTS)]) == 0
    out = capsys.readouterr().out
    assert "2 runs of points.csv, 2 predicted" in out
    # 10 % and 30 % off; the row of an unknown chip takes its prediction with it
    assert out.split("tpot")[1].split()[1:3] == ["20.0%", "20.0%"]
    assert "hw as sku" in out
    assert "'no-chip' is unknown" in out


def test_columns_of_others_are_known_by_name_and_unit():
    frame = pd.DataFrame({"Max Concurrency": ["4"], "p50_ttft_ms": ["250"], "sim_ttft": ["0.3"]})
    measured, predicted, _ = translated(frame)
    assert is_foreign(list(frame.columns))
    assert measured["concurrency"].tolist() == ["4"]
    assert float(measured["median_ttft_s"].iloc[0]) == pytest.approx(0.25)
    assert predicted["pred_mean_ttft_s"].iloc[0] == pytest.approx(0.3)
    assert not is_foreign(["model", "sku", "decode_tp", "isl", "concurrency", "mean_ttft_s"])


def test_results_of_mlperf_become_rows(tmp_path):
    frame = pd.read_csv(written(tmp_path, "results.csv", RESULTS), dtype=str)
    assert is_mlperf_table(list(frame.columns))
    rows, left_out = read_mlperf_rows(frame)
    assert [(row.benchmark, row.scenario, row.sku) for row in rows] == [
        ("llama3.1-8b", "offline", "h200"),
        ("llama2-70b", "server", "h200"),
        ("llama2-70b", "interactive", "mi325x"),
    ]
    assert rows[0].tokens_per_s == 160_000
    assert [line.split(":")[0] for line in left_out] == ["line 5", "line 7"]


def test_chips_beyond_all_numbers_are_left_out_with_their_line():
    chips = "9" * 400
    row = ["A", "NVIDIA H200-SXM-141GB", chips, "llama3_1-8b", "Offline", "Tokens/s", "160000"]
    frame = pd.DataFrame([row], columns=RESULTS.splitlines()[0].split(","))
    rows, left_out = read_mlperf_rows(frame)
    assert rows == []
    assert left_out == ["line 2: result '160000' or chips is no number"]


def test_results_of_mlperf_are_scored_by_scenario(tmp_path, capsys):
    predicted = "tokens_per_s,lo,hi\n144000,100000,200000\n40000,35000,50000\n8000,7000,9000\n"
    results = written(tmp_path, "results.csv", RESULTS)
    predictions = written(tmp_path, "predicted.csv", predicted)
    assert run(["score", results, "--predictions", predictions, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert lines["offline"][2] == "10.0%"
    assert lines["server"][2] == "25.0%"
    assert lines["interactive"][-1] == "100.0%"
    page = (tmp_path / "SCORE.md").read_text(encoding="utf-8")
    assert "## By scenario" in page
    assert (tmp_path / "score.png").exists()
    short = written(tmp_path, "short.csv", "tokens_per_s\n1\n")
    assert run(["score", results, "--predictions", short]) == 2
    assert "predictions has 1 rows, measured 3" in capsys.readouterr().err


SUMMARY = """\
Organization,Model,MlperfModel,Scenario,Result,number_of_nodes,accelerator_model_name,accelerators_per_node,Units
B,my-r1,deepseek-r1,Offline,160000,2,NVIDIA B200-SXM-180GB,8,Tokens/s
B,my-r1,deepseek-r1-interactive,Server,9000,1,NVIDIA GB300,4,Tokens/s
"""


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_summaries_of_a_round_count_accelerators_a_node(tmp_path, suffix):
    path = Path(written(tmp_path, f"summary.{suffix}", SUMMARY))
    if suffix == "json":
        header, *rows = (line.split(",") for line in SUMMARY.splitlines())
        path.write_text(json.dumps([dict(zip(header, row, strict=True)) for row in rows]))
    frame = text_table(path)
    assert is_mlperf_table(list(frame.columns))
    rows, left_out = read_mlperf_rows(frame)
    assert left_out == []
    assert [(row.sku, row.chips, row.scenario, row.submitter) for row in rows] == [
        ("b200", 16, "offline", "B"),
        ("gb300", 4, "interactive", "B"),
    ]


def test_other_json_is_no_table_of_mlperf(tmp_path):
    for text in ("{}", "[1, 2]", "{broken"):
        frame = text_table(Path(written(tmp_path, "other.json", text)))
        assert not is_mlperf_table(list(frame.columns))


def test_points_of_output_tokens_alone_are_scored_on_them(tmp_path, capsys):
    points = POINTS.replace(
        "tput_per_gpu", "actual_output_throughput_per_gpu,sim_output_throughput_per_gpu"
    )
    lines = points.splitlines()
    cells = [lines[0], *(f"{line},{0.9 * float(line.split(',')[-1]):g}" for line in lines[1:])]
    assert run(["score", written(tmp_path, "points.csv", "\n".join(cells) + "\n")]) == 0
    found = capsys.readouterr().out.split("throughput ")[-1].split()
    assert found[:4] == ["2", "10.0%", "10.0%", "-10.0%"]


SUSPECT = """\
sku,model,engine,precision,tp,ep,dp_attention,isl,osl,concurrency,tput_per_gpu,median_tpot
b200,deepseek-v4-pro,vllm,fp4,8,8,false,8192,1024,64,12000,0.035
b200,deepseek-v4-pro,vllm,fp4,1,1,false,8192,1024,64,,0.035
"""


GIVEN = """\
model,sku,engine,isl,osl,concurrency,pred_total_tput_per_gpu,pred_median_tpot_s,pred_mean_tpot_s,\
pred_mean_ttft_s,pred_median_ttft_s,bottleneck,status,message
deepseek-v4-pro,b200,vllm,8192,1024,64,1300,0.054,0.054,1,1,prefill: compute,ok,
deepseek-v4-pro,b200,vllm,8192,1024,64,,,,,,,does_not_fit,"on 1 x B200 it does not fit
  a table"
"""


def test_runs_that_contradict_themselves_and_rows_without_a_prediction_are_told(tmp_path, capsys):
    """96,000 tok/s of which 64 users at 28.6 make a fifth; 865 GB of weights on one chip."""
    given = written(tmp_path, "predicted.csv", GIVEN)
    assert run(["score", written(tmp_path, "mine.csv", SUSPECT), "--predictions", given]) == 0
    out = capsys.readouterr().out
    told = "note: suspect measured runs, 1 of 2, scored all the same: "
    assert f"{told}decoding clients above 1.1 of the concurrency" in out
    assert f"{told}the weights alone exceed the memory of its GPUs" in out
    assert "note: not predicted, 1 of 2: on 1 x B200 it does not fit\n" in out


def test_an_overlay_and_a_fit_read_columns_under_the_names_of_others(tmp_path):
    """A TPOT in milliseconds was left out without a word, and no run was drawn."""
    text = "hw,framework,model,precision,tp,isl,osl,conc,median_tpot_ms,ttft_p50_sec\n"
    path = written(
        tmp_path, "points.csv", text + "b200,vllm,deepseek-v4-pro,fp4,8,8192,1024,8,9,1\n"
    )
    imported = import_runs(path)
    (found,) = imported.frame.to_dict("records")
    assert found["median_tpot_s"] == pytest.approx(0.009)
    assert (found["sku"], found["decode_tp"], found["gpus"]) == ("b200", 8, 8)
    assert any("median_tpot_ms as median_tpot_s" in note for note in imported.notes)
    assert "points.csv: columns not read: ttft_p50_sec" in imported.notes
