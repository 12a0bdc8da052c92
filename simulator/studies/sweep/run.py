"""Sweeps: every layout at every concurrency, over any settings with several values."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodels.sku import load_sku
from simulator.analysis.costs import with_costs
from simulator.engines.pools import deployment_label
from simulator.prediction.notes import merged
from simulator.scenario.candidates import candidate_deployments, orchestrated
from simulator.scenario.configure import check_has_speed
from simulator.scenario.deployed_forms import competing, is_open
from simulator.scenario.grid import build_sweep
from simulator.scenario.target import resolve_target
from simulator.studies.series import caption_of, on_frontier, series_names
from simulator.studies.sweep.executors import cluster_executor
from simulator.studies.sweep.ladders import Ladder
from simulator.studies.sweep.screening import screen
from simulator.studies.sweep.store import (
    digest_of_inputs,
    frame_of,
    read_ladder,
)
from simulator.studies.sweep.tasks import local_executor, run_ladders
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd
    from matplotlib.figure import Figure

    from hwmodels.sku import Sku
    from simulator.scenario.grid import SweepSettings
    from simulator.scenario.settings import Scenario
    from simulator.studies.sweep.executors import Executor, ExecutorName
    from simulator.studies.sweep.ladders import LadderDone

    Progress = Callable[[int, int, str], None]

RUNS_FOLDER = "runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """The ladders of a sweep in order, and what will not run.

    Parameters
    ----------
    refused:
        Layouts that do not divide the chips or the model: columns as `SweepResult.refused`.
    messages:
        What was assumed.
    """

    ladders: tuple[Ladder, ...]
    refused: tuple[dict[str, Any], ...]
    messages: tuple[str, ...]


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
    ttft_p90_s:
        Largest 90 % quantile of the TTFT on a frontier; ``None``: any. [s]
    """

    settings: SweepSettings
    runs: pd.DataFrame
    refused: pd.DataFrame
    messages: tuple[str, ...]
    fresh: int
    ttft_p90_s: float | None = None

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
            found["engine"] = {"value": None, "origin": f"default of the SKU: {names}"}
        found["economics"] = found["economics"] | {"value": self._used("economics")}
        for name in ("level", "recipe", "kind"):
            found[name] = {"value": self._used(name), "origin": "in force for these settings"}
        return found | {
            "ttft_p90_s": {
                "value": self.ttft_p90_s,
                "origin": self.settings.origin.get("ttft_p90_s", "flag")
                if self.ttft_p90_s is not None
                else "default",
            }
        }

    def _used(self, name: str) -> Any:
        values = self.runs[name].unique().tolist()
        return values[0] if len(values) == 1 else values

    @property
    def caption(self) -> str:
        """What was run, in one line."""
        return caption_of(
            self.runs, ttft_p90_s=self.ttft_p90_s, calibration=self.settings.calibration
        )

    def plot(
        self,
        path: Path | None = None,
        *,
        log: bool = False,
        measured: pd.DataFrame | None = None,
    ) -> Figure:
        """The Pareto plot, dominated runs faint; written as PNG where a path is given.

        ``measured`` points stand beside the curves, see
        `simulator.studies.curve.pareto_plot.pareto_figure`.
        """
        from simulator.output.style import save_figure
        from simulator.studies.curve.pareto_plot import pareto_figure
        from simulator.studies.sweep.plots import series_of

        figure = pareto_figure(
            series=series_of(self.runs), caption=self.caption, measured=measured, log=log
        )
        if path is not None:
            save_figure(figure, path)
        return figure


def sweep(
    *,
    scenario: Path | None = None,
    out: Path | None = None,
    workers: int | None = None,
    executor: ExecutorName = "local",
    address: str | None = None,
    ttft_p90_s: float | None = None,
    on_progress: Progress | None = None,
    **settings: Any,
) -> SweepResult:
    """Simulate every layout at every concurrency, over any settings with several values.

    Parameters
    ----------
    scenario:
        YAML file of settings; keyword settings override it.
    out:
        Directory that keeps the runs: an interrupted sweep finds them there and goes on.
        ``None``: nothing is kept.
    workers:
        Processes; ``None``: one per core. The result does not depend on their number.
    executor, address:
        ``local``: processes of this machine; ``dask``: the workers of a cluster that runs
        already, by the address of its scheduler. They write what they find to ``out``, which
        all machines have to share.
    ttft_p90_s:
        Runs whose 90 % quantile of the TTFT exceeds it stay in the table but off the frontier;
        ``None``: no limit. [s]
    on_progress:
        Called with (runs done, runs at the most, what is under way).
    settings:
        Fields of `simulator.scenario.settings.Scenario`, each a value or a list; ``overrides`` maps
        SKU fields to values or lists; ``prefill`` and ``decode`` are workers of each pool
        (``"1-4"``), ``prefill_tp``, ``prefill_ep`` and ``prefill_dp_attention`` lay out a
        prefill worker.

    Raises
    ------
    UserError
        If a setting is unknown or out of range.
    """
    return run_sweep(
        build_sweep(flags=settings, file=scenario),
        directory=out,
        workers=workers,
        executor=cluster_executor(executor=executor, address=address),
        ttft_p90_s=ttft_p90_s,
        on_progress=on_progress,
    )


def run_sweep(
    settings: SweepSettings,
    *,
    directory: Path | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    ttft_p90_s: float | None = None,
    as_deployed: bool = False,
    on_progress: Progress | None = None,
) -> SweepResult:
    """`sweep` on settings that are built.

    Parameters
    ----------
    as_deployed:
        Whether, where no engine is named, all forms that were run on the SKU or its nearest
        relation compete (`simulator.scenario.deployed_forms`) and not its default engine alone.
    executor:
        Runs the tasks; ``None``: ``workers`` processes of this machine.

    Raises
    ------
    UserError
        As `sweep`, or if the directory cannot be written to, no worker is asked for, or tasks
        that run elsewhere have no directory to write to.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; it must be at least 1")
    if executor is not None and workers is not None:
        raise UserError(f"workers is {workers}, but the cluster has its own number; leave it out")
    if executor is not None and executor.elsewhere and directory is None:
        raise UserError("no directory is given for what other machines find; name one with out")
    if ttft_p90_s is not None and not ttft_p90_s > 0:
        raise UserError(f"ttft_p90_s is {ttft_p90_s}; it must be above 0 seconds")
    if ttft_p90_s is None:
        ttft_p90_s = settings.ttft_p90_s
    plan = plan_sweep(settings, as_deployed=as_deployed, workers=workers)
    inputs = digest_of_inputs(skus=settings.values["sku"], calibration=settings.calibration)
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch) if directory is None else directory / RUNS_FOLDER
        try:
            runs.mkdir(parents=True, exist_ok=True)
            done = {
                ladder.name: ladder
                for ladder in run_ladders(
                    plan.ladders,
                    settings=settings,
                    directory=runs.resolve(),
                    inputs=inputs,
                    executor=executor or local_executor(plan.ladders, workers=workers),
                    on_progress=on_progress,
                )
            }
        except OSError as error:
            raise UserError(
                f"cannot write to {runs}: {error.strerror or error}; name another directory "
                "with --out"
            ) from None
        table = _gather(plan, done=done, directory=runs)
    return _result(
        settings,
        plan=plan,
        table=table,
        fresh=sum(ladder.fresh for ladder in done.values()),
        ttft_p90_s=ttft_p90_s,
    )


def plan_sweep(
    settings: SweepSettings, *, as_deployed: bool = False, workers: int | None = None
) -> SweepPlan:
    """The ladders of a sweep; nothing runs yet.

    Parameters
    ----------
    as_deployed, workers:
        As `run_sweep`.

    Raises
    ------
    UserError
        If not one layout divides the chips and the model, or a recipe offers no deployment.
    """
    ladders: dict[str, Ladder] = {}
    refused: dict[str, dict[str, Any]] = {}
    messages: list[str] = []
    for load in settings.loads():
        sku = load_sku(load.sku)
        check_has_speed(load)
        if as_deployed and is_open(settings, load):
            _compete(load, settings, ladders, refused, messages, workers=workers)
            continue
        named, message = _with_engine(load, sku=sku, settings=settings)
        messages += [message] if message else []
        try:
            target = resolve_target(named)
        except UserError as error:
            refused[f"{sku.key} {named.engine}"] = {
                "series": f"{sku.key} {named.engine}",
                "label": "",
                "concurrencies": "",
                "status": "unsupported",
                "reason": str(error),
            }
            continue
        candidates = candidate_deployments(settings=settings, load=named, target=target)
        messages += [f"{sku.key}: {message}" for message in candidates.messages]
        priced_alike = named.model_copy(update={"economics": "latest"})
        for pools in candidates.deployments:
            ladder = Ladder(load=priced_alike, target=target, pools=pools)
            ladders[ladder.file_name] = ladder
        for one in candidates.refused:
            refused[f"{sku.key} {named.model} {one.label}"] = {
                "series": f"{sku.key} {named.model}",
                "label": one.label,
                "concurrencies": "",
                "status": "does_not_divide",
                "reason": one.reason,
            }
    if not ladders:
        raise UserError("no layout fits; " + "; ".join(r["reason"] for r in refused.values()))
    return SweepPlan(
        ladders=tuple(ladders.values()),
        refused=tuple(refused.values()),
        messages=tuple(dict.fromkeys(messages)),
    )


def _compete(
    load: Scenario,
    settings: SweepSettings,
    ladders: dict[str, Ladder],
    refused: dict[str, dict[str, Any]],
    messages: list[str],
    *,
    workers: int | None,
) -> None:
    """Add the ladders of all forms that may be on the frontier, and what is left out."""
    competition = competing(settings, load)
    messages.append(competition.message)
    named = [
        Ladder(
            load=each.load.model_copy(update={"economics": "latest"}),
            target=each.target,
            pools=pools,
        )
        for each in competition.competitors
        for pools in each.candidates.deployments
    ]
    screened = screen(named, workers=workers)
    for ladder in screened.kept:
        ladders[ladder.file_name] = ladder
    left_out = [(label, "", "unsupported", why) for label, why in competition.refused.items()]
    left_out += [
        (f"{one.load.engine} {one.load.spec}", deployment_label(one.pools), "behind", why)
        for one, why in screened.dropped
    ]
    for form, label, status, reason in left_out:
        refused[f"{load.sku} {form} {label}"] = {
            "series": f"{load.sku} {form}",
            "label": label,
            "concurrencies": "",
            "status": status,
            "reason": reason,
        }
    if screened.dropped:
        messages.append(
            f"{len(screened.dropped)} of {len(named)} deployments were not run: by single-step "
            "bounds, an estimate, others come nearer to the best at some speed; name --engine to "
            "run all of one"
        )


def _with_engine(load: Scenario, *, sku: Sku, settings: SweepSettings) -> tuple[Scenario, str]:
    """A load that names its engine, and why it is that one if nobody named it."""
    if load.engine is not None:
        return load, ""
    target = resolve_target(load)
    engine, reason = target.engine, target.engine_reason
    label, message = engine.engine.label, f"engine {engine.engine.label} for {sku.key}, {reason}"
    if settings.pools.is_stated:
        stack = orchestrated(engine.engine, sku=sku)
        if stack is not None:
            label = stack.label
            message += f"; its prefill and decode pools as {label}"
    return load.model_copy(update={"engine": label}), message


def _gather(plan: SweepPlan, *, done: Mapping[str, LadderDone], directory: Path) -> pd.DataFrame:
    """The runs of all ladders in the order of the plan."""
    import pyarrow as pa
    import pyarrow.compute as pc

    tables = []
    for ladder in plan.ladders:
        one = done[ladder.file_name]
        table = read_ladder(directory / one.name)
        if table is None:
            raise UserError(f"{directory / one.name} is gone or damaged; run the sweep again")
        mine = pc.is_in(table["concurrency"], value_set=pa.array(one.concurrencies, pa.int64()))
        tables.append(table.filter(mine))
    return frame_of(tables)


def _result(
    settings: SweepSettings,
    *,
    plan: SweepPlan,
    table: pd.DataFrame,
    fresh: int,
    ttft_p90_s: float | None,
) -> SweepResult:
    import pandas as pd

    table = table.assign(series=series_names(table))
    refused = pd.DataFrame(
        [*plan.refused, *_refusals(table[table["status"] != "ok"])],
        columns=["series", "label", "concurrencies", "status", "reason"],
    )
    ok = table[table["status"] == "ok"].drop(columns=["status", "reason"])
    limit = np.inf if ttft_p90_s is None else ttft_p90_s
    ok = ok.assign(meets_limits=ok["p90_ttft_s"] <= limit)
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
        ttft_p90_s=ttft_p90_s,
    )


def _refusals(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for names, group in rows.groupby(["series", "label", "status", "reason"], sort=False):
        series, label, status, reason = names
        yield {
            "series": series,
            "label": label,
            "concurrencies": ",".join(str(c) for c in sorted(group["concurrency"].unique())),
            "status": status,
            "reason": reason,
        }
