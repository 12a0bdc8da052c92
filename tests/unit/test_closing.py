"""How answers end: the widest bands name the next run, winners and runners-up are told."""

import pandas as pd
import pytest

from simulator.analysis.objectives import NO_LIMIT, Objectives
from simulator.studies.closing import closing_lines, next_run, next_run_line
from simulator.studies.series import limit_line
from simulator.studies.sweep.winners import winner_lines, winner_of

COMMON = {
    "sku": "b200",
    "model": "deepseek-v4-pro",
    "isl": 8192,
    "osl": 1024,
    "economics": "2026-09",
    "kind": "calibrated",
    "acceptance_length": None,
    "meets_limits": True,
}


def run(engine, spec, speed, rate, *, band, on_frontier=True, clients=64, disagg=False):
    return COMMON | {
        "engine": engine,
        "spec": spec,
        "disagg": disagg,
        "label": "1xDEP8+1xDEP8" if disagg else "TP8",
        "concurrency": clients,
        "level": f"{engine}@2026-07",
        "interactivity": speed,
        "total_tput_per_gpu": rate,
        "total_tput_per_gpu_lo": rate / band,
        "total_tput_per_gpu_hi": rate * band,
        "on_frontier": on_frontier,
    }


@pytest.fixture
def runs():
    rows = [
        run("sglang", "none", 10.0, 5000.0, band=1.2),
        run("dynamo-sglang", "mtp", 40.0, 3000.0, band=1.5, clients=256, disagg=True),
        run("dynamo-sglang", "mtp", 80.0, 1500.0, band=1.5, clients=64, disagg=True),
        run("dynamo-sglang", "mtp", 160.0, 500.0, band=1.5, clients=8, disagg=True),
        run("vllm", "mtp", 80.0, 750.0, band=1.3, on_frontier=False),
        run("vllm", "mtp", 40.0, 1500.0, band=1.3, on_frontier=False),
    ]
    return pd.DataFrame(rows)


def test_the_next_run_is_the_middle_of_the_form_with_the_widest_bands(runs):
    found = next_run(runs[runs["on_frontier"]])
    assert (found.engine, found.concurrency, found.points) == ("dynamo-sglang", 64, 3)
    assert found.low == pytest.approx(1 / 1.5)
    assert "64 clients at 8192/1024" in next_run_line(found)


def test_a_narrower_form_with_more_points_does_not_come_first(runs):
    narrow = runs.assign(
        total_tput_per_gpu_lo=runs["total_tput_per_gpu"] / 1.01,
        total_tput_per_gpu_hi=runs["total_tput_per_gpu"] * 1.01,
    )
    narrow.loc[0, ["total_tput_per_gpu_lo", "total_tput_per_gpu_hi"]] = [2500.0, 10000.0]
    assert next_run(narrow[narrow["on_frontier"]]).engine == "sglang"


def test_without_bands_nothing_is_asked_for_and_that_is_said(runs):
    bare = runs.assign(total_tput_per_gpu_lo=float("nan"), total_tput_per_gpu_hi=float("nan"))
    assert next_run(bare) is None
    assert next_run_line(None) == ""
    assert any("never compared" in line for line in closing_lines(bare[bare["on_frontier"]]))


def test_closing_lines_count_the_fitted_runs_of_the_very_form(runs):
    rests, *_ = closing_lines(runs[runs["on_frontier"]])
    assert "runs of this form fitted" in rests
    made_up = runs.assign(engine="dynamo-none")
    rests, *_ = closing_lines(made_up[made_up["on_frontier"]])
    assert "no run of this very form was fitted" in rests


def test_the_winner_and_the_runner_up_are_told(runs):
    winner = winner_of(runs)
    assert winner.form == "dynamo-sglang mtp, disaggregated"
    assert (winner.points, winner.of) == (3, 4)
    assert winner.runner_up == "vllm mtp, aggregated"
    assert 40.0 <= winner.at <= 80.0
    assert winner.share == pytest.approx(0.5, rel=0.05)
    first, second = winner_lines(winner)
    assert "3 of 4 frontier points, 40.0 to 160 tok/s/user" in first
    assert "0.52 times its throughput at 57.0" in second


def test_one_form_alone_has_no_runner_up(runs):
    alone = runs[runs["engine"] == "dynamo-sglang"]
    assert winner_of(alone).runner_up == ""
    assert winner_of(alone.assign(on_frontier=False)) is None


def test_the_limit_and_what_it_leaves_off_are_stated(runs):
    late = runs.assign(meets_limits=[True] * 5 + [False])
    assert "1 of 6 runs are beyond it" in limit_line(late, limits=Objectives(ttft_p90_s=10.0))
    assert "no TTFT limit" in limit_line(late, limits=NO_LIMIT)
