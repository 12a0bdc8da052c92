"""``simulate mlperf`` from flags to what it prints."""

import json

import pytest

from simulator.cli.main import run
from simulator.studies.mlperf.request import build_mlperf, submissions


def mlperf(capsys, *flags):
    assert run(["mlperf", "--sku", "h200", "--benchmark", "llama3.1-8b", *flags]) == 0
    return capsys.readouterr().out


def test_a_stated_rate_is_judged(capsys):
    out = mlperf(
        capsys, "--deployment", "TP1", "--rate", "16", "--chips", "8", "--arrivals", "600", "--json"
    )
    result = json.loads(out)
    assert result["copies"] == 8
    assert result["passed"]
    assert result["completed_queries_per_s"] == pytest.approx(16, rel=0.1)
    # every answer has 128 tokens
    assert result["tokens_per_s"] == pytest.approx(
        128 * result["completed_queries_per_s"], rel=0.01
    )
    assert {row["name"] for row in result["latencies"]} == {"TTFT", "TPOT"}


def test_offline_says_its_throughput_without_limits(capsys):
    out = mlperf(capsys, "--scenario", "offline", "--deployment", "TP1", "--queries", "4000")
    assert "output per chip" in out
    assert "limit" not in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--scenario", "edge"], "scenario 'edge' is unknown"),
        (["--benchmark", "bert"], "benchmark 'bert' is unknown"),
        (["--scenario", "offline", "--rate", "3"], "no meaning offline"),
        (["--rate", "-1"], "rate is -1.0; it must be positive"),
        (["--deployment", "TP1", "--chips", "0"], "chips is 0"),
        (["--deployment", "XP1"], "is not a pool"),
    ],
)
def test_what_cannot_be_asked_is_named(capsys, flags, message):
    arguments = ["mlperf", "--sku", "h200"]
    if "--benchmark" not in flags:
        arguments += ["--benchmark", "llama3.1-8b"]
    assert run([*arguments, *flags]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", submissions())
def test_a_submission_states_settings_that_its_engine_has(name):
    asked = build_mlperf(flags={}, submission=name)
    assert asked.chips == submissions()[name]["chips"]
    assert asked.base.engine_settings == submissions()[name]["engine_settings"]


def test_what_is_stated_comes_before_the_submission():
    flags = {"sku": "h200", "engine_settings": {"max_num_tokens": 100}}
    name = "v6.0-dell-b300-llama3.1-8b-server"
    asked = build_mlperf(flags=flags, submission=name, chips=16)
    assert (asked.base.sku, asked.chips) == ("h200", 16)
    assert asked.base.engine_settings["max_num_tokens"] == 100
    assert asked.base.engine_settings["max_batch_size"] == 6000
