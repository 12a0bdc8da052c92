"""One SKU over the dates of its software: what updates alone have been worth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hwmodels.engine_files import list_levels
from hwmodels.fitted import MEDIAN_LEVEL_DATE, fitted_level_dates
from simulator.analysis.objectives import stated_limits
from simulator.analysis.pareto import Frontier
from simulator.prediction.bands import DATES, SAME_ENGINE, ratio_factors
from simulator.recipes.choice import find_recipe
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings_file import SettingsFile, read_settings
from simulator.scenario.target import resolve_target
from simulator.studies.closing_of_run import stands_in
from simulator.studies.sweep.run import run_sweep
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from simulator.scenario.settings import Scenario
    from simulator.studies.sweep.run import SweepResult

    Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareDate:
    """A day on which the software of an engine on a SKU changed, and what changed.

    Parameters
    ----------
    date:
        ISO date.
    changes:
        ``plan`` (kernels and precision paths), ``fit`` (measured runs of that day were fitted)
        and ``settings`` (recorded server settings).
    """

    date: str
    changes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TimelineResult:
    """A SKU's throughput by software date.

    Parameters
    ----------
    dates:
        The dates and what changed on each.
    at, clients:
        Speeds per user [tok/s/user] and closed-loop clients [requests] that are followed.
    table:
        See `frame`.
    swept:
        The runs behind it, one series for each date.
    resolved:
        Every setting with its value and where it came from.
    """

    dates: tuple[SoftwareDate, ...]
    at: tuple[float, ...]
    clients: tuple[int, ...]
    table: pd.DataFrame
    swept: SweepResult
    resolved: Mapping[str, Any]

    def frame(self) -> pd.DataFrame:
        """One row for each date and each speed, number of clients, and the highest throughput.

        ``basis`` is ``interactivity``, ``clients`` or ``peak`` and ``value`` its number;
        ``total_tput_per_gpu`` is missing where the speed lies outside the curve, which runs from
        ``slowest`` to ``fastest``; ``times_first`` is throughput over that of the first date
        that has any, ``times_first_lo`` and ``times_first_hi`` its 90 % interval from errors of
        dates of one layout, where both dates' software was fitted.
        """
        return self.table.copy()

    @property
    def caption(self) -> str:
        """What was run, in one line."""
        return self.swept.caption

    def plot(self, path: Path | None = None) -> Figure:
        """Throughput against date; written as PNG where a path is given."""
        from simulator.output.style import save_figure
        from simulator.studies.timeline.plots import timeline_figure

        figure = timeline_figure(self)
        if path is not None:
            save_figure(figure, path)
        return figure


FOLLOWED = ("at", "clients")
DEFAULT_AT = (20.0, 50.0)
DEFAULT_CLIENTS = (64,)


def timeline(
    *,
    at: Sequence[float] | None = None,
    clients: Sequence[int] | None = None,
    ttft_p90_s: float | None = None,
    scenario: Path | None = None,
    out: Path | None = None,
    workers: int | None = None,
    every: bool = False,
    on_progress: Progress | None = None,
    **settings: Any,
) -> TimelineResult:
    """Follow one SKU and engine over the dates of its software.

    Parameters
    ----------
    at:
        Speeds per user at which throughput is followed; ``None``: those of the scenario, else
        20 and 50. [tok/s/user]
    clients:
        Closed-loop clients at which the best layout's throughput is followed; ``None``: those of
        the scenario, else 64. [requests]
    every:
        Whether to run what can neither be on a frontier nor be the best at ``clients`` too.
    ttft_p90_s, scenario, out, workers, on_progress, settings:
        As `simulator.studies.sweep.api.sweep`; one SKU, and an engine without a date.

    Raises
    ------
    UserError
        If a name is unknown, a number out of range, or no dated software is known.
    """
    return run_timeline(
        flags=settings,
        file=scenario,
        at=at,
        clients=clients,
        ttft_p90_s=ttft_p90_s,
        directory=out,
        workers=workers,
        every=every,
        on_progress=on_progress,
    )


def run_timeline(
    *,
    flags: Mapping[str, Any],
    file: Path | None,
    at: Sequence[float] | None = None,
    clients: Sequence[int] | None = None,
    ttft_p90_s: float | None = None,
    directory: Path | None = None,
    workers: int | None = None,
    every: bool = False,
    on_progress: Progress | None = None,
) -> TimelineResult:
    """`timeline` on flags and a scenario file.

    Raises
    ------
    UserError
        As `timeline`.
    """
    read = read_settings(file)
    followed: dict[str, Sequence[float]] = {
        name: stated if stated is not None else read.values.get(name, default)
        for name, stated, default in (("at", at, DEFAULT_AT), ("clients", clients, DEFAULT_CLIENTS))
    }
    origins = {
        name: "flag" if stated is not None else read.origin.get(name, "default")
        for name, stated in (("at", at), ("clients", clients))
    }
    scenario = swept_file(file)
    for name, given in followed.items():
        if not all(0 < number < np.inf for number in given):
            raise UserError(f"{name} is {list(given)}; every number must be above 0")
    speeds = tuple(dict.fromkeys(float(x) for x in followed["at"]))
    numbers = tuple(dict.fromkeys(int(n) for n in followed["clients"]))
    asked = build_sweep(flags=flags, file=scenario)
    if asked.varied:
        raise UserError(f"{asked.varied[0]} has several values; a timeline follows one of each")
    load = next(asked.loads())
    engine = resolve_target(load).engine
    if engine.date is not None or engine.specification:
        raise UserError(
            f"engine {load.engine} names one level; leave it out: --engine {engine.engine.label}"
        )
    dates = software_dates(load)
    if not dates:
        raise UserError(
            f"no dated software of {engine.engine.label} on {load.sku} is known; see "
            f"simulate list levels --engine {engine.engine.label}"
        )
    label = engine.engine.label
    concurrency = asked.concurrency
    if concurrency is not None:
        concurrency = tuple(sorted({*concurrency, *numbers}))
    dated = build_sweep(
        flags={
            **flags,
            "engine": [f"{label}@{one.date}" for one in dates],
            "concurrency": concurrency,
        },
        file=scenario,
    )
    swept = run_sweep(
        dated,
        directory=directory,
        workers=workers,
        limits=stated_limits(ttft_p90_s=ttft_p90_s),
        prunes=not every,
        followed=numbers,  # the best there is asked for, wherever it stands on a curve
        on_progress=on_progress,
    )
    if swept.runs.empty:
        raise UserError("no layout fits\n" + "\n".join(swept.refused["reason"].unique()))
    swept = replace(swept, messages=(*swept.messages, *stands_in(load)))
    return TimelineResult(
        dates=dates,
        at=speeds,
        clients=numbers,
        table=_table(
            swept.runs, dates=dates, at=speeds, clients=numbers, calibration=load.calibration
        ),
        swept=swept,
        resolved=swept.resolved
        | {name: asked.to_dict()[name] for name in ("engine", "concurrency")}
        | {
            name: {"value": list(value), "origin": origins[name]}
            for name, value in followed.items()
        },
    )


def swept_file(file: Path | None) -> SettingsFile:
    """What a settings file says of the sweep behind a timeline.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    read = read_settings(file)
    return replace(
        read,
        values={name: value for name, value in read.values.items() if name not in FOLLOWED},
        defaults={name: value for name, value in read.defaults.items() if name not in FOLLOWED},
    )


def software_dates(load: Scenario) -> tuple[SoftwareDate, ...]:
    """Days on which the software of a scenario's engine on its SKU is known to have changed.

    Undated medians and settings of agentic load alone are left out; of the fitted days of a month
    the last one counts.
    """
    target = resolve_target(load)
    sku, model, engine = target.sku, target.model, target.engine.engine
    found: dict[str, list[str]] = {}
    for level in list_levels(engine=engine.software):
        if sku.key in level.get("skus", []) and model in level.get("models", [model]):
            found.setdefault(str(level["date"]), []).append("plan")
    fitted = fitted_level_dates(
        engine=engine.software, sku=sku.key, model=model, directory=load.calibration
    )
    last_of_month = {day[:7]: day for day in sorted(fitted.keys() - {MEDIAN_LEVEL_DATE})}
    for level_date in last_of_month.values():
        found.setdefault(level_date, []).append("fit")
    recipe, _ = find_recipe(engine=engine, sku=sku.key, model=model, related_skus=sku.related_skus)
    for one in recipe.levels:
        if one.date and not one.is_median and any(_is_fixed(part.when) for part in one.cells):
            found.setdefault(str(one.date), []).append("settings")
    return tuple(SoftwareDate(date=date, changes=tuple(found[date])) for date in sorted(found))


def _is_fixed(when: Mapping[str, Any]) -> bool:
    return bool(when.get("scenario", "fixed") == "fixed")


def _table(
    runs: pd.DataFrame,
    *,
    dates: Sequence[SoftwareDate],
    at: Sequence[float],
    clients: Sequence[int],
    calibration: Path | None,
) -> pd.DataFrame:
    factors = ratio_factors(
        first=DATES, second=DATES, relation=SAME_ENGINE, directory=calibration
    ) or (np.nan, np.nan)
    rows: list[dict[str, Any]] = []
    for one in dates:
        mine = runs[runs["engine"].str.endswith(f"@{one.date}") & runs["meets_limits"]]
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
    return {name: row[name] for name in ("interactivity", "total_tput_per_gpu", "level")} | {
        "label": f"{row['label']} c{row['concurrency']}"
    }
