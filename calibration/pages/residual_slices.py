"""Where predictions lean: median residuals by slice, and how settings and rivals' figures stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.pages.markdown import markdown_table, percent
from calibration.validation.cell_bands import cell_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from calibration.validation.validate import Validation

FEWEST = 40
"""Runs from which a slice is shown. [runs]"""

NOTICED = 0.05
"""Median residual from which a slice is marked. [-]"""

CLIENTS = (4, 16, 64, 256)
"""Upper ends of the classes of concurrency. [requests]"""


def with_slices(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with the classes that they are sliced by, as text."""
    table = predictions.copy()
    clients = table["concurrency"].to_numpy(float)
    names = [f"to {end}" for end in CLIENTS] + [f"above {CLIENTS[-1]}"]
    table["clients"] = [names[int(np.searchsorted(CLIENTS, each))] for each in clients]
    table["lengths"] = [
        f"{isl:.0f}/{osl:.0f}" for isl, osl in zip(table["isl"], table["osl"], strict=True)
    ]
    table["date of run"] = [str(date)[:7] or "undated" for date in table["date"]]
    return table


def slice_table(
    predictions: pd.DataFrame, *, fewest: int = FEWEST, more: Sequence[str] = ()
) -> pd.DataFrame:
    """Median residual of throughput, TPOT and TTFT by slice, of slices of some runs or more.

    Parameters
    ----------
    fewest:
        Runs from which a slice counts. [runs]
    more:
        Columns that are sliced by besides concurrency, lengths, speculation, precision, month,
        pools and model.

    Returns
    -------
    ``slice``, ``value``, ``runs`` and ``throughput``, ``tpot``, ``ttft``: medians of predicted
    over measured, less one [-]; NaN where fewer runs have the figure.
    """
    import pandas as pd

    table = with_slices(predictions)
    rows = []
    by = ("clients", "lengths", "speculation", "precision", "date of run", "pools", "model")
    for name in (*by, *more):
        for value, group in table.groupby(name, sort=True):
            if len(group) < fewest:
                continue
            row: dict[str, object] = {"slice": name, "value": value, "runs": len(group)}
            for metric in ("throughput", "tpot", "ttft"):
                ratio = group[f"predicted_{metric}"] - group[f"measured_{metric}"]
                known = ratio.to_numpy(float)[np.isfinite(ratio.to_numpy(float))]
                row[metric] = float(np.expm1(np.median(known))) if len(known) >= fewest else np.nan
            rows.append(row)
    return pd.DataFrame(rows, columns=["slice", "value", "runs", "throughput", "tpot", "ttft"])


def slice_rows(validation: Validation) -> str:
    """The table of slices of whole layouts left out; beyond 5 % in bold."""

    def cell(value: float) -> str:
        if value != value:
            return ""
        text = f"{value:+.0%}".replace("%", " %")
        return f"**{text}**" if abs(value) > NOTICED else text

    table = slice_table(validation.of("series"))
    rows = [
        [row["slice"], str(row["value"]), f"{row['runs']:,}"]
        + [cell(row[metric]) for metric in ("throughput", "tpot", "ttft")]
        for row in table.to_dict("records")
    ]
    note = (
        f"Whole layouts left out; medians of predicted / measured − 1 of slices of {FEWEST} runs "
        f"or more, in bold beyond {NOTICED:.0%}."
    ).replace("%", " %")
    return f"{note}\n\n" + markdown_table(
        ("slice", "value", "n", "tok/s/GPU", "TPOT", "TTFT"), rows
    )


def cell_rows(validation: Validation) -> str:
    """Width, coverage and interval score of the cells' bands of throughput."""
    table = cell_table(validation.predictions, validation.cells)
    if table.empty:
        return ""
    rows = [
        [
            str(row["basis"]),
            str(row["cell"]),
            f"{row['runs']:,}",
            f"{row['width']:.2f}",
            percent(row["covered"]),
            f"{row['score']:.2f}",
        ]
        for row in table.to_dict("records")
    ]
    note = (
        "By engine, platform and regime (requests on a rank: to 8, to 64, above), throughput. "
        "The interval score is the width in logarithms plus 20 times what lies outside on average."
    )
    header = ("basis", "cell", "n", "high / low", "covered", "interval score")
    return f"{note}\n\n{markdown_table(header, rows)}"


def settings_rows(validation: Validation) -> str:
    """How many runs are predicted with settings that are not their own, by what is missing."""
    runs = validation.of("fitted")
    reasons = runs["trust_reasons"].astype(str)
    classes = {
        "engine defaults: no settings are recorded": "engine defaults",
        "settings of another date, model or SKU": "stand in|stands in|are assumed|settings of",
        "a single setting is not recorded": "not recorded",
        "expert or data parallelism is not stated": "not in recipe",
    }
    left = reasons.copy()
    rows = []
    for name, pattern in classes.items():
        found = left.str.contains(pattern)
        rows.append([name, f"{int(found.sum()):,}", percent(float(found.mean()))])
        left = left.where(~found, "")
    return markdown_table(("settings", "runs", "share"), rows)


def rival_rows(validation: Validation) -> str:
    """Mean absolute errors on the rows and by the definition that AISimulate scores itself with."""
    header = ("predicted", "n", "TPOT", "TTFT")
    rows = []
    for scheme in ("fitted", "series", "specification"):
        table = validation.of(scheme)
        own = table[
            (table["source"] == "aisimulate-inferencex")
            & ~table["disaggregated"].astype(bool)
            & (table["speculation"] == "none")
        ]
        if not len(own):
            continue
        errors = [
            np.abs(
                np.expm1(
                    own[f"predicted_{m}"].to_numpy(float) - own[f"measured_{m}"].to_numpy(float)
                )
            )
            for m in ("tpot", "ttft")
        ]
        rows.append([scheme, f"{len(own):,}", *(percent(float(np.nanmean(e))) for e in errors)])
    if not rows:
        return ""
    note = (
        "Dated aggregated runs without speculation, mean TPOT and mean TTFT, mean absolute error. "
        "AISimulate publishes 24.3 % and 43.7 % on 1,135 such points and answers 27 % of what it "
        "selects; every run below is answered."
    )
    return f"{note}\n\n{markdown_table(header, rows)}"
