"""One deployment under a stated load: `simulate load` and `run_load`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from simulator.cli.main import run
from simulator.cli.parsing import parse_steps
from simulator.engines.pools import parse_deployment
from simulator.prediction.run import simulate_run
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import build_scenario
from simulator.serving.records import read_records
from simulator.studies.load.request import build_load
from simulator.studies.load.requests import load_requests
from simulator.studies.load.run import run_load
from simulator.studies.load.text import drain_line
from workloads.errors import UserError

TRACES = Path(__file__).parents[1] / "data" / "traces"
SMALL = {"sku": "mi355x", "deployment": "TP8", "isl": 1024, "osl": 128}


def _requests(**flags):
    asked = build_load(flags={"sku": "mi355x", **flags})
    rng = np.random.default_rng(3)
    return list(load_requests(asked, rng=rng, arrivals_rng=rng.spawn(1)[0]))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("load")
    flags = "--sku mi355x --deployment DEP8 --isl 1024 --osl 128 --rate 4 --requests 60"
    files = f"--trace {path}/trace.json --step-log {path}/steps.parquet --out {path}/run"
    limits = "--ttft-slo 1 --tpot-slo 0.03 --replications 2"
    assert run(f"load {flags} {limits} {files}".split()) == 0
    return path


def test_a_load_leaves_summary_settings_and_records_of_each_replication(directory):
    names = {path.name for path in (directory / "run").iterdir()}
    assert names == {
        "summary.json",
        "resolved.yaml",
        "load.png",
        "requests.parquet",
        "requests-2.parquet",
    }
    assert (directory / "run" / "load.png").read_bytes()[:4] == b"\x89PNG"
    summary = json.loads((directory / "run" / "summary.json").read_text())
    assert summary["simulated"] is True
    assert summary["expert_load"] == "uniform (random tokens)"
    first, second = summary["replications"]
    interval = summary["intervals"]["mean_ttft_s"]
    assert interval["mean"] == pytest.approx((first["mean_ttft_s"] + second["mean_ttft_s"]) / 2)
    assert interval["low"] < interval["mean"] < interval["high"]
    records = read_records(directory / "run" / "requests.parquet")
    assert len(records) == 60 == first["requests"] + first["warm_up_requests"]
    resolved = yaml.safe_load((directory / "run" / "resolved.yaml").read_text())
    assert resolved["rate"] == {"value": 4.0, "origin": "flag"}
    assert resolved["replicas"] == {"value": 1, "origin": "default"}
    assert resolved["server_settings"]["value"]["aggregated"]["scheduler"] == "sglang"


def test_the_trace_has_steps_counters_and_a_lane_for_each_request(directory):
    events = json.loads((directory / "trace.json").read_text())["traceEvents"]
    steps = [event for event in events if event["ph"] == "X"]
    assert {event["name"].split(" x")[0] for event in steps} >= {"prefill", "decode"}
    counters = {event["name"] for event in events if event["ph"] == "C"}
    assert counters == {"waiting requests", "decoding requests", "KV blocks used"}
    lanes = {event["id"] for event in events if event["ph"] == "b"}
    assert lanes == set(range(60))


def test_the_step_log_has_every_prompt_token_once(directory):
    steps = pd.read_parquet(directory / "steps.parquet")
    records = read_records(directory / "run" / "requests.parquet")
    assert steps["prefill_tokens"].sum() == records.prompt_tokens.sum()
    decoded = steps["steps"] * steps["decode_requests"]
    assert decoded.sum() == (records.output_tokens - 1).sum()
    assert (steps["end_s"] > steps["start_s"]).all()
    assert steps["end_s"].max() == pytest.approx(records.finish_s.max(), abs=0.2)
    assert set(steps["rank"]) == set(range(8))


def test_a_closed_loop_of_fixed_lengths_is_a_point_of_the_curve():
    found = run_load(sku="mi355x", deployment="DEP8", concurrency=16)
    scenario = build_scenario(flags={"sku": "mi355x"}).scenario
    configuration, _ = configure_run(
        scenario,
        pools=parse_deployment("DEP8"),
        concurrency=16,
    )
    assert found.metrics == simulate_run(configuration).metrics
    assert found.replications[0].offered_per_s is None


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_load(**SMALL, rate=3.0, requests=30, seed=seed, out=tmp_path / name)
    one, same, other = ((tmp_path / name / "requests.parquet").read_bytes() for name in "abc")
    assert one == same != other


def test_goodput_is_joint():
    load = {**SMALL, "rate": 5.0, "requests": 200}
    free = run_load(**load)
    assert free.goodput is None
    limits = {"ttft_slo": free.metrics.ttft.median_s, "tpot_slo": free.metrics.tpot.median_s}
    found = run_load(**load, **limits)
    goodput = found.goodput
    assert goodput.ttft_share == pytest.approx(0.5, abs=0.02)
    assert goodput.tpot_share == pytest.approx(0.5, abs=0.02)
    assert 0 < goodput.joint_share < 0.5
    assert goodput.requests_per_s == pytest.approx(
        goodput.joint_share * found.metrics.requests_per_s
    )
    assert found.metrics.requests == 200 - found.replications[0].warm_up


def test_time_after_the_last_arrival_is_told_where_it_lowers_what_is_served():
    """24 of 30 requests a second were served by a fleet that kept up with them."""
    short = run_load(**SMALL, rate=5.0, requests=40)
    assert short.metrics.requests_per_s < 0.95 * short.replications[0].offered_per_s
    assert "pass after the last request has come" in drain_line(short)
    assert drain_line(run_load(**SMALL, concurrency=4)) == ""


def test_a_load_without_steady_state_says_so():
    found = run_load(**SMALL, rate=500.0, requests=1500, tuned_for=4)
    assert any("no steady state" in message for message in found.messages)
    assert found.replications[0].warm_up == 0


# arrivals ----------------------------------------------------------------------------------


def test_gaps_have_the_coefficient_of_variation_asked_for():
    for cv in (0.5, 2.0):
        times_s = [r.arrival_s for r in _requests(rate=2.0, cv=cv, requests=20_000)]
        gaps_s = np.diff(times_s)
        assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, rel=0.05)
        assert gaps_s.mean() == pytest.approx(0.5, rel=0.05)


def test_a_sinusoid_runs_one_cycle_and_peaks_in_its_middle():
    times_s = np.array([r.arrival_s for r in _requests(rate=20.0, peak=1.8, period=300.0)])
    assert times_s.max() <= 300
    assert len(times_s) == pytest.approx(6000, rel=0.05)
    middle = np.mean((times_s > 100) & (times_s < 200))
    # a third of the cycle around the peak: 1/3 + 0.8 sin(pi/3) / pi
    assert middle == pytest.approx(1 / 3 + 0.8 * np.sin(np.pi / 3) / np.pi, abs=0.03)


def test_steps_have_their_rates_and_end():
    times_s = np.array([r.arrival_s for r in _requests(steps=parse_steps("100:5,50:40"))])
    assert times_s.max() <= 150
    assert np.sum(times_s < 100) == pytest.approx(500, rel=0.15)
    assert np.sum(times_s >= 100) == pytest.approx(2000, rel=0.1)


def test_equal_gaps():
    times_s = [r.arrival_s for r in _requests(rate=4.0, arrivals="deterministic", requests=5)]
    assert times_s == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_trace_is_played_at_a_rate():
    trace = str(TRACES / "mooncake.jsonl")
    recorded = _requests(workload=trace)
    faster = _requests(workload=trace, rate=10.0)
    ratio = recorded[-1].arrival_s / faster[-1].arrival_s
    assert len(faster) / faster[-1].arrival_s == pytest.approx(10.0)
    assert [r.arrival_s for r in recorded] == pytest.approx([ratio * r.arrival_s for r in faster])
    retimed = _requests(workload=trace, rate=10.0, arrivals="deterministic")
    assert [r.arrival_s for r in retimed] == pytest.approx(np.arange(len(retimed)) / 10)


def test_mlperfs_lengths_come_with_its_limits():
    asked = build_load(flags={"sku": "b200", "workload": "mlperf-r1-server", "rate": 4.0})
    assert (asked.settings.ttft_slo, asked.settings.tpot_slo) == (2.0, 0.080)
    assert asked.resolved["ttft_slo"]["origin"] == "workload mlperf-r1-server"
    stated = {"sku": "b200", "workload": "mlperf-r1-server", "rate": 4.0, "ttft_slo": 9.0}
    assert build_load(flags=stated).settings.ttft_slo == 9.0
    lengths = [request.output_tokens for request in _requests(**stated, requests=4000)]
    assert np.mean(lengths) == pytest.approx(3794, rel=0.08)
    assert max(lengths) <= 20_000
    with pytest.raises(UserError, match="scenario interactive does not exist for mixtral"):
        build_load(flags={"sku": "b200", "workload": "mlperf-mixtral-interactive", "rate": 1.0})


def test_lengths_of_a_file_are_those_of_the_requests(tmp_path):
    path = tmp_path / "lengths.yaml"
    path.write_text(
        "prompt: {law: fixed, tokens: 700}\n"
        "output: {law: histogram, edges: [10, 20], counts: [1]}\n",
        encoding="utf-8",
    )
    flags = {"sku": "b200", "lengths": str(path)}
    for load in ({"concurrency": 4}, {"rate": 8.0}):
        made = _requests(**flags, **load, requests=50)
        assert {request.prompt_tokens for request in made} == {700}
        assert all(10 <= request.output_tokens <= 20 for request in made)
    with pytest.raises(UserError, match="isl 100 are given; lengths come from one of them"):
        build_load(flags={**flags, "isl": 100, "rate": 1.0})


def test_a_duration_keeps_conversations_whole():
    turns = _requests(workload="agentic", rate=0.1, duration=100.0)
    starts = [r for r in turns if r.turn == 0]
    assert 3 < len(starts) < 25
    assert all(r.arrival_s <= 100 for r in starts)
    assert {r.session for r in turns} == {r.session for r in starts}
    assert min(sum(r.session == s.session for r in turns) for s in starts) > 1
    everything = _requests(workload="agentic", rate=0.1, requests=len(turns))
    assert everything == turns


# workloads and expert load -----------------------------------------------------------------


def test_traces_have_the_expert_load_of_real_text_unless_stated():
    trace = str(TRACES / "mooncake.jsonl")
    found = run_load(sku="mi355x", deployment="TEP8", workload=trace)
    assert found.summary()["expert_load"] == "power law 1.01 (real text and traces)"
    stated = build_load(flags={"sku": "b200", "workload": trace, "expert_load": "uniform"})
    assert stated.expert_load_text == "uniform (random tokens)"
    assert (
        build_load(flags={"sku": "b200", "rate": 1.0}).expert_load_text == stated.expert_load_text
    )


def test_skewed_experts_slow_long_prompts_and_copies_help():
    load = {"sku": "mi355x", "deployment": "DEP8", "concurrency": 256, "requests": 256}
    even, copied, skewed = (
        run_load(**load, **experts).metrics.ttft.mean_s
        for experts in (
            {},
            {"expert_load": "power-law", "redundant_experts": 32},
            {"expert_load": "power-law"},
        )
    )
    assert skewed > 1.05 * even
    assert skewed > 1.05 * copied


def test_copies_stated_twice_are_refused(capsys):
    command = ["load", "--sku", "gb200", "--rate", "2", "--redundant-experts", "8"]
    assert run([*command, "--engine-set", "redundant_experts=32"]) == 2
    assert (
        "redundant_experts is 8, but --engine-set redundant_experts=32" in capsys.readouterr().err
    )


def test_bad_rows_are_errors_unless_skipped(tmp_path, capsys):
    lines = (TRACES / "mooncake.jsonl").read_text().splitlines()
    file = tmp_path / "trace.jsonl"
    file.write_text("\n".join([*lines[:2], '{"timestamp": "soon"}', *lines[2:]]))
    command = ["load", "--sku", "mi355x", "--workload", str(file), "--out", str(tmp_path / "run")]
    assert run(command) == 2
    assert "line 3" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run([*command, "--on-error", "skip"]) == 0
    assert "1 bad rows left out" in capsys.readouterr().out


def test_a_router_that_knows_the_caches_finds_more_in_them():
    cached = {
        routing: run_load(
            sku="b300",
            deployment="TP8",
            replicas=4,
            workload="agentic",
            concurrency=8,
            requests=500,
            routing=routing,
        )
        for routing in ("round_robin", "kv_aware")
    }
    assert all(found.configuration.gpus == 32 for found in cached.values())
    share = {
        routing: found.metrics.cached_tokens / found.metrics.prompt_tokens
        for routing, found in cached.items()
    }
    assert share["kv_aware"] > share["round_robin"] + 0.02


def test_clients_without_conversations_are_reported():
    found = run_load(sku="b300", deployment="TP8", workload="agentic", concurrency=64, requests=99)
    assert any("of 64 clients have nothing to send" in message for message in found.messages)


# deployments -------------------------------------------------------------------------------


def test_pools_may_be_stated_by_their_workers():
    gb200 = {"sku": "gb200", "engine": "dynamo-vllm", "concurrency": 512, "requests": 512}
    found = run_load(**gb200, prefill_workers=1, decode_workers=1)
    assert found.label == "1xDEP8+1xDEP8"
    assert found.metrics == run_load(**gb200, deployment="1xDEP8+1xDEP8").metrics
    records = found.replications[0].records
    assert set(records.worker.tolist()) == {1}


def test_the_trace_of_two_pools_has_every_transfer(tmp_path):
    file = tmp_path / "trace.json"
    run_load(sku="gb200", deployment="1xTP8+1xTP8", concurrency=4, requests=12, trace=file)
    events = json.loads(file.read_text())["traceEvents"]
    transfers = [event for event in events if event["ph"] == "X" and "bytes" in event["args"]]
    assert {event["name"] for event in transfers} == {f"request {n}" for n in range(12)}
    assert all(event["pid"] == 2 and event["dur"] > 0 for event in transfers)


def test_replicas_share_the_requests_evenly_in_turn():
    found = run_load(**SMALL, replicas=3, concurrency=6, requests=60)
    workers = np.bincount(found.replications[0].records.worker)
    assert workers.tolist() == [20, 20, 20]
    assert found.label == "3xTP8"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "no load is given"),
        ("--rate 1 --concurrency 2", "keep one of them"),
        ("--rate 1 --cv 2 --burstiness 2", "burstiness is 1/cv^2"),
        ("--concurrency 2 --duration 9", "a closed loop sends"),
        ("--rate 1 --peak 1.5", "sinusoidal arrivals need both"),
        ("--rate 1 --arrivals poisson --cv 2", "cv has no meaning for poisson arrivals"),
        ("--rate 1 --arrivals trace", "has no arrival times"),
        ("--arrivals steps", "steps is missing"),
        ("--steps 5", "SECONDS:REQ/S"),
        ("--rate 1 --workload 8k1k --osl 9", "lengths come from one of them"),
        ("--rate 1 --workload 8k2k", "workload '8k2k' is unknown"),
        ("--rate 1 --deployment 2xQ8", "is not a pool such as"),
        ("--rate 1 --deployment TP8 --ep 8", "states all layouts"),
        ("--rate 1 --prefill-workers 2", "decode_workers is missing"),
        ("--rate 1 --routing random", "round_robin"),
        ("--rate 1 --expert-load power-law:x", "power_law:1.01"),
        ("--rate 1 --trace-until 3", "add --trace"),
        ("--rate 0", "rate is 0.0"),
    ],
)
def test_errors_name_the_way_out(flags, message, tmp_path, capsys):
    command = ["load", "--sku", "b200", "--out", str(tmp_path / "run"), *flags.split()]
    assert run(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_unknown_settings_name_the_nearest():
    with pytest.raises(UserError, match="replicas"):
        run_load(sku="b200", rate=1.0, replica=2)


def test_an_engine_with_an_orchestrator_takes_its_recipes_pools(capsys):
    asked = ["load", "--sku", "mi355x", "--engine", "atom-disagg", "--isl", "256", "--osl", "8"]
    assert run([*asked, "--rate", "2", "--requests", "20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["deployment"] == "1xTP8+1xTP8"
    # one worker with a stated layout is still that
    assert run([*asked, "--rate", "2", "--requests", "20", "--tp", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deployment"] == "TP8"
