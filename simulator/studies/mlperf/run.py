"""The throughput that MLPerf would report of a system."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.engines.pools import PoolLayout, deployment_label, parse_deployment
from simulator.prediction.bands import band_factors
from simulator.scenario.candidates import candidate_layouts
from simulator.scenario.target import resolve_target
from simulator.studies.mlperf.request import LEAST_ARRIVALS_S, LIVES
from simulator.studies.mlperf.result import MlperfResult
from simulator.studies.mlperf.trial import prepare_copy
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.scenario.candidates import Pools
    from simulator.scenario.target import Target
    from simulator.studies.mlperf.request import MlperfRequest
    from simulator.studies.mlperf.result import MlperfTrial
    from simulator.studies.mlperf.trial import Copy

TUNED_FOR = 4096
"""Requests in flight of a copy that recipes are looked up for: submissions fill the batch."""

FILLS = 8.0
"""Offline queries over the requests that a copy runs at a time: ramp and drain are a small part."""

MOST_QUERIES = 100_000
"""Largest Offline run that is simulated. [requests]"""

RATE_STEP = 1.4
LARGEST_SEARCH = 200.0
COARSE, FINE = 1.08, 1.02
"""How near the largest passing rate is pinned down by short runs, and by whole ones. [-]"""


def run_mlperf(
    asked: MlperfRequest, *, on_progress: Callable[[int, int, str], None] | None = None
) -> MlperfResult:
    """A system in a scenario: the largest rate that passes, a stated one, or the Offline rate.

    Of several layouts the best at Offline or, with limits, at the largest passing rate counts.

    Parameters
    ----------
    on_progress:
        Called with (deployments done, deployments in all, what is under way).

    Raises
    ------
    UserError
        If no deployment fits or none passes at any rate.
    """
    target = resolve_target(asked.base)
    done: list[tuple[Copy, MlperfTrial]] = []
    reasons: list[str] = []
    candidates = _candidates(asked, target=target)
    for position, pools in enumerate(candidates):
        if on_progress is not None:
            on_progress(position, len(candidates), deployment_label(pools))
        try:
            copy = prepare_copy(asked, target=target, pools=pools, tuned_for=TUNED_FOR)
            _check_divides(asked, copy)
            done.append((copy, _best_trial(asked, copy)))
        except UserError as error:
            if len(candidates) == 1:
                raise
            reasons.append(f"{deployment_label(pools)}: {error}")
    if not done:
        raise UserError("no deployment can run this; " + "; ".join(reasons))
    copy, trial = max(done, key=lambda pair: _rank(*pair))
    software = copy.assembly.software
    bands = band_factors(basis=software.basis, directory=copy.configuration.calibration)
    return MlperfResult(
        benchmark=asked.benchmark.name,
        scenario=asked.scenario,
        sku=target.sku.key,
        model=copy.configuration.model,
        level=software.name,
        kind=software.kind,
        deployment=deployment_label(copy.configuration.pools),
        chips=copy.copies * copy.configuration.gpus,
        copies=copy.copies,
        trial=trial,
        band=bands.get("total_tput_per_gpu"),
        others=tuple(
            (
                deployment_label(other.configuration.pools),
                run.throughput.tokens_per_s / other.configuration.gpus if run.passed else 0.0,
            )
            for other, run in done
            if other is not copy
        ),
        messages=(
            *copy.messages,
            f"prompt lengths: {asked.benchmark.prompt_source}",
            "prompt and output lengths are drawn independently",
            *reasons,
        ),
    )


def _rank(copy: Copy, trial: MlperfTrial) -> tuple[bool, float]:
    return trial.passed, trial.throughput.tokens_per_s / copy.configuration.gpus


def _check_divides(asked: MlperfRequest, copy: Copy) -> None:
    gpus = copy.configuration.gpus
    if asked.chips is not None and (asked.chips < gpus or asked.chips % gpus):
        raise UserError(
            f"chips is {asked.chips}; copies of {gpus} do not fill it, write a multiple of {gpus}"
        )


def _candidates(asked: MlperfRequest, *, target: Target) -> list[Pools]:
    if asked.deployment is not None:
        try:
            return [parse_deployment(asked.deployment)]
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"deployment {error}; write DEP8, TP1 or 4xDEP2+4xDEP16") from None
    try:
        layouts = candidate_layouts(scenario=asked.base, target=target)
    except ValueError as error:
        raise UserError(str(error)) from None
    return [(PoolLayout(layout=layout),) for layout in layouts]


def _best_trial(asked: MlperfRequest, copy: Copy) -> MlperfTrial:
    if asked.scenario == "offline":
        return copy.offline(queries=_offline_queries(asked, copy))
    longest_s = _longest_answer_s(asked)
    arrivals_s = asked.arrivals_s or max(LEAST_ARRIVALS_S, LIVES * longest_s)
    if asked.rate_per_s is not None:
        return copy.server(rate_per_s=asked.rate_per_s / copy.copies, arrivals_s=arrivals_s)
    short_s = max(LEAST_ARRIVALS_S, arrivals_s / 2)
    guess = copy.full_rate_per_s
    coarse = _largest_rate(copy, guess=guess, arrivals_s=short_s, ratio=COARSE)
    rate = coarse.rate_per_s
    assert rate is not None
    return _largest_rate(copy, guess=rate, arrivals_s=arrivals_s, ratio=FINE, step=COARSE)


def _longest_answer_s(asked: MlperfRequest) -> float:
    """About the time of the longest answer at the limit on TPOT. [s]"""
    limits = asked.limits
    assert limits is not None
    return asked.longest[1] * limits.tpot_s * 0.8


def _offline_queries(asked: MlperfRequest, copy: Copy) -> int:
    """A multiple of the data set that keeps every slot busy many times over."""
    if asked.queries is not None:
        return math.ceil(asked.queries / copy.copies)
    samples = asked.benchmark.samples
    sets = max(1, math.ceil(FILLS * copy.slots / samples))
    return min(sets, max(1, MOST_QUERIES // samples)) * samples


def _largest_rate(
    copy: Copy, *, guess: float, arrivals_s: float, ratio: float, step: float = RATE_STEP
) -> MlperfTrial:
    """The trial of the largest rate that passes, by bisection in logarithms.

    Raises
    ------
    UserError
        If no rate passes.
    """
    good: MlperfTrial | None = None
    low, high = 0.0, math.inf
    rate = guess
    while high / ratio > low:
        trial = copy.server(rate_per_s=rate, arrivals_s=arrivals_s)
        if trial.passed:
            good, low = trial, rate
            rate = rate * step if high == math.inf else math.sqrt(low * high)
        else:
            high = rate
            rate = rate / step if low == 0.0 else math.sqrt(low * high)
            if low == 0.0 and rate < guess / LARGEST_SEARCH:
                worst = max(trial.verdicts, key=lambda verdict: verdict.used)
                raise UserError(
                    f"no rate passes: at {trial.rate_per_s:.3g} queries/s of a copy p99 "
                    f"{worst.name} is {worst.p99_s:.3g} s, its limit {worst.limit_s:g} s"
                )
    assert good is not None
    return good
