"""How answers end: the widest bands name the next run, winners and runners-up are told."""

import math

import pandas as pd
import pytest

from simulator.analysis.objectives import NO_LIMIT, Objectives
from simulator.cli.main import run as command_line
from simulator.output.text_tables import records_of
from simulator.studies.closing import closing_lines
from simulator.studies.next_runs import candidate_runs, next_run_line, next_run_lines
from simulator.studies.series import caption_of, limit_line
from simulator.studies.sweep.winners import winner_lines, winner_of

COMMON = {
    "sku": "b200",
    "model": "deepseek-v4-pro",
    "isl": 8192,
    "osl": 1024,
    "economics": "2026-09",
    "kind": "calibrated",
    "acceptance_length": None,
    "decode_workers": 1,
    "decode_tp": 8,
    "decode_dp_attn": False,
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
    found, *_ = candidate_runs(records_of(runs))
    assert (found.engine, found.concurrency, found.points) == ("dynamo-sglang", 64, 3)
    assert found.low == pytest.approx(1 / 1.5)
    assert "64 clients at 8192/1024" in next_run_line([found])


def test_a_narrower_form_with_more_points_does_not_come_first(runs):
    narrow = runs.assign(
        total_tput_per_gpu_lo=runs["total_tput_per_gpu"] / 1.01,
        total_tput_per_gpu_hi=runs["total_tput_per_gpu"] * 1.01,
    )
    narrow.loc[0, ["total_tput_per_gpu_lo", "total_tput_per_gpu_hi"]] = [2500.0, 10000.0]
    assert candidate_runs(records_of(narrow))[0].engine == "sglang"


def test_candidates_are_ranked_by_what_bands_lose_and_those_that_reach_the_frontier_follow(runs):
    """Of n fitted runs the band shrinks as the mean's of n + 1 by one more."""
    ranked = candidate_runs(records_of(runs))
    assert [run.leads for run in ranked] == sorted((run.leads for run in ranked), reverse=True)
    assert [run.gain for run in ranked if run.leads] == sorted(
        (run.gain for run in ranked if run.leads), reverse=True
    )
    for run in ranked:
        part = math.log(run.high_after) / math.log(run.high)
        assert part == pytest.approx(math.sqrt((run.runs + 1) / (run.runs + 2)))
    # 1.3 times 1,500 at 40 tok/s/user stays below 3,000; a band of 2.1 reaches it
    assert "vllm" not in {run.engine for run in ranked}
    wide = runs.assign(total_tput_per_gpu_hi=2.1 * runs["total_tput_per_gpu"])
    (challenger,) = [run for run in candidate_runs(records_of(wide)) if run.engine == "vllm"]
    assert not challenger.leads
    assert "up to the frontier" in challenger.decides
    assert f"1. {ranked[0].how}" in next_run_lines(ranked)[1]


def test_a_form_that_was_never_run_gets_the_band_of_such_that_were(runs):
    lent = runs.assign(kind="transferred", total_tput_per_gpu_hi=3 * runs["total_tput_per_gpu"])
    for run in candidate_runs(records_of(lent)):
        assert run.high_after < 2.0
        assert run.low_after >= run.low


def test_without_bands_nothing_is_asked_for_and_that_is_said(runs):
    bare = runs.assign(total_tput_per_gpu_lo=float("nan"), total_tput_per_gpu_hi=float("nan"))
    assert candidate_runs(records_of(bare)) == []
    assert next_run_line([]) == ""
    assert any("never compared" in line for line in closing_lines(records_of(bare)))


def test_closing_lines_count_the_fitted_runs_of_the_very_form(runs):
    rests, *_ = closing_lines(records_of(runs))
    assert "runs of this form fitted" in rests
    made_up = runs.assign(engine="dynamo-none")
    rests, *_ = closing_lines(records_of(made_up))
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


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            [
                "load",
                "--sku",
                "b300",
                "--isl",
                "256",
                "--osl",
                "8",
                "--rate",
                "2",
                "--requests",
                "20",
            ],
            ("TPOT within", "TTFT within", "b300 as best deployed at 2 req/s"),
        ),
        (
            ["explain", "--sku", "b300", "--tp", "8", "--concurrency", "8"],
            ("TPOT within", "engine vllm stands in"),
        ),
        (
            ["explain", "--sku", "b200", "--engine", "dynamo-sglang", "--isl", "256", "--osl", "8"],
            ("tok/s/GPU within", "no run of this very form was fitted"),
        ),
    ],
)
def test_answers_about_one_deployment_end_with_what_a_reviewer_asks(
    command, words, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert command_line(command) == 0
    text = capsys.readouterr().out
    for told in ("it rests on: ", "how far off: nine in ten", "measure first: ", *words):
        assert told in text, told


def test_a_named_engine_needs_no_word_of_others(capsys):
    assert command_line(["explain", "--sku", "b300", "--engine", "vllm", "--concurrency", "8"]) == 0
    assert "stands in, default" not in capsys.readouterr().out


def test_dates_of_one_form_are_one_part_with_all_their_runs(runs):
    rows = [
        COMMON
        | run("sglang", "none", 10.0 * step, 5000.0 / step, band=1.2)
        | {"engine": f"sglang@2026-0{step}-01", "level": f"sglang@2026-0{step}-01", "sku": "mi355x"}
        for step in (4, 5)
    ]
    rests = closing_lines(rows)[0]
    assert rests.startswith(
        "it rests on: sglang on mi355x at sglang@2026-04-01, 2026-05-01 (calibrated, "
    )
    assert "runs of this form fitted over all dates); prices" in rests


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([("a@1", "calibrated"), ("a@1", "transferred")], "a@1 (calibrated and transferred)"),
        ([("a@1", "transferred"), ("b@1", "transferred")], "a@1, b@1 (all transferred)"),
        ([("a@1", "calibrated"), ("b@1", "transferred")], "a@1, b@1 (transferred)"),
        ([("a@1", "calibrated"), ("b@1", "calibrated")], "a@1, b@1"),
    ],
)
def test_a_caption_names_each_level_once(pairs, told):
    rows = pd.DataFrame(
        [
            {
                "sku": "b200",
                "prefill_sku": None,
                "model": "m",
                "precision": "fp4",
                "isl": 1,
                "osl": 2,
                "disagg": False,
                "spec": "none",
                "economics": "2026-09",
                "level": level,
                "kind": kind,
            }
            for level, kind in pairs
        ]
    )
    assert f", 1/2, {told}, aggregated, no speculation, economics" in caption_of(rows)
