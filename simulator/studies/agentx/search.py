"""The deployment, settings and sessions that serve coding agents best, by pruned search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hwmodels.economics import load_economics
from simulator.engines.pools import DoesNotFitError
from simulator.output.kept_work import once
from simulator.prediction.agentic import configure_agentic
from simulator.scenario.target import resolve_target
from simulator.studies.agentx.objectives import AgentObjectives, slo_use
from simulator.studies.agentx.request import points_of
from simulator.studies.agentx.run import replay_point, with_changes
from simulator.studies.search.variants import variants
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.engines.base import EngineSettings
    from simulator.output.kept_work import KeptWork
    from simulator.scenario.configuration import RunConfiguration
    from simulator.studies.agentx.asked import AskedOfAgents
    from simulator.studies.agentx.request import AgentxSystem
    from simulator.studies.agentx.result import AgentxPoint
    from simulator.studies.search.variants import Changes

    Progress = Callable[[int, int, str], None]

MOST_POINTS = 4
"""Numbers of live sessions that a layout is tried with first where none are stated."""

PAST_CLIFF = 0.8
"""Throughput over the best so far below which more sessions are not tried. [-]"""

CAP_OF_PROMPTS = "long_prefill_token_threshold"
CAPS_OF_PROMPTS = (512, 2048, 8192)
"""Tokens of a prompt in one step that are tried. [tokens]"""

MENDED_BY_SESSIONS = ("throughput", "cost")
"""Objectives that more sessions may still meet."""


@dataclass(frozen=True, kw_only=True)
class AgentTrial:
    """One replay of a search.

    Parameters
    ----------
    point, changes:
        What ran, and settings of its servers that differ from the recipe's.
    slo_use:
        How much of each objective is used up; above 1 it is missed. [-]
    score:
        tok/s/GPU, tokens per dollar, or minus the median TTFT, as the goal has it.
    """

    system: AgentxSystem
    point: AgentxPoint
    pools: Any
    changes: Changes
    slo_use: Mapping[str, float]
    usd_per_million_tokens: float
    score: float

    @property
    def meets(self) -> bool:
        """Whether it meets every objective."""
        return all(used <= 1.0 for used in self.slo_use.values())

    @property
    def loses_users(self) -> bool:
        """Whether it misses an objective that more sessions do not mend."""
        return any(
            used > 1.0 for name, used in self.slo_use.items() if name not in MENDED_BY_SESSIONS
        )

    @property
    def missed(self) -> str:
        """Objectives that it misses."""
        return ", ".join(name for name, used in self.slo_use.items() if used > 1.0)

    @property
    def settings_text(self) -> str:
        """Settings that differ from the recipe's, or ``recipe``."""
        changed = [f"{name}={str(value).lower()}" for name, value in self.changes]
        return " ".join(changed) or "recipe"

    def cells(self) -> dict[str, Any]:
        """The row of a table."""
        figures = self.point.to_dict() | {"usd_per_million_tokens": self.usd_per_million_tokens}
        return {
            "spec": self.system.scenario.spec,
            "settings": self.settings_text,
            "meets": self.meets,
            "missed": self.missed,
            "score": self.score,
            **figures,
        }


@dataclass(frozen=True, kw_only=True)
class AgentSearchResult:
    """What a search among deployments for coding agents found, the best first."""

    question: AskedOfAgents
    objectives: AgentObjectives
    trials: tuple[AgentTrial, ...]
    refused: tuple[tuple[str, str], ...]
    messages: tuple[str, ...]

    @property
    def winner(self) -> AgentTrial | None:
        """The best trial that meets every objective; ``None`` if none does."""
        return self.trials[0] if self.trials and self.trials[0].meets else None

    @property
    def resolved(self) -> dict[str, Any]:
        """Every setting with its value and origin."""
        return dict(self.question.resolved)

    @property
    def caption(self) -> str:
        """What was searched, in one line."""
        return f"{self.objectives}; {self.question.replay.workload.description}"

    def configuration(self, trial: AgentTrial) -> RunConfiguration:
        """The deployment of a trial, as it was simulated."""
        asked = self.question.replay
        found, _ = configure_agentic(
            trial.system.scenario,
            pools=trial.pools,
            sessions=trial.point.metrics.sessions,
            workload=asked.workload,
            kv_offload=asked.kv_offload,
        )
        return with_changes(found, dict(trial.changes)) if trial.changes else found

    def frame(self) -> pd.DataFrame:
        """One row a trial."""
        import pandas as pd

        return pd.DataFrame([trial.cells() for trial in self.trials])

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by the names of their files."""
        import pandas as pd

        refused = pd.DataFrame(self.refused, columns=["tried", "reason"])
        return {"search": self.frame(), "refused": refused}

    def summary(self) -> dict[str, Any]:
        """All of it as JSON objects."""
        from simulator.output.text_tables import records_of
        from simulator.studies.search.launch_commands import launch_commands

        winner = self.winner
        rows = records_of(self.frame())
        launches = () if winner is None else launch_commands(self.configuration(winner))
        return {
            "simulated": True,
            "caption": self.caption,
            "winner": None if winner is None else rows[0],
            "launch": {launch.stack: launch.text for launch in launches},
            "trials": rows,
            "refused": [{"tried": name, "reason": reason} for name, reason in self.refused],
            "messages": list(self.messages),
        }

    def plot(self) -> Figure:
        """Every trial: throughput over P90 interactivity."""
        from simulator.studies.agentx.plots import search_figure

        return search_figure(self)


def search_agents(
    question: AskedOfAgents,
    *,
    on_progress: Progress | None = None,
    kept: KeptWork | None = None,
) -> AgentSearchResult:
    """Try the layouts that recipes were run with, then settings of those near the best.

    Sessions rise on every layout until an objective is missed that more of them cannot mend, or
    throughput falls. Then engine settings vary at the best number of sessions of every layout
    whose score is within ``margin`` of the best.

    Raises
    ------
    UserError
        If a setting is unknown, the goal needs a price that is not known, or nothing could run.
    """
    searcher = _Searcher(question, on_progress=on_progress, kept=kept)
    searcher.layouts()
    searcher.settings()
    trials = sorted(searcher.trials, key=lambda trial: (not trial.meets, -trial.score))
    if not trials:
        name, reason = searcher.refused[0]
        raise UserError(f"nothing could run; {name}: {reason}")
    return AgentSearchResult(
        question=question,
        objectives=searcher.objectives,
        trials=tuple(trials),
        refused=tuple(searcher.refused),
        messages=(*question.assumed, *searcher.objectives.assumed, *searcher.messages),
    )


class _Searcher:
    """Trials of one search."""

    def __init__(
        self, question: AskedOfAgents, *, on_progress: Progress | None, kept: KeptWork | None
    ) -> None:
        self._asked, self._own = question.replay, question.own
        self.objectives = AgentObjectives.of(question.own)
        self._on_progress, self._kept = on_progress, kept
        self.trials: list[AgentTrial] = []
        self.refused: list[tuple[str, str]] = []
        self.messages: dict[str, None] = {}

    def layouts(self) -> None:
        """Every layout of every system at rising sessions, with its recipe's settings."""
        for system in self._asked.systems:
            if self.objectives.goal == "cost" and self._price(system) is None:
                raise UserError(
                    f"economics {system.scenario.economics} states no {self.objectives.tier} price "
                    f"of {system.scenario.sku}; search for throughput, or name another --tier"
                )
            try:
                offered = points_of(system, sessions=self._asked.sessions, most=None)
            except UserError as error:
                self.refused.append((system.name, str(error).splitlines()[0]))
                continue
            known: dict[Any, list[int]] = {}
            for sessions, pools in offered:
                known.setdefault(pools, []).append(sessions)
            for pools, counts in known.items():
                self._rise(system, pools, sorted(set(counts)))

    def _rise(self, system: AgentxSystem, pools: Any, known: Sequence[int]) -> None:
        """Some of the known numbers of sessions until users lose, then those between."""
        best_rate = 0.0
        low, high = -1, len(known)
        for at in _spread(len(known), all_of=self._asked.sessions is not None):
            trial = self._run(system, pools, known[at], ())
            if trial is None:
                continue
            rate = trial.point.metrics.total_tokens_per_s_per_gpu
            if trial.loses_users or rate < PAST_CLIFF * best_rate:
                high = at
                break
            low, best_rate = at, max(best_rate, rate)
        while 0 <= low < high - 1 < len(known) - 1:
            middle = (low + high) // 2
            trial = self._run(system, pools, known[middle], ())
            if trial is None or trial.loses_users:
                high = middle
            else:
                low = middle

    def settings(self) -> None:
        """Changed settings of the layouts near the best."""
        best = max((trial.score for trial in self.trials if trial.meets), default=None)
        if best is None:
            return
        margin = self._own.get("margin", 0.25)
        tops: dict[tuple[str, Any], AgentTrial] = {}
        for trial in self.trials:
            key = trial.system.name, trial.pools
            if trial.meets and (key not in tops or trial.score > tops[key].score):
                tops[key] = trial
        for trial in tops.values():
            if trial.score < best - margin * abs(best):
                continue
            sessions = trial.point.metrics.sessions
            configuration, _ = configure_agentic(
                trial.system.scenario,
                pools=trial.pools,
                sessions=sessions,
                workload=self._asked.workload,
                kv_offload=self._asked.kv_offload,
            )
            entry = configuration.pools[0].settings
            for _, changes in variants(entry, varied=self._own.get("vary") or _varied(entry)):
                if changes:
                    self._run(trial.system, trial.pools, sessions, changes)

    def _run(
        self, system: AgentxSystem, pools: Any, sessions: int, changes: Changes
    ) -> AgentTrial | None:
        changed = " ".join(f"{name}={value}" for name, value in changes)
        what = f"{system.name}, {sessions} sessions {changed}".rstrip()
        if self._on_progress is not None:
            done = len(self.trials) + len(self.refused)
            self._on_progress(done, done + 1, what)
        try:
            point, notes = once(
                self._kept,
                f"{system.name} {pools} {sessions} {changes}",
                lambda: replay_point(
                    self._asked, system, pools=pools, sessions=sessions, changes=dict(changes)
                ),
            )
        except (DoesNotFitError, UserError) as error:
            self.refused.append((what, str(error).splitlines()[0]))
            return None
        self.messages |= dict.fromkeys(f"{system.name}: {text}" for text in notes)
        price = self._price(system)
        rate = point.metrics.total_tokens_per_s_per_gpu
        usd = float("nan") if price is None else price / (3600.0 * rate) * 1e6
        trial = AgentTrial(
            system=system,
            point=replace(point, usd_per_million_tokens=usd),
            pools=pools,
            changes=changes,
            slo_use=slo_use(self.objectives, point.metrics, usd_per_million=usd),
            usd_per_million_tokens=usd,
            score=self.objectives.score(point.metrics, usd_per_million=usd),
        )
        self.trials.append(trial)
        return trial

    def _price(self, system: AgentxSystem) -> float | None:
        key = resolve_target(system.scenario).sku.key
        costs = load_economics(system.scenario.economics).for_sku(key)
        return costs.usd_per_gpu_hour(self.objectives.tier)


def _spread(count: int, *, all_of: bool) -> list[int]:
    """Positions to try first, evenly spread, the ends among them; all of them if wanted."""
    if all_of or count <= MOST_POINTS:
        return list(range(count))
    step = (count - 1) / (MOST_POINTS - 1)
    return [round(position * step) for position in range(MOST_POINTS)]


def _varied(settings: EngineSettings) -> Mapping[str, tuple[Any, ...]] | None:
    """Settings to vary under agents: tokens of a prompt a step where those bind, else the engine's.

    A scheduler that caps long prompts below its budget never reaches the budget.
    """
    if getattr(settings, CAP_OF_PROMPTS, 0):
        return {CAP_OF_PROMPTS: CAPS_OF_PROMPTS}
    return None
