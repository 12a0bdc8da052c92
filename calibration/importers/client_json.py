"""Results of ``benchmark_serving.py``, the client that InferenceX runs.

One JSON object a run: latencies in milliseconds, rates of the whole deployment, and nothing of
the hardware, the engine or the layout, which a user has to add. vLLM's own client writes the same
core; see `calibration.importers.vllm_bench`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from calibration.importers.results import LATENCIES, STATISTICS, RunRecord, model_named

if TYPE_CHECKING:
    from typing import Any

    from calibration.importers.results import BenchmarkResult

MEAN_OF_NOMINAL = 0.9
"""Mean over nominal length where lengths are uniform in [0.8 L, L]. [-]"""


def is_client_result(data: dict[str, Any]) -> bool:
    """Whether a JSON object is a result of InferenceX's client."""
    return is_serving_result(data) and "best_of" in data


def is_serving_result(data: dict[str, Any]) -> bool:
    """Whether a JSON object is a result of the family of ``benchmark_serving.py``."""
    return "total_token_throughput" in data and "model_id" in data


def read_client_result(result: BenchmarkResult) -> RunRecord:
    """The run of an InferenceX client result; its nominal lengths have to be given.

    Raises
    ------
    UserError
        If the load was not a closed loop or a field is no number.
    """
    record = read_serving_result(result)
    record.fields["length_distribution"] = "uniform_0.8"
    isl, osl = mean_lengths(result)
    hint = "the file states no nominal lengths; lengths uniform in [0.8 L, L] have the mean 0.9 L"
    for name, mean in (("isl", isl), ("osl", osl)):
        record.hints[name] = f"{hint}, hence {name} near {mean / MEAN_OF_NOMINAL:.0f}"
    return record


def read_serving_result(result: BenchmarkResult) -> RunRecord:
    """What all results of the family share: load, rates, latencies, date and model.

    Raises
    ------
    UserError
        If the load was not a closed loop, no request completed or a field is no number.
    """
    require_closed_loop(result)
    result.required("completed")
    fields: dict[str, object] = {
        "model": model_named(result.data.get("model_id"), result.data.get("tokenizer_id")),
        "concurrency": result.number("max_concurrency"),
        "date": date_of(result.data.get("date")),
        "kind": "single",
    }
    for statistic in STATISTICS:
        for latency in LATENCIES:
            key = f"{statistic}_{latency}_ms"
            fields[f"{statistic}_{latency}_s"] = result.number(key, scale=1e-3)
    output = result.required("output_throughput")
    total = result.required("total_token_throughput")
    return RunRecord(
        fields=fields,
        total_tok_per_s=total,
        output_tok_per_s=output,
        input_tok_per_s=total - output,
        hints={"concurrency": "the client ran without --max-concurrency"},
    )


def require_closed_loop(result: BenchmarkResult) -> None:
    """Refuse a load that arrives at a rate: only closed loops compare at equal concurrency.

    Raises
    ------
    UserError
        If the requests arrived at a finite rate.
    """
    rate = result.data.get("request_rate", "inf")
    if str(rate).lower() not in ("inf", "infinity", "none"):
        raise result.error(
            "request_rate",
            f"is {rate}: an open loop has no concurrency to compare at; "
            "run it with --request-rate inf --max-concurrency C",
        )


def mean_lengths(result: BenchmarkResult) -> tuple[float, float]:
    """Mean prompt and output lengths of the completed requests. [tokens]"""
    completed = result.required("completed")
    return (
        result.required("total_input_tokens") / completed,
        result.required("total_output_tokens") / completed,
    )


def date_of(text: object) -> str | None:
    """The day of a time level_date such as ``20260510-101500`` or ``2026-05-10T10:15``."""
    match = re.match(r"(\d{4})-?(\d{2})-?(\d{2})", str(text or ""))
    return "-".join(match.groups()) if match else None
