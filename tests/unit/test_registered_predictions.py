"""Registered predictions: written once, never changed."""

import datetime as dt
from pathlib import Path

import pytest

from calibration.scoreboard import registered
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError

ROOT = Path(__file__).parents[2]
QUESTION = (
    "questions:\n  - {id: one, sku: h200, model: llama-3.1-8b, engine: vllm, tp: 1, "
    "concurrency: [1, 4], isl: 256, osl: 64}\n"
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
    (entry,) = registered.registered(folder.parent)
    assert [point["concurrency"] for point in entry.points] == [1, 4]
    assert all(point["total_tput_per_gpu"] > 0 for point in entry.points)
    data = read_yaml_mapping(folder / "h200.yaml")
    assert str(data["registered"]) == "2026-12-01"
    assert data["forecurve"]
    # what the product refuses is registered as refused
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


@pytest.mark.parametrize(
    "digests", sorted((ROOT / "predictions").glob("*/DIGESTS")), ids=lambda path: path.parent.name
)
def test_what_the_project_registered_is_as_it_was(digests):
    assert registered.check_unchanged(digests.parent) == []
