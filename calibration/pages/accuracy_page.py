"""The page that says how far predictions are from measurements: docs/ACCURACY.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calibration.pages import accuracy_tables as tables
from calibration.pages import ratio_tables as ratios
from calibration.pages import residual_slices as slices
from calibration.pages.accuracy_plots import accuracy_figure
from calibration.pages.accuracy_tables import MEANING
from calibration.validation.validate import SPLITS
from simulator.output.style import save_figure
from simulator.output.text_file import write_text
from workloads.datafiles import read_yaml_mapping

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from calibration.validation.validate import Validation

PAGE = "ACCURACY.md"
NOTES = Path(__file__).parent / "accuracy_notes.yaml"
"""What was tried where a target is not reached, by section of the page; written by hand."""

_PICTURES = {
    "series": ("accuracy_series.png", "Layouts that the fit has not seen"),
    "sku": ("accuracy_sku.png", "SKUs that the fit has not seen"),
    "kernels": ("accuracy_kernels.png", "Chip generations that the fit has not seen"),
}


def write_page(
    validation: Validation,
    *,
    folder: Path,
    source: str,
    looks: list[dict[str, Any]],
    repeats: pd.DataFrame,
    other_models: pd.DataFrame | None = None,
) -> Path:
    """Write the page and its pictures into a folder.

    Parameters
    ----------
    source:
        Data and date of the fit.
    looks:
        From `calibration.validation.holdout_log.read_looks`.
    repeats:
        From `calibration.measured.repeats.repeat_table`.
    other_models:
        Errors of models that were not fitted, from `calibration.validation.comparison.error_table`.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for scheme, (name, title) in _PICTURES.items():
        rows = validation.of(scheme)  # type: ignore[arg-type]
        if len(rows):
            figure = accuracy_figure(rows, title=title, caption=f"{MEANING[scheme]}; {source}")
            save_figure(figure, images / name)
    path = folder / PAGE
    text = page(validation, source=source, looks=looks, repeats=repeats, other_models=other_models)
    write_text(path, text)
    return path


def page(
    validation: Validation,
    *,
    source: str,
    looks: list[dict[str, Any]],
    repeats: pd.DataFrame,
    other_models: pd.DataFrame | None = None,
) -> str:
    """The page as Markdown; see `write_page`."""
    notes = read_yaml_mapping(NOTES) if NOTES.exists() else {}
    parts = [
        _introduction(validation, source=source, looks=looks),
        "## What was asked for, and what was reached",
        tables.target_table(validation, looks=looks),
        _note(notes, "targets"),
        "## Errors by what was left out",
        tables.scheme_rows(validation),
        _note(notes, "schemes"),
        "## By engine",
        "Whole layouts left out; n runs for throughput, TPOT and TTFT.",
        tables.group_rows(validation.of("series"), ["model", "software", "pools"]),
        "## By SKU",
        "The SKU left out, and its kernel tables with it.",
        tables.group_rows(validation.of("sku"), ["model", "sku", "basis"]),
        _note(notes, "skus"),
        "## Where predictions lean",
        slices.slice_rows(validation),
        _note(notes, "slices"),
        "## By speed per user",
        ratios.speed_rows(validation),
        "## As AISimulate scores itself",
        slices.rival_rows(validation),
        "## Settings that are not the run's own",
        slices.settings_rows(validation),
        "## Frontier at equal tok/s/user",
        tables.frontier_rows(validation),
        "## The better of two",
        tables.ranking_rows(validation),
        "## The 90 % bands",
        tables.coverage_rows(validation),
        slices.cell_rows(validation),
        ratios.pair_rows(validation),
        _note(notes, "bands"),
        *(["## Other models", tables.model_rows(other_models)] if other_models is not None else []),
        "## Measured against measured",
        tables.repeat_rows(repeats),
        _note(notes, "repeats"),
        "## The worst series, and why",
        tables.worst_rows(validation),
        _note(notes, "worst"),
        "## Not answered",
        tables.unanswered_rows(validation),
        "## Suspect runs",
        tables.suspect_rows(validation),
        "## Pictures",
        *(
            f"![{title}](images/{name})"
            for scheme, (name, title) in _PICTURES.items()
            if len(validation.of(scheme))  # type: ignore[arg-type]
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _introduction(validation: Validation, *, source: str, looks: list[dict[str, Any]]) -> str:
    runs = validation.of("fitted")
    how = (
        "Left-out runs were simulated again at the parameters found without them."
        if validation.simulated
        else "Left-out runs follow from the linearised responses of the fit; where kernel tables "
        "are left out with them, and where nothing is fitted, those of a half (SKUs) or a quarter "
        "of the models, lengths and sources were simulated again."
    )
    times = f"{len(looks)} times, last on {looks[-1]['date']}" if looks else "0 times"
    both = set(runs["split"]) == set(SPLITS)
    scored = "Both parts are shown." if both else "Only the first part is scored here."
    return f"""# Accuracy

How far predictions are from {len(runs)} measured runs that the fit behind them has not seen
({source}). Written by `simulate calibrate validate`; how to repeat it, with your own runs too:
[Calibrate](guides/calibrate.md). {how}

Errors are |predicted / measured − 1| at equal concurrency, per run; the median unless another
statistic is named. Median TPOT is compared, the mean where a run has only the mean; of TTFT the
mean, else the median. Bias is the median of predicted / measured − 1: above zero a figure is
predicted too high. *Copied* is the baseline: the figure of the most similar measured run that was
not left out (same lengths and load, nearest SKU, engine and layout).

Series are split once by a hash of their label. The structure of the model and its priors were
chosen on two thirds (*structure*); the other third (*held*) has been scored {times}. {scored}"""


def _note(notes: dict[str, Any], section: str) -> str:
    return str(notes.get(section, "")).strip()
