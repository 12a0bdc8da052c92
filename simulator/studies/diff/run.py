"""Two versions or two folders of results, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.output.csv_table import numbers_of
from simulator.studies.diff.sources import RELEASE, THIS, read_side
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    Progress = Callable[[int, int, str], None]

METRICS = ("total_tput_per_gpu", "median_tpot_s", "median_ttft_s")
"""Figures that are compared, under InferenceX's names."""

KEYS = (
    *("series", "sku", "model", "engine", "precision", "spec", "isl", "osl", "label", "gpus"),
    *("concurrency", "seed", "overrides", "engine_settings", "economics"),
)
"""Columns of result tables that say which run a row is."""

NAMES = ("sku", "model", "engine", "precision", "isl", "osl", "concurrency", "label")
THRESHOLD = 0.01


@dataclass(frozen=True, kw_only=True)
class DiffResult:
    """What moved.

    Parameters
    ----------
    old, new:
        What was compared.
    table:
        One row for each figure of each configuration: what it is of, ``metric``, ``old``,
        ``new``, ``change`` (new over old, less 1), ``measured`` where it is known and the
        ``error_old`` and ``error_new`` of both to it, ``status_old`` and ``status_new``.
    only_old, only_new:
        Rows that the other side lacks. [rows]
    threshold:
        Change from which a figure counts as moved. [-]
    """

    old: str
    new: str
    table: pd.DataFrame
    only_old: int
    only_new: int
    threshold: float

    @property
    def moved(self) -> pd.DataFrame:
        """Figures that moved by more than the threshold, the farthest first."""
        table = self.table.assign(size=self.table["change"].abs())
        far = table[table["size"] > self.threshold]
        return far.sort_values("size", ascending=False, kind="stable").drop(columns="size")

    @property
    def changed_status(self) -> pd.DataFrame:
        """Configurations that one side predicts and the other does not."""
        differ = self.table["status_old"] != self.table["status_new"]
        return self.table[differ & (self.table["metric"] == METRICS[0])]

    def summary(self) -> dict[str, Any]:
        """Figures by metric: how many, how many moved, how far, and the errors of both."""
        figures = {}
        for metric, rows in self.table.groupby("metric", sort=False):
            known = rows[rows["error_old"].notna() & rows["error_new"].notna()]
            change = rows["change"].dropna()
            figures[str(metric)] = {
                "compared": len(change),
                "moved": int((change.abs() > self.threshold).sum()),
                "median_change": float(change.abs().median()) if len(change) else None,
                "largest_change": float(change.iloc[int(change.abs().to_numpy().argmax())])
                if len(change)
                else None,
                "measured": len(known),
                "median_error_old": float(known["error_old"].abs().median())
                if len(known)
                else None,
                "median_error_new": float(known["error_new"].abs().median())
                if len(known)
                else None,
            }
        return {
            "old": self.old,
            "new": self.new,
            "threshold": self.threshold,
            "only_old": self.only_old,
            "only_new": self.only_new,
            "changed_status": len(self.changed_status),
            "figures": figures,
        }


def diff(
    old: str = RELEASE,
    new: str = THIS,
    *,
    threshold: float = THRESHOLD,
    workers: int = 2,
    on_progress: Progress | None = None,
) -> DiffResult:
    """What moved between two versions, or two folders of results.

    Parameters
    ----------
    old, new:
        See `simulator.studies.diff.sources.read_side`.
    threshold:
        Change from which a figure counts as moved. [-]
    workers:
        Processes for the panel; the result does not depend on their number.

    Raises
    ------
    UserError
        If a side cannot be read or run, or the two have no row in common.
    """
    if not threshold >= 0:
        raise UserError(f"threshold is {threshold}; it must not be negative")
    titles, frames = zip(
        *(read_side(side, workers=workers, on_progress=on_progress) for side in (old, new)),
        strict=True,
    )
    return compare_tables(*frames, old=titles[0], new=titles[1], threshold=threshold)


def compare_tables(
    before: pd.DataFrame, after: pd.DataFrame, *, old: str, new: str, threshold: float = THRESHOLD
) -> DiffResult:
    """What moved between two tables.

    Raises
    ------
    UserError
        If they have no row in common, or a row stands twice.
    """
    import pandas as pd

    keys = _keys_of(before, after)
    sides = []
    for name, frame in ((old, before), (new, after)):
        side = frame.rename(columns={f"pred_{metric}": metric for metric in METRICS})
        side = side.assign(**{key: side[key].map(_text) for key in keys})
        if side.duplicated(keys).any():
            raise UserError(f"{name}: some rows cannot be told apart by {', '.join(keys)}")
        sides.append(side.set_index(keys, drop=False))
    first, second = sides
    shared = first.index[first.index.isin(second.index)]
    if not len(shared):
        raise UserError(f"{old} and {new} have no configuration in common")
    first, second = first.loc[shared], second.loc[shared]
    parts = []
    for metric in METRICS:
        if metric not in first or metric not in second:
            continue
        values = [_numbers(side[metric]) for side in (first, second)]
        measured = (
            _numbers(first[f"measured_{metric}"])
            if f"measured_{metric}" in first
            else np.full(len(first), np.nan)
        )
        part: dict[str, Any] = {
            name: first[name].map(_text).to_numpy() for name in _names(first, keys)
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            part |= {
                "metric": metric,
                "old": values[0],
                "new": values[1],
                "change": values[1] / values[0] - 1.0,
                "measured": measured,
                "error_old": values[0] / measured - 1.0,
                "error_new": values[1] / measured - 1.0,
            }
        part |= {
            f"status_{end}": side["status"].to_numpy() if "status" in side else "ok"
            for end, side in (("old", first), ("new", second))
        }
        parts.append(pd.DataFrame(part))
    if not parts:
        raise UserError(f"{old} and {new} share none of {', '.join(METRICS)}")
    return DiffResult(
        old=old,
        new=new,
        table=pd.concat(parts, ignore_index=True),
        only_old=len(before) - len(shared),
        only_new=len(after) - len(shared),
        threshold=threshold,
    )


def _keys_of(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    both = [name for name in ("id", *KEYS) if name in before and name in after]
    if "id" in both:
        return ["id"]
    if not both:
        raise UserError("the two tables have no column in common that says which run a row is")
    return both


def _names(frame: pd.DataFrame, keys: list[str]) -> list[str]:
    return list(dict.fromkeys(name for name in (*keys, *NAMES) if name in frame))


def _text(value: object) -> str:
    """A cell as text; whole numbers the same, whatever column they were read into."""
    if value is None or value != value:
        return ""
    text = str(value)
    return text.removesuffix(".0") if text.removesuffix(".0").isdigit() else text


def _numbers(column: pd.Series[Any]) -> Any:
    return numbers_of(column).to_numpy(dtype=float)
