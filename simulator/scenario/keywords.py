"""Keyword settings of the Python functions, for type checkers and editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_Value = TypeVar("_Value")
OneOrMore: TypeAlias = "_Value | Sequence[_Value]"
Precision: TypeAlias = Literal["fp4", "fp8", "int4", "bf16"]
Workers: TypeAlias = "int | str | Sequence[int | str]"
"""Numbers of workers: ``2``, ``[1, 2]`` or ``"1-4"``."""


class CurveKeywords(TypedDict, total=False):
    """Settings of one curve.

    Fields of `simulator.scenario.settings.Scenario`, which has their meanings.
    """

    sku: str
    model: str
    engine: str
    precision: Precision
    gpus: int
    tp: int
    ep: int
    dp_attention: bool
    isl: int
    osl: int
    length_distribution: str
    concurrency: Sequence[int]
    spec: str
    acceptance_length: float
    economics: str
    overrides: Mapping[str, float]
    calibration: Path
    seed: int


class SweepKeywords(TypedDict, total=False):
    """Settings of a sweep, each a value or several; pools as in `simulator.scenario.grid`."""

    sku: OneOrMore[str]
    model: OneOrMore[str]
    engine: OneOrMore[str]
    precision: OneOrMore[Precision]
    gpus: Workers
    tp: Workers
    ep: Workers
    dp_attention: OneOrMore[bool]
    isl: Workers
    osl: Workers
    length_distribution: OneOrMore[str]
    concurrency: Sequence[int]
    spec: OneOrMore[str]
    acceptance_length: OneOrMore[float]
    economics: OneOrMore[str]
    overrides: Mapping[str, OneOrMore[float]]
    calibration: Path
    seed: Workers
    prefill: Workers
    decode: Workers
    prefill_tp: Workers
    prefill_ep: Workers
    prefill_dp_attention: OneOrMore[bool]


class ContestantKeywords(TypedDict, total=False):
    """Settings that all contestants of a comparison share; layouts may be several."""

    model: str
    engine: str
    precision: Precision
    gpus: Workers
    tp: Workers
    ep: Workers
    dp_attention: OneOrMore[bool]
    isl: int
    osl: int
    length_distribution: str
    concurrency: Sequence[int]
    spec: str
    acceptance_length: float
    economics: str
    overrides: Mapping[str, float]
    calibration: Path
    seed: int
    prefill: Workers
    decode: Workers
    prefill_tp: Workers
    prefill_ep: Workers
    prefill_dp_attention: OneOrMore[bool]


class TimelineKeywords(ContestantKeywords, total=False):
    """Settings of a timeline: one SKU, and an engine without a date."""

    sku: str


class LoadKeywords(TypedDict, total=False):
    """Settings of a load.

    Fields of `Scenario` and `simulator.studies.load.request.LoadSettings`.
    """

    sku: str
    model: str
    engine: str
    precision: Precision
    gpus: int
    tp: int
    ep: int
    dp_attention: bool
    isl: int
    osl: int
    length_distribution: str
    spec: str
    acceptance_length: float
    overrides: Mapping[str, float]
    calibration: Path
    seed: int
    workload: str
    on_error: Literal["raise", "skip"]
    block_tokens: int
    output_tokens: int
    characters_per_token: float
    arrivals: Literal["poisson", "gamma", "sinusoidal", "steps", "deterministic", "trace"]
    rate: float
    burstiness: float
    cv: float
    peak: float
    period: float
    steps: Sequence[tuple[float, float]]
    concurrency: int
    requests: int
    duration: float
    deployment: str
    prefill_workers: int
    decode_workers: int
    replicas: int
    routing: Literal["round_robin", "least_loaded", "kv_aware"]
    tuned_for: int
    replications: int
    ttft_slo: float
    tpot_slo: float
    expert_load: str
    redundant_experts: int
