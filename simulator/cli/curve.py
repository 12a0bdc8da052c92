"""``simulate --sku ...``: the Pareto curve of one SKU."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import options
from simulator.cli.agentx import SESSION_FLAGS, check_no_limits, replay, session_flags
from simulator.cli.flags import one_each, takes
from simulator.scenario.declared import HOST, PAIR, POOLS, SCENARIO
from simulator.scenario.declared_limits import LIMITS
from simulator.studies.agentx.declared import AGENTX
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from simulator.analysis.objectives import Objectives


def _print_version(wanted: bool) -> None:
    if wanted:
        from simulator.version import version

        typer.echo(f"forecurve {version()}")
        raise typer.Exit


@takes(
    *one_each(SCENARIO, "sku"),
    *one_each(PAIR, *PAIR),
    *one_each(SCENARIO, "model", "engine", "precision", "tp", "ep", "gpus"),
    *one_each(SCENARIO, "dp_attention", "isl", "osl", "lengths"),
    *one_each(SCENARIO, "concurrency", "spec"),
    *one_each(SCENARIO, "acceptance_length", "overrides", "engine_settings", "kv_precision", *HOST),
    *one_each(SCENARIO, "economics", "seed", "calibration"),
    *one_each(POOLS, "disaggregated", "max_gpus"),
    *one_each(LIMITS, *LIMITS),
    *one_each(AGENTX, "trees", *SESSION_FLAGS),
    command="curve",
)
def curve(
    *,
    context: typer.Context,
    given: dict[str, Any],
    overlay: options.Overlay = None,
    scenario: options.ScenarioFile = None,
    no_ttft_limit: options.NoTtftLimit = False,
    every: options.All = False,
    next_run: options.NextRun = False,
    per_engine: options.PerEngine = False,
    out: options.Out = None,
    as_json: options.PointsJson = False,
    json_lines: options.JsonLines = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Predict how fast hardware serves a large language model, before anyone can measure it.

    Without a command: the Pareto curve of one SKU, throughput per GPU against speed per user, as
    it is best deployed; of one engine where that, a layout or concurrencies are stated.
    Start with: simulate --sku mi355x --ep 8
    """
    as_json = as_json or json_lines
    switches = (as_json, no_ttft_limit, every, per_engine, next_run)
    is_given = any(switches) or any(
        value is not None for value in (*given.values(), overlay, scenario, out)
    )
    command = context.invoked_subcommand
    if command is not None:
        if is_given:
            raise UserError(
                f"options before '{command}' would be ignored; "
                f"write them after it: simulate {command} ..."
            )
    elif not is_given:
        typer.echo(context.get_help())
    elif given["sku"] is given["decode_sku"] is None and scenario is None:
        from simulator.scenario.settings import no_sku

        raise no_sku(given["prefill_sku"], example="name one with --sku, as in --sku mi355x")
    elif (trees := session_flags(given)) is not None:
        if given["sku"] is None:
            raise UserError("session trees need --sku, as in --sku b200 --workload agentx")
        sku = given.pop("sku")
        check_no_limits(given)
        if given.pop("disaggregated") is not None:
            raise UserError("session trees take --prefill and --decode on simulate agentx")
        replay([sku], flags={**given, **trees}, scenario=scenario, out=out, as_json=as_json)
    elif is_about_sku(given, scenario=scenario):
        from simulator.cli.best import draw_best

        draw_best(
            flags=given,
            scenario=scenario,
            limits=options.frontier_limits(given, no_limit=no_ttft_limit, scenario=scenario),
            per_engine=per_engine,
            every=every,
            ranks_runs=next_run,
            own_runs=options.read_overlay(context, overlay),
            out=out,
            as_json=as_json,
        )
    else:
        stated = {
            "--per-engine": per_engine,
            "--disaggregated or --aggregated": given.pop("disaggregated") is not None,
            "--max-gpus": given.pop("max_gpus") is not None,
        }
        for flag_name, is_stated in stated.items():
            if is_stated:
                raise UserError(
                    f"{flag_name} is about a SKU as it is best deployed; leave out engine, layout, "
                    "concurrency and scenario, or use simulate sweep"
                )
        own_runs = options.read_overlay(context, overlay)
        limits = options.frontier_limits(given, no_limit=no_ttft_limit, scenario=scenario)
        _draw(
            flags=given,
            limits=limits,
            scenario=scenario,
            every=every,
            ranks_runs=next_run,
            own_runs=own_runs,
            out=out,
            as_json=as_json,
        )


def is_about_sku(given: dict[str, Any], *, scenario: Path | None) -> bool:
    """Whether a question leaves open how a SKU is deployed: no engine, layout or concurrency.

    One about pools on two chips is always answered so.
    """
    if given["prefill_sku"] is not None or given["decode_sku"] is not None:
        return True
    pins = ("engine", "tp", "ep", "gpus", "dp_attention", "concurrency", "engine_settings")
    return scenario is None and all(given[name] is None for name in pins)


def _draw(
    *,
    flags: dict[str, Any],
    limits: Objectives | None,
    scenario: Path | None,
    every: bool,
    ranks_runs: bool,
    own_runs: pd.DataFrame | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from simulator.cli.progress import print_json, progress_bar
    from simulator.output.run_directory import RunDirectory, default_directory
    from simulator.scenario.settings import build_scenario
    from simulator.studies.curve.files import load_file_writers, summary_json, write_run
    from simulator.studies.curve.run import explore_curve
    from simulator.studies.curve.text import print_curve, refusal_lines
    from simulator.studies.overlay import labels_of_rows, overlay_points

    source = build_scenario(flags=flags, file=scenario)
    asked = source.scenario
    if asked.prefill_sku is not None:
        raise UserError(
            f"prefill_sku is {asked.prefill_sku}; draw pools on two chips with --prefill-sku and "
            "--decode-sku, or with simulate sweep"
        )
    name = f"{asked.sku}-{asked.model}-{asked.isl}-{asked.osl}"
    stated = f"{asked.model_dump_json()} {limits}{' all' if every else ''}"
    path = out or default_directory(name, settings=stated)
    with RunDirectory(path) as directory:
        with progress_bar() as on_progress:
            result = explore_curve(
                source,
                limits=limits,
                every=every,
                on_progress=on_progress,
                meanwhile=load_file_writers,
            )
        if not result.points:
            reasons = "\n".join(refusal_lines(result.refused))
            raise UserError(f"no layout fits; {result.caption}\n{reasons}")
        curves = labels_of_rows(result.points)
        measured, notes = overlay_points(own_runs, curves=curves)
        write_run(directory, result, measured=measured)
    if as_json:
        print_json(json.loads(summary_json(result)))
    else:
        print_curve(result, directory=directory.path, ranks_runs=ranks_runs)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
