"""A report on a fit as one page: predicted against measured, residuals, parameters and physics."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import numpy as np

from calibration.fit.observations import METRICS
from calibration.pages.accuracy_plots import accuracy_figure
from calibration.pages.fit_report_plots import physics_figure, slices_figure
from calibration.pages.markdown import markdown_table, percent
from calibration.pages.residual_slices import NOTICED, slice_table
from simulator.output.style import save_figure
from simulator.output.text_file import write_text

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

PAGE = "report.md"
PICTURES = {
    "predicted": "predicted_measured.png",
    "slices": "residual_slices.png",
    "physics": "parameters_physics.png",
}
MOST_FINDINGS = 40
"""Findings that the page lists, those of most runs first."""


def write_fit_report(
    runs: pd.DataFrame, physics: pd.DataFrame, *, source: str, directory: Path
) -> list[Path]:
    """Write the page and its pictures.

    Parameters
    ----------
    runs:
        From `calibration.fit.residuals.read_residuals`.
    physics:
        From `calibration.fit.physics_values.physics_table`.
    source:
        Data and date of the fit.
    """
    directory.mkdir(parents=True, exist_ok=True)
    slices = slice_table(runs, fewest=fewest(runs), more=("software", "sku"))
    figures = {
        "predicted": accuracy_figure(
            runs, title="Runs of the fit, predicted by it", caption=f"in sample; {source}"
        ),
        "slices": slices_figure(slices, runs=runs, fewest=fewest(runs)),
    }
    if len(physics):
        figures["physics"] = physics_figure(physics)
    for name, figure in figures.items():
        save_figure(figure, directory / PICTURES[name])
    page = directory / PAGE
    write_text(page, report_text(runs, physics, slices, source=source))
    return [page, *(directory / PICTURES[name] for name in figures)]


def fewest(runs: pd.DataFrame) -> int:
    """Runs from which a slice is shown: 40 of a fit of thousands, one of a few of one's own."""
    return int(min(40, max(1, len(runs) // 20)))


def report_text(
    runs: pd.DataFrame, physics: pd.DataFrame, slices: pd.DataFrame, *, source: str
) -> str:
    """The page as Markdown; see `write_fit_report`."""
    parts = [
        "# Report on a fit",
        f"{len(runs):,} runs of {source}. Written by `simulate calibrate report`. The runs are "
        "those that the fit has seen: how far it is from others says `simulate calibrate "
        "validate`.",
        "## Predicted against measured",
        _errors(runs),
        f"![Predicted against measured]({PICTURES['predicted']})",
        "## Residuals by slice",
        _leaning(slices, fewest=fewest(runs)),
        f"![Residuals by slice]({PICTURES['slices']})",
        "## Parameters against physics",
        _findings(physics),
    ]
    if len(physics):
        parts.append(f"![Parameters against physics]({PICTURES['physics']})")
    return "\n\n".join(parts) + "\n"


def _errors(runs: pd.DataFrame) -> str:
    rows = []
    for software, group in [("all", runs), *runs.groupby("software", sort=True)]:
        cells = []
        for metric in METRICS:
            ratio = (group[f"predicted_{metric}"] - group[f"measured_{metric}"]).to_numpy(float)
            known = ratio[np.isfinite(ratio)]
            cells.append(
                f"{percent(float(np.median(np.abs(np.expm1(known)))), digits=1)} "
                f"({np.expm1(np.median(known)):+.1%})".replace("%)", " %)")
                if len(known)
                else ""
            )
        rows.append([str(software), f"{len(group):,}", *cells])
    note = "Median of |predicted / measured − 1|, and the median of predicted / measured − 1."
    return f"{note}\n\n" + markdown_table(("engine", "runs", "tok/s/GPU", "TPOT", "TTFT"), rows)


def _leaning(slices: pd.DataFrame, *, fewest: int) -> str:
    beyond = slices[(slices[["throughput", "tpot"]].abs() > NOTICED).any(axis=1)]
    if not len(beyond):
        return f"No slice of {fewest} runs or more leans by more than {NOTICED:.0%}.".replace(
            "5%", "5 %"
        )
    rows = [
        [
            str(row["slice"]),
            str(row["value"]),
            f"{row['runs']:,}",
            *("" if row[m] != row[m] else f"{row[m]:+.1%}".replace("%", " %") for m in METRICS),
        ]
        for row in beyond.to_dict("records")
    ]
    return (
        f"Slices of {fewest} runs or more whose median residual of throughput or TPOT is beyond "
        f"{100 * NOTICED:.0f} %.\n\n"
        + markdown_table(("slice", "value", "runs", "tok/s/GPU", "TPOT", "TTFT"), rows)
    )


def _findings(physics: pd.DataFrame) -> str:
    if not len(physics):
        return "The fit has no level of its own for these runs."
    levels = physics["level"].nunique()
    summary = markdown_table(
        ("quantity", "nothing fitted", "median of levels", "5 % to 95 %", "1 sd", "not physical"),
        [
            [
                f"{label} [{group['unit'].iloc[0]}]",
                f"{group['prior'].median():.2f}",
                f"{group['value'].median():.2f}",
                f"{group['value'].quantile(0.05):.2f} to {group['value'].quantile(0.95):.2f}",
                f"{percent(float(group['prior_sd'].median()))} before, "
                f"{percent(float(group['sd'].median()))} after",
                f"{int((group['finding'] != '').sum())} of {len(group)}",
            ]
            for label, group in physics.groupby("label", sort=False)
        ],
    )
    found = physics[physics["finding"] != ""].sort_values(
        ["runs", "level"], ascending=[False, True]
    )
    text = (
        f"{levels} levels. Efficiencies are of the best path of the kernel table, scaled; where "
        "they are used they are clipped to 1. A value outside its physical range is a finding, "
        "not a fit: something else that the model does not say is in it.\n\n" + summary
    )
    if not len(found):
        return text
    rows = [
        [
            row["level"],
            f"{row['model']}, {row['precision'] or '?'}",
            str(row["runs"]),
            row["label"],
            row["finding"],
            f"{row['value'] * exp(-row['sd']):.2f} to {row['value'] * exp(row['sd']):.2f}",
        ]
        for row in found.head(MOST_FINDINGS).to_dict("records")
    ]
    rest = len(found) - len(rows)
    text += "\n\n" + markdown_table(("level", "model", "runs", "quantity", "finding", "1 sd"), rows)
    return text + (f"\n\nand {rest} more." if rest > 0 else "")
