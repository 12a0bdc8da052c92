"""One deployment under a stated load: replications, confidence intervals, goodput and files."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodels.sku import load_sku
from simulator.assembly import assemble
from simulator.client import ClosedLoop, OpenLoop
from simulator.configuration import deployment_label
from simulator.deployment import run_deployment
from simulator.load_deployment import configure_load, routed
from simulator.load_requests import load_requests
from simulator.load_settings import build_load
from simulator.metrics import Goodput, goodput, run_metrics, without_warm_up
from simulator.records import Records, RecordWriter
from simulator.run import acceptance_of
from simulator.statistics import Interval, mean_interval
from simulator.steplog import StepLog
from simulator.tracefile import TraceWriter
from simulator.version import version
from workloads.errors import UserError
from workloads.speculation import draw_decode_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pandas as pd

    from simulator.assembly import Assembly
    from simulator.configuration import RunConfiguration
    from simulator.deployment import Deployment
    from simulator.engine import StepRun
    from simulator.load_settings import LoadRequest
    from simulator.metrics import RunMetrics
    from simulator.rundir import RunDirectory
    from simulator.transfer import Transfer
    from workloads.requests import Request
    from workloads.speculation import Acceptance

    Progress = Callable[[int, int, str], None]

CONFIDENCE = 0.95
"""Of the intervals over replications. [-]"""


@dataclass(frozen=True, kw_only=True)
class Replication:
    """One run of a load.

    Parameters
    ----------
    records:
        All requests in the order of their last tokens.
    metrics, goodput:
        Of the judged requests; no goodput where no objective is given.
    warm_up:
        Requests that MSER-5 left out before judging. [requests]
    offered_per_s:
        Requests sent per second up to the last arrival; ``None`` in a closed loop. [1/s]
    """

    records: Records
    metrics: RunMetrics
    goodput: Goodput | None
    warm_up: int
    offered_per_s: float | None

    def to_dict(self) -> dict[str, float | int | None]:
        """All figures in one flat mapping, such as ``mean_ttft_s`` and ``goodput_joint_share``."""
        row: dict[str, float | int | None] = {
            "warm_up_requests": self.warm_up,
            "offered_requests_per_s": self.offered_per_s,
            **self.metrics.to_dict(),
        }
        if self.goodput is not None:
            row |= {f"goodput_{name}": value for name, value in asdict(self.goodput).items()}
        return row


@dataclass(frozen=True, kw_only=True)
class LoadRun:
    """What a deployment does under a load.

    Parameters
    ----------
    configuration, assembly:
        The deployment and what it was made of.
    asked:
        The load.
    replications:
        Its runs.
    messages:
        What was assumed.
    """

    configuration: RunConfiguration
    assembly: Assembly
    asked: LoadRequest
    replications: tuple[Replication, ...]
    messages: tuple[str, ...]

    @property
    def label(self) -> str:
        """InferenceX's label of the deployment."""
        return deployment_label(self.configuration.pools)

    @property
    def kind(self) -> str:
        """Kind of prediction, by what is known of the software level."""
        return self.assembly.software.kind

    @property
    def metrics(self) -> RunMetrics:
        """Metrics of the first replication."""
        return self.replications[0].metrics

    @property
    def goodput(self) -> Goodput | None:
        """Goodput of the first replication."""
        return self.replications[0].goodput

    @property
    def resolved(self) -> Mapping[str, Mapping[str, Any]]:
        """Every setting with its value and where it came from."""
        origin = {"origin": "resolved"}
        return {
            **self.asked.resolved,
            "deployment_label": {"value": self.label, **origin},
            "software_level": {"value": self.assembly.software.name, **origin},
            "workload_text": {"value": self.asked.workload_text, **origin},
            "arrivals_text": {"value": self.asked.arrivals_text, **origin},
            "expert_load_text": {"value": self.asked.expert_load_text, **origin},
            "server_settings": {
                "value": {
                    pool.role: pool.settings.model_dump() for pool in self.configuration.pools
                },
                **origin,
            },
        }

    def frame(self) -> pd.DataFrame:
        """One row of figures for each replication."""
        import pandas as pd

        rows = [{"replication": n, **one.to_dict()} for n, one in enumerate(self.replications)]
        return pd.DataFrame(rows)

    @property
    def intervals(self) -> dict[str, Interval]:
        """95 % intervals over the replications of every figure that all of them have.

        Empty where there is one replication.
        """
        rows = [one.to_dict() for one in self.replications]
        if len(rows) < 2:
            return {}
        found: dict[str, Interval] = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            if all(value is not None and np.isfinite(value) for value in values):
                found[name] = mean_interval(np.array(values, dtype=float), confidence=CONFIDENCE)
        return found

    def summary(self) -> dict[str, Any]:
        """All of it as JSON objects."""
        return {
            "generator": f"forecurve {version()}",
            "simulated": True,
            "deployment": self.label,
            "gpus": self.configuration.gpus,
            "software_level": self.assembly.software.name,
            "kind": self.kind,
            "workload": self.asked.workload_text,
            "arrivals": self.asked.arrivals_text,
            "expert_load": self.asked.expert_load_text,
            "replications": [_finite(one.to_dict()) for one in self.replications],
            "confidence": CONFIDENCE,
            "intervals": {
                name: {"mean": one.mean, "low": one.low, "high": one.high}
                for name, one in self.intervals.items()
            },
            "messages": list(self.messages),
            "settings": self.resolved,
        }


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
        Directory for ``summary.json``, ``resolved.yaml`` and the request records, which are
        written as requests finish; ``None``: no files.
    trace, trace_until_s:
        File for a trace of the first replication that ui.perfetto.dev opens, and where it
        ends. [s]
    step_log:
        Parquet file for the engine steps of the first replication.
    on_progress:
        Called with the replications done, all of them, and what runs.
    settings:
        Fields of `simulator.scenario.Scenario` and `simulator.load_settings.LoadSettings`, such
        as ``sku="gb200", deployment="2xDEP8+1xDEP8", rate=2.0``; settings on top of the file.

    Raises
    ------
    UserError
        If a name is unknown, settings contradict each other, or a request can never be served.
    DoesNotFitError
        If the model does not fit, with the byte table.
    """
    from simulator.rundir import RunDirectory

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
    sku = load_sku(asked.scenario.sku)
    configuration, messages = configure_load(asked, sku=sku)
    assembly = assemble(configuration)
    deployment = routed(assembly.deployment, asked.settings.routing)
    acceptance = acceptance_of(configuration, software=assembly.software)
    count = asked.settings.replications
    replications: list[Replication] = []
    notes = dict.fromkeys((*messages, *assembly.software.messages))
    for index in range(count):
        if on_progress is not None:
            on_progress(index, count, f"replication {index + 1}")
        records, note = _run(
            asked,
            deployment=deployment,
            acceptance=acceptance,
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
            on_step.append(files.enter_context(StepLog(logs.step_log)).on_step)
        if logs is not None and logs.trace is not None:
            trace = files.enter_context(
                TraceWriter(logs.trace, metadata={"version": version()}, until_s=logs.trace_until_s)
            )
            sinks.append(trace.requests)
            on_step.append(trace.on_step)

            def on_transfer(one: Transfer) -> None:
                trace.transfer(**one._asdict())

        run_deployment(
            deployment=deployment,
            requests=requests,
            load=OpenLoop() if clients is None else ClosedLoop(concurrency=clients),
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
    import yaml

    try:
        resolved = json.loads(json.dumps({"version": version(), **run.resolved}, default=str))
        directory.stage("resolved.yaml").write_text(
            yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), encoding="utf-8"
        )
        directory.stage("summary.json").write_text(summary_json(run) + "\n", encoding="utf-8")
    except OSError as error:
        raise directory.unwritable(error) from None


def summary_json(run: LoadRun) -> str:
    """`LoadRun.summary` as text."""
    return json.dumps(run.summary(), indent=2, ensure_ascii=False, default=str)


def _finite(row: dict[str, float | int | None]) -> dict[str, float | int | None]:
    return {
        name: value if value is None or np.isfinite(value) else None for name, value in row.items()
    }
