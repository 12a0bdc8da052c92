"""What ``simulate calibrate`` does: fit and write, validate and write."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.fit.files import fit_entry, write_fit
from calibration.fit.gauss_newton import NEAR
from calibration.fit.own_runs import (
    fit_own_runs,
    fit_steps,
    own_lines,
    read_own_runs,
    write_own_calibration,
)
from calibration.fit.physics_values import physics_table
from calibration.fit.pipeline import (
    describe_source,
    fit_runs,
    gather_runs,
    timed_fit,
    write_calibration,
)
from calibration.fit.residuals import (
    RESIDUALS_FILE,
    read_residuals,
    residual_table,
    write_residuals,
)
from calibration.fit.state import check_saved, load_fit, save_fit
from calibration.fit.step_fit import read_steps
from calibration.measured.repeats import repeat_table
from calibration.measured.runs import load_measured
from calibration.pages.accuracy_page import write_page
from calibration.pages.accuracy_tables import target_cells
from calibration.pages.fit_report import write_fit_report
from calibration.pages.learning_page import LABELS, write_learning
from calibration.validation.bands import write_bands
from calibration.validation.comparison import compare_runs, error_table
from calibration.validation.holdout_log import (
    LOOKS_FOLDER,
    read_looks,
    record_look,
    source_checkout,
)
from calibration.validation.learning import curve_table, learning_curve
from calibration.validation.targets import targets_of, targets_of_all
from calibration.validation.validate import validate_fit
from hwmodels.fitted import check_calibration
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from calibration.fit.gauss_newton import Fit
    from simulator.output.kept_work import KeptWork

    Progress = Callable[[int, int, str], None]

SAMPLE_PER_SKU = 8
LARGEST_SAMPLED_CONCURRENCY = 128
"""Runs of another model that are predicted: few and small, so that they cost little."""


def fit_and_write(
    *,
    models: Sequence[str],
    structure: bool = False,
    earlier: Path | None = None,
    workers: int,
    directory: Path,
    on_progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    kept: KeptWork | None = None,
) -> list[str]:
    """Fit published runs and write the calibration.

    Parameters
    ----------
    structure:
        Whether the series that are kept back stay out.
    earlier:
        Directory of a fit whose derivatives serve again.
    tell:
        Called with each line of what a reader should know before anything runs: the rows that
        cannot be simulated, by file and line.
    kept:
        Where finished responses and derivatives are kept.

    Returns
    -------
    What was done, in lines for a reader.

    Raises
    ------
    UserError
        If runs cannot be read or fitted, or the directory cannot be written.
    """
    if earlier is not None:
        check_saved(earlier)
    _make_writable(directory)
    fitted = fit_runs(
        models=models,
        split="structure" if structure else None,
        earlier=earlier,
        workers=workers,
        kept=kept,
        on_progress=on_progress,
        tell=tell,
    )
    paths = write_calibration(fitted, directory=directory)
    save_fit(fitted.fit, fitted.selection, directory=directory, seconds=fitted.seconds)
    out = fitted.selection.excluded
    lines = [
        f"{len(fitted.fit.observations):,} runs fitted in {fitted.seconds:.0f} s",
        *_open_ends(fitted.fit),
    ]
    lines += [f"{len(rows):,} left out: {reason}" for reason, rows in out.groupby("reason")]
    unfitted = Counter(fitted.selection.why_unfitted)
    lines += [f"{count:,} not fitted: {reason}" for reason, count in sorted(unfitted.items())]
    if not fitted.bands:
        lines.append("too few runs were left out for 90 % bands; predictions will carry none")
    return [*lines, f"wrote {', '.join(str(path) for path in paths.values())}"]


def fit_own_and_write(
    *,
    paths: Sequence[Path],
    steps: Sequence[Path],
    facts: Mapping[str, object],
    start: Path | None,
    workers: int,
    directory: Path,
    on_progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    kept: KeptWork | None = None,
) -> list[str]:
    """Add a user's own runs to a fit and write the calibration.

    Parameters
    ----------
    paths, steps:
        Results, tables or folders; or logs of engines' steps.
    facts:
        What they do not say.
    start:
        The calibration that the runs are added to; ``None``: the shipped one.

    Returns
    -------
    What moved, in lines for a reader.

    Raises
    ------
    UserError
        If runs cannot be read or fitted, or the directory cannot be written.
    """
    _make_writable(directory)
    if steps:
        batches, notes = read_steps(steps, facts=facts)
        own = fit_steps(batches, start=start, notes=notes, on_progress=on_progress)
    else:
        selection, notes = read_own_runs(paths, facts=facts, tell=tell)
        own = fit_own_runs(
            selection,
            start=start,
            notes=notes,
            workers=workers,
            kept=kept,
            on_progress=on_progress,
        )
    written = write_own_calibration(own, directory=directory)
    return [*own_lines(own), f"wrote {', '.join(str(path) for path in written.values())}"]


def _open_ends(fit: Fit) -> list[str]:
    """What a reader should know of runs that said nothing and of rounds that ended early."""
    lines = []
    if fit.silent:
        lines.append(f"note: {fit.silent:,} of them do not fit in memory or cannot finish")
    moving = fit.last_moves[fit.last_moves > NEAR]
    if len(moving):
        lines.append(
            f"note: {len(moving):,} were still to move by more than {NEAR:.0%} when the rounds "
            f"ended, at most {moving.max():.0%}; the last step is linear"
        )
    return lines


def validate_and_write(
    *,
    models: Sequence[str],
    held: bool,
    full: bool,
    fitted: Path | None,
    other_models: Sequence[str],
    workers: int,
    directory: Path,
    bands: Path | None,
    on_progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Leave out, predict, and write the accuracy page.

    Parameters
    ----------
    held:
        Whether the series that are kept back enter and are scored; the look is counted in the
        project's sources.
    full:
        Whether every left-out run is simulated again, those too large to be fitted among them;
        else those that lose kernel tables, see `calibration.validation.left_out.predict_left_out`.
    fitted:
        Directory of a fit of the same runs.
    bands:
        Directory for ``bands.yaml`` of these left-out runs.
    tell:
        As for `fit_and_write`.

    Returns
    -------
    Rows of the table of targets, and what was done in lines.
    """
    _make_writable(directory)
    if fitted is not None:
        check_saved(fitted)
    selection, names = gather_runs(models=models, split=None if held else "structure", tell=tell)
    if fitted is not None:
        fit, seconds = load_fit(selection, directory=fitted)
    else:
        fit, seconds = timed_fit(selection, workers=workers, on_progress=on_progress)
    validation = validate_fit(
        fit,
        selection,
        workers=workers,
        simulate="all" if full else "tables",
        fit_s=seconds,
        on_progress=on_progress,
    )
    source = describe_source(selection, models=names)
    package = source_checkout()
    lines = []
    if held and package is not None:
        count = record_look(
            package,
            date=dt.date.today(),
            source=source,
            targets=targets_of(validation, split="held"),
        )
        lines.append(f"the series that are kept back have been scored {count} times")
    looks = read_looks(LOOKS_FOLDER)
    others = (
        errors_on_other_models(fit, fitted_on=names, models=other_models, workers=workers)
        if other_models
        else None
    )
    page = write_page(
        validation,
        folder=directory,
        source=source,
        looks=looks,
        repeats=repeat_table(load_measured(models=names)),
        other_models=others,
    )
    lines.append(f"wrote {page}")
    if bands is not None:
        written = write_bands(
            validation.bands,
            cells=validation.cells,
            pairs=validation.pairs,
            directory=bands,
            source=source,
        )
        lines.append(f"wrote {written}")
    structure = [*targets_of(validation, split="structure"), *targets_of_all(validation)]
    return target_cells(structure, held=targets_of(validation, split="held"), looks=looks), lines


def report_and_write(*, fitted: Path | None, models: Sequence[str], directory: Path) -> list[str]:
    """Write the report on a fit: pictures of its runs, residuals and parameters.

    Parameters
    ----------
    fitted:
        Directory of a fit; ``None``: the shipped one.
    models:
        Models of its published runs, where it has responses and no table of residuals yet.

    Raises
    ------
    UserError
        If the directory holds no fit.
    """
    if fitted is not None:
        check_calibration(fitted)
        if not (fitted / RESIDUALS_FILE).is_file():
            check_saved(fitted)
            selection, names = gather_runs(models=models)
            fit, _ = load_fit(selection, directory=fitted)
            table = residual_table(fit, selection)
            source = describe_source(selection, models=names)
            write_residuals(table, directory=fitted, source=source)
    _make_writable(directory)
    runs, source = read_residuals(fitted)
    physics = physics_table(runs, directory=fitted)
    written = write_fit_report(runs, physics, source=source, directory=directory)
    findings = int((physics["finding"] != "").sum()) if len(physics) else 0
    return [
        f"{len(runs):,} runs, {physics['level'].nunique() if len(physics) else 0} levels, "
        f"{findings} parameters outside physics",
        f"wrote {', '.join(str(path) for path in written)}",
    ]


def learn_and_write(
    *,
    models: Sequence[str],
    fitted: Path,
    cells: int,
    directory: Path,
    page: Path | None,
    on_progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[str]:
    """Write what numbers of own runs do to one's error, from a fit's linearised responses.

    Parameters
    ----------
    fitted:
        Directory of a fit of the same runs.
    cells:
        Cells that are sampled, see `calibration.validation.learning.learning_curve`.
    directory, page:
        Where table and picture go: into the page between its marks where one is given.

    Raises
    ------
    UserError
        If the fit is of other runs or the page has no marks.
    """
    check_saved(fitted)
    _make_writable(directory)
    selection, names = gather_runs(models=models, tell=tell)
    fit, _ = load_fit(selection, directory=fitted)
    runs = selection.fitted_runs
    errors = learning_curve(
        fit,
        cells=[
            f"{o.level.model} {o.level.engine} {o.level.sku} {layout} {speculation}"
            for o, layout, speculation in zip(
                fit.observations, runs["layout"], runs["speculation"], strict=True
            )
        ],
        most=cells,
        on_progress=on_progress,
    )
    source = describe_source(selection, models=names)
    written = write_learning(errors, source=source, directory=directory, page=page)
    lines = [
        f"{row['own_runs']:>2} own runs, {row['cells']} cells: "
        + ", ".join(f"{LABELS[m]} {row[m]:.1%}" for m in LABELS)
        for row in curve_table(errors).to_dict("records")
    ]
    return [*lines, f"wrote {', '.join(str(path) for path in written)}"]


def errors_on_other_models(
    fit: Fit, *, fitted_on: list[str], models: Sequence[str], workers: int = 2
) -> pd.DataFrame:
    """Errors of predicting models that a fit has not seen, by model and SKU.

    A sample of each model's trusted runs of fixed lengths, the same every time.
    """
    runs = load_measured(models=models, quality="ok")
    small = runs["concurrency"] <= LARGEST_SAMPLED_CONCURRENCY
    fixed = runs["length_distribution"] == "uniform_0.8"
    # run ids are hashes of the row, so that their order is none
    sample = runs[small & fixed].sort_values("run_id").groupby(["model", "sku"])
    with tempfile.TemporaryDirectory() as folder:
        entry = fit_entry(fit, models=fitted_on, source="validation")
        write_fit([entry], directory=Path(folder))
        compared = compare_runs(
            sample.head(SAMPLE_PER_SKU).reset_index(drop=True),
            calibration=Path(folder),
            workers=workers,
        )
    return error_table(compared, by=["model", "sku"])


def _make_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write into {directory}: {error.strerror}; name another with --out"
        ) from None
