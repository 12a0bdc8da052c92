"""The Pareto curve of one SKU: every layout that fits, at every concurrency that pays."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hwmodels.economics import load_economics, tokens_per_s_per_mw, usd_per_million_tokens
from hwmodels.sku import load_sku
from simulator.configuration import DoesNotFitError
from simulator.names import canonical_model
from simulator.pareto import frontier_indices
from simulator.recipe_layouts import PoolRequest
from simulator.run import simulate_run
from simulator.scenario import REPORTED
from simulator.scenario_runs import configure_run, engine_of, parse_speculation
from simulator.version import version
from workloads.architecture import load_architecture
from workloads.errors import UserError
from workloads.layout import Layout
from workloads.models import bind
from workloads.plan import ExecutionPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hwmodels.economics import SkuEconomics
    from hwmodels.sku import Sku
    from simulator.metrics import RunMetrics
    from simulator.records import Records
    from simulator.scenario import Scenario, ScenarioSource
    from workloads.architecture import Architecture

LARGEST_CONCURRENCY = 2048
LEAST_GAIN = 1.01
WORTH_FORKING = 256
"""Largest concurrency from which the layouts of a curve run in processes of their own."""

_LARGEST_WORKER = 32


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
class RefusedLayout:
    """A layout that cannot serve the scenario, and why."""

    label: str
    reason: str


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
    """

    points: list[CurvePoint]
    refused: list[RefusedLayout]
    resolved: dict[str, dict[str, Any]]
    messages: list[str]
    caption: str
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
        Called once while the layouts run in processes of their own, if they do.
    keep_records:
        Whether to keep the per-request records.

    Notes
    -----
    Without a list, concurrency doubles from 1 and ends at 2,048, where two doublings have
    gained less than 1 % throughput, or where memory refuses.

    Raises
    ------
    UserError
        If a setting names nothing that exists or no layout divides the chosen GPUs.
    """
    scenario = source.scenario
    sku = load_sku(scenario.sku)
    if scenario.overrides:
        sku = sku.override(scenario.overrides)
    model = canonical_model(scenario.model)
    engine, reason = engine_of(scenario, sku=sku)
    parse_speculation(scenario.spec)
    economics = load_economics(scenario.economics)
    layouts, refused = _divisible(
        candidate_layouts(scenario=scenario, sku=sku), architecture=load_architecture(model)
    )
    ladder = scenario.concurrency or _doublings()
    climbs = [
        _Climb(scenario=scenario, sku=sku, layout=layout, ladder=ladder) for layout in layouts
    ]
    points: list[CurvePoint] = []
    records: dict[tuple[str, int], Records] = {}
    messages: list[str] = []
    settings: dict[str, dict[str, Any]] = {}
    level = engine.engine.label
    all_climbed = _climb_all(climbs, on_progress=on_progress, meanwhile=meanwhile)
    for layout, climbed in zip(layouts, all_climbed, strict=True):
        messages += climbed.messages
        settings |= climbed.settings
        level = climbed.software_name or level
        if climbed.refusal:
            refused.append(RefusedLayout(label=layout.label, reason=climbed.refusal))
        for concurrency, run in climbed.runs:
            points.append(
                _point(
                    layout=layout,
                    concurrency=concurrency,
                    run=run,
                    costs=economics.for_sku(sku.key),
                )
            )
            if keep_records:
                records[layout.label, concurrency] = run.records
    frontier = set(
        frontier_indices(
            [point.metrics.interactivity for point in points],
            [point.metrics.total_tput_per_gpu for point in points],
        )
    )
    points = [replace(point, on_frontier=index in frontier) for index, point in enumerate(points)]
    resolved = _resolved(source) | {
        "sku": {"value": sku.key, "origin": source.origin["sku"]},
        "model": {"value": model, "origin": source.origin["model"]},
        "engine": {
            "value": level,
            "origin": reason if scenario.engine is None else source.origin["engine"],
        },
        "economics": {"value": economics.name, "origin": source.origin["economics"]},
    }
    resolved |= {f"{REPORTED}{name}": value for name, value in settings.items()}
    return CurveResult(
        points=points,
        refused=refused,
        resolved=resolved,
        messages=list(dict.fromkeys(messages)),
        caption=_caption(
            scenario=scenario, sku=sku, model=model, level=level, dated=economics.name
        ),
        records=records,
    )


def has_stalled(throughputs: Sequence[float]) -> bool:
    """Whether the last two doublings of concurrency gained less than 1 % throughput."""
    return len(throughputs) > 2 and throughputs[-1] < LEAST_GAIN * throughputs[-3]


def candidate_layouts(*, scenario: Scenario, sku: Sku) -> list[Layout]:
    """Layouts of one worker that agree with what the scenario states, smallest first.

    A worker spans powers of two of chips up to one node, or up to 32 of a rack that is one
    scale-up domain. With ``ep`` stated and no other size, the worker has ``ep`` chips.

    Raises
    ------
    UserError
        If ``ep`` does not divide the chips of the worker.
    """
    if scenario.tp is not None or scenario.gpus is not None:
        sizes = [int(scenario.tp or scenario.gpus or 1)]
        if scenario.tp and scenario.gpus and scenario.tp != scenario.gpus:
            raise UserError(
                f"tp is {scenario.tp} and gpus {scenario.gpus}; a worker has as many GPUs as tp "
                "ranks, so give one of them"
            )
    elif scenario.ep is not None:
        domain = max(sku.node_gpus, min(sku.scaleup_world, _LARGEST_WORKER))
        if domain % scenario.ep and scenario.ep < domain:
            Layout(tp=domain, ep=scenario.ep)
        sizes = [max(scenario.ep, sku.node_gpus if sku.rack_gpus is None else 1)]
    else:
        largest = max(sku.node_gpus, min(sku.scaleup_world, _LARGEST_WORKER))
        sizes = [1 << power for power in range(largest.bit_length()) if 1 << power <= largest]
    layouts: list[Layout] = []
    for size in sizes:
        degrees = [scenario.ep] if scenario.ep is not None else sorted({1, size})
        modes = [False, True] if scenario.dp_attention is None else [scenario.dp_attention]
        layouts += [
            Layout(tp=size, ep=ep, dp_attention=dp)
            for ep in degrees
            for dp in modes
            if size > 1 or not dp
        ]
    return layouts


def _divisible(
    layouts: list[Layout], *, architecture: Architecture
) -> tuple[list[Layout], list[RefusedLayout]]:
    """Layouts that divide the model, and the others with the reason; one alone must divide."""
    good: list[Layout] = []
    refused: list[RefusedLayout] = []
    for layout in layouts:
        try:
            bind(architecture=architecture, layout=layout, plan=ExecutionPlan())
        except UserError as error:
            if len(layouts) == 1:
                raise
            refused.append(RefusedLayout(label=layout.label, reason=str(error)))
        else:
            good.append(layout)
    return good, refused


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What a curve keeps of one run."""

    metrics: RunMetrics
    bottleneck: str
    kind: str
    bands: dict[str, tuple[float, float]]
    records: Records


@dataclass(frozen=True, slots=True, kw_only=True)
class _Climbed:
    """The runs of one layout up its ladder, and what was assumed on the way."""

    runs: list[tuple[int, _Run]]
    refusal: str
    messages: list[str]
    settings: dict[str, dict[str, Any]]
    software_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Climb:
    """One layout to be run up a ladder of concurrencies."""

    scenario: Scenario
    sku: Sku
    layout: Layout
    ladder: tuple[int, ...]

    def run(self) -> _Climbed:
        scenario, layout = self.scenario, self.layout
        runs: list[tuple[int, _Run]] = []
        messages: list[str] = []
        settings: dict[str, dict[str, Any]] = {}
        name = refusal = ""
        for concurrency in self.ladder:
            configuration, recipe = configure_run(
                scenario, sku=self.sku, pools=(PoolRequest.of(layout),), concurrency=concurrency
            )
            try:
                outcome = simulate_run(configuration)
            except DoesNotFitError as error:
                refusal = "" if runs else str(error)
                break
            messages += [*recipe.messages, *outcome.messages]
            for setting, origin in recipe.provenance.items():
                value = getattr(recipe.pools[0].settings, setting, None)
                if value is None:
                    value = recipe.pools[0].plan.get(setting.removeprefix("plan."))
                settings[f"{layout.label}.{setting}"] = {"value": value, "origin": origin}
            name = outcome.assembly.software.name
            kept = _Run(
                metrics=outcome.metrics,
                bottleneck=outcome.bottleneck,
                kind=outcome.kind,
                bands=outcome.bands,
                records=outcome.records,
            )
            runs.append((concurrency, kept))
            rates = [run.metrics.total_tput_per_gpu for _, run in runs]
            if scenario.concurrency is None and has_stalled(rates):
                break
        return _Climbed(
            runs=runs,
            refusal=refusal,
            messages=messages,
            settings=settings,
            software_name=name,
        )


def _climb_all(
    climbs: list[_Climb],
    *,
    on_progress: Callable[[int, int, str], None] | None,
    meanwhile: Callable[[], None] | None,
) -> list[_Climbed]:
    """All layouts, side by side where the system can fork; the results do not depend on it."""

    def tell(done: int) -> None:
        if on_progress is not None:
            label = climbs[done].layout.label if done < len(climbs) else "done"
            on_progress(done, len(climbs), label)

    processes = min(len(climbs), os.cpu_count() or 1)
    small = max((climb.ladder[-1] for climb in climbs), default=0) < WORTH_FORKING
    climbed: list[_Climbed] = []
    tell(0)
    if processes < 2 or small or "fork" not in multiprocessing.get_all_start_methods():
        for climb in climbs:
            climbed.append(climb.run())
            tell(len(climbed))
        return climbed
    with warnings.catch_warnings():
        # newer Pythons warn of forking beside the idle threads of the linear-algebra library
        warnings.simplefilter("ignore", DeprecationWarning)
        pool = multiprocessing.get_context("fork").Pool(processes)
    with pool:
        # largest workers first, so that no long one is left for the end
        order = sorted(range(len(climbs)), key=lambda i: -climbs[i].layout.attention_dp)
        under_way = pool.imap(_Climb.run, [climbs[i] for i in order])
        if meanwhile is not None:
            meanwhile()
        results = {}
        for i, result in zip(order, under_way, strict=True):
            results[i] = result
            tell(len(results))
    return [results[i] for i in range(len(climbs))]


def _doublings() -> tuple[int, ...]:
    return tuple(1 << power for power in range(LARGEST_CONCURRENCY.bit_length()))


def _point(*, layout: Layout, concurrency: int, run: _Run, costs: SkuEconomics) -> CurvePoint:
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
