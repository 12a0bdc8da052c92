"""Searches: what wins, what is pruned, and the commands that the winner corresponds to."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.sku import load_sku
from simulator.cli.main import run
from simulator.cli.parsing import parse_vary
from simulator.engines.atom.engine import AtomSettings
from simulator.engines.labels import load_engine
from simulator.engines.pools import PoolConfiguration
from simulator.engines.registry import bind_engine
from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.trtllm.engine import TrtllmSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.scenario.configuration import RunConfiguration
from simulator.scenario.deployed_forms import deployed_forms
from simulator.scenario.target import resolve_target
from simulator.studies.search.launch_commands import TRTLLM_OPTIONS, launch_commands
from simulator.studies.search.option import searched
from simulator.studies.search.plots import search_series
from simulator.studies.search.request import build_search
from simulator.studies.search.run import search
from simulator.studies.search.text import print_search, summary_of, verdict
from simulator.studies.search.variants import variants
from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError
from workloads.layout import Layout

LOAD = {"sku": "b200", "engine": "vllm", "isl": 1024, "osl": 64, "tp": 8, "concurrency": (4, 16)}


@pytest.fixture(scope="module")
def found():
    return search(interactivity=30.0, vary={"max_num_batched_tokens": [2048, 8192]}, **LOAD)


def test_the_winner_is_the_best_run_that_meets_everything(found):
    best = max(
        (trial for trial in found.trials if trial.metrics.interactivity >= 30.0),
        key=lambda trial: trial.metrics.total_tput_per_gpu,
    )
    assert found.winner is best
    assert all(trial.meets for trial in (found.winner, *found.runners_up))
    scores = [trial.rank_score for trial in found.trials if trial.meets]
    assert scores == sorted(scores, reverse=True)
    assert len({trial.label for trial in found.runners_up}) == len(found.runners_up)


def test_every_option_was_run_or_pruned_with_a_reason(found):
    """tp 8: TP8, DPATP8, TEP8 and DEP8, each with the recipe's settings and with both values."""
    seen = {(trial.label, trial.changes) for trial in found.trials}
    labels = {"TP8", "DPATP8", "TEP8", "DEP8"}
    assert {label for label, _ in seen} | {each.label for each in found.pruned} == labels
    behind = {each.label for each in found.pruned if each.status == "behind"}
    bound = {(each.label, each.settings) for each in found.pruned if each.status == "bound"}
    for label in labels - behind - {name for name, changed in bound if not changed}:
        changed = [changes for name, changes in seen if name == label and changes]
        pruned = [name for name, changes in bound if name == label and changes]
        assert len(changed) + len(pruned) >= 1
    assert all(each.reason for each in found.pruned)


def test_runs_with_changed_settings_have_them(found):
    for trial in found.trials:
        settings = trial.configuration.pools[0].settings
        for name, value in trial.changes:
            assert getattr(settings, name) == value
            assert f"{name}={value}" in trial.settings_text
    assert any(trial.settings_text == "recipe" for trial in found.trials)


@pytest.mark.parametrize(("ep", "dp_attention"), [(1, False), (1, True), (8, False), (8, True)])
def test_bounds_spare_only_what_cannot_win(found, ep, dp_attention):
    """No layout that is searched alone, so that nothing beats it early, beats the winner."""
    alone = search(
        interactivity=30.0,
        vary={"max_num_batched_tokens": [2048, 8192]},
        ep=ep,
        dp_attention=dp_attention,
        **LOAD,
    )
    if alone.winner is not None:
        assert alone.winner.score <= found.winner.score


def test_the_picture_crosses_what_misses_a_ttft_and_has_bands(found):
    """Runs above the winner seemed to beat it, though nobody would wait for them."""
    trials = [replace(trial, slo_use={**trial.slo_use, "TTFT p90": 1.5}) for trial in found.trials]
    (one,) = [position for position, trial in enumerate(found.trials) if trial is found.winner]
    trials[one] = found.winner
    series = search_series("all", trials)
    assert series.late.sum() == len(trials) - 1
    assert np.flatnonzero(series.on_frontier).tolist() == [one]
    low_x, high_x, low_y, high_y = series.band[one]
    assert low_x < series.interactivity[one] < high_x
    assert low_y < series.tput_per_gpu[one] < high_y


def test_a_constraint_that_nobody_meets_leaves_no_winner(capsys):
    result = search(interactivity=5000.0, **LOAD)
    assert result.winner is None
    assert result.runners_up == ()
    assert {each.status for each in result.pruned} == {"bound"}
    assert "a lone user gets" in result.pruned[0].reason
    print_search(result)
    assert "nothing meets the constraints" in capsys.readouterr().out


def test_goals_rank_by_what_they_name():
    cost = search(goal="cost", **LOAD, ep=8, dp_attention=False, vary={"block_size": [256]})
    prices = [trial.usd_per_million_tokens for trial in cost.trials if trial.meets]
    assert prices == sorted(prices)
    ttft = search(
        goal="ttft",
        min_throughput=100.0,
        **LOAD,
        ep=8,
        dp_attention=False,
        vary={"block_size": [256]},
    )
    waits = [trial.metrics.ttft.median_s for trial in ttft.trials if trial.meets]
    assert waits == sorted(waits)
    assert all(t.metrics.total_tput_per_gpu >= 100.0 for t in ttft.trials if t.meets)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "no SKU is given"),
        ({"sku": "b200", "goal": "fame"}, "goal is 'fame'"),
        ({"sku": "b200", "goal": "ttft"}, "goal ttft alone is best with one user"),
        ({"sku": "b200", "margin": 2.0}, "margin is 2.0"),
        ({"sku": "b200", "interactivty": 2.0}, "did you mean interactivity"),
    ],
)
def test_requests_refuse_what_makes_no_search(flags, message):
    with pytest.raises(UserError, match=message):
        build_search(flags=flags)


def test_a_setting_that_the_engine_lacks_is_named():
    with pytest.raises(UserError, match="setting of vllm 'chunked_prefill_size' is unknown"):
        search(interactivity=30.0, vary={"chunked_prefill_size": [4096]}, **LOAD)


def test_a_search_prints_and_exports(found, capsys, tmp_path):
    print_search(found, directory=tmp_path)
    text = capsys.readouterr().out
    assert "best: b200" in text
    assert "vllm serve deepseek-ai/DeepSeek-V4-Pro" in text
    assert "a starting point" in text
    summary = json.loads(json.dumps(summary_of(found)))
    assert summary["winner"]["meets"]
    assert "Dynamo with vLLM" in summary["launch"]
    assert verdict(found)[0].startswith("best: b200")
    found.plot(tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 10_000


@given(
    scheduler=st.sampled_from([VllmSettings, SglangSettings, TrtllmSettings, AtomSettings]),
)
def test_variants_are_distinct_and_start_with_the_given_one(scheduler):
    base = scheduler()
    found = list(variants(base))
    assert found[0] == (base, ())
    assert len({settings for settings, _ in found}) == len(found)
    names = set(bind_engine(base).varied)
    for settings, changes in found[1:]:
        assert {name for name, _ in changes} <= names
        differing = {
            name
            for name in type(base).model_fields
            if getattr(settings, name) != getattr(base, name)
        }
        assert differing == {name for name, _ in changes}


def test_vary_reads_numbers_and_switches():
    assert parse_vary(["a=1,2.5,true", "b=fcfs"]) == {"a": (1, 2.5, True), "b": ("fcfs",)}
    assert parse_vary(["max_running_requests=none"]) == {"max_running_requests": (None,)}
    for bad, message in ((["a"], "is not NAME=VALUES"), (["a=1", "a=2"], "gives a twice")):
        with pytest.raises(UserError, match=message):
            parse_vary(bad)


def configuration(engine, settings, layout, *, drafts=0, plan=None):
    return RunConfiguration(
        architecture=load_architecture("deepseek-v4-pro"),
        sku=load_sku("b200"),
        engine=load_engine(engine),
        speculation="mtp" if drafts else "none",
        drafts=drafts,
        pools=(PoolConfiguration(layout=layout, settings=settings, plan=plan or {}),),
        isl=8192,
        osl=1024,
        concurrency=64,
    )


def words(command):
    return shlex.split(command.replace("\\\n", " "))


def value_of(command, flag):
    found = words(command)
    return found[found.index(flag) + 1]


def test_vllm_is_launched_as_simulated():
    settings = VllmSettings(max_num_batched_tokens=4096, max_num_seqs=96, block_size=128)
    layout = Layout(tp=8, ep=8, dp_attention=True)
    bare, dynamo = launch_commands(
        configuration("vllm", settings, layout, drafts=2, plan={"moe_backend": "fused"})
    )
    ((count, command),) = bare.commands
    assert count == 1
    assert words(command)[:3] == ["vllm", "serve", "deepseek-ai/DeepSeek-V4-Pro"]
    assert value_of(command, "--tensor-parallel-size") == "1"
    assert value_of(command, "--data-parallel-size") == "8"
    assert "--enable-expert-parallel" in words(command)
    assert value_of(command, "--max-num-batched-tokens") == "4096"
    assert value_of(command, "--max-num-seqs") == "96"
    assert json.loads(value_of(command, "--speculative-config"))["num_speculative_tokens"] == 2
    assert int(value_of(command, "--max-model-len")) >= 8192 + 1024
    frontend, worker = (text for _, text in dynamo.commands)
    assert "dynamo.frontend" in words(frontend)
    assert "dynamo.vllm" in words(worker)
    assert words(worker)[5:] == words(command)[3:]  # the same flags after the model


def test_sglang_is_launched_as_simulated():
    settings = SglangSettings(enable_mixed_chunk=True, max_running_requests=48, stream_interval=2)
    bare, _ = launch_commands(configuration("sglang", settings, Layout(tp=8), drafts=3))
    ((_, command),) = bare.commands
    assert value_of(command, "--tp-size") == "8"
    assert "--ep-size" not in words(command)
    assert "--enable-mixed-chunk" in words(command)
    assert value_of(command, "--stream-interval") == "2"
    assert value_of(command, "--max-running-requests") == "48"
    assert value_of(command, "--speculative-num-draft-tokens") == "4"
    assert value_of(command, "--speculative-num-steps") == "3"
    assert value_of(command, "--speculative-eagle-topk") == "1"
    attention = Layout(tp=8, dp_attention=True)
    bare, _ = launch_commands(configuration("sglang", settings, attention))
    ((_, command),) = bare.commands
    assert value_of(command, "--dp-size") == "8"
    assert "--enable-dp-attention" in words(command)


def test_tensorrt_llm_reads_its_options_from_a_file():
    settings = TrtllmSettings(max_batch_size=64, kv_free_gpu_memory_fraction=0.8)
    layout = Layout(tp=8, ep=8, dp_attention=True)
    bare, dynamo = launch_commands(configuration("trt", settings, layout))
    ((_, command),) = bare.commands
    assert value_of(command, "--max_batch_size") == "64"
    assert value_of(command, "--extra_llm_api_options") == TRTLLM_OPTIONS
    options = yaml.safe_load(bare.files[TRTLLM_OPTIONS])
    assert options["enable_attention_dp"] is True
    assert options["kv_cache_config"]["free_gpu_memory_fraction"] == 0.8
    worker = dynamo.commands[1][1]
    assert value_of(worker, "--max-batch-size") == "64"
    assert value_of(worker, "--tensor-parallel-size") == "8"
    assert value_of(worker, "--extra-engine-args") == TRTLLM_OPTIONS
    assert f"cat > {TRTLLM_OPTIONS} <<'END'" in dynamo.text


def test_pools_are_launched_under_dynamo_with_their_counts():
    prefill = PoolConfiguration(
        role="prefill", workers=3, layout=Layout(tp=4), settings=VllmSettings()
    )
    decode = PoolConfiguration(
        role="decode",
        workers=2,
        layout=Layout(tp=8, ep=8, dp_attention=True),
        settings=VllmSettings(),
    )
    one = configuration("dynamo-vllm", VllmSettings(), Layout(tp=4))
    (launch,) = launch_commands(
        RunConfiguration(
            **{name: getattr(one, name) for name in one.__dataclass_fields__ if name != "pools"},
            pools=(prefill, decode),
        )
    )
    assert [count for count, _ in launch.commands] == [1, 3, 2]
    roles = [value_of(command, "--disaggregation-mode") for _, command in launch.commands[1:]]
    assert roles == ["prefill", "decode"]
    assert "# start 3 of these" in launch.text


def test_what_has_no_flag_is_said():
    partly = Layout(tp=8, ep=4)
    bare, _ = launch_commands(configuration("vllm", VllmSettings(), partly))
    assert "expert parallel over 4" in bare.notes[0]
    assert launch_commands(configuration("atom", AtomSettings(), Layout(tp=8))) == ()


def test_the_command_writes_its_files(tmp_path, capsys):
    line = (
        "search --sku b200 --isl 1024 --osl 64 --tp 8 --ep 8 --no-dp-attention "
        "--concurrency 4,16 --vary max_num_batched_tokens=4096 --csv --out"
    )
    out = tmp_path / "search"
    assert run([*line.split(), str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("sku,prefill_sku,model,engine,precision")
    assert len(printed) >= 3
    names = {file.name for file in out.iterdir()}
    assert names == {"trials.csv", "pruned.csv", "search.png", "resolved.yaml", "summary.json"}
    assert run(["search", "--sku", "b200", "--goal", "ttft", "--out", str(tmp_path / "x")]) == 2
    assert "goal ttft alone" in capsys.readouterr().err


def asked_openly(**pins):
    request = build_search(flags={"sku": "b200", "isl": 1024, "osl": 64, **pins})
    (load,) = request.settings.loads()
    return searched(request.settings, load, target_of=resolve_target)


def test_a_search_without_an_engine_tries_every_form_in_which_the_sku_is_deployed():
    ways = [(load.engine, load.spec) for load, _ in asked_openly().ways]
    forms = deployed_forms(sku=load_sku("b200"), model="deepseek-v4-pro")
    assert ways == [(form.engine, form.speculation) for form in forms]
    assert {"vllm", "sglang", "dynamo-sglang"} <= {engine for engine, _ in ways}
    assert {spec for _, spec in ways} == {"none", "mtp"}
    assert "as best deployed" in asked_openly().messages[0]


@pytest.mark.parametrize("pooled", [True, False])
def test_pins_hold_in_a_search(pooled):
    found = asked_openly(spec="none", disaggregated=pooled)
    assert {load.spec for load, _ in found.ways} == {"none"}
    pools = {len(each) for _, one in found.ways for each in one.deployments}
    assert pools == ({2} if pooled else {1})
    (load, _), *others = asked_openly(engine="vllm").ways
    assert (load.engine, others) == ("vllm", [])


def test_an_open_search_names_the_best_of_other_forms_and_how_far_off_it_may_be(capsys):
    vary = {"max_num_batched_tokens": [8192]}
    pins = {"isl": 1024, "osl": 16, "concurrency": (8,), "spec": "none", "disaggregated": False}
    found = search(sku="b200", tp=8, ep=8, interactivity=5.0, vary=vary, **pins)
    engines = {trial.engine for trial in found.trials} | {one.engine for one in found.pruned}
    assert {"vllm", "sglang", "trt"} <= engines
    assert any("sglang keeps its recipe's settings" in each for each in found.messages)
    print_search(found)
    text = capsys.readouterr().out
    assert "as best deployed, no speculation" in text
    assert "runner-up: b200" in text
    assert "how far off: nine in ten" in text
    assert "measure first: b200 under" in text
    json.dumps(summary_of(found)["closing"])


def test_changed_settings_start_where_the_recipe_does_best():
    found = search(interactivity=5.0, **{**LOAD, "concurrency": (1, 4, 16)}, ep=8)
    best = max(
        (trial for trial in found.trials if not trial.changes and trial.meets),
        key=lambda trial: trial.score,
    )
    changed = [
        trial.configuration.concurrency
        for trial in found.trials
        if trial.changes and trial.deployment == best.deployment
    ]
    assert changed
    assert min(changed) == best.configuration.concurrency == 16


def test_the_limit_of_curves_holds_where_no_ttft_is_asked_for_and_can_be_lifted(capsys, tmp_path):
    asked = {"sku": "b200", "engine": "vllm", "interactivity": 5.0}
    limited = build_search(flags=asked)
    assert limited.objectives.ttft_limits == {90.0: 10.0}
    assert "p90 <= 10 s" in limited.assumed[0]
    lifted = build_search(flags=asked | {"no_ttft_limit": True})
    assert lifted.objectives.ttft_limits == {}
    assert "no TTFT limit" in lifted.assumed[0]
    stated = build_search(flags=asked | {"no_ttft_limit": True, "ttft_p99": 3.0})
    assert stated.objectives.ttft_limits == {99.0: 3.0}
    command = [
        "search",
        "--sku",
        "b200",
        "--engine",
        "vllm",
        "--tp",
        "8",
        "--ep",
        "8",
        "--isl",
        "256",
    ]
    command += ["--osl", "8", "--concurrency", "1,2", "--no-ttft-limit", "--out", str(tmp_path)]
    assert run(command) == 0
    assert "no TTFT limit" in capsys.readouterr().out
