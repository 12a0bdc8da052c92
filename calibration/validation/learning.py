"""What 1, 5 and 20 runs of one's own do to one's error, from cells that are left out.

A cell is a model with an engine on a SKU in a layout: what a user has who deploys one thing. All
of its runs are left out of the fit at once; then some of those of one build come back as a user's
own, fitted on top as `calibration.fit.own_fit` does, and the others of that build are predicted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from calibration.fit.observations import METRICS
from calibration.fit.own_fit import moves_of, moves_system, with_common
from calibration.validation.folds import refits_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from calibration.fit.gauss_newton import Fit
    from calibration.fit.least_squares import Refits

    FloatArray = npt.NDArray[np.float64]

OWN_RUNS = (0, 1, 5, 20)
"""Runs of one's own. [runs]"""

MOST_CELLS = 60
"""Cells with fewer than `OWN_RUNS`' most runs that are sampled. [cells]"""

TESTED = 2
"""Runs of a cell at least that are predicted. [runs]"""


def learning_curve(
    fit: Fit,
    *,
    cells: Sequence[str],
    most: int = MOST_CELLS,
    seed: int = 0,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> pd.DataFrame:
    """Errors of predicting a cell's runs, by how many of the others are one's own.

    Parameters
    ----------
    cells:
        The cell of each observation of the fit.
    most:
        Cells that are sampled, besides those with enough runs for all of `OWN_RUNS`.
    seed:
        Of the sample, and of which runs are one's own.

    Returns
    -------
    One row a predicted run and number of own runs: ``cell``, ``level_date``, ``enough`` (whether
    the cell has runs for all of `OWN_RUNS`), ``own_runs``, and |predicted / measured - 1| by
    metric, at the linearised responses of the fit.
    """
    rng = np.random.default_rng(seed)
    refits = refits_of(fit)
    rows: list[pd.DataFrame] = []
    chosen = _chosen(fit, cells=cells, most=most, rng=rng)
    for done, (cell, left_out, build) in enumerate(chosen):
        if on_progress is not None:
            on_progress(done, len(chosen), "cells left out")
        rows.append(
            _of_cell(fit, refits, left_out=left_out, order=rng.permutation(build)).assign(
                cell=cell, level_date=fit.observations[build[0]].level.level_date
            )
        )
    return pd.concat(rows, ignore_index=True)


def _chosen(
    fit: Fit, *, cells: Sequence[str], most: int, rng: np.random.Generator
) -> list[tuple[str, list[int], list[int]]]:
    """Cells with all of their runs, and those of the build that has most of them."""
    members: dict[str, list[int]] = {}
    usable = np.asarray(np.isfinite(fit.responses[:, :2]).all(axis=1), dtype=bool)
    for row, cell in enumerate(cells):
        if usable[row]:
            members.setdefault(cell, []).append(row)
    large, small = [], []
    for cell, rows in sorted(members.items()):
        builds: dict[str, list[int]] = {}
        for row in rows:
            builds.setdefault(fit.observations[row].level.groups[-1], []).append(row)
        build = max(builds.values(), key=len)
        if len(build) >= OWN_RUNS[-1] + TESTED:
            large.append((cell, rows, build))
        elif len(build) >= OWN_RUNS[-2] + TESTED:
            small.append((cell, rows, build))
    kept = sorted(rng.permutation(len(small))[:most].tolist())
    return [*large, *(small[place] for place in kept)]


def _of_cell(
    fit: Fit, refits: Refits, *, left_out: Sequence[int], order: npt.NDArray[np.int64]
) -> pd.DataFrame:
    """Errors of the runs of one build that no number of own runs takes."""
    enough = len(order) >= OWN_RUNS[-1] + TESTED
    counts = OWN_RUNS if enough else OWN_RUNS[:-1]
    tested = order[counts[-1] :]
    level = fit.observations[order[0]].level
    per_parameter = [
        fit.space.indices(parameter=parameter, level=level) for parameter in fit.space.parameters
    ]
    columns = sorted({column for each in per_parameter for column in each})
    adds = np.array([[float(column in each) for column in columns] for each in per_parameter])
    effects, covariance = refits.known_without(left_out, columns=columns)
    known = fit.space.values(effects=effects, level=level)
    prior = with_common(adds @ covariance @ adds.T)

    def said(rows: npt.NDArray[np.int64], logs: FloatArray) -> FloatArray:
        moved = logs - fit.logs[rows]
        told: FloatArray = fit.responses[rows] + np.einsum("omp,op->om", fit.slopes[rows], moved)
        return told

    measured = np.array([fit.observations[row].measured for row in tested])
    tables = []
    for count in counts:
        own = order[:count]
        moves = np.zeros_like(known)
        if count:
            asked = moves_system(
                [fit.observations[row] for row in own],
                responses=said(own, known),
                slopes=fit.slopes[own],
                weights=fit.weights[own],
                group=np.zeros(count, dtype=np.int64),
                prior=prior,
            )
            moves = moves_of(asked, prior=prior)[0]
        missed = np.abs(np.expm1(said(tested, known + moves) - measured))
        tables.append(
            pd.DataFrame(missed, columns=list(METRICS)).assign(own_runs=count, enough=enough)
        )
    return pd.concat(tables, ignore_index=True)


def curve_table(errors: pd.DataFrame) -> pd.DataFrame:
    """Medians over cells of the median error of each, by number of own runs.

    Columns ``cells``, ``runs`` and the metrics; ``enough`` tells the cells with runs for all of
    `OWN_RUNS` from all cells, whose curve ends before.
    """
    of_cell = errors.groupby(["own_runs", "cell"])[list(METRICS)].median().reset_index()
    large = set(errors.loc[errors["enough"], "cell"])
    tables = []
    for enough in (True, False):
        rows = of_cell[of_cell["cell"].isin(large)] if enough else of_cell
        counts = OWN_RUNS if enough else OWN_RUNS[:-1]
        for count in counts:
            these = rows[rows["own_runs"] == count]
            if not len(these):
                continue
            tables.append(
                {
                    "enough": enough,
                    "own_runs": count,
                    "cells": len(these),
                    **{metric: float(these[metric].median()) for metric in METRICS},
                }
            )
    return pd.DataFrame(tables)
