"""Timeline, search and sensitivity of session trees: what is asked, and small replays of it."""

import json

import pytest

from simulator.prediction.agentic import configure_agentic
from simulator.scenario.settings import build_scenario
from simulator.studies.agentx.asked import FAST_NOTE, ask_of_agents
from simulator.studies.agentx.dates import agentic_software_dates, run_dates
from simulator.studies.agentx.objectives import AgentObjectives
from simulator.studies.agentx.request import build_agentx
from simulator.studies.agentx.run import run_agentx
from simulator.studies.agentx.search import search_agents
from simulator.studies.agentx.sensitivity import AgentStudy
from simulator.studies.report import report
from simulator.studies.report.payload import payload
from workloads.errors import UserError

SYSTEM = {"sku": "b200", "engine": "vllm", "spec": "mtp:3", "tp": 8, "ep": 8, "dp_attention": True}
SEARCH = dict.fromkeys(("goal", "interactivity_p90", "ttft_p90", "vary", "min_throughput"))


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """Two short sessions of growing prompts."""
    path = tmp_path_factory.mktemp("trees") / "sessions.jsonl"
    calls = [
        {
            "t": 30.0 * turn,
            "in": 64 * (400 + 8 * turn),
            "out": 40,
            "hash_ids": list(range(400 + 8 * turn)),
            "api_time": 2.0,
        }
        for turn in range(30)
    ]
    rows = [{"id": name, "block_size": 64, "requests": calls} for name in ("one", "two")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_study_keeps_its_own_settings_and_takes_fast_mode(trace) -> None:
    flags = {**SYSTEM, "trees": trace, "concurrency": (2,), "at": [30.0], "kv_offload": "none"}
    asked = ask_of_agents(flags, own={"at": None})
    assert asked.own == {"at": [30.0]}
    assert asked.replay.workload.protocol.name == "agentx-fast"
    assert asked.assumed == (FAST_NOTE,)
    assert [one.name for one in asked.replay.systems] == ["b200:vllm"]
    stated = ask_of_agents({**flags, "protocol": "agentx"}, own={"at": None})
    assert stated.replay.workload.protocol.name == "agentx"
    assert stated.assumed == ()
    with pytest.raises(UserError, match="name one SKU and one engine"):
        ask_of_agents({**flags, "sku": ["b200", "b300"]}, own={"at": None})


def test_dates_of_agentic_software_are_those_of_levels_and_agentic_settings() -> None:
    scenario = build_scenario(flags={"sku": "b200", "engine": "vllm"}).scenario
    dates = {one.date: one.changes for one in agentic_software_dates(scenario)}
    assert dates["2026-08-21"] == ("settings", "agentic level")
    assert "2026-07-12" not in dates  # settings of fixed lengths alone
    assert list(dates) == sorted(dates)


def test_a_timeline_holds_the_deployment_and_changes_the_software(trace) -> None:
    flags = {**SYSTEM, "trees": trace, "concurrency": (2,), "at": [1e6]}
    result = run_dates(ask_of_agents(flags, own={"at": None}))
    frame = result.frame()
    assert set(frame["layout"]) == {"DEP8"}
    assert len(frame) == len(result.dates) >= 2
    assert frame["times_first"].iloc[0] == 1.0
    last = frame.iloc[-1]
    assert last["level"] == "vllm@2026-08-21-agentic"
    assert last["interactivity_p90"] > 1.1 * frame["interactivity_p90"].iloc[0]
    assert result.at_speeds()["total_tokens_per_s_per_gpu"].isna().all()
    assert result.tables().keys() == {"timeline", "at_speeds"}
    with pytest.raises(UserError, match="names one level"):
        run_dates(ask_of_agents({**flags, "engine": "vllm@2026-08"}, own={"at": None}))


def test_a_search_varies_the_cap_of_prompts_and_prefers_what_meets(trace) -> None:
    flags = {
        **SYSTEM,
        "trees": trace,
        "concurrency": (1, 2),
        "vary": {"long_prefill_token_threshold": (512, 4096)},
    }
    result = search_agents(ask_of_agents(flags, own=SEARCH))
    tried = {(t.point.metrics.sessions, t.settings_text) for t in result.trials}
    assert (2, "long_prefill_token_threshold=4096") in tried
    winner = result.winner
    assert winner is not None
    assert winner.meets
    assert winner.score == max(trial.score for trial in result.trials if trial.meets)
    changed = result.configuration(winner).pools[0].settings
    assert all(getattr(changed, name) == value for name, value in winner.changes)
    impossible = search_agents(ask_of_agents({**flags, "interactivity_p90": 1e5}, own=SEARCH))
    assert impossible.winner is None
    assert "interactivity p90" in impossible.trials[0].missed


def test_objectives_without_a_figure_in_agentx_are_refused() -> None:
    with pytest.raises(UserError, match="percentiles up to p95"):
        AgentObjectives.of({"interactivity_p99": 20.0})
    with pytest.raises(UserError, match="goal ttft alone"):
        AgentObjectives.of({"goal": "ttft"})
    assumed = AgentObjectives.of({"interactivity_p90": 20.0})
    assert assumed.users.ttft_p90_s == 10.0
    assert "no TTFT is asked for" in assumed.assumed[0]


def test_faster_memory_speeds_agents_up_and_lengths_are_not_tried(trace) -> None:
    asked = ask_of_agents({**SYSTEM, "trees": trace, "concurrency": (2,)}, own={}).replay
    system = asked.systems[0]
    configuration, _ = configure_agentic(
        system.scenario, pools=system.pools(), sessions=2, workload=asked.workload
    )
    study = AgentStudy(configuration, asked=asked, step=0.2, replications=1)
    parameters, untried = study.parameters()
    assert untried["isl"] == "lengths are those of the sessions"
    by_name = {parameter.name: parameter for parameter in parameters}
    assert {"sessions", "hbm_bytes_per_s", "acceptance_length"} <= by_name.keys()
    base = study.results(study.base)
    found = study.elasticity(by_name["hbm_bytes_per_s"], base=base)
    assert 0.2 < found.elasticity["interactivity"].mean < 1.1


def test_a_report_shows_a_replay_with_the_agentic_axes_first(trace, tmp_path) -> None:
    flags = {**SYSTEM, "trees": trace, "concurrency": (1, 2), "protocol": "agentx-fast"}
    del flags["sku"], flags["engine"]
    result = run_agentx(build_agentx(["b200:vllm"], flags=flags))
    page = report(result, out=tmp_path / "page.html")
    points = page.frame()
    assert list(points["concurrency"]) == [1, 2]
    assert set(points["lengths"]) == {"agent sessions"}
    assert points["interactivity"].iloc[0] == result.points[0].metrics.interactivity_p50
    data = payload(points=points, measured=page.measured, speeds=(), corner="")
    assert [axis["key"] for axis in data["axes"]["x"]][:2] == ["interactivity_p90", "e2e_norm_p90"]
    html = (tmp_path / "page.html").read_text()
    assert "P90 interactivity" in html
    assert "pool fills at [sessions]" in html
    assert page.summary()["sources"][0]["settings"]["protocol"]["value"] == "agentx-fast"
