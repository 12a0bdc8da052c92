"""Commands killed at random moments, on a full disk, without rights, two into one directory.

What a reader finds is whole at any time, no process stays, and the same command goes on to the
same bytes. Code must not change meanwhile: finished runs are those of the code that ran.
``KILLS=30 pytest tests/unit/test_killed_commands.py`` takes half an hour on two cores; by default
each command is killed three times, and begins anew where it was done before it could be.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("KILLS", "3"))
ROOT = Path(__file__).parents[2]
SMALL = "--model gpt-oss-120b --engine vllm --ep 1 --isl 256 --osl 16"
MAIN = (sys.executable, "-c", "from simulator.cli.main import main; main()")
ROWS = "\n".join(
    [
        "model,sku,engine,precision,isl,osl,concurrency,tp,ep",
        *(
            f"gpt-oss-120b,{sku},vllm,fp4,256,16,{concurrency},{tp},1"
            for sku in ("b200", "h200", "mi355x")
            for tp in (1, 2, 4, 8)
            for concurrency in (4, 16)
        ),
    ]
)
OWN = "\n".join(
    [
        "model,sku,engine,precision,speculation,decode_tp,gpus,isl,osl,concurrency,date,"
        "median_tpot_s,mean_ttft_s",
        *(
            f"gpt-oss-120b,b200,vllm,fp4,none,{tp},{tp},1024,256,{clients},2026-09-01,{tpot_s},0.1"
            for tp, tpot_s in ((1, 0.006), (2, 0.005), (4, 0.004))
            for clients in (4, 16)
        ),
    ]
)
COMMANDS = {
    "predict": "predict runs.csv --out out/pred.csv",
    "sweep": f"sweep --sku b200,h200 {SMALL} --tp 1,2,4,8 --concurrency 1,4,8,16 --out out",
    "compare": f"compare b200 h200 {SMALL} --tp 1,2 --concurrency 1,4,16 --out out",
    "search": (
        f"search --sku b200,h200 {SMALL} --tp 1,2,4 --goal throughput --interactivity 5 "
        "--concurrency 1,4 --out out"
    ),
    "fit": "calibrate fit own.csv --out out --workers 1",
    "plan": f"plan --skus b200,h200 {SMALL} --tp 1,2 --interactivity 30 --rate 20 --out out",
}


def start(name, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    (folder / "runs.csv").write_text(ROWS + "\n")
    (folder / "own.csv").write_text(OWN + "\n")
    return subprocess.Popen(
        [*MAIN, *COMMANDS[name].split()],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def mortal():
    """What runs a command so that rights count, also where it is root that tests."""
    if os.getuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root without setpriv may write anywhere")
    lost = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}"]


def results(folder):
    """Every file that a reader sees, hidden ones and kept work aside."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / "out").rglob("*"))
        if path.is_file()
        and path.parent.name != "runs"
        and not any(part.startswith(".") for part in path.parts)
    }


def points(folder):
    """Rows of the sweep's own store, by file; its bytes follow from how it was written."""
    import pyarrow.parquet as pq

    return {
        path.name: pq.read_table(path) for path in sorted((folder / "out/runs").glob("*.parquet"))
    }


def hidden(folder):
    return [path.name for path in (folder / "out").rglob(".*")]


def alive(session):
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_for_the_end_of(session):
    deadline = time.monotonic() + 20
    while alive(session) and time.monotonic() < deadline:
        time.sleep(0.2)
    return alive(session)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    known = {}

    def of(name):
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            began = time.monotonic()
            process = start(name, folder)
            _, errors = process.communicate()
            assert process.returncode == 0, errors
            known[name] = results(folder), time.monotonic() - began, points(folder)
            assert hidden(folder) == []
        return known[name]

    return of


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_commands_leave_whole_files_and_go_on(name, reference, tmp_path):
    expected, seconds, stored = reference(name)
    rng = random.Random(name)
    kills = 0
    while kills < KILLS:
        process = start(name, tmp_path)
        try:
            _, errors = process.communicate(timeout=rng.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            pass
        else:  # it went on from kept work and was done before it could be killed
            assert process.returncode == 0, errors
            assert results(tmp_path) == expected
            shutil.rmtree(tmp_path / "out")
            continue
        how = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[kills % 3]
        kills += 1
        if how is signal.SIGINT:  # Ctrl-C reaches the whole group
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        _, errors = process.communicate()
        assert not wait_for_the_end_of(process.pid), (how, errors)
        if how is signal.SIGINT and process.returncode == 130:
            assert "interrupted" in errors
            assert "Traceback" not in errors
        for file, content in results(tmp_path).items():
            assert content == expected[file], file
    process = start(name, tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert results(tmp_path) == expected
    assert points(tmp_path) == stored
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("name", ["predict", "search"])
def test_a_full_disk_is_said_and_harms_nothing(name, tmp_path):
    """No file may pass 2 kB: results do not fit, parts that were kept may."""
    folder = tmp_path
    process = start(name, folder)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2000, 2000))
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "cannot write" in errors
    assert "Traceback" not in errors
    assert results(folder) == {}


@pytest.mark.parametrize("name", ["predict", "sweep", "plan"])
def test_a_directory_without_rights_is_said_at_once(name, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "runs.csv").write_text(ROWS + "\n")
    (tmp_path / "out").chmod(0o555)
    done = subprocess.run(
        [*mortal(), *MAIN, *COMMANDS[name].split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "out").chmod(0o755)


@pytest.mark.parametrize("name", COMMANDS)
def test_two_into_one_directory_end_with_the_files_of_one(name, reference, tmp_path):
    expected, _, _ = reference(name)
    first = start(name, tmp_path)
    marks = (".at-work~*", ".partial~*")
    while first.poll() is None and not any(any(tmp_path.rglob(mark)) for mark in marks):
        time.sleep(0.01)
    second = start(name, tmp_path)
    told = [process.communicate()[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), told
    assert "into out" in told[1]
    assert results(tmp_path) == expected
    assert hidden(tmp_path) == []
