from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import UserError
from workloads.requests.arrivals import (
    Deterministic,
    Gamma,
    RateWindow,
    Sinusoidal,
    Steps,
    Superposition,
    poisson,
)

PROCESSES = {
    "deterministic": Deterministic(rate_per_s=4.0),
    "poisson": poisson(rate_per_s=3.0),
    "bursty": Gamma(rate_per_s=3.0, burstiness=0.2),
    "day": Sinusoidal(low_per_s=1.0, high_per_s=24.0, period_s=900.0),
    "steps": Steps(
        windows=(
            RateWindow(duration_s=10.0, rate_per_s=5.0),
            RateWindow(duration_s=5.0, rate_per_s=0.0),
            RateWindow(duration_s=20.0, rate_per_s=1.0),
        ),
        repeat=True,
    ),
    "clients": Superposition(
        clients=(Gamma(rate_per_s=2.0, burstiness=0.1), poisson(rate_per_s=0.5))
    ),
}


def first_times(process, *, seed, count, chunk):
    blocks = process.times(np.random.default_rng(seed), chunk=chunk)
    taken = []
    while sum(block.size for block in taken) < count:
        taken.append(next(blocks))
    return np.concatenate(taken)[:count]


@pytest.mark.parametrize("name", PROCESSES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), chunk=st.integers(1, 300))
def test_times_are_ordered_and_do_not_depend_on_the_chunk(name, seed, chunk):
    process = PROCESSES[name]
    times_s = first_times(process, seed=seed, count=300, chunk=chunk)
    assert np.all(np.diff(times_s) >= 0)
    assert times_s[0] >= 0
    np.testing.assert_array_equal(times_s, first_times(process, seed=seed, count=300, chunk=128))


def test_deterministic_arrivals_start_at_zero():
    assert first_times(Deterministic(rate_per_s=4.0), seed=0, count=4, chunk=3).tolist() == [
        0.0,
        0.25,
        0.5,
        0.75,
    ]


def test_no_arrival_falls_into_a_window_without_rate():
    times_s = first_times(PROCESSES["steps"], seed=1, count=2000, chunk=512)
    position_s = times_s % 35.0
    assert not np.any((position_s > 10.0) & (position_s < 15.0))
    assert np.any(position_s < 10.0)
    assert np.any(position_s > 15.0)


def test_steps_end_with_their_last_window():
    process = Steps(windows=(RateWindow(duration_s=100.0, rate_per_s=10.0),))
    times_s = np.concatenate(list(process.times(np.random.default_rng(0), chunk=64)))
    assert times_s.max() <= 100.0
    assert 850 < times_s.size < 1150


def test_a_superposition_of_streams_that_end_keeps_every_arrival():
    window = (RateWindow(duration_s=50.0, rate_per_s=2.0),)
    clients = (Steps(windows=window), Steps(windows=window))
    merged = np.concatenate(
        list(Superposition(clients=clients).times(np.random.default_rng(3), chunk=7))
    )
    children = np.random.default_rng(3).spawn(2)
    separate = [
        time_s
        for client, child in zip(clients, children, strict=True)
        for block in client.times(child, chunk=7)
        for time_s in block
    ]
    assert merged.tolist() == sorted(separate)


def test_the_day_starts_at_its_lowest_rate():
    day = Sinusoidal(low_per_s=1.0, high_per_s=24.0, period_s=900.0)
    np.testing.assert_allclose(day.rate_per_s(np.array([0.0, 450.0, 225.0])), [1.0, 24.0, 12.5])


def test_gamma_from_coefficient_of_variation():
    assert Gamma.with_cv(rate_per_s=2.0, cv=2.0).burstiness == 0.25


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: poisson(rate_per_s=0.0), "rate_per_s is 0.0"),
        (lambda: Gamma(rate_per_s=1.0, burstiness=-1.0), "burstiness is -1.0"),
        (lambda: Gamma(rate_per_s=float("inf")), "must be positive and finite"),
        (lambda: Sinusoidal(low_per_s=5, high_per_s=4, period_s=1), "low_per_s is 5"),
        (lambda: Sinusoidal(low_per_s=1, high_per_s=4, period_s=0), "period_s is 0"),
        (lambda: RateWindow(duration_s=0.0, rate_per_s=1.0), "duration_s is 0.0"),
        (lambda: RateWindow(duration_s=1.0, rate_per_s=-1.0), "rate_per_s is -1.0"),
        (lambda: Steps(windows=()), "at least one rate_per_s above 0"),
        (lambda: Superposition(clients=()), "clients is empty"),
    ],
)
def test_bad_parameters_are_named(build, text):
    with pytest.raises(UserError, match=text):
        build()


def test_a_stream_of_arrivals_holds_one_chunk():
    blocks = islice(poisson(rate_per_s=1.0).times(np.random.default_rng(0), chunk=1000), 50)
    assert {block.size for block in blocks} == {1000}
