"""Steps of speculative decoding against renewal theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.speculation import (
    NO_SPECULATION,
    Acceptance,
    acceptance_of_length,
    draw_decode_steps,
    expected_decode_steps,
    synthetic_acceptance,
)

GOLDEN = Acceptance(survival=(0.79, 0.48, 0.22))


def draw(output_tokens, acceptance, seed=0):
    return draw_decode_steps(
        rng=np.random.default_rng(seed), output_tokens=output_tokens, acceptance=acceptance
    )


def exact_steps(tokens, acceptance):
    """Expected steps to emit at least ``tokens``, by recursion over what is left."""
    expected = [0.0]
    for left in range(1, tokens + 1):
        expected.append(
            1.0
            + sum(
                p * expected[max(left - emitted, 0)]
                for emitted, p in enumerate(acceptance.probabilities, start=1)
            )
        )
    return expected[tokens]


@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 40])
def test_drawn_mean_is_the_exact_expectation(tokens):
    steps = draw(np.full(40_000, tokens + 1), GOLDEN)
    error = steps.std() / np.sqrt(steps.size)
    assert abs(steps.mean() - exact_steps(tokens, GOLDEN)) <= 4 * error + 1e-12


@pytest.mark.parametrize("tokens", [20, 100, 500])
def test_expectation_in_equilibrium(tokens):
    closed_form = expected_decode_steps(output_tokens=[tokens + 1], acceptance=GOLDEN)[0]
    assert closed_form == pytest.approx(exact_steps(tokens, GOLDEN), rel=1e-3)


@given(
    survival=st.lists(st.floats(0, 1), min_size=1, max_size=6).map(
        lambda values: tuple(sorted(values, reverse=True))
    ),
    output_tokens=st.lists(st.integers(1, 300), min_size=1, max_size=40),
)
@settings(max_examples=50, deadline=None)
def test_steps_are_possible(survival, output_tokens):
    """No step emits more than k + 1 tokens nor less than one."""
    acceptance = Acceptance(survival=survival)
    steps = draw(output_tokens, acceptance)
    left = np.array(output_tokens) - 1
    assert np.all(steps <= left)
    assert np.all(steps * (acceptance.drafts + 1) >= left)


def test_all_or_none_accepted():
    lengths = np.arange(1, 200)
    np.testing.assert_array_equal(draw(lengths, Acceptance(survival=(0.0, 0.0))), lengths - 1)
    every = draw(lengths, Acceptance(survival=(1.0, 1.0)))
    np.testing.assert_array_equal(every, -(-(lengths - 1) // 3))
    np.testing.assert_array_equal(draw(lengths, NO_SPECULATION), lengths - 1)


def test_same_seed_same_steps():
    lengths = np.random.default_rng(5).integers(1, 500, 9000)
    np.testing.assert_array_equal(draw(lengths, GOLDEN, seed=3), draw(lengths, GOLDEN, seed=3))
    assert np.any(draw(lengths, GOLDEN, seed=3) != draw(lengths, GOLDEN, seed=4))


@given(drafts=st.integers(1, 8), share=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_means_are_met(drafts, share):
    length = 1.0 + share * drafts
    for build in (acceptance_of_length, synthetic_acceptance):
        acceptance = build(acceptance_length=length, drafts=drafts)
        assert acceptance.acceptance_length == pytest.approx(length, abs=1e-9)
        assert acceptance.probabilities.sum() == pytest.approx(1.0)
