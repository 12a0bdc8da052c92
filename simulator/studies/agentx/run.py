"""Session trees on every system, point by point."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from simulator.engines.pools import DoesNotFitError
from simulator.prediction.agentic import configure_agentic, simulate_agentic
from simulator.studies.agentx.request import points_of, with_usual_speculation
from simulator.studies.agentx.result import AgentxPoint, AgentxResult
from simulator.studies.processes import side_by_side
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.engines.pools import PoolLayout
    from simulator.recipes.layouts import PoolRequest
    from simulator.scenario.configuration import RunConfiguration
    from simulator.studies.agentx.request import AgentxRequest, AgentxSystem

    Progress = Callable[[int, int, str], None]
    _Attempt = tuple[AgentxPoint | None, tuple[str, ...], str]

UNSPECULATED = "no speculation, though the recipe's agentic runs drafted: --spec mtp takes theirs"


def replay_point(
    asked: AgentxRequest,
    system: AgentxSystem,
    *,
    pools: Sequence[PoolRequest] | Sequence[PoolLayout],
    sessions: int,
    changes: Mapping[str, Any] | None = None,
) -> tuple[AgentxPoint, tuple[str, ...]]:
    """One system at one number of live sessions, and what was assumed.

    Parameters
    ----------
    changes:
        Settings of the servers that prompts enter, in place of the recipe's.

    Raises
    ------
    UserError
        If a name is unknown, or no request returns within the window.
    DoesNotFitError
        If the model does not fit, with the byte table.
    """
    configuration, notes = configure_agentic(
        system.scenario,
        pools=pools,
        sessions=sessions,
        workload=asked.workload,
        kv_offload=asked.kv_offload,
    )
    if changes:
        configuration = with_changes(configuration, changes)
    if with_usual_speculation(system) is not system:
        notes = (*notes, UNSPECULATED)
    outcome = simulate_agentic(configuration, workload=asked.workload, messages=notes)
    point = AgentxPoint.of(system.name, outcome, economics=system.scenario.economics)
    return point, outcome.messages


def _attempt(
    asked: AgentxRequest,
    system: AgentxSystem,
    sessions: int,
    pools: Sequence[PoolRequest] | Sequence[PoolLayout],
    *,
    raises: bool,
) -> _Attempt:
    """A point with what was assumed, or why there is none."""
    try:
        return *replay_point(asked, system, pools=pools, sessions=sessions), ""
    except (DoesNotFitError, UserError) as error:
        if raises:
            raise
        return None, (), str(error).splitlines()[0]


def with_changes(configuration: RunConfiguration, changes: Mapping[str, Any]) -> RunConfiguration:
    """A configuration with other settings of the servers that prompts enter."""
    entry, *others = configuration.pools
    settings = entry.settings.model_copy(update=dict(changes))
    changed = entry.with_settings(settings, drafts=configuration.drafts)
    return replace(configuration, pools=(changed, *others))


def run_agentx(
    asked: AgentxRequest, *, on_progress: Progress | None = None, workers: int | None = None
) -> AgentxResult:
    """Replay session trees on every system at every number of live sessions.

    Parameters
    ----------
    workers:
        Processes, which results do not depend on; ``None``: one per core. [processes]

    Raises
    ------
    UserError
        If a name is unknown, or no point of a system can be served.
    """
    tasks = []
    for system in asked.systems:
        for sessions, pools in points_of(system, sessions=asked.sessions):
            tasks.append((system, sessions, pools))
    # the longest first, so that no process is left alone with it at the end
    order = sorted(range(len(tasks)), key=lambda index: -tasks[index][1])
    show = on_progress or (lambda *_: None)
    show(0, len(tasks), f"{tasks[order[0]][0].name}, {tasks[order[0]][1]} sessions")
    calls = [partial(_attempt, asked, *tasks[index], raises=len(tasks) == 1) for index in order]
    found: dict[int, _Attempt] = {}
    for index, outcome in zip(order, side_by_side(calls, workers=workers), strict=True):
        found[index] = outcome
        system, sessions, _ = tasks[index]
        show(len(found), len(tasks), f"{system.name}, {sessions} sessions")
    points: list[AgentxPoint] = []
    refused: list[tuple[str, int, str]] = []
    messages: dict[str, None] = {}
    for index, (system, sessions, _) in enumerate(tasks):
        point, notes, reason = found[index]
        if point is None:
            refused.append((system.name, sessions, reason))
            continue
        points.append(point)
        for text in notes:
            messages[f"{system.name}: {text}" if len(asked.systems) > 1 else text] = None
    if not points:
        name, sessions, reason = refused[0]
        raise UserError(f"no point can be served; {name} at {sessions} sessions: {reason}")
    return AgentxResult(
        asked=asked, points=tuple(points), refused=tuple(refused), messages=tuple(messages)
    )
