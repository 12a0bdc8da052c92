"""``simulate timeline``: one SKU over the dates of its software."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import options
from simulator.cli.agentx import check_no_limits, session_flags, sessions_only
from simulator.cli.flags import flag, lists_of, one_each, takes
from simulator.cli.parsing import numbers, parse_concurrency
from simulator.scenario.declared import HOST, POOLS, SCENARIO
from simulator.scenario.declared_limits import LIMITS
from simulator.studies.agentx.declared import AGENTX
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.analysis.objectives import Objectives


@takes(
    *one_each(SCENARIO, "sku", "model"),
    flag(
        SCENARIO["engine"],
        metavar="NAME",
        text="Serving engine, without a date: its dates follow; default: as best deployed today.",
    ),
    *one_each(SCENARIO, "precision"),
    *lists_of(SCENARIO, "tp", "ep"),
    *one_each(SCENARIO, "gpus", "dp_attention"),
    *lists_of(POOLS, "prefill", "decode"),
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
    *one_each(POOLS, "disaggregated"),
    *one_each(LIMITS, *LIMITS),
    *one_each(AGENTX, "trees", "kv_offload", "protocol"),
    command="timeline",
)
def timeline(
    *,
    given: dict[str, Any],
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="LIST", help="Speeds per user to follow, in tok/s; default 20,50."
        ),
    ] = None,
    clients: Annotated[
        str | None,
        typer.Option(
            "--clients",
            metavar="LIST",
            help="Closed-loop clients to follow, on the best layout; default 64.",
        ),
    ] = None,
    no_ttft_limit: options.NoTtftLimit = False,
    scenario: options.ScenarioFile = None,
    workers: options.Workers = None,
    every: options.All = False,
    out: options.Out = None,
    as_json: options.Json = False,
    json_lines: options.JsonLines = False,
    as_csv: options.Csv = False,
) -> None:
    """Follow one SKU over its software dates.

    What updates alone have been worth.

    Start with: simulate timeline --sku mi355x --engine sglang --gpus 8; for coding agents
    simulate timeline --sku b200 --engine vllm --workload agentx
    """
    as_json = as_json or json_lines
    options.check_output(as_json=as_json, as_csv=as_csv)
    trees = session_flags(given)
    if trees is not None:
        check_no_limits(given)
        stated = {
            "--disaggregated or --aggregated": given.pop("disaggregated") is not None,
            "--clients": clients,
            "--no-ttft-limit": no_ttft_limit or None,
            "--workers": workers,
            "--all": every or None,
        }
        speeds = None if at is None else numbers(at, flag="--at")
        _follow_agents(
            {**sessions_only(given, stated), **trees, "at": speeds},
            scenario=scenario,
            out=out,
            output=(as_json, as_csv),
        )
        return
    if given["sku"] is None and scenario is None:
        raise UserError("no SKU is given; name one with --sku, as in --sku mi355x")
    limits = options.frontier_limits(given, no_limit=no_ttft_limit, scenario=scenario)
    speeds = None if at is None else numbers(at, flag="--at") or []
    counts = None if clients is None else list(parse_concurrency(clients) or ())
    _run(
        flags=given,
        file=scenario,
        question={"at": speeds, "clients": counts},
        limits=limits,
        workers=workers,
        every=every,
        out=out,
        output=(as_json, as_csv),
    )


def _follow_agents(
    flags: dict[str, Any], *, scenario: Path | None, out: Path | None, output: tuple[bool, bool]
) -> None:
    from simulator.cli.answers import give_answer
    from simulator.studies.agentx.asked import ask_of_agents
    from simulator.studies.agentx.dates import run_dates
    from simulator.studies.agentx.dates_text import print_dates

    asked = ask_of_agents(flags, own={"at": None}, file=scenario)
    give_answer(
        "timeline",
        names=[asked.replay.systems[0].name],
        resolved=asked.resolved,
        run=lambda on_progress, kept: run_dates(asked, on_progress=on_progress, kept=kept),
        show=lambda result, directory: print_dates(result, directory=directory),
        out=out,
        as_json=output[0],
        as_csv=output[1],
    )


def _run(
    *,
    flags: dict[str, Any],
    file: Path | None,
    question: dict[str, Any],
    limits: Objectives | None,
    workers: int | None,
    every: bool,
    out: Path | None,
    output: tuple[bool, bool],
) -> None:
    from simulator.cli.kept_runs import kept_runs
    from simulator.output.run_files import default_directory, write_result
    from simulator.scenario.grid import build_sweep
    from simulator.studies.timeline.run import run_timeline, swept_file
    from simulator.studies.timeline.text import print_timeline, summary_of

    settings = build_sweep(flags=flags, file=swept_file(file))
    names = [*settings.values["sku"], *filter(None, settings.values["engine"])]
    asked = settings.to_dict() | question | {"limits": str(limits)}
    path = out or default_directory("timeline", names, settings=asked)
    with kept_runs(path) as (directory, on_progress):
        result = run_timeline(
            flags=flags,
            file=file,
            directory=path,
            workers=workers,
            every=every,
            on_progress=on_progress,
            limits=limits,
            **question,
        )
        write_result(
            directory,
            tables={
                "timeline": result.frame(),
                "points": result.swept.frame(),
                "refused": result.swept.refused,
            },
            resolved=result.resolved,
            summary=summary_of(result),
            pictures={"timeline": result.plot},
        )
    as_json, as_csv = output
    if as_json:
        from simulator.cli.progress import print_json

        print_json(summary_of(result))
    elif as_csv:
        from simulator.output.text_tables import csv_of

        typer.echo(csv_of(result.frame()), nl=False)
    else:
        print_timeline(result, directory=path)
