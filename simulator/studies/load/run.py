"""One deployment under a stated load: replications, confidence intervals, goodput and files."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.analysis.metrics import goodput, run_metrics, without_warm_up
from simulator.output.resolved_file import resolved_text
from simulator.prediction.assembly import assemble
from simulator.prediction.run import acceptance_of
from simulator.serving.chrome_trace import TraceWriter
from simulator.serving.client import ClosedLoop, OpenLoop
from simulator.serving.deployment import run_deployment
from simulator.serving.records import Records, RecordWriter
from simulator.serving.step_log import StepLog
from simulator.studies.closing_of_run import stands_in
from simulator.studies.load.deployment import configure_load, routed, routing_of
from simulator.studies.load.request import build_load
from simulator.studies.load.requests import load_requests
from simulator.studies.load.result import LoadRun, Replication, summary_json
from simulator.version import version
from workloads.errors import UserError
from workloads.speculation import draw_decode_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from simulator.output.run_directory import RunDirectory
    from simulator.scenario.configuration import RunConfiguration
    from simulator.serving.callbacks import StepRun
    from simulator.serving.deployment import Deployment
    from simulator.serving.kv_transfer import Transfer
    from simulator.studies.load.request import LoadRequest
    from workloads.requests.request import Request
    from workloads.speculation import Acceptance

    Progress = Callable[[int, int, str], None]


def run_load(
    *,
    scenario: Path | None = None,
    out: Path | None = None,
    trace: Path | None = None,
    trace_until_s: float = float("inf"),
    step_log: Path | None = None,
    on_progress: Progress | None = None,
    **settings: Any,
) -> LoadRun:
    """Serve a load on a deployment.

    Parameters
    ----------
    scenario:
        YAML file of settings.
    out:
        Directory for ``summary.json``, ``resolved.yaml``, ``load.png`` and the request records,
        which are written as requests finish; ``None``: no files.
    trace, trace_until_s:
        File for a trace of the first replication that ui.perfetto.dev opens, and where it
        ends. [s]
    step_log:
        Parquet file for the engine steps of the first replication.
    on_progress:
        Called with the replications done, all of them, and what runs.
    settings:
        Fields of `simulator.scenario.settings.Scenario` and
        `simulator.studies.load.request.LoadSettings`, such
        as ``sku="gb200", deployment="2xDEP8+1xDEP8", rate=2.0``; settings on top of the file.

    Raises
    ------
    UserError
        If a name is unknown, settings contradict each other, or a request can never be served.
    DoesNotFitError
        If the model does not fit, with the byte table.
    """
    from simulator.output.run_directory import RunDirectory

    asked = build_load(flags=settings, file=scenario)
    logs = LoadLogs(trace=trace, trace_until_s=trace_until_s, step_log=step_log)
    if out is None:
        return serve_load(asked, logs=logs, on_progress=on_progress)
    with RunDirectory(out) as directory:
        return serve_load(asked, directory=directory, logs=logs, on_progress=on_progress)


def serve_load(
    asked: LoadRequest,
    *,
    directory: RunDirectory | None = None,
    logs: LoadLogs | None = None,
    on_progress: Progress | None = None,
) -> LoadRun:
    """`run_load` on a validated load."""
    configuration, messages = configure_load(asked)
    assembly = assemble(configuration)
    routing, routing_note = routing_of(asked)
    deployment = routed(assembly.deployment, routing)
    acceptance = acceptance_of(configuration, software=assembly.software)
    count = asked.settings.replications
    replications: list[Replication] = []
    notes = dict.fromkeys(
        filter(
            None,
            (
                *messages,
                routing_note,
                *assembly.messages,
                *assembly.software.messages,
                *assembly.kv_messages,
                *stands_in(asked.scenario),
            ),
        )
    )
    for index in range(count):
        if on_progress is not None:
            on_progress(index, count, f"replication {index + 1}")
        records, note = _run(
            asked,
            deployment=deployment,
            acceptance=acceptance,
            turnaround_s=configuration.turnaround_s,
            index=index,
            records_file=None if directory is None else directory.stage(_records_name(index)),
            logs=logs if index == 0 else None,
        )
        replication, warm_up_note = _judge(asked, configuration, records)
        replications.append(replication)
        for text in filter(None, (note, warm_up_note)):
            notes[f"replication {index + 1}: {text}" if count > 1 else text] = None
    run = LoadRun(
        configuration=configuration,
        assembly=assembly,
        asked=asked,
        replications=tuple(replications),
        messages=tuple(notes),
    )
    if directory is not None:
        _write(directory, run)
    return run


@dataclass(frozen=True, kw_only=True)
class LoadLogs:
    """Files that follow the first replication step by step."""

    trace: Path | None = None
    trace_until_s: float = float("inf")
    step_log: Path | None = None


def _records_name(index: int) -> str:
    return "requests.parquet" if index == 0 else f"requests-{index + 1}.parquet"


def _run(
    asked: LoadRequest,
    *,
    deployment: Deployment,
    acceptance: Acceptance,
    turnaround_s: float,
    index: int,
    records_file: Path | None,
    logs: LoadLogs | None,
) -> tuple[Records, str]:
    """All records of one replication, written as they come, and what is odd about them."""
    seed = asked.scenario.seed
    # the first replication has the random numbers of the closed-loop curves
    root = np.random.default_rng(seed if index == 0 else [seed, index])
    lengths_rng, steps_rng, arrivals_rng = root.spawn(3)
    requests = load_requests(
        asked,
        rng=lengths_rng,
        arrivals_rng=arrivals_rng,
        decode_steps=lambda output_tokens: draw_decode_steps(
            rng=steps_rng, output_tokens=output_tokens, acceptance=acceptance
        ),
    )
    clients = asked.settings.concurrency
    busy: set[int] = set()
    if clients is not None:
        requests = _counting(requests, busy, most=clients)
    chunks: list[Records] = []
    with ExitStack() as files:
        sinks: list[Callable[[Records], None]] = [chunks.append]
        on_step: list[Callable[[StepRun], None]] = []
        on_transfer: Callable[[Transfer], None] | None = None
        if records_file is not None:
            writer = files.enter_context(
                RecordWriter(records_file, metadata={"version": version(), "seed": str(seed)})
            )
            sinks.append(writer.write)
        if logs is not None and logs.step_log is not None:
            on_step.append(files.enter_context(StepLog(_place(files, logs.step_log))).on_step)
        if logs is not None and logs.trace is not None:
            trace = files.enter_context(
                TraceWriter(
                    _place(files, logs.trace),
                    metadata={"version": version()},
                    until_s=logs.trace_until_s,
                )
            )
            sinks.append(trace.requests)
            on_step.append(trace.on_step)

            def on_transfer(one: Transfer) -> None:
                trace.transfer(**one._asdict())

        run_deployment(
            deployment=deployment,
            requests=requests,
            load=OpenLoop()
            if clients is None
            else ClosedLoop(concurrency=clients, turnaround_s=turnaround_s),
            on_step=_all_of(on_step) if on_step else None,
            on_transfer=on_transfer,
            sink=_all_of(sinks),
        )
    if not chunks:
        raise UserError("no request arrives; raise --rate, or run longer with --duration")
    note = ""
    if clients is not None and len(busy) < clients:
        note = (
            f"{clients - len(busy):,} of {clients:,} clients have nothing to send: {len(busy):,} "
            "conversations or single requests come; raise --requests"
        )
    return Records.concatenate(chunks), note


def _place(files: ExitStack, path: Path) -> Path:
    """Where a log is written until it is complete."""
    from simulator.output.text_file import staged

    return files.enter_context(staged(path))


def _counting(requests: Iterator[Request], found: set[int], *, most: int) -> Iterator[Request]:
    """The requests, with the conversations and single requests among them noted up to a number."""
    for request in requests:
        if len(found) < most:
            found.add(request.session if request.session >= 0 else -1 - request.index)
        yield request


def _all_of(calls: list[Callable[[Any], None]]) -> Callable[[Any], None]:
    """One call that makes several."""
    if len(calls) == 1:
        return calls[0]

    def call(value: Any) -> None:
        for one in calls:
            one(value)

    return call


def _judge(
    asked: LoadRequest, configuration: RunConfiguration, records: Records
) -> tuple[Replication, str]:
    """Metrics of a run, and why its warm-up could not be left out, if so."""
    judged, note = records, ""
    if asked.is_steady:
        try:
            judged = without_warm_up(records)
        except UserError as error:
            note = f"no steady state, all requests are judged: {error}"
    settings = asked.settings
    pools = configuration.pools
    objectives = {"ttft_slo_s": settings.ttft_slo, "tpot_slo_s": settings.tpot_slo}
    is_open, span_s = settings.concurrency is None, float(records.arrival_s.max())
    replication = Replication(
        records=records,
        metrics=run_metrics(
            judged,
            gpus=configuration.gpus,
            prefill_gpus=sum(p.gpus for p in pools if p.role != "decode"),
            decode_gpus=sum(p.gpus for p in pools if p.role != "prefill"),
            concurrency=settings.concurrency,
        ),
        goodput=goodput(judged, **objectives) if any(objectives.values()) else None,
        warm_up=len(records) - len(judged),
        offered_per_s=len(records) / span_s if is_open and span_s > 0 else None,
    )
    return replication, note


def _write(directory: RunDirectory, run: LoadRun) -> None:
    try:
        directory.stage("resolved.yaml").write_text(resolved_text(run.resolved), encoding="utf-8")
        run.plot(directory.stage("load.png"))
        directory.stage("summary.json").write_text(summary_json(run) + "\n", encoding="utf-8")
    except OSError as error:
        raise directory.unwritable(error) from None
