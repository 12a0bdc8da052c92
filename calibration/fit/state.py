"""A fit on disk with its responses, so that a validation need not fit again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import yaml

from calibration.fit.effects import FITTED, EffectSpace
from calibration.fit.gauss_newton import EarlierSlopes, Fit
from calibration.fit.least_squares import Solution
from calibration.fit.response import respond
from simulator.output.text_file import staged, write_text
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from calibration.measured.selection import Selection

STATE_FILE = "responses.npz"
TIMING_FILE = "timing.yaml"
"""How long the fit took: the one file of a fit that another run of it does not write alike."""

CHECKED = 3
"""Runs that are simulated again to see that code and data are still those of the fit."""


def save_fit(fit: Fit, selection: Selection, *, directory: Path, seconds: float) -> Path:
    """Write a fit and its responses into a directory, and how long it took beside them."""
    write_text(directory / TIMING_FILE, yaml.safe_dump({"fit_s": round(seconds, 1)}))
    path = directory / STATE_FILE
    offsets = fit.solution.offsets
    with staged(path, make_folder=True) as stage:
        np.savez_compressed(
            stage,
            run_ids=np.array(selection.fitted_runs["run_id"].tolist()),
            parameters=np.array([parameter.name for parameter in fit.space.parameters]),
            weights=fit.weights,
            logs=fit.logs,
            responses=fit.responses,
            slopes=fit.slopes,
            effects=fit.solution.effects,
            covariance=fit.solution.covariance,
            builds=np.array(list(offsets)),
            offsets=np.array(list(offsets.values())),
        )
    return path


def check_saved(directory: Path) -> None:
    """Make sure that a directory holds the responses of a fit, before anything slow.

    Raises
    ------
    UserError
        If it does not.
    """
    path = directory / STATE_FILE
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; fit again with simulate calibrate fit --out {directory}"
        )


def load_fit(selection: Selection, *, directory: Path) -> tuple[Fit, float]:
    """A fit that was saved for the same runs, and how long it took. [s]

    Raises
    ------
    UserError
        If there is none, it was made of other runs or parameters, or the simulator has changed
        since: the quickest runs are simulated again.
    """
    path = directory / STATE_FILE
    again = "fit again with simulate calibrate fit"
    try:
        state = np.load(path)
    except OSError:
        raise UserError(f"{path} does not exist; {again} --out {directory}") from None
    names = [parameter.name for parameter in FITTED]
    same_runs = state["run_ids"].tolist() == selection.fitted_runs["run_id"].tolist()
    if not same_runs or state["parameters"].tolist() != names:
        raise UserError(f"{path} belongs to a fit of other runs or parameters; {again}")
    observations = selection.observations
    levels = sorted({o.level for o in observations}, key=lambda level: level.groups)
    fit = Fit(
        space=EffectSpace(levels=levels),
        solution=Solution(
            effects=state["effects"],
            offsets=dict(zip(state["builds"].tolist(), state["offsets"].tolist(), strict=True)),
            covariance=state["covariance"],
        ),
        observations=observations,
        weights=state["weights"],
        logs=state["logs"],
        responses=state["responses"],
        slopes=state["slopes"],
    )
    if len(fit.space) != len(fit.solution.effects) or not _still_holds(fit):
        raise UserError(f"{path} was made by another simulator or other data; {again}")
    timing = directory / TIMING_FILE
    seconds = float(read_yaml_mapping(timing)["fit_s"]) if timing.is_file() else float("nan")
    return fit, seconds


def earlier_slopes(selection: Selection, *, directory: Path) -> EarlierSlopes:
    """Derivatives of the runs that a saved fit has in common with a selection.

    Raises
    ------
    UserError
        If nothing is saved there, or by a fit of other parameters.
    """
    check_saved(directory)
    state = np.load(directory / STATE_FILE)
    if state["parameters"].tolist() != [parameter.name for parameter in FITTED]:
        raise UserError(f"{directory / STATE_FILE} has other parameters; fit without --from")
    place = {run_id: row for row, run_id in enumerate(state["run_ids"].tolist())}
    ids = selection.fitted_runs["run_id"].tolist()
    rows = np.array([place.get(run_id, -1) for run_id in ids], dtype=np.int64)
    missing = rows < 0
    logs, slopes = state["logs"][rows], state["slopes"][rows]
    known = np.isfinite(slopes).all(axis=(1, 2)) & ~missing
    logs[~known], slopes[~known] = np.inf, np.nan
    return EarlierSlopes(logs=logs, slopes=slopes)


def _still_holds(fit: Fit) -> bool:
    order = sorted(
        range(len(fit.observations)), key=lambda i: fit.observations[i].configuration.concurrency
    )
    rows = order[:CHECKED]
    now = respond(
        observations=[fit.observations[i] for i in rows],
        logs=fit.logs[rows],
        parameters=FITTED,
        workers=1,
    )
    return bool(np.allclose(now, fit.responses[rows], rtol=0.0, atol=1e-9, equal_nan=True))
