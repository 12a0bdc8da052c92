"""Trees whose recorded pauses are shortened before the replay, as clients before AgentX v1.0 do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workloads.requests.agentx.forest import SessionTree


def compressed_tree(tree: SessionTree, *, cap_s: float) -> SessionTree:
    """A tree with consecutive request starts at most ``cap_s`` apart.

    All requests of the tree are on one clock, sub-agents included. The delay of a turn is the
    shortened difference between its start and that of the request it follows, counted from the
    replayed return of the latter (AIPerf's Weka loader of July 2026, ``_build_trace_idle_timing``).

    Parameters
    ----------
    cap_s:
        Longest pause between two consecutive starts. [s]
    """
    starts_s: list[float] = []
    now_s = before_s = tree.requests[0].call.start_s
    for request in tree.requests:
        start_s = request.call.start_s
        now_s += min(start_s - before_s, cap_s)
        before_s = start_s
        starts_s.append(now_s)
    requests = []
    for request, start_s in zip(tree.requests, starts_s, strict=True):
        delay_s = 0.0 if request.after < 0 else start_s - starts_s[request.after]
        requests.append(
            replace(request, call=replace(request.call, start_s=start_s), delay_s=delay_s)
        )
    return replace(tree, requests=tuple(requests))
