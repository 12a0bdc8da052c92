from dataclasses import replace

import numpy as np
import pytest
from calibration_cases import level, linear_fit, observation, solved, system_of

from calibration.fit.arrowhead import Arrowhead
from calibration.fit.effects import FITTED, EffectSpace
from calibration.fit.least_squares import Refits, solve
from calibration.fit.observations import NOISE

LEVELS = [level(), level(sku="b300"), level(sku="h200"), level(engine="sglang")]


def truth(at):
    """Log parameters that differ by engine and chip generation only."""
    base = np.linspace(0.1, 0.2, len(FITTED))
    return base + 0.05 * (at.engine == "sglang") - 0.05 * (at.generation == "hopper")


def test_known_parameters_come_back_from_exact_responses():
    fit = linear_fit(LEVELS, truth, per_level=40)
    for at in LEVELS:
        # priors and series offsets pull a little, never more than a few hundredths
        assert fit.level_logs(at) == pytest.approx(truth(at), abs=0.03)


def test_solve_and_a_system_agree():
    fit = linear_fit(LEVELS, truth, noise=0.05)
    direct = solve(
        space=fit.space,
        observations=fit.observations,
        responses=fit.responses,
        slopes=fit.slopes,
        logs=fit.logs,
        weights=fit.weights,
    )
    assert direct.effects == pytest.approx(system_of(fit).solve().effects)


def test_more_runs_move_a_level_further_from_the_prior():
    """One run moves it a little, many move it a lot: shrinkage."""
    far = np.full(len(FITTED), 0.2)
    reached = []
    for runs in (1, 4, 60):
        fit = linear_fit([level()], lambda at: far, per_level=runs)
        reached.append(float(np.linalg.norm(fit.level_logs(level()) - far)))
    assert reached[0] > reached[1] > reached[2]
    assert reached[2] < 0.25 * reached[0]


def test_without_runs_everything_stays_at_the_prior():
    fit = linear_fit(LEVELS, truth)
    silent = system_of(fit).solve(without=range(len(fit.observations)))
    assert silent.effects == pytest.approx(0.0)
    assert np.diag(silent.covariance) == pytest.approx(fit.space.widths**2)


def test_what_a_build_shares_becomes_its_offset_and_not_a_parameter():
    shifted = {f"deepseek_v4 vllm b200 {LEVELS[0].level_date}": 0.2}
    fit = linear_fit(LEVELS, truth, per_level=30, offsets=shifted)
    plain = linear_fit(LEVELS, truth, per_level=30)
    offset = fit.solution.offsets["deepseek_v4 vllm b200 median-2026-07 @median-2026-07"]
    assert offset == pytest.approx(0.2, abs=0.05)
    moved = fit.level_logs(LEVELS[0]) - plain.level_logs(LEVELS[0])
    assert np.abs(moved).max() < 0.1


def test_one_outlier_hardly_moves_the_rest():
    fit = linear_fit(LEVELS, truth, per_level=20)
    spoiled = list(fit.observations)
    spoiled[0] = replace(spoiled[0], measured=spoiled[0].measured + np.array([3.0, -3.0, 3.0]))
    after = solved(replace(fit, observations=spoiled))
    moved = after.level_logs(LEVELS[0]) - fit.level_logs(LEVELS[0])
    assert np.abs(moved).max() < 0.1


def test_trust_decides_between_runs_that_disagree():
    """Of two contradicting runs of one series the one trusted more is followed."""
    at = level()
    space = EffectSpace(levels=[at])
    slopes = np.zeros((2, 3, len(FITTED)))
    slopes[:, 0, 0] = 1.0
    runs = [
        observation(row, at=at, series="s", measured=[value, np.nan, np.nan])
        for row, value in enumerate((0.1, -0.1))
    ]
    found = [
        solve(
            space=space,
            observations=runs,
            responses=np.zeros((2, 3)),
            slopes=slopes,
            logs=np.zeros((2, len(FITTED))),
            weights=np.array(weights),
        )
        for weights in ((1.0, 0.3), (0.3, 1.0))
    ]
    first, second = (space.values(effects=each.effects, level=at)[0] for each in found)
    assert first > 0.0 > second
    assert first == pytest.approx(-second)


def test_the_spread_of_a_parameter_falls_with_runs():
    few, many = (linear_fit([level()], truth, per_level=runs) for runs in (2, 50))
    assert np.all(np.diag(many.solution.covariance) <= np.diag(few.solution.covariance) + 1e-12)
    assert many.solution.covariance[0, 0] < few.solution.covariance[0, 0]


def test_runs_without_any_figure_do_not_enter():
    fit = linear_fit(LEVELS, truth)
    blank = [replace(each, measured=np.full(3, np.nan)) for each in fit.observations]
    system = system_of(replace(fit, observations=blank))
    assert system.design.shape == (0, len(fit.space) + len(system.builds))
    assert system.solve().effects == pytest.approx(0.0)


def test_ttft_counts_less_than_throughput():
    assert NOISE["ttft"] > NOISE["throughput"]
    fit = linear_fit([level()], truth)
    system = system_of(fit)
    assert system.trust[2] < system.trust[0]


@pytest.mark.parametrize("count", [1, 3, 11])
def test_a_refit_by_update_is_that_from_scratch_at_the_same_weights(count):
    fit = linear_fit(LEVELS, truth, per_level=5, noise=0.05)
    system = system_of(fit)
    without = list(range(count))
    updated = Refits(system, start=fit.solution).without(without, rounds=1)
    again = system.solve(without=without, start=fit.solution, rounds=1)
    np.testing.assert_allclose(updated.effects, again.effects, atol=1e-9)
    assert updated.offsets == pytest.approx(again.offsets, abs=1e-9)


def test_levels_eliminated_one_by_one_solve_the_same_equations():
    rng = np.random.default_rng(3)
    rows, shared, levels, own = 60, 5, 4, 3
    columns = shared + levels * own
    design = np.zeros((rows, columns))
    block = np.full(columns, -1)
    for number in range(levels):
        block[shared + number * own : shared + (number + 1) * own] = number
    for row in range(rows):
        number = row % levels
        design[row, :shared] = rng.normal(size=shared)
        design[row, block == number] = rng.normal(size=own)
    targets, widths = rng.normal(size=rows), rng.uniform(0.5, 2.0, columns)
    weights = rng.uniform(0.5, 2.0, rows)
    arrowhead = Arrowhead(design=design, targets=targets, widths=widths, block=block)
    solved = arrowhead.solved(weights)
    for out in (np.zeros(rows, bool), np.arange(rows) == 7, np.arange(rows) % 4 == 1):
        w = np.where(out, 0.0, weights)
        normal = np.diag(widths**-2.0) + design.T @ (w[:, None] * design)
        direct = np.linalg.solve(normal, design.T @ (w * targets))
        assert solved.without(out) == pytest.approx(direct, rel=1e-8, abs=1e-10)
        again = arrowhead.solved(w)
        assert again.solution == pytest.approx(direct, rel=1e-8, abs=1e-10)
        for count in (columns, columns - own, 2):
            expected = np.linalg.inv(normal)[:count, :count]
            assert again.covariance(count) == pytest.approx(expected, rel=1e-7, abs=1e-10)
