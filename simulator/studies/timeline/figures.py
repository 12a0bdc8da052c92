"""The figures of a timeline: throughput of each date at what is followed, and times the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.analysis.pareto import Frontier
from simulator.prediction.bands import DATES, SAME_ENGINE, ratio_factors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from simulator.studies.timeline.dates import SoftwareDate


def followed_figures(
    by_date: Mapping[str, pd.DataFrame],
    *,
    dates: Sequence[SoftwareDate],
    at: Sequence[float],
    clients: Sequence[int],
    calibration: Path | None,
) -> pd.DataFrame:
    """The table of `simulator.studies.timeline.run.TimelineResult.frame`.

    Parameters
    ----------
    by_date:
        Runs within the limits of the deployments in force on each date.
    at, clients:
        Speeds per user [tok/s/user] and numbers of clients [requests] that are followed.
    calibration:
        Directory of a user's own fit.
    """
    import pandas as pd

    factors = ratio_factors(
        first=DATES, second=DATES, relation=SAME_ENGINE, directory=calibration
    ) or (np.nan, np.nan)
    rows: list[dict[str, Any]] = []
    for one in dates:
        mine = by_date[one.date]
        fitted = len(mine) > 0 and bool((mine["kind"] == "calibrated").all())
        shared = {"date": one.date, "changes": "+".join(one.changes), "fitted": fitted}
        followed = _followed(mine, at=at, clients=clients, factors=factors)
        rows += [shared | cells for cells in followed]
    table = pd.DataFrame(rows)
    known = table[table["total_tput_per_gpu"].notna()]
    groups = ["basis", "value"]
    first = known.groupby(groups, dropna=False)[["total_tput_per_gpu", "fitted"]]
    base = first.transform("first").reindex(table.index)
    times = table["total_tput_per_gpu"] / base["total_tput_per_gpu"]
    judged = table.pop("fitted") & base["fitted"].eq(True) & times.ne(1.0)
    low, high = (
        table.pop(name).where(judged) / base["total_tput_per_gpu"] for name in ("low", "high")
    )
    return table.assign(times_first=times, times_first_lo=low, times_first_hi=high)


def _followed(
    runs: pd.DataFrame,
    *,
    at: Sequence[float],
    clients: Sequence[int],
    factors: tuple[float, float],
) -> list[dict[str, Any]]:
    """The cells of one date for everything that is followed, with the ends of its throughput.

    An error moves the whole curve along both axes, see `simulator.prediction.bands.ratio_factors`.
    """
    x, y = runs["interactivity"].to_numpy(float), runs["total_tput_per_gpu"].to_numpy(float)
    curve = Frontier.of(x, y)
    shifted = [curve.scaled(factor) for factor in factors]
    slowest, fastest = (curve.x[0], curve.x[-1]) if curve.x.size else (np.nan, np.nan)
    found: list[dict[str, Any]] = [
        {
            "basis": "interactivity",
            "value": speed,
            "interactivity": speed,
            "total_tput_per_gpu": _at(curve, speed),
            "low": _at(shifted[0], speed),
            "high": _at(shifted[1], speed),
            "label": "",
            "level": runs["level"].iloc[0] if len(runs) else "",
            "slowest": slowest,
            "fastest": fastest,
        }
        for speed in at
    ]
    best: list[dict[str, Any]] = [
        {"basis": "clients", "value": number} | _best(runs[runs["concurrency"] == number])
        for number in clients
    ] + [{"basis": "peak", "value": np.nan} | _best(runs)]
    for cells in best:
        rate = cells["total_tput_per_gpu"]
        cells |= {"low": rate * factors[0], "high": rate * factors[1]}
    return [*found, *best]


def _at(curve: Frontier, speed: float) -> float:
    """Throughput of a curve at a speed; NaN where it does not reach it. [tok/s/GPU]"""
    return float(curve.values([speed])[0])


def _best(runs: pd.DataFrame) -> dict[str, Any]:
    """The run of highest throughput."""
    if runs.empty:
        return {"interactivity": np.nan, "total_tput_per_gpu": np.nan, "label": "", "level": ""}
    row = runs.sort_values("total_tput_per_gpu", kind="stable").iloc[-1]
    names = ("interactivity", "total_tput_per_gpu", "level")
    return {name: row[name] for name in names} | {"label": f"{row['label']} c{row['concurrency']}"}
