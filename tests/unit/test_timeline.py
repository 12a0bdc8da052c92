"""Timelines: which dates a SKU's software has, and what is followed over them."""

import json

import numpy as np
import pytest

from simulator.analysis.pareto import Frontier
from simulator.cli.main import run
from simulator.scenario.settings import build_scenario
from simulator.studies.timeline.run import run_timeline, software_dates, timeline
from workloads.errors import UserError

FLAGS = {"sku": "mi355x", "engine": "sglang", "tp": 8, "ep": 8, "concurrency": [1, 64]}
# SemiAnalysis InferenceX-app blog mi355x-deepseek-v4-pro-sglang-110x-in-26-days
PUBLISHED_DATES = {"2026-04-25", "2026-05-02", "2026-05-21"}


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("timeline")
    return (
        run_timeline(
            flags=FLAGS, file=None, at=(8.0, 40.0), clients=(8,), directory=directory, workers=1
        ),
        directory,
    )


def test_dates_are_those_of_plans_fits_and_recorded_settings():
    dates = software_dates(build_scenario(flags={"sku": "mi355x", "engine": "sglang"}).scenario)
    assert {one.date for one in dates} >= PUBLISHED_DATES
    assert [one.date for one in dates] == sorted(one.date for one in dates)
    by_date = {one.date: one.changes for one in dates}
    assert "plan" in by_date["2026-04-25"]
    assert "settings" in by_date["2026-05-10"]


def test_every_date_has_a_row_for_all_that_is_followed(followed):
    result, _ = followed
    table = result.frame()
    assert len(table) == len(result.dates) * 4
    assert table.groupby("date").size().eq(4).all()
    assert set(table["basis"]) == {"interactivity", "clients", "peak"}
    first = table[table["date"] == table["date"].min()]
    assert first.loc[first["total_tput_per_gpu"].notna(), "times_first"].eq(1.0).all()


def test_figures_are_those_of_the_runs_of_the_date(followed):
    result, _ = followed
    runs, table = result.swept.runs, result.frame()
    for one in result.dates:
        mine = runs[runs["engine"] == f"sglang@{one.date}"]
        cells = table[table["date"] == one.date].set_index(["basis", "value"])
        peak = cells.loc[("peak", np.nan), "total_tput_per_gpu"]
        assert peak == mine["total_tput_per_gpu"].max()
        eight = cells.loc[("clients", 8.0), "total_tput_per_gpu"]
        assert eight == mine.loc[mine["concurrency"] == 8, "total_tput_per_gpu"].max()
        expected = Frontier.of(mine["interactivity"], mine["total_tput_per_gpu"]).at(40.0)
        found = cells.loc[("interactivity", 40.0), "total_tput_per_gpu"]
        assert np.isnan(found) if expected is None else found == expected


def test_working_kernels_are_worth_more_than_any_later_change(followed):
    """From first light with FP8 fallback kernels to FP4 experts within a week."""
    table = followed[0].frame()
    peak = table[table["basis"] == "peak"].set_index("date")["times_first"]
    assert peak["2026-05-02"] > 2
    assert peak["2026-05-02"] == peak[peak.index <= "2026-05-02"].max()


def test_the_concurrencies_that_are_followed_run_besides_the_stated_ones(followed):
    assert set(followed[0].swept.runs["concurrency"]) == {1, 8, 64}


def test_the_picture_is_drawn_and_its_bytes_repeat(followed, tmp_path):
    result, _ = followed
    result.plot(tmp_path / "one.png")
    result.plot(tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_the_command_prints_a_line_for_each_date(followed, tmp_path, capsys):
    arguments = ["timeline", "--sku", "mi355x", "--engine", "sglang", "--tp", "8", "--ep", "8"]
    arguments += ["--concurrency", "1,64", "--at", "8,40", "--clients", "8"]
    arguments += ["--out", str(tmp_path), "--workers", "1"]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert all(f"\n{one.date} " in text for one in followed[0].dates)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"timeline.csv", "timeline.png", "points.csv", "resolved.yaml"} <= names
    assert run([*arguments, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [one["date"] for one in summary["dates"]] == [one.date for one in followed[0].dates]
    assert run([*arguments, "--csv"]) == 0
    assert capsys.readouterr().out == (tmp_path / "timeline.csv").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "sglang@2026-05"}, "names one level"),
        ({"engine": "sglang@specification"}, "names one level"),
        ({"sku": ["mi355x", "b200"]}, "sku has several values"),
        ({"sku": "gaudi3", "engine": "vllm"}, "no dated software of vllm on gaudi3"),
        ({"at": (0.0,)}, "every number must be above 0"),
        ({"clients": (0,)}, "every number must be above 0"),
    ],
)
def test_what_cannot_be_followed_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        timeline(workers=1, **{**FLAGS, **changes})


@pytest.mark.slow
def test_what_is_followed_is_found_without_running_everything():
    """Against all runs: no figure is short by more than 5 %, and every best one is as good."""
    flags = {"sku": "mi355x", "engine": "sglang", "gpus": 8, "isl": 1024, "osl": 128}
    few = run_timeline(flags=flags, file=None, at=(20.0, 50.0), clients=(64,))
    every = run_timeline(flags=flags, file=None, at=(20.0, 50.0), clients=(64,), every=True)
    assert len(few.swept.runs) < 0.6 * len(every.swept.runs)
    rates = few.frame()["total_tput_per_gpu"], every.frame()["total_tput_per_gpu"]
    np.testing.assert_array_equal(np.isnan(rates[0]), np.isnan(rates[1]))
    known = ~np.isnan(rates[1])
    assert (rates[0][known] >= 0.95 * rates[1][known]).all()
