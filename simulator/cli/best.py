"""``simulate --sku ...`` without an engine: the curve of a SKU as it is best deployed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from simulator.analysis.objectives import Objectives

MOST_REASONS = 2


def draw_best(
    *,
    flags: dict[str, Any],
    scenario: Path | None,
    limits: Objectives | None,
    per_engine: bool,
    every: bool,
    ranks_runs: bool,
    own_runs: pd.DataFrame | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run, write and print the curve of a SKU on which all forms that were run compete.

    Raises
    ------
    UserError
        If a setting is unknown or out of range, or nothing fits.
    """
    from simulator.cli.kept_runs import kept_runs
    from simulator.output.run_files import default_directory, write_result
    from simulator.scenario.grid import build_sweep
    from simulator.studies.changes import changes_frame
    from simulator.studies.curve.best import best_curve
    from simulator.studies.overlay import labels_of_runs, overlay_points
    from simulator.studies.sweep.run import changes_of_sweep
    from simulator.studies.sweep.text import print_sweep, summary_of

    settings = build_sweep(flags=flags, file=scenario)
    asked = settings.to_dict() | {"limits": str(limits), "per_engine": per_engine}
    path = out or default_directory("best", settings.values["sku"], settings=asked)
    with kept_runs(path) as (directory, on_progress):
        result = best_curve(
            settings,
            directory=path,
            limits=limits,
            per_engine=per_engine,
            every=every,
            on_progress=on_progress,
        )
        changes = changes_of_sweep(result)
        measured, notes = overlay_points(own_runs, curves=labels_of_runs(result.runs))
        pictures = {"frontier": partial(result.plot, measured=measured)}
        write_result(
            directory,
            tables={"points": result.frame(), "refused": result.refused}
            | ({"changes": changes_frame(changes)} if changes else {}),
            resolved=result.resolved,
            summary=summary_of(result, changes=changes),
            pictures={} if result.runs.empty else pictures,
        )
    if result.runs.empty:
        reasons = result.refused["reason"].str.split("\n").str[0].value_counts()
        shown = "; ".join(reasons.index[:MOST_REASONS])
        more = f"; {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
        raise UserError(f"nothing can serve this: {shown}{more}; see {path / 'refused.csv'}")
    if as_json:
        from simulator.cli.progress import print_json

        print_json(summary_of(result, changes=changes))
    else:
        print_sweep(result, directory=path, ranks_runs=ranks_runs, changes=changes)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
