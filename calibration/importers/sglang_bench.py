"""Results of SGLang's ``bench_serving --output-file``: one JSON object a line, one line a run.

As ``sglang.benchmark.serving`` writes them (SGLang 0.5.23, pypi.org/project/sglang). Newer ones
carry the server's arguments under ``server_info``, which give model, layout and speculation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from calibration.importers.client_json import mean_lengths, require_closed_loop
from calibration.importers.results import (
    LATENCIES,
    STATISTICS,
    RunRecord,
    model_named,
    set_mean_lengths,
)

if TYPE_CHECKING:
    from typing import Any

    from calibration.importers.results import BenchmarkResult

_MTP_ALGORITHMS = ("EAGLE", "EAGLE3", "NEXTN")


def is_sglang_result(data: dict[str, Any]) -> bool:
    """Whether a JSON object is a result of SGLang's client."""
    return "random_range_ratio" in data and "median_ttft_ms" in data


def read_sglang_result(result: BenchmarkResult) -> RunRecord:
    """The run of one line.

    Raises
    ------
    UserError
        If the load was not a closed loop or a field is no number.
    """
    require_closed_loop(result)
    output = result.required("output_throughput")
    inputs = result.required("input_throughput")
    fields: dict[str, object] = {"concurrency": result.number("max_concurrency"), "kind": "single"}
    for statistic in STATISTICS:
        for latency in LATENCIES:
            key = f"{statistic}_{latency}_ms"
            fields[f"{statistic}_{latency}_s"] = result.number(key, scale=1e-3)
    record = RunRecord(
        fields=fields,
        total_tok_per_s=output + inputs,
        output_tok_per_s=output,
        input_tok_per_s=inputs,
        hints={"concurrency": "the client ran without --max-concurrency"},
    )
    _set_lengths(record, result)
    server = result.data.get("server_info")
    if isinstance(server, dict) and "tp_size" in server:
        _set_server(record, replace(result, data=server))
    accepted = result.number("accept_length")
    if accepted is not None and accepted > 1:
        record.fields["acceptance_length"] = accepted
    return record


def _set_lengths(record: RunRecord, result: BenchmarkResult) -> None:
    ratio = result.number("random_range_ratio")
    isl, osl = result.number("random_input_len"), result.number("random_output_len")
    if not str(result.data.get("dataset_name", "")).startswith("random") or None in (ratio, isl):
        mean_isl, mean_osl = mean_lengths(result)
        set_mean_lengths(record, isl=mean_isl, osl=mean_osl, drawn=True)
        return
    names = {0.0: "uniform_0_to_cap", 1.0: "fixed"}
    record.fields |= {
        "isl": isl,
        "osl": osl,
        "length_distribution": names.get(ratio or 0.0, f"uniform_{ratio:g}"),
    }


def _set_server(record: RunRecord, server: BenchmarkResult) -> None:
    """Model, engine, layout and speculation from the arguments of an aggregated server."""
    ranks = server.number("tp_size")
    algorithm = server.data.get("speculative_algorithm")
    known: dict[str, object] = {
        "model": model_named(server.data.get("served_model_name"), server.data.get("model_path")),
        "engine": "sglang",
        "disaggregated": False,
        "decode_tp": ranks,
        "decode_ep": server.number("ep_size"),
        "decode_dp_attention": server.flag("enable_dp_attention"),
        "decode_gpus": ranks,
        "gpus": ranks,
    }
    if (server.number("pp_size") or 1) > 1:
        raise server.error(
            "server_info.pp_size", "is above 1; a table of runs has no column for it"
        )
    if algorithm is None:
        known["speculation"] = "none"
    elif str(algorithm).upper() in _MTP_ALGORITHMS:
        verified = server.number("speculative_num_draft_tokens")
        known |= {"speculation": "mtp", "drafts": None if verified is None else verified - 1}
    record.fields |= known
