"""``plan --workload agentx``: objectives, the most sessions that hold them, and the fleet."""

import json

import pytest

from hwmodels.economics import load_economics
from simulator.analysis.objectives import Objectives
from simulator.studies.agentx.fleet import run_fleet
from simulator.studies.agentx.fleet_request import build_fleet
from simulator.studies.agentx.request import build_agentx
from simulator.studies.agentx.text import advice
from workloads.errors import UserError

SESSION = {
    "id": "s",
    "block_size": 64,
    "requests": [
        {
            "t": 10.0 * turn,
            "in": 64 * (40 + turn),
            "out": 20,
            "hash_ids": list(range(40 + turn)),
            "api_time": 2.0,
        }
        for turn in range(40)
    ],
}


@pytest.fixture
def replayed(tmp_path):
    path = tmp_path / "sessions.jsonl"
    path.write_text(json.dumps(SESSION) + "\n")
    flags = {
        "trees": str(path),
        "protocol": "agentx-fast",
        "spec": "mtp:3",
        "concurrency": (1, 2),
        "tp": 8,
        "ep": 8,
        "dp_attention": True,
    }
    return build_agentx(["b200:vllm"], flags=flags)


def test_a_fleet_is_as_many_deployments_as_agents_need_in_whole_nodes(replayed) -> None:
    found = run_fleet(replayed, agents=11, objectives=Objectives(interactivity_p90=5))
    words = [text.get_text() for text in found.plot().texts]
    assert "Cost of 11 Coding Agents" in words
    assert any(word.startswith("5 tok/s/user (p90); ") for word in words)
    row = found.rows[0]
    assert (row.sessions, row.deployment_gpus, row.layout) == (2, 8, "DEP8")
    assert (row.deployments, row.gpus) == (6, 48)
    price = load_economics("latest").for_sku("b200").usd_per_gpu_hour()
    assert row.usd_per_agent_hour == pytest.approx(48 * price / 11)
    assert row.interactivity_p90 >= 5
    assert found.summary()["agents"] == 11
    assert list(found.frame()["gpus"]) == [48]
    best, kind = advice(found)
    assert best.startswith("best: b200:vllm as DEP8 mtp:3: 48 GPUs, ")
    assert f"${48 * price / 11:.2f} an agent-hour" in best
    assert kind.startswith("kind of prediction: b200:vllm ")


def test_objectives_that_nothing_holds_are_refused_with_the_figure(replayed) -> None:
    with pytest.raises(UserError, match=r"at 1 sessions: interactivity_p90 .* tok/s of 100000"):
        run_fleet(replayed, agents=5, objectives=Objectives(interactivity_p90=1e5))
    with pytest.raises(UserError, match="percentiles up to p95"):
        run_fleet(replayed, agents=5, objectives=Objectives(interactivity_p99=5))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"interactivity_p90": 50.0}, "how many agents"),
        ({"agents": 5}, "no speed is asked for"),
        ({"agents": 5, "interactivity_p90": 50.0, "rate": 3.0}, "rate has no meaning for agents"),
        ({"agents": 5, "interactivity_p90": 50.0, "tp": [4, 8]}, "tp has several values"),
    ],
)
def test_what_has_no_meaning_for_agents_is_refused(given, reason) -> None:
    with pytest.raises(UserError, match=reason):
        build_fleet(given, trees={"trees": "agentx"}, default_skus=lambda _: ["b200"])


def test_without_skus_those_with_agentic_runs_compete_as_their_recipes_speculate() -> None:
    asked = build_fleet(
        {"agents": 5, "interactivity_p90": 50.0},
        trees={"trees": "agentx"},
        default_skus=lambda _: ["h100", "b200", "b300"],
    )
    assert [system.name for system in asked.replay.systems] == ["b200", "b300"]
    assert {system.scenario.spec for system in asked.replay.systems} == {"mtp"}
    assert asked.objectives.ttft_p90_s == 10.0
    assert asked.replay.workload.protocol.name == "agentx-fast"
    assert any("20-minute windows" in text for text in asked.assumed)
