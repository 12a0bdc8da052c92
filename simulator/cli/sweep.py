"""``simulate sweep``: every layout at every concurrency, over settings with several values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import options
from simulator.cli.agentx import SESSION_FLAGS, check_no_limits, only_one, replay, session_flags
from simulator.cli.flags import lists_of, one_each, takes
from simulator.scenario.declared import HOST, PAIR, POOL_GRID, POOLS, SCENARIO
from simulator.scenario.declared_limits import LIMITS
from simulator.studies.agentx.declared import AGENTX

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from simulator.analysis.objectives import Objectives
    from simulator.scenario.grid import SweepSettings
    from simulator.studies.changes import Change
    from simulator.studies.sweep.executors import Executor
    from simulator.studies.sweep.run import SweepResult


@takes(
    *lists_of(SCENARIO, "sku"),
    *one_each(PAIR, *PAIR),
    *lists_of(SCENARIO, "model", "engine", "precision", "tp", "ep", "gpus"),
    *one_each(SCENARIO, "dp_attention"),
    *lists_of(POOLS, *POOL_GRID),
    *one_each(POOLS, "max_gpus"),
    *lists_of(SCENARIO, "isl", "osl", "lengths"),
    *one_each(SCENARIO, "concurrency"),
    *lists_of(SCENARIO, "spec", "acceptance_length", "overrides"),
    *one_each(SCENARIO, "engine_settings", "kv_precision", *HOST),
    *lists_of(SCENARIO, "economics", "seed"),
    *one_each(SCENARIO, "calibration"),
    *one_each(LIMITS, *LIMITS),
    *one_each(AGENTX, "trees", *SESSION_FLAGS),
    command="sweep",
)
def sweep(
    *,
    context: typer.Context,
    given: dict[str, Any],
    no_ttft_limit: options.NoTtftLimit = False,
    every: options.All = False,
    next_run: options.NextRun = False,
    per_engine: options.PerEngine = False,
    overlay: options.Overlay = None,
    scenario: options.ScenarioFile = None,
    workers: options.Workers = None,
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            metavar="NAME",
            help="Where runs are simulated: local (processes of this machine) or dask (workers "
            "of a cluster that runs already; pip install 'forecurve[dask]').",
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="Scheduler of the cluster: tcp://HOST:8786 or a scheduler.json file. All "
            "machines have to share the --out directory.",
        ),
    ] = None,
    out: options.Out = None,
    as_json: options.Json = False,
    json_lines: options.JsonLines = False,
    as_csv: options.Csv = False,
) -> None:
    """Try every layout at every concurrency.

    Any setting may have several values. Without an engine, a layout and pools all forms in which
    the SKU was deployed compete.

    Runs are kept as they come: after an interruption the same command goes on where it stopped.
    Start with: simulate sweep --sku gb200 --prefill 1-4 --decode 1-4 --ep 4,8,16,32
    """
    from simulator.scenario.grid import build_sweep
    from simulator.studies.sweep.executors import cluster_executor

    as_json = as_json or json_lines
    options.check_output(as_json=as_json, as_csv=as_csv)
    trees = session_flags(given)
    if trees is not None:
        check_no_limits(given)
        _replay(given, trees, scenario=scenario, out=out, as_json=as_json, as_csv=as_csv)
        return
    limits = options.frontier_limits(given, no_limit=no_ttft_limit, scenario=scenario)
    settings = build_sweep(flags=given, file=scenario)
    cluster = cluster_executor(executor=executor, address=address)
    own_runs = options.read_overlay(context, overlay)
    result, changes, directory = _run(
        settings,
        limits=limits,
        every=every,
        per_engine=per_engine,
        workers=workers,
        executor=cluster,
        own_runs=own_runs,
        out=out,
    )
    if as_json:
        from simulator.cli.progress import print_json
        from simulator.studies.sweep.text import summary_of

        print_json(summary_of(result, changes=changes))
    elif as_csv:
        from simulator.output.text_tables import csv_of

        typer.echo(csv_of(result.frame()), nl=False)
    else:
        from simulator.studies.sweep.text import print_sweep

        print_sweep(result, directory=directory, ranks_runs=next_run, changes=changes)


def _replay(
    given: dict[str, Any],
    trees: dict[str, Any],
    *,
    scenario: Path | None,
    out: Path | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Session trees on every SKU under every engine that is named."""
    skus, engines = given.pop("sku") or (), given.pop("engine") or ("",)
    systems = [f"{sku}:{engine}" if engine else sku for sku in skus for engine in engines]
    flags = {name: only_one(name, value) for name, value in given.items()}
    flags["overrides"] = {
        name: only_one(name, value) for name, value in (flags.get("overrides") or {}).items()
    }
    replay(
        systems,
        flags={**flags, **trees},
        scenario=scenario,
        out=out,
        as_json=as_json,
        as_csv=as_csv,
    )


def _run(
    settings: SweepSettings,
    *,
    limits: Objectives | None,
    every: bool,
    per_engine: bool,
    workers: int | None,
    executor: Executor | None,
    own_runs: pd.DataFrame | None,
    out: Path | None,
) -> tuple[SweepResult, list[Change], Path]:
    from simulator.cli.kept_runs import kept_runs
    from simulator.output.run_files import default_directory, write_result
    from simulator.scenario.deployed_forms import is_all_open
    from simulator.studies.changes import changes_frame
    from simulator.studies.overlay import labels_of_runs, overlay_points
    from simulator.studies.sweep.best import best_sweep
    from simulator.studies.sweep.run import changes_of_sweep, run_sweep
    from simulator.studies.sweep.text import summary_of
    from workloads.errors import UserError

    is_open = all(is_all_open(settings, load) for load in settings.loads())
    if per_engine and not is_open:
        raise UserError(
            "--per-engine is about a SKU as it is best deployed; leave out engine, layout, pools "
            "and server settings"
        )
    asked: dict[str, Any] = settings.to_dict() | {"limits": str(limits)}
    asked |= {"per_engine": True} if per_engine else {}
    path = out or default_directory("sweep", settings.values["sku"], settings=asked)
    with kept_runs(path) as (directory, on_progress):
        if is_open:
            result = best_sweep(
                settings,
                directory=path,
                limits=limits,
                per_engine=per_engine,
                every=every,
                workers=workers,
                executor=executor,
                on_progress=on_progress,
            )
        else:
            result = run_sweep(
                settings,
                directory=path,
                workers=workers,
                executor=executor,
                limits=limits,
                prunes=not every,
                on_progress=on_progress,
            )
        changes = changes_of_sweep(result, workers=workers)
        measured, notes = overlay_points(own_runs, curves=labels_of_runs(result.runs))
        write_result(
            directory,
            tables={"points": result.frame(), "refused": result.refused}
            | ({"changes": changes_frame(changes)} if changes else {}),
            resolved=result.resolved,
            summary=summary_of(result, changes=changes),
            pictures={}
            if result.runs.empty
            else {"frontier": partial(result.plot, measured=measured)},
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if result.runs.empty:
        reasons = "\n".join(result.refused["reason"].unique())
        raise UserError(f"nothing could run; see {path / 'refused.csv'}\n{reasons}")
    return result, changes, path
