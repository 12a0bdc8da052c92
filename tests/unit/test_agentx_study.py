"""``simulate agentx``: what is asked, which points, and a small replay end to end."""

import json

import pytest
from typer.testing import CliRunner

from simulator.cli.main import app, run
from simulator.studies.agentx.request import build_agentx, points_of
from simulator.studies.agentx.run import run_agentx
from workloads.errors import UserError

TRACE = {
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
def trace(tmp_path):
    path = tmp_path / "sessions.jsonl"
    path.write_text(json.dumps(TRACE) + "\n")
    return str(path)


def test_points_are_those_that_the_recipe_was_run_with() -> None:
    asked = build_agentx(["b200:vllm"], flags={"spec": "mtp:3"})
    points = points_of(asked.systems[0], sessions=None)
    assert len(points) <= 8
    assert (points[0][0], points[-1][0]) == (1, 196)
    assert [pools[0].layout.label for _, pools in (points[0], points[-1])] == ["TP8", "DEP8"]
    stated = points_of(asked.systems[0], sessions=(64, 8))
    assert [sessions for sessions, _ in stated] == [8, 64]


def test_a_users_sessions_are_replayed_and_hit_what_they_repeat(trace) -> None:
    flags = {"trees": trace, "concurrency": (2,), "protocol": "agentx-fast", "spec": "mtp:3"}
    point = run_agentx(build_agentx(["b200:vllm"], flags=flags)).points[0]
    m = point.metrics
    assert m.requests > 50
    assert m.mean_output_tokens == pytest.approx(20)
    assert 0.9 < m.hit_total < m.hit_infinite <= 1.0
    assert point.capacity.pool_tokens > point.capacity.logged_tokens > 0
    assert m.duration_s == pytest.approx(1200, rel=0.05)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"isl": 100}, "isl has no meaning for session trees"),
        ({"trees": "nothing.jsonl"}, "'nothing.jsonl' is no file"),
        ({"protocol": "agentx-slow"}, "protocol"),
        ({"kv_offload": "dram"}, "kv_offload 'dram'"),
        ({"x": "speed"}, "x"),
    ],
)
def test_settings_without_meaning_are_refused(flags, reason) -> None:
    with pytest.raises(UserError, match=reason):
        build_agentx(["b200"], flags=flags)


@pytest.mark.slow
def test_every_door_leads_to_the_same_replay(trace, tmp_path) -> None:
    common = ["--workload", trace, "--concurrency", "2", "--protocol", "agentx-fast", "--json"]
    doors = (
        ["agentx", "b200:vllm"],
        ["load", "--sku", "b200", "--engine", "vllm"],
        ["--sku", "b200", "--engine", "vllm"],
        ["compare", "b200:vllm"],
    )
    found = []
    for number, door in enumerate(doors):
        run = CliRunner().invoke(
            app, [*door, *common, "--spec", "mtp:3", "--out", str(tmp_path / str(number))]
        )
        assert run.exit_code == 0, run.output
        point = json.loads(run.stdout)["points"][0]
        found.append({name: value for name, value in point.items() if name != "system"})
    assert all(one == found[0] for one in found)
    assert (tmp_path / "0" / "agentx.png").exists()
    assert (tmp_path / "0" / "points.csv").exists()


def test_commands_without_session_trees_name_those_with_them(capsys) -> None:
    from simulator.cli.main import run

    assert run(["sweep", "--workload", "agentx"]) == 2
    said = capsys.readouterr().err
    assert "sweep takes no --workload" in said
    assert "simulate agentx" in said


def test_a_resolved_file_runs_again_and_gives_the_same_bytes(trace, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    asked = ["b200:vllm", "--workload", trace, "--concurrency", "1", "--protocol", "agentx-fast"]
    assert run(["agentx", *asked, "--spec", "mtp:3", "--seed", "3", "--out", str(first)]) == 0
    file = str(first / "resolved.yaml")
    assert run(["agentx", "--scenario", file, "--out", str(second)]) == 0
    for name in ("resolved.yaml", "summary.json", "points.csv"):
        assert (second / name).read_bytes() == (first / name).read_bytes()


def test_server_settings_of_another_run_are_refused_not_dropped(tmp_path) -> None:
    path = tmp_path / "resolved.yaml"
    path.write_text("settings.TP8.max_num_seqs: {value: 8, origin: recipe}\n")
    with pytest.raises(UserError, match=r"settings.TP8.max_num_seqs in .* --engine-set"):
        build_agentx(["b200:vllm"], flags={}, file=path)
