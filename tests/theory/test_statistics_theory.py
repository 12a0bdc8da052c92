"""Interval and warm-up estimators on series whose law is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulator.analysis.statistics import batch_means, mean_interval, mser5, paired_difference
from workloads.errors import UserError


def ar1(*, rng, size, phi, mean=10.0, start=None):
    """x[t] = mean + phi (x[t-1] - mean) + noise of variance 1; stationary unless `start`."""
    noise = rng.standard_normal(size)
    series = np.empty(size)
    state = noise[0] / np.sqrt(1 - phi**2) if start is None else start - mean
    for t in range(size):
        state = state if t == 0 else phi * state + noise[t]
        series[t] = mean + state
    return series


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("size", [3, 30])
def test_intervals_of_normal_values_cover_the_mean_as_stated(confidence, size):
    data = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, size))
    covered = sum(3.0 in mean_interval(row, confidence=confidence) for row in data)
    low, high = stats.binom.interval(0.999, 2000, confidence)
    assert low <= covered <= high


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 12, 41, 1000])
def test_interval_equals_scipys(count, confidence):
    data = np.random.default_rng(1).gamma(2.0, size=count)
    interval = mean_interval(data, confidence=confidence)
    expected = stats.t.interval(confidence, count - 1, loc=data.mean(), scale=stats.sem(data))
    np.testing.assert_allclose((interval.low, interval.high), expected, rtol=1e-11)
    assert interval.observations == count


def test_batch_means_cover_the_mean_of_an_autocorrelated_series():
    """Treating AR(1) values as independent fails; their batch means do not."""
    covered = naive = 0
    for seed in range(300):
        series = ar1(rng=np.random.default_rng(seed), size=4000, phi=0.9)
        covered += 10.0 in batch_means(series, confidence=0.9)
        naive += 10.0 in mean_interval(series, confidence=0.9)
    low, high = stats.binom.interval(0.999, 300, 0.9)
    assert low <= covered <= high
    assert naive < low


def test_batch_means_width_matches_the_asymptotic_variance():
    """The mean of n AR(1) values has variance 1/(1 - phi)^2/n for unit noise."""
    phi, size = 0.8, 20_000
    widths = [
        batch_means(ar1(rng=np.random.default_rng(seed), size=size, phi=phi)).half_width
        for seed in range(40)
    ]
    expected = stats.t.ppf(0.975, 19) / (1 - phi) / np.sqrt(size)
    assert np.mean(widths) == pytest.approx(expected, rel=0.08)


def test_common_random_numbers_narrow_a_difference():
    rng = np.random.default_rng(4)
    shared = rng.normal(0.0, 10.0, size=30)
    first = 5.0 + shared + rng.normal(0.0, 0.1, size=30)
    second = 4.8 + shared + rng.normal(0.0, 0.1, size=30)
    paired = paired_difference(first, second)
    assert 0.2 in paired
    assert 0.0 not in paired
    assert paired.half_width < 0.05 * mean_interval(first).half_width


@pytest.mark.parametrize("start", [60.0, -40.0])
def test_mser5_cuts_a_decaying_warm_up(start):
    """An AR(1) series that starts far off forgets its start with time constant -1/ln(phi)."""
    time_constant = -1 / np.log(0.98)
    cuts = [
        mser5(ar1(rng=np.random.default_rng(seed), size=5000, phi=0.98, start=start))
        for seed in range(20)
    ]
    assert time_constant < np.median(cuts) < 10 * time_constant


def test_mser5_removes_the_bias():
    raw, cut = [], []
    for seed in range(60):
        series = ar1(rng=np.random.default_rng(seed), size=2000, phi=0.95, start=110.0)
        raw.append(series.mean())
        cut.append(series[mser5(series) :].mean())
    assert 10.0 not in mean_interval(raw, confidence=0.999)
    assert 10.0 in mean_interval(cut, confidence=0.999)


def test_mser5_keeps_most_of_a_stationary_series():
    cuts = [mser5(np.random.default_rng(seed).standard_normal(2000)) for seed in range(40)]
    assert np.median(cuts) <= 20


@given(series=st.lists(st.floats(-1e3, 1e3), min_size=20, max_size=200))
def test_mser5_minimizes_its_score(series):
    data = np.array(series)
    means = data[: len(data) // 5 * 5].reshape(-1, 5).mean(axis=1)
    scores = [
        np.sum((means[d:] - means[d:].mean()) ** 2) / (len(means) - d) ** 2
        for d in range(len(means) // 2 + 1)
    ]
    tolerance = 1e-9 * (1 + max(scores))
    try:
        cut = mser5(data)
    except UserError:
        assert scores[-1] <= min(scores) + tolerance
    else:
        assert cut % 5 == 0
        assert scores[cut // 5] <= min(scores) + tolerance


def test_a_series_that_never_settles_is_reported():
    with pytest.raises(UserError, match="does not end within the first half"):
        mser5(np.linspace(0.0, 1.0, 1000))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: mean_interval([1.0]), "at least 2 replications"),
        (lambda: mean_interval([1.0, np.nan]), "not finite"),
        (lambda: mean_interval([1.0, 2.0], confidence=1.0), "confidence is 1.0"),
        (lambda: batch_means([1.0] * 30), "30 values in 20 batches"),
        (lambda: mser5([1.0] * 9), "9 values given"),
        (lambda: paired_difference([1, 2], [1, 2, 3]), "2 and 3 values"),
    ],
)
def test_too_little_data_is_named(call, text):
    with pytest.raises(UserError, match=text):
        call()
