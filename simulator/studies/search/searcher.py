"""Runs the deployments and settings of a search, the most promising first."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from hwmodels.sku import load_sku
from simulator.engines.pools import DoesNotFitError
from simulator.output.kept_work import once
from simulator.prediction.assembly import assemble
from simulator.prediction.bounds import deployment_bounds
from simulator.scenario.configure import check_has_speed, configure_run
from simulator.scenario.run_cells import identity_cells
from simulator.scenario.target import named_engine, resolve_target
from simulator.studies.concurrency import concurrencies, has_stalled
from simulator.studies.search.between import tput_at_speed
from simulator.studies.search.option import Option, searched, text_of
from simulator.studies.search.result import Pruned, Trial
from simulator.studies.search.score import Score
from simulator.studies.search.variants import variants
from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulator.output.kept_work import KeptWork
    from simulator.scenario.candidates import Candidates, Pools
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target
    from simulator.studies.search.request import SearchRequest
    from simulator.studies.search.result import PrunedStatus
    from simulator.studies.search.variants import Changes

    Progress = Callable[[int, int, str], None]

_BETWEEN = 3
_MISSES_IN_A_ROW = 2
_WORTH_RISING, _MORE_ROOM = 0.01, 0.05
"""What changed settings gain over the recipe's at one concurrency, in score or in room to the
limits, to be tried at others. [-]"""
_WORTH_REFINING = 0.1
"""How far behind the best score at the speed asked for a deployment is bisected no more. [-]"""


class Searcher:
    """Runs options and keeps what came of them."""

    def __init__(
        self,
        request: SearchRequest,
        *,
        on_progress: Progress | None,
        kept: KeptWork | None = None,
    ) -> None:
        self.request = request
        self.runs: list[tuple[Option, Trial]] = []
        self.pruned: list[Pruned] = []
        self.messages: list[str] = []
        self._targets: dict[str, Target] = {}
        self._engines: set[str] = set()
        self._score = Score(request=request)
        self._on_progress = on_progress
        self._kept = kept
        self._done = 0

    def options(self) -> list[Option]:
        """Every deployment that fits, with its recipe's settings.

        Where no engine is named, those of all forms in which the SKU is deployed.
        """
        options: list[Option] = []
        for load in self.request.settings.loads():
            check_has_speed(load)
            try:
                found = searched(self.request.settings, load, target_of=self._target)
            except UserError as error:
                self._prune(load, "", (), "unsupported", str(error))
                continue
            self.messages += found.messages
            for form, reason in found.refused.items():
                self._prune(load, form, (), "unsupported", reason)
            for one, candidates in found.ways:
                options += self._options_of(one, candidates)
        return options

    def _options_of(self, load: Scenario, candidates: Candidates) -> list[Option]:
        self._engines.add(self._target(load).engine.engine.engine)
        self.messages += candidates.messages
        for refused in candidates.refused:
            self._prune(load, refused.label, (), "unsupported", refused.reason)
        options = (self._option(load, pools, ()) for pools in candidates.deployments)
        return [option for option in options if option is not None]

    def varied(self, options: Sequence[Option]) -> list[Option]:
        """Changed settings of the deployments whose recipe came near the best."""
        best = self._best()
        found: list[Option] = []
        for option in options:
            trials = self._trials_of(option)
            own = max((trial.score for trial in trials if trial.meets), default=-math.inf)
            margin = self.request.question.margin
            if not trials:
                continue
            if best > -math.inf and own < best - margin * abs(best):
                reached = "meets no constraint" if own == -math.inf else "is too far behind"
                self._prune(
                    option.load,
                    option.label,
                    (),
                    "behind",
                    f"settings not varied: with the recipe's it {reached}",
                )
                continue
            start = self._best_concurrency(trials)
            for changes in self._changes(option):
                other = self._option(option.load, option.pools, changes)
                if other is not None:
                    found.append(replace(other, start=start))
        return found

    def _changes(self, option: Option) -> Iterator[Changes]:
        """Settings that differ from the recipe's; none of an engine that lacks what is varied.

        Raises
        ------
        UserError
            If the only engine that is searched lacks it.
        """
        configuration = self._configure(option, concurrency=self._concurrencies(option)[-1])
        entry = configuration.pools[0].settings
        try:
            for _, changes in variants(entry, varied=self.request.question.vary):
                if changes:
                    yield changes
        except UserError as error:
            if len(self._engines) == 1:
                raise
            self.messages.append(
                f"{configuration.engine.label} keeps its recipe's settings: {error}"
            )

    def _best_concurrency(self, trials: Sequence[Trial]) -> int:
        """Where changed settings are tried first: where the recipe's did best.

        0 where waits count, which a few clients keep shortest.
        """
        able = [trial for trial in trials if trial.meets]
        if self.request.question.goal == "ttft" or not able:
            return 0
        return max(able, key=lambda trial: trial.score).configuration.concurrency

    def run_all(self, options: Sequence[Option]) -> None:
        """Run options, the most promising first, and prune those that cannot win."""
        for position, option in enumerate(sorted(options, key=lambda one: -one.bound)):
            if self._on_progress is not None:
                what = f"{option.load.sku} {option.label} {text_of(option.changes)}".rstrip()
                self._on_progress(self._done + position, self._done + len(options), what)
            best = self._best()
            words = self._score.words
            if option.bound <= best:
                self._prune(
                    option.load,
                    option.label,
                    option.changes,
                    "bound",
                    f"its bound, {words(option.bound)}, does not beat {words(best)}",
                )
                continue
            self._run_around(option)
        self._done += len(options)

    def refine(self) -> None:
        """Concurrencies between the best one of each deployment and the next that was tried."""
        if self.request.settings.concurrency is not None:
            return
        best: dict[tuple[str, ...], tuple[Option, Trial]] = {}
        for option, trial in self.runs:
            key = (*trial.deployment, "changed" if trial.changes else "recipe")
            if trial.meets and (key not in best or trial.score > best[key][1].score):
                best[key] = option, trial
        most = max((self._between(option) for option, _ in best.values()), default=0.0)
        for option, trial in best.values():
            if self._between(option) >= most - _WORTH_REFINING * abs(most):
                self._refine(option, low=trial.configuration.concurrency)

    def ranked(self) -> list[Trial]:
        """Every run, those that meet the constraints first, by falling score.

        The best run of each deployment and its settings counts with its score at the very speed
        that is asked for, where runs lie on either side of it.
        """
        best: dict[Option, Trial] = {}
        for option, trial in self.runs:
            if trial.meets and (option not in best or trial.score > best[option].score):
                best[option] = trial
        found = []
        for option, trial in self.runs:
            between = self._at_speed(option) if trial is best.get(option) else None
            found.append(replace(trial, score_at_slo=between))
        return sorted(found, key=lambda trial: (not trial.meets, -trial.rank_score))

    def _at_speed(self, option: Option) -> float | None:
        """The score of an option at the very speed asked for; ``None`` where it is not known."""
        if self.request.question.goal == "ttft":
            return None
        tput = tput_at_speed(self._trials_of(option), speed=self.request.question.interactivity)
        return None if tput is None else self._score.of(option.load, tput_per_gpu=tput, ttft_s=0.0)

    def _between(self, option: Option) -> float:
        """The best score that an option's runs show, at the speed asked for or beyond it."""
        own = max(trial.score for trial in self._trials_of(option) if trial.meets)
        between = self._at_speed(option)
        return own if between is None else max(own, between)

    def _refine(self, option: Option, *, low: int) -> None:
        tried = [trial.configuration.concurrency for trial in self._trials_of(option)]
        high = min((each for each in tried if each > low), default=low)
        for _ in range(_BETWEEN):
            middle = round(math.sqrt(low * high))
            if not low < middle < high:
                return
            trial = self._run(option, concurrency=middle)
            if trial is not None and trial.meets:
                low = middle
            else:
                high = middle

    def _option(self, load: Scenario, pools: Pools, changes: Changes) -> Option | None:
        """An option with its bound; ``None``, and the reason kept, if it has no chance.

        Recipes change settings with the concurrency, so that the bound is the best of all.
        """
        option = Option(load=load, pools=pools, changes=changes, bound=-math.inf)
        gpus = sum(pool.gpus for pool in pools)
        reasons: dict[str, PrunedStatus] = {}
        for concurrency in self._concurrencies(option):
            try:
                configuration = self._configure(option, concurrency=concurrency)
                bounds = deployment_bounds(configuration, assembly=assemble(configuration))
            except DoesNotFitError as error:
                reasons[str(error)] = "does_not_fit"
                continue
            except UserError as error:
                reasons[str(error)] = "unsupported"
                continue
            excluded = self._score.excluded(bounds)
            if excluded:
                reasons[excluded] = "bound"
                continue
            bound = self._score.bound(load, bounds, gpus=gpus, concurrency=concurrency)
            option = replace(option, bound=max(option.bound, bound))
        if option.bound > -math.inf:
            return option
        reason, status = next(iter(reasons.items()))
        self._prune(load, option.label, changes, status, reason)
        return None

    def _run_around(self, option: Option) -> None:
        """Rise from where an option starts, and fall where it meets nothing from there on."""
        every = self._concurrencies(option)
        if option.start and self._is_no_better(option):
            return
        self._run_rising(option, [each for each in every if each >= option.start])
        for concurrency in sorted((each for each in every if each < option.start), reverse=True):
            if any(trial.meets for trial in self._trials_of(option)):
                return
            self._run(option, concurrency=concurrency)

    def _is_no_better(self, option: Option) -> bool:
        """Whether changed settings give no more than the recipe's, nor room, where they start."""
        changed = self._run(option, concurrency=option.start)
        if changed is None:
            return True
        if not changed.meets:
            return False
        recipe = next(
            trial
            for other, trial in self.runs
            if (other.load, other.pools, other.changes) == (option.load, option.pools, ())
            and trial.configuration.concurrency == option.start
        )
        room = max(changed.slo_use.values(), default=1.0)
        return changed.score < recipe.score + _WORTH_RISING * abs(recipe.score) and room > (
            1.0 - _MORE_ROOM
        ) * max(recipe.slo_use.values(), default=1.0)

    def _run_rising(self, option: Option, concurrencies: Sequence[int]) -> None:
        gained: list[float] = []
        misses = 0
        for concurrency in concurrencies:
            trial = self._known(option, concurrency) or self._run(option, concurrency=concurrency)
            if trial is None:
                return
            gained.append(trial.metrics.total_tput_per_gpu)
            misses = 0 if trial.meets or trial.only_wants_more else misses + 1
            if trial.loses_speed or misses >= _MISSES_IN_A_ROW:
                return
            if self.request.settings.concurrency is None and has_stalled(gained):
                return

    def _run(self, option: Option, *, concurrency: int) -> Trial | None:
        load = option.load
        try:
            configuration = self._configure(option, concurrency=concurrency)
            figures = once(
                self._kept,
                f"{configuration.identity} {load.economics}",
                partial(self._score.figures, configuration, load=load),
            )
        except UserError as error:
            self._prune(load, option.label, option.changes, "unsupported", str(error))
            return None
        self.messages += figures.messages
        trial = Trial(
            sku=configuration.sku.key,
            engine=configuration.engine.label,
            label=option.label,
            changes=option.changes,
            configuration=configuration,
            metrics=figures.metrics,
            usd_per_million_tokens=figures.usd_per_million_tokens,
            slo_use=figures.slo_use,
            score=figures.score,
            bottleneck=figures.bottleneck,
            kind=figures.kind,
            level=figures.level,
            bands=figures.bands,
            identity=identity_cells(
                load=load.model_copy(update={"engine": load.engine or configuration.engine.label}),
                pools=option.pools,
                concurrency=concurrency,
            ),
        )
        self.runs.append((option, trial))
        return trial

    def _configure(self, option: Option, *, concurrency: int) -> RunConfiguration:
        configuration, recipe = configure_run(
            option.load,
            target=self._target(option.load),
            pools=option.pools,
            concurrency=concurrency,
        )
        self.messages += recipe.messages
        if not option.changes:
            return configuration
        entry, *others = configuration.pools
        settings = entry.settings.model_copy(update=dict(option.changes))
        changed = entry.with_settings(settings, drafts=configuration.drafts)
        return replace(configuration, pools=(changed, *others))

    def _target(self, load: Scenario) -> Target:
        """What a load names, looked up once."""
        key = load.model_dump_json(include={"sku", "overrides", "model", "engine", "economics"})
        if key not in self._targets:
            self._targets[key] = resolve_target(load)
        return self._targets[key]

    def _concurrencies(self, option: Option) -> tuple[int, ...]:
        gpus = sum(pool.gpus for pool in option.pools)
        return concurrencies(option.load.concurrency, gpus=gpus)

    def _known(self, option: Option, concurrency: int) -> Trial | None:
        """The run of an option at a concurrency, where it was tried."""
        own = (trial for trial in self._trials_of(option))
        return next((each for each in own if each.configuration.concurrency == concurrency), None)

    def _best(self) -> float:
        return max((trial.score for _, trial in self.runs if trial.meets), default=-math.inf)

    def _trials_of(self, option: Option) -> list[Trial]:
        return [trial for other, trial in self.runs if other is option]

    def _prune(
        self, load: Scenario, label: str, changes: Changes, status: PrunedStatus, reason: str
    ) -> None:
        sku = load_sku(load.sku)
        model = load_architecture(load.model).name
        self.pruned.append(
            Pruned(
                sku=sku.key,
                engine=named_engine(load.engine, sku=sku, model=model)[0].engine.label,
                label=label,
                spec=load.spec,
                settings=text_of(changes),
                status=status,
                reason=reason,
            )
        )
