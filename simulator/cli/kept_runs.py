"""The directory of a what-if command: finished runs stay there when it is interrupted."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from simulator.output.run_directory import RunDirectory

    Progress = Callable[[int, int, str], None]


@contextmanager
def kept_runs(path: Path) -> Iterator[tuple[RunDirectory, Progress | None]]:
    """Where to write results, and a progress bar on a terminal.

    Raises
    ------
    typer.Exit
        On Ctrl-C, with status 130, after a line that says where the finished runs are.
    """
    from simulator.cli.progress import progress_bar
    from simulator.output.run_directory import RunDirectory

    try:
        with RunDirectory(path) as directory, progress_bar() as on_progress:
            yield directory, on_progress
    except KeyboardInterrupt:
        typer.echo(
            f"interrupted; finished runs are kept in {path}, and the same command goes on there",
            err=True,
        )
        raise typer.Exit(130) from None
