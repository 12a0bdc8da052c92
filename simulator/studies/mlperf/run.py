"""The throughput that MLPerf would report of a system."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from simulator.engines.pools import PoolLayout, deployment_label, parse_deployment
from simulator.prediction.bands import band_factors
from simulator.scenario.target import resolve_target
from simulator.scenario.worker_layouts import candidate_layouts
from simulator.studies.mlperf.request import LEAST_ARRIVALS_S, LIVES
from simulator.studies.mlperf.result import Beyond, MlperfResult, Window
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

FILLS = 12.0
"""Offline queries over the requests that a copy runs at a time: ramp and drain are a small part.

Submissions of DeepSeek-R1 that state a least count (`submissions`) have 9 to 22 times as many.
"""

MOST_QUERIES = 100_000
"""Largest Offline run that is simulated. [requests]"""

RATE_STEP, WIDER = 1.35, 1.5
"""First step of the search for a rate that passes, and the power by which steps grow. [-]"""
LARGEST_SEARCH = 200.0
COARSE, FINE = 1.06, 1.03
"""How near the largest passing rate is pinned down by short runs, and by whole ones. [-]"""
LONGER_PROMPTS = 1.3
"""By how much longer prompts are set beside the estimated ones. [-]"""
NEAREST = 0.4
"""How near the ends of a bracket the next rate may be. [-]"""
OF_LIMIT = 0.8
"""Share of the limit on TPOT that answers of a passing run take in the mean. [-]"""
SHORT = 0.2
"""Length of a short run over a whole one. [-]"""
FILLED_SAMPLE = 10_000
"""Answers that a mean over their lengths is taken of. [requests]"""
ENOUGH_QUERIES = 20_000.0
"""Queries whose 99th percentile is known to a percent or two. [requests]"""


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
            *asked.notes,
            *_as_copies(asked, copy),
            *copy.messages,
            "band: of left-out closed-loop runs of this kind of prediction",
            *_of_lengths(asked, copy),
            "prompt and output lengths are drawn independently",
            *_of_experts(copy),
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


def _of_lengths(asked: MlperfRequest, copy: Copy) -> tuple[str, ...]:
    means = f"{asked.prompt.mean_tokens:,.0f}/{asked.output.mean_tokens:,.0f} tokens in/out"
    if asked.prompt is not asked.benchmark.prompt:
        return (f"lengths of a file: {means} on average",)
    loss = copy.loss_of_longer_prompts(times=LONGER_PROMPTS)
    return (
        f"prompt lengths: {asked.benchmark.prompt_source}",
        f"output lengths: {asked.benchmark.output_source}",
        f"{means} on average; prompts {100 * (LONGER_PROMPTS - 1):.0f} % longer lower the bound on "
        f"throughput by {100 * loss:.0f} %: give your own with --lengths",
    )


def _of_experts(copy: Copy) -> tuple[str, ...]:
    ops = copy.assembly.models[-1].token_ops(rank_tokens=1.0, group_tokens=1.0)
    if not any("experts" in op.name for op in ops):
        return ()
    load = copy.configuration.expert_load
    return (f"tokens fall on the experts by a power law of {load.alpha:g}, as real text does",)


def _as_copies(asked: MlperfRequest, copy: Copy) -> tuple[str, ...]:
    """What is said where fewer workers are simulated than the system has in one copy."""
    simulated = deployment_label(copy.configuration.pools)
    if asked.deployment is None or simulated == asked.deployment:
        return ()
    return (f"{asked.deployment} counts as copies of {simulated} that a balancer feeds in turn",)


def _candidates(asked: MlperfRequest, *, target: Target) -> list[Pools]:
    if asked.deployment is not None:
        try:
            return [smallest_copy(parse_deployment(asked.deployment))]
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"deployment {error}; write DEP8, TP1 or 4xDEP2+4xDEP16") from None
    try:
        layouts = candidate_layouts(scenario=asked.base, target=target)
    except ValueError as error:
        raise UserError(str(error)) from None
    return [(PoolLayout(layout=layout),) for layout in layouts]


def smallest_copy(pools: Pools) -> Pools:
    """Pools of the smallest system of the same proportions: 4xDEP2+4xDEP16 is 4 of 1 and 1."""
    times = math.gcd(*(pool.workers for pool in pools))
    return tuple(replace(pool, workers=pool.workers // times) for pool in pools)


def _best_trial(asked: MlperfRequest, copy: Copy) -> MlperfTrial:
    if asked.scenario == "offline":
        return copy.offline(queries=_offline_queries(asked, copy))
    if asked.rate_per_s is not None:
        rate = asked.rate_per_s / copy.copies
        return copy.server(rate_per_s=rate, window=_window(asked, rate_per_s=rate))
    near = _largest_rate(
        copy,
        lambda rate: _short_window(asked, rate_per_s=rate),
        guess=copy.full_rate_per_s,
        ratio=COARSE,
        step=RATE_STEP,
    )
    return _largest_rate(
        copy,
        lambda rate: _window(asked, rate_per_s=rate),
        guess=_rate(near) * _filled(asked, near),
        ratio=FINE,
        step=COARSE,
    )


def _filled(asked: MlperfRequest, trial: MlperfTrial) -> float:
    """Requests in flight of a short run over those of a long one at the same rate. [-]

    Of answers longer than what is generated since the start only that part is there:
    ``E[min(o, x)] / E[o]`` at ``x`` tokens.
    """
    window = trial.window
    assert window is not None
    tpot_s = next(verdict.mean_s for verdict in trial.verdicts if verdict.name == "TPOT")
    since_s = 0.5 * (window.judged_from_s + window.arrivals_s)
    tokens = asked.output.sample(np.random.default_rng(0), FILLED_SAMPLE)
    return float(np.minimum(tokens, since_s / max(tpot_s, 1e-6)).mean() / tokens.mean())


def _longest_answer_s(asked: MlperfRequest) -> float:
    """About the time of the longest answer at the limit on TPOT. [s]"""
    limits = asked.limits
    assert limits is not None
    return asked.longest[1] * limits.tpot_s * OF_LIMIT


def _window(asked: MlperfRequest, *, rate_per_s: float) -> Window:
    """The run that counts: `LIVES` longest answers, and no more queries than its tails need.

    A run that is shorter than the rules ask for stands for one that is not: of its queries those
    that find a filled system are judged, by the share that early stopping grants the whole run.
    """
    if asked.arrivals_s is not None:
        return Window(arrivals_s=asked.arrivals_s, whole_s=asked.arrivals_s)
    life_s = _longest_answer_s(asked)
    enough_s = max(LIVES * life_s, min(LEAST_ARRIVALS_S, ENOUGH_QUERIES / rate_per_s))
    if enough_s >= LEAST_ARRIVALS_S:
        return Window(arrivals_s=enough_s, whole_s=enough_s)
    return Window(arrivals_s=enough_s, whole_s=LEAST_ARRIVALS_S, judged_from_s=life_s)


def _short_window(asked: MlperfRequest, *, rate_per_s: float) -> Window:
    """A run that brackets the rate: half the time, the second half of which is judged."""
    whole = _window(asked, rate_per_s=rate_per_s)
    short_s = whole.arrivals_s / 2.0 if whole.judged_from_s else SHORT * whole.arrivals_s
    return Window(arrivals_s=short_s, whole_s=whole.whole_s, judged_from_s=short_s / 2.0)


def _offline_queries(asked: MlperfRequest, copy: Copy) -> int:
    """A multiple of the data set that keeps every slot busy many times over."""
    if asked.queries is not None:
        return math.ceil(asked.queries / copy.copies)
    samples = asked.benchmark.samples
    sets = max(1, math.ceil(FILLS * copy.slots / samples))
    return min(sets, max(1, MOST_QUERIES // samples)) * samples


def _largest_rate(
    copy: Copy,
    window_at: Callable[[float], Window],
    *,
    guess: float,
    ratio: float,
    step: float,
) -> MlperfTrial:
    """The trial of the largest rate that passes, to a ratio.

    Between a rate that passes and one that does not the next one is where the binding latency
    would meet its limit by a power law, kept off the ends since beyond saturation it rises at
    once.

    Raises
    ------
    UserError
        If no rate passes.
    """
    good: MlperfTrial | None = None
    bad: MlperfTrial | None = None
    rate = guess
    while True:
        trial = copy.server(rate_per_s=rate, window=window_at(rate))
        if trial.passed:
            good = trial
        else:
            bad = trial
        if good is None:
            if rate < guess / LARGEST_SEARCH:
                worst = max(trial.verdicts, key=lambda verdict: verdict.used)
                raise UserError(
                    f"no rate passes: at {trial.rate_per_s:.3g} queries/s of a copy p99 "
                    f"{worst.name} is {worst.p99_s:.3g} s, its limit {worst.limit_s:g} s"
                )
            rate /= step
            step **= WIDER
        elif bad is None:
            rate *= step
        else:
            low, high = _rate(good), _rate(bad)
            if high <= low * ratio:
                return replace(good, beyond=_beyond(good, bad))
            rate = low * (high / low) ** _where(good, bad)


def _beyond(good: MlperfTrial, bad: MlperfTrial) -> Beyond:
    failed = (verdict for verdict in bad.verdicts if not verdict.passed)
    worst = max(failed, key=lambda verdict: verdict.used)
    return Beyond(
        ratio=_rate(bad) / _rate(good),
        name=worst.name,
        p99_s=worst.p99_s,
        limit_s=worst.limit_s,
        over=worst.over,
        allowed=worst.allowed,
    )


def _rate(trial: MlperfTrial) -> float:
    assert trial.rate_per_s is not None
    return trial.rate_per_s


def _where(good: MlperfTrial, bad: MlperfTrial) -> float:
    """Share of the way from a rate that passes to one that fails, in logarithms. [-]"""
    low, high = (max(one.used for one in trial.verdicts) for trial in (good, bad))
    if high <= max(low, 1.0):
        return 0.5
    return min(max(-math.log(low) / math.log(high / low), NEAREST), 1.0 - NEAREST)
