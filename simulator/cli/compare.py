"""``simulate compare``: SKUs, engines or dates side by side at equal speed per user."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import options
from simulator.cli.agentx import SESSION_FLAGS, check_no_limits, only_one, replay, session_flags
from simulator.cli.flags import lists_of, one_each, takes
from simulator.cli.parsing import numbers
from simulator.scenario.declared import HOST, PAIR, POOL_GRID, POOLS, SCENARIO
from simulator.scenario.declared_limits import LIMITS
from simulator.studies.agentx.declared import AGENTX

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from simulator.studies.compare.request import ComparedSystem
    from simulator.studies.compare.run import ComparisonResult


@takes(
    *one_each(PAIR, *PAIR),
    *one_each(SCENARIO, "model", "engine", "precision"),
    *lists_of(SCENARIO, "tp", "ep"),
    *one_each(SCENARIO, "gpus", "dp_attention"),
    *lists_of(POOLS, *POOL_GRID),
    *one_each(POOLS, "max_gpus"),
    *one_each(SCENARIO, "isl", "osl", "lengths", "concurrency", "spec", "acceptance_length"),
    *one_each(
        SCENARIO,
        "overrides",
        "engine_settings",
        "kv_precision",
        *HOST,
        "economics",
        "seed",
        "calibration",
    ),
    *one_each(LIMITS, *LIMITS),
    *one_each(AGENTX, "trees", *SESSION_FLAGS),
    command="compare",
)
def compare(
    *,
    context: typer.Context,
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SKU[:ENGINE[@DATE]]...",
            help="Two or more: gb200 b200, b200+gb300 (prefill pool and decode pool), "
            "mi355x:sglang@2026-05 mi355x:sglang@2026-07, or YAML scenarios. Ratios are over the "
            "first. Default: those of --scenario, where it is the resolved.yaml of a comparison.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="LIST",
            help="Speeds per user in tok/s: 20,27,50. Default: five that all reach.",
        ),
    ] = None,
    denominator: Annotated[
        str | None,
        typer.Option(
            "--denominator",
            metavar="NAME",
            help="GPUs that a token's price is over: all, or the pool that makes it (input: "
            "prefill, output: decode), as InferenceX. Default: all.",
        ),
    ] = None,
    tier: Annotated[
        str | None,
        typer.Option(
            "--tier",
            metavar="NAME",
            help="Price of a GPU hour: hyperscaler (default), neocloud, rental.",
        ),
    ] = None,
    same_software: Annotated[
        bool | None,
        typer.Option(
            "--same-software/--own-software",
            help="Every engine at the better of the levels that it has on the SKUs, so that chips "
            "alone differ; or each at its own. Default: the same between siblings (b200, gb200).",
        ),
    ] = None,
    given: dict[str, Any],
    no_ttft_limit: options.NoTtftLimit = False,
    every: options.All = False,
    next_run: options.NextRun = False,
    overlay: options.Overlay = None,
    scenario: options.ScenarioFile = None,
    workers: options.Workers = None,
    out: options.Out = None,
    as_json: options.Json = False,
    json_lines: options.JsonLines = False,
    as_csv: options.Csv = False,
) -> None:
    """Compare SKUs, engines or dates at equal speed.

    Throughput, dollars and power of each at the same tok/s/user, and their ratios.

    Start with: simulate compare gb200 mi355x --at 20,50
    """
    from simulator.studies.compare.request import build_systems, question_of

    as_json = as_json or json_lines
    options.check_output(as_json=as_json, as_csv=as_csv)
    trees = session_flags(given)
    if trees is not None:
        check_no_limits(given)
        flags = {name: only_one(name, value) for name, value in given.items()}
        replay(
            systems or [],
            flags={**flags, **trees},
            scenario=scenario,
            out=out,
            as_json=as_json,
            as_csv=as_csv,
        )
        return
    limits = options.frontier_limits(given, no_limit=no_ttft_limit, scenario=scenario)
    question = {
        "at": tuple(numbers(at, flag="--at") or ()),
        "denominator": denominator,
        "tier": tier,
        "same_software": same_software,
        "limits": limits,
    }
    sides = build_systems(systems or (), flags=given, file=scenario)
    question = question_of(scenario) | {
        name: value for name, value in question.items() if value not in (None, ())
    }
    own_runs = options.read_overlay(context, overlay)
    result, directory = _run(
        sides, question=question, every=every, workers=workers, own_runs=own_runs, out=out
    )
    if as_json:
        from simulator.cli.progress import print_json
        from simulator.studies.compare.text import summary_of

        print_json(summary_of(result))
    elif as_csv:
        from simulator.output.text_tables import csv_of

        typer.echo(csv_of(result.frame()), nl=False)
    else:
        from simulator.studies.compare.text import print_comparison

        print_comparison(result, directory=directory, ranks_runs=next_run)


def _run(
    sides: tuple[ComparedSystem, ...],
    *,
    question: dict[str, Any],
    every: bool,
    workers: int | None,
    own_runs: pd.DataFrame | None,
    out: Path | None,
) -> tuple[ComparisonResult, Path]:
    from simulator.cli.kept_runs import kept_runs
    from simulator.output.run_files import default_directory, write_result
    from simulator.studies.changes import changes_frame
    from simulator.studies.compare.run import run_comparison
    from simulator.studies.compare.text import summary_of
    from simulator.studies.overlay import labels_of_runs, overlay_points

    asked: dict[str, Any] = {name: str(value) for name, value in question.items()}
    asked |= {side.name: side.settings.to_dict() for side in sides}
    path = out or default_directory("compare", [side.name for side in sides], settings=asked)
    with kept_runs(path) as (directory, on_progress):
        result = run_comparison(
            sides,
            directory=path,
            workers=workers,
            every=every,
            on_progress=on_progress,
            **question,
        )
        measured, notes = overlay_points(own_runs, curves=labels_of_runs(result.runs()))
        write_result(
            directory,
            tables={
                "comparison": result.frame(),
                "points": result.runs(),
                "refused": result.refused,
            }
            | ({"changes": changes_frame(result.changes)} if result.changes else {}),
            resolved=result.resolved,
            summary=summary_of(result),
            pictures={
                "frontier": partial(result.plot, measured=measured),
                "ratio": result.plot_ratio,
            },
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    return result, path
