"""``simulate sweep``: every layout at every concurrency, over settings with several values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import options, whatif_options

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from simulator.scenario.grid import SweepSettings
    from simulator.studies.sweep.executors import Executor
    from simulator.studies.sweep.run import SweepResult


def _list_option(flag: str, text: str) -> Any:
    return typer.Option(flag, metavar="LIST", help=text)


def sweep(
    context: typer.Context,
    sku: Annotated[
        str | None, _list_option("--sku", "Chips or racks: gb200 or gb200,mi355x.")
    ] = None,
    model: Annotated[
        str | None, _list_option("--model", "Models; default deepseek-v4-pro.")
    ] = None,
    engine: Annotated[
        str | None,
        _list_option(
            "--engine",
            "Engines, optionally of dates: vllm,sglang@2026-05. dynamo-vllm and others with an "
            "orchestrator run prefill and decode pools.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        _list_option(
            "--precision",
            "Expert weights: fp4, fp8, int4, bf16; default: each model's usual checkpoint.",
        ),
    ] = None,
    tp: whatif_options.Tps = None,
    ep: whatif_options.Eps = None,
    gpus: Annotated[
        str | None, _list_option("--gpus", "Chips of one worker; default: all sizes that fit.")
    ] = None,
    dp_attention: options.DpAttention = None,
    prefill: whatif_options.Prefill = None,
    decode: whatif_options.Decode = None,
    prefill_tp: whatif_options.PrefillTp = None,
    prefill_ep: whatif_options.PrefillEp = None,
    prefill_dp_attention: whatif_options.PrefillDpAttention = None,
    isl: Annotated[str | None, _list_option("--isl", "Input lengths; default 8192.")] = None,
    osl: Annotated[str | None, _list_option("--osl", "Output lengths; default 1024.")] = None,
    concurrency: options.Concurrency = None,
    spec: Annotated[
        str | None, _list_option("--spec", "Speculation: none,mtp:2; default none.")
    ] = None,
    acceptance_length: Annotated[
        str | None,
        _list_option("--acceptance-length", "Tokens per step; default: the recipe's."),
    ] = None,
    set_fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=LIST",
            help="Values of a SKU field to try, in SI units: hbm_bytes_per_s=8e12,10e12. "
            "Repeatable.",
        ),
    ] = None,
    economics: Annotated[
        str | None, _list_option("--economics", "Dated cost and power files; default latest.")
    ] = None,
    seed: Annotated[str | None, _list_option("--seed", "Seeds; default 0.")] = None,
    ttft_p90: whatif_options.TtftP90 = None,
    calibration: options.Calibration = None,
    overlay: options.Overlay = None,
    scenario: options.ScenarioFile = None,
    workers: whatif_options.Workers = None,
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
    as_json: whatif_options.Json = False,
    as_csv: whatif_options.Csv = False,
) -> None:
    """Try every layout at every concurrency.

    Any setting may have several values.

    Runs are kept as they come: after an interruption the same command goes on where it stopped.
    Start with: simulate sweep --sku gb200 --prefill 1-4 --decode 1-4 --ep 4,8,16,32
    """
    from simulator.scenario.grid import build_sweep
    from simulator.studies.sweep.executors import cluster_executor

    whatif_options.check_output(as_json=as_json, as_csv=as_csv)
    flags: dict[str, Any] = {
        "sku": whatif_options.listed(sku),
        "model": whatif_options.listed(model),
        "engine": whatif_options.listed(engine),
        "precision": whatif_options.listed(precision),
        "tp": tp,
        "ep": ep,
        "gpus": gpus,
        "dp_attention": dp_attention,
        "prefill": prefill,
        "decode": decode,
        "prefill_tp": prefill_tp,
        "prefill_ep": prefill_ep,
        "prefill_dp_attention": prefill_dp_attention,
        "isl": isl,
        "osl": osl,
        "concurrency": options.parse_concurrency(concurrency),
        "spec": whatif_options.listed(spec),
        "acceptance_length": whatif_options.numbers(acceptance_length, flag="--acceptance-length"),
        "overrides": whatif_options.listed_overrides(set_fields),
        "economics": whatif_options.listed(economics),
        "seed": seed,
        "calibration": calibration,
    }
    settings = build_sweep(flags=flags, file=scenario)
    cluster = cluster_executor(executor=executor, address=address)
    own_runs = options.read_overlay(context, overlay)
    result, directory = _run(
        settings,
        ttft_p90_s=ttft_p90,
        workers=workers,
        executor=cluster,
        own_runs=own_runs,
        out=out,
    )
    if as_json:
        import json

        from simulator.studies.sweep.text import summary_of

        typer.echo(json.dumps(summary_of(result), indent=2, ensure_ascii=False))
    elif as_csv:
        from simulator.output.text_tables import csv_of

        typer.echo(csv_of(result.frame()), nl=False)
    else:
        from simulator.studies.sweep.text import print_sweep

        print_sweep(result, directory=directory)


def _run(
    settings: SweepSettings,
    *,
    ttft_p90_s: float | None,
    workers: int | None,
    executor: Executor | None,
    own_runs: pd.DataFrame | None,
    out: Path | None,
) -> tuple[SweepResult, Path]:
    from simulator.cli.kept_runs import kept_runs
    from simulator.output.run_files import default_directory, write_result
    from simulator.studies.overlay import labels_of_runs, overlay_points
    from simulator.studies.sweep.run import run_sweep
    from simulator.studies.sweep.text import summary_of
    from workloads.errors import UserError

    asked = settings.to_dict() | {"ttft_p90_s": ttft_p90_s}
    path = out or default_directory("sweep", settings.values["sku"], settings=asked)
    with kept_runs(path) as (directory, on_progress):
        result = run_sweep(
            settings,
            directory=path,
            workers=workers,
            executor=executor,
            ttft_p90_s=ttft_p90_s,
            on_progress=on_progress,
        )
        measured, notes = overlay_points(own_runs, curves=labels_of_runs(result.runs))
        write_result(
            directory,
            tables={"points": result.frame(), "refused": result.refused},
            resolved=result.resolved,
            summary=summary_of(result),
            pictures={}
            if result.runs.empty
            else {"frontier": partial(result.plot, measured=measured)},
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if result.runs.empty:
        reasons = "\n".join(result.refused["reason"].unique())
        raise UserError(f"nothing could run; see {path / 'refused.csv'}\n{reasons}")
    return result, path
