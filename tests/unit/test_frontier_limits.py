"""TTFT limits and goodput of frontiers, alike in curve, sweep and compare."""

import json

import numpy as np
import pytest

from simulator.analysis.objectives import NO_LIMIT, Objectives, stated_limits
from simulator.cli.main import run
from simulator.cli.options import frontier_limits
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings import build_scenario
from simulator.studies.curve.run import explore_curve
from simulator.studies.sweep.run import run_sweep

SMALL = {
    "sku": "b200",
    "engine": "vllm",
    "tp": 8,
    "ep": 8,
    "dp_attention": False,
    "isl": 1024,
    "osl": 64,
    "concurrency": [1, 8],
}


def test_each_percentile_and_the_goodput_count_and_the_worst_decides():
    limits = Objectives(ttft_p50_s=2.0, ttft_p99_s=8.0, goodput=0.9)
    run_ = {"median_ttft_s": 1.0, "p90_ttft_s": 100.0, "p99_ttft_s": 4.0, "goodput": 0.95}
    assert limits.ttft_use(run_) == pytest.approx(0.9 / 0.95)
    assert limits.ttft_use({**run_, "p99_ttft_s": 16.0}) == pytest.approx(2.0)
    assert limits.ttft_use({**run_, "goodput": 0.45}) == pytest.approx(2.0)
    assert limits.goodput_ttft_s == 2.0
    assert NO_LIMIT.ttft_use(run_) == 0.0


def test_a_goodput_alone_is_judged_by_the_ttft_of_online_service():
    assert stated_limits(goodput=0.9).goodput_ttft_s == 10.0
    assert stated_limits(ttft_p90_s=None, goodput=None) is None


def test_the_default_limit_is_stated_by_nobody_and_lifted_by_a_flag(tmp_path):
    none = dict.fromkeys(("ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "goodput"))
    default = frontier_limits(dict(none), no_limit=False, scenario=None)
    assert default == Objectives(ttft_p90_s=10.0)
    assert frontier_limits(dict(none), no_limit=True, scenario=None) == NO_LIMIT
    plain, own = tmp_path / "plain.yaml", tmp_path / "own.yaml"
    plain.write_text("sku: b200")
    own.write_text("sku: b200\nttft_p50_s: 3")
    assert frontier_limits(dict(none), no_limit=False, scenario=plain) == default
    assert frontier_limits(dict(none), no_limit=False, scenario=own) is None
    assert build_scenario(flags={}, file=own).limits == Objectives(ttft_p50_s=3.0)
    assert build_sweep(flags={}, file=own).limits == Objectives(ttft_p50_s=3.0)


def test_a_curve_and_a_sweep_leave_the_same_points_off(tmp_path):
    """The share of the requests themselves, beside the percentiles of their TTFT."""
    one = build_scenario(flags={**SMALL, "concurrency": (1, 8)})
    free = explore_curve(one)
    waits = {point["concurrency"]: point["p99_ttft_s"] for point in free.points}
    records = free.records["TEP8", 8].ttft_s
    limit_s = float(np.quantile(records, 0.8))
    assert waits[1] < limit_s < waits[8]
    limits = Objectives(ttft_p99_s=limit_s * 100, ttft_p50_s=limit_s, goodput=0.9)
    drawn = explore_curve(one, limits=limits)
    share = {point["concurrency"]: point["goodput"] for point in drawn.points}
    assert share[8] == pytest.approx(np.mean(records <= limit_s))
    assert {p["concurrency"]: p["meets_limits"] for p in drawn.points} == {1: True, 8: False}
    assert [point["concurrency"] for point in drawn.frontier] == [1]
    assert [point["concurrency"] for point in drawn.late] == [8]
    assert drawn.resolved["goodput"]["value"] == 0.9
    swept = run_sweep(build_sweep(flags=SMALL), directory=tmp_path, workers=1, limits=limits)
    assert swept.runs["meets_limits"].tolist() == [True, False]
    assert swept.runs["goodput"].tolist() == pytest.approx(list(share.values()))
    again = run_sweep(build_sweep(flags=SMALL), directory=tmp_path, workers=1, limits=limits)
    assert again.fresh == 0


def test_the_command_marks_what_misses_the_limit(capsys, tmp_path):
    flags = "--sku b200 --engine vllm --tp 8 --ep 8 --no-dp-attention --isl 1024 --osl 64"
    asked = [*flags.split(), "--concurrency", "1,8", "--out", str(tmp_path / "o")]
    assert run([*asked, "--ttft-p50", "0.08"]) == 0
    out = capsys.readouterr().out
    assert "TTFT limit: p50 up to 0.08 s (--ttft-p50, --no-ttft-limit); 1 of 2 points" in out
    assert "TEP8 *" in out
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["limits"]["ttft_p50_s"] == 0.08
    assert sorted(point["meets_limits"] for point in summary["points"]) == [False, True]
    assert run([*asked, "--ttft-p50", "0.08", "--no-ttft-limit"]) == 2
    assert "exclude each other" in capsys.readouterr().err
