"""What-ifs are set beside the unchanged chip, point by point."""

import json

import pytest

from hwmodels.sku import load_sku
from simulator.cli.main import run
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings import build_scenario
from simulator.studies.changes import changes_of, changes_remark, changes_table
from simulator.studies.curve.run import explore_curve
from simulator.studies.sweep.run import changes_of_sweep, run_sweep

SMALL = {
    "sku": "b200",
    "engine": "vllm",
    "tp": 8,
    "ep": 8,
    "dp_attention": False,
    "isl": 512,
    "osl": 16,
    "concurrency": (1, 4),
}


def test_a_change_to_what_is_already_so_changes_nothing():
    same = {"hbm_bytes_per_s": load_sku("b200").hbm_bytes_per_s}
    result = explore_curve(build_scenario(flags={**SMALL, "overrides": same}))
    assert result.changes
    for change in result.changes:
        assert change.changed.startswith("hbm_bytes_per_s")
        for name in change.after:
            assert change.ratio(name) == 1.0
    assert "binds at none of these points" in changes_remark(result.changes)


def test_the_unchanged_points_are_those_of_a_run_of_their_own(tmp_path):
    fast = build_sweep(flags={**SMALL, "overrides": {"hbm_bytes_per_s": 16e12}})
    swept = run_sweep(fast, directory=tmp_path, workers=1)
    plain = {p["concurrency"]: p for p in explore_curve(build_scenario(flags=SMALL)).points}
    changes = changes_of_sweep(swept, workers=1)
    assert changes
    for change in changes:
        own = plain[change.concurrency]
        assert change.before["total_tput_per_gpu"] == pytest.approx(own["total_tput_per_gpu"])
        assert change.ratio("total_tput_per_gpu") > 1.02
        assert change.ratio("median_tpot_s") < 0.98
    assert "hbm_bytes_per_s 1.6e+13" in str(changes_table(changes).title)
    assert changes_remark(changes) == ""


def test_a_point_that_the_unchanged_chip_cannot_run_says_so():
    flags = {**SMALL, "tp": 4, "ep": 4, "concurrency": (1,)}
    roomy = build_scenario(flags={**flags, "overrides": {"hbm_usable_bytes": 500e9}})
    (change,) = explore_curve(roomy).changes
    assert change.before == {}
    assert "does not fit" in change.reason
    assert change.ratio("median_tpot_s") is None


def test_rows_without_a_change_are_not_run_again():
    row = {"on_frontier": True, "overrides": "", "engine_settings": "", "engine": "vllm"}
    assert changes_of([row], base=build_scenario(flags=SMALL).scenario) == []


def test_the_command_prints_the_ratios(capsys, tmp_path):
    flags = "--sku b200 --engine vllm --tp 8 --ep 8 --no-dp-attention --isl 512 --osl 16"
    asked = [*flags.split(), "--concurrency", "1", "--engine-set", "max_num_seqs=8"]
    assert run([*asked, "--out", str(tmp_path / "o")]) == 0
    assert "against the unchanged chip (max_num_seqs 8)" in capsys.readouterr().out
    (change,) = json.loads((tmp_path / "o" / "summary.json").read_text())["changes"]
    assert change["total_tput_per_gpu_ratio"] == pytest.approx(1.0, rel=0.02)
