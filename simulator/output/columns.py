"""The columns of simulated runs, one definition each: name, type, unit, meaning, text header.

Every table that a command writes takes its columns from here, ``simulate predict`` reads those
that say what ran, and ``docs/reference/columns.md`` is generated.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from simulator.output.column import Column, Kind
from simulator.output.study_columns import COMPARISON, PLAN, PREDICT, SEARCH

if TYPE_CHECKING:
    from collections.abc import Iterator


def _ran(name: str, kind: Kind, text: str, *, unit: str = "", header: str = "") -> Column:
    return Column(
        name=name, kind=kind, text=text, unit=unit, header=header, part="what ran", is_read=True
    )


def _pool(prefix: str, what: str) -> Iterator[Column]:
    yield _ran(f"{prefix}_workers", "int", f"engine instances of {what}", unit="workers")
    yield _ran(f"{prefix}_tp", "int", f"tensor parallel degree of a worker of {what}")
    yield _ran(f"{prefix}_ep", "int", f"expert parallel degree of a worker of {what}")
    yield _ran(f"{prefix}_dp_attn", "bool", f"attention data parallelism in a worker of {what}")


_STATISTICS = {
    "mean": "mean",
    "median": "median",
    "p90": "90 % quantile",
    "p99": "99 % quantile",
    "std": "standard deviation",
}
_LATENCIES = {
    "ttft": "time to first token",
    "tpot": "time per output token after the first",
    "e2el": "latency of a request from end to end",
    "queue": "wait before the first step of a request",
}
_HEADERS = {
    "median_ttft_s": "TTFT\np50 s",
    "p90_ttft_s": "TTFT\np90 s",
    "p99_ttft_s": "TTFT\np99 s",
    "median_tpot_s": "TPOT\np50 s",
}

WHAT_RAN: tuple[Column, ...] = (
    _ran("sku", "text", "chip or rack, by its key or a user's file", header="SKU"),
    _ran(
        "prefill_sku",
        "text",
        "chip of the prefill pool, where it is another than `sku`, that of the decode pool; blank: "
        "the same",
    ),
    _ran("model", "text", "canonical name of the model"),
    _ran("engine", "text", "serving stack, of a date where one was asked for"),
    _ran("precision", "text", "label of the checkpoint: `fp4`, `fp8`, `int4`, `bf16`"),
    _ran("spec", "text", "speculation: `none`, `mtp:K`, `dspark:K`, `eagle3:K`"),
    _ran(
        "acceptance_length",
        "float",
        "tokens per step that were stated, the bonus token included; blank: the recipe's",
        unit="tokens",
    ),
    _ran("isl", "int", "nominal input length", unit="tokens"),
    _ran("osl", "int", "nominal output length", unit="tokens"),
    _ran(
        "length_distribution",
        "text",
        "how lengths are drawn around the nominal ones; or the "
        "file or MLPerf workload that they are drawn from, whose means isl and osl are",
    ),
    _ran("seed", "int", "seed of every random stream"),
    _ran("overrides", "text", "changed SKU fields in SI units, as JSON; blank: none"),
    _ran("engine_settings", "text", "stated server settings, as JSON; blank: none"),
    _ran("label", "text", "deployment: `TEP8`, `1xDEP8+2xTP8`", header="layout"),
    _ran("disagg", "bool", "whether prefill and decode have pools of their own"),
    *_pool("prefill", "the prefill pool"),
    *_pool("decode", "the decode pool, or of the aggregated one"),
    _ran(
        "concurrency",
        "int",
        "closed-loop clients of the whole deployment",
        unit="requests",
        header="clients",
    ),
)
"""What identifies a run, in the order of its table."""

METRICS: tuple[Column, ...] = (
    Column(name="requests", kind="int", text="finished requests that are judged"),
    Column(name="unfinished", kind="int", text="requests that did not finish"),
    Column(name="duration_s", kind="float", text="from the first arrival to the end", unit="s"),
    Column(name="gpus", kind="int", text="GPUs of the deployment", header="GPUs"),
    Column(name="prefill_gpus", kind="int", text="GPUs that prefill"),
    Column(name="decode_gpus", kind="int", text="GPUs that decode"),
    Column(name="prompt_tokens", kind="int", text="sum over requests", unit="tokens"),
    Column(name="output_tokens", kind="int", text="sum over requests", unit="tokens"),
    Column(name="requests_per_s", kind="float", text="finished requests a second", unit="1/s"),
    Column(
        name="total_tput_per_gpu",
        kind="float",
        text="input and output tokens a second over all GPUs",
        unit="tok/s",
        header="tok/s\n/GPU",
    ),
    Column(name="input_tput_per_gpu", kind="float", text="its input part", unit="tok/s"),
    Column(name="output_tput_per_gpu", kind="float", text="its output part", unit="tok/s"),
    Column(
        name="input_tput_per_prefill_gpu",
        kind="float",
        text="input tokens a second over the GPUs that prefill, as InferenceX divides",
        unit="tok/s",
    ),
    Column(
        name="output_tput_per_decode_gpu",
        kind="float",
        text="output tokens a second over the GPUs that decode, as InferenceX divides",
        unit="tok/s",
    ),
    *(
        Column(
            name=f"{statistic}_{latency}_s",
            kind="float",
            text=f"{meaning}, {how}",
            unit="s",
            header=_HEADERS.get(f"{statistic}_{latency}_s", ""),
        )
        for latency, meaning in _LATENCIES.items()
        for statistic, how in _STATISTICS.items()
    ),
    Column(name="preemptions", kind="int", text="over finished requests"),
    Column(name="cached_tokens", kind="int", text="prompt tokens found in a cache", unit="tokens"),
    Column(name="accepted_drafts", kind="int", text="over finished requests", unit="tokens"),
    Column(
        name="mean_concurrency",
        kind="float",
        text="requests in the system, averaged over time",
        unit="requests",
    ),
    Column(
        name="littles_law_ratio",
        kind="float",
        text="mean concurrency over the clients; below 1 by the share of the run that drains",
        unit="-",
    ),
    Column(
        name="interactivity",
        kind="float",
        text="speed of the median user, 1 / median TPOT",
        unit="tok/s",
        header="tok/s\n/user",
    ),
)
"""`simulator.analysis.metrics.RunMetrics`, in the order of its table."""

BAND = "90 %\nband"
"""Header of a printed interval, which stands in the column of its low end."""

BANDS: tuple[Column, ...] = tuple(
    Column(
        name=f"{name}_{end}",
        kind="float",
        text=f"{where} end of the 90 % interval; blank where predictions of the kind have not "
        "been compared with measurements",
        unit=unit,
        header=BAND if name == "total_tput_per_gpu" and end == "lo" else "",
    )
    for name, unit in (
        ("total_tput_per_gpu", "tok/s"),
        ("median_tpot_s", "s"),
        ("median_ttft_s", "s"),
    )
    for end, where in (("lo", "low"), ("hi", "high"))
)

ABOUT: tuple[Column, ...] = (
    Column(name="level", kind="text", text="software level in force", part="about the run"),
    Column(name="recipe", kind="text", text="recipe of the server settings", part="about the run"),
    Column(
        name="kind",
        kind="text",
        text="`calibrated` (runs of this engine, speculation and kind of pools on this SKU were "
        "fitted), `transferred` or `specification`",
        part="about the run",
    ),
    Column(
        name="bottleneck",
        kind="text",
        text="what binds most of the time",
        header="binds",
        part="about the run",
    ),
    Column(
        name="kv_fill",
        kind="float",
        text="share of the KV pools' blocks that all requests take, or as many as may run",
        unit="-",
        part="about the run",
    ),
    Column(
        name="goodput",
        kind="float",
        text="share of requests within the tightest TTFT limit; blank where no goodput is asked "
        "for",
        unit="-",
        part="about the run",
    ),
    Column(
        name="messages", kind="text", text="what was assumed, a line each", part="about the run"
    ),
)

COSTS: tuple[Column, ...] = (
    Column(name="economics", kind="text", text="dated file of prices and power", part="cost"),
    Column(
        name="usd_per_million_tokens",
        kind="float",
        text="on all tokens and GPUs, at the price of the tier",
        unit="USD",
        header="$/M\ntok",
        part="cost",
    ),
    Column(
        name="usd_per_million_input_tokens",
        kind="float",
        text="all GPUs on input tokens alone",
        unit="USD",
        header="$/M in",
        part="cost",
    ),
    Column(
        name="usd_per_million_output_tokens",
        kind="float",
        text="all GPUs on output tokens alone",
        unit="USD",
        header="$/M out",
        part="cost",
    ),
    Column(
        name="tokens_per_s_per_mw",
        kind="float",
        text="on InferenceX's power constant",
        unit="tok/s/MW",
        header="tok/s/MW",
        part="cost",
    ),
    Column(
        name="tokens_per_s_per_utility_mw",
        kind="float",
        text="on IT power times PUE",
        unit="tok/s/MW",
        header="utility",
        part="cost",
    ),
    Column(
        name="joules_per_token",
        kind="float",
        text="on InferenceX's power constant",
        unit="J",
        header="J/tok",
        part="cost",
    ),
)

STANDING: tuple[Column, ...] = (
    Column(name="series", kind="text", text="curve that the run belongs to", part="about the run"),
    Column(
        name="meets_limits",
        kind="bool",
        text="whether the run is within the stated limits",
        part="about the run",
    ),
    Column(
        name="on_frontier",
        kind="bool",
        text="whether no other run of its series within the limits is better on both axes",
        part="about the run",
    ),
)

KEPT: tuple[Column, ...] = (
    Column(
        name="key",
        kind="text",
        text="stands for configuration, code and data: a kept run is found by it",
        part="about the run",
    ),
    Column(
        name="status",
        kind="text",
        text="`ok`, `does_not_fit`, `unsupported` or `failed`",
        part="about the run",
    ),
    Column(name="reason", kind="text", text="why there is no run", part="about the run"),
)


SECTIONS: dict[str, tuple[Column, ...]] = {
    "What ran": WHAT_RAN,
    "What came out": METRICS,
    "How far off such predictions have been": BANDS,
    "What it rests on": ABOUT,
    "Cost and power": COSTS,
    "Standing among the runs of a table": STANDING,
    "Kept runs": KEPT,
    "Of `simulate search`": SEARCH,
    "Of `simulate plan`": PLAN,
    "Of `simulate compare`": COMPARISON,
    "Of `simulate predict`": PREDICT,
}
"""Columns in the order of the reference page."""


RUN: tuple[Column, ...] = (*WHAT_RAN, *METRICS, *BANDS, *ABOUT, *STANDING, *COSTS)
"""Columns of a table of runs, in order: of a curve, a sweep, a comparison, a timeline."""


@cache
def columns() -> dict[str, Column]:
    """Every column by name."""
    return {column.name: column for columns in SECTIONS.values() for column in columns}


def columns_page() -> str:
    """The reference page of all columns."""
    lines = [
        "# Columns",
        "",
        "Every table of runs that a command writes takes its columns from this list: curve, sweep,",
        "compare, timeline, search, plan, predict, report. Times are in seconds, sizes in tokens,",
        "rates a second. `simulate predict` reads the columns marked *read*; `simulate sweep` and",
        "`simulate search` write them, so that their tables can be predicted again.",
        "",
        "Generated from `simulator/output/columns.py`.",
    ]
    for section, found in SECTIONS.items():
        lines += [
            "",
            f"## {section}",
            "",
            "| column | holds | unit | meaning |",
            "|---|---|---|---|",
        ]
        for column in found:
            read = ", *read*" if column.is_read else ""
            lines.append(
                f"| `{column.name}` | {column.kind}{read} | {column.unit} | {column.text} |"
            )
    return "\n".join(lines) + "\n"
