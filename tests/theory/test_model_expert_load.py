"""Limits of expert load: few tokens, many tokens, one rank."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import UserError
from workloads.models.expert_load import ExpertLoad, experts_touched, load_table

PRO = {"experts": 384, "experts_per_token": 6}


def test_one_token_touches_its_experts():
    assert experts_touched(tokens=1, **PRO) == pytest.approx(6.0)


def test_many_tokens_touch_all():
    assert experts_touched(tokens=1e6, **PRO) == pytest.approx(384.0)


@given(tokens=st.integers(1, 100_000))
@settings(max_examples=50, deadline=None)
def test_touched_is_bounded(tokens):
    touched = experts_touched(tokens=tokens, **PRO)
    assert 6.0 - 1e-9 <= touched <= min(384.0, 6.0 * tokens) + 1e-9


@pytest.mark.parametrize("ep", [2, 8, 32])
def test_balanced_load_is_the_mean(ep):
    table = load_table(load=ExpertLoad(kind="balanced"), ep=ep, **PRO)
    tokens = np.array([1.0, 100.0, 1e5])
    np.testing.assert_array_equal(table.slowest_rank_factor(tokens=tokens), 1.0)


@pytest.mark.parametrize("kind", ["uniform", "power_law", "balanced"])
def test_one_rank_has_all(kind):
    table = load_table(load=ExpertLoad(kind=kind), ep=1, **PRO)
    assert float(table.slowest_rank_factor(tokens=777.0)) == 1.0


def test_uniform_imbalance_vanishes_as_the_multinomial_predicts():
    """Expected maximum of ep nearly normal counts: ``1 + c sqrt((ep - 1) / (T k))``.

    c is the mean maximum of 8 standard normals, 1.42, raised by ``sqrt(ep / (ep - 1))`` since
    the counts sum to a constant.
    """
    table = load_table(load=ExpertLoad(), ep=8, **PRO)
    for tokens in (256, 1024, 4096, 65536):
        factor = float(table.slowest_rank_factor(tokens=float(tokens)))
        predicted = 1.0 + 1.42 * math.sqrt(8 / 7) * math.sqrt(7 / (tokens * 6))
        assert factor - 1.0 == pytest.approx(predicted - 1.0, rel=0.25), tokens


def test_single_token_on_many_ranks():
    """Six pairs on many ranks: the fullest has one, two at times; never less than one."""
    table = load_table(load=ExpertLoad(), ep=384, **PRO)
    pairs = float(table.slowest_rank_factor(tokens=1.0)) * 6 / 384
    assert 1.0 <= pairs < 1.3


def test_skew_touches_fewer_experts_and_loads_one_rank_more():
    uniform = load_table(load=ExpertLoad(), ep=8, **PRO)
    skewed = load_table(load=ExpertLoad(kind="power_law"), ep=8, **PRO)
    tokens = np.array([256.0, 2048.0, 16384.0])
    assert np.all(skewed.touched_share(tokens=tokens) < uniform.touched_share(tokens=tokens))
    assert np.all(
        skewed.slowest_rank_factor(tokens=tokens) > uniform.slowest_rank_factor(tokens=tokens)
    )


def test_table_does_not_change_between_runs():
    load_table.cache_clear()
    first = load_table(load=ExpertLoad(kind="power_law"), ep=8, **PRO)
    load_table.cache_clear()
    second = load_table(load=ExpertLoad(kind="power_law"), ep=8, **PRO)
    np.testing.assert_array_equal(first.factor, second.factor)
    np.testing.assert_array_equal(first.touched, second.touched)


@pytest.mark.parametrize("bad", [{"kind": "unifrom"}, {"alpha": 0.0}, {"redundant_experts": -1}])
def test_bad_load_is_refused(bad):
    with pytest.raises(UserError):
        ExpertLoad(**bad)
