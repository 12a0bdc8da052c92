"""``simulate agentx``: what is asked, which points, and a small replay end to end."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from simulator.cli.main import app, run
from simulator.prediction.assembly import assemble
from simulator.prediction.kv_capacity import kv_use
from simulator.scenario.settings import build_scenario
from simulator.serving.kv_pool import KvPoolSpec
from simulator.serving.records import Records
from simulator.studies.agentx.request import build_agentx, points_of
from simulator.studies.agentx.run import UNSPECULATED, run_agentx
from simulator.studies.agentx.table import predict_sessions
from simulator.studies.explain.request import configure
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


def test_the_picture_names_chip_level_and_sessions_and_the_notes_what_was_left_out(trace) -> None:
    flags = {"trees": trace, "concurrency": (1, 2), "protocol": "agentx-fast:60"}
    result = run_agentx(build_agentx(["b200:vllm"], flags=flags), workers=1)
    assert UNSPECULATED in result.messages
    figure = result.plot()
    axes = figure.axes[0]
    words = [text.get_text() for text in (*figure.texts, *axes.texts, *axes.get_legend().texts)]
    assert "Token Throughput per Chip vs. P90 interactivity" in words
    assert "NVIDIA B200 SXM (HGX) (vllm) + CPU KV Offloading, simulated" in words
    assert any(word.endswith(" c2") for word in words)
    assert any(word.startswith("deepseek-v4-pro FP4; vllm@2026-08-21-agentic") for word in words)
    in_processes = run_agentx(result.asked, workers=2)
    assert in_processes.frame().equals(result.frame())
    assert in_processes.messages == result.messages


def test_use_of_the_pool_is_what_running_requests_hold() -> None:
    """Ten seconds of 10 + 2 blocks, then ten of 10.05 + 0.5 + 2 at the mean, in 20 s of 100."""
    pool = SimpleNamespace(
        workers=1,
        layout=SimpleNamespace(attention_dp=1, pp=1),
        kv_pool=KvPoolSpec(total_blocks=100, block_tokens=10, fixed_blocks_per_request=2),
    )
    columns = dict.fromkeys(Records.names, np.array([0]))
    columns |= {
        "prompt_tokens": np.array([95]),
        "output_tokens": np.array([11]),
        "arrival_s": np.array([0.0]),
        "scheduled_s": np.array([0.0]),
        "first_token_s": np.array([10.0]),
        "finish_s": np.array([20.0]),
    }
    one, two = SimpleNamespace(pools=[pool]), SimpleNamespace(pools=[pool, pool])
    assert kv_use(one, Records(**columns)) == pytest.approx((120 + 125.5) / 2000)
    assert kv_use(two, Records(**columns)) == pytest.approx(120 / 2000)


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


def test_commands_without_session_trees_say_why_and_name_those_with_them(capsys) -> None:

    assert run(["mlperf", "--workload", "agentx"]) == 2
    said = capsys.readouterr().err
    assert "mlperf takes no --workload: its datasets and limits are the benchmark's own" in said
    assert "agentx, sweep, compare, timeline, plan, search, sensitivity, load" in said


def test_a_table_of_agentic_runs_comes_back_with_figures_or_reasons(trace) -> None:
    table = pd.DataFrame(
        [
            {"sku": "b200", "engine": "vllm", "concurrency": "2", "spec": "mtp:3", "id": "x"},
            {"sku": "b200", "engine": "vllm", "concurrency": "two", "spec": "", "id": "y"},
            {"sku": "b200", "engine": "vllm", "concurrency": "1e999", "spec": "", "id": "z"},
        ]
    )
    found = predict_sessions(table, trees={"trees": trace, "protocol": "agentx-fast"})
    assert list(found["status"]) == ["ok", "failed", "failed"]
    assert found["reason"][1] == "concurrency is 'two'; it must be a whole number"
    assert found["reason"][2] == "concurrency is '1e999'; it must be a whole number"
    assert found["pred_requests"][0] > 50
    assert list(found["id"]) == ["x", "y", "z"]
    with pytest.raises(UserError, match="column concurrency is missing"):
        predict_sessions(table[["sku"]], trees={})


def test_explain_takes_the_step_times_of_agentic_builds() -> None:
    flags = {"sku": "b200", "engine": "vllm", "isl": 131072, "osl": 1024, "spec": "mtp:3"}
    scenario = build_scenario(flags=flags).scenario
    configuration, _ = configure(scenario, concurrency=64, traffic="agentic")
    assert configuration.pools[0].layout.label == "DEP8"
    assert configuration.pools[0].settings.long_prefill_token_threshold == 512
    assert assemble(configuration).software.name == "vllm@2026-08-21-agentic"
