"""``simulate load``: one deployment under a stated load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simulator.cli import options  # noqa: TC001 - typer reads the annotations
from simulator.cli.agentx import SESSION_FLAGS, replay, session_flags
from simulator.cli.flags import flag, one_each, takes
from simulator.scenario.declared import HOST, POOLS, SCENARIO
from simulator.studies.agentx.declared import AGENTX
from simulator.studies.load.declared import LOAD
from workloads.errors import UserError


@takes(
    *one_each(SCENARIO, "sku", "model", "engine", "precision"),
    flag(SCENARIO["tp"], text="Tensor parallel degree; default: the recipe's."),
    flag(SCENARIO["ep"], text="Expert parallel degree; default: the recipe's."),
    *one_each(SCENARIO, "gpus"),
    flag(SCENARIO["dp_attention"], text="Attention data parallelism; default: the recipe's."),
    *one_each(LOAD, *list(LOAD)[:12]),
    *one_each(SCENARIO, "isl", "osl", "lengths"),
    *one_each(LOAD, *list(LOAD)[12:]),
    *one_each(
        SCENARIO, "spec", "acceptance_length", "overrides", "engine_settings", "kv_precision", *HOST
    ),
    *one_each(SCENARIO, "seed", "calibration"),
    *one_each(POOLS, "disaggregated"),
    *one_each(AGENTX, *SESSION_FLAGS),
    command="load",
)
def load(
    *,
    given: dict[str, Any],
    scenario: options.ScenarioFile = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace", metavar="FILE", help="Write a trace of the run that ui.perfetto.dev opens."
        ),
    ] = None,
    trace_until: Annotated[
        float | None,
        typer.Option(
            "--trace-until", metavar="SECONDS", help="End of that trace; default: the run's."
        ),
    ] = None,
    step_log: Annotated[
        Path | None,
        typer.Option("--step-log", metavar="FILE", help="Write every engine step as Parquet."),
    ] = None,
    out: options.Out = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON instead of tables.")
    ] = False,
) -> None:
    """Serve a stated load on one deployment: latencies, goodput, queues, a trace to look at.

    Start with: simulate load --sku mi355x --rate 0.5 --ttft-slo 5 --tpot-slo 0.05
    """
    trees = session_flags(given, workload="workload")
    if trees is not None:
        if given["sku"] is None or given["concurrency"] is None:
            raise UserError(
                "session trees need --sku and --concurrency, the sessions that are live"
            )
        kept = {name: given[name] for name in SCENARIO if name in given and name != "sku"}
        kept |= {name: given[name] for name in ("on_error", "characters_per_token")}
        kept["concurrency"] = (given["concurrency"],)
        for name, value in given.items():
            if value is not None and name not in kept and name != "sku":
                raise UserError(f"{name} has no meaning for session trees; leave it out")
        replay([given["sku"]], flags={**kept, **trees}, scenario=scenario, out=out, as_json=as_json)
        return
    if given["sku"] is None and scenario is None:
        raise UserError("no SKU is given; name one with --sku, as in --sku mi355x")
    if trace_until is not None and not trace_until > 0:
        raise UserError(f"trace_until is {trace_until}; it must be positive [s]")
    if trace_until is not None and trace is None:
        raise UserError("trace_until ends a trace, and none is written; add --trace FILE")
    _serve(
        given,
        scenario=scenario,
        logs={
            "trace": trace,
            "trace_until_s": float("inf") if trace_until is None else trace_until,
            "step_log": step_log,
        },
        out=out,
        as_json=as_json,
    )


def _serve(
    flags: dict[str, Any],
    *,
    scenario: Path | None,
    logs: dict[str, Any],
    out: Path | None,
    as_json: bool,
) -> None:
    from simulator.cli.progress import progress_bar
    from simulator.output.run_directory import RunDirectory
    from simulator.output.run_files import default_directory
    from simulator.studies.load.request import build_load
    from simulator.studies.load.result import summary_json
    from simulator.studies.load.run import LoadLogs, serve_load
    from simulator.studies.load.text import print_load

    asked = build_load(flags=flags, file=scenario)
    path = out or default_directory("load", [asked.scenario.sku], settings=asked.resolved)
    with RunDirectory(path) as directory, progress_bar() as on_progress:
        run = serve_load(asked, directory=directory, logs=LoadLogs(**logs), on_progress=on_progress)
    if as_json:
        typer.echo(summary_json(run))
        return
    print_load(run, directory=path)
    for name in ("trace", "step_log"):
        if logs[name] is not None:
            typer.echo(f"wrote {logs[name]}")
