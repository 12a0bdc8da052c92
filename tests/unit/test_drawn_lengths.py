"""Lengths of a file or of an MLPerf workload in closed loops: curve, sweep, compare, predict."""

import csv
import json

import numpy as np
import pytest
import yaml

from simulator.cli.main import run
from simulator.engines.pools import PoolLayout
from simulator.prediction.run import simulate_run
from simulator.scenario.configure import configure_run
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings import Scenario, build_scenario
from simulator.studies.workload_limits import workload_limit_lines
from workloads.errors import UserError
from workloads.layout import Layout
from workloads.models.expert_load import REAL_TEXT, UNIFORM

ONE = ["--sku", "h200", "--engine", "vllm", "--model", "llama-3.1-8b", "--tp", "1"]
TEXT = """\
prompt: {law: quantiles, probabilities: [0, 0.5, 1], tokens: [40, 80, 900]}
output: {law: histogram, edges: [8, 16, 64], counts: [3, 1], at_cap: 1}
"""


@pytest.fixture
def lengths(tmp_path):
    path = tmp_path / "lengths.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def configured(**stated):
    scenario = Scenario(**{"sku": "h200", "model": "llama-3.1-8b", "engine": "vllm", **stated})
    pools = (PoolLayout(layout=Layout(tp=1)),)
    return configure_run(scenario, pools=pools, concurrency=32)[0]


def test_requests_of_a_closed_loop_have_the_lengths_of_the_file(lengths):
    configuration = configured(lengths=str(lengths))
    records = simulate_run(configuration).records
    prompts, outputs = records.prompt_tokens, records.output_tokens
    assert np.median(prompts) == pytest.approx(80, rel=0.15)
    assert configuration.isl < prompts.max() <= 900
    assert outputs.min() >= 8
    assert (outputs == 64).mean() == pytest.approx(0.2, abs=0.07)
    assert configuration.longest_context == 964


def test_what_a_user_reads_as_lengths_are_the_means(lengths):
    source = build_scenario(flags={"sku": "h200", "lengths": str(lengths)})
    laws = configured(lengths=str(lengths)).lengths
    assert (source.scenario.isl, source.scenario.osl) == tuple(
        round(law.mean_tokens) for law in laws
    )
    assert source.origin["isl"] == f"means of lengths {lengths}"


def test_lengths_beside_others_are_refused(lengths):
    for name, value in (("isl", 100), ("osl", 7), ("length_distribution", "fixed")):
        told = f"and {name} {value!r} are given; lengths come from one"
        with pytest.raises(UserError, match=told):
            build_scenario(flags={"sku": "h200", "lengths": str(lengths), name: value})
    with pytest.raises(UserError, match="and isl 100, 200 are given"):
        build_sweep(flags={"sku": "h200", "lengths": str(lengths), "isl": [100, 200]})


def test_real_text_falls_on_experts_as_text_does(lengths):
    moe = {"sku": "b200", "model": "gpt-oss-120b"}
    assert configured(**moe, lengths=str(lengths)).expert_load == REAL_TEXT
    assert configured(**moe).expert_load == UNIFORM


def test_an_answer_beyond_the_models_context_is_refused(lengths):
    lengths.write_text(TEXT.replace("900", "140000"), encoding="utf-8")
    with pytest.raises(UserError, match="beyond the 131072 tokens of context"):
        simulate_run(configured(lengths=str(lengths)))


def test_a_sweep_takes_several_lengths_each_with_its_means(lengths, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("{prompt: {law: fixed, tokens: 70}, output: {law: fixed, tokens: 9}}")
    settings = build_sweep(flags={"sku": "h200", "lengths": [str(lengths), str(other)]})
    loads = list(settings.loads())
    assert [(load.lengths, load.isl) for load in loads[1:]] == [(str(other), 70)]
    assert loads[0].isl != 70
    assert settings.varied == ("lengths",)


@pytest.mark.parametrize(
    "command", ["curve", "sweep", pytest.param("compare", marks=pytest.mark.slow)]
)
def test_a_resolved_file_with_lengths_runs_again(command, lengths, tmp_path):
    start = {"curve": ONE, "sweep": ["sweep", *ONE]}
    arguments = start.get(command, ["compare", "h200:vllm", "a100:vllm", *ONE[4:]])
    first, second = tmp_path / "first", tmp_path / "second"
    common = ["--concurrency", "1,2", "--out"]
    assert run([*arguments, "--lengths", str(lengths), *common, str(first)]) == 0
    own = [] if command == "curve" else [command]
    assert run([*own, "--scenario", str(first / "resolved.yaml"), "--out", str(second)]) == 0
    for name in ("resolved.yaml", "summary.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_what_follows_from_drawn_lengths_is_not_moved_apart(lengths, tmp_path, capsys):
    asked = [*ONE, "--lengths", str(lengths), "--concurrency", "2", "--replications", "1"]
    assert run(["sensitivity", *asked, "--json", "--out", str(tmp_path / "s")]) == 0
    assert f"lengths are drawn from {lengths}" in capsys.readouterr().out


def test_other_lengths_replace_those_of_a_resolved_file(lengths, tmp_path):
    path = tmp_path / "resolved.yaml"
    told = {"lengths": "flag", "isl": "means of lengths gone.yaml", "sku": "flag"}
    values = {"lengths": "gone.yaml", "isl": 5, "sku": "h200"}
    path.write_text(yaml.safe_dump({n: {"value": values[n], "origin": told[n]} for n in told}))
    assert build_scenario(flags={"lengths": str(lengths)}, file=path).scenario.isl > 5


def test_predict_reads_the_lengths_that_a_sweep_writes(lengths, tmp_path):
    out = tmp_path / "sweep"
    asked = ["sweep", *ONE, "--lengths", str(lengths), "--concurrency", "4"]
    assert run([*asked, "--out", str(out)]) == 0
    assert run(["predict", str(out / "points.csv"), "--out", str(tmp_path / "p.csv")]) == 0
    with open(out / "points.csv") as before, open(tmp_path / "p.csv") as after:
        points, predicted = list(csv.DictReader(before)), list(csv.DictReader(after))
    assert predicted[0]["length_distribution"] == str(lengths)
    name = "total_tput_per_gpu"
    assert float(predicted[0][f"pred_{name}" if f"pred_{name}" in predicted[0] else name]) == (
        pytest.approx(float(points[0][name]), rel=1e-5)
    )


def test_a_row_whose_means_are_others_is_not_predicted(lengths, tmp_path, capsys):
    rows = tmp_path / "rows.csv"
    head = "model,sku,engine,isl,osl,concurrency,length_distribution"
    rows.write_text(f"{head}\nllama-3.1-8b,h200,vllm,1000,9,1,{lengths}\n")
    assert run(["predict", str(rows), "--out", str(tmp_path / "p.csv")]) == 0
    assert "1 unsupported" in capsys.readouterr().err
    assert "on average; write these" in (tmp_path / "p.csv").read_text()


def test_a_workload_by_name_brings_lengths_and_limits(tmp_path, capsys):
    workload = ["--workload", "mlperf-llama3.1-8b-server", "--concurrency", "1,8"]
    assert run(["sweep", *ONE, *workload, "--json", "--out", str(tmp_path / "s")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["settings"]["lengths"]["value"] == "mlperf-llama3.1-8b-server"
    assert any("p99 TTFT 2 s and p99 TPOT 0.1 s" in message for message in summary["messages"])
    assert {point["osl"] for point in summary["frontier"]} == {128}
    assert run([*ONE, "--workload", "1k1k", "--isl", "9"]) == 2
    assert "workload 1k1k and isl are given" in capsys.readouterr().err
    assert run([*ONE, "--workload", "agentic"]) == 2
    assert "takes agentx, a file of sessions, 8k1k or mlperf-r1-server" in capsys.readouterr().err


def test_points_are_held_against_the_limits_of_their_workload():
    base = {"series": "s", "length_distribution": "mlperf-r1-server", "label": "DEP8"}
    points = [
        base | {"concurrency": c, "p99_ttft_s": t, "p99_tpot_s": 0.05, "output_tput_per_gpu": r}
        for c, t, r in ((8, 1.0, 50.0), (64, 1.9, 200.0), (512, 2.1, 900.0))
    ]
    (line,) = workload_limit_lines(points)
    assert "2 of 3 points hold p99 TTFT 2 s and p99 TPOT 0.08 s" in line
    assert "best DEP8 with 64 clients, 200 output tok/s/GPU" in line
    assert workload_limit_lines([one | {"length_distribution": "fixed"} for one in points]) == []
    assert (
        workload_limit_lines([one | {"length_distribution": "mlperf-r1"} for one in points]) == []
    )
