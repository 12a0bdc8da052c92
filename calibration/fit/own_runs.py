"""A user's own runs into a calibration: read, fitted on top of another fit, and written."""

from __future__ import annotations

import copy
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from calibration.fit.effects import FITTED
from calibration.fit.files import SMALLEST_EFFECT, forms_of, write_fit
from calibration.fit.observations import METRICS
from calibration.fit.own_fit import WholeRuns, fit_own
from calibration.fit.posterior import read_posterior, write_posterior
from calibration.fit.residuals import own_residual_table, write_residuals
from calibration.fit.step_fit import StepObservation, StepTimes
from calibration.importers.runs import import_runs
from calibration.measured.selection import select_for_fit
from hwmodels.calibration_files import sealed
from hwmodels.fitted import EFFECTS, fit_of, fitted_level_dates, kernel_generation, read_fits
from hwmodels.software import PARAMETERS
from simulator.output.text_file import write_text
from simulator.prediction.bands import BANDS_FILE, read_banded
from simulator.version import version
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from calibration.fit.effects import LevelKey
    from calibration.fit.observations import Observation
    from calibration.fit.own_fit import OwnFit, Simulator
    from calibration.measured.selection import Selection
    from simulator.output.kept_work import KeptWork

    FloatArray = npt.NDArray[np.float64]
    Progress = Callable[[int, int, str], None]

STEP_TRUST = 0.5
"""Trust in a kind of batch of a log: its neighbours share what the model misses of it. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRuns:
    """A user's own runs, fitted.

    Parameters
    ----------
    fit:
        The levels that moved.
    source:
        What is added to the source of the fit that was moved.
    start:
        The calibration that was moved; ``None``: the shipped one.
    notes:
        What was assumed of the runs.
    seconds:
        How long it took. [s]
    """

    fit: OwnFit
    source: str
    start: Path | None
    notes: tuple[str, ...]
    seconds: float


def read_own_runs(
    paths: Sequence[Path],
    *,
    facts: Mapping[str, object],
    tell: Callable[[str], None] | None = None,
) -> tuple[Selection, tuple[str, ...]]:
    """A user's own runs as a fit takes them, and notes on the import.

    Parameters
    ----------
    paths:
        Results, tables or folders.
    facts:
        What holds for all of them, see `calibration.importers.facts`.
    tell:
        Called with a line for the rows of each reason that cannot be simulated.

    Raises
    ------
    UserError
        If a result cannot be read, or no run remains.
    """
    known: dict[str, Any] = dict(facts)
    imported = [import_runs(path, skip_bad=False, **known) for path in paths]
    own = pd.concat([each.frame for each in imported], ignore_index=True)
    selection = select_for_fit(own.iloc[:0], own=own)
    if tell is not None:
        for line in selection.refused_lines:
            tell(f"left out, cannot be simulated: {line}")
    if not selection.observations:
        reasons = sorted(set(selection.excluded["reason"]))
        raise UserError(f"none of your {len(own)} runs can be fitted: {'; '.join(reasons)}")
    notes = [note for each in imported for note in each.notes]
    notes += [
        f"{row['file']} {row['place']} {row['near_peak']}: is it labelled right?"
        for row in own[own["near_peak"] != ""].to_dict("records")
    ]
    notes += [
        f"{len(rows)} left out: {reason}"
        for reason, rows in selection.excluded.groupby("reason")
        if not rows["refused"].any()
    ]
    return selection, tuple(notes)


def fit_own_runs(
    selection: Selection,
    *,
    start: Path | None = None,
    notes: Sequence[str] = (),
    workers: int = 2,
    kept: KeptWork | None = None,
    on_progress: Progress | None = None,
) -> OwnRuns:
    """Move the levels of own runs; see `calibration.fit.own_fit.fit_own`.

    Raises
    ------
    UserError
        If the calibration that is moved has no posterior, or no run can finish.
    """
    names = sorted(selection.fitted_runs["source"].astype(str).unique())
    return fitted_own(
        selection.observations,
        weights=selection.weights,
        source=f"{len(selection.observations)} own runs of {', '.join(names)}",
        simulator=WholeRuns(workers=workers, kept=kept),
        start=start,
        notes=notes,
        on_progress=on_progress,
    )


def fit_steps(
    observations: Sequence[StepObservation],
    *,
    start: Path | None = None,
    notes: Sequence[str] = (),
    on_progress: Progress | None = None,
) -> OwnRuns:
    """Move a level towards the steps of an engine's log; nothing is simulated but steps.

    Raises
    ------
    UserError
        If the calibration that is moved has no posterior.
    """
    lines = sum(each.steps for each in observations)
    names = sorted({each.series for each in observations})
    return fitted_own(
        observations,
        weights=np.full(len(observations), STEP_TRUST),
        source=f"{lines} {', '.join(names)}",
        simulator=StepTimes(),
        start=start,
        notes=notes,
        on_progress=on_progress,
    )


def fitted_own(
    observations: Sequence[Observation],
    *,
    weights: FloatArray,
    source: str,
    simulator: Simulator,
    start: Path | None,
    notes: Sequence[str],
    on_progress: Progress | None,
) -> OwnRuns:
    """Observations of a user's own, fitted; see `calibration.fit.own_fit.fit_own`."""
    began = time.monotonic()
    posterior = read_posterior(start)
    fit = fit_own(
        observations,
        weights=weights,
        posterior=posterior,
        simulator=simulator,
        directory=start,
        on_progress=on_progress,
    )
    if not np.isfinite(fit.before).any():
        raise UserError("none of your runs fits in memory or can finish; check layout and lengths")
    return OwnRuns(
        fit=fit,
        source=source,
        start=start,
        notes=(*notes, posterior.note) if posterior.note else tuple(notes),
        seconds=time.monotonic() - began,
    )


def write_own_calibration(own: OwnRuns, *, directory: Path) -> dict[str, Path]:
    """Write a calibration in which only the levels of own runs differ from what it began with.

    ``fitted.yaml`` and ``posterior.npz`` are those of the start but for the own levels; the bands
    are those of the start; ``provenance.yaml`` says what moved, and from what.
    """
    entries = moved_entries(own)
    paths = {"fitted": write_fit(entries, directory=directory)}
    posterior = read_posterior(own.start)
    paths["posterior"] = write_posterior(posterior, directory=directory, fits=entries)
    if not isinstance(own.fit.observations[0], StepObservation):
        table = own_residual_table(own.fit)
        paths["residuals"] = write_residuals(table, directory=directory, source=own.source)
    bands = read_banded(own.start)
    if bands:
        path = directory / BANDS_FILE
        content = {**bands, "source": entries[0]["source"]}
        header = "# The bands of the fit that own runs were added to.\n"
        write_text(path, header + yaml.safe_dump(sealed(content), sort_keys=False, width=100))
        paths["bands"] = path
    paths["provenance"] = directory / "provenance.yaml"
    header = "# What own runs moved; written by `simulate calibrate fit`.\n"
    text = yaml.safe_dump(own_provenance(own), sort_keys=False, width=100, allow_unicode=True)
    write_text(paths["provenance"], header + text)
    return paths


def moved_entries(own: OwnRuns) -> list[dict[str, Any]]:
    """The fits of ``fitted.yaml`` with the levels of own runs moved."""
    entries = copy.deepcopy(read_fits(own.start))
    of_model = {level.model for level in own.fit.levels.values()}
    touched = {
        model: next(
            entry
            for entry, before in zip(entries, read_fits(own.start), strict=True)
            if before is fit_of(model, own.start)
        )
        for model in of_model | {o.level.model for o in own.fit.observations}
    }
    counts = Counter(o.level.groups[-1] for o in own.fit.observations)
    for place, (name, level) in enumerate(own.fit.levels.items()):
        entry = touched[level.model]
        _move_level(entry, name, level, target=_target(own.fit, place), runs=counts[name])
    for model, entry in touched.items():
        if model not in entry["models"]:
            entry["models"].append(model)
        mine = [o for o in own.fit.observations if o.level.model == model]
        for key, form in forms_of(mine).items():
            before = entry["forms"].get(key)
            if before is not None:
                form["runs"] += before["runs"]
                form["deployments"] = list(
                    dict.fromkeys([*form["deployments"], *before["deployments"]])
                )
                form["newest"] = max(form["newest"], before["newest"])
            entry["forms"][key] = form
    changed = {id(entry) for entry in touched.values()}
    for entry in entries:
        if id(entry) in changed:
            entry["source"] = f"{entry['source']}; {own.source}"
            entry["runs"] = dict(sorted(entry["runs"].items()))
    return entries


def _target(fit: OwnFit, place: int) -> FloatArray:
    """Log parameters of a level at the end, by its most run model. [-]"""
    name, level = list(fit.levels.items())[place]
    rows = [i for i, o in enumerate(fit.observations) if o.level == level]
    if not rows:
        raise AssertionError(f"no run of {name}")
    target: FloatArray = fit.start[rows[0]] + fit.moves[place]
    return target


def _move_level(
    entry: dict[str, Any], name: str, level: LevelKey, *, target: FloatArray, runs: int
) -> None:
    """Give a level the addends that bring its parameters to a target."""
    from hwmodels.sku import load_sku

    sku = load_sku(level.sku)
    generation = kernel_generation(entry, sku).split("_")[0]
    entry["generations"].setdefault(level.sku, generation)
    kernels = f"{level.engine}/{generation}"
    groups = dict(zip(EFFECTS, level.groups, strict=True)) | {
        "kernels": kernels,
        "family_kernels": f"{level.family}/{kernels}",
        "precision_kernels": f"{level.family}/{kernels}/{level.precision}",
    }
    entry["precisions"] = sorted({*entry.get("precisions", []), level.precision})
    for parameter, wanted in zip(FITTED, target, strict=True):
        effects = entry["effects"].setdefault(parameter.name, {})
        entry["bounds"].setdefault(
            parameter.name, [float(np.log(parameter.low)), float(np.log(parameter.high))]
        )
        shared = sum(
            effects.get(effect, {}).get(group, 0.0)
            for effect, group in groups.items()
            if effect != EFFECTS[-1]
        )
        addend = float(wanted) - shared
        of_levels = effects.setdefault(EFFECTS[-1], {})
        of_levels.pop(name, None)
        if abs(addend) >= SMALLEST_EFFECT:
            of_levels[name] = round(addend, 4)
    entry["runs"][name] = entry["runs"].get(name, 0) + runs


def own_provenance(own: OwnRuns) -> dict[str, Any]:
    """What own runs moved, by how much, and what that did to their errors."""
    fit = own.fit
    deviations = _deviations(fit.prior), _deviations(fit.covariance)
    levels: dict[str, Any] = {}
    counts = Counter(o.level.groups[-1] for o in fit.observations)
    for place, name in enumerate(fit.levels):
        end = _target(fit, place)
        known: dict[str, Any] = {"runs": counts[name]}
        for column, parameter in enumerate(FITTED):
            known[parameter.name] = {
                "meaning": PARAMETERS[parameter.name],
                "factor_before": round(float(np.exp(end - fit.moves[place])[column]), 4),
                "factor": round(float(np.exp(end)[column]), 4),
                "log_sd_before": round(float(deviations[0][place, column]), 4),
                "log_sd": round(float(deviations[1][place, column]), 4),
            }
        levels[name] = known
    shown = {"before": fit.before, "after": fit.after, "each_from_the_others": fit.alone}
    return {
        "source": own.source,
        "added_to": read_fits(own.start)[0]["source"] if read_fits(own.start) else "",
        "forecurve": version(),
        "median_errors": {
            name: {metric: round(value, 4) for metric, value in fit.errors(logs).items()}
            for name, logs in shown.items()
        },
        "levels": levels,
    }


def _deviations(covariance: FloatArray) -> FloatArray:
    spread: FloatArray = np.sqrt(np.maximum(np.diag(covariance), 0.0)).reshape(-1, len(FITTED))
    return spread


def own_lines(own: OwnRuns) -> list[str]:
    """What a user should know of a fit of own runs, in lines."""
    fit = own.fit
    told = own_provenance(own)
    lines = [f"{own.source}, fitted in {own.seconds:.0f} s"]
    lines += [f"note: {note}" for note in own.notes]
    silent = int(np.isnan(fit.before).all(axis=1).sum())
    if silent:
        lines.append(f"note: {silent} of them do not fit in memory or cannot finish")
    for name, level in fit.levels.items():
        lines.append(f"{name}:")
        known = told["levels"][name]
        for parameter in FITTED:
            row = known[parameter.name]
            if abs(np.log(row["factor"] / row["factor_before"])) < 0.01:
                continue
            lines.append(
                f"  {parameter.name:<22}{row['factor_before']:>7.3f} -> {row['factor']:.3f}   "
                f"1 sd {row['log_sd_before']:.0%} -> {row['log_sd']:.0%}"
            )
        lines += _answered(level, own)
    for metric, label in zip(METRICS, ("tok/s/GPU", _tpot_label(fit), "TTFT"), strict=True):
        errors = told["median_errors"]
        if metric not in errors["before"]:
            continue
        text = (
            f"median error of {label}: {errors['before'][metric]:.1%} before, "
            f"{errors['after'][metric]:.1%} after"
        )
        if metric in errors["each_from_the_others"]:
            text += f", {errors['each_from_the_others'][metric]:.1%} each from the others"
        lines.append(text)
    return lines


def _tpot_label(fit: OwnFit) -> str:
    return "step times" if isinstance(fit.observations[0], StepObservation) else "TPOT"


def _answered(level: LevelKey, own: OwnRuns) -> list[str]:
    """Who asks for a level, where it is not the one that a question without a date gets."""
    dates = fitted_level_dates(
        engine=level.engine, sku=level.sku, model=level.model, directory=own.start
    )
    newer = [date for date in dates if date[:1].isdigit() and date > level.level_date]
    if not newer:
        return []
    return [
        f"  a question without a date gets {level.engine}@{max(newer)}; ask for "
        f"--engine {level.engine}@{level.level_date}"
    ]
