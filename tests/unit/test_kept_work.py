"""Files appear whole or not at all; finished work is found again; what the dead left is removed."""

import os
import pickle
import resource
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simulator.cli.kept_runs import kept_runs, kept_work
from simulator.output.csv_table import check_writable, write_run_table
from simulator.output.kept_work import KeptWork, inputs_digest
from simulator.output.leftovers import is_left_over, own_mark, remove_leftovers
from simulator.output.processes import run_in_processes
from simulator.output.run_directory import RunDirectory
from simulator.output.text_file import staged, write_text
from simulator.studies.predict.run import predict_table
from simulator.studies.search.request import build_search
from simulator.studies.search.run import run_search
from workloads.errors import UserError

TABLE = pd.DataFrame(
    [
        {
            "model": "gpt-oss-120b",
            "sku": sku,
            "engine": "vllm",
            "precision": "fp4",
            "isl": "64",
            "osl": "4",
            "concurrency": "1",
            "tp": tp,
            "ep": "1",
        }
        for sku in ("b200", "h200")
        for tp in ("1", "2")
    ]
)


@contextmanager
def largest_file(size_bytes):
    """No file of this process may grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def dead_mark():
    """The mark of a process that has ended."""
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    return own_mark().replace(f".{os.getpid()}.", f".{int(done.stdout)}.")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "page.md"
    write_text(path, "earlier")
    with (
        largest_file(1000),
        pytest.raises(UserError, match=r"cannot write .*page.md: File too large"),
    ):
        write_text(path, "x" * 5000)
    assert path.read_text() == "earlier"
    assert names(tmp_path) == ["page.md"]


def test_a_table_on_a_full_disk_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "pred.csv"
    write_run_table(TABLE, path)
    earlier = path.read_bytes()
    many = pd.concat([TABLE] * 200)
    with largest_file(4000), pytest.raises(UserError, match="cannot write"):
        write_run_table(many, path)
    assert path.read_bytes() == earlier
    assert names(tmp_path) == ["pred.csv"]


def test_asking_whether_a_file_can_be_written_leaves_none(tmp_path):
    check_writable(tmp_path / "new.csv")
    assert names(tmp_path) == []


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    dead, own = f".a{dead_mark()}x.tmp", f".b{own_mark()}x.tmp"
    elsewhere = ".c~another-machine.1.x.tmp"
    for name in (dead, own, elsewhere, ".hidden", "result.csv"):
        (tmp_path / name).touch()
    folder = tmp_path / f".partial{dead_mark()}y"
    folder.mkdir()
    (folder / "points.csv").touch()
    assert is_left_over(dead)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([own, elsewhere, ".hidden", "result.csv"])


def test_the_next_run_removes_what_a_killed_one_staged(tmp_path):
    folder = tmp_path / f".partial{dead_mark()}y"
    folder.mkdir()
    with RunDirectory(tmp_path) as directory:
        directory.stage("points.csv").write_text("1\n")
    assert names(tmp_path) == ["points.csv"]


def test_a_run_says_whose_work_it_joins(tmp_path, capsys):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        mark = f"{own_mark().rpartition('.')[0].rpartition('.')[0]}.{other.pid}."
        kept = KeptWork(tmp_path / ".kept", inputs="question")
        kept.folder.mkdir()
        (kept.folder / f".at-work{mark}").touch()
        (tmp_path / f".partial{mark}x").mkdir()
        with kept_work(kept):
            assert (kept.folder / f".at-work{own_mark()}").exists()
        assert not kept.folder.exists()
        with kept_runs(tmp_path):
            pass
        other.communicate(b"\n")
    with suppress(UserError), kept_work(kept):
        raise UserError("no answer")
    assert capsys.readouterr().err.count(f"note: process {other.pid} writes into {tmp_path}") == 2
    with kept_runs(tmp_path):
        pass
    assert names(tmp_path) == []
    assert "writes into" not in capsys.readouterr().err


def test_two_runs_into_one_directory_leave_the_files_of_one(tmp_path):
    """Each writes three files of its own number; after both ended, they are of one run."""
    ready = threading.Barrier(2)

    def run(number):
        with RunDirectory(tmp_path) as directory:
            for name in ("a", "b", "c"):
                directory.stage(name).write_text(str(number))
            ready.wait()

    for _ in range(10):
        threads = [threading.Thread(target=run, args=(number,)) for number in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({(tmp_path / name).read_text() for name in ("a", "b", "c")}) == 1
        assert names(tmp_path) == ["a", "b", "c"]


def test_parts_are_found_by_their_inputs_and_whole_only(tmp_path):
    kept = KeptWork(tmp_path / "kept", inputs="one")
    value = {"x": 0.1 + 0.2, "a": np.arange(3.0), "n": None}
    kept.put("key", value)
    found = kept.get("key")[0]
    assert found["x"] == value["x"]
    assert found["a"].tolist() == [0.0, 1.0, 2.0]
    assert KeptWork(tmp_path / "kept", inputs="two").get("key") is None
    assert kept.get("other") is None
    path = next((tmp_path / "kept").glob("*.part"))
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        assert kept.get("key") is None
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert kept.get("key") is None


class Harmful:
    def __reduce__(self):
        return (os.system, ("touch harmed",))


def test_a_part_that_would_run_code_is_refused(tmp_path, monkeypatch):
    import hashlib

    monkeypatch.chdir(tmp_path)
    kept = KeptWork(tmp_path / "kept", inputs="")
    kept.put("key", 1)
    body = pickle.dumps(Harmful())
    next((tmp_path / "kept").glob("*.part")).write_bytes(hashlib.sha256(body).digest() + body)
    assert kept.get("key") is None
    assert not (tmp_path / "harmed").exists()


def test_inputs_change_with_the_content_of_files(tmp_path):
    chip = tmp_path / "chip.yaml"
    chip.write_text("a: 1")
    first = inputs_digest({"sku": str(chip)})
    assert inputs_digest({"sku": str(chip)}) == first
    chip.write_text("a: 2")
    assert inputs_digest({"sku": str(chip)}) != first


def test_an_interrupted_prediction_goes_on_to_the_same_table(tmp_path):
    """Interrupted at every second run; no run is simulated again once it is kept."""
    from simulator.prediction.run import predict_run

    whole = predict_table(TABLE, workers=1)
    kept = KeptWork(tmp_path / "kept", inputs="")
    ran = []

    def interrupted(configuration):
        ran.append(configuration)
        if len(ran) % 2 == 0:
            raise KeyboardInterrupt
        return predict_run(configuration)

    for finished in range(1, 4):
        with pytest.raises(KeyboardInterrupt):
            predict_table(TABLE, workers=1, run=interrupted, kept=kept)
        assert len(kept) == finished
    table = predict_table(TABLE, workers=1, run=interrupted, kept=kept)
    assert len(ran) == 7
    pd.testing.assert_frame_equal(table, whole, check_exact=True)


def test_an_interrupted_search_goes_on_to_the_same_answer(tmp_path, monkeypatch):
    from simulator.studies.search import score as module

    asked = {
        "sku": "b200",
        "model": "gpt-oss-120b",
        "engine": "vllm",
        "tp": (1, 2),
        "ep": (1,),
        "isl": (64,),
        "osl": (4,),
        "concurrency": (1, 2),
        "goal": "throughput",
        "interactivity": 5.0,
    }
    request = build_search(flags=asked, file=None)
    whole = run_search(request)
    simulate, count = module.simulate_run, []

    def interrupted(configuration):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return simulate(configuration)

    monkeypatch.setattr(module, "simulate_run", interrupted)
    kept = KeptWork(tmp_path / "kept", inputs="")
    with pytest.raises(KeyboardInterrupt):
        run_search(request, kept=kept)
    assert len(kept) == 2
    again = run_search(request, kept=kept)
    assert kept.found == 2
    pd.testing.assert_frame_equal(again.frame(), whole.frame(), check_exact=True)
    assert again.messages == whole.messages


def _parent_of(_task):
    time.sleep(0.05)
    return os.getppid(), os.getpid()


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(tmp_path):
    code = (
        "import sys, time, os\n"
        "from simulator.output.processes import run_in_processes\n"
        "from test_kept_work import _told\n"
        f"list(run_in_processes(_told, [r'{tmp_path}'] * 8, processes=2))\n"
    )
    places = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 60
    while len(names(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = [int(name) for name in names(tmp_path)]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    time.sleep(3)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def _told(folder):
    (Path(folder) / str(os.getpid())).touch()
    for _ in range(600):
        time.sleep(0.1)


def test_one_process_runs_tasks_here():
    found = list(run_in_processes(_parent_of, [1, 2], processes=1))
    assert {own for _, own in found} == {os.getpid()}


def test_staged_files_have_usual_rights(tmp_path):
    with staged(tmp_path / "a.txt") as stage:
        stage.write_text("x")
    plain = tmp_path / "b.txt"
    plain.write_text("x")
    assert (tmp_path / "a.txt").stat().st_mode == plain.stat().st_mode
