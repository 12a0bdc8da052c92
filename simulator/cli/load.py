"""``simulate load``: one deployment under a stated load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from simulator.cli import options
from workloads.errors import UserError


def _option(flag: str, metavar: str, text: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=text)


def load(
    sku: options.Sku = None,
    model: options.Model = None,
    engine: options.Engine = None,
    precision: options.Precision = None,
    tp: Annotated[
        int | None, _option("--tp", "N", "Tensor parallel degree; default: the recipe's.")
    ] = None,
    ep: Annotated[
        int | None, _option("--ep", "N", "Expert parallel degree; default: the recipe's.")
    ] = None,
    gpus: options.Gpus = None,
    dp_attention: Annotated[
        bool | None,
        typer.Option(
            "--dp-attention/--no-dp-attention",
            help="Attention data parallelism; default: the recipe's.",
        ),
    ] = None,
    deployment: Annotated[
        str | None,
        _option("--deployment", "LABEL", "All pools at once: TP8, 2xDEP8, 2xDEP8+1xDEP8."),
    ] = None,
    prefill_workers: Annotated[
        int | None,
        _option(
            "--prefill-workers",
            "N",
            "Disaggregated: prefill workers, of the recipe's layout. --tp, --ep and "
            "--dp-attention are a decode worker's.",
        ),
    ] = None,
    decode_workers: Annotated[
        int | None, _option("--decode-workers", "N", "Disaggregated: decode workers.")
    ] = None,
    replicas: Annotated[
        int | None, _option("--replicas", "N", "Copies of the deployment; default 1.")
    ] = None,
    routing: Annotated[
        str | None,
        _option(
            "--routing",
            "NAME",
            "Requests over workers: round-robin (default), least-loaded or kv-aware.",
        ),
    ] = None,
    tuned_for: Annotated[
        int | None,
        _option(
            "--tuned-for",
            "N",
            "Requests in flight of a replica for which its server settings are the recipe's; "
            "default: its clients, 512 in an open loop.",
        ),
    ] = None,
    workload: Annotated[
        str | None,
        _option(
            "--workload",
            "NAME|FILE",
            "8k1k, 1k1k, 1k8k, agentic, or a trace: Mooncake, Azure, BurstGPT, vLLM, AIPerf ...",
        ),
    ] = None,
    on_error: Annotated[
        str | None, _option("--on-error", "NAME", "Bad rows of a trace: raise (default) or skip.")
    ] = None,
    block_tokens: Annotated[
        int | None,
        _option("--block-tokens", "TOKENS", "Of hashed prompt blocks; default: the format's."),
    ] = None,
    output_tokens: Annotated[
        int | None, _option("--output-tokens", "TOKENS", "Output of rows that state none.")
    ] = None,
    characters_per_token: Annotated[
        float | None, _option("--characters-per-token", "N", "For traces that hold text.")
    ] = None,
    isl: options.Isl = None,
    osl: options.Osl = None,
    concurrency: Annotated[
        int | None, _option("--concurrency", "N", "Closed loop: clients.")
    ] = None,
    rate: Annotated[
        float | None,
        _option(
            "--rate",
            "REQ/S",
            "Open loop: mean arrivals of requests, of conversations where there are some. "
            "A trace is played faster or slower.",
        ),
    ] = None,
    arrivals: Annotated[
        str | None,
        _option(
            "--arrivals",
            "NAME",
            "poisson, gamma, sinusoidal, steps, deterministic or trace; "
            "default: what the other flags ask for.",
        ),
    ] = None,
    burstiness: Annotated[
        float | None,
        _option(
            "--burstiness",
            "SHAPE",
            "Shape of gamma gaps as in vllm bench serve; 1 is Poisson, less is burstier.",
        ),
    ] = None,
    cv: Annotated[
        float | None,
        _option("--cv", "CV", "Their coefficient of variation, 1/sqrt(SHAPE), in its place."),
    ] = None,
    peak: Annotated[
        float | None,
        _option("--peak", "RATIO", "Sinusoidal: highest over mean rate, up to 2."),
    ] = None,
    period: Annotated[
        float | None, _option("--period", "SECONDS", "Sinusoidal: length of a cycle.")
    ] = None,
    steps: Annotated[
        str | None, _option("--steps", "LIST", "Windows of one rate, SECONDS:REQ/S: 60:2,120:8.")
    ] = None,
    requests: Annotated[
        int | None,
        _option(
            "--requests",
            "N",
            "Requests of a replication; default: 10 per client, 2,000 in an open loop, one "
            "cycle, all windows, or the whole trace.",
        ),
    ] = None,
    duration: Annotated[
        float | None, _option("--duration", "SECONDS", "Open loop: time in which requests arrive.")
    ] = None,
    replications: Annotated[
        int | None,
        _option("--replications", "N", "Independent runs, for 95 % intervals; default 1."),
    ] = None,
    ttft_slo: Annotated[
        float | None, _option("--ttft-slo", "SECONDS", "Goodput: largest time to first token.")
    ] = None,
    tpot_slo: Annotated[
        float | None, _option("--tpot-slo", "SECONDS", "Goodput: largest time per output token.")
    ] = None,
    expert_load: Annotated[
        str | None,
        _option(
            "--expert-load",
            "NAME",
            "Tokens over experts: uniform, balanced or power-law[:1.01]; default: power-law for "
            "traces and conversations, uniform for the random tokens of fixed lengths.",
        ),
    ] = None,
    redundant_experts: Annotated[
        int | None, _option("--redundant-experts", "N", "Copies of hot experts (EPLB); default 0.")
    ] = None,
    spec: options.Spec = None,
    acceptance_length: options.AcceptanceLength = None,
    set_fields: options.Set = None,
    seed: options.Seed = None,
    calibration: options.Calibration = None,
    scenario: options.ScenarioFile = None,
    trace: Annotated[
        Path | None,
        _option("--trace", "FILE", "Write a trace of the run that ui.perfetto.dev opens."),
    ] = None,
    trace_until: Annotated[
        float | None, _option("--trace-until", "SECONDS", "End of that trace; default: the run's.")
    ] = None,
    step_log: Annotated[
        Path | None, _option("--step-log", "FILE", "Write every engine step as Parquet.")
    ] = None,
    out: options.Out = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON instead of tables.")
    ] = False,
) -> None:
    """Serve a stated load on one deployment: latencies, goodput, queues, a trace to look at.

    Start with: simulate load --sku mi355x --rate 0.5 --ttft-slo 5 --tpot-slo 0.05
    """
    flags: dict[str, Any] = {
        "sku": sku,
        "model": model,
        "engine": engine,
        "precision": precision,
        "tp": tp,
        "ep": ep,
        "gpus": gpus,
        "dp_attention": dp_attention,
        "deployment": deployment,
        "prefill_workers": prefill_workers,
        "decode_workers": decode_workers,
        "replicas": replicas,
        "routing": None if routing is None else routing.replace("-", "_"),
        "tuned_for": tuned_for,
        "workload": workload,
        "on_error": on_error,
        "block_tokens": block_tokens,
        "output_tokens": output_tokens,
        "characters_per_token": characters_per_token,
        "isl": isl,
        "osl": osl,
        "concurrency": concurrency,
        "rate": rate,
        "arrivals": arrivals,
        "burstiness": burstiness,
        "cv": cv,
        "peak": peak,
        "period": period,
        "steps": parse_steps(steps),
        "requests": requests,
        "duration": duration,
        "replications": replications,
        "ttft_slo": ttft_slo,
        "tpot_slo": tpot_slo,
        "expert_load": expert_load,
        "redundant_experts": redundant_experts,
        "spec": spec,
        "acceptance_length": acceptance_length,
        "overrides": options.parse_overrides(set_fields),
        "seed": seed,
        "calibration": calibration,
    }
    if sku is None and scenario is None:
        raise UserError("no SKU is given; name one with --sku, as in --sku mi355x")
    if trace_until is not None and not trace_until > 0:
        raise UserError(f"trace_until is {trace_until}; it must be positive [s]")
    if trace_until is not None and trace is None:
        raise UserError("trace_until ends a trace, and none is written; add --trace FILE")
    _serve(
        flags,
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


def parse_steps(text: str | None) -> tuple[tuple[float, float], ...] | None:
    """Windows from ``60:2,120:8``, seconds and requests per second.

    Raises
    ------
    UserError
        If a part is not such a pair.
    """
    if text is None:
        return None
    windows: list[tuple[float, float]] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([\d.eE+]+):([\d.eE+]+)\s*", part)
        try:
            if match is None:
                raise ValueError
            windows.append((float(match[1]), float(match[2])))
        except ValueError:
            raise UserError(
                f"steps '{part.strip()}' is not SECONDS:REQ/S; write --steps 60:2,120:8"
            ) from None
    return tuple(windows)
