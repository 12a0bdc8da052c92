"""docs/tutorial.md: its commands run as written and say what the page tells readers to seek."""

import importlib.util
import shlex
import sys
from pathlib import Path

import pytest

from simulator.cli.main import run

ROOT = Path(__file__).parents[2]
TOLD = {
    "simulate plan --mw 10": ("best: ", "it rests on", "measure first: ", "10 MW at the meter"),
    "simulate --sku b300": ("best deployed as", "runner-up: ", "TTFT limit: p90 up to 10 s"),
    "simulate plan --gpus 16": ("best: NVIDIA B300", "16 GPUs", "next deployment of it"),
    "simulate load --sku b300": ("2xDEP4+1xDEP8", "burstiness 0.25", "goodput: ", "how far off"),
    "simulate explain --sku b300": ("10 % more workers", "binds: ", "measure first: "),
    "simulate search --sku b300": ("2xDEP4+1xDEP8", "measure first: ", "dynamo.sglang"),
    "simulate compare vr200 mi455x": ("kind of prediction", "it rests on"),
    "simulate compare vr200:vllm@spec": ("specification",),
    "simulate sensitivity --sku vr200": ("hbm",),
}
"""Starts of the page's commands, and what their output must have."""


def commands():
    spec = importlib.util.spec_from_file_location(
        "run_commands", ROOT / "docs" / "tools" / "run_commands.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_commands"] = module
    spec.loader.exec_module(module)
    found = [each.text for each in module.commands_of(ROOT / "docs" / "tutorial.md")]
    return [text for text in found if text.startswith("simulate ")]


def test_every_command_of_the_tutorial_has_something_to_look_for():
    for text in commands():
        assert any(text.startswith(start) for start in TOLD), text


@pytest.mark.slow
@pytest.mark.parametrize("start", TOLD)
def test_commands_of_the_tutorial_say_what_the_page_says(start, capsys, tmp_path, monkeypatch):
    (text,) = [text for text in commands() if text.startswith(start)]
    monkeypatch.chdir(tmp_path)
    assert run(shlex.split(text)[1:]) == 0
    out = capsys.readouterr().out
    for told in TOLD[start]:
        assert told in out, told
