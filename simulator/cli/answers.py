"""How the commands that answer a question run, write their files and print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import typer

from simulator.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.output.kept_work import KeptWork

    Progress = Callable[[int, int, str], None]


class Answer(Protocol):
    """What a question comes to."""

    @property
    def resolved(self) -> Mapping[str, Any]:
        """Every setting with its value and where it came from."""
        ...

    def frame(self) -> pd.DataFrame:
        """The main table."""
        ...

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by the names of their files."""
        ...

    def summary(self) -> dict[str, Any]:
        """All of it as JSON objects."""
        ...

    def plot(self) -> Figure:
        """The picture."""
        ...


AnyAnswer = TypeVar("AnyAnswer", bound=Answer)


def give_answer(
    command: str,
    *,
    names: Sequence[str],
    resolved: Mapping[str, Any],
    run: Callable[[Progress | None, KeptWork], AnyAnswer],
    show: Callable[[AnyAnswer, Path], None],
    out: Path | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Run a question, write its tables, settings, summary and picture, and print it.

    Parameters
    ----------
    names:
        What the default directory is named after, besides the command.
    resolved:
        Settings; equal ones share a directory.
    run:
        The question, given what to tell of progress and where finished parts are kept.
    show:
        Prints the answer for reading, given where its files are.

    Raises
    ------
    UserError
        If the directory cannot be written to, or the question has no answer.
    """
    from simulator.cli.kept_runs import kept_work, tell_of_others
    from simulator.cli.progress import progress_bar
    from simulator.output.kept_work import inputs_digest, kept_within
    from simulator.output.run_directory import RunDirectory
    from simulator.output.run_files import default_directory, write_result

    options.check_output(as_json=as_json, as_csv=as_csv)
    path = out or default_directory(command, names, settings=resolved)
    kept = kept_within(path, inputs=inputs_digest(command, dict(resolved)))
    with kept_work(kept), RunDirectory(path) as directory:
        tell_of_others(directory.others, path)
        with progress_bar() as on_progress:
            answer = run(on_progress, kept)
        frame = answer.frame()
        write_result(
            directory,
            tables=answer.tables(),
            resolved=answer.resolved,
            summary=answer.summary(),
            pictures={} if frame.empty else {command: answer.plot},
        )
    if as_json:
        from simulator.cli.progress import print_json

        print_json(answer.summary())
    elif as_csv:
        from simulator.output.text_tables import csv_of

        typer.echo(csv_of(frame), nl=False)
    else:
        show(answer, path)
