"""``simulate mlperf`` from flags to what it prints."""

import json

import numpy as np
import pytest

from simulator.cli.main import run
from simulator.engines.pools import deployment_label, parse_deployment
from simulator.scenario.target import resolve_target
from simulator.studies.mlperf.request import build_mlperf, submissions
from simulator.studies.mlperf.run import TUNED_FOR, smallest_copy
from simulator.studies.mlperf.trial import prepare_copy
from workloads.errors import UserError
from workloads.requests.mlperf import benchmark_of
from workloads.speculation import published_acceptance


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


def prepared(asked):
    return prepare_copy(
        asked,
        target=resolve_target(asked.base),
        pools=parse_deployment(asked.deployment),
        tuned_for=TUNED_FOR,
    )


@pytest.mark.parametrize("name", submissions())
def test_a_submission_runs_on_the_settings_that_it_states(name):
    asked = build_mlperf(flags={}, submission=name)
    entry = submissions()[name]
    assert asked.chips == entry["chips"]
    copy = prepared(asked)
    assert asked.chips % copy.configuration.gpus == 0
    pools = copy.assembly.pools
    for setting, value in entry["engine_settings"].items():
        pool, _, own = setting.rpartition(".")
        chosen = {"": pools, "prefill": pools[:1], "decode": pools[-1:]}[pool]
        assert [getattr(one.engine.settings, own) for one in chosen] == [value] * len(chosen)


def test_pools_in_proportion_are_copies():
    pools = parse_deployment("4xDEP2+6xDEP16")
    assert deployment_label(smallest_copy(pools)) == "2xDEP2+3xDEP16"
    assert smallest_copy(parse_deployment("TP1")) == parse_deployment("TP1")


def test_amds_cadence_and_balance_are_those_of_the_submissions():
    settings = {name: entry["engine_settings"] for name, entry in submissions().items()}
    server = settings["v6.0-amd-mi355x-gpt-oss-120b-server"]
    assert (server["prefill_cadence_steps"], server["prefill_cadence_min_running"]) == (10, 128)
    for name, own in settings.items():
        if "attention_dp_batching_wait_iters" in own:
            assert own["attention_dp_enable_balance"], name
            assert own["attention_dp_timeout_iters"] in (6, 9, 500), name


def test_a_setting_that_no_engine_has_is_refused():
    flags = {"engine_settings": {"prefill_cadence_step": 3}}
    asked = build_mlperf(flags=flags, submission="v6.0-amd-mi355x-gpt-oss-120b-server")
    with pytest.raises(UserError, match="prefill_cadence_step"):
        prepared(asked)


def test_what_is_stated_comes_before_the_submission():
    flags = {"sku": "h200", "engine_settings": {"max_num_tokens": 100}}
    name = "v6.0-dell-b300-llama3.1-8b-server"
    asked = build_mlperf(flags=flags, submission=name, chips=16)
    assert (asked.base.sku, asked.chips) == ("h200", 16)
    assert asked.base.engine_settings["max_num_tokens"] == 100
    assert asked.base.engine_settings["max_batch_size"] == 6000


def test_queries_of_a_submission_count_for_its_own_run_alone():
    name = "v6.0-dell-b300-deepseek-r1-offline"
    assert build_mlperf(flags={}, submission=name).queries == 105_312
    assert build_mlperf(flags={}, submission=name, queries=8776).queries == 8776
    assert build_mlperf(flags={}, submission=name, scenario="server").queries is None
    assert build_mlperf(flags={}, submission=name, chips=16).queries is None


def test_drafts_of_a_submission_are_accepted_as_on_text():
    copy = prepared(build_mlperf(flags={}, submission="v6.0-dell-b300-deepseek-r1-interactive"))
    source = published_acceptance(name=copy.configuration.acceptance_source, drafts=3)
    assert copy.acceptance == source
    told = f"{source.acceptance_length:.2f} tokens a step, as text has"
    assert told in copy.messages


def test_the_rate_that_fails_next_is_told(capsys):
    flags = ["--deployment", "TP1", "--engine-set", "max_num_seqs=4", "--arrivals", "60"]
    result = json.loads(mlperf(capsys, *flags, "--json"))
    beyond = result["beyond"]
    assert 1 < beyond["ratio"] < 1.04
    assert beyond["over"] > beyond["allowed"]


@pytest.mark.parametrize(
    ("benchmark", "spec"), [("deepseek-r1", "mtp:3"), ("gpt-oss-120b", "eagle3:3")]
)
def test_interactive_speculates_as_the_rules_allow(benchmark, spec):
    asked = {"benchmark": benchmark, "deployment": "TP8"}
    found = build_mlperf(flags={"sku": "b200"}, scenario="interactive", **asked)
    assert found.base.spec == spec
    assert any(spec in note for note in found.notes)
    drafts = prepared(found).acceptance.acceptance_length
    assert 1.5 < drafts < 4
    assert build_mlperf(flags={"sku": "b200"}, scenario="server", **asked).base.spec == "none"
    stated = build_mlperf(flags={"sku": "b200", "spec": "none"}, scenario="interactive", **asked)
    assert stated.base.spec == "none"


def test_submissions_of_v6_0_draft_for_r1_alone():
    for name, entry in submissions().items():
        drafts = build_mlperf(flags={}, submission=name).base.spec
        is_r1 = entry["benchmark"] == "deepseek-r1" and entry["scenario"] == "interactive"
        assert drafts == ("mtp:3" if is_r1 else "none"), name


def test_the_longest_prompt_of_r1s_data_set_is_about_its_cap():
    """A tail that the cap cuts off would hold many prompts that no step budget beside it takes."""
    r1 = benchmark_of("deepseek-r1")
    longest = [
        r1.prompt.sample(np.random.default_rng(seed), r1.samples).max() for seed in range(30)
    ]
    assert np.mean(longest) == pytest.approx(3140, rel=0.08)
    assert r1.prompt.mean_tokens == pytest.approx(800, rel=0.01)
