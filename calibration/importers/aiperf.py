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
    config = result.data.get("input_config") or {}
    lengths = ("input_sequence_length", "output_sequence_length")
    mean_isl, mean_osl = (_average(result, tag) for tag in lengths)
    output = _output_rate(result)
    record = RunRecord(
        fields={
            "model": model_named(*_model_labels(config)),
            "concurrency": _concurrency(result, config),
            "date": date_of(result.data.get("start_time")),
            "kind": "single",
        },
        total_tok_per_s=output * (1 + mean_isl / mean_osl),
        output_tok_per_s=output,
        input_tok_per_s=output * mean_isl / mean_osl,
        hints={"concurrency": "input_config names no concurrency"},
    )
    for latency, tag in _LATENCIES.items():
        metric = _metric(result, tag)
        scale = _seconds(result, tag, metric.get("unit")) if metric else 1.0
        for name, statistic in _STATISTICS.items():
            value = metric.get(statistic)
            record.fields[f"{name}_{latency}_s"] = None if value is None else value * scale
    drawn = any((_metric(result, tag).get("std") or 0) > EQUAL_LENGTHS_STD for tag in lengths)
    set_mean_lengths(record, isl=mean_isl, osl=mean_osl, drawn=drawn)
    for tag in _ACCEPTANCE:
        if _metric(result, tag):
            record.fields["acceptance_length"] = _metric(result, tag).get("avg")
            break
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
        each for each in records if each.data["metadata"].get("benchmark_phase") != "warmup"
    ]
    good = [
        each
        for each in profiled
        if each.data.get("error") is None and not each.data["metadata"].get("was_cancelled")
    ]
    if not good:
        raise records[0].error("metrics", "of no profiled request are those of a success")
    start_s = min(_metadata_ns(each, "request_start_ns") for each in good) * 1e-9
    end_s = max(_metadata_ns(each, "request_end_ns") for each in good) * 1e-9
    if end_s <= start_s:
        raise good[0].error("request_end_ns", "of the last request is not after the first start")
    isl = _record_values(good, "input_sequence_length")
    osl = _record_values(good, "output_sequence_length")
    record = RunRecord(
        fields={"kind": "single"},
        total_tok_per_s=(sum(isl) + sum(osl)) / (end_s - start_s),
        output_tok_per_s=sum(osl) / (end_s - start_s),
        input_tok_per_s=sum(isl) / (end_s - start_s),
        hints={"concurrency": "the records do not say how many clients there were"},
    )
    for latency, tag in _LATENCIES.items():
        values = _record_values(good, tag, times=True)
        if values:
            mean, median, p99 = np.mean(values), *np.percentile(values, (50, 99))
            for name, value in (("mean", mean), ("median", median), ("p99", p99)):
                record.fields[f"{name}_{latency}_s"] = float(value)
    drawn = max(np.std(isl), np.std(osl)) > EQUAL_LENGTHS_STD
    set_mean_lengths(record, isl=float(np.mean(isl)), osl=float(np.mean(osl)), drawn=bool(drawn))
    if len(good) < len(profiled):
        record.notes.append(f"failed requests left out: {len(profiled) - len(good)}")
    return record


def _metric(result: BenchmarkResult, tag: str) -> dict[str, Any]:
    metric = result.data.get(tag)
    return metric if isinstance(metric, dict) else {}


def _average(result: BenchmarkResult, tag: str) -> float:
    value = _metric(result, tag).get("avg")
    if not isinstance(value, int | float) or value <= 0:
        raise result.error(f"{tag}.avg", f"is {value}; it must be above 0")
    return float(value)


def _output_rate(result: BenchmarkResult) -> float:
    tag = "output_token_throughput"
    unit = _metric(result, tag).get("unit")
    if unit not in _RATE_UNITS:
        raise result.error(f"{tag}.unit", f"is '{unit}'; known: {', '.join(_RATE_UNITS)}")
    return _average(result, tag)


def _seconds(result: BenchmarkResult, tag: str, unit: object) -> float:
    if unit not in SECONDS_OF_UNIT:
        raise result.error(f"{tag}.unit", f"is '{unit}'; known: {', '.join(SECONDS_OF_UNIT)}")
    return SECONDS_OF_UNIT[str(unit)]


def _record_values(
    records: Iterable[BenchmarkResult], tag: str, *, times: bool = False
) -> list[float]:
    """A metric of every record that has it, times in seconds."""
    values: list[float] = []
    for record in records:
        metric = record.data["metrics"].get(tag)
        if metric is None and times:
            continue  # an answer of one token has no inter-token latency
        if not isinstance(metric, dict) or not isinstance(metric.get("value"), int | float):
            raise record.error(tag, "has no value; export the records of successful requests")
        scale = _seconds(record, tag, metric.get("unit")) if times else 1.0
        values.append(metric["value"] * scale)
    return values


def _metadata_ns(record: BenchmarkResult, name: str) -> int:
    value = record.data["metadata"].get(name)
    if not isinstance(value, int):
        raise record.error(name, f"is {value!r}, not a whole number of nanoseconds")
    return value


def _model_labels(config: dict[str, Any]) -> list[object]:
    """What a configuration calls its model, in its newer and older forms."""
    labels: list[object] = [config.get("model")]
    models = config.get("models")
    items = models.get("items") if isinstance(models, dict) else models
    if isinstance(items, list):
        labels += [item.get("name") if isinstance(item, dict) else item for item in items]
    endpoint = config.get("endpoint")
    if isinstance(endpoint, dict):
        labels += endpoint.get("model_names") or []
    return labels


def _concurrency(result: BenchmarkResult, config: dict[str, Any]) -> float | None:
    """Clients of the profiled phase, in the newer and older forms of the configuration."""
    phases = config.get("phases")
    for phase in phases if isinstance(phases, list) else ():
        if phase.get("kind", phase.get("name")) == "warmup":
            continue
        if phase.get("type", "concurrency") != "concurrency":
            raise result.error("input_config.phases", f"has a {phase['type']} phase{_OPEN_LOOP}")
        if phase.get("concurrency"):
            return float(phase["concurrency"])
    load = config.get("loadgen")
    if not isinstance(load, dict):
        return None
    if load.get("request_rate"):
        rate = load["request_rate"]
        raise result.error("input_config.loadgen.request_rate", f"is {rate}{_OPEN_LOOP}")
    return float(load["concurrency"]) if load.get("concurrency") else None
