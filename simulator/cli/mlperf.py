"""``simulate mlperf``: what MLPerf Inference would report of a system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from simulator.cli import options  # noqa: TC001 - typer reads the annotations
from simulator.cli.flags import one_each, takes
from simulator.scenario.declared import SCENARIO


@takes(
    *one_each(SCENARIO, "sku", "model", "engine", "precision", "tp", "ep", "gpus"),
    *one_each(SCENARIO, "dp_attention", "spec", "acceptance_length", "overrides"),
    *one_each(SCENARIO, "engine_settings", "kv_precision", "seed", "calibration"),
    command="mlperf",
)
def mlperf(
    *,
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--benchmark", metavar="NAME", help="deepseek-r1, gpt-oss-120b, llama2-70b ..."
        ),
    ] = None,
    mlperf_scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario", metavar="NAME", help="offline, server or interactive; default server."
        ),
    ] = None,
    submission: Annotated[
        str | None,
        typer.Option(
            "--submission",
            metavar="NAME",
            help="Settings of a published submission: v6.0-dell-b300-deepseek-r1-server ...",
        ),
    ] = None,
    given: dict[str, Any],
    deployment: Annotated[
        str | None,
        typer.Option(
            "--deployment", metavar="LABEL", help="Pools of one copy: DEP8, TP1, 4xDEP2+4xDEP16."
        ),
    ] = None,
    chips: Annotated[
        int | None,
        typer.Option("--chips", metavar="N", help="Chips of the system; default: one copy."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", metavar="QUERIES/S", help="Judge this rate; default: find the largest."
        ),
    ] = None,
    queries: Annotated[
        int | None, typer.Option("--queries", metavar="N", help="Queries of an Offline run.")
    ] = None,
    arrivals: Annotated[
        float | None,
        typer.Option("--arrivals", metavar="SECONDS", help="Time of scheduled arrivals."),
    ] = None,
    lengths: Annotated[
        Path | None,
        typer.Option("--lengths", metavar="FILE", help="Prompt and output lengths of your own."),
    ] = None,
    as_json: options.PointsJson = False,
) -> None:
    """What MLPerf Inference would report: queries/s and tok/s within the latency limits.

    Start with: simulate mlperf --sku b300 --benchmark deepseek-r1 --scenario server
    """
    from simulator.cli.progress import progress_bar
    from simulator.studies.mlperf.request import build_mlperf
    from simulator.studies.mlperf.run import run_mlperf
    from simulator.studies.mlperf.text import mlperf_text

    asked = build_mlperf(
        flags=given,
        submission=submission,
        benchmark=benchmark,
        scenario=mlperf_scenario,
        deployment=deployment,
        chips=chips,
        rate=rate,
        queries=queries,
        arrivals_s=arrivals,
        lengths=lengths,
    )
    with progress_bar() as on_progress:
        result = run_mlperf(asked, on_progress=on_progress)
    typer.echo(json.dumps(result.to_dict(), indent=2) if as_json else mlperf_text(result))
