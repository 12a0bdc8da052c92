"""The columns of a table of measured runs: name, type, unit, range and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["text", "date", "flag", "whole", "number"]
AGENTIC = "agentic_traces"
"""Length distribution of runs that replay recorded conversations; they have no nominal lengths."""

QUALITIES = ("ok", "suspect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the table.

    Parameters
    ----------
    name:
        Name in the files; a unit that is not tokens or a count stands in it or in ``unit``.
    type:
        What a cell holds: ``whole`` numbers and ``number`` alike become floats, so that an
        unknown value is NaN.
    meaning:
        What it says.
    unit:
        Unit, where the name does not carry it.
    required:
        Whether a blank cell is an error.
    low, high:
        Smallest and largest value that is physically sensible.
    choices:
        The values that a text may take.
    predict_name:
        Name of the column in the tables that ``simulate predict`` reads, where it reads it.
    """

    name: str
    type: ColumnType
    meaning: str
    unit: str = ""
    required: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    predict_name: str | None = None


def _name(name: str, meaning: str) -> Column:
    return Column(name=name, type="text", meaning=meaning, required=True, predict_name=name)


def _pool(prefix: str, what: str) -> tuple[Column, ...]:
    def whole(field: str, meaning: str, unit: str = "") -> Column:
        name = f"{prefix}_{field}"
        return Column(
            name=name,
            type="whole",
            meaning=f"{meaning} {what}",
            unit=unit,
            low=1,
            high=4096,
            predict_name=name,
        )

    return (
        whole("workers", "engine instances"),
        whole("tp", "tensor parallel degree of a worker"),
        whole("ep", "expert parallel degree of a worker"),
        Column(
            name=f"{prefix}_dp_attention",
            type="flag",
            meaning=f"attention data parallelism in a worker {what}",
            predict_name=f"{prefix}_dp_attn",
        ),
        whole("gpus", "GPUs"),
    )


def _rate(kind: str, meaning: str) -> Column:
    name = f"{kind}_tput_per_gpu"
    return Column(
        name=name,
        type="number",
        meaning=meaning,
        unit="tok/s",
        low=1e-3,
        high=1e6,
    )


def _latency(statistic: str, kind: str, meaning: str) -> Column:
    low, high = {"ttft": (1e-3, 1e4), "tpot": (1e-4, 3.0)}[kind]
    name = f"{statistic}_{kind}_s"
    return Column(name=name, type="number", meaning=meaning, low=low, high=high)


def _spread(kind: str, meaning: str) -> Column:
    return Column(name=f"{kind}_relative_iqr", type="number", meaning=meaning, low=0, high=10)


_TTFT = "time to first token"
_TPOT = "time per output token after the first"

COLUMNS: tuple[Column, ...] = (
    _name("model", "canonical model name"),
    _name("sku", "key of the chip or rack in the hardware catalogue"),
    _name("engine", "serving stack, as the field labels it: `vllm`, `dynamo-trt` ..."),
    Column(
        name="precision",
        type="text",
        meaning="label of the configuration (`fp4`, `fp8`, `bf16`), not of every tensor",
        predict_name="precision",
    ),
    Column(
        name="speculation",
        type="text",
        meaning="speculative decoding; blank where it is not known",
        choices=("none", "mtp", "dspark"),
        predict_name="spec_decoding",
    ),
    Column(
        name="drafts",
        type="whole",
        meaning="draft tokens per step, where recorded",
        low=0,
        high=31,
        predict_name="spec_tokens",
    ),
    Column(
        name="acceptance_length",
        type="number",
        meaning="measured or forced tokens per step, the bonus token included",
        low=1,
        high=32,
        predict_name="acceptance_length",
    ),
    Column(
        name="disaggregated",
        type="flag",
        meaning="whether prefill and decode have pools of their own; "
        "an aggregated layout stands in the decode columns",
        required=True,
        predict_name="disagg",
    ),
    *_pool("prefill", "of the prefill pool"),
    *_pool("decode", "of the decode pool, or of the aggregated one"),
    Column(
        name="gpus",
        type="whole",
        meaning="GPUs of the deployment",
        low=1,
        high=4096,
        predict_name="num_gpus",
    ),
    Column(
        name="isl",
        type="whole",
        meaning="nominal input length",
        unit="tokens",
        low=1,
        high=2e6,
        predict_name="isl",
    ),
    Column(
        name="osl",
        type="whole",
        meaning="nominal output length",
        unit="tokens",
        low=1,
        high=2e6,
        predict_name="osl",
    ),
    Column(
        name="length_distribution",
        type="text",
        meaning="how lengths are drawn around the nominal ones: `uniform_0.8` (uniform in "
        f"[0.8 L, L]), `uniform_0_to_cap`, `fixed`; `{AGENTIC}` has none",
        required=True,
        predict_name="length_distribution",
    ),
    Column(
        name="concurrency",
        type="whole",
        meaning="closed-loop clients of the whole deployment",
        unit="requests",
        required=True,
        low=1,
        high=1e6,
        predict_name="concurrency",
    ),
    Column(
        name="requests_per_client",
        type="whole",
        meaning="requests of the run over its clients; blank for InferenceX's 10",
        low=1,
        high=1000,
        predict_name="requests_per_client",
    ),
    Column(
        name="warmup_per_client",
        type="whole",
        meaning="warm-up requests over the clients; blank for InferenceX's 2; 0 leaves first "
        "launches in the measured run",
        low=0,
        high=1000,
    ),
    Column(
        name="request_rate_per_s",
        type="number",
        meaning="finite rate at which the first requests are sent; blank where all start at once",
        low=1e-3,
        high=1e6,
        predict_name="request_rate_per_s",
    ),
    Column(
        name="date",
        type="date",
        meaning="day or month of the run; blank for an undated median up to 2026-07-19, and on a "
        "single run whose software is unknown",
        predict_name="date",
    ),
    Column(
        name="image",
        type="text",
        meaning="container image, or engine and version; of an undated median the one that held "
        "most of its days",
        predict_name="image",
    ),
    Column(
        name="image_share",
        type="number",
        meaning="share of its days that the image of an undated median held",
        unit="-",
        low=0,
        high=1,
    ),
    Column(
        name="kind",
        type="text",
        meaning="one run, or the median of several",
        required=True,
        choices=("single", "median"),
    ),
    Column(name="n_runs", type="whole", meaning="runs behind a median, where known", low=1),
    _rate("total", "input and output tokens over all GPUs"),
    _rate("output", "output tokens over all GPUs; over the decode GPUs if disaggregated"),
    _rate("input", "input tokens over all GPUs; over the prefill GPUs if disaggregated"),
    _latency("mean", "ttft", f"{_TTFT}, mean over requests"),
    _latency("median", "ttft", f"{_TTFT}, median"),
    _latency("p99", "ttft", f"{_TTFT}, 99th percentile"),
    _latency("mean", "tpot", f"{_TPOT}, mean over requests"),
    _latency("median", "tpot", f"{_TPOT}, median"),
    _latency("p99", "tpot", f"{_TPOT}, 99th percentile"),
    _spread("tput", "inter-quartile range between runs over the median, throughput"),
    _spread("tpot", "inter-quartile range between runs over the median, TPOT"),
    Column(
        name="quality",
        type="text",
        meaning="`suspect` if it contradicts itself or its neighbours; not to be fitted",
        required=True,
        choices=QUALITIES,
    ),
    Column(name="source", type="text", meaning="key of `sources.yaml`", required=True),
    Column(
        name="also_in",
        type="text",
        meaning="further publications of the same run that supplied blank fields",
    ),
)

NAMES = tuple(column.name for column in COLUMNS)
PREDICT_NAMES = {
    column.name: column.predict_name for column in COLUMNS if column.predict_name is not None
}
"""Columns that describe a configuration, and their names in a table to predict."""

DEFAULTS = {
    "disaggregated": "false",
    "length_distribution": "uniform_0.8",
    "kind": "single",
    "quality": "ok",
}
"""What a blank cell of a required column means in a user's own table: InferenceX's protocol."""
