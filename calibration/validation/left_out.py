"""Measured runs beside what a fit without them predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args
from zlib import crc32

import numpy as np

from calibration.fit.effects import FITTED
from calibration.fit.observations import METRICS
from calibration.fit.response import respond
from calibration.kernels.left_out import kernel_tables_of
from calibration.validation.anchors import move_by_anchors
from calibration.validation.baseline import nearest_label
from calibration.validation.folds import GROUPS, LeftOut, Scheme, basis_of, leave_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    import pandas as pd

    from calibration.fit.gauss_newton import Fit
    from calibration.fit.observations import Observation
    from calibration.kernels.left_out import Absent
    from calibration.measured.selection import Selection

    FloatArray = npt.NDArray[np.float64]
    Respond = Callable[..., FloatArray]

Shown = Literal[Scheme, "fitted", "specification", "sku, kernels measured"]
"""A scheme, or: the fit itself; nothing fitted; a SKU left out whose kernels stay in."""

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

LARGE_SCHEMES: tuple[Shown, ...] = ("fitted", "series", "sku", "specification")
"""Schemes that also predict the runs that are too large to be fitted."""

LOSES_TABLES: tuple[Shown, ...] = ("sku", "kernels", "vendor")
"""Schemes in which the kernel tables of what is left out are left out too."""

Simulated = Literal["all", "tables", "none"]

SHARE_SIMULATED: dict[Shown, int] = {"sku": 2, "kernels": 4, "vendor": 4, "specification": 4}
"""Of ``simulate="tables"``: of how many comparable groups of runs (model, lengths, speculation and
source alike, so that SKUs are ranked within one) one is simulated."""

SIGNS = np.array([-1.0, 1.0, 1.0])
"""What a longer time does to each of `METRICS`."""

_DESCRIBED = (
    *("run_id", "model", "sku", "engine", "precision", "speculation", "disaggregated"),
    *("gpus", "isl", "osl", "layout", "concurrency", "date", "source"),
    *("series", "sweep", "frontier", "split", "own", "trust", "trust_reasons"),
)


def predict_left_out(
    fit: Fit,
    selection: Selection,
    *,
    scheme: Shown,
    workers: int = 2,
    simulate: Simulated = "all",
    only: Sequence[int] | None = None,
    baseline: bool = True,
    simulator: Respond = respond,
) -> pd.DataFrame:
    """Every run of a fit, predicted from what a scheme leaves in.

    Parameters
    ----------
    scheme:
        What is left out together. A SKU, chip generation or vendor that is left out loses its
        kernel tables too, but for ``sku, kernels measured``.
    simulate:
        Which runs are simulated at the parameters found without them: ``all``, with those that
        were never fitted; ``tables``, a share of those of `LOSES_TABLES` and of those with
        nothing fitted, see `SHARE_SIMULATED`; or ``none``. For the others the
        linearised responses of the fit answer, which is quick and near enough where little
        changes. Runs with nothing fitted are always simulated.
    only:
        Positions among the fitted runs that ``specification`` predicts; ``None``: all of them.
    baseline:
        Whether the figures of the nearest label are looked up too.
    simulator:
        What simulates, see `calibration.fit.response.respond`.

    Returns
    -------
    One row a predicted run: what `calibration.measured.runs` says of it, ``scheme``, ``fold``,
    ``basis`` (see `hwmodels.fitted.Basis`), ``dp_attention``, and natural logarithms of
    throughput per GPU, TPOT and TTFT: ``measured_*``, ``predicted_*`` and ``copied_*`` of the
    nearest label that stays in; NaN where unknown.
    """
    left, fold = _parameters(fit, scheme, only=only)
    if simulate == "all" and scheme in LARGE_SCHEMES:
        left, fold = _with_large(left, fold, fit=fit, selection=selection, scheme=scheme)
    if simulate == "tables" and scheme in SHARE_SIMULATED and only is None:
        left, fold = _share_of(left, fold, selection=selection, fit=fit, scheme=scheme)
    everything = [*fit.observations, *selection.unfitted]
    observations = [everything[row] for row in left.rows]
    simulated = simulate == "all" or (simulate == "tables" and scheme in LOSES_TABLES)
    if len(observations) and (simulated or scheme == "specification"):
        predicted = simulator(
            observations=observations,
            logs=left.logs,
            parameters=FITTED,
            workers=workers,
            absent=[
                _absent(scheme, o, basis=known)
                for o, known in zip(observations, left.basis, strict=True)
            ],
        )
    else:
        moved = left.logs - fit.logs[left.rows]
        slopes = fit.slopes[left.rows]
        predicted = fit.responses[left.rows] + np.einsum("omp,op->om", slopes, moved)
    predicted = predicted + left.offsets[:, None] * SIGNS
    if scheme == "anchor":
        left, kept, predicted = move_by_anchors(
            left, predicted=predicted, observations=fit.observations
        )
        fold = [fold[position] for position in kept]
    runs = describe(selection, everything)
    copied = (
        nearest_label(runs, rows=left.rows, without=left.without)
        if baseline
        else np.full_like(predicted, np.nan)
    )
    table = runs.loc[left.rows].reset_index(drop=True)
    table.insert(0, "scheme", scheme)
    table.insert(1, "fold", fold)
    table.insert(2, "basis", left.basis)
    for column, name in enumerate(METRICS):
        table[f"predicted_{name}"] = predicted[:, column]
        table[f"copied_{name}"] = copied[:, column]
    return table


def _share_of(
    left: LeftOut, fold: list[str], *, selection: Selection, fit: Fit, scheme: Shown
) -> tuple[LeftOut, list[str]]:
    """The runs of every so many comparable groups, the same every time."""
    alike = selection.runs.loc[
        [fit.observations[row].row for row in left.rows],
        ["model", "isl", "osl", "speculation", "source"],
    ]
    share = SHARE_SIMULATED[scheme]
    kept = [
        position
        for position, key in enumerate(alike.astype(str).agg("/".join, axis=1))
        if crc32(key.encode()) % share == 0
    ]
    return (
        LeftOut(
            rows=[left.rows[position] for position in kept],
            logs=left.logs[kept],
            offsets=left.offsets[kept],
            basis=[left.basis[position] for position in kept],
            without=[left.without[position] for position in kept],
        ),
        [fold[position] for position in kept],
    )


def _parameters(
    fit: Fit, scheme: Shown, *, only: Sequence[int] | None
) -> tuple[LeftOut, list[str]]:
    """What a scheme leaves out, and the fold of each row of it."""
    if scheme == "fitted" or scheme == "specification":
        fitted = scheme == "fitted"
        rows = list(range(len(fit.observations)) if fitted or only is None else only)
        whole = LeftOut(
            rows=rows,
            logs=np.array([fit.level_logs(o.level) for o in fit.observations])
            if fitted
            else np.zeros((len(rows), fit.logs.shape[1])),
            offsets=np.zeros(len(rows)),
            basis=["own runs" if fitted else "nothing"] * len(rows),
            without=[frozenset([row]) for row in rows],
        )
        return whole, [fit.observations[row].series for row in rows]
    folded: Scheme = "sku" if scheme == "sku, kernels measured" else scheme
    left = leave_out(fit, scheme=folded)
    return left, [GROUPS[folded](fit.observations[row]) for row in left.rows]


def _with_large(
    left: LeftOut, fold: list[str], *, fit: Fit, selection: Selection, scheme: Shown
) -> tuple[LeftOut, list[str]]:
    """What a scheme leaves out, with the runs that were never fitted behind it.

    Such a run is predicted as the fitted runs of its fold and level are. One whose series was
    not fitted at all is predicted by the whole fit; one of a level that its fold does not have
    is left out.
    """
    group_of = GROUPS["sku" if scheme == "sku" else "series"]
    levels = {o.level for o in fit.observations}
    place = {
        (name, fit.observations[row].level): position
        for position, (name, row) in enumerate(zip(fold, left.rows, strict=True))
    }
    start = len(fit.observations)
    unfitted = frozenset(range(start, start + len(selection.unfitted)))
    rows, logs, basis, names = [], [], [], []
    without = [dropped | unfitted for dropped in left.without]
    for number, run in enumerate(selection.unfitted):
        name = group_of(run)
        position = place.get((name, run.level))
        if scheme == "specification":
            row_logs, known, dropped = np.zeros(fit.logs.shape[1]), "nothing", frozenset[int]()
        elif scheme == "fitted" or (scheme == "series" and name not in fold):
            row_logs, known = fit.level_logs(run.level), basis_of(run.level, known=levels)
            dropped = frozenset[int]()
        elif position is not None:
            row_logs, known = left.logs[position], left.basis[position]
            dropped = left.without[position]
        else:
            continue
        rows.append(start + number)
        logs.append(row_logs)
        basis.append(known)
        names.append(name)
        without.append(dropped | unfitted)
    both = LeftOut(
        rows=[*left.rows, *rows],
        logs=np.concatenate([left.logs, np.array(logs).reshape(len(rows), fit.logs.shape[1])]),
        offsets=np.concatenate([left.offsets, np.zeros(len(rows))]),
        basis=[*left.basis, *basis],
        without=without,
    )
    return both, [*fold, *names]


def _absent(scheme: Shown, observation: Observation, *, basis: str) -> Absent | None:
    """Whose kernel tables a scheme takes away from a run that it leaves out.

    Without runs of siblings and without op tables of its generation, a left-out SKU takes the
    published figures of its generation with it.
    """
    if scheme == "sku":
        known = basis == "sibling" or kernel_tables_of(observation.level.sku)
        return "sku" if known else "generation"
    if scheme == "kernels":
        return "generation"
    return "vendor" if scheme == "vendor" else None


def describe(selection: Selection, observations: Sequence[Observation]) -> pd.DataFrame:
    """What the measured table and the fit call each observation, and its measured logarithms."""
    table = selection.runs.loc[[o.row for o in observations], list(_DESCRIBED)]
    table = table.reset_index(drop=True)
    unknown = table["gpus"].isna()
    table.loc[unknown, "gpus"] = [
        o.configuration.gpus for o, blank in zip(observations, unknown, strict=True) if blank
    ]
    table["software"] = [o.level.engine for o in observations]
    table["vendor"] = [o.level.vendor for o in observations]
    table["generation"] = [o.level.generation.split("_")[0] for o in observations]
    table["level_date"] = [o.level.level_date for o in observations]
    table["dp_attention"] = [
        any(pool.layout.dp_attention for pool in o.configuration.pools) for o in observations
    ]
    table["requests_per_rank"] = [requests_per_rank(o) for o in observations]
    for column, name in enumerate(METRICS):
        table[f"measured_{name}"] = [o.measured[column] for o in observations]
    return table


def requests_per_rank(observation: Observation) -> float:
    """Clients over the attention ranks of the last pool. [requests]"""
    run = observation.configuration
    pool = run.pools[-1]
    workers = getattr(pool, "workers", 1)
    return float(run.concurrency / (workers * pool.layout.attention_dp))
