"""What a measured run must satisfy, and when it is not to be trusted.

Violations are errors of the table: counts of GPUs that do not add up, rates that do not add up,
rows that stand twice. A suspect run is well formed but contradicts itself or its neighbours; it
stays in the table and is not fitted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from calibration.measured.physics import LEAST_BYTES, beyond_peak, peak_shares
from calibration.measured.schema import AGENTIC
from calibration.measured.table import Violation
from hwmodels.sku import load_sku
from workloads.architectures.catalog import load_architecture
from workloads.models.weights import weight_table
from workloads.requests.lengths import length_distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    FloatSeries = pd.Series

RATES_AGREE_TO = 0.02
"""Relative difference allowed between total and input plus output tokens per second. [-]"""

CLOSURE_RANGE = (0.75, 1.15)
"""Range of the Little's-law ratio outside which a run contradicts itself. [-]

Of the runs with a measured mean TTFT, 98 % lie within 0.91 and 1.05.
"""
CLOSURE = 0.977
"""Little's-law ratio of a closed loop with 10 requests a client: median over the shipped runs
that have a mean TTFT. [-]"""

DECODE_SHARE_LIMIT = 1.10
"""Largest share of the clients that decode can occupy, for runs without a mean TTFT. [-]

Medians of throughput and TPOT may come from two runs, hence more than 1.
"""
BUILD_TPOT_FALL = 0.05
BUILD_TPUT_RISE = 1.25
"""Neighbours of an undated series come from two builds if TPOT falls by more than the one while
throughput rises by more than the other as clients are added. [-]"""

UNEQUAL_WORKERS = 1.10
"""Mean over median TPOT from which the decode workers of a run were not equally fast. [-]

Of 250 runs with several decode workers and both figures, those not above it are below 1.08.
"""

SAME_FIGURES = 0.003
"""Undated medians of two layouts whose throughput and TPOT both agree to this are the same runs
under two labels. [-]"""

LAYOUT = (
    *(f"prefill_{name}" for name in ("workers", "tp", "ep", "dp_attention", "gpus")),
    *(f"decode_{name}" for name in ("workers", "tp", "ep", "dp_attention", "gpus")),
    "gpus",
)
_IDENTITY = (
    *("model", "sku", "engine", "precision", "speculation", "drafts", "disaggregated"),
    *LAYOUT,
    *("isl", "osl", "length_distribution", "concurrency", "date", "kind", "source"),
)


def mean_lengths(frame: pd.DataFrame) -> tuple[FloatSeries, FloatSeries]:
    """Expected input and output tokens of a request; NaN where a run has no nominal lengths."""
    means: dict[tuple[str, float], float] = {}

    def mean(name: str, nominal: float) -> float:
        if name == AGENTIC or nominal != nominal:
            return np.nan
        key = (name, nominal)
        if key not in means:
            drawn = length_distribution(name=name, nominal_tokens=int(nominal))
            means[key] = drawn.mean_tokens
        return means[key]

    names = frame["length_distribution"]
    inputs, outputs = (
        pd.Series(
            [mean(name, value) for name, value in zip(names, frame[length], strict=True)],
            index=frame.index,
            dtype=float,
        )
        for length in ("isl", "osl")
    )
    return inputs, outputs


def tpot_of(frame: pd.DataFrame) -> FloatSeries:
    """The TPOT that a run is compared by: the median, else the mean. [s]"""
    return frame["median_tpot_s"].fillna(frame["mean_tpot_s"])


def request_rate_per_s(frame: pd.DataFrame) -> FloatSeries:
    """Requests per second of the deployment, from its token throughput. [1/s]"""
    inputs, outputs = mean_lengths(frame)
    return frame["total_tput_per_gpu"] * frame["gpus"] / (inputs + outputs)


def decode_share(frame: pd.DataFrame) -> FloatSeries:
    """Share of the clients that are past their first token: ``rate (L_out - 1) TPOT / C``. [-]"""
    _, outputs = mean_lengths(frame)
    return request_rate_per_s(frame) * (outputs - 1) * tpot_of(frame) / frame["concurrency"]


def little_closure(frame: pd.DataFrame) -> FloatSeries:
    """Little's law of a closed loop: ``rate (TTFT + (L_out - 1) TPOT) / C``, mean TTFT. [-]

    Below 1 by the burst at the start and the drain at the end, which the duration covers.
    """
    prefill = request_rate_per_s(frame) * frame["mean_ttft_s"] / frame["concurrency"]
    return prefill + decode_share(frame)


def demand_on_peaks(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares of the peaks that runs ask for; see `calibration.measured.physics.peak_shares`. [-]

    Of a closed loop that publishes no throughput the rate follows from the mean TTFT and TPOT.
    """
    inputs, outputs = mean_lengths(frame)
    tpot_s = tpot_of(frame)
    whole_s = frame["mean_ttft_s"] + (outputs - 1) * tpot_s
    implied = (CLOSURE * frame["concurrency"] / whole_s).where(frame["request_rate_per_s"].isna())
    return peak_shares(
        frame,
        requests_per_s=request_rate_per_s(frame).fillna(implied),
        inputs=inputs,
        outputs=outputs,
        tpot_s=tpot_s,
    )


def find_violations(frame: pd.DataFrame) -> list[Violation]:
    """Cells that contradict others of their row, and rows that stand twice."""
    return [
        Violation(
            file=str(frame.at[row, "file"]),
            place=str(frame.at[row, "place"]),
            field=field,
            value=_shown(frame.at[row, field]),
            problem=problem,
        )
        for field, rows, problem in _contradictions(frame)
        for row in rows
    ]


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _contradictions(frame: pd.DataFrame) -> Iterator[tuple[str, list[int], str]]:
    """Field, rows and problem of every broken rule; a comparison with NaN breaks none."""

    def rows(wrong: pd.Series) -> list[int]:
        return list(frame.index[wrong.fillna(False).astype(bool)])

    disaggregated = frame["disaggregated"].astype(bool)
    for prefix in ("prefill", "decode"):
        workers = frame[f"{prefix}_workers"].fillna(1)
        gpus, tp, ep = (frame[f"{prefix}_{name}"] for name in ("gpus", "tp", "ep"))
        ranks = gpus / workers
        yield f"{prefix}_gpus", rows(gpus % workers > 0), "the workers do not share them evenly"
        yield f"{prefix}_tp", rows(tp > ranks), "a worker has fewer GPUs"
        yield f"{prefix}_ep", rows(ranks % ep > 0), "does not divide the GPUs of a worker"
        if prefix == "prefill":
            stray = ~disaggregated & (gpus.notna() | tp.notna())
            problem = "the run is aggregated; its layout belongs in the decode columns"
            yield "prefill_tp", rows(stray), problem
    pools = frame["prefill_gpus"].where(disaggregated, 0) + frame["decode_gpus"]
    yield "gpus", rows((frame["gpus"] - pools).abs() > 0), "is not the sum of the pools' GPUs"
    lengths = frame["isl"].isna() | frame["osl"].isna()
    agentic = frame["length_distribution"] == AGENTIC
    yield "isl", rows(lengths & ~agentic), f"isl and osl are needed unless lengths are {AGENTIC}"
    yield "length_distribution", rows(~lengths & agentic), "isl and osl must then be blank"
    stray = (frame["speculation"] == "none") & (frame["drafts"] > 0)
    yield "drafts", rows(stray), "speculation is none"
    share = (
        frame["output_tput_per_gpu"] * frame["decode_gpus"].where(disaggregated, frame["gpus"])
        + frame["input_tput_per_gpu"] * frame["prefill_gpus"].where(disaggregated, frame["gpus"])
    ) / (frame["total_tput_per_gpu"] * frame["gpus"])
    problem = "input and output tokens over their GPUs do not add up to it"
    yield "total_tput_per_gpu", rows((share - 1).abs() > RATES_AGREE_TO), problem
    for kind in ("ttft", "tpot"):
        p99, median = frame[f"p99_{kind}_s"], frame[f"median_{kind}_s"]
        yield f"p99_{kind}_s", rows(p99 < median), "is below the median"
    single = (frame["kind"] == "single") & (frame["n_runs"] > 1)
    yield "n_runs", rows(single), "a single run is one run"
    # Of the rows of one day that differ in their figures, both may be right.
    figures = ["total_tput_per_gpu", "median_tpot_s", "mean_tpot_s", "median_ttft_s"]
    twice = frame.duplicated([*_IDENTITY, *figures])
    yield "source", rows(twice), "the same run stands in an earlier row"


def suspicions(frame: pd.DataFrame, *, demand: pd.DataFrame) -> pd.Series:
    """Why each run is not to be trusted; empty for those that are.

    ``demand`` is that of `demand_on_peaks`.
    """
    reasons: dict[int, list[str]] = {}

    def add(rows: pd.Index, text: str) -> None:
        for row in rows:
            reasons.setdefault(row, []).append(text)

    given = frame.index[frame["quality"] == "suspect"]
    add(given, "flagged in the table: contradicts itself or its neighbours")
    low, high = CLOSURE_RANGE
    closure, decoding = little_closure(frame), decode_share(frame)
    add(frame.index[(closure < low) | (closure > high)], f"Little's law not within {low}-{high}")
    over = (decoding > DECODE_SHARE_LIMIT) & closure.isna()
    add(frame.index[over], f"decoding clients above {DECODE_SHARE_LIMIT} of the concurrency")
    add(too_large(frame), "the weights alone exceed the memory of its GPUs")
    for row, text in beyond_peak(demand).items():
        add(pd.Index([row]), str(text))
    slow = f"mean TPOT above {UNEQUAL_WORKERS} times the median: a slow worker"
    add(unequal_workers(frame), slow)
    trusted = frame.loc[~frame.index.isin(list(reasons))]
    add(mixed_builds(trusted), "another build than its neighbours of the undated series")
    add(mislabelled(trusted), "the figures of another layout under a label without its EP or DP")
    return pd.Series({row: "; ".join(texts) for row, texts in reasons.items()}, dtype=object)


def too_large(frame: pd.DataFrame) -> pd.Index:
    """Rows whose model cannot lie on their GPUs, at the fewest bytes that its precision allows."""
    rows: list[int] = []
    capacity = {sku: load_sku(str(sku)).hbm_bytes for sku in frame["sku"].unique()}
    room = frame["sku"].map(capacity).astype(float) * frame["gpus"]
    for (model, precision), group in frame.groupby(["model", "precision"], sort=False):
        parameters, released = _size(str(model))
        least = min(LEAST_BYTES.get(str(precision), 0.5) * parameters, released)
        rows += list(group.index[room[group.index] < least])
    return pd.Index(rows)


@lru_cache(maxsize=64)
def _size(model: str) -> tuple[float, float]:
    """Parameters of a model without its draft module, and bytes of them as released. [B]"""
    weights = weight_table(architecture=load_architecture(model))
    main = [weight for weight in weights if weight.module == "main"]
    return sum(each.parameters for each in main), sum(each.checkpoint_bytes for each in main)


def unequal_workers(frame: pd.DataFrame) -> pd.Index:
    """Single runs in which some decode workers were slower than the others.

    Requests are spread in turn, so that the slow worker fills and its requests wait while others
    have free slots: mean TPOT and TTFT are then those of no deployment as configured. Seen where
    the mean TPOT is above `UNEQUAL_WORKERS` times the run's own median or, where a run has none,
    the undated median of the same configuration.
    """
    several = frame["disaggregated"].astype(bool) & (frame["decode_workers"] > 1)
    own = [name for name in _IDENTITY if name not in ("date", "kind", "source", "drafts")]
    runs = frame[several]
    configuration = runs.groupby(own, dropna=False, sort=False).ngroup()
    undated = (runs["kind"] == "median") & (runs["date"] == "")
    medians = runs["median_tpot_s"].where(undated).groupby(configuration).transform("median")
    single = runs[runs["kind"] == "single"]
    median = single["median_tpot_s"].fillna(medians)
    return single.index[single["mean_tpot_s"] > UNEQUAL_WORKERS * median]


def mislabelled(frame: pd.DataFrame) -> pd.Index:
    """Undated aggregated rows with the figures of a row that has more parallelism in its label.

    Early launch scripts switched expert parallelism and data-parallel attention on by the number
    of clients, and the label kept what was asked for: one median then stands under both.
    """
    undated = frame[
        (frame["kind"] == "median")
        & (frame["date"] == "")
        & ~frame["disaggregated"].astype(bool)
        & frame["gpus"].notna()
    ]
    layout = [name for name in LAYOUT if name != "gpus"]
    label = [name for name in _IDENTITY if name not in layout]
    parallel_attention = undated["decode_dp_attention"].isin([True])
    order = undated["decode_ep"].fillna(1) + 1000 * parallel_attention
    rows: list[int] = []
    for _, group in undated.groupby(label, dropna=False, sort=False):
        if len(group) < 2:
            continue
        parallel = order[group.index].to_numpy(float)
        figures = np.log(
            np.stack([group["total_tput_per_gpu"].to_numpy(float), tpot_of(group).to_numpy(float)])
        )
        apart = np.abs(figures[:, :, None] - figures[:, None, :]).max(axis=0)
        more = parallel[None, :] > parallel[:, None]
        rows += list(group.index[((apart < SAME_FIGURES) & more).any(axis=1)])
    return pd.Index(rows)


def mixed_builds(frame: pd.DataFrame) -> pd.Index:
    """Rows of undated series that another build must have measured than most of their series.

    Within one build more clients mean a higher TPOT. Where TPOT falls by more than
    `BUILD_TPOT_FALL` while throughput rises by more than `BUILD_TPUT_RISE`, the series is cut;
    all but its longest piece, the one at fewer clients if pieces are equally long, are returned.
    Disaggregated series are left alone: their settings change with the concurrency.
    """
    undated = frame[
        (frame["kind"] == "median")
        & (frame["date"] == "")
        & ~frame["disaggregated"].astype(bool)
        & frame["gpus"].notna()
    ]
    label = [name for name in _IDENTITY if name not in ("concurrency", "date", "kind")]
    series = undated.groupby(label, dropna=False, sort=False).ngroup().to_numpy()
    order = np.lexsort((undated["concurrency"].to_numpy(), series))
    rows, series = undated.index.to_numpy()[order], series[order]
    tpot = tpot_of(undated).to_numpy()[order]
    tput = undated["total_tput_per_gpu"].to_numpy()[order]
    same = series[1:] == series[:-1]
    falls = tpot[1:] < (1 - BUILD_TPOT_FALL) * tpot[:-1]
    cut = same & falls & (tput[1:] > BUILD_TPUT_RISE * tput[:-1])
    pieces = np.split(np.arange(len(rows)), np.flatnonzero(cut | ~same) + 1)
    longest: dict[int, int] = {}
    for piece in pieces:
        if len(piece):
            key = int(series[piece[0]])
            longest[key] = max(longest.get(key, 0), len(piece))
    odd: list[int] = []
    kept: set[int] = set()
    for piece in pieces:
        if len(piece) == 0:
            continue
        key = int(series[piece[0]])
        if len(piece) == longest[key] and key not in kept:
            kept.add(key)
        else:
            odd += [int(rows[position]) for position in piece]
    return pd.Index(odd)
