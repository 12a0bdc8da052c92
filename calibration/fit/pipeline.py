"""From measured runs to a calibration that every command can be pointed at."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from calibration.fit.effects import FITTED
from calibration.fit.files import fit_entry, write_fit
from calibration.fit.gauss_newton import fit_levels
from calibration.fit.observations import METRICS
from calibration.fit.posterior import posterior_of, write_posterior
from calibration.fit.residuals import residual_table, write_residuals
from calibration.fit.sampled_jacobian import SampledRuns
from calibration.fit.state import earlier_slopes
from calibration.measured.runs import load_measured, load_sources
from calibration.measured.selection import select_for_fit
from calibration.validation.bands import fit_bands, write_bands
from calibration.validation.cell_bands import fit_cells
from calibration.validation.left_out import predict_left_out
from calibration.validation.paired_bands import fit_paired_bands
from hwmodels.fitted import EFFECTS, is_fitted, read_fits, shipped_factors
from hwmodels.software import PARAMETERS
from simulator.output.text_file import write_text
from simulator.version import version
from workloads.architectures.names import canonical_model
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from calibration.fit.effects import LevelKey
    from calibration.fit.gauss_newton import Fit
    from calibration.fit.observations import Observation
    from calibration.measured.selection import Selection
    from calibration.validation.bands import Band
    from calibration.validation.cell_bands import CellBands
    from calibration.validation.left_out import Shown
    from calibration.validation.paired_bands import PairedBands
    from hwmodels.fitted import Basis
    from simulator.output.kept_work import KeptWork

    FloatArray = npt.NDArray[np.float64]
    Progress = Callable[[int, int, str], None]

PROVENANCE_FILE = "provenance.yaml"
BANDING: tuple[Shown, ...] = (
    "series",
    "sku",
    "kernels",
    "vendor",
    "engine",
    "model",
    "specification",
)
"""Schemes whose left-out runs the bands of a fit are taken from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedRuns:
    """A fit with what it was made of.

    Parameters
    ----------
    fit, selection:
        The fit, and the runs and weights behind it.
    models:
        Canonical names of the models that it holds for.
    bands:
        From left-out runs, by basis and metric; empty where too few runs were left out.
    seconds:
        How long it took, bands aside. [s]
    cells:
        Bands of single cells, see `calibration.validation.cell_bands`.
    pairs:
        Bands of ratios, see `calibration.validation.paired_bands`.
    """

    fit: Fit
    selection: Selection
    models: list[str]
    bands: dict[Basis, dict[str, Band]]
    seconds: float
    cells: CellBands = field(default_factory=dict)
    pairs: PairedBands = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The data behind the fit, in one line."""
        return describe_source(self.selection, models=self.models)


def gather_runs(
    *,
    models: Sequence[str],
    split: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[Selection, list[str]]:
    """Published runs of some models, and the models' canonical names.

    Parameters
    ----------
    models:
        Names or aliases of the models whose published runs enter.
    split:
        Take only the published series of this split.
    tell:
        Called with a line for the rows of each reason that cannot be simulated.

    Raises
    ------
    UserError
        If a model is unknown, or no run remains.
    """
    names = list(dict.fromkeys(canonical_model(name) for name in models))
    runs = load_measured(models=names)
    if split is not None:
        runs = runs[runs["split"] == split]
    selection = select_for_fit(runs)
    if tell is not None:
        for line in selection.refused_lines:
            tell(f"left out, cannot be simulated: {line}")
    if not selection.observations:
        raise UserError(f"no published run of {', '.join(names)} can be fitted")
    return selection, names


def fit_runs(
    *,
    models: Sequence[str],
    split: str | None = None,
    earlier: Path | None = None,
    workers: int = 2,
    kept: KeptWork | None = None,
    on_progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> FittedRuns:
    """Fit software levels to published runs; see `gather_runs`.

    ``earlier`` is the directory of a fit whose derivatives serve again for the runs they share.

    The bands come from linearised responses of left-out runs, kernel tables kept; what nothing
    is fitted to is simulated at a fifth of the runs that derivatives were taken of.
    """
    selection, names = gather_runs(models=models, split=split, tell=tell)
    fit, seconds = timed_fit(
        selection, earlier=earlier, workers=workers, kept=kept, on_progress=on_progress
    )
    if on_progress is not None:
        on_progress(1, 1, "bands")
    # every fifth: a step of three would take the smallest concurrency of each sweep
    sampled = SampledRuns(fit.observations, logs=fit.logs).rows[::5].tolist()
    left = [
        predict_left_out(
            fit,
            selection,
            scheme=scheme,
            workers=workers,
            simulate="none",
            only=sampled,
            baseline=False,
        )
        for scheme in BANDING
    ]
    together = pd.concat([table for table in left if len(table)], ignore_index=True)
    return FittedRuns(
        fit=fit,
        selection=selection,
        models=names,
        bands=fit_bands(together),
        cells=fit_cells(together),
        pairs=fit_paired_bands(together),
        seconds=seconds,
    )


def timed_fit(
    selection: Selection,
    *,
    earlier: Path | None = None,
    workers: int = 2,
    kept: KeptWork | None = None,
    on_progress: Progress | None = None,
) -> tuple[Fit, float]:
    """A fit of selected runs, and how long it took. [s]"""
    started = time.monotonic()
    fit = fit_levels(
        selection.observations,
        weights=selection.weights,
        start=start_of(selection.observations),
        earlier=None if earlier is None else earlier_slopes(selection, directory=earlier),
        workers=workers,
        kept=kept,
        on_progress=on_progress,
    )
    return fit, time.monotonic() - started


def start_of(observations: Sequence[Observation]) -> FloatArray:
    """Log parameters that the shipped fit gives each observation, where a new fit begins. [-]

    Models of which it knows no relative begin with nothing fitted.
    """
    rows = []
    for observation in observations:
        model = observation.configuration.model
        groups = dict(zip(EFFECTS, observation.level.groups, strict=True))
        known = shipped_factors(model=model, groups=groups) if is_fitted(model) else {}
        rows.append([known.get(parameter.name, 1.0) for parameter in FITTED])
    return np.log(np.array(rows, dtype=np.float64))


def describe_source(selection: Selection, *, models: Sequence[str]) -> str:
    """Runs, models and the last day of the data behind a fit, in one line."""
    runs = selection.fitted_runs
    own = int(runs["own"].sum())
    dates = [str(load_sources()[key].covers_until) for key in runs.loc[~runs["own"], "source"]]
    parts = []
    if own < len(runs):
        parts.append(f"{len(runs) - own} published runs to {max(dates)}")
    if own:
        names = sorted(runs.loc[runs["own"], "source"].unique())
        parts.append(f"{own} own runs of {', '.join(names)}")
    return f"{' and '.join(parts)}, {', '.join(models)}, forecurve {version()}"


def write_calibration(fitted: FittedRuns, *, directory: Path) -> dict[str, Path]:
    """Write ``fitted.yaml``, ``posterior.npz``, residuals, bands and provenance.

    Models that the fit does not cover keep the shipped factors. Without bands, because too few
    runs were left out, no ``bands.yaml`` is written and predictions carry none.
    """
    entry = fit_entry(fitted.fit, models=fitted.models, source=fitted.source)
    others = [kept for kept in shipped_entries() if not set(kept["models"]) & set(fitted.models)]
    paths = {"fitted": write_fit([entry, *others], directory=directory)}
    known = posterior_of(fitted.fit.space, covariance=fitted.fit.solution.covariance)
    paths["posterior"] = write_posterior(known, directory=directory, fits=[entry, *others])
    residuals = residual_table(fitted.fit, fitted.selection)
    paths["residuals"] = write_residuals(residuals, directory=directory, source=fitted.source)
    if fitted.bands:
        paths["bands"] = write_bands(
            fitted.bands,
            cells=fitted.cells,
            pairs=fitted.pairs,
            directory=directory,
            source=fitted.source,
        )
    path = directory / PROVENANCE_FILE
    header = (
        "# Where a fit comes from; written by `simulate calibrate fit`. A parameter's\n"
        "# prior_share is how much of its prior variance the runs have left: 1 is the prior\n"
        "# alone, 0 the runs alone.\n"
    )
    text = yaml.safe_dump(provenance(fitted), sort_keys=False, width=100, allow_unicode=True)
    write_text(path, header + text)
    return paths | {"provenance": path}


def shipped_entries() -> list[dict[str, Any]]:
    """The fits that the package ships."""
    return read_fits()


def provenance(fitted: FittedRuns) -> dict[str, Any]:
    """What a fit was made of, and how well it knows each level."""
    runs, fit = fitted.selection.fitted_runs, fitted.fit
    sources = load_sources()
    published = runs[~runs["own"]]
    trust, counts = np.unique(np.round(fitted.selection.weights, 2), return_counts=True)
    return {
        "source": fitted.source,
        "forecurve": version(),
        "models": fitted.models,
        "published_runs": [
            {
                "source": key,
                "title": sources[key].title,
                "where": sources[key].where.strip(),
                "runs": int((published["source"] == key).sum()),
            }
            for key in sorted(published["source"].unique())
        ],
        "runs_by_trust": {
            float(weight): int(count) for weight, count in zip(trust, counts, strict=True)
        },
        "excluded": {
            str(reason): int(count)
            for reason, count in fitted.selection.excluded["reason"]
            .value_counts()
            .sort_index()
            .items()
        },
        "runs_that_say_nothing": fit.silent,
        "largest_last_move": round(float(np.nanmax(fit.last_moves, initial=0.0)), 3),
        "median_error_in_sample": _in_sample(fit),
        "parameters": [
            {
                "name": parameter.name,
                "meaning": PARAMETERS[parameter.name],
                "prior_widths": list(parameter.widths),
                "factor_bounds": [parameter.low, parameter.high],
            }
            for parameter in fit.space.parameters
        ],
        "levels": {
            f"{level.groups[-1]}/{level.precision}": _level_provenance(fit, level)
            for level in sorted({o.level for o in fit.observations}, key=lambda level: level.groups)
        },
        "build_offsets": {
            name: round(offset, 3) for name, offset in sorted(fit.solution.offsets.items())
        },
    }


def _in_sample(fit: Fit) -> dict[str, float]:
    """Median errors of the fit on the runs that it has seen. [-]"""
    moved = np.array([fit.level_logs(o.level) for o in fit.observations]) - fit.logs
    said = fit.responses + np.einsum("omp,op->om", fit.slopes, moved)
    error = np.abs(np.expm1(said - np.array([o.measured for o in fit.observations])))
    return {
        metric: round(float(np.nanmedian(error[:, column])), 4)
        for column, metric in enumerate(METRICS)
        if np.isfinite(error[:, column]).any()
    }


def _level_provenance(fit: Fit, level: LevelKey) -> dict[str, Any]:
    """Runs of a level; factor, standard deviation and the prior's share of each parameter."""
    known: dict[str, Any] = {"runs": sum(o.level == level for o in fit.observations)}
    logs = fit.level_logs(level)
    for parameter, log in zip(fit.space.parameters, logs, strict=True):
        columns = fit.space.indices(parameter=parameter, level=level)
        if not columns:
            continue
        variance = float(fit.solution.covariance[np.ix_(columns, columns)].sum())
        prior = float(np.sum(fit.space.widths[columns] ** 2))
        known[parameter.name] = {
            "factor": round(float(np.exp(log)), 4),
            "log_sd": round(float(np.sqrt(max(variance, 0.0))), 4),
            "prior_share": round(variance / prior, 3),
        }
    return known
