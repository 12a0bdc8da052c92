"""What a SKU is best deployed as, where a question about one deployment leaves it open."""

import json

import pandas as pd
import pytest

import simulator
from simulator.analysis.objectives import NO_LIMIT, Objectives
from simulator.cli.main import run
from simulator.engines.pools import deployment_label
from simulator.scenario.deployed_forms import competing
from simulator.scenario.grid import build_sweep
from simulator.studies.as_deployed import ALIKE, AskedLoad, best_deployed
from simulator.studies.load.request import build_load
from simulator.studies.sensitivity.request import build_sensitivity
from simulator.studies.sweep.best import series_as_deployed
from simulator.studies.sweep.chosen import estimated
from simulator.studies.sweep.deployments import with_engine
from simulator.studies.sweep.points import ConcurrencySweep
from workloads.errors import UserError

ONLINE = NO_LIMIT.online()[0]


def best(sku="h200", *, limits=ONLINE, asked, **flags):
    settings = build_sweep(flags={"sku": sku, **flags})
    return best_deployed(settings, next(settings.loads()), asked=asked, limits=limits)


def all_means(sku, **flags):
    """Every deployment of every form with its estimates."""
    settings = build_sweep(flags={"sku": sku, **flags})
    load = next(settings.loads())
    sweeps = [
        ConcurrencySweep(load=each.load, target=each.target, pools=pools)
        for each in competing(settings, load).competitors
        for pools in each.candidates.deployments
    ]
    found = [(sweep, estimated(sweep)) for sweep in sweeps]
    return [(sweep, means) for sweep, means in found if not isinstance(means, str)]


def test_at_some_clients_nothing_alike_has_more_tokens_or_faster_users():
    """Of all deployments within the limit: the most per GPU, of those within 5 % the fastest."""
    found = best(asked=AskedLoad(clients=64)).sweep
    within = [
        (sweep, means[64])
        for sweep, means in all_means("h200", concurrency=[64])
        if means[64].ttft_s <= 10.0
    ]
    most = max(mean.total_tput_per_gpu for _, mean in within)
    alike = [(s, m) for s, m in within if m.total_tput_per_gpu >= ALIKE * most]
    expected = max(alike, key=lambda one: one[1].interactivity)[0]
    assert (found.load.engine, found.load.spec) == (expected.load.engine, expected.load.spec)
    assert found.label == expected.label


def test_at_a_rate_the_fewest_gpus_win_and_more_take_in_more():
    few = best("mi355x", asked=AskedLoad(rate_per_s=0.5)).sweep
    many = best("mi355x", asked=AskedLoad(rate_per_s=5.0, least_speed=20.0)).sweep
    settings = build_sweep(flags={"sku": "mi355x"})
    competitors = competing(settings, next(settings.loads())).competitors
    sizes = {sum(p.gpus for p in pools) for c in competitors for pools in c.candidates.deployments}
    assert few.gpus == min(sizes)
    assert min(sizes) < many.gpus <= max(sizes)


def test_the_answer_says_what_won_what_came_next_and_how_to_pin():
    told = best(asked=AskedLoad(clients=64)).told
    assert told.startswith("h200 as best deployed at 64 clients, TTFT p90 up to 10 s: sglang mtp")
    assert "tok/s/GPU" in told
    assert "; ahead of " in told
    assert "mean values" in told
    assert all(flag in told for flag in ("--engine", "--spec", "--aggregated", "--disaggregated"))
    impossible = best(asked=AskedLoad(clients=64), limits=Objectives(ttft_p90_s=1e-3))
    assert "beyond what is asked" in impossible.told
    unlimited = best(asked=AskedLoad(clients=64), limits=NO_LIMIT)
    assert impossible.sweep.label == unlimited.sweep.label  # the most tokens all the same


@pytest.mark.parametrize(
    ("pinned", "holds"),
    [
        ({"spec": "none"}, lambda sweep: sweep.load.spec == "none"),
        ({"disaggregated": True}, lambda sweep: len(sweep.pools) == 2),
        ({"disaggregated": False}, lambda sweep: len(sweep.pools) == 1),
    ],
)
def test_what_is_pinned_holds(pinned, holds):
    assert holds(best("b200", asked=AskedLoad(clients=64), **pinned).sweep)


@pytest.mark.parametrize(
    "stated",
    [
        {"engine": "vllm"},
        {"tp": 8},
        {"ep": 8},
        {"prefill": 1, "decode": 1},
        {"engine_settings": {"max_num_seqs": 64}},
        {"sku": "gaudi3"},
    ],
)
def test_nothing_is_chosen_where_a_deployment_is_stated_or_nobody_ran_one(stated):
    assert best(asked=AskedLoad(clients=64), **{"sku": "h200", **stated}) is None


def test_explain_takes_it_and_says_so(capsys):
    assert run(["explain", "--sku", "h200", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["messages"][0].startswith("h200 as best deployed at 64 clients")
    assert found["batch"]["queries_per_request"] > 1  # with drafts
    assert run(["explain", "--sku", "h200", "--spec", "none", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["batch"]["queries_per_request"] == 1
    in_python = simulator.explain(sku="h200").explanation.to_dict()
    assert in_python["step_s"] == found["step_s"]
    assert in_python["messages"] == found["messages"]


def test_explain_takes_pools_where_the_question_is_not_about_one_worker(capsys):
    assert run(["explain", "--sku", "gb300", "--disaggregated", "--concurrency", "8"]) == 0
    assert "a prefill worker" in capsys.readouterr().out
    assert run(["explain", "--sku", "gb300", "--phase", "prefill", "--concurrency", "8"]) == 0
    text = capsys.readouterr().out
    assert "prefill step" in text
    assert "as best deployed at 8 clients" in text
    for beside in (["--engine", "vllm"], ["--tp", "8"], ["--deployment", "TP8"]):
        assert run(["explain", "--sku", "b200", "--disaggregated", *beside]) == 2
        assert "--disaggregated" in capsys.readouterr().err


def test_loads_take_it_at_their_rate_or_clients():
    fixed = {"sku": "h200", "isl": 1024, "osl": 128}
    asked = build_load(flags={**fixed, "rate": 1.0})
    assert "as best deployed at 1 req/s, at least 20 tok/s/user, TTFT" in asked.told
    assert asked.settings.deployment is not None
    for name in ("engine", "spec", "deployment"):
        assert asked.resolved[name]["origin"] == "as best deployed"
    closed = build_load(flags={**fixed, "concurrency": 64, "replicas": 2})
    assert "at 32 clients" in closed.told
    quick = build_load(flags={**fixed, "rate": 1.0, "ttft_slo": 2.0, "tpot_slo": 0.02})
    assert "at 1 req/s, at least 50 tok/s/user, TTFT p90 up to 2 s" in quick.told
    swinging = {"rate": 1.0, "peak": 1.5, "period": 60.0}
    assert "at 1.5 req/s" in build_load(flags={**fixed, **swinging}).told
    for stated in ({"engine": "vllm"}, {"tp": 8}, {"deployment": "TP8"}):
        pinned = build_load(flags={**fixed, "rate": 1.0, **stated})
        assert pinned.told == ""
        with pytest.raises(UserError, match="--disaggregated"):
            build_load(flags={**fixed, "rate": 1.0, **stated, "disaggregated": True})


def test_the_file_of_a_load_gives_the_same_figures_again(tmp_path, capsys):
    asked = ["--rate", "2", "--isl", "256", "--osl", "16", "--requests", "40", "--json"]
    assert run(["load", "--sku", "h200", *asked, "--out", str(tmp_path / "one")]) == 0
    first = json.loads(capsys.readouterr().out)
    file = tmp_path / "one" / "resolved.yaml"
    again = ["load", "--scenario", str(file), "--json", "--out", str(tmp_path / "two")]
    assert run(again) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["replications"] == first["replications"]
    assert file.read_bytes() == (tmp_path / "two" / "resolved.yaml").read_bytes()


def test_a_load_that_ranks_nothing_says_that_the_default_serves(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01 00:00:00.0,100,10\n")
    asked = build_load(flags={"sku": "h200", "workload": str(file)})
    assert asked.told.startswith("the default engine serves: arrivals are as recorded")
    played = build_load(flags={"sku": "h200", "workload": str(file), "rate": 2.0})
    assert "as best deployed at 2 req/s" in played.told


def test_a_study_of_sensitivity_takes_it_at_its_clients():
    request = build_sensitivity(flags={"sku": "h200"})
    assert "at 64 clients" in request.best.told
    assert request.scenario.engine == request.resolved["engine"]["value"] == "sglang"
    assert request.resolved["tp"] == {"value": 8, "origin": "as best deployed"}
    pools = build_sensitivity(flags={"sku": "b200", "disaggregated": True})
    assert "disaggregated" not in pools.resolved  # its file is one of stated pools
    stated = {
        name: pools.resolved[name]["value"]
        for name in (
            *("engine", "spec", "prefill", "decode", "tp", "ep", "dp_attention"),
            *("prefill_tp", "prefill_ep", "prefill_dp_attention"),
        )
    }
    again = build_sensitivity(flags={"sku": "b200", **stated})
    assert again.best is None
    (requested,) = {deployment_label(pools.best.sweep.pools)}
    prefill, decode = again.settings.pools.requests(again.scenario)
    assert requested.startswith(f"{prefill.workers}x")
    assert (decode.tp, decode.ep) == (stated["tp"], stated["ep"])
    with pytest.raises(UserError, match="--disaggregated"):
        build_sensitivity(flags={"sku": "b200", "engine": "vllm", "disaggregated": True})


@pytest.mark.parametrize(
    ("sku", "engine", "told"),
    [
        ("gb200", "dynamo-vllm", "pools ran under dynamo-sglang"),
        ("mi355x", "mori-sglang", "--spec mtp has it"),
    ],
)
def test_a_grid_of_pools_names_the_engine_that_is_assumed(sku, engine, told):
    settings = build_sweep(flags={"sku": sku, "prefill": "1-2", "decode": "1-2"})
    load, message = with_engine(next(settings.loads()), settings=settings)
    assert load.engine == engine
    assert message.startswith(f"engine {engine.split('-')[-1]} for {sku}, default")
    assert told in message


def test_a_grid_of_pools_prefers_a_stack_that_somebody_ran_there():
    """Pools of Kimi K2.5 ran on MI355X under ATOM's; its default engine has none there."""
    flags = {"sku": "mi355x", "model": "kimi-k2.5", "prefill": 1, "decode": 1}
    settings = build_sweep(flags=flags)
    load, message = with_engine(next(settings.loads()), settings=settings)
    assert load.engine == "atom-disagg"
    assert "prefill and decode pools ran on it (5 runs on mi355x)" in message
    assert "under the default engine sglang nobody's did" in message


def test_series_are_named_by_chips_and_by_what_varies():
    settings = build_sweep(flags={"sku": ["h200", "b200"], "isl": [1024, 2048]})
    columns = {name: [settings.values[name][0]] * 4 for name in settings.values}
    runs = pd.DataFrame(columns).assign(
        sku=["h200", "h200", "b200", "b200"],
        isl=[1024, 2048, 1024, 1024],
        engine=["vllm", "sglang", "trt", "vllm"],
        spec=["none", "mtp", "mtp", "none"],
        overrides="",
        engine_settings="",
        length_distribution="uniform_0.8",
    )
    names = series_as_deployed(runs, settings)
    assert names[2] == names[3]  # one curve of all forms
    assert len(set(names)) == 3
    assert all("as best deployed" in name for name in names)


def test_a_sweep_of_a_sku_alone_lets_all_forms_compete(tmp_path, capsys):
    arguments = ["sweep", "--sku", "h200", "--isl", "1024", "--osl", "128", "--concurrency", "1"]
    arguments += ["--out", str(tmp_path), "--workers", "1"]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "NVIDIA H200 SXM as best deployed: frontier" in text
    assert "best deployed as sglang mtp" in text
    assert "runner-up: " in text
    asked = {"sku": "h200", "isl": 1024, "osl": 128, "concurrency": [1], "workers": 1}
    assert set(simulator.sweep(**asked).frame()["series"]) == {"NVIDIA H200 SXM as best deployed"}
    assert set(simulator.sweep(**asked, tp=8).frame()["series"]) == {"NVIDIA H200 SXM (vllm)"}
    assert run([*arguments, "--engine", "vllm", "--per-engine"]) == 2
    assert "--per-engine" in capsys.readouterr().err
