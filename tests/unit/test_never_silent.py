"""Off a terminal every command says that it is at work, and one voice at a time."""

import time

from simulator.cli import progress
from simulator.cli.main import run


def test_a_command_without_progress_of_its_own_says_how_long_it_is_at_work(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    assert run(["show", "sku", "b200"]) == 0
    assert "s: at work" in capsys.readouterr().err


def test_nothing_is_said_beside_a_bar_or_after_the_end(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    with progress.never_silent(), progress.progress_bar() as move:
        move(1, 3, "runs")
        time.sleep(0.1)
    told = capsys.readouterr().err
    assert "1 of 3, runs" in told
    assert "at work" not in told
    time.sleep(0.05)
    assert capsys.readouterr().err == ""
