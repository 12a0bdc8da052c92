"""``simulate mlperf`` from flags to what it prints."""

import json

import pytest

from simulator.cli.main import run


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
