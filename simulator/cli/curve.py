"""``simulate --sku ...``: the Pareto curve of one SKU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import options
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def _print_version(wanted: bool) -> None:
    if wanted:
        from simulator.version import version

        typer.echo(f"forecurve {version()}")
        raise typer.Exit


def curve(
    context: typer.Context,
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
    out: options.Out = None,
    as_json: options.Json = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Predict how fast hardware serves a large language model, before anyone can measure it.

    Without a command: the Pareto curve of one SKU, throughput per GPU against speed per user,
    over the layouts that fit. Start with: simulate --sku mi355x --ep 8
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
    given = as_json or any(value is not None for value in (*flags.values(), overlay, scenario, out))
    command = context.invoked_subcommand
    if command is not None:
        if given:
            raise UserError(
                f"options before '{command}' would be ignored; "
                f"write them after it: simulate {command} ..."
            )
    elif not given:
        typer.echo(context.get_help())
    elif sku is None and scenario is None:
        raise UserError("no SKU is given; name one with --sku, as in --sku mi355x")
    else:
        own_runs = options.read_overlay(context, overlay)
        _draw(flags=flags, scenario=scenario, own_runs=own_runs, out=out, as_json=as_json)


def _draw(
    *,
    flags: dict[str, Any],
    scenario: Path | None,
    own_runs: pd.DataFrame | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from simulator.cli.progress import progress_bar
    from simulator.output.run_directory import RunDirectory, default_directory
    from simulator.scenario.settings import build_scenario
    from simulator.studies.curve.files import (
        curve_series,
        load_file_writers,
        summary_json,
        write_run,
    )
    from simulator.studies.curve.run import explore_curve
    from simulator.studies.curve.text import print_curve
    from simulator.studies.overlay import label_of_curve, overlay_points

    source = build_scenario(flags=flags, file=scenario)
    with RunDirectory(out or default_directory(source.scenario)) as directory:
        with progress_bar() as on_progress:
            result = explore_curve(source, on_progress=on_progress, meanwhile=load_file_writers)
        if not result.points:
            reasons = "\n".join(f"{layout.label}: {layout.reason}" for layout in result.refused)
            raise UserError(f"no layout fits; {result.caption}\n{reasons}")
        label = label_of_curve(result, name=curve_series(result).name)
        measured, notes = overlay_points(own_runs, curves=[label])
        write_run(directory, result, measured=measured)
    if as_json:
        typer.echo(summary_json(result))
    else:
        print_curve(result, directory=directory.path)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
