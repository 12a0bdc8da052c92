"""InferenceX AgentX's metrics, to the letter of its aggregation, from per-request records.

Only requests sent in the window count. Percentiles are over requests. ITL of a request is
``(E2E - TTFT) / (output - 1)``; interactivity at q is the inverse of the q-th percentile of ITL,
so that P90 interactivity is that of the slow tail; E2E-normalised interactivity takes
``E2E / output`` instead and so contains TTFT. Throughput counts cached prompt tokens, over the time
from the first sending to the last return (InferenceX 843c6254, ``utils/agentic/aggregation``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.serving.records import FloatArray, Records

PERCENTILES = (50, 75, 90, 95)
"""What AgentX publishes beside mean and standard deviation."""

X_AXES: dict[str, tuple[str, str]] = {
    "interactivity-p50": ("interactivity_p50", "P50 interactivity [tok/s/user]"),
    "interactivity-p75": ("interactivity_p75", "P75 interactivity [tok/s/user]"),
    "interactivity-p90": ("interactivity_p90", "P90 interactivity [tok/s/user]"),
    "e2e-norm-p50": ("e2e_norm_p50", "P50 E2E-normalised interactivity [tok/s/user]"),
    "e2e-norm-p75": ("e2e_norm_p75", "P75 E2E-normalised interactivity [tok/s/user]"),
    "e2e-norm-p90": ("e2e_norm_p90", "P90 E2E-normalised interactivity [tok/s/user]"),
    "ttft-p50": ("ttft_p50_s", "P50 TTFT [s]"),
    "ttft-p90": ("ttft_p90_s", "P90 TTFT [s]"),
    "e2e-p90": ("e2e_p90_s", "P90 end-to-end latency [s]"),
    "sessions": ("sessions", "live sessions"),
}
"""Axes of the dashboard: metric and label of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgenticMetrics:
    """Figures of one run of session trees.

    Attributes
    ----------
    sessions, gpus:
        Lanes, and chips of the deployment.
    requests, overflows, open_at_end:
        Returned requests of the window; those that fitted no pool; those cut off after the drain.
    duration_s:
        First sending to last return. [s]
    total_tokens_per_s_per_gpu, output_tokens_per_s_per_gpu, input_tokens_per_s_per_gpu:
        Throughput, cached prompt tokens included. [tok/s/GPU]
    computed_tokens_per_s_per_gpu:
        Prompt tokens that no tier of the cache had. [tok/s/GPU]
    hit_device, hit_host, hit_drives, hit_total, hit_infinite:
        Share of prompt tokens from the KV pool, from host memory, from tiers behind it, from all of
        them, and what an infinite cache of every session would have. [-]
    in_flight:
        Mean requests in the system (Little's law). [requests]
    """

    sessions: int
    gpus: int
    requests: int
    overflows: int
    open_at_end: int
    duration_s: float
    requests_per_s: float
    total_tokens_per_s_per_gpu: float
    output_tokens_per_s_per_gpu: float
    input_tokens_per_s_per_gpu: float
    computed_tokens_per_s_per_gpu: float
    hit_device: float
    hit_host: float
    hit_drives: float
    hit_total: float
    hit_infinite: float
    in_flight: float
    mean_prompt_tokens: float
    mean_output_tokens: float
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p75_s: float
    ttft_p90_s: float
    ttft_p95_s: float
    itl_mean_s: float
    itl_p50_s: float
    itl_p75_s: float
    itl_p90_s: float
    itl_p95_s: float
    e2e_mean_s: float
    e2e_p50_s: float
    e2e_p75_s: float
    e2e_p90_s: float
    e2e_p95_s: float
    interactivity_p50: float
    interactivity_p75: float
    interactivity_p90: float
    e2e_norm_p50: float
    e2e_norm_p75: float
    e2e_norm_p90: float

    def to_dict(self) -> dict[str, float | int]:
        """All figures by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def agentic_metrics(
    records: Records,
    *,
    sessions: int,
    gpus: int,
    hit_infinite: float = float("nan"),
    overflows: int = 0,
    open_at_end: int = 0,
) -> AgenticMetrics:
    """Metrics of the window of a run.

    Parameters
    ----------
    records:
        Requests of the window, those that were cut off left out.
    hit_infinite, overflows, open_at_end:
        What the lanes counted beside.

    Raises
    ------
    UserError
        If no request returned within the window.
    """
    if not len(records):
        raise UserError(
            "no request returned within the window: the deployment is far past what it carries; "
            "take fewer sessions, more GPUs or --kv-offload"
        )
    duration_s = float(records.finish_s.max() - records.arrival_s.min())
    prompt = float(records.prompt_tokens.sum())
    output = float(records.output_tokens.sum())
    cached = float(records.cached_tokens.sum())
    loaded = float(records.loaded_tokens.sum())
    drives = float(records.drive_tokens.sum())
    ttft = _statistics("ttft", records.ttft_s)
    itl = _statistics("itl", records.tpot_s)
    e2e = _statistics("e2e", records.e2el_s)
    per_output_s = records.e2el_s / records.output_tokens
    speeds: dict[str, float] = {}
    for q in PERCENTILES[:3]:
        speeds[f"interactivity_p{q}"] = 1.0 / itl[f"itl_p{q}_s"]
        speeds[f"e2e_norm_p{q}"] = 1.0 / float(np.percentile(per_output_s, q))
    per = duration_s * gpus
    return AgenticMetrics(
        sessions=sessions,
        gpus=gpus,
        requests=len(records),
        overflows=overflows,
        open_at_end=open_at_end,
        duration_s=duration_s,
        requests_per_s=len(records) / duration_s,
        total_tokens_per_s_per_gpu=(prompt + output) / per,
        output_tokens_per_s_per_gpu=output / per,
        input_tokens_per_s_per_gpu=prompt / per,
        computed_tokens_per_s_per_gpu=(prompt - cached) / per,
        hit_device=(cached - loaded) / prompt,
        hit_host=(loaded - drives) / prompt,
        hit_drives=drives / prompt,
        hit_total=cached / prompt,
        hit_infinite=hit_infinite,
        in_flight=float(records.e2el_s.sum()) / duration_s,
        mean_prompt_tokens=prompt / len(records),
        mean_output_tokens=output / len(records),
        **ttft,
        **itl,
        **e2e,
        **speeds,
    )


def _statistics(name: str, values_s: FloatArray) -> dict[str, float]:
    """Mean and percentiles of the values that are not NaN."""
    present = values_s[~np.isnan(values_s)]
    if not present.size:
        return {f"{name}_{which}_s": float("nan") for which in ("mean", "p50", "p75", "p90", "p95")}
    found = np.percentile(present, PERCENTILES).tolist()
    return {f"{name}_mean_s": float(present.mean())} | {
        f"{name}_p{q}_s": value for q, value in zip(PERCENTILES, found, strict=True)
    }
