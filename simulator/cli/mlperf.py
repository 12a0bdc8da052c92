"""``simulate mlperf``: what MLPerf Inference would report of a system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from simulator.cli import options


def mlperf(
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--benchmark", metavar="NAME", help="deepseek-r1, gpt-oss-120b, llama2-70b ..."
        ),
    ] = None,
    mlperf_scenario: Annotated[
        str, typer.Option("--scenario", metavar="NAME", help="offline, server or interactive.")
    ] = "server",
    sku: options.Sku = None,
    model: options.Model = None,
    engine: options.Engine = None,
    precision: options.Precision = None,
    tp: options.Tp = None,
    ep: options.Ep = None,
    gpus: options.Gpus = None,
    dp_attention: options.DpAttention = None,
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
    spec: options.Spec = None,
    acceptance_length: options.AcceptanceLength = None,
    set_fields: options.Set = None,
    seed: options.Seed = None,
    calibration: options.Calibration = None,
    as_json: options.Json = False,
) -> None:
    """What MLPerf Inference would report: queries/s and tok/s within the latency limits.

    Start with: simulate mlperf --sku b300 --benchmark deepseek-r1 --scenario server
    """
    from simulator.cli.progress import progress_bar
    from simulator.studies.mlperf.request import build_mlperf
    from simulator.studies.mlperf.run import run_mlperf
    from simulator.studies.mlperf.text import mlperf_text

    flags: dict[str, Any] = {
        "sku": sku,
        "model": model,
        "engine": engine,
        "precision": precision,
        "tp": tp,
        "ep": ep,
        "gpus": gpus,
        "dp_attention": dp_attention,
        "spec": spec,
        "acceptance_length": acceptance_length,
        "overrides": options.parse_overrides(set_fields),
        "seed": seed,
        "calibration": calibration,
    }
    asked = build_mlperf(
        flags=flags,
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
