"""What moved between two tables, by hand-made rows; the panel itself is asked in a slow test."""

import json
from pathlib import Path

import pandas as pd
import pytest

from simulator.cli.main import run
from simulator.studies.diff.panel import read_panel, read_release, run_panel_of
from simulator.studies.diff.run import compare_tables
from simulator.studies.diff.sources import read_side
from workloads.errors import UserError

BEFORE = pd.DataFrame(
    {
        "id": ["a", "b", "c", "gone"],
        "sku": ["b200", "b200", "h200", "h200"],
        "status": ["ok", "ok", "ok", "ok"],
        "measured_total_tput_per_gpu": ["110", "", "100", ""],
        "pred_total_tput_per_gpu": ["100", "200", "50", "1"],
        "pred_median_tpot_s": ["0.01", "0.02", "0.04", "1"],
    }
)
AFTER = pd.DataFrame(
    {
        "id": ["c", "a", "b", "fresh"],
        "status": ["unsupported", "ok", "ok", "ok"],
        "pred_total_tput_per_gpu": ["", "121", "200.2", "1"],
        "pred_median_tpot_s": ["", "0.01", "0.016", "1"],
    }
)


def compared(**changes):
    return compare_tables(BEFORE, AFTER, old="old", new="new", **changes)


def test_changes_and_errors_are_those_of_each_row():
    rows = compared().table.set_index(["id", "metric"])
    one = rows.loc[("a", "total_tput_per_gpu")]
    assert one["change"] == pytest.approx(0.21)
    assert one["error_old"] == pytest.approx(100 / 110 - 1)
    assert one["error_new"] == pytest.approx(0.1)
    assert rows.loc[("b", "median_tpot_s"), "change"] == pytest.approx(-0.2)


def test_what_moved_beyond_the_threshold_comes_farthest_first():
    moved = compared().moved
    assert moved[["id", "metric"]].to_numpy().tolist() == [
        ["a", "total_tput_per_gpu"],
        ["b", "median_tpot_s"],
    ]
    assert len(compared(threshold=0.0005).moved) == 3


def test_rows_of_one_side_and_refusals_are_counted():
    result = compared()
    assert (result.only_old, result.only_new) == (1, 1)
    assert result.changed_status["id"].tolist() == ["c"]
    figures = result.summary()["figures"]["total_tput_per_gpu"]
    assert figures["compared"] == 2
    assert figures["measured"] == 1
    assert figures["median_error_new"] == pytest.approx(0.1)


def test_tables_without_a_row_in_common_are_refused():
    with pytest.raises(UserError, match="no configuration in common"):
        compare_tables(BEFORE.head(1), AFTER.tail(1), old="old", new="new")


def test_a_row_that_stands_twice_is_refused():
    with pytest.raises(UserError, match="cannot be told apart by id"):
        compare_tables(pd.concat([BEFORE, BEFORE]), AFTER, old="old", new="new")


def test_folders_of_results_are_compared_by_what_ran(tmp_path, capsys):
    for name, factor in (("one", 1.0), ("two", 1.5)):
        folder = tmp_path / name
        folder.mkdir()
        pd.DataFrame(
            {
                "sku": "b200",
                "label": "TP8",
                "concurrency": [1, 2],
                "total_tput_per_gpu": [10.0 * factor, 20.0],
            }
        ).to_csv(folder / "points.csv", index=False)
    sides = [str(tmp_path / name) for name in ("one", "two")]
    assert run(["diff", *sides, "--json", "--out", str(tmp_path / "out")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["figures"]["total_tput_per_gpu"]["compared"] == 2
    assert said["figures"]["total_tput_per_gpu"]["largest_change"] == pytest.approx(0.5)
    assert run(["diff", *sides, "--out", str(tmp_path / "out")]) == 0
    assert "+50.0 %" in capsys.readouterr().out


def test_a_side_that_is_nothing_is_a_clean_error(tmp_path):
    with pytest.raises(UserError, match="does not exist; name 'this', 'release'"):
        read_side("no-such-place")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="is no folder of results, no checkout"):
        read_side(str(tmp_path))


def test_the_panel_has_a_hundred_runs_most_of_them_measured():
    panel = read_panel()
    assert len(panel) == 100
    assert panel["id"].is_unique
    measured = panel["measured_total_tput_per_gpu"].ne("") | panel["measured_median_tpot_s"].ne("")
    assert measured.sum() >= 80
    assert panel["concurrency"].astype(int).max() <= 32


def test_the_recorded_release_answers_the_whole_panel():
    title, answers = read_release()
    assert title.startswith("forecurve ")
    assert answers["id"].tolist() == read_panel()["id"].tolist()
    assert (answers["status"] == "ok").sum() >= 95


@pytest.mark.slow
def test_another_checkout_is_asked_in_a_process_of_its_own():
    """This very checkout moves nothing against this installation."""
    title, answers = run_panel_of(Path(__file__).parents[2])
    _, here = read_side("this")
    result = compare_tables(answers, here, old=title, new="this", threshold=0.0)
    assert result.moved.empty
    assert result.changed_status.empty


@pytest.mark.slow
def test_a_python_without_the_package_is_a_clean_error(tmp_path):
    import venv

    venv.create(tmp_path / "bare")
    with pytest.raises(UserError, match="cannot predict the panel: ModuleNotFoundError"):
        run_panel_of(tmp_path / "bare")
