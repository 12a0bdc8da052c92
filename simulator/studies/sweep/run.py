"""Sweeps: every layout at every concurrency, over any settings with several values."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.analysis.costs import with_costs
from simulator.analysis.objectives import NO_LIMIT, resolved_limits
from simulator.output.leftovers import remove_leftovers
from simulator.output.text_tables import records_of
from simulator.prediction.notes import merged
from simulator.studies.changes import changes_of
from simulator.studies.series import caption_of, on_frontier, series_names
from simulator.studies.sweep.deployments import plan_sweep
from simulator.studies.sweep.frontiers import planners_for, refusals_of, with_left_out
from simulator.studies.sweep.store import digest_of_inputs, file_name, frame_of, read_points
from simulator.studies.sweep.tasks import local_executor, run_points
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.analysis.objectives import Objectives
    from simulator.scenario.grid import SweepSettings
    from simulator.studies.changes import Change
    from simulator.studies.sweep.chosen import ChosenPoints
    from simulator.studies.sweep.deployments import SweepPlan
    from simulator.studies.sweep.executors import Executor
    from simulator.studies.sweep.frontiers import PlannedBy
    from simulator.studies.sweep.planner import PointPlanner

    Progress = Callable[[int, int, str], None]

RUNS_FOLDER = "runs"


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """All runs of a sweep.

    Parameters
    ----------
    settings:
        What was varied and what not.
    runs:
        One row per run that was simulated, with ``series``, ``meets_limits`` and
        ``on_frontier``.
    refused:
        What could not run: ``series``, ``label``, ``concurrencies``, ``status`` and ``reason``.
    messages:
        What was assumed.
    fresh:
        Runs that were simulated now rather than found from an earlier sweep.
    limits:
        TTFT limits and goodput of a frontier.
    """

    settings: SweepSettings
    runs: pd.DataFrame
    refused: pd.DataFrame
    messages: tuple[str, ...]
    fresh: int
    limits: Objectives = NO_LIMIT

    def frame(self) -> pd.DataFrame:
        """Every run, dominated ones too (``on_frontier`` tells them apart). SI units."""
        return self.runs.copy()

    def frontier(self) -> pd.DataFrame:
        """Runs that no other of their series beats, by series and ascending interactivity."""
        best = self.runs[self.runs["on_frontier"]]
        order = {name: position for position, name in enumerate(best["series"].unique())}
        return best.sort_values(
            ["series", "interactivity"],
            key=lambda column: column.map(order) if column.name == "series" else column,
            ignore_index=True,
        )

    @property
    def resolved(self) -> dict[str, dict[str, Any]]:
        """Every setting with its value and origin; engines, levels, recipes, limits in force."""
        found = self.settings.to_dict()
        if None in self.settings.values["engine"]:
            used = self._used("engine")
            names = used if isinstance(used, str) else ", ".join(used)
            found["engine"] = {"value": None, "origin": f"default: {names}"}
        found["economics"] = found["economics"] | {"value": self._used("economics")}
        for name in ("level", "recipe", "kind"):
            found[name] = {"value": self._used(name), "origin": "in force for these settings"}
        return found | resolved_limits(self.limits, origin=self.settings.origin)

    def _used(self, name: str) -> Any:
        values = self.runs[name].unique().tolist()
        return values[0] if len(values) == 1 else values

    @property
    def caption(self) -> str:
        """What was run, in one line."""
        return caption_of(self.runs, limits=self.limits, calibration=self.settings.calibration)

    def plot(
        self,
        path: Path | None = None,
        *,
        log: bool = False,
        measured: pd.DataFrame | None = None,
    ) -> Figure:
        """The Pareto plot, dominated runs faint; written as PNG where a path is given.

        ``measured`` points stand beside the curves, see
        `simulator.studies.pareto_plot.pareto_figure`.
        """
        from simulator.output.style import save_figure
        from simulator.studies.pareto_plot import pareto_figure, series_of

        figure = pareto_figure(
            series=series_of(self.runs), caption=self.caption, measured=measured, log=log
        )
        if path is not None:
            save_figure(figure, path)
        return figure


def run_sweep(
    settings: SweepSettings,
    *,
    directory: Path | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    limits: Objectives | None = None,
    as_deployed: bool = False,
    per_engine: bool = False,
    prunes: bool = True,
    followed: Sequence[int] = (),
    on_progress: Progress | None = None,
) -> SweepResult:
    """`simulator.studies.sweep.api.sweep` on settings that are built.

    Parameters
    ----------
    limits:
        TTFT limits and goodput of a frontier; ``None``: those of the settings.
    prunes:
        Whether only what may be on a frontier is run: of many points those that estimates and
        runs put near it (`simulator.studies.sweep.chosen`), of few those before more clients
        cannot bring a deployment to it (`simulator.studies.sweep.planner`).
    followed:
        Concurrencies at which the best deployment runs too, wherever it lies. [requests]
    as_deployed:
        Whether, where no engine is named, all forms that were run on the SKU or its nearest
        relation compete (`simulator.scenario.deployed_forms`) and not its default engine alone.
    per_engine:
        Whether each engine and speculation has a frontier of its own.
    executor:
        Runs the tasks; ``None``: ``workers`` processes of this machine.

    Raises
    ------
    UserError
        As `simulator.studies.sweep.api.sweep`, or if the directory cannot be written to, no worker
        is asked for, or tasks that run elsewhere have no directory to write to.
    """
    return run_sweeps(
        [settings],
        directory=directory,
        workers=workers,
        executor=executor,
        limits=limits,
        as_deployed=as_deployed,
        per_engine=per_engine,
        prunes=prunes,
        followed=followed,
        on_progress=on_progress,
    )[0]


def run_sweeps(
    many: Sequence[SweepSettings],
    *,
    directory: Path | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    limits: Objectives | None = None,
    as_deployed: bool = False,
    per_engine: bool = False,
    prunes: bool = True,
    followed: Sequence[int] = (),
    plans: Sequence[SweepPlan] | None = None,
    planned_by: PlannedBy | None = None,
    on_progress: Progress | None = None,
) -> list[SweepResult]:
    """`run_sweep` for several sweeps, whose runs share the processes.

    Parameters
    ----------
    plans:
        The deployments of each, where they are known; ``None``: those of the settings.
    planned_by:
        As `simulator.studies.sweep.frontiers.planners_for`.

    Raises
    ------
    UserError
        As `run_sweep`.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; it must be at least 1")
    if executor is not None and workers is not None:
        raise UserError(f"workers is {workers}, but the cluster has its own number; leave it out")
    if executor is not None and executor.elsewhere and directory is None:
        raise UserError("no directory is given for what other machines find; name one with out")
    each_limits = [settings.limits if limits is None else limits for settings in many]
    if plans is None:
        plans = [
            plan_sweep(settings, as_deployed=as_deployed, per_engine=per_engine)
            for settings in many
        ]
    plans = [plan.within(limit) for plan, limit in zip(plans, each_limits, strict=True)]
    runner = executor or local_executor(
        [one for plan in plans for one in plan.sweeps], workers=workers
    )
    try:
        planners, tables, fresh = _run(
            many,
            plans=plans,
            limits=each_limits,
            directory=directory,
            executor=runner,
            prunes=prunes,
            followed=followed,
            planned_by=planned_by,
            on_progress=on_progress,
        )
    finally:
        runner.close()
    return [
        _result(
            settings,
            plan=with_left_out(plan, planners=own),
            table=table,
            fresh=fresh,
            limits=limit,
        )
        for settings, plan, own, table, limit in zip(
            many, plans, planners, tables, each_limits, strict=True
        )
    ]


def _run(
    many: Sequence[SweepSettings],
    *,
    plans: Sequence[SweepPlan],
    limits: Sequence[Objectives],
    directory: Path | None,
    executor: Executor,
    prunes: bool,
    followed: Sequence[int],
    planned_by: PlannedBy | None,
    on_progress: Progress | None,
) -> tuple[list[list[PointPlanner | ChosenPoints]], list[pd.DataFrame], int]:
    """Who planned the points of each plan, the runs of each, and how many were simulated now."""
    planners = planners_for(
        plans,
        limits=limits,
        prunes=prunes,
        executor=executor,
        followed=followed,
        planned_by=planned_by,
        on_progress=on_progress,
    )
    inputs = digest_of_inputs(
        skus=[
            sku
            for settings in many
            for load in settings.loads()
            for sku in (load.sku, load.prefill_sku)
            if sku is not None
        ],
        calibration=many[0].calibration,
    )
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch) if directory is None else directory / RUNS_FOLDER
        try:
            runs.mkdir(parents=True, exist_ok=True)
            remove_leftovers(runs)
            fresh = run_points(
                [one for own in planners for one in own],
                settings=many,
                directory=runs.resolve(),
                inputs=inputs,
                executor=executor,
                on_progress=on_progress,
            )
        except OSError as error:
            raise UserError(
                f"cannot write to {runs}: {error.strerror or error}; name another directory "
                "with --out"
            ) from None
        tables = [
            _gather(plan, planners=own, directory=runs)
            for plan, own in zip(plans, planners, strict=True)
        ]
    return planners, tables, fresh


def changes_of_sweep(result: SweepResult, *, workers: int | None = None) -> list[Change]:
    """Frontier points with changed fields of the SKU or server settings beside unchanged ones."""
    settings = result.settings
    if result.runs.empty or not (settings.overrides or settings.engine_settings):
        return []
    rows = records_of(result.frontier())
    return changes_of(rows, base=next(settings.loads()), workers=workers)


def _gather(
    plan: SweepPlan, *, planners: Sequence[PointPlanner | ChosenPoints], directory: Path
) -> pd.DataFrame:
    """The runs of all deployments in the order of the plan."""
    import pyarrow as pa
    import pyarrow.compute as pc

    told = {
        file_name(each.sweep): list(each.known) for planner in planners for each in planner.sweeps
    }
    tables = []
    for sweep in plan.sweeps:
        known = told[file_name(sweep)]
        if not known:
            continue
        path = directory / file_name(sweep)
        table = read_points(path)
        if table is None:
            raise UserError(f"{path} is gone or damaged; run the sweep again")
        mine = pc.is_in(table["concurrency"], value_set=pa.array(known, pa.int64()))
        tables.append(table.filter(mine))
    return frame_of(tables)


def _result(
    settings: SweepSettings,
    *,
    plan: SweepPlan,
    table: pd.DataFrame,
    fresh: int,
    limits: Objectives,
) -> SweepResult:
    import pandas as pd

    table = table.assign(series=series_names(table))
    refused = pd.DataFrame(
        [*plan.refused, *refusals_of(table[table["status"] != "ok"])],
        columns=["series", "label", "concurrencies", "status", "reason"],
    )
    ok = table[table["status"] == "ok"].drop(columns=["key", "status", "reason"])
    ok = ok.assign(meets_limits=np.less_equal(limits.ttft_use(ok), 1.0))
    ok = ok.assign(on_frontier=on_frontier(ok))
    dated = [with_costs(ok, economics=name) for name in settings.values["economics"]]
    if len(dated) > 1:
        dated = [each.assign(series=each["series"] + ", " + each["economics"]) for each in dated]
    runs = pd.concat(dated, ignore_index=True)
    spoken = dict.fromkeys(m for text in ok["messages"].unique() for m in text.splitlines())
    return SweepResult(
        settings=settings,
        runs=runs,
        refused=refused,
        messages=(*plan.messages, *merged(spoken)),
        fresh=fresh,
        limits=limits,
    )
