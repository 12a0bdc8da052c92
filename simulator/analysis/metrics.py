"""InferenceX's serving metrics, computed from per-request records.

Definitions follow ``benchmark_serving.py`` and ``process_result.py`` of InferenceX
(github.com/SemiAnalysisAI/InferenceX) to the letter.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.serving.records import FloatArray, Records

Scalar: TypeAlias = float | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Statistics of one latency over the requests of a run. [s]

    Percentiles interpolate linearly, as ``numpy.percentile``. All are NaN if no request has
    the latency (TPOT of single-token outputs).
    """

    mean_s: float
    median_s: float
    p90_s: float
    p99_s: float
    std_s: float

    @classmethod
    def of(cls, values_s: FloatArray) -> Distribution:
        """Statistics of the values that are not NaN."""
        present = values_s[~np.isnan(values_s)]
        if present.size == 0:
            return cls(mean_s=np.nan, median_s=np.nan, p90_s=np.nan, p99_s=np.nan, std_s=np.nan)
        median_s, p90_s, p99_s = np.percentile(present, (50, 90, 99)).tolist()
        return cls(
            mean_s=float(present.mean()),
            median_s=median_s,
            p90_s=p90_s,
            p99_s=p99_s,
            std_s=float(present.std()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """Finished requests that met service-level objectives, each alone and both jointly.

    A request without a TPOT (one output token) meets every TPOT objective.

    Parameters
    ----------
    ttft_slo_s, tpot_slo_s, e2el_slo_s:
        Largest latency that counts as met; ``None``: no such objective. [s]
    ttft_share, tpot_share, e2el_share, joint_share:
        Share of all requests that met each objective, and all of them. Unfinished requests
        met none. [-]
    requests_per_s:
        Requests per second that met all objectives. [1/s]
    output_tokens_per_s:
        Their output tokens per second. [tokens/s]
    """

    ttft_slo_s: float | None
    tpot_slo_s: float | None
    e2el_slo_s: float | None
    ttft_share: float
    tpot_share: float
    e2el_share: float
    joint_share: float
    requests_per_s: float
    output_tokens_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMetrics:
    """Metrics of one run.

    Parameters
    ----------
    requests, unfinished:
        Finished requests, on which everything below rests, and those cut off. [requests]
    duration_s:
        From the start of the run to the last finished request; a closed loop's opening burst
        and closing drain are inside. [s]
    gpus, prefill_gpus, decode_gpus:
        GPUs of the deployment; of an aggregated one all three are equal.
    prompt_tokens, output_tokens:
        Tokens of finished requests. [tokens]
    requests_per_s:
        Request throughput. [1/s]
    total_tput_per_gpu:
        Prompt and output tokens per second over all GPUs (InferenceX ``tput_per_gpu``).
        [tokens/s]
    input_tput_per_gpu, output_tput_per_gpu:
        Its two parts, over all GPUs. [tokens/s]
    input_tput_per_prefill_gpu, output_tput_per_decode_gpu:
        The same over the GPUs of one pool, which is what InferenceX calls
        ``input_tput_per_gpu`` and ``output_tput_per_gpu`` of a disaggregated run; they do not
        add up to the total. [tokens/s]
    ttft, tpot, e2el, queue:
        Time to first token, time per output token after it, end-to-end latency, and wait
        before the first step.
    preemptions, cached_tokens, accepted_drafts:
        Sums over finished requests.
    mean_concurrency:
        Time-average number of requests in the system, by Little's law the sum of latencies
        over the duration. [requests]
    littles_law_ratio:
        `mean_concurrency` over the number of closed-loop clients; below 1 by the share of the
        run that drains. ``None`` in an open loop. [-]
    """

    requests: int
    unfinished: int
    duration_s: float
    gpus: int
    prefill_gpus: int
    decode_gpus: int
    prompt_tokens: int
    output_tokens: int
    requests_per_s: float
    total_tput_per_gpu: float
    input_tput_per_gpu: float
    output_tput_per_gpu: float
    input_tput_per_prefill_gpu: float
    output_tput_per_decode_gpu: float
    ttft: Distribution
    tpot: Distribution
    e2el: Distribution
    queue: Distribution
    preemptions: int
    cached_tokens: int
    accepted_drafts: int
    mean_concurrency: float
    littles_law_ratio: float | None

    @property
    def interactivity(self) -> float:
        """Tokens per second of a user after the first: 1 / median TPOT. [tokens/s]"""
        return 1 / self.tpot.median_s if self.tpot.median_s > 0 else float("nan")

    def to_dict(self) -> dict[str, Scalar]:
        """All metrics in one flat mapping, such as ``median_ttft_s``; NaN becomes ``None``."""
        flat: dict[str, Scalar] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Distribution):
                for part in fields(value):
                    name = part.name.removesuffix("_s")
                    flat[f"{name}_{field.name}_s"] = _finite(getattr(value, part.name))
            else:
                flat[field.name] = _finite(value)
        flat["interactivity"] = _finite(self.interactivity)
        return flat

    def to_inferencex(self) -> dict[str, Scalar]:
        """Result keys of InferenceX's aggregated files (``agg_*.json``). Times in [s].

        ``X_intvty`` is the reciprocal of ``X_tpot``, so that ``p99_intvty`` is the slow tail;
        a disaggregated run's input and output throughput are per GPU of one pool.
        """
        flat: dict[str, Scalar] = {
            "tput_per_gpu": self.total_tput_per_gpu,
            "output_tput_per_gpu": self.output_tput_per_decode_gpu,
            "input_tput_per_gpu": self.input_tput_per_prefill_gpu,
        }
        for metric in ("ttft", "tpot", "e2el"):
            distribution: Distribution = getattr(self, metric)
            for part in fields(distribution):
                statistic = part.name.removesuffix("_s")
                value = _finite(getattr(distribution, part.name))
                flat[f"{statistic}_{metric}"] = value
                if metric == "tpot":
                    flat[f"{statistic}_intvty"] = 1 / value if value else None
        return flat


def _finite(value: float | int | None) -> Scalar:
    return None if value is None or not np.isfinite(value) else value


def run_metrics(
    records: Records,
    *,
    gpus: int,
    prefill_gpus: int | None = None,
    decode_gpus: int | None = None,
    start_s: float | None = None,
    concurrency: int | None = None,
) -> RunMetrics:
    """InferenceX's metrics of one run.

    Parameters
    ----------
    records:
        All measured requests; warm-up requests are not among them.
    gpus:
        All GPUs of the deployment.
    prefill_gpus, decode_gpus:
        GPUs of the pools of a disaggregated deployment; ``None``: all GPUs do both.
    start_s:
        Start of the run; ``None``: the first arrival. [s]
    concurrency:
        Closed-loop clients, for the Little's-law ratio.

    Raises
    ------
    UserError
        If no request finished.
    ValueError
        If a number of GPUs is below one.
    """
    prefill_gpus = gpus if prefill_gpus is None else prefill_gpus
    decode_gpus = gpus if decode_gpus is None else decode_gpus
    if min(gpus, prefill_gpus, decode_gpus) < 1:
        raise ValueError(f"gpus are {gpus}, {prefill_gpus}, {decode_gpus}; each must be at least 1")
    total = len(records)
    records = _finished(records)
    start_s = float(records.arrival_s.min()) if start_s is None else start_s
    duration_s = float(records.finish_s.max()) - start_s
    prompt = int(records.prompt_tokens.sum())
    output = int(records.output_tokens.sum())
    mean_concurrency = float(records.e2el_s.sum()) / duration_s
    return RunMetrics(
        requests=len(records),
        unfinished=total - len(records),
        duration_s=duration_s,
        gpus=gpus,
        prefill_gpus=prefill_gpus,
        decode_gpus=decode_gpus,
        prompt_tokens=prompt,
        output_tokens=output,
        requests_per_s=len(records) / duration_s,
        total_tput_per_gpu=(prompt + output) / duration_s / gpus,
        input_tput_per_gpu=prompt / duration_s / gpus,
        output_tput_per_gpu=output / duration_s / gpus,
        input_tput_per_prefill_gpu=prompt / duration_s / prefill_gpus,
        output_tput_per_decode_gpu=output / duration_s / decode_gpus,
        ttft=Distribution.of(records.ttft_s),
        tpot=Distribution.of(records.tpot_s),
        e2el=Distribution.of(records.e2el_s),
        queue=Distribution.of(records.queue_s),
        preemptions=int(records.preemptions.sum()),
        cached_tokens=int(records.cached_tokens.sum()),
        accepted_drafts=int(records.accepted_drafts.sum()),
        mean_concurrency=mean_concurrency,
        littles_law_ratio=None if concurrency is None else mean_concurrency / concurrency,
    )


def goodput(
    records: Records,
    *,
    ttft_slo_s: float | None = None,
    tpot_slo_s: float | None = None,
    e2el_slo_s: float | None = None,
    start_s: float | None = None,
) -> Goodput:
    """Goodput under joint objectives; a latency equal to its objective meets it.

    Duration and definitions are those of `run_metrics` and of ``vllm bench serve --goodput``.

    Raises
    ------
    UserError
        If no objective is given, one is not positive, or no request finished.
    """
    objectives = {"ttft_slo_s": ttft_slo_s, "tpot_slo_s": tpot_slo_s, "e2el_slo_s": e2el_slo_s}
    if all(value is None for value in objectives.values()):
        raise UserError(f"no objective is given; give at least one of {', '.join(objectives)}")
    for name, value in objectives.items():
        if value is not None and not value > 0:
            raise UserError(f"{name} is {value}; it must be positive")
    total = len(records)
    records = _finished(records)
    start_s = float(records.arrival_s.min()) if start_s is None else start_s
    duration_s = float(records.finish_s.max()) - start_s
    met_ttft = _met(records.ttft_s, ttft_slo_s)
    met_tpot = _met(records.tpot_s, tpot_slo_s)
    met_e2el = _met(records.e2el_s, e2el_slo_s)
    joint = met_ttft & met_tpot & met_e2el
    return Goodput(
        **objectives,
        ttft_share=float(met_ttft.sum()) / total,
        tpot_share=float(met_tpot.sum()) / total,
        e2el_share=float(met_e2el.sum()) / total,
        joint_share=float(joint.sum()) / total,
        requests_per_s=float(joint.sum()) / duration_s,
        output_tokens_per_s=float(records.output_tokens[joint].sum()) / duration_s,
    )


def without_warm_up(records: Records) -> Records:
    """The records of an open loop from where MSER-5 ends the warm-up, judged on latency.

    Closed loops are measured whole, as InferenceX does.

    Raises
    ------
    UserError
        If no request finished or the run is too short to tell (see
        `simulator.analysis.statistics.mser5`).
    """
    from simulator.analysis.statistics import mser5

    records = _finished(records)
    by_arrival = np.argsort(records.arrival_s, kind="stable")
    cut = mser5(records.e2el_s[by_arrival])
    kept = np.zeros(len(records), dtype=np.bool_)
    kept[by_arrival[cut:]] = True
    return records.select(kept)


def _met(latency_s: FloatArray, slo_s: float | None) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if slo_s is None:
        return np.ones(latency_s.size, dtype=np.bool_)
    return np.isnan(latency_s) | (latency_s <= slo_s)


def _finished(records: Records) -> Records:
    if not records.finished.any():
        raise UserError(
            f"none of the {len(records)} requests finished; lower the load or run longer"
        )
    return records if records.finished.all() else records.select(records.finished)
