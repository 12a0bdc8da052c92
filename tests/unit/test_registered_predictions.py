"""Registered predictions: written once, never changed."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from calibration.kernels.report import replace_blocks
from calibration.scoreboard import registered
from calibration.scoreboard.readme_figures import figures_text, rivals_text
from calibration.scoreboard.registered_page import registered_text
from simulator.cli.main import run
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError

ROOT = Path(__file__).parents[2]
QUESTION = (
    "questions:\n  - {id: one, sku: h200, model: llama-3.1-8b, engine: vllm, tp: 1, "
    "ep: 1, dp_attention: false, concurrency: [1, 4], isl: 256, osl: 64}\n"
    "  - {id: none, sku: no-such-chip, model: llama-3.1-8b, concurrency: [1]}\n"
    "  - {id: two, sku: h200, model: llama-3.1-8b, engine: atom, concurrency: [1]}\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    panel = tmp_path / "panel.yaml"
    panel.write_text(QUESTION, encoding="utf-8")
    monkeypatch.setattr(registered, "PANEL", panel)
    target = tmp_path / "2026-12"
    registered.register(target, today=dt.date(2026, 12, 1))
    return target


def test_answers_carry_figures_version_and_date(folder):
    entry, refused = registered.registered(folder.parent)
    assert [point["concurrency"] for point in entry.points] == [1, 4]
    assert all(point["total_tput_per_gpu"] > 0 for point in entry.points)
    data = read_yaml_mapping(folder / "h200.yaml")
    assert str(data["registered"]) == "2026-12-01"
    assert data["forecurve"]
    # what the product refuses is registered as refused
    assert refused.points == []
    assert "AMD chips only" in data["answers"][1]["refused"]


def test_a_registered_folder_is_not_written_again(folder):
    with pytest.raises(UserError, match="never changed"):
        registered.register(folder)


def test_a_changed_file_is_seen(folder):
    assert registered.check_unchanged(folder) == []
    path = folder / "h200.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert registered.check_unchanged(folder) == ["h200.yaml was changed after it was registered"]
    path.unlink()
    assert registered.check_unchanged(folder) == ["h200.yaml is missing"]


def measured_runs(points, *, factor):
    """Runs as a measured table has them, each a factor off what was registered."""
    return pd.DataFrame(
        {
            "model": "llama-3.1-8b",
            "sku": "h200",
            "engine": "vllm",
            "precision": "bf16",
            "decode_tp": 1,
            "decode_ep": 1,
            "decode_dp_attention": False,
            "isl": 256,
            "osl": 64,
            "concurrency": [point["concurrency"] for point in points],
            "total_tput_per_gpu": [factor * point["total_tput_per_gpu"] for point in points],
            "median_tpot_s": [point["median_tpot_s"] / factor for point in points],
        }
    )


def test_what_was_registered_is_scored_when_runs_come(folder, tmp_path, capsys):
    points = registered.registered(folder.parent)[0].points
    path = tmp_path / "runs.csv"
    later = measured_runs([*points, {**points[0], "concurrency": 64}], factor=1.25)
    later.to_csv(path, index=False)
    command = ["score", str(path), "--registered", "--predictions", str(folder.parent)]
    assert run(command) == 0
    out = capsys.readouterr().out
    # the question of 64 clients was not registered
    assert "3 runs of runs.csv, 2 predicted (67 %)" in out
    assert "20.0%" in out.split("\nthroughput")[1].splitlines()[0]
    (folder / "h200.yaml").write_text("answers: []\n", encoding="utf-8")
    assert run(command) == 2
    assert "was changed after it was registered" in capsys.readouterr().err


def test_the_page_shows_every_answer(folder):
    text = registered_text(registered.registered(folder.parent))
    assert "Registered 2026-12-01 by forecurve" in text
    assert "AMD chips only" in text
    assert text.count("| TP1 |") == 2


def test_the_page_of_the_project_is_as_written():
    page = (ROOT / "docs/predictions.md").read_text(encoding="utf-8")
    answers = registered.registered(ROOT / "predictions")
    assert page == registered_text(answers, unanswered=registered.unanswered())
    assert "jalapeno-gpt-oss-120b-tp1-1k1k: " in page


@pytest.mark.parametrize(
    "digests", sorted((ROOT / "predictions").glob("*/DIGESTS")), ids=lambda path: path.parent.name
)
def test_what_the_project_registered_is_as_it_was(digests):
    assert registered.check_unchanged(digests.parent) == []


def test_figures_of_the_readme_are_those_of_the_pages():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert replace_blocks(text, {"figures": figures_text()}) == text
    text = (ROOT / "docs/background/rivals.md").read_text(encoding="utf-8")
    assert replace_blocks(text, {"figures": rivals_text()}) == text


def test_a_page_without_a_figure_is_named(tmp_path):
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "ACCURACY.md"
    page.write_text("How far predictions are from 12 measured runs\n", encoding="utf-8")
    with pytest.raises(UserError, match="no figure 'unseen layout, V4 and R1, tok/s/GPU'"):
        figures_text(tmp_path)
    with pytest.raises(UserError, match="no figure 'series' of others"):
        rivals_text(tmp_path)
