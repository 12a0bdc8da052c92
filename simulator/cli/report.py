"""``simulate report``: runs as one interactive HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import options
from simulator.cli.agentx import session_flags
from simulator.cli.flags import one_each, takes
from simulator.scenario.declared import HOST, SCENARIO
from simulator.studies.agentx.declared import AGENTX

if TYPE_CHECKING:
    from simulator.studies.report import Report


@takes(
    *one_each(SCENARIO, "sku", "model", "engine", "precision", "tp", "ep", "gpus"),
    *one_each(SCENARIO, "dp_attention", "isl", "osl", "lengths"),
    *one_each(SCENARIO, "concurrency", "spec"),
    *one_each(SCENARIO, "acceptance_length", "overrides", "engine_settings", "kv_precision", *HOST),
    *one_each(SCENARIO, "economics", "seed", "calibration"),
    *one_each(AGENTX, "trees", "kv_offload", "protocol"),
    command="report",
)
def report(
    *,
    context: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DIR...",
            help="Directories that simulate, simulate agentx, sweep, compare or timeline wrote.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option("--title", metavar="TEXT", help="Heading; default: models and chips."),
    ] = None,
    given: dict[str, Any],
    overlay: options.Overlay = None,
    scenario: options.ScenarioFile = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Page to write; default: one under out/."),
    ] = None,
    as_json: options.Json = False,
    as_csv: options.Csv = False,
) -> None:
    """Draw runs as one interactive HTML page.

    Pareto plot, tables and the origin of every setting, in one file that opens offline. Settings
    such as --sku simulate one more curve, which joins the runs.

    Start with: simulate report out/RUN --overlay my_runs.csv --out page.html
    """
    trees = session_flags(given) or {}
    settings = {n: value for n, value in (given | trees).items() if value is not None}
    options.check_output(as_json=as_json, as_csv=as_csv)
    directories = [str(Path(run)) for run in runs or []]
    path, page = _write(
        directories,
        out=out,
        asked={"runs": directories, "overlay": overlay, "scenario": scenario, "title": title}
        | settings,
        wanted={
            "overlay": options.read_overlay(context, overlay),
            "title": title or "",
            "scenario": scenario,
            **settings,
        },
    )
    if as_json:
        import json

        typer.echo(json.dumps(page.summary(), indent=2, ensure_ascii=False))
    elif as_csv:
        from simulator.output.text_tables import csv_of

        typer.echo(csv_of(page.frame()), nl=False)
    else:
        _print(page, path=path)


def _write(
    directories: list[str], *, out: Path | None, asked: dict[str, Any], wanted: dict[str, Any]
) -> tuple[Path, Report]:
    from simulator.cli.progress import progress_bar
    from simulator.output.run_files import default_directory
    from simulator.studies.report import report as build_report

    names = [*(Path(run).name for run in directories), str(wanted.get("sku") or "")]
    folder = default_directory("report", list(filter(None, names)), settings=asked)
    path = out or folder.with_name(f"{folder.name}.html")
    with progress_bar() as on_progress:
        page = build_report(*directories, out=path, on_progress=on_progress, **wanted)
    return path, page


def _print(page: Report, *, path: Path) -> None:
    points, lines = page.points, [page.title]
    lines += [f"{source.name}: {source.caption}" for source in page.sources]
    lines += [f"note: {note}" for note in page.notes]
    best = int(points["on_frontier"].sum())
    curves = points["series"].nunique()
    counted = f"{curves:,} curves" if curves > 1 else "1 curve"
    measured = f", {len(page.measured):,} measured runs" if len(page.measured) else ""
    size = f"{path.stat().st_size / 1000:,.0f} kB"
    lines += [f"{counted}, {len(points):,} simulated points, {best:,} on a frontier{measured}"]
    typer.echo("\n".join([*lines, f"page {path}, {size}"]))
