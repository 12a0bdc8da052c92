"""Sweeps: what they vary, what they keep, and that nothing depends on how they are run."""

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.analysis.costs import with_costs
from simulator.analysis.objectives import Objectives
from simulator.analysis.pareto import frontier_indices
from simulator.cli.main import run
from simulator.engines.pools import deployment_label
from simulator.output.columns import RUN
from simulator.scenario.candidates import candidate_deployments
from simulator.scenario.grid import build_sweep, parse_integers
from simulator.scenario.target import resolve_target
from simulator.studies.sweep.deployments import plan_sweep
from simulator.studies.sweep.points import ConcurrencySweep
from simulator.studies.sweep.run import run_sweep
from simulator.studies.sweep.store import digest_of_inputs, read_points
from simulator.studies.sweep.text import distinct
from workloads.errors import UserError

points = import_module("simulator.studies.sweep.points")
sweeps = import_module("simulator.studies.sweep.run")
tasks = import_module("simulator.studies.sweep.tasks")

SMALL = {"sku": "mi355x", "tp": 8, "ep": [1, 8], "dp_attention": False, "concurrency": [1, 4]}


def small(**changes):
    return build_sweep(flags={**SMALL, **changes})


def files_of(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    directory = tmp_path_factory.mktemp("swept")
    return run_sweep(small(), directory=directory, workers=1), directory


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("4", (4,)), ("4,8", (4, 8)), ("1-4", (1, 2, 3, 4)), ("1-2,2,7", (1, 2, 7)), (3, (3,))],
)
def test_whole_numbers_come_as_values_lists_and_ranges(text, numbers):
    assert parse_integers(text, name="ep") == numbers


@pytest.mark.parametrize("text", ["", "a", "4-", "8-4", "1..4", "4,,8"])
def test_other_texts_are_refused_with_the_field_named(text):
    with pytest.raises(UserError, match="ep '"):
        parse_integers(text, name="ep")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "no SKU is given"),
        ({"sku": "mi35x"}, "did you mean mi355x"),
        ({"sku": "b200", "tp": "x"}, "tp 'x'"),
        ({"sku": "b200", "colour": 1}, "setting 'colour' is unknown"),
        ({"sku": "b200", "isl": []}, "isl is an empty list"),
        ({"sku": "b200", "isl": 0}, "isl is 0"),
        ({"sku": "b200", "concurrency": [0]}, "concurrency is"),
        ({"sku": "b200", "spec": ["none", "mtp:0"]}, "spec 'mtp:0'"),
        ({"sku": "b200", "engine": ["vlm"]}, "did you mean vllm"),
        ({"sku": "b200", "economics": ["2030-01"]}, "economics '2030-01' is unknown"),
        ({"sku": "b200", "overrides": {"hbm": 1.0}}, "did you mean hbm_bytes"),
        (
            {"sku": "b200", "overrides": {"hbm_usable_bytes": [1e11, -1.0]}},
            "must be a positive number",
        ),
        ({"sku": "b200", "prefill": "0-2", "decode": 0}, "decode is 0"),
        ({"sku": "b200", "prefill_ep": 8}, "no prefill pool"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(flags, message):
    with pytest.raises(UserError, match=message):
        build_sweep(flags=flags)


def test_a_file_gives_settings_and_flags_override_it(tmp_path):
    path = tmp_path / "scenario.yaml"
    path.write_text("sku: [gb200, b200]\nisl: [1024, 8192]\nep: 4,8\nprefill: 1-2\n")
    found = build_sweep(flags={"isl": 2048}, file=path)
    assert found.values["sku"] == ("gb200", "b200")
    assert found.values["isl"] == (2048,)
    assert found.values["ep"] == (4, 8)
    assert found.pools.prefill == (1, 2)
    assert found.to_dict()["isl"] == {"value": 2048, "origin": "flag"}
    assert found.to_dict()["sku"]["origin"] == f"file {path}"
    assert found.varied == ("sku",)


def test_every_combination_of_values_is_a_load():
    found = build_sweep(
        flags={
            "sku": ["b200", "mi355x"],
            "engine": "vllm",
            "isl": [1024, 8192],
            "spec": ["none", "mtp:2"],
            "overrides": {"hbm_bytes_per_s": [8e12, 10e12, 12e12]},
        }
    )
    loads = list(found.loads())
    assert len(loads) == 2 * 2 * 2 * 3
    assert len({load.model_dump_json() for load in loads}) == len(loads)


def deployments(**flags):
    found = build_sweep(flags=flags)
    load = next(found.loads())
    candidates = candidate_deployments(settings=found, load=load, target=resolve_target(load))
    return [deployment_label(pools) for pools in candidates.deployments], candidates


def test_pools_are_every_number_of_workers_on_every_layout():
    labels, candidates = deployments(
        sku="gb200",
        engine="dynamo-vllm",
        prefill="1-3",
        decode="1,2",
        ep=[8, 16],
        dp_attention=True,
    )
    assert len(labels) == 3 * 2 * 2
    assert {"1xDEP8+1xDEP8", "3xDEP8+2xDEP16"} <= set(labels)
    assert "prefill workers as recipe" in candidates.messages[0]
    gpus = [sum(pool.gpus for pool in pools) for pools in candidates.deployments]
    assert gpus == sorted(gpus)


def test_no_prefill_workers_means_aggregated_workers():
    labels, _ = deployments(
        sku="gb200", engine="dynamo-vllm", prefill="0-1", decode="1-3", ep=8, dp_attention=True
    )
    assert labels.count("DEP8") == 1
    assert set(labels) == {"DEP8", "1xDEP8+1xDEP8", "1xDEP8+2xDEP8", "1xDEP8+3xDEP8"}


def test_a_prefill_worker_has_its_own_layout_if_one_is_stated():
    labels, _ = deployments(
        sku="gb200",
        engine="dynamo-vllm",
        prefill=1,
        prefill_tp=4,
        prefill_ep=4,
        prefill_dp_attention=False,
        ep=16,
        dp_attention=True,
    )
    assert labels == ["1xTEP4+1xDEP16"]


def test_an_orchestrated_engine_runs_what_its_recipe_ran():
    labels, candidates = deployments(sku="gb200", engine="dynamo-vllm")
    assert "3xDEP8+1xDEP8" in labels
    assert all("+" in label for label in labels)
    assert "deployments as recipe dynamo-vllm@" in candidates.messages[0]


def test_the_default_engine_of_pools_is_one_that_records_them():
    plan = plan_sweep(build_sweep(flags={"sku": "gb200", "prefill": 1, "ep": 8}))
    assert {each.load.engine for each in plan.sweeps} == {"dynamo-vllm"}
    assert "prefill and decode pools as dynamo-vllm" in plan.messages[0]


def test_layouts_that_do_not_divide_are_listed_beside_those_that_do():
    plan = plan_sweep(build_sweep(flags={"sku": "b200", "tp": 8, "ep": [3, 8]}))
    assert [one["label"] for one in plan.refused] == ["tp 8, ep 3"]
    assert "does not divide" in plan.refused[0]["reason"]
    with pytest.raises(UserError, match="no layout fits"):
        plan_sweep(build_sweep(flags={"sku": "b200", "tp": 8, "ep": 3}))


def test_without_a_list_concurrency_doubles_further_for_more_gpus():
    load = next(build_sweep(flags={"sku": "gb200", "engine": "dynamo-vllm"}).loads())
    labels, candidates = deployments(
        sku="gb200", engine="dynamo-vllm", prefill="1,4", ep=8, dp_attention=True
    )
    small_one, large = (
        ConcurrencySweep(load=load, target=resolve_target(load), pools=pools)
        for pools in candidates.deployments
    )
    assert labels == ["1xDEP8+1xDEP8", "4xDEP8+1xDEP8"]
    assert small_one.concurrencies[-1] == 2048
    assert large.concurrencies[-1] == 4096
    assert small_one.concurrencies[:3] == (1, 2, 4)


def test_a_sweep_gives_a_row_for_each_run_in_order(swept):
    result, _ = swept
    frame = result.frame()
    assert list(zip(frame["label"], frame["concurrency"], strict=True)) == [
        ("TP8", 1),
        ("TP8", 4),
        ("TEP8", 1),
        ("TEP8", 4),
    ]
    assert result.fresh == 4
    assert (frame["gpus"] == 8).all()
    assert frame["decode_tp"].tolist() == [8] * 4
    assert frame["prefill_tp"].isna().all()
    assert frame["usd_per_million_tokens"].notna().all()
    assert [column.name for column in RUN] == list(frame.columns)


def test_the_frontier_is_inferencex_rule_within_each_series(swept):
    frame = swept[0].frame()
    kept = frontier_indices(frame["interactivity"], frame["total_tput_per_gpu"])
    assert np.flatnonzero(frame["on_frontier"]).tolist() == sorted(kept)
    front = swept[0].frontier()
    assert front["interactivity"].is_monotonic_increasing
    assert front["total_tput_per_gpu"].is_monotonic_decreasing


def test_running_again_simulates_nothing_and_gives_the_same(swept):
    result, directory = swept
    before = files_of(directory)
    again = run_sweep(small(), directory=directory, workers=1)
    assert again.fresh == 0
    assert files_of(directory) == before
    pd.testing.assert_frame_equal(again.runs, result.runs)


def test_more_concurrencies_run_only_what_is_missing(swept, tmp_path):
    result, directory = swept
    for path in directory.rglob("*.parquet"):
        target = tmp_path / path.relative_to(directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    more = run_sweep(small(concurrency=[1, 2, 4]), directory=tmp_path, workers=1)
    assert more.fresh == 2
    kept = more.runs[more.runs["concurrency"] != 2].reset_index(drop=True)
    pd.testing.assert_series_equal(kept["total_tput_per_gpu"], result.runs["total_tput_per_gpu"])
    fewer = run_sweep(small(concurrency=[4]), directory=tmp_path, workers=1)
    assert fewer.fresh == 0
    assert len(fewer.runs) == 2


def test_a_changed_setting_is_not_found_among_old_runs(swept, tmp_path):
    _, directory = swept
    before = files_of(directory)
    changed = run_sweep(small(seed=1, ep=8), directory=directory, workers=1)
    assert changed.fresh == 2
    assert before.items() <= files_of(directory).items()


def test_runs_of_other_code_or_data_are_run_again(swept, monkeypatch, tmp_path):
    monkeypatch.setattr(sweeps, "digest_of_inputs", lambda **_: "other inputs")
    first = run_sweep(small(ep=8), directory=tmp_path, workers=1)
    monkeypatch.setattr(sweeps, "digest_of_inputs", lambda **_: "newer inputs")
    assert run_sweep(small(ep=8), directory=tmp_path, workers=1).fresh == first.fresh == 2
    assert run_sweep(small(ep=8), directory=tmp_path, workers=1).fresh == 0


def test_the_digest_covers_a_users_own_files(tmp_path):
    fit = tmp_path / "fit"
    fit.mkdir()
    (fit / "fitted.yaml").write_text("fits: []\n")
    one = digest_of_inputs(skus=["b200"], calibration=fit)
    assert one != digest_of_inputs(skus=["b200"], calibration=None)
    assert one == digest_of_inputs(skus=["b200"], calibration=fit)
    (fit / "fitted.yaml").write_text("fits: [] \n")
    assert one != digest_of_inputs(skus=["b200"], calibration=fit)


def test_a_damaged_file_is_run_again(swept, tmp_path):
    first = run_sweep(small(ep=8), directory=tmp_path, workers=1)
    (path,) = tmp_path.rglob("*.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert read_points(path) is None
    assert run_sweep(small(ep=8), directory=tmp_path, workers=1).fresh == first.fresh
    assert path.read_bytes() == whole


def test_an_interrupted_sweep_keeps_its_runs_and_goes_on(swept, monkeypatch, tmp_path):
    simulate, calls = points.simulate_run, []

    def interrupted_at_the_fourth(configuration, **_):
        calls.append(configuration)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return simulate(configuration)

    monkeypatch.setattr(points, "simulate_run", interrupted_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(small(), directory=tmp_path, workers=1)
    resumed = run_sweep(small(), directory=tmp_path, workers=1)
    assert resumed.fresh == 1
    assert files_of(tmp_path).items() <= files_of(swept[1]).items()
    pd.testing.assert_frame_equal(resumed.runs, swept[0].runs)


def test_a_defect_in_one_run_does_not_lose_the_others(monkeypatch):
    simulate = points.simulate_run

    def broken_at_one(configuration, **_):
        if configuration.concurrency == 1:
            raise ZeroDivisionError("no such thing")
        return simulate(configuration)

    monkeypatch.setattr(points, "simulate_run", broken_at_one)
    result = run_sweep(small(), workers=1)
    assert result.runs["concurrency"].tolist() == [4, 4]
    assert result.refused["status"].tolist() == ["failed", "failed"]
    assert result.refused["reason"].tolist() == ["ZeroDivisionError: no such thing"] * 2


def test_bytes_do_not_depend_on_the_number_of_workers(swept, monkeypatch, tmp_path):
    monkeypatch.setattr(tasks, "_RUNS_PER_PROCESS", 1)
    done = []
    result = run_sweep(
        small(),
        directory=tmp_path,
        workers=2,
        on_progress=lambda runs, total, _: done.append((runs, total)),
    )
    assert result.fresh == 4
    assert done[0] == (0, 4)
    assert done[-1] == (4, 4)
    expected = files_of(swept[1])
    mine = files_of(tmp_path)
    assert len(mine) == 2
    assert mine.items() <= expected.items()
    pd.testing.assert_frame_equal(result.runs, swept[0].runs)


def test_what_does_not_fit_is_listed_with_its_bytes():
    result = run_sweep(
        build_sweep(
            flags={"sku": "b200", "tp": [4, 8], "ep": 1, "dp_attention": False}
            | {"concurrency": [1, 2]}
        ),
        workers=1,
    )
    (refusal,) = result.refused.to_dict("records")
    assert refusal["label"] == "TP4"
    assert refusal["status"] == "does_not_fit"
    assert refusal["concurrencies"] == "1,2"
    assert "left for KV" in refusal["reason"]
    assert set(result.runs["label"]) == {"TP8"}


def test_a_ttft_limit_takes_runs_off_the_frontier_and_keeps_them(swept):
    limit = float(swept[0].runs["p90_ttft_s"].median())
    result = run_sweep(small(), directory=swept[1], workers=1, limits=Objectives(ttft_p90_s=limit))
    outside = result.runs["p90_ttft_s"] > limit
    assert 0 < outside.sum() < len(result.runs)
    assert not result.runs.loc[outside, "on_frontier"].any()
    assert result.runs.loc[~outside, "on_frontier"].any()
    assert f"p90 TTFT up to {limit:g} s" in result.caption


def test_price_files_share_the_runs(swept):
    result = run_sweep(small(economics=["2026-04", "2026-09"]), directory=swept[1], workers=1)
    assert result.fresh == 0
    assert len(result.runs) == 8
    assert result.runs["series"].nunique() == 2
    # InferenceX registry: 1.48 $/h in April 2026, 1.50 in September
    april, september = (
        group["usd_per_million_tokens"].to_numpy() for _, group in result.runs.groupby("economics")
    )
    np.testing.assert_allclose(april / september, 1.48 / 1.50, rtol=1e-12)


def test_series_of_several_settings_are_named_apart_and_have_frontiers_of_their_own(tmp_path):
    result = run_sweep(
        small(ep=8, concurrency=[4], isl=[1024, 8192], overrides={"hbm_bytes_per_s": [6e12, 8e12]}),
        directory=tmp_path,
        workers=1,
    )
    assert result.runs["series"].nunique() == 4
    assert result.runs["on_frontier"].all()
    assert "AMD Instinct MI355X (sglang, isl 1024, hbm_bytes_per_s 6e+12)" in set(
        result.runs["series"]
    )
    faster = result.runs.groupby("isl")["total_tput_per_gpu"].apply(
        lambda y: y.is_monotonic_increasing
    )
    assert faster.all()


def test_costs_are_missing_where_the_price_file_is_silent():
    frame = pd.DataFrame(
        {
            "sku": ["b200", "gaudi3"],
            "total_tput_per_gpu": [1000.0, 1000.0],
            "input_tput_per_gpu": [900.0, 900.0],
            "output_tput_per_gpu": [100.0, 100.0],
        }
    )
    found = with_costs(frame, economics="2026-04")
    # B200: 1.95 $/h, 2.17 kW
    assert found.loc[0, "usd_per_million_tokens"] == pytest.approx(1.95e6 / 3600 / 1000)
    assert found.loc[0, "usd_per_million_output_tokens"] == pytest.approx(1.95e6 / 3600 / 100)
    assert found.loc[0, "tokens_per_s_per_mw"] == pytest.approx(1000 / 2.17e-3)
    assert found.loc[0, "joules_per_token"] == pytest.approx(2.17)
    assert found.loc[1, ["usd_per_million_tokens", "joules_per_token"]].isna().all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=1, max_size=30))
def test_points_left_out_of_the_printed_frontier_all_but_repeat_one_that_stays(points):
    x, y = np.array(points).T
    kept = frontier_indices(x, y)
    front = pd.DataFrame({"interactivity": x[kept], "total_tput_per_gpu": y[kept]})
    shown = distinct(front)
    assert len(shown) >= 1
    for a, b in zip(front["interactivity"], front["total_tput_per_gpu"], strict=True):
        near = (shown["interactivity"] <= a) & (a < shown["interactivity"] * 1.01 + 1e-9)
        assert (near & (b <= shown["total_tput_per_gpu"])).any()


def test_the_command_writes_its_files_and_prints_json_and_csv(tmp_path, capsys):
    arguments = ["sweep", "--sku", "mi355x", "--tp", "8", "--ep", "8", "--concurrency", "1,4"]
    arguments += ["--out", str(tmp_path), "--workers", "1"]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "TEP8" in text
    assert f"results in {tmp_path}" in text
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "runs",
        "points.csv",
        "refused.csv",
        "resolved.yaml",
        "summary.json",
        "frontier.png",
    }
    assert run([*arguments, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["runs"] == 4
    assert run([*arguments, "--csv"]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "points.csv").read_text()


def test_the_command_says_where_an_interrupted_sweep_goes_on(tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(points, "simulate_run", interrupted)
    status = run(["sweep", "--sku", "b200", "--tp", "8", "--out", str(tmp_path), "--workers", "1"])
    assert status == 130
    assert f"kept in {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no SKU is given"),
        (["--sku", "b200", "--json", "--csv"], "exclude each other"),
        (["--sku", "b200", "--workers", "0"], "workers is 0"),
        (["--sku", "b200", "--ttft-p90", "0", "--concurrency", "1"], "ttft_p90_s is 0"),
        (["--sku", "b200,,gb200"], "empty value"),
        (["--sku", "b200", "--set", "hbm_bytes_per_s"], "is not FIELD=NUMBER"),
        (["--sku", "b200", "--acceptance-length", "x"], "is not a list of numbers"),
        (["--sku", "b200", "--tp", "1", "--concurrency", "1"], "nothing could run"),
    ],
)
def test_user_errors_are_one_line_and_status_2(arguments, message, tmp_path, capsys):
    assert run(["sweep", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
