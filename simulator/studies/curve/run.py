"""The Pareto curve of one SKU: every layout that fits, at every concurrency that pays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hwmodels.economics import tokens_per_s_per_mw, usd_per_million_tokens
from simulator.analysis.pareto import frontier_indices
from simulator.engines.labels import level_text
from simulator.prediction.notes import merged
from simulator.scenario.candidates import RefusedLayout, candidate_layouts, divisible_layouts
from simulator.scenario.configure import check_has_speed, parse_speculation
from simulator.scenario.settings import REPORTED
from simulator.scenario.target import resolve_target
from simulator.studies.curve.climb import climb_layouts
from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Callable

    from hwmodels.economics import SkuEconomics
    from hwmodels.sku import Sku
    from simulator.analysis.metrics import RunMetrics
    from simulator.scenario.settings import Scenario, ScenarioSource
    from simulator.serving.records import Records
    from simulator.studies.curve.climb import PointRun
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
    settings: dict[str, dict[str, Any]] = {}
    level = target.engine.engine.label
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
            settings |= rung.settings
            level = rung.software_name or level
        for concurrency, run in climb.runs:
            points.append(
                _point(
                    layout=climb.layout,
                    concurrency=concurrency,
                    run=run,
                    costs=target.costs,
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
        "sku": {"value": scenario.sku, "origin": source.origin["sku"]},
        "model": {"value": target.model, "origin": source.origin["model"]},
        "engine": {
            "value": level,
            "origin": target.engine_reason if scenario.engine is None else source.origin["engine"],
        },
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


def _point(*, layout: Layout, concurrency: int, run: PointRun, costs: SkuEconomics) -> CurvePoint:
    rate = run.metrics.total_tput_per_gpu
    price = costs.usd_per_gpu_hour()
    return CurvePoint(
        label=layout.label,
        layout=layout,
        concurrency=concurrency,
        metrics=run.metrics,
        usd_per_million_tokens=None
        if price is None
        else float(usd_per_million_tokens(usd_per_gpu_hour=price, tokens_per_s_per_gpu=rate)),
        tokens_per_s_per_mw=_per_mw(rate, costs.inferencex_kw),
        tokens_per_s_per_utility_mw=_per_mw(rate, costs.utility_kw),
        bottleneck=run.bottleneck,
        kind=run.kind,
        on_frontier=False,
        bands=run.bands or None,
    )


def _per_mw(rate: float, kw: float | None) -> float | None:
    if kw is None:
        return None
    return float(tokens_per_s_per_mw(tokens_per_s_per_gpu=rate, kw_per_gpu=kw))


def _resolved(source: ScenarioSource) -> dict[str, dict[str, Any]]:
    values = source.scenario.model_dump(mode="json")
    return {name: {"value": value, "origin": source.origin[name]} for name, value in values.items()}


def _caption(*, scenario: Scenario, sku: Sku, model: str, level: str, dated: str) -> str:
    spec = "no speculation" if scenario.spec == "none" else scenario.spec
    return (
        f"{model} {scenario.precision.upper()} on {sku.name}, {scenario.isl}/{scenario.osl}, "
        f"{level}, aggregated, {spec}, economics {dated}, simulated by forecurve {version()}"
    )
