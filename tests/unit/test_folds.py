import numpy as np
import pytest
from calibration_cases import level, linear_fit

from calibration.fit.effects import FITTED
from calibration.validation.folds import GROUPS, basis_of, leave_out, level_day

LEVELS = [
    level(),
    level(sku="b300"),
    level(sku="h200"),
    level(engine="sglang"),
    level(engine="sglang", sku="mi355x", level_date="2026-04-25"),
    level(engine="sglang", sku="mi355x", level_date="2026-05-21"),
    level(family="deepseek_v3", sku="h200"),
]


def truth(at):
    return np.full(len(FITTED), 0.1) + 0.2 * (at.level_date == "2026-05-21")


@pytest.fixture(scope="module")
def fit():
    return linear_fit(LEVELS, truth, per_level=4, noise=0.02)


@pytest.mark.parametrize("scheme", sorted(GROUPS))
def test_every_left_out_run_goes_with_its_whole_group(fit, scheme):
    left = leave_out(fit, scheme=scheme)
    group_of = GROUPS[scheme]
    for row, dropped in zip(left.rows, left.without, strict=True):
        assert row in dropped
        own = {
            i
            for i, o in enumerate(fit.observations)
            if group_of(o) == group_of(fit.observations[row])
        }
        assert own <= dropped


@pytest.mark.parametrize("scheme", sorted(GROUPS))
def test_every_run_is_left_out_once(fit, scheme):
    assert sorted(leave_out(fit, scheme=scheme).rows) == list(range(len(fit.observations)))


def test_what_is_left_out_does_not_shape_its_own_prediction(fit):
    """Whatever the left-out runs say, their predicted parameters stay the same."""
    from dataclasses import replace

    rows = [i for i, o in enumerate(fit.observations) if o.level.sku == "h200"]
    changed = [
        replace(o, measured=o.measured + 2.0) if i in rows else o
        for i, o in enumerate(fit.observations)
    ]
    before = leave_out(fit, scheme="sku")
    after = leave_out(replace(fit, observations=changed), scheme="sku")
    for row in rows:
        at = before.rows.index(row)
        assert after.logs[after.rows.index(row)] == pytest.approx(before.logs[at], abs=1e-6)


def test_offsets_only_where_runs_of_the_series_stay():
    series = f"deepseek_v4 vllm b200 {LEVELS[0].level_date}"
    fit = linear_fit(LEVELS, truth, per_level=4, offsets={series: 0.2})
    left = leave_out(fit, scheme="run")
    own = [
        o
        for row, o in zip(left.rows, left.offsets, strict=True)
        if fit.observations[row].series == series
    ]
    assert min(own) > 0.01
    for scheme in ("series", "anchor", "sku", "engine", "vendor", "kernels"):
        assert leave_out(fit, scheme=scheme).offsets == pytest.approx(0.0, abs=1e-9)


def test_a_forecast_knows_nothing_later_and_rests_on_the_level_before(fit):
    left = leave_out(fit, scheme="date")
    level_dates = [o.level.level_date for o in fit.observations]
    for row, logs, dropped in zip(left.rows, left.logs, left.without, strict=True):
        own = fit.observations[row].level
        if own.sku != "mi355x":
            continue
        later = {
            i
            for i, o in enumerate(fit.observations)
            if o.level.sku == "mi355x" and level_dates[i] >= own.level_date
        }
        assert later <= dropped
        if own.level_date == "2026-05-21":
            # the level of April: 0.1 of the truth, not the 0.3 of May
            assert np.median(logs) == pytest.approx(0.1, abs=0.08)


def test_undated_medians_count_as_of_their_last_day():
    assert level_day(level()).isoformat() == "2026-07-19"
    assert level_day(level(level_date="2026-05")).isoformat() == "2026-05-31"


def test_basis_by_what_remains():
    known = {level(), level(engine="sglang", sku="h200")}
    assert basis_of(level(level_date="2026-08-01"), known=known) == "own runs"
    assert basis_of(level(sku="b300"), known=known) == "sibling"
    assert basis_of(level(sku="h200"), known=known) == "other kernels"
    assert basis_of(level(engine="sglang"), known=known) == "other kernels"
