"""The Pareto curve of one SKU: every layout that fits, at every concurrency that pays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.analysis.costs import point_costs
from simulator.analysis.objectives import NO_LIMIT, resolved_limits
from simulator.analysis.pareto import frontier_indices
from simulator.engines.labels import level_text
from simulator.engines.pools import PoolLayout
from simulator.output.columns import RUN
from simulator.prediction.notes import merged
from simulator.scenario.configure import check_has_speed, parse_speculation
from simulator.scenario.deployed_forms import forms_note
from simulator.scenario.reported import check_reported, over_concurrencies
from simulator.scenario.settings_file import REPORTED
from simulator.scenario.target import named_sku, resolve_target
from simulator.scenario.worker_layouts import (
    RefusedLayout,
    candidate_layouts,
    divisible_layouts,
    over_servers,
)
from simulator.studies.changes import changes_of
from simulator.studies.sweep.chosen import ChosenPoints, estimates_of
from simulator.studies.sweep.planner import PointPlanner
from simulator.studies.sweep.points import ConcurrencySweep
from simulator.studies.sweep.side_by_side import run_side_by_side
from simulator.version import version
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hwmodels.sku import Sku
    from simulator.analysis.objectives import Objectives
    from simulator.scenario.settings import Scenario, ScenarioSource
    from simulator.scenario.target import Target
    from simulator.serving.records import Records
    from simulator.studies.changes import Change
    from simulator.studies.sweep.points import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveResult:
    """A curve with all that is needed to read and to repeat it.

    Parameters
    ----------
    points:
        All simulated points, frontier or not, as rows of `simulator.output.columns.RUN`.
    refused:
        Layouts that do not fit or do not divide the model.
    resolved:
        Every setting with its value and where it came from.
    messages:
        What was assumed.
    caption:
        What the curve shows, in one line.
    records:
        Per-request records by (label, concurrency), where they were kept.
    sku:
        The chip.
    limits:
        TTFT limits and goodput of the frontier.
    calibration:
        Directory of a user's own fit; ``None``: the shipped one.
    changes:
        Frontier points of a what-if beside those of the unchanged chip.
    left_out:
        Points that were not run, or not to their end, since estimates keep them off the frontier.
    """

    points: list[dict[str, Any]]
    refused: list[RefusedLayout]
    resolved: dict[str, dict[str, Any]]
    messages: list[str]
    caption: str
    sku: Sku
    records: dict[tuple[str, int], Records] = field(default_factory=dict)
    limits: Objectives = NO_LIMIT
    calibration: Path | None = None
    changes: tuple[Change, ...] = ()
    left_out: int = 0

    @property
    def late(self) -> list[dict[str, Any]]:
        """Points beyond the limits that no other beats, by ascending interactivity."""
        best = frontier_indices(
            [point["interactivity"] for point in self.points],
            [point["total_tput_per_gpu"] for point in self.points],
        )
        return [point for each in best if not (point := self.points[each])["meets_limits"]]

    @property
    def frontier(self) -> list[dict[str, Any]]:
        """Points within the limits that no other such one beats, by ascending interactivity."""
        return sorted(
            (point for point in self.points if point["on_frontier"]),
            key=lambda point: point["interactivity"],
        )


def explore_curve(
    source: ScenarioSource,
    *,
    limits: Objectives | None = None,
    every: bool = False,
    on_progress: Callable[[int, int, str], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
    keep_records: bool = True,
) -> CurveResult:
    """Simulate layouts of a scenario over its concurrencies: a sweep of one question.

    Parameters
    ----------
    source:
        The scenario and the origin of its settings.
    limits:
        TTFT limits and goodput of the frontier; ``None``: those of the settings file, else none.
    every:
        Whether to run what cannot be on the frontier too, where no concurrencies are stated.
    on_progress:
        Called with (points done, points at the most or known to be worth it, what is known).
    meanwhile:
        Called once while points run in processes of their own, if they do.
    keep_records:
        Whether to keep the per-request records.

    Notes
    -----
    Stated concurrencies are all simulated. Without a list, concurrency doubles from 1 to 2,048, or
    to 128 for each GPU of a larger layout, and points run that may be on the frontier by estimates
    which runs correct (`simulator.studies.sweep.chosen`). With ``every`` all of them do; a layout
    then ends where two doublings have gained less than 1 % throughput, where memory refuses or its
    KV pool is nine tenths full.

    Raises
    ------
    UserError
        If a setting names nothing that exists, no layout divides the chosen GPUs, no point is
        possible with what is stated, or requests have a single output token and so no speed.
    """
    scenario = source.scenario
    limits = source.limits if limits is None else limits
    check_reported(source.file)
    check_has_speed(scenario)
    parse_speculation(scenario.spec)
    target = resolve_target(scenario)
    sku, economics = target.sku, target.economics
    layouts, refused = divisible_layouts(
        candidate_layouts(scenario=scenario, target=target),
        architecture=target.architecture,
        stated=scenario.engine_settings,
    )
    points: list[dict[str, Any]] = []
    records: dict[tuple[str, int], Records] = {}
    messages: list[str] = []
    if not (scenario.tp or scenario.gpus or scenario.ep):
        messages += filter(None, [over_servers(layouts, target=target)])
    if scenario.engine is None and scenario.spec == "none":
        messages += filter(None, [forms_note(target, calibration=scenario.calibration)])
    settings: dict[str, dict[str, Any]] = {}
    level = target.engine.engine.label
    named = scenario.model_copy(
        update={
            "sku": named_sku(scenario.sku, sku=sku),
            "model": target.model,
            "engine": scenario.engine or level,
        }
    )
    sweeps = [
        ConcurrencySweep(
            load=named,
            target=target,
            pools=(PoolLayout(layout=layout),),
            good_ttft_s=limits.goodput_ttft_s,
        )
        for layout in layouts
    ]
    planner = _planner(sweeps, limits=limits, every=every)
    told = run_side_by_side(
        planner,
        keep_records=keep_records,
        on_progress=on_progress,
        meanwhile=meanwhile,
    )
    impossible: dict[str, None] = {}
    for label, by_concurrency in told.items():
        runs = {c: point for c, point in by_concurrency.items() if point.cells["status"] == "ok"}
        for reason, clients in _reasons(by_concurrency).items():
            where = f"at {', '.join(map(str, clients))} clients: " if runs else ""
            refused.append(RefusedLayout(label=label, reason=where + reason))
        impossible |= {
            point.cells["reason"]: None
            for point in by_concurrency.values()
            if point.cells["status"] not in ("ok", "does_not_fit")
        }
        for concurrency, point in runs.items():
            points.append(point.cells)
            messages += point.cells["messages"].splitlines()
            level = point.cells["level"]
            if point.records is not None:
                records[label, concurrency] = point.records
        reported = over_concurrencies({c: point.settings for c, point in runs.items()})
        settings |= {f"{label}.{name}": entry for name, entry in reported.items()}
    if not points and impossible:
        raise UserError("\n".join(impossible))
    points = _standing(points, target=target, level=level, limits=limits)
    changes = (
        changes_of([point for point in points if point["on_frontier"]], base=named)
        if scenario.overrides or scenario.engine_settings
        else []
    )
    resolved = _resolved(source) | {
        "sku": {"value": named.sku, "origin": source.origin["sku"]},
        "model": {"value": target.model, "origin": source.origin["model"]},
        "engine": {
            "value": named.engine,
            "origin": target.engine_reason if scenario.engine is None else source.origin["engine"],
        },
        "level": {"value": level, "origin": "in force for these settings"},
        "economics": {"value": economics.name, "origin": source.origin["economics"]},
    }
    resolved |= resolved_limits(limits, origin=source.origin)
    resolved |= {f"{REPORTED}{name}": value for name, value in settings.items()}
    return CurveResult(
        points=points,
        refused=refused,
        resolved=resolved,
        messages=merged(messages),
        caption=_caption(
            scenario=scenario,
            sku=sku,
            model=target.model,
            level=level_text(level, kind=points[0]["kind"]) if points else level,
            dated=economics.name,
            limits=limits,
        ),
        records=records,
        sku=sku,
        limits=limits,
        calibration=scenario.calibration,
        changes=tuple(changes),
        left_out=planner.left if isinstance(planner, ChosenPoints) else 0,
    )


def _planner(
    sweeps: Sequence[ConcurrencySweep], *, limits: Objectives, every: bool
) -> PointPlanner | ChosenPoints:
    """Who says which points run; estimates are made here, since processes inherit their tables."""
    if every or any(each.load.concurrency is not None for each in sweeps):
        return PointPlanner(sweeps, prunes=False, limits=limits)
    return ChosenPoints(sweeps, estimates=estimates_of(sweeps), limits=limits)


def _reasons(by_concurrency: Mapping[int, Point]) -> dict[str, list[int]]:
    """Why points could not run, and at which concurrencies."""
    found: dict[str, list[int]] = {}
    for concurrency, point in by_concurrency.items():
        if point.cells["status"] != "ok":
            found.setdefault(point.cells["reason"], []).append(concurrency)
    return found


def _standing(
    points: list[dict[str, Any]], *, target: Target, level: str, limits: Objectives
) -> list[dict[str, Any]]:
    """Rows with all their columns: costs, and which are within the limits and on the frontier."""
    within = [bool(limits.ttft_use(point) <= 1.0) for point in points]
    allowed = [index for index, meets in enumerate(within) if meets]
    frontier = {
        allowed[each]
        for each in frontier_indices(
            [points[index]["interactivity"] for index in allowed],
            [points[index]["total_tput_per_gpu"] for index in allowed],
        )
    }
    rows = []
    for index, point in enumerate(points):
        cells = {
            **point,
            **point_costs(point, costs=target.costs),
            "series": f"{target.sku.name} ({level})",
            "meets_limits": within[index],
            "on_frontier": index in frontier,
        }
        rows.append({column.name: cells.get(column.name) for column in RUN})
    return rows


def _resolved(source: ScenarioSource) -> dict[str, dict[str, Any]]:
    values = source.scenario.model_dump(mode="json")
    return {name: {"value": value, "origin": source.origin[name]} for name, value in values.items()}


def _caption(
    *, scenario: Scenario, sku: Sku, model: str, level: str, dated: str, limits: Objectives
) -> str:
    spec = "no speculation" if scenario.spec == "none" else scenario.spec
    return (
        f"{model} {scenario.precision.upper()} on {sku.name}, {scenario.isl}/{scenario.osl}, "
        f"{level}, aggregated, {spec}{limits.caption_words}, economics {dated}, "
        f"simulated by forecurve {version()}"
    )
