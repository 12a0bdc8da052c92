"""``simulate search``: the best deployment and engine settings for a goal."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from simulator.cli import options, whatif_options
from simulator.cli.answers import give_answer


def _option(flag: str, metavar: str, text: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=text)


def search(
    sku: Annotated[
        str | None, _option("--sku", "LIST", "Chips or racks: gb200 or gb200,mi355x.")
    ] = None,
    goal: Annotated[
        str | None,
        _option("--goal", "NAME", "throughput (tok/s/GPU, default), cost ($/M tokens) or ttft."),
    ] = None,
    interactivity: Annotated[
        float | None,
        _option("--interactivity", "TOK/S", "Least speed of the median user, 1 / median TPOT."),
    ] = None,
    interactivity_p90: Annotated[
        float | None,
        _option("--interactivity-p90", "TOK/S", "Least speed of the slow tail, 1 / p90 TPOT."),
    ] = None,
    interactivity_p99: Annotated[
        float | None, _option("--interactivity-p99", "TOK/S", "The same, 1 / p99 TPOT.")
    ] = None,
    ttft_p50: Annotated[
        float | None, _option("--ttft-p50", "SECONDS", "Largest median time to first token.")
    ] = None,
    ttft_p90: Annotated[float | None, _option("--ttft-p90", "SECONDS", "Largest p90 TTFT.")] = None,
    ttft_p99: Annotated[float | None, _option("--ttft-p99", "SECONDS", "Largest p99 TTFT.")] = None,
    min_throughput: Annotated[
        float | None,
        _option("--min-throughput", "TOK/S/GPU", "Least throughput, all tokens, all GPUs."),
    ] = None,
    max_cost: Annotated[
        float | None, _option("--max-cost", "USD", "Largest cost of a million tokens.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        _option(
            "--vary",
            "NAME=LIST",
            "Values of an engine setting to try: max_num_batched_tokens=4096,8192. Repeatable. "
            "Default: how much a step may prefill, and whether it mixes with decode.",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        _option(
            "--margin",
            "SHARE",
            "Settings vary on deployments that come this near to the best; default 0.25.",
        ),
    ] = None,
    model: options.Model = None,
    engine: Annotated[
        str | None,
        _option("--engine", "LIST", "Serving engines; default: the one named for the SKU."),
    ] = None,
    precision: options.Precision = None,
    tp: whatif_options.Tps = None,
    ep: whatif_options.Eps = None,
    dp_attention: options.DpAttention = None,
    prefill: whatif_options.Prefill = None,
    decode: whatif_options.Decode = None,
    isl: options.Isl = None,
    osl: options.Osl = None,
    concurrency: options.Concurrency = None,
    spec: Annotated[
        str | None, _option("--spec", "LIST", "Speculation to try: none,mtp:1,mtp:2.")
    ] = None,
    acceptance_length: options.AcceptanceLength = None,
    set_fields: options.Set = None,
    economics: options.Economics = None,
    tier: Annotated[
        str | None,
        _option("--tier", "NAME", "Prices: hyperscaler (default), neocloud or rental."),
    ] = None,
    seed: options.Seed = None,
    calibration: options.Calibration = None,
    scenario: options.ScenarioFile = None,
    out: options.Out = None,
    as_json: whatif_options.Json = False,
    as_csv: whatif_options.Csv = False,
) -> None:
    """Find the best layout and engine settings for a goal, and the command that launches them.

    Start with: simulate search --sku mi355x --goal throughput --interactivity 30 --ttft-p90 5
    """
    from simulator.studies.search.request import build_search
    from simulator.studies.search.run import run_search
    from simulator.studies.search.text import print_search
    from simulator.studies.search.variants import parse_vary

    flags: dict[str, Any] = {
        "sku": whatif_options.listed(sku),
        "goal": goal,
        "interactivity": interactivity,
        "interactivity_p90": interactivity_p90,
        "interactivity_p99": interactivity_p99,
        "ttft_p50": ttft_p50,
        "ttft_p90": ttft_p90,
        "ttft_p99": ttft_p99,
        "min_throughput": min_throughput,
        "max_cost": max_cost,
        "vary": parse_vary(vary),
        "margin": margin,
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
        "concurrency": options.parse_concurrency(concurrency),
        "spec": whatif_options.listed(spec),
        "acceptance_length": acceptance_length,
        "overrides": options.parse_overrides(set_fields),
        "economics": economics,
        "tier": tier,
        "seed": seed,
        "calibration": calibration,
    }
    whatif_options.check_output(as_json=as_json, as_csv=as_csv)
    request = build_search(flags=flags, file=scenario)
    give_answer(
        "search",
        names=request.settings.values["sku"],
        resolved=request.resolved,
        run=lambda on_progress: run_search(request, on_progress=on_progress),
        show=lambda result, directory: print_search(result, directory=directory),
        out=out,
        as_json=as_json,
        as_csv=as_csv,
    )
