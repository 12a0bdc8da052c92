"""Comparisons at equal speed per user: throughput, dollars, power and ratios with bands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from simulator.analysis.objectives import NO_LIMIT, stated_limits
from simulator.output.text_tables import records_of
from simulator.studies.changes import changes_of
from simulator.studies.compare.budgets import budgets_that_differ
from simulator.studies.compare.request import build_systems
from simulator.studies.compare.siblings import at_equal_software
from simulator.studies.compare.sides import Denominator, Side, common_speeds, side_of, side_row
from simulator.studies.series import caption_of, on_frontier
from simulator.studies.sweep.run import run_sweeps
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from hwmodels.economics import Tier
    from simulator.analysis.objectives import Objectives
    from simulator.studies.changes import Change
    from simulator.studies.compare.request import ComparedSystem

    Progress = Callable[[int, int, str], None]

TIERS: tuple[Tier, ...] = ("hyperscaler", "neocloud", "rental")


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """Curves side by side.

    Parameters
    ----------
    sides:
        The systems' curves, the first of which the ratios are relative to.
    at:
        Speeds per user that are compared. [tok/s/user]
    table:
        See `frame`.
    denominator, tier, economics:
        What dollars are over, whose price, and the dated file it stands in.
    messages:
        What was assumed.
    refused:
        Deployments that could not run, with their reasons.
    resolved:
        Every setting with its value and origin, by system.
    limits:
        TTFT limits and goodput of a curve.
    calibration:
        Directory of a user's own fit; ``None``: the shipped one.
    software_of:
        SKUs the better of whose levels every engine has; empty: each its own.
    changes:
        Points of what-ifs beside those of the unchanged chip, and, where equal software was asked
        for, of its own software.
    """

    sides: tuple[Side, ...]
    at: tuple[float, ...]
    table: pd.DataFrame
    denominator: Denominator
    tier: Tier
    economics: str
    messages: tuple[str, ...]
    refused: pd.DataFrame
    resolved: dict[str, Any]
    limits: Objectives = NO_LIMIT
    calibration: Path | None = None
    software_of: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()

    def frame(self) -> pd.DataFrame:
        """One row for each speed and system; figures are missing where ``reachable`` is not.

        Where all runs of a system are faster than the speed, the figures are those at its
        ``slowest``: who asks for a speed is not served worse by a higher one.

        ``ratio`` is throughput over the first system's, with its 90 % band, ``paired`` or
        ``independent`` by ``ratio_band``; ``apart`` says whether that band leaves out 1.
        """
        return self.table.copy()

    def runs(self) -> pd.DataFrame:
        """Every run behind the curves."""
        import pandas as pd

        return pd.concat([side.runs for side in self.sides], ignore_index=True)

    @property
    def caption(self) -> str:
        """What was compared, in one line."""
        return caption_of(self.runs(), limits=self.limits, calibration=self.calibration)

    def plot(
        self,
        path: Path | None = None,
        *,
        log: bool = False,
        measured: pd.DataFrame | None = None,
    ) -> Figure:
        """The Pareto plot with the compared speeds marked; written as PNG where a path is given.

        ``measured`` points stand beside the curves, see
        `simulator.studies.pareto_plot.pareto_figure`.
        """
        from simulator.output.style import save_figure
        from simulator.studies.compare.plots import comparison_figure

        figure = comparison_figure(self, log=log, measured=measured)
        if path is not None:
            save_figure(figure, path)
        return figure

    def plot_ratio(self, path: Path | None = None) -> Figure:
        """Throughput over the first system's, against speed per user."""
        from simulator.output.style import save_figure
        from simulator.studies.compare.plots import ratio_figure

        figure = ratio_figure(self)
        if path is not None:
            save_figure(figure, path)
        return figure


def compare(
    *systems: str | Mapping[str, Any],
    at: Sequence[float] = (),
    denominator: Denominator = "all",
    tier: Tier = "hyperscaler",
    ttft_p50_s: float | None = None,
    ttft_p90_s: float | None = None,
    ttft_p99_s: float | None = None,
    goodput: float | None = None,
    same_software: bool | None = None,
    scenario: Path | None = None,
    out: Path | None = None,
    workers: int | None = None,
    every: bool = False,
    on_progress: Progress | None = None,
    **settings: Any,
) -> ComparisonResult:
    """Compare SKUs, engines or dates at equal speed per user.

    Parameters
    ----------
    systems:
        ``gb200``, ``mi355x:sglang@2026-05``, YAML scenario files, or settings with a name:
        ``{"name": "twice the HBM", "sku": "gb200", "overrides": {"hbm_usable_bytes": 398e9}}``.
        The first is the reference of the ratios.
    at:
        Speeds per user; empty: five between the slowest and the fastest that all reach.
        [tok/s/user]
    denominator:
        See `Denominator`.
    tier:
        Whose price of a GPU hour.
    ttft_p50_s, ttft_p90_s, ttft_p99_s, goodput:
        What counts, as in `simulator.studies.sweep.api.sweep`; ``None``: any TTFT. [s], [-]
    same_software:
        Whether every engine runs at the better of the levels that it has on the SKUs, so that
        chips alone differ; ``None``: between siblings, see `simulator.studies.compare.siblings`.
    every:
        Whether to run what cannot be on a frontier too.
    scenario, out, workers, on_progress, settings:
        As `simulator.studies.sweep.api.sweep`; every setting has one value.

    Raises
    ------
    UserError
        If a name is unknown or a number out of range.
    """
    return run_comparison(
        build_systems(systems, flags=settings, file=scenario),
        at=at,
        denominator=denominator,
        tier=tier,
        limits=stated_limits(
            ttft_p50_s=ttft_p50_s, ttft_p90_s=ttft_p90_s, ttft_p99_s=ttft_p99_s, goodput=goodput
        ),
        same_software=same_software,
        directory=out,
        workers=workers,
        every=every,
        on_progress=on_progress,
    )


def run_comparison(
    systems: Sequence[ComparedSystem],
    *,
    at: Sequence[float] = (),
    denominator: Denominator = "all",
    tier: Tier = "hyperscaler",
    limits: Objectives | None = None,
    same_software: bool | None = None,
    directory: Path | None = None,
    workers: int | None = None,
    every: bool = False,
    on_progress: Progress | None = None,
) -> ComparisonResult:
    """`compare` on systems that are built.

    Raises
    ------
    UserError
        As `compare`.
    """
    if denominator not in get_args(Denominator):
        raise unknown_name(field="denominator", value=denominator, known=get_args(Denominator))
    if tier not in TIERS:
        raise unknown_name(field="tier", value=tier, known=TIERS)
    for speed in at:
        if not 0 < speed < math.inf:
            raise UserError(f"--at {speed:g} is no speed; give tok/s/user above 0, as in 20,50")
    systems, shared = at_equal_software(systems, asked=same_software)
    sides: list[Side] = []
    messages: list[str] = []
    refused: list[pd.DataFrame] = []
    resolved: dict[str, Any] = {
        "systems": {"value": [each.name for each in systems], "origin": "asked"},
    }
    absent: dict[str, str] = {}
    present: list[ComparedSystem] = []
    swepts = run_sweeps(
        [each.settings for each in systems],
        directory=directory,
        workers=workers,
        limits=limits,
        as_deployed=True,
        prunes=not every,
        on_progress=on_progress,
    )
    import pandas as pd  # what runs beside the runs has loaded it by now

    used = swepts[0].limits
    for each, swept in zip(systems, swepts, strict=True):
        messages += [f"{each.name}: {message}" for message in swept.messages]
        refused.append(swept.refused.assign(series=each.name))
        if swept.runs.empty:
            told = list(swept.refused["reason"].unique())
            told.sort(key=lambda reason: "does not fit" not in reason)  # memory says most
            reasons = "\n".join(told)
            absent[each.name] = f"no layout of {each.name} fits\n{reasons}"
            continue
        resolved |= {f"{each.name}.{name}": entry for name, entry in swept.resolved.items()}
        runs = swept.runs.assign(series=each.name)
        runs = runs.assign(on_frontier=on_frontier(runs))  # of all its forms together
        try:
            sides.append(side_of(each, runs, denominator=denominator))
        except UserError as error:
            absent[each.name] = str(error)
            continue
        present.append(each)
    if not sides:
        raise UserError("\n".join(absent.values()))
    messages += [f"{name} is left out: {_in_short(reason)}" for name, reason in absent.items()]
    systems = present
    messages += budgets_that_differ(systems, sides)
    messages += [
        f"{side.name}: its curve passes over {side.passed_over} of the frontier's points, where "
        "another deployment serves that speed with more throughput between two of its loads"
        for side in sides
        if side.passed_over
    ]
    changes = [
        change
        for system, side in zip(systems, sides, strict=True)
        for change in changes_of(
            records_of(side.best.assign(on_frontier=True)),
            base=next(system.settings.loads()),
            with_software=bool(same_software),
            workers=workers,
        )
    ]
    speeds = tuple(dict.fromkeys(float(speed) for speed in at)) or common_speeds(sides)
    rows = [side_row(side, sides[0], x=x, tier=tier) for x in speeds for side in sides]
    return ComparisonResult(
        sides=tuple(sides),
        at=speeds,
        table=pd.DataFrame(rows),
        denominator=denominator,
        tier=tier,
        economics=sides[0].costs[0].economics,
        messages=tuple(dict.fromkeys(messages)),
        refused=pd.concat(refused, ignore_index=True),
        resolved=resolved
        | {
            name: {"value": value, "origin": "flag" if value else "default"}
            for name, value in (
                ("at", list(at)),
                ("denominator", denominator),
                ("tier", tier),
                *used.to_dict().items(),
                ("same_software", same_software),
            )
        },
        software_of=shared,
        changes=tuple(changes),
        limits=used,
        calibration=systems[0].settings.calibration,
    )


def _in_short(reason: str) -> str:
    first, *rest = reason.splitlines()
    return f"{first}: {rest[0]}" if rest else first
