"""The days on which the software of a SKU changed, and which deployments hold from each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hwmodels.engine_files import list_levels
from hwmodels.fitted import MEDIAN_LEVEL_DATE, fitted_level_dates
from hwmodels.software import parse_date
from simulator.analysis.objectives import NO_LIMIT
from simulator.engines.labels import without_software_of
from simulator.prediction.assembly import named_software
from simulator.recipes.choice import find_recipe
from simulator.scenario.candidates import candidate_deployments
from simulator.scenario.deployed_forms import deployed_forms
from simulator.scenario.target import resolve_target
from simulator.studies.as_deployed import AskedLoad, best_deployed
from simulator.studies.sweep.deployments import SweepPlan, with_engine
from simulator.studies.sweep.points import ConcurrencySweep, configure_point
from simulator.studies.sweep.store import file_name
from workloads.errors import UserError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from simulator.analysis.objectives import Objectives
    from simulator.scenario.candidates import Pools
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.grid import SweepSettings
    from simulator.scenario.settings import Scenario
    from simulator.studies.as_deployed import BestDeployed


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareDate:
    """A day on which the software of an engine on a SKU changed, and what changed.

    Parameters
    ----------
    date:
        ISO date, or a month of which the last day counts.
    changes:
        ``plan`` (kernels and precision paths), ``fit`` (measured runs of that day were fitted)
        and ``settings`` (recorded server settings).
    """

    date: str
    changes: tuple[str, ...]

    @property
    def day(self) -> dt.date:
        """The day; of a month the last."""
        return parse_date(self.date)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedDeployments:
    """What can serve on each date.

    Parameters
    ----------
    dates:
        Ascending.
    in_force:
        Files of the deployments that hold on each date, by the date: those of one date are
        another's where nothing that their runs depend on changed.
    plan:
        All of them, each once.
    """

    dates: tuple[SoftwareDate, ...]
    in_force: Mapping[str, tuple[str, ...]]
    plan: SweepPlan


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
    days = sorted(found, key=lambda date: (parse_date(date), date))
    return tuple(SoftwareDate(date=date, changes=tuple(found[date])) for date in days)


def _is_fixed(when: Mapping[str, Any]) -> bool:
    return bool(when.get("scenario", "fixed") == "fixed")


def dated_deployments(
    settings: SweepSettings, *, limits: Objectives = NO_LIMIT
) -> DatedDeployments:
    """The deployments of one question on every date of its software.

    Of the engine that is named, every layout that is left open. Without one, of the form in which
    the SKU is best deployed today among those whose software has several dates, or any if none has:
    what ran, and what recipes offer.

    Parameters
    ----------
    limits:
        TTFT limits by which that form is chosen.

    Raises
    ------
    UserError
        If the engine names a date, no dated software is known, or no layout fits the model.
    """
    load = next(settings.loads())
    deployments: tuple[Pools, ...] | None = None
    best = best_deployed(
        settings,
        load,
        asked=AskedLoad(),
        limits=limits,
        among=lambda form: len(software_dates(form)) > 1,
    )
    if best is None:
        named, message = with_engine(load, settings=settings)
    else:
        named, message, deployments = best.sweep.load, best.told, best.deployments
        named = named.model_copy(update={"concurrency": load.concurrency})
    engine = resolve_target(named).engine
    label = engine.engine.label
    if engine.date is not None or engine.specification or engine.median:
        raise UserError(f"engine {load.engine} names one level; leave it out: --engine {label}")
    dates = software_dates(named)
    if not dates:
        raise UserError(
            f"no dated software of {label} on {load.sku} is known; see "
            f"simulate list levels --engine {label}"
        )
    line = _Line(
        load=named.model_copy(update={"engine": label}), settings=settings, deployments=deployments
    )
    for one in dates:
        line.add(one.date)
    messages = [message, "" if best is None else _others(best, load=load)]
    return DatedDeployments(
        dates=dates, in_force=line.held, plan=line.plan([each for each in messages if each])
    )


def _others(best: BestDeployed, *, load: Scenario) -> str:
    """Engines beside a form's whose software has dates on the same SKU."""
    own = without_software_of(str(best.sweep.load.engine))
    target = resolve_target(best.sweep.load)
    forms = deployed_forms(sku=target.sku, model=target.model, calibration=load.calibration)
    found = {}
    for engine in dict.fromkeys(form.engine for form in forms):
        days = software_dates(load.model_copy(update={"engine": engine}))
        if days and engine != own:
            found[engine] = f"{engine} ({days[0].date} to {days[-1].date}, {len(days)})"
    if not found:
        return ""
    told = ", ".join(found.values())
    return f"a timeline follows one engine, of several dates if any has; others here: {told}"


class _Line:
    """One engine and speculation over its dates.

    Parameters
    ----------
    load:
        A scenario that names the engine without a date.
    deployments:
        What is tried on every date; ``None``: what the settings leave open.
    """

    def __init__(
        self,
        *,
        load: Scenario,
        settings: SweepSettings,
        deployments: Sequence[Pools] | None = None,
    ) -> None:
        self._load, self._settings, self._deployments = load, settings, deployments
        self.held: dict[str, tuple[str, ...]] = {}
        self._sweeps: dict[str, ConcurrencySweep] = {}
        self._refused: dict[str, dict[str, Any]] = {}
        self._messages: dict[str, None] = {}
        self._known: dict[tuple[object, ...], str] = {}

    def add(self, date: str) -> None:
        """Deployments with the software of a date, in place of those of an earlier one."""
        load = self._load.model_copy(
            update={"engine": f"{self._load.engine}@{date}", "economics": "latest"}
        )
        target = resolve_target(load)
        deployments = self._deployments
        if deployments is None:
            found = candidate_deployments(settings=self._settings, load=load, target=target)
            deployments = found.deployments
            self._messages |= dict.fromkeys(f"{target.sku.key}: {m}" for m in found.messages)
            self._refused |= {
                one.label: {
                    "series": f"{target.sku.key} {load.model}",
                    "label": one.label,
                    "concurrencies": "",
                    "status": "does_not_divide",
                    "reason": one.reason,
                }
                for one in found.refused
            }
        names = []
        for pools in deployments:
            sweep = ConcurrencySweep(load=load, target=target, pools=pools)
            name = self._known.setdefault(_depends_on(sweep), file_name(sweep))
            self._sweeps.setdefault(name, sweep)
            names.append(name)
        self.held[date] = tuple(names)

    def plan(self, messages: Sequence[str]) -> SweepPlan:
        """Its deployments of all dates, each once.

        Raises
        ------
        UserError
            If there is none.
        """
        if not self._sweeps:
            reasons = "; ".join(row["reason"] for row in self._refused.values())
            raise UserError(f"no layout fits; {reasons}")
        frontiers: dict[str, list[ConcurrencySweep]] = {}
        for one in self._sweeps.values():
            frontiers.setdefault(one.question, []).append(one)
        return SweepPlan(
            sweeps=tuple(self._sweeps.values()),
            frontiers=tuple(map(tuple, frontiers.values())),
            refused=tuple(self._refused.values()),
            messages=(*messages, *self._messages),
        )


def _depends_on(sweep: ConcurrencySweep) -> tuple[object, ...]:
    """All that the runs of a deployment depend on, its date aside: it may change nothing."""
    found: list[object] = [sweep.label]
    level: tuple[object, ...] = ()
    for concurrency in sweep.concurrencies:
        configured = configure_point(sweep, concurrency)
        if isinstance(configured, UserError):
            found.append(str(configured))
            continue
        configuration, _ = configured
        level = level or _level(configuration)
        found.append(replace(configuration, level_date=None, median=False).identity)
    return (*found, *level)


def _level(configuration: RunConfiguration) -> tuple[object, ...]:
    """What a software level gives to a run."""
    try:
        level = named_software(configuration)
    except UserError as error:
        return (str(error),)
    return (level.name, level.kind, level.basis, *sorted(level.parameters.items()), level.plan)
