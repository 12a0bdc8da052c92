"""``simulate diff``: what moved between two versions, or two folders of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli import options


def diff(
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD",
            help="The last 'release', 'this' installation, a folder of results, a table of "
            "predictions, a checkout, or a virtual environment.",
        ),
    ] = "release",
    new: Annotated[str, typer.Argument(metavar="NEW", help="Likewise.")] = "this",
    threshold: Annotated[
        float,
        typer.Option("--threshold", metavar="SHARE", help="Change that counts as moved."),
    ] = 0.01,
    every: Annotated[bool, typer.Option("--all", help="List all that moved.")] = False,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Write this installation's answers as those of the release (maintainers).",
        ),
    ] = False,
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Processes.")] = 2,
    out: options.Out = None,
    as_json: options.Json = False,
    as_csv: options.Csv = False,
) -> None:
    """Show what moved between two versions, or two folders of results.

    Versions are asked about a panel of 100 configurations, 82 of them measured;
    that takes ten seconds.

    Start with: simulate diff release this
    """
    import datetime as dt
    import json

    from simulator.cli.progress import progress_bar
    from simulator.output.run_directory import RunDirectory
    from simulator.output.run_files import default_directory, write_result
    from simulator.output.text_tables import csv_of
    from simulator.studies.diff.panel import record_release, run_panel
    from simulator.studies.diff.run import diff as run_diff
    from simulator.studies.diff.text import print_diff

    options.check_output(as_json=as_json, as_csv=as_csv)
    if record:
        with progress_bar() as on_progress:
            _, answers = run_panel(workers=workers, on_progress=on_progress)
        typer.echo(f"wrote {record_release(answers, date=dt.date.today().isoformat())}")
        return
    asked = {"old": old, "new": new, "threshold": threshold}
    names = [Path(side).name for side in (old, new)]
    path = out or default_directory("diff", names, settings=asked)
    with RunDirectory(path) as directory:
        with progress_bar() as on_progress:
            result = run_diff(
                old, new, threshold=threshold, workers=workers, on_progress=on_progress
            )
        write_result(
            directory,
            tables={"diff": result.table},
            resolved={},
            summary=result.summary(),
            pictures={},
        )
    if as_json:
        typer.echo(json.dumps(result.summary(), indent=2, ensure_ascii=False))
    elif as_csv:
        typer.echo(csv_of(result.table), nl=False)
    else:
        print_diff(result, directory=path, every=every)
