"""One SKU over the dates of its software: what updates alone have been worth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.analysis.objectives import stated_limits
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings_file import SettingsFile, read_settings
from simulator.studies.sweep.run import run_sweeps
from simulator.studies.sweep.store import file_name
from simulator.studies.timeline.choosing import DatedPoints
from simulator.studies.timeline.dates import SoftwareDate, dated_deployments
from simulator.studies.timeline.figures import followed_figures
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.analysis.objectives import Objectives
    from simulator.scenario.grid import SweepSettings
    from simulator.studies.sweep.run import SweepResult
    from simulator.studies.timeline.dates import DatedDeployments

    Progress = Callable[[int, int, str], None]


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
        The runs behind it, one series for each date on which something changed.
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
        ``total_tput_per_gpu`` is missing where the speed lies outside the curve, whose points
        that were run lie from ``slowest`` to ``fastest``; ``times_first`` is throughput over that
        of the first date that has any, ``times_first_lo`` and ``times_first_hi`` its 90 % interval
        from errors of dates of one layout, where both dates' software was fitted.
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
    ttft_p50_s: float | None = None,
    ttft_p90_s: float | None = None,
    ttft_p99_s: float | None = None,
    goodput: float | None = None,
    scenario: Path | None = None,
    out: Path | None = None,
    workers: int | None = None,
    every: bool = False,
    on_progress: Progress | None = None,
    **settings: Any,
) -> TimelineResult:
    """Follow one SKU over the dates of its software.

    Parameters
    ----------
    at:
        Speeds per user at which throughput is followed; ``None``: those of the scenario, else
        20 and 50. [tok/s/user]
    clients:
        Closed-loop clients at which the best layout's throughput is followed; ``None``: those of
        the scenario, else 64. [requests]
    every:
        Whether to run what can move nothing that is followed too.
    ttft_p50_s, ttft_p90_s, ttft_p99_s, goodput:
        As `simulator.studies.sweep.api.sweep`: runs beyond them count for nothing.
    scenario, out, workers, on_progress, settings:
        As `simulator.studies.sweep.api.sweep`; one SKU, and an engine without a date, or none:
        that of the form in which the SKU is best deployed today.

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
        limits=stated_limits(
            ttft_p50_s=ttft_p50_s, ttft_p90_s=ttft_p90_s, ttft_p99_s=ttft_p99_s, goodput=goodput
        ),
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
    limits: Objectives | None = None,
    directory: Path | None = None,
    workers: int | None = None,
    every: bool = False,
    on_progress: Progress | None = None,
) -> TimelineResult:
    """`timeline` on flags and a scenario file.

    Parameters
    ----------
    limits:
        TTFT limits and goodput; ``None``: those of the file.

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
    if asked.concurrency is not None:
        asked = replace(asked, concurrency=tuple(sorted({*asked.concurrency, *numbers})))
    dated = dated_deployments(asked, limits=asked.limits if limits is None else limits)
    (swept,) = run_sweeps(
        [asked],
        directory=directory,
        workers=workers,
        limits=limits,
        prunes=not every,
        followed=numbers,  # the best there is asked for, wherever it stands on a curve
        plans=[dated.plan],
        planned_by=lambda plan, estimates, within: DatedPoints(
            plan.sweeps,
            estimates=estimates,
            in_force=dated.in_force,
            speeds=speeds,
            followed=numbers,
            limits=within,
        ),
        on_progress=on_progress,
    )
    if swept.runs.empty:
        raise UserError("no layout fits\n" + "\n".join(swept.refused["reason"].unique()))
    return TimelineResult(
        dates=dated.dates,
        at=speeds,
        clients=numbers,
        table=followed_figures(
            _by_date(swept.runs, dated),
            dates=dated.dates,
            at=speeds,
            clients=numbers,
            calibration=asked.calibration,
        ),
        swept=swept,
        resolved=swept.resolved
        | {"concurrency": asked.to_dict()["concurrency"], "engine": _engine_entry(asked, dated)}
        | {
            name: {"value": list(value), "origin": origins[name]}
            for name, value in followed.items()
        },
    )


def _engine_entry(asked: SweepSettings, dated: DatedDeployments) -> dict[str, Any]:
    """The engine as it was asked for; where none was, which one is followed."""
    entry = asked.to_dict()["engine"]
    load = dated.plan.sweeps[0].load
    if entry["value"] is not None:
        return entry
    spec = "" if load.spec == "none" else f" {load.spec}"
    return entry | {"origin": f"default: {str(load.engine).partition('@')[0]}{spec}, see messages"}


def _by_date(runs: pd.DataFrame, dated: DatedDeployments) -> dict[str, pd.DataFrame]:
    """The runs of the deployments in force on each date that are within the limits."""
    names = {
        (str(one.load.engine), one.load.spec, one.label): file_name(one)
        for one in dated.plan.sweeps
    }
    within = runs[runs["meets_limits"]]
    keys = zip(within["engine"], within["spec"], within["label"], strict=True)
    files = np.array([names[key] for key in keys])
    return {date: within[np.isin(files, own)] for date, own in dated.in_force.items()}


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
