"""Points of session trees in the columns of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.analysis.pareto import frontier_indices
from simulator.studies.series import known_sku

if TYPE_CHECKING:
    import pandas as pd

MARK = "hit_infinite"
"""A column that only points of session trees have."""

LENGTHS = "agent sessions"

_NAMES = {
    "layout": "label",
    "sessions": "concurrency",
    "interactivity_p50": "interactivity",
    "total_tokens_per_s_per_gpu": "total_tput_per_gpu",
    "input_tokens_per_s_per_gpu": "input_tput_per_gpu",
    "output_tokens_per_s_per_gpu": "output_tput_per_gpu",
    "ttft_p50_s": "median_ttft_s",
    "ttft_p90_s": "p90_ttft_s",
    "e2e_p50_s": "median_e2el_s",
    "tokens_per_s_per_utility_mw": "tokens_per_s_per_mw",
}


def is_of_agents(points: pd.DataFrame) -> bool:
    """Whether points are those of a replay of session trees."""
    return MARK in points


def points_of_agents(points: pd.DataFrame) -> pd.DataFrame:
    """Points as ``simulate agentx`` writes them in the columns of a sweep.

    Interactivity is that of the median request, as for fixed lengths; that of the slow tail, by
    which AgentX is drawn, stays in ``interactivity_p90`` and makes the frontier. Power counts the
    meter. What a replay does not know, such as p99 TTFT, is missing.
    """
    found = points.rename(columns=_NAMES)
    names = []
    for system, sku, level in zip(points["system"], points["sku"], points["level"], strict=True):
        known = known_sku(str(sku))
        engine = str(level) if ":" not in str(system) else str(system).partition(":")[2]
        names.append(f"{sku if known is None else known.name} ({engine}), agents")
    found = found.assign(
        series=names,
        p99_ttft_s=np.nan,
        bottleneck="",
        isl=points["mean_prompt_tokens"].round().astype(int),
        osl=points["mean_output_tokens"].round().astype(int),
        lengths=LENGTHS,
        disagg=["+" in str(layout) for layout in points["layout"]],
        meets_limits=True,
    )
    best = np.zeros(len(found), dtype=np.bool_)
    x = points["interactivity_p90"].to_numpy(float)
    y = points["total_tokens_per_s_per_gpu"].to_numpy(float)
    of = found["series"].to_numpy()
    for name in dict.fromkeys(of):
        members = np.flatnonzero(of == name)
        best[members[frontier_indices(x[members], y[members])]] = True
    return found.assign(on_frontier=best)
