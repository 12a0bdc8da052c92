"""Which way to deploy a SKU wins where, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.analysis.pareto import Frontier
from simulator.engines.labels import without_software_of
from simulator.output.text_tables import number

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """The form of deployment that holds most of a frontier.

    Parameters
    ----------
    form:
        Engine, speculation and pools.
    slowest, fastest:
        Speeds per user between its points on the frontier. [tok/s/user]
    points, of:
        Its points, and those of the whole frontier.
    level, kind:
        Software level and kind of prediction of its points.
    runner_up:
        The form that holds most of the frontier without it; empty where none else ran.
    at, share:
        A speed where both are [tok/s/user], and the runner-up's throughput over the winner's [-].
    """

    form: str
    slowest: float
    fastest: float
    points: int
    of: int
    level: str
    kind: str
    runner_up: str = ""
    at: float | None = None
    share: float | None = None


def forms_of(runs: pd.DataFrame) -> pd.Series:
    """Engine, speculation and pools of each run."""
    spec = runs["spec"].where(runs["spec"] != "none", "")
    pools = runs["disagg"].map({True: "disaggregated", False: "aggregated"})
    engine = runs["engine"].map(without_software_of)
    return (engine + " " + spec).str.strip() + ", " + pools


def winner_of(runs: pd.DataFrame) -> Winner | None:
    """The winner among runs that compete for one frontier; ``None`` where nothing is on it."""
    runs = runs.assign(form=forms_of(runs))
    best = runs[runs["on_frontier"]]
    if best.empty:
        return None
    form = str(best["form"].value_counts(sort=True).index[0])
    own = best[best["form"] == form]
    others = runs[(runs["form"] != form) & runs["meets_limits"]]
    found = Winner(
        form=form,
        slowest=float(own["interactivity"].min()),
        fastest=float(own["interactivity"].max()),
        points=len(own),
        of=len(best),
        level=", ".join(own["level"].unique()),
        kind=", ".join(own["kind"].unique()),
    )
    if others.empty:
        return found
    curve = _frontier(others)
    knots = others.iloc[list(curve.indices)]
    second = str(knots["form"].value_counts().index[0])
    own_curve = _frontier(runs[(runs["form"] == form) & runs["meets_limits"]])
    behind = _frontier(others[others["form"] == second])
    low = max(float(own_curve.x[0]), float(behind.x[0]))
    high = min(float(own_curve.x[-1]), float(behind.x[-1]))
    at = share = None
    if low <= high:
        at = float(f"{(low * high) ** 0.5:.2g}")
        at = min(max(at, low), high)
        share = float(behind.values([at])[0] / own_curve.values([at])[0])
    return Winner(
        **{name: getattr(found, name) for name in ("form", "slowest", "fastest", "points", "of")},
        level=found.level,
        kind=found.kind,
        runner_up=second,
        at=at,
        share=share,
    )


def winner_lines(winner: Winner | None) -> list[str]:
    """A winner and its runner-up as sentences."""
    if winner is None:
        return []
    lines = [
        f"best deployed as {winner.form} ({winner.kind}, {winner.level}): {winner.points} of "
        f"{winner.of} frontier points, {number(winner.slowest)} to {number(winner.fastest)} "
        "tok/s/user"
    ]
    if not winner.runner_up:
        return [*lines, "runner-up: none, nothing else that ran or is recommended fits"]
    told = ""
    if winner.at is not None and winner.share is not None:
        told = (
            f", {winner.share:.2f} times its throughput at {number(winner.at)} tok/s/user by the "
            "points that were run"
        )
    return [*lines, f"runner-up: {winner.runner_up}{told}"]


def _frontier(runs: pd.DataFrame) -> Frontier:
    return Frontier.of(
        runs["interactivity"].to_numpy(float), runs["total_tput_per_gpu"].to_numpy(float)
    )
