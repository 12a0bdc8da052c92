"""Commands of README and docs: all are found, and each has been run as written."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tool():
    spec = importlib.util.spec_from_file_location(
        "run_commands", ROOT / "docs" / "tools" / "run_commands.py"
    )
    module = importlib.util.module_from_spec(spec)
    import sys

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


def test_every_command_has_been_run_as_written():
    """After a change of a command: ``python docs/tools/run_commands.py --record``."""
    commands = tool()
    shown = {each.text for each in commands.all_commands() if not commands.reason_not_run(each)}
    known = commands.recorded()
    assert shown - set(known) == set()
    assert set(known) - shown == set()


def test_the_page_of_commands_is_in_step():
    commands = tool()
    entries = list(commands.recorded().values())
    assert commands.PAGE.read_text(encoding="utf-8") == commands.page_text(entries)
