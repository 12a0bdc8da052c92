"""``simulate report``: runs as one interactive HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import options, whatif_options

if TYPE_CHECKING:
    from simulator.studies.report import Report


def report(
    context: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DIR...",
            help="Directories that simulate, simulate sweep, simulate compare or simulate "
            "timeline wrote.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option("--title", metavar="TEXT", help="Heading; default: models and chips."),
    ] = None,
    sku: options.Sku = None,
    model: options.Model = None,
    engine: options.Engine = None,
    precision: options.Precision = None,
    tp: options.Tp = None,
    ep: options.Ep = None,
    gpus: options.Gpus = None,
    dp_attention: options.DpAttention = None,
    isl: options.Isl = None,
    osl: options.Osl = None,
    concurrency: options.Concurrency = None,
    spec: options.Spec = None,
    acceptance_length: options.AcceptanceLength = None,
    set_fields: options.Set = None,
    economics: options.Economics = None,
    seed: options.Seed = None,
    calibration: options.Calibration = None,
    overlay: options.Overlay = None,
    scenario: options.ScenarioFile = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Page to write; default: one under out/."),
    ] = None,
    as_json: whatif_options.Json = False,
    as_csv: whatif_options.Csv = False,
) -> None:
    """Draw runs as one interactive HTML page.

    Pareto plot, tables and the origin of every setting, in one file that opens offline. Settings
    such as --sku simulate one more curve, which joins the runs.

    Start with: simulate report out/RUN --overlay my_runs.csv --out page.html
    """
    flags: dict[str, Any] = {
        "sku": sku,
        "model": model,
        "engine": engine,
        "precision": precision,
        "tp": tp,
        "ep": ep,
        "gpus": gpus,
        "dp_attention": dp_attention,
        "isl": isl,
        "osl": osl,
        "concurrency": options.parse_concurrency(concurrency),
        "spec": spec,
        "acceptance_length": acceptance_length,
        "overrides": options.parse_overrides(set_fields),
        "economics": economics,
        "seed": seed,
        "calibration": calibration,
    }
    settings = {name: value for name, value in flags.items() if value is not None}
    whatif_options.check_output(as_json=as_json, as_csv=as_csv)
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
