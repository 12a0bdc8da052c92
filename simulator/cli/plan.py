"""``simulate plan``: which hardware, and how much of it, for a promise to users."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from simulator.cli import options, whatif_options
from simulator.cli.answers import give_answer


def _number(flag: str, metavar: str, text: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=text)


def plan(
    interactivity: Annotated[
        float | None,
        _number("--interactivity", "TOK/S", "Speed of the median user, 1 / median TPOT."),
    ] = None,
    interactivity_p90: Annotated[
        float | None,
        _number("--interactivity-p90", "TOK/S", "Speed of the slow tail, 1 / p90 TPOT."),
    ] = None,
    interactivity_p99: Annotated[
        float | None, _number("--interactivity-p99", "TOK/S", "The same, 1 / p99 TPOT.")
    ] = None,
    ttft_p50: Annotated[
        float | None, _number("--ttft-p50", "SECONDS", "Largest median time to first token.")
    ] = None,
    ttft_p90: Annotated[
        float | None,
        _number("--ttft-p90", "SECONDS", "Largest p90 TTFT; 10 where no TTFT is given."),
    ] = None,
    ttft_p99: Annotated[float | None, _number("--ttft-p99", "SECONDS", "Largest p99 TTFT.")] = None,
    goodput: Annotated[
        float | None,
        _number("--goodput", "SHARE", "Requests that must meet speed and TTFT at once: 0.95."),
    ] = None,
    rate: Annotated[
        float | None, _number("--rate", "REQ/S", "Demand: mean requests per second.")
    ] = None,
    users: Annotated[
        float | None, _number("--users", "N", "Demand: users at a time, see --think.")
    ] = None,
    think: Annotated[
        float | None, _number("--think", "SECONDS", "Pause of a user between requests; default 0.")
    ] = None,
    mw: Annotated[float | None, _number("--mw", "MW", "Budget: power at the meter.")] = None,
    gpus: Annotated[int | None, _number("--gpus", "N", "Budget: chips of the whole fleet.")] = None,
    max_cost: Annotated[
        float | None,
        _number(
            "--max-cost",
            "USD",
            "Per million tokens, prompts included. Alone: the fastest service within the price.",
        ),
    ] = None,
    skus: Annotated[
        str | None,
        _number("--skus", "LIST", "Chips or racks; default: shipping ones that have a price."),
    ] = None,
    model: options.Model = None,
    engine: Annotated[
        str | None,
        _number(
            "--engine",
            "LIST",
            "Serving engines: vllm,dynamo-vllm@2026-07. Default: the one named for the SKU, and "
            "its orchestrators that have recipes there.",
        ),
    ] = None,
    precision: options.Precision = None,
    tp: whatif_options.Tps = None,
    ep: whatif_options.Eps = None,
    dp_attention: options.DpAttention = None,
    prefill: whatif_options.Prefill = None,
    decode: whatif_options.Decode = None,
    isl: options.Isl = None,
    osl: options.Osl = None,
    spec: Annotated[
        str | None, _number("--spec", "LIST", "Speculation: none,mtp:2; default none.")
    ] = None,
    acceptance_length: options.AcceptanceLength = None,
    set_fields: options.Set = None,
    burstiness: Annotated[
        float | None,
        _number(
            "--burstiness",
            "SHAPE",
            "Shape of gamma gaps of the fleet's arrivals; 1 is Poisson, less is burstier.",
        ),
    ] = None,
    peak: Annotated[
        float | None,
        _number("--peak", "RATIO", "Highest over mean rate of a sinusoidal cycle, up to 2."),
    ] = None,
    period: Annotated[
        float | None, _number("--period", "SECONDS", "Length of the cycle; default a day.")
    ] = None,
    workload: Annotated[
        str | None,
        _number("--workload", "FILE", "Trace whose arrivals and lengths are used, or 8k1k ..."),
    ] = None,
    economics: options.Economics = None,
    tier: Annotated[
        str | None,
        _number("--tier", "NAME", "Prices: hyperscaler (default), neocloud or rental."),
    ] = None,
    whole: Annotated[
        str | None,
        _number("--whole", "NAME", "Buy whole racks (default, where sold so) or nodes."),
    ] = None,
    spare: Annotated[
        bool | None, typer.Option("--spare/--no-spare", help="N+1: one node may be down.")
    ] = None,
    layouts: Annotated[
        int | None, _number("--layouts", "N", "Deployments per SKU to load test; default 3.")
    ] = None,
    replications: Annotated[
        int | None, _number("--replications", "N", "Independent runs of a test; default 5.")
    ] = None,
    seed: options.Seed = None,
    calibration: options.Calibration = None,
    scenario: options.ScenarioFile = None,
    out: options.Out = None,
    as_json: whatif_options.Json = False,
    as_csv: whatif_options.Csv = False,
) -> None:
    """Rank hardware for a promise to users, judged with queues and not on averages.

    Start with: simulate plan --interactivity 50 --ttft-p90 5 --rate 40
    """
    from simulator.studies.plan.request import build_plan
    from simulator.studies.plan.run import run_plan
    from simulator.studies.plan.text import print_plan

    flags: dict[str, Any] = {
        "interactivity": interactivity,
        "interactivity_p90": interactivity_p90,
        "interactivity_p99": interactivity_p99,
        "ttft_p50": ttft_p50,
        "ttft_p90": ttft_p90,
        "ttft_p99": ttft_p99,
        "goodput": goodput,
        "rate": rate,
        "users": users,
        "think": think,
        "mw": mw,
        "fleet_gpus": gpus,
        "max_cost": max_cost,
        "sku": whatif_options.listed(skus),
        "model": model,
        "engine": whatif_options.listed(engine),
        "precision": precision,
        "tp": tp,
        "ep": ep,
        "dp_attention": dp_attention,
        "prefill": prefill,
        "decode": decode,
        "isl": isl,
        "osl": osl,
        "spec": whatif_options.listed(spec),
        "acceptance_length": acceptance_length,
        "overrides": options.parse_overrides(set_fields),
        "burstiness": burstiness,
        "peak": peak,
        "period": period,
        "workload": workload,
        "economics": economics,
        "tier": tier,
        "whole": whole,
        "spare": spare,
        "layouts": layouts,
        "replications": replications,
        "seed": seed,
        "calibration": calibration,
    }
    whatif_options.check_output(as_json=as_json, as_csv=as_csv)
    request = build_plan(flags=flags, file=scenario)
    give_answer(
        "plan",
        names=[],
        resolved=request.resolved,
        run=lambda on_progress: run_plan(request, on_progress=on_progress),
        show=lambda result, directory: print_plan(result, directory=directory),
        out=out,
        as_json=as_json,
        as_csv=as_csv,
    )
