"""Sweeps on a cluster: the bytes of one process, whoever runs them and whoever dies."""

import gc
import os
import signal
import sys
from importlib import import_module

import pandas as pd
import pytest
from distributed import Client, LocalCluster

from simulator.cli.main import run
from simulator.scenario.grid import build_sweep
from simulator.studies.sweep import executors
from simulator.studies.sweep.deployments import plan_sweep
from simulator.studies.sweep.executors import DaskExecutor, LocalExecutor, cluster_executor
from simulator.studies.sweep.planner import planners_of
from simulator.studies.sweep.run import run_sweep
from simulator.studies.sweep.segments import run_segments_elsewhere
from simulator.studies.sweep.store import digest_of_inputs, shared_directory
from workloads.errors import UserError

sweeps = import_module("simulator.studies.sweep.run")

GRID = {"sku": "mi355x", "tp": [4, 8], "ep": [1, 2, 4, 8], "concurrency": [1, 4]}


def settings():
    return build_sweep(flags=GRID)


def files_of(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    directory = tmp_path_factory.mktemp("one")
    return run_sweep(settings(), directory=directory, workers=1), directory


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as found:
        yield found


def test_a_cluster_that_loses_a_worker_writes_the_same_bytes(cluster, one_process, tmp_path):
    expected, directory = one_process
    killed, seen = [], []
    with Client(cluster, set_as_default=False) as client:

        def kill_a_busy_worker(runs, total, _):
            seen.append((runs, total))
            if not runs or killed:
                return
            pids = client.run(os.getpid)
            busy = [worker for worker, tasks in client.processing().items() if tasks]
            killed.append(pids[busy[0]])
            os.kill(killed[0], signal.SIGKILL)

        result = run_sweep(
            settings(),
            directory=tmp_path,
            executor=DaskExecutor(cluster.scheduler_address),
            on_progress=kill_a_busy_worker,
        )
        survivors = client.run(os.getpid).values()
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert done[0] == 0 < done[1] < done[-1]
    assert set(totals) == {done[-1]}
    assert len(killed) == 1
    assert killed[0] not in survivors
    assert os.getpid() not in survivors
    assert files_of(tmp_path) == files_of(directory)
    pd.testing.assert_frame_equal(result.runs, expected.runs)
    assert [path.name for path in (tmp_path / "runs").glob(".*")] == []


def test_a_sweep_goes_on_elsewhere(cluster, one_process, tmp_path):
    """What one process has found, a cluster need not run, and the other way round."""
    expected, _ = one_process
    some = run_sweep(build_sweep(flags=GRID | {"tp": 8}), directory=tmp_path, workers=1)
    rest = run_sweep(
        settings(), directory=tmp_path, executor=DaskExecutor(cluster.scheduler_address)
    )
    assert some.fresh > 0
    assert rest.fresh > 0
    assert some.fresh + rest.fresh == expected.fresh
    pd.testing.assert_frame_equal(rest.runs, expected.runs)
    assert run_sweep(settings(), directory=tmp_path, workers=1).fresh == 0


def test_the_command_runs_on_a_cluster(cluster, tmp_path, capsys):
    arguments = ["sweep", "--sku", "mi355x", "--tp", "8", "--ep", "8", "--concurrency", "1"]
    where = ["--executor", "dask", "--address", cluster.scheduler_address]
    assert run([*arguments, *where, "--out", str(tmp_path)]) == 0
    assert "TEP8" in capsys.readouterr().out
    assert len(files_of(tmp_path)) == 2  # with and without attention data parallelism


def test_a_worker_with_other_code_or_another_directory_is_refused(tmp_path):
    plan = plan_sweep(settings())
    inputs = digest_of_inputs(skus=["mi355x"], calibration=None)

    (planner,) = planners_of(plan.sweeps)
    segments = [segment for _, segment in planner.segments()]

    def run_one(inputs):
        run_segments_elsewhere(
            segments[:1],
            directory=tmp_path,
            inputs=inputs,
            skus=["mi355x"],
            calibration=None,
        )

    with pytest.raises(UserError, match="does not see"):
        run_one(inputs)
    with shared_directory(tmp_path, inputs="of a newer version"):
        with pytest.raises(UserError, match="does not see"):
            run_one(inputs)
        with pytest.raises(UserError, match="has other code or data"):
            run_one("of a newer version")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_on_a_worker_reaches_the_user(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "digest_of_inputs", lambda **_: "of a newer version")
    with pytest.raises(UserError, match="has other code or data"):
        run_sweep(settings(), directory=tmp_path, executor=DaskExecutor(cluster.scheduler_address))


def test_what_killed_workers_leave_behind_is_removed(tmp_path):
    stray = tmp_path / ".0123456789abcdef.77.partial"
    with shared_directory(tmp_path, inputs="x"):
        stray.write_text("half a file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_scheduler_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(executors, "CONNECT_WITHIN_S", 0.2)
    with pytest.raises(UserError, match="no Dask scheduler answers"):
        list(DaskExecutor("tcp://127.0.0.1:9").run(len, ["a"]))
    gc.collect()  # distributed leaves the sockets of failed attempts to the collector


def test_no_worker_and_no_package_are_said_in_one_line(monkeypatch):
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        pytest.raises(UserError, match="the Dask scheduler has no worker"),
    ):
        list(DaskExecutor(empty.scheduler_address).run(len, ["a"]))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"pip install 'forecurve\[dask\]'"):
        list(DaskExecutor("tcp://127.0.0.1:9").run(len, ["a"]))


def test_executors_by_name(tmp_path):
    assert cluster_executor(executor="local", address=None) is None
    assert isinstance(cluster_executor(executor="dask", address="tcp://a:1"), DaskExecutor)
    assert list(LocalExecutor(1).run(len, ["a", "bb"])) == [1, 2]
    assert sorted(LocalExecutor(2).run(len, ["a", "bb"])) == [1, 2]
    with pytest.raises(UserError, match="no directory is given"):
        run_sweep(settings(), executor=DaskExecutor("tcp://a:1"))
    with pytest.raises(UserError, match="workers is 2"):
        run_sweep(settings(), directory=tmp_path, workers=2, executor=DaskExecutor("tcp://a:1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--executor", "slurm"], "executor is 'slurm'; it must be one of local, dask"),
        (["--executor", "dask"], "needs the address of its scheduler"),
        (["--address", "tcp://a:1"], "name its kind with --executor dask"),
    ],
)
def test_the_command_refuses_half_an_executor(arguments, message, tmp_path, capsys):
    assert run(["sweep", "--sku", "b200", *arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
