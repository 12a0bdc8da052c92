"""The command ``simulate``: its commands, and one line for each error of a user."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from simulator.cli.agentx import agentx
from simulator.cli.calibrate import calibrate_app
from simulator.cli.compare import compare
from simulator.cli.curve import curve
from simulator.cli.diff import diff
from simulator.cli.explain import explain
from simulator.cli.kept_runs import TOLD
from simulator.cli.listing import list_catalog, show
from simulator.cli.load import load
from simulator.cli.mlperf import mlperf
from simulator.cli.plan import plan
from simulator.cli.predict import predict
from simulator.cli.progress import never_silent
from simulator.cli.report import report
from simulator.cli.runs import runs_command
from simulator.cli.score import score_command
from simulator.cli.search import search
from simulator.cli.sensitivity import sensitivity
from simulator.cli.sweep import sweep
from simulator.cli.timeline import timeline
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from simulator.cli.calibration import Calibration
    from simulator.cli.runs import MeasuredRuns
    from simulator.cli.score import Scoreboard

# Typer publishes only this leaf of the exceptions that its parser raises; this is their root.
_PARSE_ERROR: type[typer.BadParameter] = typer.BadParameter.__mro__[2]
USAGE_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143
_NO_ROOM_OR_RIGHT = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
}

app = typer.Typer(
    name="simulate",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100},
    rich_markup_mode=None,  # plain help starts twice as fast and reads well in a pipe
)
app.callback(invoke_without_command=True)(curve)
app.command()(predict)
app.command()(explain)
app.command()(load)
app.command()(agentx)
app.command()(sweep)
app.command()(compare)
app.command()(timeline)
app.command()(plan)
app.command()(search)
app.command()(sensitivity)
app.command()(mlperf)
app.command()(report)
app.command()(diff)
app.command(name="list")(list_catalog)
app.command()(show)


def _measured() -> MeasuredRuns:
    from calibration.measured import runs as measured

    return measured


def _calibration() -> Calibration:
    from calibration import tasks

    return tasks


def _scoreboard() -> Scoreboard:
    from calibration.scoreboard import task

    return task


app.command(name="score")(score_command(_scoreboard))
app.command(name="runs")(runs_command(_measured))
app.add_typer(calibrate_app(_calibration), name="calibrate")


def _import_runs(path: Path) -> pd.DataFrame:
    """A user's own measured runs, for commands that draw them; how they were read is told."""
    from calibration.importers.runs import UNDATED, import_runs

    imported = import_runs(path)
    for note in imported.notes:
        if not note.startswith(UNDATED):  # a day matters to fits and scores
            typer.echo(f"note: {note}", err=True)
    return imported.frame


def main() -> NoReturn:
    """Run ``simulate`` on the process's arguments and exit with its status."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    gc.freeze()  # else the collector looks through everything once more before the process ends
    sys.exit(status)


def _terminate(_signal: int, _frame: object) -> NoReturn:
    """End on SIGTERM as on an error: files under way are removed."""
    raise SystemExit(TERMINATED)


def run(arguments: list[str]) -> int:
    """Exit status of ``simulate`` with some arguments: 0, 2 on a user's error, 130 on Ctrl-C."""
    try:
        with never_silent():
            status = app(
                args=arguments, prog_name="simulate", standalone_mode=False, obj=_import_runs
            )
    except UserError as error:
        return _fail(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno not in _NO_ROOM_OR_RIGHT:
            raise
        place = f" {error.filename}" if error.filename else ""
        return _fail(f"cannot write{place}: {error.strerror or error}; earlier files are whole")
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted; results already written are as they were", err=True)
        return INTERRUPTED
    except _PARSE_ERROR as error:
        message = error.format_message().rstrip(".")
        if "agentx" in arguments and message.startswith("No such option: --workload"):
            reason = _WITHOUT_SESSIONS.get(arguments[0], "it takes requests of stated lengths")
            return _fail(
                f"simulate {arguments[0]} takes no --workload: {reason}; session trees run with "
                "simulate agentx, sweep, compare, timeline, plan, search, sensitivity, load, "
                "predict, explain, report and the curve (simulate --sku ...)"
            )
        return _fail(f"{message}; see simulate --help")
    if status == TOLD:
        return INTERRUPTED
    if status == INTERRUPTED:  # Ctrl-C where nothing was kept: Typer makes a status of it
        typer.echo("interrupted; results already written are as they were", err=True)
    return status if isinstance(status, int) else 0


_WITHOUT_SESSIONS = {
    "mlperf": "its datasets and limits are the benchmark's own",
    "diff": "it compares published runs",
}
"""Why a command has no session trees."""


def _fail(message: str) -> int:
    typer.echo(f"error: {message}", err=True)
    return USAGE_ERROR
