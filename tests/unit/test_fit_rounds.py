"""Rounds of a fit: which runs are simulated again, and where derivatives come from."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from calibration_cases import level, observation

import calibration.fit.gauss_newton as rounds
from calibration.fit.effects import FITTED
from calibration.fit.sampled_jacobian import SAMPLED_PER_SWEEP, SampledRuns
from calibration.fit.state import earlier_slopes, save_fit

CLIENTS = (1, 2, 4, 8, 16, 32, 64)


def sweep(series, *, at, clients=CLIENTS):
    return [
        observation(row, at=at, series=series, measured=[0.0, 0.0, 0.0], concurrency=each)
        for row, each in enumerate(clients)
    ]


def log_clients(observations):
    return np.log([o.configuration.concurrency for o in observations])


def unfitted(observations):
    return np.zeros((len(observations), len(FITTED)))


def test_ends_of_a_series_are_sampled_once_for_all_dates():
    dated = [level(level_date="2026-05-01"), level(level_date="2026-06-01")]
    observations = sweep("a", at=dated[0]) + sweep("a", at=dated[1], clients=(4, 64))
    observations += sweep("b", at=dated[1], clients=(256,))
    sample = SampledRuns(observations, logs=unfitted(observations))
    taken = [observations[i] for i in sample.rows]
    assert [o.configuration.concurrency for o in taken] == [1, 64, 256]
    assert len(taken) == SAMPLED_PER_SWEEP + 1


def test_dates_far_apart_in_their_software_share_no_derivatives():
    dated = [level(level_date="2026-05-01"), level(level_date="2026-06-01")]
    observations = sweep("a", at=dated[0]) + sweep("a", at=dated[1], clients=(4, 64))
    logs = unfitted(observations)
    logs[len(CLIENTS) :] = 1.0
    taken = [observations[i] for i in SampledRuns(observations, logs=logs).rows]
    assert [o.configuration.concurrency for o in taken] == [1, 64, 4, 64]


def test_runs_of_known_acceptance_lend_no_derivative_to_others():
    known = sweep("a", at=level())
    unknown = [replace(each, fixed_acceptance=False) for each in known]
    runs = [*known, *unknown]
    assert len(SampledRuns(runs, logs=unfitted(runs)).rows) == 2 * SAMPLED_PER_SWEEP


def test_derivatives_between_sampled_runs_are_linear_in_log_concurrency():
    observations = sweep("a", at=level()) + sweep("b", at=level(), clients=(32,))
    sample = SampledRuns(observations, logs=unfitted(observations))
    slope = np.ones((3, len(FITTED)))
    sampled = log_clients([observations[i] for i in sample.rows])[:, None, None] * slope
    spread = sample.spread(sampled)
    np.testing.assert_allclose(spread, log_clients(observations)[:, None, None] * slope)


class Responses:
    """A simulator whose logarithms bend with the parameters, and a count of what it was asked."""

    def __init__(self, truth):
        self.truth = truth
        self.simulated = 0
        self.differentiated = 0

    def at(self, observations, logs):
        share = 1.0 / (1.0 + log_clients(observations))
        time = share * np.expm1(logs[:, 0]) + (1.0 - share) * 0.7 * np.expm1(logs[:, 1])
        return np.stack([-time, time, time], axis=1)

    def respond(self, *, observations, logs, **_):
        self.simulated += len(observations)
        return self.at(observations, logs)

    def jacobian(self, *, observations, logs, **_):
        self.differentiated += len(observations)
        slopes = np.zeros((len(observations), 3, len(FITTED)))
        for column in range(2):
            moved = logs.copy()
            moved[:, column] += 1e-6
            difference = self.at(observations, moved) - self.at(observations, logs)
            slopes[:, :, column] = difference / 1e-6
        return slopes


@pytest.fixture
def responses(monkeypatch):
    truth = np.zeros(len(FITTED))
    truth[:2] = (0.25, 0.2)
    made_up = Responses(truth)
    monkeypatch.setattr(rounds, "respond", made_up.respond)
    monkeypatch.setattr(rounds, "jacobian", made_up.jacobian)
    return made_up


def fit_from(responses, start, *, earlier=None):
    observations = sweep("a", at=level()) + sweep("b", at=level(), clients=(1, 16, 256))
    logs = np.tile(responses.truth, (len(observations), 1))
    said = responses.at(observations, logs)
    observations = [replace(o, measured=row) for o, row in zip(observations, said, strict=True)]
    responses.simulated = responses.differentiated = 0
    beginning = None if start is None else np.tile(start, (len(observations), 1))
    return rounds.fit_levels(
        observations,
        weights=np.full(len(observations), 20.0),
        start=beginning,
        earlier=earlier,
        workers=1,
    )


def test_the_end_of_a_fit_does_not_hang_on_its_start(responses):
    """Two parameters through a curve that bends: from nothing fitted and from the truth."""
    far = fit_from(responses, None)
    asked = responses.simulated
    near = fit_from(responses, responses.truth)
    assert responses.simulated < asked
    assert far.level_logs(level())[:2] == pytest.approx(responses.truth[:2], abs=0.02)
    assert near.level_logs(level()) == pytest.approx(far.level_logs(level()), abs=0.02)


def test_only_runs_that_move_are_simulated_again(responses):
    fit_from(responses, responses.truth)
    assert responses.simulated == len(CLIENTS) + 3
    assert responses.differentiated == 2 * SAMPLED_PER_SWEEP


def test_a_fit_tells_how_far_its_last_step_reaches_and_which_runs_said_nothing(responses):
    fit = fit_from(responses, None)
    assert 0.0 <= fit.last_moves.max() < rounds.NEAR
    assert fit.silent == 0
    away = replace(fit, logs=fit.logs - 0.3)
    assert away.last_moves.max() > rounds.NEAR
    silent = replace(fit, responses=np.where(np.arange(len(fit.logs))[:, None] < 2, np.nan, 0.0))
    assert silent.silent == 2


def test_derivatives_of_an_earlier_fit_serve_again(responses, tmp_path):
    """Of the same runs none is taken again, of an unknown one its own; nothing else changes."""
    first = fit_from(responses, responses.truth)
    ids = [f"run{row}" for row in range(len(first.observations))]
    saved = SimpleNamespace(fitted_runs=pd.DataFrame({"run_id": ids}))
    save_fit(first, saved, directory=tmp_path, seconds=0.0)
    again = fit_from(responses, responses.truth, earlier=earlier_slopes(saved, directory=tmp_path))
    assert responses.differentiated == 0
    assert again.level_logs(level()) == pytest.approx(first.level_logs(level()), abs=1e-9)
    ids[0] = "a run of mine"
    other = SimpleNamespace(fitted_runs=pd.DataFrame({"run_id": ids}))
    known = earlier_slopes(other, directory=tmp_path)
    assert np.isinf(known.logs[0]).all()
    fit_from(responses, responses.truth, earlier=known)
    assert responses.differentiated == 1


def test_large_runs_take_the_derivatives_of_smaller_ones():
    observations = sweep("a", at=level(), clients=(1, 128, 256))
    sample = SampledRuns(observations, logs=unfitted(observations))
    slopes = np.arange(2.0)[:, None, None] * np.ones((2, 3, len(FITTED)))
    assert [observations[row].configuration.concurrency for row in sample.rows] == [1, 128]
    assert sample.spread(slopes)[:, 0, 0].tolist() == [0.0, 1.0, 1.0]
