"""Arrival processes against their laws: theory lies in an interval built from replications."""

import numpy as np
import pytest
from scipy import stats

from simulator.analysis.statistics import mean_interval
from workloads.requests.arrivals import (
    Deterministic,
    Gamma,
    RateWindow,
    Sinusoidal,
    Steps,
    Superposition,
    poisson,
)

REPLICATIONS = 60
CONFIDENCE = 0.999


def times_until(process, *, seed, duration_s):
    taken = []
    for block in process.times(np.random.default_rng(seed)):
        taken.append(block[block <= duration_s])
        if block[-1] > duration_s:
            break
    return np.concatenate(taken)


def replicate(measure, process, *, duration_s):
    return [
        measure(times_until(process, seed=seed, duration_s=duration_s))
        for seed in range(REPLICATIONS)
    ]


def assert_theory(values, expected):
    interval = mean_interval(values, confidence=CONFIDENCE)
    assert expected in interval
    # an interval too wide to tell anything would pass
    assert interval.half_width < 0.2 * abs(expected)


STEPS = Steps(
    windows=(
        RateWindow(duration_s=30.0, rate_per_s=9.0),
        RateWindow(duration_s=10.0, rate_per_s=0.0),
        RateWindow(duration_s=60.0, rate_per_s=3.0),
    ),
    repeat=True,
)
DAY = Sinusoidal(low_per_s=1.0, high_per_s=9.0, period_s=100.0)


@pytest.mark.parametrize(
    "process",
    [
        poisson(rate_per_s=4.0),
        Gamma(rate_per_s=4.0, burstiness=0.25),
        Gamma(rate_per_s=4.0, burstiness=16.0),
        DAY,
        STEPS,
        Deterministic(rate_per_s=4.0),
        Superposition(clients=(poisson(rate_per_s=1.0), Gamma(rate_per_s=3.0, burstiness=0.5))),
    ],
    ids=lambda process: type(process).__name__,
)
def test_mean_rate(process):
    counts = replicate(np.size, process, duration_s=1000.0)
    assert np.mean(counts) == pytest.approx(process.mean_rate_per_s * 1000.0, rel=0.01)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_coefficient_of_variation_of_gamma_gaps(burstiness):
    process = Gamma(rate_per_s=5.0, burstiness=burstiness)
    values = replicate(
        lambda t: np.diff(t).var() / np.diff(t).mean() ** 2, process, duration_s=2000.0
    )
    assert_theory(values, 1 / burstiness)


def test_poisson_gaps_are_exponential():
    gaps = np.diff(times_until(poisson(rate_per_s=2.0), seed=7, duration_s=20_000.0))
    assert stats.kstest(gaps, "expon", args=(0, 0.5)).pvalue > 0.001
    assert stats.kstest(gaps, "expon", args=(0, 0.52)).pvalue < 0.001


@pytest.mark.parametrize(
    "process",
    [
        poisson(rate_per_s=4.0),
        # the union of Poisson streams and a Poisson stream over rates are Poisson again
        Superposition(clients=(poisson(rate_per_s=1.0), poisson(rate_per_s=3.0))),
        Steps(windows=(RateWindow(duration_s=50.0, rate_per_s=4.0),), repeat=True),
        Sinusoidal(low_per_s=4.0, high_per_s=4.0, period_s=50.0),
    ],
    ids=lambda process: type(process).__name__,
)
def test_poisson_counts_have_variance_equal_to_their_mean(process):
    def dispersion(times_s):
        counts = np.histogram(times_s, bins=200, range=(0.0, 1000.0))[0]
        return counts.var(ddof=1) / counts.mean()

    assert_theory(replicate(dispersion, process, duration_s=1000.0), 1.0)


def test_bursty_counts_have_the_renewal_variance():
    """A renewal process has Var N(t) / E N(t) -> CV^2 of its gaps."""

    def dispersion(times_s):
        counts = np.histogram(times_s, bins=80, range=(0.0, 4000.0))[0]
        return counts.var(ddof=1) / counts.mean()

    process = Gamma(rate_per_s=10.0, burstiness=0.25)
    assert_theory(replicate(dispersion, process, duration_s=4000.0), 4.0)


@pytest.mark.parametrize("quarter", range(4))
def test_sinusoidal_rate_by_quarter_of_the_cycle(quarter):
    """Integral of the rate: mean rate in a quarter is 5 -+ 4 * 2/pi."""
    start = quarter / 4

    def rate_in_quarter(times_s):
        phase = (times_s / 100.0) % 1.0
        return np.count_nonzero((phase >= start) & (phase < start + 0.25)) / 250.0

    swing = 4.0 * 2 / np.pi
    expected = 5.0 - swing if quarter in (0, 3) else 5.0 + swing
    assert_theory(replicate(rate_in_quarter, DAY, duration_s=1000.0), expected)


def test_step_rates():
    def rates(times_s):
        position_s = times_s % 100.0
        return (
            np.count_nonzero(position_s < 30.0) / 300.0,
            np.count_nonzero(position_s >= 40.0) / 600.0,
        )

    first, second = zip(*replicate(rates, STEPS, duration_s=1000.0), strict=True)
    assert_theory(first, 9.0)
    assert_theory(second, 3.0)
