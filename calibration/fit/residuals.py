"""Measured runs beside what a fit says of them, as a file: what a report on the fit is made of."""

from __future__ import annotations

import gzip
import io
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from calibration.fit.observations import METRICS
from simulator.output.text_file import staged
from workloads.errors import UserError

if TYPE_CHECKING:
    from calibration.fit.gauss_newton import Fit
    from calibration.fit.own_fit import OwnFit
    from calibration.measured.selection import Selection

RESIDUALS_FILE = "residuals.csv.gz"

LABELS = (
    *("model", "sku", "engine", "software", "precision", "speculation", "pools", "layout"),
    *("isl", "osl", "concurrency", "date", "level", "source"),
)
"""What a run is called; ``level`` is the software level, as ``dense/vllm/h200/2026-09-01``."""

_TEXTS = tuple(name for name in LABELS if name not in ("isl", "osl", "concurrency"))

FIGURES = tuple(f"{which}_{metric}" for which in ("measured", "predicted") for metric in METRICS)
"""Natural logarithms of tok/s/GPU, TPOT [s] and TTFT [s]."""


def residual_table(fit: Fit, selection: Selection) -> pd.DataFrame:
    """The runs of a fit with `LABELS` and `FIGURES`, predicted by its linearised responses."""
    logs = np.array([fit.level_logs(o.level) for o in fit.observations])
    said = fit.responses + np.einsum("omp,op->om", fit.slopes, logs - fit.logs)
    runs = selection.fitted_runs.reset_index(drop=True)
    table = runs[[name for name in LABELS if name in runs]].copy()
    table["software"] = [o.level.engine for o in fit.observations]
    table["level"] = [o.level.groups[-1] for o in fit.observations]
    table["pools"] = [
        _pools(bool(split), any(pool.layout.dp_attention for pool in o.configuration.pools))
        for split, o in zip(runs["disaggregated"], fit.observations, strict=True)
    ]
    for column, metric in enumerate(METRICS):
        table[f"measured_{metric}"] = [o.measured[column] for o in fit.observations]
        table[f"predicted_{metric}"] = said[:, column]
    return table[[*LABELS, *FIGURES]]


def own_residual_table(fit: OwnFit) -> pd.DataFrame:
    """A user's own runs with `LABELS` and `FIGURES`, as they were simulated at the end."""
    rows = []
    for index, o in enumerate(fit.observations):
        run = o.configuration
        row: dict[str, object] = {
            "model": run.model,
            "sku": o.level.sku,
            "engine": run.engine.label,
            "software": o.level.engine,
            "precision": run.precision,
            "speculation": run.speculation,
            "pools": _pools(len(run.pools) > 1, run.pools[-1].layout.dp_attention),
            "layout": "+".join(pool.layout.label for pool in run.pools),
            "isl": run.isl,
            "osl": run.osl,
            "concurrency": run.concurrency,
            "date": o.level.level_date,
            "level": o.level.groups[-1],
            "source": o.series,
        }
        for column, metric in enumerate(METRICS):
            row[f"measured_{metric}"] = o.measured[column]
            row[f"predicted_{metric}"] = fit.after[index, column]
        rows.append(row)
    return pd.DataFrame(rows, columns=[*LABELS, *FIGURES])


def _pools(disaggregated: bool, dp_attention: bool) -> str:
    if disaggregated:
        return "disaggregated"
    return "data-parallel" if dp_attention else "TP"


def write_residuals(table: pd.DataFrame, *, directory: Path, source: str) -> Path:
    """Write ``residuals.csv.gz``, the same bytes for the same runs; its head says the source."""
    text = f"# {source}\n" + table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    path = directory / RESIDUALS_FILE
    with staged(path, make_folder=True) as stage:
        stage.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def read_residuals(directory: Path | None = None) -> tuple[pd.DataFrame, str]:
    """Runs and source of a fit's ``residuals.csv.gz``, or of the shipped one.

    Raises
    ------
    UserError
        If there is none or it cannot be read.
    """
    shipped = Path(str(resources.files("calibration.fit") / "data"))
    path = (directory or shipped) / RESIDUALS_FILE
    try:
        text = gzip.decompress(path.read_bytes()).decode()
        head, _, body = text.partition("\n")
        table = pd.read_csv(io.StringIO(body), dtype=dict.fromkeys(_TEXTS, str))
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; simulate calibrate fit --out DIR writes it"
        ) from None
    except (OSError, ValueError, EOFError):
        raise UserError(f"{path} cannot be read; write it again with the fit") from None
    if list(table.columns) != [*LABELS, *FIGURES] or not head.startswith("# "):
        raise UserError(f"{path} is no table of residuals; write it again with the fit")
    table[list(_TEXTS)] = table[list(_TEXTS)].fillna("")
    return table, head.removeprefix("# ")
