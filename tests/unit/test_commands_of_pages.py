"""Commands of README and docs: all are found, and each has been run as written."""

import importlib.util
import shlex
import sys
from pathlib import Path

import pytest
import typer

from simulator.cli.main import app

ROOT = Path(__file__).parents[2]


def tool():
    spec = importlib.util.spec_from_file_location(
        "run_commands", ROOT / "docs" / "tools" / "run_commands.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_commands"] = module
    spec.loader.exec_module(module)
    return module


def test_fenced_commands_and_those_of_tables_are_found(tmp_path, monkeypatch):
    commands = tool()
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "text `simulate --sku b200`\n"
        "```\nsimulate sweep --sku b200 \\\n  --tp 8  # eight\nls\n```\n"
        "| a | `simulate list skus`, `simulate plan` |\n",
        encoding="utf-8",
    )
    assert [each.text for each in commands.commands_of(page)] == [
        "simulate sweep --sku b200 --tp 8",
        "simulate list skus",
    ]


def parse(text):
    """Read the flags of a command without running it."""
    words = shlex.split(text.partition(" > ")[0])[1:]
    command = typer.main.get_command(app)
    context = command.make_context("simulate", words)
    while rest := [*context._protected_args, *context.args]:
        name, command, words = command.resolve_command(context, rest)
        context = command.make_context(name, words, parent=context)
        if not hasattr(command, "resolve_command"):
            return


def test_every_command_is_one_that_the_program_takes():
    commands = tool()
    shown = [each.text for each in commands.all_commands() if not commands.reason_not_run(each)]
    assert len(shown) > 30
    for text in shown:
        if text.startswith("simulate "):
            parse(text)


@pytest.mark.parametrize("text", ["simulate --skus b200", "simulate sweeps", "simulate list --x"])
def test_a_command_that_the_program_does_not_take_is_found(text):
    with pytest.raises(typer.BadParameter.__mro__[2]):
        parse(text)


def test_the_fastest_commands_are_chosen_within_a_time():
    commands = tool()
    asked = [commands.Command(page="p", text=text) for text in ("a", "b", "c", "d")]
    known = {"a": {"seconds": 30.0}, "b": {"seconds": 1.0}, "c": {"seconds": 2.0}}
    found = commands.fastest(asked, known, within_s=10.0)
    assert [each.text for each in found] == ["b", "c"]
    asked.append(commands.Command(page="p", text="simulate list skus"))
    found = commands.fastest(asked, known, within_s=10.0)
    assert [each.text for each in found] == ["b", "c", "simulate list skus"]


def test_a_command_that_was_never_run_is_neither_long_nor_timed():
    commands = tool()
    new = commands.Command(page="p", text="simulate list skus")
    known = {new.text: commands._not_run(new)}
    assert commands.timed_s(known, new.text) is None
    assert not commands.is_long(new, known)
    assert commands.fastest([new], known, within_s=10.0) == [new]


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path):
    commands = tool()
    asked = commands.Command(page="p", text="(sleep 30; touch late) & echo begun; wait")
    seconds, status, output = commands.run_one(asked, tmp_path, 0.3)
    assert seconds < 5.0
    assert status == 124
    assert output.startswith("begun")
    assert "took longer than 0 s" in output


def test_what_a_command_needs_is_made_and_nothing_else(tmp_path, monkeypatch):
    commands = tool()
    monkeypatch.setattr(
        commands,
        "PREPARED",
        {"first": "touch first", "copy": "cp first copy", "other": "touch other"},
    )
    commands.prepare(tmp_path, [commands.Command(page="p", text="simulate report copy")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "first"]


def test_every_command_is_recorded_with_its_last_run_or_that_it_never_ran():
    """After a change of a command: ``python docs/tools/run_commands.py --record``."""
    commands = tool()
    shown = {each.text for each in commands.all_commands() if not commands.reason_not_run(each)}
    assert shown == set(commands.recorded())


def test_the_page_of_commands_is_in_step():
    commands = tool()
    entries = list(commands.recorded().values())
    assert commands.PAGE.read_text(encoding="utf-8") == commands.page_text(entries)
