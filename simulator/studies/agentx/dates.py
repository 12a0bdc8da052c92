"""Session trees over the dates of a system's software: what updates have been worth to agents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodels.agentic_levels import agentic_dates
from hwmodels.fitted import model_family
from simulator.analysis.pareto import Frontier
from simulator.engines.pools import DoesNotFitError, PoolLayout
from simulator.output.kept_work import once
from simulator.prediction.agentic import configure_agentic
from simulator.recipes.choice import find_recipe
from simulator.scenario.target import resolve_target
from simulator.studies.agentx.request import points_of
from simulator.studies.agentx.run import replay_point
from simulator.studies.timeline.dates import SoftwareDate, software_dates
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.output.kept_work import KeptWork
    from simulator.scenario.settings import Scenario
    from simulator.studies.agentx.asked import AskedOfAgents
    from simulator.studies.agentx.request import AgentxRequest, AgentxSystem
    from simulator.studies.agentx.result import AgentxPoint

    Progress = Callable[[int, int, str], None]

FOLLOWED_POINTS = 3
"""Numbers of live sessions that are followed where none are stated."""

FIGURES = (
    *("total_tokens_per_s_per_gpu", "interactivity_p90", "e2e_norm_p90", "ttft_p50_s"),
    *("ttft_p90_s", "hit_total", "requests"),
)
"""Columns of a date's points."""


@dataclass(frozen=True, kw_only=True)
class DatedPoint:
    """One date at one number of sessions."""

    date: SoftwareDate
    sessions: int
    point: AgentxPoint


@dataclass(frozen=True, kw_only=True)
class AgentxTimeline:
    """A system's agents by software date, on one deployment for each number of sessions.

    Parameters
    ----------
    question:
        What is asked of one system.
    dates:
        Days on which its software changed under agentic load, and what changed.
    at:
        Speeds of the slow tail at which throughput is read off each date's points. [tok/s/user]
    points, refused, messages:
        What ran, what could not and why, and what was assumed.
    """

    question: AskedOfAgents
    dates: tuple[SoftwareDate, ...]
    at: tuple[float, ...]
    points: tuple[DatedPoint, ...]
    refused: tuple[tuple[str, int, str], ...]
    messages: tuple[str, ...]

    @property
    def resolved(self) -> dict[str, Any]:
        """Every setting with its value and origin."""
        return dict(self.question.resolved)

    @property
    def asked(self) -> AgentxRequest:
        """The replay."""
        return self.question.replay

    @property
    def sessions(self) -> tuple[int, ...]:
        """Numbers of live sessions that are followed."""
        return tuple(sorted({one.sessions for one in self.points}))

    @property
    def caption(self) -> str:
        """What was run, in one line."""
        return f"{self.asked.systems[0].name}; {self.asked.workload.description}"

    def frame(self) -> pd.DataFrame:
        """One row for each date and number of sessions; ``times_first`` is over the first date."""
        import pandas as pd

        first: dict[int, float] = {}
        rows = []
        for one in self.points:
            rate = one.point.metrics.total_tokens_per_s_per_gpu
            figures = one.point.metrics.to_dict()
            rows.append(
                {
                    "date": one.date.date,
                    "changes": "+".join(one.date.changes),
                    "level": one.point.level,
                    "kind": one.point.kind,
                    "layout": one.point.layout,
                    "sessions": one.sessions,
                    **{name: figures[name] for name in FIGURES},
                    "times_first": rate / first.setdefault(one.sessions, rate),
                }
            )
        return pd.DataFrame(rows)

    def at_speeds(self) -> pd.DataFrame:
        """Throughput of each date where the slow tail has a speed, between its points only."""
        import pandas as pd

        rows = []
        for date in self.dates:
            mine = [one.point.metrics for one in self.points if one.date is date]
            if not mine:
                continue
            curve = Frontier.of(
                np.array([m.interactivity_p90 for m in mine]),
                np.array([m.total_tokens_per_s_per_gpu for m in mine]),
            )
            rows += [
                {
                    "date": date.date,
                    "interactivity_p90": speed,
                    "total_tokens_per_s_per_gpu": float(curve.values([speed])[0]),
                }
                for speed in self.at
            ]
        names = ["date", "interactivity_p90", "total_tokens_per_s_per_gpu"]
        return pd.DataFrame(rows, columns=names)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by the names of their files."""
        found = {"timeline": self.frame()}
        return found | ({"at_speeds": self.at_speeds()} if self.at else {})

    def summary(self) -> dict[str, Any]:
        """All of it as JSON objects."""
        from simulator.output.text_tables import records_of

        return {
            "simulated": True,
            "workload": self.asked.workload.description,
            "dates": [{"date": one.date, "changes": list(one.changes)} for one in self.dates],
            "table": records_of(self.frame()),
            "at_speeds": records_of(self.at_speeds()),
            "refused": [
                {"date": date, "sessions": sessions, "reason": reason}
                for date, sessions, reason in self.refused
            ],
            "messages": list(self.messages),
        }

    def plot(self) -> Figure:
        """Throughput against date, a line for each number of sessions."""
        from simulator.studies.agentx.plots import dates_figure

        return dates_figure(self)


def agentic_software_dates(scenario: Scenario) -> tuple[SoftwareDate, ...]:
    """Days on which a system's software changed for agentic load.

    Those of fixed lengths, without days on which only their server settings were recorded, and
    those of agentic recipes and agentic levels.
    """
    target = resolve_target(scenario)
    engine = target.engine.engine
    found: dict[str, list[str]] = {}
    for one in software_dates(scenario):
        kept = [change for change in one.changes if change != "settings"]
        if kept:
            found[one.date] = kept
    recipe, _ = find_recipe(
        engine=engine,
        sku=target.sku.key,
        model=target.model,
        related_skus=target.sku.related_skus,
        traffic="agentic",
    )
    for level in recipe.levels:
        if level.date and recipe.ran("agentic", level=level.name):
            found.setdefault(str(level.date), []).append("settings")
    days = agentic_dates(
        engine=engine.software,
        generation=target.sku.generation,
        family=model_family(target.model),
    )
    for day in days:
        found.setdefault(str(day), []).append("agentic level")
    return tuple(
        SoftwareDate(date=date, changes=tuple(dict.fromkeys(found[date]))) for date in sorted(found)
    )


def run_dates(
    question: AskedOfAgents,
    *,
    on_progress: Progress | None = None,
    kept: KeptWork | None = None,
) -> AgentxTimeline:
    """Replay session trees on one system at every date of its software.

    The deployment of each number of sessions is that of the latest date, so that software alone
    differs; server settings are those of the date, and what agentic scripts usually give before
    the first that was recorded.

    Raises
    ------
    UserError
        If a dated engine is given, no date is known, or nothing can run.
    """
    asked = question.replay
    at = tuple(dict.fromkeys(map(float, question.own.get("at") or ())))
    system = asked.systems[0]
    target = resolve_target(system.scenario)
    label = target.engine.engine.label
    if target.engine.date is not None or target.engine.specification:
        raise UserError(
            f"engine {system.scenario.engine} names one level; leave the date out: --engine {label}"
        )
    dates = agentic_software_dates(system.scenario)
    if not dates:
        raise UserError(f"no dated software of {label} on {target.sku.key} is known")
    followed = points_of(system, sessions=asked.sessions, most=FOLLOWED_POINTS)
    deployments: list[tuple[int, tuple[PoolLayout, ...]]] = []
    refused: list[tuple[str, int, str]] = []
    for sessions, pools in followed:
        try:
            latest, _ = configure_agentic(
                system.scenario,
                pools=pools,
                sessions=sessions,
                workload=asked.workload,
                kv_offload=asked.kv_offload,
            )
        except (DoesNotFitError, UserError) as error:
            refused.append((dates[-1].date, sessions, str(error).splitlines()[0]))
            continue
        layouts = tuple(
            PoolLayout(role=pool.role, workers=pool.workers, layout=pool.layout)
            for pool in latest.pools
        )
        deployments.append((sessions, layouts))
    points: list[DatedPoint] = []
    messages: dict[str, None] = {}
    tasks = [(date, *one) for date in dates for one in deployments]
    for done, (date, sessions, pools) in enumerate(tasks):
        if on_progress is not None:
            on_progress(done, len(tasks), f"{date.date}, {sessions} sessions")
        dated = _at_date(system, f"{label}@{date.date}")
        try:
            point, notes = once(
                kept,
                f"{date.date} {sessions} {pools}",
                partial(replay_point, asked, dated, pools=pools, sessions=sessions),
            )
        except (DoesNotFitError, UserError) as error:
            refused.append((date.date, sessions, str(error).splitlines()[0]))
            continue
        points.append(DatedPoint(date=date, sessions=sessions, point=point))
        messages |= dict.fromkeys(f"{date.date}: {text}" for text in notes)
    if not points:
        date_text, sessions, reason = refused[0]
        raise UserError(f"nothing could run; {date_text} at {sessions} sessions: {reason}")
    return AgentxTimeline(
        question=question,
        dates=dates,
        at=at,
        points=tuple(points),
        refused=tuple(refused),
        messages=(*question.assumed, *_gathered(messages, dates=dates)),
    )


def _at_date(system: AgentxSystem, engine: str) -> AgentxSystem:
    return replace(system, scenario=system.scenario.model_copy(update={"engine": engine}))


def _gathered(messages: dict[str, None], *, dates: Sequence[SoftwareDate]) -> tuple[str, ...]:
    """Notes with the dates that they hold for; without one where it is every date."""
    found: dict[str, list[str]] = {}
    for text in messages:
        date, _, note = text.partition(": ")
        found.setdefault(note, []).append(date)
    return tuple(
        note if len(days) == len(dates) else f"{', '.join(days)}: {note}"
        for note, days in found.items()
    )
