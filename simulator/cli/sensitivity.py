"""``simulate sensitivity``: which number of chip, software or workload matters."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from simulator.cli import options, whatif_options
from simulator.cli.answers import give_answer


def sensitivity(
    sku: options.Sku = None,
    model: options.Model = None,
    engine: options.Engine = None,
    precision: options.Precision = None,
    tp: options.Tp = None,
    ep: options.Ep = None,
    dp_attention: options.DpAttention = None,
    prefill: whatif_options.Prefill = None,
    decode: whatif_options.Decode = None,
    isl: options.Isl = None,
    osl: options.Osl = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", metavar="N", help="Closed-loop clients; default 64."),
    ] = None,
    interactivity: Annotated[
        float | None,
        typer.Option(
            "--interactivity",
            metavar="TOK/S",
            help="Judge throughput where the median user has this speed, not at a concurrency.",
        ),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option(
            "--step", metavar="SHARE", help="Relative change to either side; default 0.05."
        ),
    ] = None,
    replications: Annotated[
        int | None,
        typer.Option("--replications", metavar="N", help="Runs with other seeds; default 3."),
    ] = None,
    spec: options.Spec = None,
    acceptance_length: options.AcceptanceLength = None,
    set_fields: options.Set = None,
    seed: options.Seed = None,
    calibration: options.Calibration = None,
    scenario: options.ScenarioFile = None,
    out: options.Out = None,
    as_json: whatif_options.Json = False,
    as_csv: whatif_options.Csv = False,
) -> None:
    """Show which number matters: elasticities to data sheet, software and workload.

    Start with: simulate sensitivity --sku b300 --concurrency 64
    """
    from simulator.studies.sensitivity.run import build_sensitivity, run_sensitivity
    from simulator.studies.sensitivity.text import print_sensitivity

    flags: dict[str, Any] = {
        "sku": sku,
        "model": model,
        "engine": engine,
        "precision": precision,
        "tp": tp,
        "ep": ep,
        "dp_attention": dp_attention,
        "prefill": prefill,
        "decode": decode,
        "isl": isl,
        "osl": osl,
        "concurrency": concurrency,
        "interactivity": interactivity,
        "step": step,
        "replications": replications,
        "spec": spec,
        "acceptance_length": acceptance_length,
        "overrides": options.parse_overrides(set_fields),
        "seed": seed,
        "calibration": calibration,
    }
    whatif_options.check_output(as_json=as_json, as_csv=as_csv)
    request = build_sensitivity(flags=flags, file=scenario)
    give_answer(
        "sensitivity",
        names=request.settings.values["sku"],
        resolved=request.resolved,
        run=lambda on_progress: run_sensitivity(request, on_progress=on_progress),
        show=lambda result, directory: print_sensitivity(result, directory=directory),
        out=out,
        as_json=as_json,
        as_csv=as_csv,
    )
