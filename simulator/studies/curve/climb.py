"""Layouts run up a ladder of concurrencies, points side by side where the system can fork."""

from __future__ import annotations

import gc
import multiprocessing
import os
import warnings
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.engines.pools import DoesNotFitError, PoolLayout
from simulator.prediction.run import simulate_run
from simulator.scenario.configure import configure_run
from simulator.scenario.reported import reported_settings
from simulator.studies.curve.stopping import (
    by_promise,
    end_dominated,
    is_bounded,
    is_settled,
)
from simulator.studies.ladder import concurrencies, ends_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulator.analysis.metrics import RunMetrics
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target
    from simulator.serving.records import Records
    from workloads.layout import Layout

WORTH_FORKING = 256
"""Largest concurrency from which points run in processes of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRun:
    """What a curve keeps of one run."""

    metrics: RunMetrics
    bottleneck: str
    kv_fill: float
    kind: str
    bands: dict[str, tuple[float, float]]
    records: Records


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One concurrency of one layout: its run, or why there is none, and what was assumed."""

    run: PointRun | None
    refusal: str
    messages: list[str]
    settings: dict[str, dict[str, Any]]
    software_name: str
    recipe: str = ""


@dataclass(slots=True, kw_only=True)
class Climb:
    """One layout on its way up the ladder; its rungs stay in order however they are run."""

    scenario: Scenario
    target: Target
    layout: Layout
    ladder: tuple[int, ...]
    done: dict[int, Rung] = field(default_factory=dict)
    end: int | None = None

    @property
    def rungs(self) -> list[Rung]:
        """The rungs up to the end, or up to the first that has not been run."""
        known = []
        for concurrency in self.ladder[: self.end]:
            if concurrency not in self.done:
                break
            known.append(self.done[concurrency])
        return known

    @property
    def runs(self) -> list[tuple[int, PointRun]]:
        """The runs by concurrency."""
        pairs = zip(self.ladder, self.rungs, strict=False)
        return [(concurrency, rung.run) for concurrency, rung in pairs if rung.run is not None]

    @property
    def refusal(self) -> str:
        """Why the layout has no run at all."""
        return "" if self.runs or not self.rungs else self.rungs[0].refusal

    def run(self, concurrency: int) -> Rung:
        """Simulate one point."""
        configuration, recipe = configure_run(
            self.scenario,
            target=self.target,
            pools=(PoolLayout(layout=self.layout),),
            concurrency=concurrency,
        )
        try:
            outcome = simulate_run(configuration)
        except DoesNotFitError as error:
            return Rung(run=None, refusal=str(error), messages=[], settings={}, software_name="")
        return Rung(
            run=PointRun(
                metrics=outcome.metrics,
                bottleneck=outcome.bottleneck,
                kv_fill=outcome.kv_fill,
                kind=outcome.kind,
                bands=outcome.bands,
                records=outcome.records,
            ),
            refusal="",
            messages=[*recipe.messages, *outcome.messages],
            settings=reported_settings(recipe),
            software_name=outcome.assembly.software.name,
            recipe=recipe.level,
        )

    def take(self, concurrency: int, rung: Rung) -> None:
        """Keep a rung, and end the climb where memory is full or more clients gain nothing."""
        self.done[concurrency] = rung
        rates: list[float] = []
        for index, known in enumerate(self.rungs):
            if known.run is None:
                self.end = index + 1
                break
            rates.append(known.run.metrics.total_tput_per_gpu)
            if self.scenario.concurrency is None and ends_after(
                rates, bottleneck=known.run.bottleneck, kv_fill=known.run.kv_fill
            ):
                self.end = index + 1
                break

    def wants(self, concurrency: int) -> bool:
        """Whether a point is neither done nor past the end."""
        return concurrency not in self.done and concurrency in self.ladder[: self.end]

    def reaches(self, index: int) -> bool:
        """Whether a rung is not past the end, as far as is known."""
        return index < len(self.ladder[: self.end])


def climb_layouts(
    *,
    scenario: Scenario,
    target: Target,
    layouts: Sequence[Layout],
    on_progress: Callable[[int, int, str], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> list[Climb]:
    """Run all layouts up the scenario's ladder, or a doubling one up to 2,048 clients.

    Points are started from the fewest clients up, some beyond an end that is not known yet;
    those are dropped, so that the result does not depend on the number of processes. A layout
    also ends where nothing that it could still reach would be on the frontier, see
    `end_dominated`.

    Parameters
    ----------
    scenario, target, layouts:
        What to run.
    on_progress:
        Called with (layouts done, layouts in all, what is under way).
    meanwhile:
        Called once while points run in processes of their own, if they do.
    """
    if not layouts:
        return []
    ladder = concurrencies(scenario.concurrency)
    climbs = [
        Climb(scenario=scenario, target=target, layout=each, ladder=ladder) for each in layouts
    ]

    def tell() -> None:
        if on_progress is not None:
            under_way = [climb for climb in climbs if any(map(climb.wants, ladder))]
            label = under_way[0].layout.label if under_way else "done"
            on_progress(len(climbs) - len(under_way), len(climbs), label)

    processes = os.cpu_count() or 1
    forks = "fork" in multiprocessing.get_all_start_methods()
    if processes < 2 or max(ladder) < WORTH_FORKING or not forks:
        while (point := _next_point(climbs, busy=[], processes=1)) is not None:
            climb, concurrency = point
            tell()
            climb.take(concurrency, climb.run(concurrency))
            end_dominated(climbs)
    else:
        for climb in climbs:  # what a first run loads and tabulates, the processes inherit
            tell()
            climb.take(ladder[0], climb.run(ladder[0]))
        _climb_side_by_side(climbs, processes=processes, tell=tell, meanwhile=meanwhile)
    tell()
    return climbs


def _climb_side_by_side(
    climbs: list[Climb],
    *,
    processes: int,
    tell: Callable[[], None],
    meanwhile: Callable[[], None] | None,
) -> None:
    running: dict[Future[Rung], tuple[Climb, int]] = {}
    with (
        ProcessPoolExecutor(
            processes,
            mp_context=multiprocessing.get_context("fork"),
            initializer=gc.disable,  # they make many objects, no cycles, and soon end
        ) as pool,
        _aside(pool, meanwhile),
    ):
        try:
            while True:
                while len(running) <= processes:  # one more waits: none stands idle
                    task = _next_point(climbs, busy=list(running.values()), processes=processes)
                    if task is None:
                        break
                    running[_submit(pool, *task)] = task
                if not running:
                    break
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    climb, concurrency = running.pop(future)
                    climb.take(concurrency, future.result())
                end_dominated(climbs)
                tell()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _next_point(
    climbs: list[Climb], *, busy: list[tuple[Climb, int]], processes: int
) -> tuple[Climb, int] | None:
    """The next point that is wanted: by ascending clients, the most promising layouts first.

    Where few layouts share the processes, the long points go first, even beyond an end that is
    not known yet. Many keep all processes busy without: there a long point waits until it is
    known which layouts go on, unless its layout is among the most promising.
    """
    few = len(climbs) < processes
    for concurrency in _ascending(climbs[0].ladder, long_first=few):
        index = climbs[0].ladder.index(concurrency)
        lanes = sorted(climbs, key=lambda climb: -climb.layout.attention_dp)
        if is_bounded(climbs, index) and not few:
            promising = by_promise(climbs, index)
            lanes = promising if is_settled(climbs, index) else promising[:processes]
        for climb in lanes:
            if climb.wants(concurrency) and (climb, concurrency) not in busy:
                return climb, concurrency
    return None


def _ascending(ladder: tuple[int, ...], *, long_first: bool) -> list[int]:
    rungs = sorted(set(ladder))
    if not long_first:
        return rungs
    short = [rung for rung in rungs if rung < WORTH_FORKING]
    return short + rungs[len(short) :][::-1]


@contextmanager
def _aside(pool: ProcessPoolExecutor, meanwhile: Callable[[], None] | None) -> Iterator[None]:
    """Call a function in a thread of its own, once the processes have been forked."""
    if meanwhile is None:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pool.submit(int).result()  # the first task forks all of them
    with ThreadPoolExecutor(1) as thread:
        called = thread.submit(meanwhile)
        yield
        called.result()


def _submit(pool: ProcessPoolExecutor, climb: Climb, concurrency: int) -> Future[Rung]:
    bare = Climb(
        scenario=climb.scenario, target=climb.target, layout=climb.layout, ladder=climb.ladder
    )
    with warnings.catch_warnings():
        # newer Pythons warn of forking beside the idle threads of the linear-algebra library
        warnings.simplefilter("ignore", DeprecationWarning)
        return pool.submit(bare.run, concurrency)
