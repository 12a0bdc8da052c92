"""The panel: a hundred cheap configurations that every version can be asked about."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.output.csv_table import read_run_table, write_run_table
from simulator.version import version
from workloads.datafiles import read_csv
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    Progress = Callable[[int, int, str], None]

MAIN = "from simulator.cli.main import main; main()"
"""How the command line of any version is reached, whatever its scripts are called."""

LONGEST_S = 1800.0
"""Time that another version has for the panel. [s]"""

RECORDED = ("id", "status", "kind", "pred_total_tput_per_gpu", "pred_median_tpot_s")
RECORDED_MORE = ("pred_median_ttft_s",)
RELEASE = "release.csv"


def data_folder() -> Path:
    """Where the panel and the recorded answers of the last release stand."""
    return Path(str(resources.files("simulator.studies.diff") / "data"))


def read_panel() -> pd.DataFrame:
    """The panel as a table of runs, every cell as its text.

    Columns are those that ``simulate predict`` reads, an ``id``, and under ``measured_*`` what
    the project's own tables have for the configuration, with its ``source``; blank without.
    """
    return read_run_table(data_folder() / "panel.csv")


def run_panel(*, workers: int = 2, on_progress: Progress | None = None) -> tuple[str, pd.DataFrame]:
    """Name of this installation, and the panel with its predictions."""
    from simulator.studies.predict.run import predict_table

    predicted = predict_table(
        read_panel(),
        workers=workers,
        progress=None if on_progress is None else lambda d, n: on_progress(d, n, "panel"),
    )
    return f"forecurve {version()}, this installation", as_written(predicted)


def run_panel_of(place: Path, *, workers: int = 2) -> tuple[str, pd.DataFrame]:
    """Name of another version, and the panel with its predictions.

    Parameters
    ----------
    place:
        A checkout, a virtual environment, or the Python of one.

    Raises
    ------
    UserError
        If it is none of these, or the version there cannot predict the panel.
    """
    python, environment = _python_of(place)
    with tempfile.TemporaryDirectory() as scratch:
        asked, answer = Path(scratch) / "panel.csv", Path(scratch) / "answer.csv"
        write_run_table(read_panel(), asked)
        name = _run(
            [python, "-c", "from simulator.version import version; print(version())"],
            environment,
            scratch,
            place,
        )
        command = ["predict", str(asked), "--out", str(answer), "--workers", str(workers)]
        _run([python, "-c", MAIN, *command], environment, scratch, place)
        return f"forecurve {name.strip()} of {place}", read_run_table(answer)


def _python_of(place: Path) -> tuple[str, dict[str, str]]:
    """The interpreter of a place, and the environment in which it finds that version."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    if (place / "simulator" / "cli").is_dir():
        return sys.executable, environment | {"PYTHONPATH": str(place.resolve())}
    for python in (place / "bin" / "python", place / "Scripts" / "python.exe", place):
        if python.is_file() and os.access(python, os.X_OK):
            return str(python.absolute()), environment
    raise UserError(
        f"{place} is no folder of results, no checkout, no virtual environment and no Python"
    )


def _run(command: list[str], environment: dict[str, str], folder: str, place: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"the version of {place} cannot run: {error}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"the version of {place} cannot predict the panel: {last}")
    return done.stdout


def as_written(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it is read back from a file: six significant digits."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "table.csv"
        write_run_table(table, path)
        return read_run_table(path)


def read_release() -> tuple[str, pd.DataFrame]:
    """Name and answers of the last release.

    Raises
    ------
    UserError
        If none is recorded.
    """
    import pandas as pd

    path = data_folder() / RELEASE
    if not path.exists():
        raise UserError(f"no release is recorded in {path}; name another OLD")
    _, lines = read_csv(path)
    frame = pd.DataFrame([line.cells for line in lines], dtype=str)
    recorded = frame["version"].iloc[0], frame["recorded"].iloc[0]
    answers = read_panel().merge(frame.drop(columns=["version", "recorded"]), on="id", how="left")
    return f"forecurve {recorded[0]}, recorded {recorded[1]}", answers.fillna("")


def record_release(answers: pd.DataFrame, *, date: str) -> Path:
    """Write this installation's answers as those of the release; returns the file.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    columns = [*RECORDED, *RECORDED_MORE]
    path = data_folder() / RELEASE
    write_run_table(answers[columns].assign(version=version(), recorded=date), path)
    return path
