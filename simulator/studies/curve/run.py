"""The Pareto curve of one SKU: every layout that fits, at every concurrency that pays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from simulator.analysis.costs import point_costs
from simulator.analysis.pareto import frontier_indices
from simulator.engines.labels import level_text
from simulator.engines.pools import PoolLayout
from simulator.prediction.notes import merged
from simulator.scenario.candidates import (
    RefusedLayout,
    candidate_layouts,
    divisible_layouts,
    over_servers,
)
from simulator.scenario.configure import check_has_speed, parse_speculation
from simulator.scenario.deployed_forms import forms_note
from simulator.scenario.reported import check_reported, over_concurrencies
from simulator.scenario.run_cells import identity_cells
from simulator.scenario.settings_file import REPORTED
from simulator.scenario.target import named_sku, resolve_target
from simulator.studies.curve.climb import climb_layouts
from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Callable

    from hwmodels.sku import Sku
    from simulator.analysis.metrics import RunMetrics
    from simulator.scenario.settings import Scenario, ScenarioSource
    from simulator.scenario.target import Target
    from simulator.serving.records import Records
    from simulator.studies.curve.climb import PointRun, Rung
    from workloads.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One layout at one concurrency.

    Parameters
    ----------
    label, layout, concurrency:
        What ran.
    metrics:
        InferenceX's metrics.
    usd_per_million_tokens:
        On all tokens and all GPUs, at the owner's price; ``None`` without a price. [USD]
    tokens_per_s_per_mw:
        On InferenceX's power constant. [tok/s/MW]
    tokens_per_s_per_utility_mw:
        On IT power times PUE. [tok/s/MW]
    bottleneck:
        What binds most of the time.
    kind:
        Kind of prediction.
    on_frontier:
        Whether no other point is better on both axes.
    bands:
        90 % interval by metric, where predictions of this kind have been compared.
    identity, about, costs:
        Cells of its row: what ran, level and recipe, prices and power.
    """

    label: str
    layout: Layout
    concurrency: int
    metrics: RunMetrics
    usd_per_million_tokens: float | None
    tokens_per_s_per_mw: float | None
    tokens_per_s_per_utility_mw: float | None
    bottleneck: str
    kind: str
    on_frontier: bool
    bands: dict[str, tuple[float, float]] | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, Any] = field(default_factory=dict)

    def cells(self) -> dict[str, Any]:
        """The point as a row, in the columns of a sweep."""
        row = {**self.identity, **self.metrics.to_dict()}
        for metric, (low, high) in (self.bands or {}).items():
            row[f"{metric}_lo"], row[f"{metric}_hi"] = low, high
        return {
            **row,
            **self.about,
            "kind": self.kind,
            "bottleneck": self.bottleneck,
            "on_frontier": self.on_frontier,
            **self.costs,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveResult:
    """A curve with all that is needed to read and to repeat it.

    Parameters
    ----------
    points:
        All simulated points, frontier or not.
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
    """

    points: list[CurvePoint]
    refused: list[RefusedLayout]
    resolved: dict[str, dict[str, Any]]
    messages: list[str]
    caption: str
    sku: Sku
    records: dict[tuple[str, int], Records] = field(default_factory=dict)

    @property
    def frontier(self) -> list[CurvePoint]:
        """Points that no other beats, by ascending interactivity."""
        return sorted(
            (point for point in self.points if point.on_frontier),
            key=lambda point: point.metrics.interactivity,
        )


def explore_curve(
    source: ScenarioSource,
    *,
    on_progress: Callable[[int, int, str], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
    keep_records: bool = True,
) -> CurveResult:
    """Simulate all layouts of a scenario over its concurrencies.

    Parameters
    ----------
    source:
        The scenario and the origin of its settings.
    on_progress:
        Called with (layouts done, layouts in all, what is under way).
    meanwhile:
        Called once while points run in processes of their own, if they do.
    keep_records:
        Whether to keep the per-request records.

    Notes
    -----
    Without a list, concurrency doubles from 1 to 2,048; a layout ends where two doublings have
    gained less than 1 % throughput, where memory refuses or its KV pool is nine tenths full, and
    where more clients cannot bring it to the frontier (`simulator.studies.curve.stopping`).

    Raises
    ------
    UserError
        If a setting names nothing that exists, no layout divides the chosen GPUs, or requests have
        a single output token and so no speed.
    """
    scenario = source.scenario
    check_reported(source.file)
    check_has_speed(scenario)
    parse_speculation(scenario.spec)
    target = resolve_target(scenario)
    sku, economics = target.sku, target.economics
    layouts, refused = divisible_layouts(
        candidate_layouts(scenario=scenario, target=target), architecture=target.architecture
    )
    points: list[CurvePoint] = []
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
    for climb in climb_layouts(
        scenario=scenario,
        target=target,
        layouts=layouts,
        on_progress=on_progress,
        meanwhile=meanwhile,
    ):
        label = climb.layout.label
        if climb.refusal:
            refused.append(RefusedLayout(label=label, reason=climb.refusal))
        for rung in climb.rungs:
            messages += rung.messages
            level = rung.software_name or level
        told = over_concurrencies(
            {
                concurrency: rung.settings
                for concurrency, rung in zip(climb.ladder, climb.rungs, strict=False)
            }
        )
        settings |= {f"{label}.{name}": entry for name, entry in told.items()}
        for concurrency, run in climb.runs:
            points.append(
                _point(
                    load=named,
                    layout=climb.layout,
                    concurrency=concurrency,
                    rung=climb.done[concurrency],
                    run=run,
                    target=target,
                )
            )
            if keep_records:
                records[label, concurrency] = run.records
    frontier = set(
        frontier_indices(
            [point.metrics.interactivity for point in points],
            [point.metrics.total_tput_per_gpu for point in points],
        )
    )
    points = [replace(point, on_frontier=index in frontier) for index, point in enumerate(points)]
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
            level=level_text(level, kind=points[0].kind) if points else level,
            dated=economics.name,
        ),
        records=records,
        sku=sku,
    )


def _point(
    *, load: Scenario, layout: Layout, concurrency: int, rung: Rung, run: PointRun, target: Target
) -> CurvePoint:
    costs = point_costs(run.metrics, costs=target.costs)

    def figure(name: str) -> float | None:
        value = costs[name]
        return value if isinstance(value, float) else None

    return CurvePoint(
        label=layout.label,
        layout=layout,
        concurrency=concurrency,
        metrics=run.metrics,
        usd_per_million_tokens=figure("usd_per_million_tokens"),
        tokens_per_s_per_mw=figure("tokens_per_s_per_mw"),
        tokens_per_s_per_utility_mw=figure("tokens_per_s_per_utility_mw"),
        bottleneck=run.bottleneck,
        kind=run.kind,
        on_frontier=False,
        bands=run.bands or None,
        identity=identity_cells(
            load=load, pools=(PoolLayout(layout=layout),), concurrency=concurrency
        ),
        about={
            "level": rung.software_name,
            "recipe": rung.recipe,
            "kv_fill": run.kv_fill,
            "messages": "\n".join(dict.fromkeys(rung.messages)),
        },
        costs=dict(costs),
    )


def _resolved(source: ScenarioSource) -> dict[str, dict[str, Any]]:
    values = source.scenario.model_dump(mode="json")
    return {name: {"value": value, "origin": source.origin[name]} for name, value in values.items()}


def _caption(*, scenario: Scenario, sku: Sku, model: str, level: str, dated: str) -> str:
    spec = "no speculation" if scenario.spec == "none" else scenario.spec
    return (
        f"{model} {scenario.precision.upper()} on {sku.name}, {scenario.isl}/{scenario.osl}, "
        f"{level}, aggregated, {spec}, economics {dated}, simulated by forecurve {version()}"
    )
