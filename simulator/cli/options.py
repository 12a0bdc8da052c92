"""Flags that commands share beside those of declared settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from simulator.analysis.objectives import Objectives

Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="DIR",
        help="Fit to use, from simulate calibrate fit --out DIR; default: the shipped one.",
    ),
]
Overlay = Annotated[
    Path | None,
    typer.Option(
        "--overlay",
        metavar="PATH",
        help="Your own measured runs, drawn as filled markers: a CSV table, a result, a folder.",
    ),
]
ScenarioFile = Annotated[
    Path | None,
    typer.Option("--scenario", metavar="FILE", help="YAML file of settings; flags override it."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Directory of the results; default: one under out/."),
]
PointsJson = Annotated[
    bool, typer.Option("--json", help="Print the points as JSON instead of the table.")
]
NoTtftLimit = Annotated[
    bool,
    typer.Option(
        "--no-ttft-limit", help="Let any TTFT stand on the frontier; default: p90 up to 10 s."
    ),
]
PerEngine = Annotated[
    bool,
    typer.Option("--per-engine", help="As deployed: a curve for each engine and speculation."),
]
All = Annotated[
    bool,
    typer.Option("--all", help="Run what cannot be on a frontier too; default: what may be."),
]


def _as_json_lines(wanted: bool) -> bool:
    from simulator.cli.progress import tell_as_json_lines

    tell_as_json_lines(wanted)
    return wanted


JsonLines = Annotated[
    bool,
    typer.Option(
        "--json-lines",
        callback=_as_json_lines,
        help="Print JSON objects, one a line: each figure as soon as it is known, then the answer.",
    ),
]
NextRun = Annotated[
    bool,
    typer.Option(
        "--next-run",
        help="List the runs to measure that would narrow the bands most, and by how much; "
        "default: the first of them.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="Processes; default: one per core."),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of the table.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")]


def read_overlay(context: typer.Context, path: Path | None) -> pd.DataFrame | None:
    """A user's runs for a picture, read by what the command line was started with.

    Raises
    ------
    UserError
        If they cannot be read.
    """
    if path is None:
        return None
    import_runs: Callable[[Path], pd.DataFrame] = context.find_root().obj
    runs = import_runs(path)
    for reason, rows in runs[runs["quality"] == "suspect"].groupby("quality_reason"):
        typer.echo(f"note: suspect measured runs, {len(rows)} of {len(runs)}: {reason}", err=True)
    return runs


def frontier_limits(
    given: dict[str, Any], *, no_limit: bool, scenario: Path | None
) -> Objectives | None:
    """The limits of a frontier: the stated ones, else 10 s at p90; ``None``: a settings file's.

    Parameters
    ----------
    given:
        What was given on the command line; the limits are taken out of it.

    Raises
    ------
    UserError
        If a limit is out of range, or is stated and lifted.
    """
    from simulator.analysis.objectives import NO_LIMIT, TTFT_LIMITS, stated_limits

    limits = stated_limits(**{name: given.pop(name, None) for name in TTFT_LIMITS})
    if limits is not None and no_limit:
        raise UserError(f"{limits.ttft_flags} and --no-ttft-limit exclude each other; choose one")
    if limits is not None or no_limit:
        return limits or NO_LIMIT
    if scenario is not None:
        from simulator.scenario.settings_file import read_settings

        read = read_settings(scenario)
        if any(name in known for known in (read.values, read.defaults) for name in TTFT_LIMITS):
            return None
    return NO_LIMIT.online()[0]


def check_output(*, as_json: bool, as_csv: bool) -> None:
    """Refuse two forms of output at once.

    Raises
    ------
    UserError
        If both are asked for.
    """
    if as_json and as_csv:
        raise UserError("--csv and --json exclude each other; choose one")
