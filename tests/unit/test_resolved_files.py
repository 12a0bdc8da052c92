"""``resolved.yaml`` of every command runs again and gives the same bytes; edits are not dropped."""

import re

import pytest
import yaml

from simulator.cli.main import run
from simulator.scenario.reported import check_reported
from simulator.scenario.settings_file import read_settings
from simulator.version import version
from workloads.errors import UserError

SHORT = ["--isl", "256", "--osl", "32"]
ONE = ["--model", "llama-3.1-8b", "--tp", "1", *SHORT]
MANY = ["--sku", "h200,a100", *ONE, "--concurrency", "1,2"]
RUNS = ["--replications", "1"]
TESTS = ["--replications", "3", "--layouts", "1"]
AT_TWO = ["--concurrency", "2", "--clients", "2", "--no-dp-attention", *SHORT]
COMMANDS = {
    "curve": ["--sku", "h200", *ONE, "--concurrency", "1,2", "--engine-set", "max_num_seqs=64"],
    "sweep": ["sweep", *MANY, "--ttft-p90", "5"],
    "load": ["load", "--sku", "h200", *ONE, "--rate", "2", "--requests", "20"],
    "search": ["search", *MANY, "--interactivity", "20"],
    "sensitivity": ["sensitivity", "--sku", "h200", *ONE, "--concurrency", "1", *RUNS],
    "compare": ["compare", "h200", "a100:vllm", *ONE, "--concurrency", "1,2", "--at", "60"],
}
SLOW = {
    "plan": ["plan", "--skus", "h200", *ONE, "--rate", "5", "--interactivity", "30", *TESTS],
    "timeline": ["timeline", "--sku", "mi355x", "--tp", "8", "--ep", "8", "--at", "30", *AT_TWO],
}


def files_of(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix in (".yaml", ".json", ".csv")
    }


def repeat(arguments, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run([*arguments, "--out", str(first)]) == 0
    command = arguments[:1] if not arguments[0].startswith("-") else []
    again = [*command, "--scenario", str(first / "resolved.yaml"), "--out", str(second)]
    assert run(again) == 0
    return files_of(first), files_of(second)


def check_same(first, second):
    assert "resolved.yaml" in first
    assert "summary.json" in first
    assert set(first) == set(second)
    for name, content in first.items():
        assert second[name] == content, name


@pytest.mark.parametrize("command", COMMANDS)
def test_a_resolved_file_runs_again_and_gives_the_same_bytes(command, tmp_path):
    check_same(*repeat(COMMANDS[command], tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("command", SLOW)
def test_a_long_answer_runs_again_too(command, tmp_path):
    check_same(*repeat(SLOW[command], tmp_path))


@pytest.fixture(scope="module")
def curve_file(tmp_path_factory):
    directory = tmp_path_factory.mktemp("curve") / "run"
    arguments = ["--sku", "b200", "--engine", "vllm", "--tp", "8", "--ep", "8", *SHORT]
    assert (
        run([*arguments, "--no-dp-attention", "--concurrency", "1", "--out", str(directory)]) == 0
    )
    return directory / "resolved.yaml"


@pytest.mark.parametrize("command", ["sweep", "search", "sensitivity"])
def test_the_file_of_a_curve_is_read_by_other_commands(command, curve_file, tmp_path):
    own = ["--interactivity", "20"] if command == "search" else []
    own += ["--replications", "1"] if command == "sensitivity" else []
    out = tmp_path / "out"
    assert run([command, "--scenario", str(curve_file), *own, "--out", str(out)]) == 0
    resolved = yaml.safe_load((out / "resolved.yaml").read_text())
    assert resolved["isl"] == {"value": 256, "origin": "flag"}


def edited(path, tmp_path, **changes):
    entries = yaml.safe_load(path.read_text())
    for name, value in changes.items():
        entries[name] = {**entries[name], "value": value}
    target = tmp_path / "edited.yaml"
    target.write_text(yaml.safe_dump(entries, sort_keys=False))
    return target


def test_an_edited_server_setting_is_refused_with_the_way_out(curve_file, tmp_path):
    name = "settings.TEP8.max_num_batched_tokens"
    path = edited(curve_file, tmp_path, **{name: 4096})
    check_reported(read_settings(curve_file))
    with pytest.raises(UserError, match=f"{re.escape(name)} is 4096 in .*--engine-set max_num"):
        check_reported(read_settings(path))


def test_an_edited_default_is_used(curve_file, tmp_path):
    path = edited(curve_file, tmp_path, seed=7)
    out = tmp_path / "out"
    assert run(["--scenario", str(path), "--out", str(out)]) == 0
    resolved = yaml.safe_load((out / "resolved.yaml").read_text())
    assert resolved["seed"] == {"value": 7, "origin": f"file {path}"}


def test_a_file_of_another_version_is_refused(curve_file, tmp_path):
    path = edited(curve_file, tmp_path, version="0.0.1")
    with pytest.raises(
        UserError, match=rf"version is 0\.0\.1 in .*this is forecurve {re.escape(version())}"
    ):
        read_settings(path)


def test_an_edited_server_setting_of_a_load_is_refused(tmp_path, capsys):
    out = tmp_path / "load"
    assert run([*COMMANDS["load"], "--out", str(out)]) == 0
    entries = yaml.safe_load((out / "resolved.yaml").read_text())
    settings = entries["server_settings"]["value"]["aggregated"]
    settings["max_num_seqs" if "max_num_seqs" in settings else "max_running_requests"] = 3
    path = tmp_path / "edited.yaml"
    path.write_text(yaml.safe_dump(entries))
    assert run(["load", "--scenario", str(path)]) == 2
    assert "is 3 in the scenario file, but the recipe in force has" in capsys.readouterr().err


def test_a_load_says_which_server_settings_of_a_curves_file_it_does_not_read(tmp_path, capsys):
    """As inference-sim/inference-sim#1035: an edited setting went unused without a word."""
    path = tmp_path / "edited.yaml"
    told = {"sku": "b300", "engine": "vllm", "tp": 8, "ep": 8, "dp_attention": False, "osl": 8}
    told |= {"settings.TEP8.max_num_batched_tokens": 4321}
    path.write_text(yaml.safe_dump({k: {"value": v, "origin": "flag"} for k, v in told.items()}))
    out = str(tmp_path / "load")
    assert run(["load", "--scenario", str(path), "--concurrency", "1", "--out", out]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "settings.TEP8.max_num_batched_tokens is 4321 in the scenario file" in printed
    assert "--engine-set max_num_batched_tokens=4321" in printed
