"""The Pareto curve of one SKU: every layout that fits, at every concurrency that pays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hwmodels.economics import load_economics, tokens_per_s_per_mw, usd_per_million_tokens
from hwmodels.sku import load_sku
from simulator.configuration import DoesNotFitError
from simulator.names import canonical_model
from simulator.pareto import frontier_indices
from simulator.recipe_layouts import PoolRequest
from simulator.run import simulate_run
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
    from simulator.run import RunOutcome
    from simulator.scenario import Scenario, ScenarioSource
    from workloads.architecture import Architecture

LARGEST_CONCURRENCY = 2048
LEAST_GAIN = 1.01
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
    keep_records: bool = True,
) -> CurveResult:
    """Simulate all layouts of a scenario over its concurrencies.

    Parameters
    ----------
    source:
        The scenario and the origin of its settings.
    on_progress:
        Called with (points done, points at the most, what is under way).
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
    run = _Explorer(scenario=scenario, sku=sku)
    points: list[CurvePoint] = []
    records: dict[tuple[str, int], Records] = {}
    done, most = 0, len(layouts) * len(ladder)
    for layout in layouts:
        gained: list[float] = []
        for position, concurrency in enumerate(ladder):
            if on_progress is not None:
                on_progress(done, most, f"{layout.label} at concurrency {concurrency}")
            try:
                outcome = run.simulate(layout=layout, concurrency=concurrency)
            except DoesNotFitError as error:
                if position == 0:
                    refused.append(RefusedLayout(label=layout.label, reason=str(error)))
                done += len(ladder) - position
                break
            points.append(
                _point(
                    layout=layout,
                    concurrency=concurrency,
                    outcome=outcome,
                    costs=economics.for_sku(sku.key),
                )
            )
            if keep_records:
                records[layout.label, concurrency] = outcome.records
            done += 1
            gained.append(outcome.metrics.total_tput_per_gpu)
            if scenario.concurrency is None and has_stalled(gained):
                done += len(ladder) - position - 1
                break
    if on_progress is not None:
        on_progress(most, most, "done")
    frontier = set(
        frontier_indices(
            [point.metrics.interactivity for point in points],
            [point.metrics.total_tput_per_gpu for point in points],
        )
    )
    points = [replace(point, on_frontier=index in frontier) for index, point in enumerate(points)]
    level = run.software_name or engine.engine.label
    resolved = _resolved(source) | {
        "sku": {"value": sku.key, "origin": source.origin["sku"]},
        "model": {"value": model, "origin": source.origin["model"]},
        "engine": {
            "value": level,
            "origin": reason if scenario.engine is None else source.origin["engine"],
        },
        "economics": {"value": economics.name, "origin": source.origin["economics"]},
    }
    resolved |= {f"settings.{name}": value for name, value in run.settings.items()}
    return CurveResult(
        points=points,
        refused=refused,
        resolved=resolved,
        messages=list(dict.fromkeys(run.messages)),
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


class _Explorer:
    """Runs points of one scenario and keeps what was assumed on the way."""

    def __init__(self, *, scenario: Scenario, sku: Sku) -> None:
        self.scenario = scenario
        self.sku = sku
        self.messages: list[str] = []
        self.settings: dict[str, dict[str, Any]] = {}
        self.software_name = ""

    def simulate(self, *, layout: Layout, concurrency: int) -> RunOutcome:
        scenario = self.scenario
        configuration, recipe = configure_run(
            scenario, sku=self.sku, pools=(PoolRequest.of(layout),), concurrency=concurrency
        )
        self.messages += recipe.messages
        for name, origin in recipe.provenance.items():
            value = getattr(recipe.pools[0].settings, name, None)
            if value is None:
                value = recipe.pools[0].plan.get(name.removeprefix("plan."))
            self.settings[f"{layout.label}.{name}"] = {"value": value, "origin": origin}
        outcome = simulate_run(configuration)
        self.messages += outcome.messages
        self.software_name = outcome.assembly.software.name
        return outcome


def _doublings() -> tuple[int, ...]:
    return tuple(1 << power for power in range(LARGEST_CONCURRENCY.bit_length()))


def _point(
    *, layout: Layout, concurrency: int, outcome: RunOutcome, costs: SkuEconomics
) -> CurvePoint:
    rate = outcome.metrics.total_tput_per_gpu
    price = costs.usd_per_gpu_hour()
    return CurvePoint(
        label=layout.label,
        layout=layout,
        concurrency=concurrency,
        metrics=outcome.metrics,
        usd_per_million_tokens=None
        if price is None
        else float(usd_per_million_tokens(usd_per_gpu_hour=price, tokens_per_s_per_gpu=rate)),
        tokens_per_s_per_mw=_per_mw(rate, costs.inferencex_kw),
        tokens_per_s_per_utility_mw=_per_mw(rate, costs.utility_kw),
        bottleneck=outcome.bottleneck,
        kind=outcome.kind,
        on_frontier=False,
        bands=outcome.bands or None,
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
