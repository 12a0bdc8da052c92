"""The Python interface of replays of session trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.studies.agentx.request import build_agentx
from simulator.studies.agentx.run import run_agentx

if TYPE_CHECKING:
    from simulator.studies.agentx.result import AgentxResult


def agentx(*systems: str, **settings: Any) -> AgentxResult:
    """Replay coding-agent sessions on one or more systems.

    Parameters
    ----------
    systems:
        ``SKU``, ``SKU:ENGINE`` or ``SKU:ENGINE@DATE``.
    settings:
        Those of ``simulate agentx`` by name, such as ``concurrency=(8, 64)`` (live sessions),
        ``spec="mtp:3"``, ``kv_offload="none"``; ``trees`` is the workload.

    Raises
    ------
    UserError
        If a name or a value is not known, or no point can be served.
    """
    sessions = settings.get("concurrency")
    if isinstance(sessions, int):
        settings["concurrency"] = (sessions,)
    return run_agentx(build_agentx(systems, flags=settings))
