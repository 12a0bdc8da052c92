"""Microbenchmark rows beside the kernel table: how well the table predicts them.

``python -m calibration.kernels.microbench_report rows.csv`` prints the comparison.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from calibration.command_line import run_main
from calibration.importers.microbench import read_microbench
from calibration.kernels.fit import (
    KernelParameters,
    fit_kernel,
    kernel_samples,
    median_error,
    predict_s,
)
from calibration.kernels.fit_rows import UNBOUND
from calibration.pages.markdown import markdown_table, percent
from hwmodels.engine_files import kernel_table
from hwmodels.sku import load_sku
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST = 6
"""Rows below which nothing is fitted to them."""


def compare_with_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Error of the kernel table on measured rows, and what a fit to the rows would say.

    Parameters
    ----------
    rows:
        From `calibration.importers.microbench.read_microbench`; launches are left out.

    Returns
    -------
    One row a SKU, family and path: ``rows``, the table's median ``error`` and ``bias``
    (predicted over measured, less one), its ``t0_s``, ``e_c`` and ``e_m``, and the same as
    ``fitted_*`` with ``fitted_error``, NaN where there are fewer than `FEWEST` rows.
    """
    found: list[dict[str, Any]] = []
    kernels = rows[rows["family"] != "launch"]
    for (sku, family, path), group in kernels.groupby(["sku", "family", "path"], sort=True):
        chip = load_sku(str(sku))
        generations = kernel_table()["families"][str(family)][str(path)]
        entry = generations.get(chip.generation, generations["generic"])
        table = KernelParameters(**{name: entry[name]["value"] for name in ("t0_s", "e_c", "e_m")})
        precision = "bf16" if path == "any" else str(path)
        samples = kernel_samples(group, skus={str(sku): chip}, precision=precision)
        ratio = predict_s(table, samples) / samples["time_s"].to_numpy(float)
        row: dict[str, Any] = {
            "sku": sku,
            "family": family,
            "path": path,
            "rows": len(group),
            "error": median_error(table, samples),
            "bias": float(np.median(ratio)) - 1.0,
            "t0_s": table.t0_s,
            "e_c": table.e_c,
            "e_m": table.e_m,
        }
        names = ("t0_s", "e_c", "e_m")
        row |= dict.fromkeys(("fitted_error", *(f"fitted_{name}" for name in names)), np.nan)
        if len(group) >= FEWEST:
            own = fit_kernel(samples, fixed=UNBOUND.get(str(family)))
            row["fitted_error"] = median_error(own, samples)
            row |= {f"fitted_{name}": getattr(own, name) for name in names}
        found.append(row)
    return pd.DataFrame(found)


def launch_times(rows: pd.DataFrame) -> dict[str, float]:
    """Seconds of a small kernel by how it was launched: ``eager``, ``graph``. [s]"""
    launches = rows[rows["family"] == "launch"]
    return {str(path): float(group["time_s"].median()) for path, group in launches.groupby("path")}


def report(rows: pd.DataFrame) -> str:
    """The comparison as Markdown."""
    header = (
        *("SKU", "family", "rows", "error", "bias", "t0 [µs]", "e_c", "e_m"),
        *("own fit: error", "t0 [µs]", "e_c", "e_m"),
    )
    lines = [
        [
            str(row["sku"]),
            f"{row['family']} {row['path']}",
            str(row["rows"]),
            percent(row["error"]),
            percent(row["bias"], signed=True),
            *_shown(row, ""),
            percent(row["fitted_error"]),
            *_shown(row, "fitted_"),
        ]
        for row in compare_with_table(rows).to_dict("records")
    ]
    launches = [
        f"A small kernel takes {1e6 * seconds:.1f} µs {'in a graph' if how == 'graph' else how}."
        for how, seconds in launch_times(rows).items()
    ]
    return "\n\n".join([markdown_table(header, lines), *launches]) + "\n"


def _shown(row: dict[Any, Any], prefix: str) -> list[str]:
    values = [1e6 * row[f"{prefix}t0_s"], row[f"{prefix}e_c"], row[f"{prefix}e_m"]]
    return ["" if value != value else f"{value:.2f}" for value in values]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0, or 2 on a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m calibration.kernels.microbench_report",
        description="Set microbenchmark rows beside the kernel table.",
    )
    parser.add_argument("rows", type=Path, help="CSV of python -m calibration.microbench")
    parser.add_argument("--sku", metavar="NAME", help="chip; default: as its driver names it")
    options = parser.parse_args(arguments)
    try:
        print(report(read_microbench(options.rows, sku=options.sku)), end="")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    run_main(main)
