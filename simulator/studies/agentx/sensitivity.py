"""Which number of chip, software or workload matters to coding agents: differences of replays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulator.prediction.agentic import configure_agentic, simulate_agentic
from simulator.prediction.assembly import assemble
from simulator.studies.agentx.request import points_of
from simulator.studies.sensitivity.differences import Parameter, Study
from simulator.studies.sensitivity.request import SensitivityQuestion
from simulator.studies.sensitivity.run import SensitivityResult, carry_out
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.engines.pools import PoolConfiguration
    from simulator.scenario.configuration import RunConfiguration
    from simulator.studies.agentx.asked import AskedOfAgents
    from simulator.studies.agentx.request import AgentxRequest
    from simulator.studies.sensitivity.differences import Change

    Progress = Callable[[int, int, str], None]

DEFAULT_SESSIONS = 32
"""Live sessions where none are stated. [sessions]"""

DEFAULTS = {"step": 0.2, "replications": 1}
"""Settings of the study where none are stated: wide steps, since replays of other speed take
other requests into their window, which moves each result by about 1 %."""

NOT_TRIED = {
    **dict.fromkeys(("isl", "osl"), "lengths are those of the sessions"),
    "turnaround_s": "sessions bring their pauses",
}


class AgentStudy(Study):
    """A deployment under session trees, and how its results follow its numbers."""

    def __init__(
        self,
        configuration: RunConfiguration,
        *,
        asked: AgentxRequest,
        step: float,
        replications: int,
    ) -> None:
        super().__init__(
            configuration, speed=None, step=step, replications=replications, pools_at=self._pools
        )
        self._asked = asked

    def _pools(self, concurrency: int) -> tuple[PoolConfiguration, ...]:
        raise AssertionError(f"no curve is judged at {concurrency}")

    def _run(self, change: Change) -> dict[str, float]:
        found = simulate_agentic(
            change.configuration,
            workload=self._asked.workload,
            assembly=assemble(change.configuration, software=change.software),
        ).metrics
        return {
            "throughput": found.total_tokens_per_s_per_gpu,
            "interactivity": found.interactivity_p90,
            "ttft": found.ttft_p50_s,
        }

    def _of_workload(self, untried: dict[str, str]) -> list[Parameter]:
        kept = []
        for parameter in super()._of_workload(untried):
            if parameter.name in NOT_TRIED:
                untried[parameter.name] = NOT_TRIED[parameter.name]
            elif parameter.name == "concurrency":
                kept.append(replace(parameter, name="sessions", unit="sessions"))
            else:
                kept.append(parameter)
        return kept


def run_agent_sensitivity(
    question: AskedOfAgents, *, on_progress: Progress | None = None
) -> SensitivityResult:
    """Elasticities of throughput, P90 interactivity and median TTFT under session trees.

    As `simulator.studies.sensitivity.run.run_sensitivity`, with replays instead of closed loops.
    All else is held fixed, settings that a recipe derives from sessions too.

    Raises
    ------
    UserError
        If a name is unknown, several numbers of sessions are given, or a speed is asked for.
    DoesNotFitError
        If the model does not fit.
    """
    asked, own = question.replay, question.own
    if own.get("interactivity") is not None:
        raise UserError("interactivity has no meaning here; session trees are judged at sessions")
    study_settings = {**DEFAULTS, **{n: v for n, v in own.items() if v is not None}}
    sensitivity_question = SensitivityQuestion(**study_settings)
    system = asked.systems[0]
    wanted = asked.sessions
    if wanted is not None and len(wanted) > 1:
        raise UserError("concurrency has several values; a sensitivity study takes one")
    sessions, pools = points_of(system, sessions=wanted or (DEFAULT_SESSIONS,))[0]
    configuration, messages = configure_agentic(
        system.scenario,
        pools=pools,
        sessions=sessions,
        workload=asked.workload,
        kv_offload=asked.kv_offload,
    )
    study = AgentStudy(
        configuration,
        asked=asked,
        step=sensitivity_question.step,
        replications=sensitivity_question.replications,
    )
    return carry_out(
        study,
        question=sensitivity_question,
        resolved=question.resolved,
        messages=(*question.assumed, *messages),
        load=f"{sessions} live sessions, {asked.workload.description}, P90 interactivity",
        on_progress=on_progress,
    )
