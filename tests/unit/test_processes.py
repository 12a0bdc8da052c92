"""Calls in processes beside this one: all are over when their context ends, and none fails unseen.

What loads for long (pandas, Matplotlib, PyArrow) does so beside the runs and not before them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from simulator.output import processes
from simulator.output.processes import beside, can_fork, cores
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

forks = pytest.mark.skipif(not can_fork(), reason="this system cannot fork")

FIRST_FORK = """
import sys
from simulator.studies.processes import ForkedPool
from simulator.studies.sweep import side_by_side

def tell(*_, **__):
    print("loaded:", *sorted({"pandas", "matplotlib", "pyarrow", "joblib"} & sys.modules.keys()))
    raise SystemExit

ForkedPool._started = tell
side_by_side._forked = tell
sys.argv = ["simulate", *sys.argv[1:]]
from simulator.cli.main import main
main()
"""


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _fail(error: Exception) -> None:
    raise error


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("can", [pytest.param(True, marks=forks), False])
def test_calls_are_over_when_the_context_ends(
    tmp_path: Path, can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "can_fork", lambda: can)
    calls = [partial(_write, tmp_path / name, name) for name in ("one", "two")]
    with beside(calls):
        (tmp_path / "body").write_text("ran", encoding="utf-8")
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {
        "one": "one",
        "two": "two",
        "body": "ran",
    }


@pytest.mark.parametrize("can", [pytest.param(True, marks=forks), False])
def test_an_error_of_a_call_is_raised_here(can: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "can_fork", lambda: can)
    with pytest.raises(UserError, match="no room"), beside([partial(_fail, UserError("no room"))]):
        pass


@forks
def test_a_call_whose_process_dies_is_told() -> None:
    with pytest.raises(RuntimeError, match="has died"), beside([_die]):
        pass


@forks
def test_an_error_of_the_body_comes_first(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyError),
        beside([partial(_write, tmp_path / "one", "one"), partial(_fail, UserError("no room"))]),
    ):
        raise KeyError


def test_a_quota_of_a_container_limits_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(processes, "_QUOTA", quota)
    unlimited = cores()
    assert unlimited >= 1
    for text, expected in [
        ("max 100000", unlimited),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("6400000 100000", unlimited),
    ]:
        quota.write_text(text, encoding="ascii")
        assert cores() == min(expected, unlimited)


@forks
@pytest.mark.parametrize(
    "question",
    [
        pytest.param(["--sku", "b200", "--engine", "vllm"], id="curve"),
        pytest.param(["compare", "b200", "mi355x"], id="compare"),
        pytest.param(["timeline", "--sku", "mi355x"], id="timeline"),
    ],
)
def test_what_loads_for_long_does_so_beside_the_runs(question: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_FORK, *question],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "loaded:", done.stderr
