"""Results of AIPerf: ``profile_export_aiperf.json`` and the records in ``profile_export.jsonl``.

As AIPerf 0.13 writes them (pypi.org/project/aiperf, ``aiperf/common/models/export_models.py`` and
``record_models.py``). Every metric carries its unit, and the unit decides. AIPerf's inter-token
latency is the time of a request after its first token over its further tokens: a TPOT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.importers.client_json import date_of
from calibration.importers.results import RunRecord, model_named, set_mean_lengths

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from calibration.importers.results import BenchmarkResult

SECONDS_OF_UNIT = {
    **dict.fromkeys(("ns", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "milliseconds"), 1e-3),
    **dict.fromkeys(("sec", "s", "seconds"), 1.0),
}
_LATENCIES = {"ttft": "time_to_first_token", "tpot": "inter_token_latency"}
_STATISTICS = {"mean": "avg", "median": "p50", "p99": "p99"}
_RATE_UNITS = ("tokens/sec", "tokens/s")
_ACCEPTANCE = ("spec_decode_token_weighted_acceptance_length", "spec_decode_acceptance_length")
_OPEN_LOOP = ": an open loop has no concurrency to compare at; run it with --concurrency C"
EQUAL_LENGTHS_STD = 0.5
"""Standard deviation of lengths below which they count as one length. [tokens]"""


def is_aiperf_summary(data: dict[str, Any]) -> bool:
    """Whether a JSON object is an AIPerf summary."""
    return isinstance(data.get("time_to_first_token"), dict) and "request_throughput" in data


def is_aiperf_record(data: dict[str, Any]) -> bool:
    """Whether a JSON object is one line of AIPerf's per-request records."""
    return isinstance(data.get("metrics"), dict) and isinstance(data.get("metadata"), dict)


def read_aiperf_summary(result: BenchmarkResult) -> RunRecord:
    """The run of an AIPerf summary.

    Raises
    ------
    UserError
        If the run was cancelled or cut short, arrived at a rate, or carries an unknown unit.
    """
    if result.data.get("was_cancelled") or result.data.get("is_complete") is False:
        raise result.error("was_cancelled", "or is_complete says that the run did not finish")
    config = result.part("input_config")
    lengths = [result.part(f"{name}_sequence_length") for name in ("input", "output")]
    isl, osl = (metric.required("avg") for metric in lengths)
    throughput = result.part("output_token_throughput")
    _check_unit(throughput, known=_RATE_UNITS)
    output = throughput.required("avg")
    record = RunRecord(
        fields={
            "model": model_named(*_model_labels(config)),
            "concurrency": _concurrency(config),
            "date": date_of(result.data.get("start_time")),
            "kind": "single",
        },
        total_tok_per_s=output * (1 + isl / osl),
        output_tok_per_s=output,
        input_tok_per_s=output * isl / osl,
        hints={"concurrency": "input_config names no concurrency"},
    )
    for latency, tag in _LATENCIES.items():
        metric = result.part(tag)
        scale = _seconds(metric) if metric.data else 1.0
        for name, statistic in _STATISTICS.items():
            record.fields[f"{name}_{latency}_s"] = metric.number(statistic, scale=scale)
    drawn = any((metric.number("std") or 0.0) > EQUAL_LENGTHS_STD for metric in lengths)
    set_mean_lengths(record, isl=isl, osl=osl, drawn=drawn)
    acceptance = (result.part(tag).number("avg") for tag in _ACCEPTANCE)
    record.fields["acceptance_length"] = next(
        (length for length in acceptance if length is not None), None
    )
    return record


def read_aiperf_records(records: Sequence[BenchmarkResult]) -> RunRecord:
    """The run of all records of a ``profile_export.jsonl``; warm-up is left out.

    Rates are over the time from the first request sent to the last one finished. The concurrency
    is not in the file.

    Raises
    ------
    UserError
        If no request of the profile succeeded, or a record is incomplete.
    """
    import numpy as np

    profiled = [
        each for each in records if each.part("metadata").data.get("benchmark_phase") != "warmup"
    ]
    good = [
        each
        for each in profiled
        if each.data.get("error") is None and not each.part("metadata").data.get("was_cancelled")
    ]
    if not good:
        raise records[0].error("metrics", "of no profiled request are those of a success")
    start_s = min(each.part("metadata").required("request_start_ns") for each in good) * 1e-9
    end_s = max(each.part("metadata").required("request_end_ns") for each in good) * 1e-9
    if end_s <= start_s:
        raise good[0].error("request_end_ns", "of the last request is not after the first start")
    isl, osl = (
        [each.part("metrics").part(f"{name}_sequence_length").required("value") for each in good]
        for name in ("input", "output")
    )
    record = RunRecord(
        fields={"kind": "single"},
        total_tok_per_s=(sum(isl) + sum(osl)) / (end_s - start_s),
        output_tok_per_s=sum(osl) / (end_s - start_s),
        input_tok_per_s=sum(isl) / (end_s - start_s),
        hints={"concurrency": "the records do not say how many clients there were"},
    )
    for latency, tag in _LATENCIES.items():
        metrics = [each.part("metrics").part(tag) for each in good]
        # An answer of one token has no inter-token latency.
        values = [each.required("value") * _seconds(each) for each in metrics if each.data]
        if values:
            mean, median, p99 = np.mean(values), *np.percentile(values, (50, 99))
            for name, value in (("mean", mean), ("median", median), ("p99", p99)):
                record.fields[f"{name}_{latency}_s"] = float(value)
    drawn = any(max(values) > min(values) for values in (isl, osl))
    set_mean_lengths(record, isl=sum(isl) / len(isl), osl=sum(osl) / len(osl), drawn=drawn)
    if len(good) < len(profiled):
        record.notes.append(f"failed requests left out: {len(profiled) - len(good)}")
    return record


def _check_unit(metric: BenchmarkResult, *, known: Iterable[str]) -> str:
    unit = str(metric.data.get("unit"))
    if unit not in known:
        raise metric.error("unit", f"is '{unit}'; known: {', '.join(known)}")
    return unit


def _seconds(metric: BenchmarkResult) -> float:
    """Seconds of one unit of a latency."""
    return SECONDS_OF_UNIT[_check_unit(metric, known=SECONDS_OF_UNIT)]


def _model_labels(config: BenchmarkResult) -> list[object]:
    """What a configuration calls its model, in its newer and older forms."""
    models, endpoint = config.data.get("models"), config.data.get("endpoint")
    labels: list[object] = [config.data.get("model")]
    if isinstance(models, dict):
        labels += [item.data.get("name") for item in config.part("models").parts("items")]
    elif isinstance(models, list):
        labels += models
    names = endpoint.get("model_names") if isinstance(endpoint, dict) else None
    return labels + (names if isinstance(names, list) else [])


def _concurrency(config: BenchmarkResult) -> float | None:
    """Clients of the profiled phase, in the newer and older forms of the configuration."""
    for phase in config.parts("phases"):
        if phase.data.get("kind", phase.data.get("name")) == "warmup":
            continue
        kind = phase.data.get("type", "concurrency")
        if kind != "concurrency":
            raise phase.error("type", f"is {kind}{_OPEN_LOOP}")
        return phase.number("concurrency")
    load = config.part("loadgen")
    if load.data.get("request_rate"):
        raise load.error("request_rate", f"is {load.data['request_rate']}{_OPEN_LOOP}")
    return load.number("concurrency")
