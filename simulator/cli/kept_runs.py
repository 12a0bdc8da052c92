"""Commands that keep finished work: where it stays when they are interrupted, and what is said."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from simulator.output.kept_work import KeptWork
    from simulator.output.run_directory import RunDirectory

    Progress = Callable[[int, int, str], None]

TOLD = 1130
"""Status of an interruption that has been told of; the process ends with 130."""


@contextmanager
def kept_runs(path: Path) -> Iterator[tuple[RunDirectory, Progress]]:
    """Where to write results of a command whose runs stay there, and a progress bar.

    Raises
    ------
    typer.Exit
        On Ctrl-C, with status 130, after a line that says where the finished runs are.
    """
    from simulator.cli.progress import progress_bar
    from simulator.output.run_directory import RunDirectory

    try:
        with RunDirectory(path) as directory, progress_bar() as on_progress:
            tell_of_others(directory.others, path)
            yield directory, on_progress
    except KeyboardInterrupt:
        typer.echo(
            f"interrupted; finished runs are kept in {path}, and the same command goes on there",
            err=True,
        )
        raise typer.Exit(TOLD) from None


def tell_of_others(pids: list[int], path: Path) -> None:
    """Say that other processes write into a place, and what becomes of it."""
    if pids:
        who = f"process {pids[0]} writes" if len(pids) == 1 else f"processes {pids} write"
        typer.echo(
            f"note: {who} into {path} too; finished parts serve both, and the files of the one "
            "that ends last stay",
            err=True,
        )


@contextmanager
def kept_work(kept: KeptWork) -> Iterator[None]:
    """Say what an earlier run left, and on Ctrl-C what this one leaves; clear it at a good end.

    Raises
    ------
    typer.Exit
        On Ctrl-C, with status 130, after a line that says how much is kept, and where.
    """
    tell_of_others(kept.join(), kept.folder)
    if len(kept):
        typer.echo(f"going on with {len(kept):,} finished parts in {kept.folder}", err=True)
    try:
        yield
    except KeyboardInterrupt:
        kept.leave()
        done = len(kept)
        typer.echo(
            f"interrupted; {done:,} finished parts are kept in {kept.folder}, and the same command "
            "goes on from there"
            if done
            else "interrupted; nothing was finished yet, and earlier results are as they were",
            err=True,
        )
        raise typer.Exit(TOLD) from None
    except BaseException:
        kept.leave()
        raise
    kept.clear()
