"""Timelines: which dates a SKU's software has, and what is followed over them."""

import json

import numpy as np
import pandas as pd
import pytest

from simulator.analysis.objectives import NO_LIMIT
from simulator.analysis.pareto import Frontier
from simulator.cli.main import run
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings import build_scenario
from simulator.studies.sweep.choosing import Point
from simulator.studies.timeline.choosing import DateChoice
from simulator.studies.timeline.dates import dated_deployments, software_dates
from simulator.studies.timeline.plots import days_of
from simulator.studies.timeline.run import run_timeline, timeline
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
        known = runs[runs["engine"] <= f"sglang@{one.date}"]
        mine = known[known["engine"] == known["engine"].max()]
        cells = table[table["date"] == one.date].set_index(["basis", "value"])
        peak = cells.loc[("peak", np.nan), "total_tput_per_gpu"]
        assert peak == mine["total_tput_per_gpu"].max()
        eight = cells.loc[("clients", 8.0), "total_tput_per_gpu"]
        assert eight == mine.loc[mine["concurrency"] == 8, "total_tput_per_gpu"].max()
        expected = Frontier.of(mine["interactivity"], mine["total_tput_per_gpu"]).at(40.0)
        found = cells.loc[("interactivity", 40.0), "total_tput_per_gpu"]
        assert np.isnan(found) if expected is None else found == expected


def test_dates_on_which_nothing_changes_share_their_runs(followed):
    """2026-07-06 records the settings that were assumed from 2026-05-21 on."""
    dated = dated_deployments(build_sweep(flags={**FLAGS, "engine": ["sglang"]}))
    assert dated.in_force["2026-07-06"] == dated.in_force["2026-05-21"]
    assert dated.in_force["2026-05-10"] != dated.in_force["2026-05-21"]
    result, _ = followed
    assert "sglang@2026-07-06" not in set(result.swept.runs["engine"])
    table = result.frame().set_index(["date", "basis", "value"])["total_tput_per_gpu"]
    assert table["2026-07-06"].equals(table["2026-05-21"])


def test_a_sku_alone_is_followed_as_it_is_best_deployed():
    dated = dated_deployments(build_sweep(flags={"sku": "mi355x"}))
    engines = {str(one.load.engine).partition("@")[0] for one in dated.plan.sweeps}
    spec = {one.load.spec for one in dated.plan.sweeps}
    assert (engines, spec) == ({"atom"}, {"mtp"})
    told = " ".join(dated.plan.messages)
    assert "as best deployed" in told
    assert "ahead of" in told
    assert "others here: sglang (2026-04-25" in told
    racks = dated_deployments(build_sweep(flags={"sku": "gb300"}))
    assert len(racks.dates) > 1  # TensorRT-LLM, which wins there, has one date
    pinned = dated_deployments(build_sweep(flags={"sku": "mi355x", "spec": "none"}))
    assert {one.load.spec for one in pinned.plan.sweeps} == {"none"}


def test_of_a_frontier_only_what_moves_a_followed_figure_is_wanted():
    """Two points to either side of a speed, and what may have the most throughput."""
    points = {1 << k: Point(interactivity=100 / 2**k, tput=100 * 1.8**k) for k in range(9)}
    choice = DateChoice(estimates={"one": points}, speeds=(30.0,))
    wanted = {concurrency for _, concurrency in choice.next_points()}
    assert {1, 2, 4, 8, 256} == wanted  # 100, 50, 25 and 12.5 tok/s/user
    everything = DateChoice(
        estimates={"one": points}, speeds=tuple(p.interactivity for p in points.values())
    )
    assert {c for _, c in everything.next_points()} == set(points)


def test_a_month_counts_as_its_last_day():
    days = days_of(pd.Series(["2026-05-23", "2026-08", "2026-06-16"]))
    assert [str(day.date()) for day in days] == ["2026-05-23", "2026-08-31", "2026-06-16"]
    dates = software_dates(build_scenario(flags={"sku": "mi355x", "engine": "atom"}).scenario)
    assert [one.day for one in dates] == sorted(one.day for one in dates)


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
    assert "p90 TTFT up to 10 s" in text.splitlines()[0]
    assert "TTFT limit: p90 up to 10 s (--ttft-p90, --no-ttft-limit)" in text
    assert all(f"\n{one.date} " in text for one in followed[0].dates)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"timeline.csv", "timeline.png", "points.csv", "resolved.yaml"} <= names
    assert run([*arguments, "--json", "--no-ttft-limit"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [one["date"] for one in summary["dates"]] == [one.date for one in followed[0].dates]
    assert summary["limits"]["ttft_p90_s"] is None
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
@pytest.mark.parametrize("limits", [NO_LIMIT, NO_LIMIT.online()[0]], ids=["any TTFT", "10 s"])
def test_what_is_followed_is_found_without_running_everything(limits):
    """Against all runs: no figure is short by more than 5 %, and every best one is as good."""
    flags = {"sku": "mi355x", "engine": "sglang", "gpus": 8, "isl": 1024, "osl": 128}
    asked = {"flags": flags, "file": None, "at": (20.0, 50.0), "clients": (64,), "limits": limits}
    few = run_timeline(**asked)
    every = run_timeline(**asked, every=True)
    assert len(few.swept.runs) < 0.6 * len(every.swept.runs)
    rates = few.frame()["total_tput_per_gpu"], every.frame()["total_tput_per_gpu"]
    np.testing.assert_array_equal(np.isnan(rates[0]), np.isnan(rates[1]))
    known = ~np.isnan(rates[1])
    assert (rates[0][known] >= 0.95 * rates[1][known]).all()
