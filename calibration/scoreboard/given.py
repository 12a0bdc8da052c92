"""Predictions that stand in a user's own table: read whole, or refused with line and column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.importers.point_table import numbers
from simulator.output.csv_table import read_run_table
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

NEEDED = (
    *("status", "pred_total_tput_per_gpu", "pred_median_tpot_s", "pred_mean_tpot_s"),
    *("pred_mean_ttft_s", "pred_median_ttft_s"),
)
"""Columns that scores are taken from, of those that ``simulate predict`` adds."""


def with_numbers(table: pd.DataFrame, *, names: Sequence[str], place: str) -> pd.DataFrame:
    """A table of text with some of its columns as numbers, those that it has."""
    return table.assign(
        **{name: numbers(table[name], place=place) for name in names if name in table}
    )


def read_given(path: Path) -> pd.DataFrame:
    """A table that ``simulate predict`` wrote, its ``pred_`` columns as numbers.

    Raises
    ------
    UserError
        If it cannot be read, lacks a column, or a figure is no number.
    """
    table = read_run_table(path)
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise UserError(
            f"{path} line 1: column {missing[0]} is missing; --predictions takes what simulate "
            "predict writes for the same table"
        )
    names = [name for name in map(str, table.columns) if name.startswith("pred_")]
    return with_numbers(table, names=names, place=str(path))
