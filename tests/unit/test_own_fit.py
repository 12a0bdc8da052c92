"""A user's own runs on top of a fit: what moves, how far, and what stays as it is."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from calibration_cases import level, observation

import calibration.fit.own_fit as own_fit
from calibration.fit.effects import FITTED, EffectSpace
from calibration.fit.own_fit import moves_prior
from calibration.fit.own_runs import OwnRuns, moved_entries, own_lines
from calibration.fit.posterior import (
    Posterior,
    posterior_of,
    read_posterior,
    write_posterior,
)
from hwmodels.fitted import read_fits
from simulator.cli.main import run
from workloads.errors import UserError

AT = replace(level(engine="vllm", sku="h200", level_date="2026-09-01"), model="deepseek-v4-pro")
TRUTH = np.array([0.3, -0.2, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0])
FACTORS = {parameter.name: 0.9 for parameter in FITTED}


class Linear:
    """A simulator whose logarithms are linear in the parameters; slopes by concurrency."""

    def __init__(self):
        self.asked = 0

    def slope(self, run):
        rng = np.random.default_rng(run.configuration.concurrency)
        time = np.abs(rng.normal(size=len(FITTED))) * 0.5
        return np.stack([-time, time, time])

    def respond(self, observations, logs):
        self.asked += len(observations)
        return np.array([self.slope(o) @ row for o, row in zip(observations, logs, strict=True)])

    def slopes(self, observations, logs):
        return np.array([self.slope(o) for o in observations])


@pytest.fixture
def linear(monkeypatch):
    made_up = Linear()
    known = SimpleNamespace(factors=FACTORS, level_date="2026-08-01")
    monkeypatch.setattr(own_fit, "fitted_level", lambda **_: known)
    return made_up


def runs_of(linear, count, *, at=AT, truth=TRUTH):
    start = np.full(len(FITTED), np.log(0.9))
    found = []
    for row in range(count):
        made = observation(row, at=at, series="a", measured=[0.0] * 3, concurrency=row + 1)
        made.configuration.sku = None
        said = linear.respond([made], [start + truth])[0]
        found.append(replace(made, series=f"a{row}", measured=said))
    linear.asked = 0
    return found


def posterior(*, scale=1.0):
    space = EffectSpace(levels=[AT])
    return posterior_of(space, covariance=scale**2 * np.diag(space.widths**2))


def fitted(linear, count, *, scale=1.0, **changes):
    runs = runs_of(linear, count, **changes)
    return own_fit.fit_own(
        runs, weights=np.ones(count), posterior=posterior(scale=scale), simulator=linear
    )


def test_more_runs_bring_their_own_level_nearer_to_the_truth(linear):
    """By what it says of runs that it has not seen."""
    others = runs_of(linear, 200)[100:]
    missed = []
    for count in (1, 5, 40):
        fit = fitted(linear, count)
        assert fit.errors(fit.after)["tpot"] < fit.errors(fit.before)["tpot"]
        assert (np.diag(fit.covariance) <= np.diag(fit.prior) + 1e-12).all()
        said = [linear.slope(o)[1] @ (fit.moves[0] - TRUTH) for o in others]
        missed.append(float(np.median(np.abs(said))))
    untouched = float(np.median([abs(linear.slope(o)[1] @ TRUTH) for o in others]))
    assert missed[2] < missed[1] < missed[0] < untouched
    assert missed[2] < 0.35 * missed[0]


def test_what_the_fit_knows_well_moves_less(linear):
    known = fitted(linear, 3, scale=0.01)
    unknown = fitted(linear, 3, scale=1.0)
    assert np.abs(known.moves).sum() < 0.9 * np.abs(unknown.moves).sum()
    # the level's own addend is never known before
    widths = np.array([parameter.widths[-1] for parameter in FITTED])
    alike = np.diag(moves_prior({"a": AT}, posterior=posterior(scale=0.0))) - widths**2
    assert set(alike.round(6)) == {0.0, round(own_fit.COMMON_WIDTH**2, 6)}
    assert np.diag(known.prior) == pytest.approx(widths**2 + alike, rel=0.01, abs=2e-4)


def test_each_run_is_simulated_a_few_times_and_only_ends_of_sweeps_are_varied(linear):
    fitted(linear, 20)
    assert linear.asked <= 20 * (1 + own_fit.MOST_MOVES)


def test_undated_runs_move_the_level_that_predictions_have(linear):
    undated = replace(AT, level_date="median-2026-07")
    fit = fitted(linear, 2, at=undated)
    assert list(fit.levels) == ["deepseek_v4/vllm/h200/2026-08-01"]


def test_two_levels_move_apart_but_share_what_their_runs_share(linear):
    other = replace(AT, level_date="2026-09-02")
    runs = [*runs_of(linear, 3), *runs_of(linear, 3, at=other, truth=-TRUTH)]
    fit = own_fit.fit_own(runs, weights=np.ones(6), posterior=posterior(), simulator=linear)
    assert fit.moves.shape == (2, len(FITTED))
    assert fit.moves[0, 0] > 0.0 > fit.moves[1, 0]
    alone = fitted(linear, 3)
    assert np.abs(fit.moves[0]).sum() < np.abs(alone.moves[0]).sum()


def test_a_run_is_predicted_from_the_others(linear):
    fit = fitted(linear, 8)
    missed = fit.errors(fit.alone)["tpot"]
    assert fit.errors(fit.after)["tpot"] <= missed < fit.errors(fit.before)["tpot"]
    assert np.isnan(fitted(linear, 1).alone).all()


def own_runs(linear, count=3):
    fit = fitted(linear, count)
    source = f"{count} own runs of mine.csv"
    return OwnRuns(fit=fit, source=source, start=None, notes=("a note",), seconds=1.0)


def test_only_the_own_level_of_the_file_moves(linear, monkeypatch):
    monkeypatch.setattr("calibration.fit.own_runs.forms_of", lambda observations: {})
    own = own_runs(linear)
    before, after = read_fits(), moved_entries(own)
    name = "deepseek_v4/vllm/h200/2026-09-01"
    assert name in after[0]["runs"]
    for parameter, effects in before[0]["effects"].items():
        moved = after[0]["effects"][parameter]
        for effect, groups in effects.items():
            kept = {k: v for k, v in moved[effect].items() if k != name}
            assert kept == groups
    assert after[0]["source"].endswith("; 3 own runs of mine.csv")
    lines = "\n".join(own_lines(own))
    assert "note: a note" in lines
    assert "median error of TPOT" in lines
    assert "t0_scale" in lines


def test_a_posterior_survives_the_file_and_belongs_to_its_fit(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    space = EffectSpace(levels=[AT, level(sku="b200")])
    root = rng.normal(size=(len(space), len(space))) * 0.01
    whole = posterior_of(space, covariance=root @ root.T)
    assert not any(effect == "level" for _, effect, _ in whole.columns)
    assert len(whole.columns) < len(space)
    written = []
    for name in ("one", "two"):
        path = write_posterior(whole, directory=tmp_path / name, fits=read_fits())
        written.append(path.read_bytes())
    assert written[0] == written[1]
    monkeypatch.setattr("calibration.fit.posterior.read_fits", lambda directory: read_fits())
    read = read_posterior(tmp_path / "one")
    assert read.columns == whole.columns
    np.testing.assert_allclose(read.covariance, whole.covariance, rtol=1e-6, atol=1e-12)
    monkeypatch.setattr("calibration.fit.posterior.read_fits", lambda directory: [])
    with pytest.raises(UserError, match="is of another fit"):
        read_posterior(tmp_path / "one")
    (tmp_path / "two" / "posterior.npz").write_bytes(written[0][:400])
    with pytest.raises(UserError, match="cannot be read"):
        read_posterior(tmp_path / "two")
    with pytest.raises(UserError, match="does not exist"):
        read_posterior(tmp_path)


def test_the_prior_of_unknown_effects_is_the_width_of_their_prior():
    space = EffectSpace(levels=[AT])
    nothing = Posterior(columns={}, covariance=np.zeros((0, 0)))
    assert nothing.prior(space) == pytest.approx(np.diag(space.widths**2))


def test_the_shipped_fit_has_its_posterior():
    shipped = read_posterior()
    assert len(shipped.columns) > 100
    assert shipped.note == "", "ship posterior.npz of the fit: calibration/ship.py"
    assert (np.diag(shipped.covariance) > 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own.csv", "--structure"], "--structure is of published runs"),
        (["own.csv", "--models", "llama-3.1-8b"], "--models names models of published runs"),
        (["--fact", "sku=h200"], "--fact describes your own runs"),
        (["nowhere.csv"], "nowhere.csv does not exist"),
    ],
)
def test_contradictory_flags_are_refused(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run(["calibrate", "fit", *arguments, "--out", "o"]) == 2
    assert message in capsys.readouterr().err
