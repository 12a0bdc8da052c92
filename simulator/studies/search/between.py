"""Runs of one deployment between which the speed that is asked for lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.analysis.pareto import Frontier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.studies.search.result import Trial

SPEED = "interactivity"
"""Name of the constraint on the median user's speed, see `Objectives.slo_use`."""


def tput_at_speed(trials: Sequence[Trial], *, speed: float | None) -> float | None:
    """Throughput of a deployment at the very speed that is asked for, between its runs. [tok/s/GPU]

    The monotone cubic of frontiers (`simulator.analysis.pareto.Frontier`) through the runs that
    meet every constraint and those that miss the speed alone, so that nothing but the speed
    stands between them.

    Parameters
    ----------
    trials:
        Runs of one deployment with the same settings.
    speed:
        Least speed of the median user. [tok/s]

    Returns
    -------
    float or None
        ``None`` where no speed is asked for or no such run lies on either side of it.
    """
    if speed is None:
        return None
    able = [
        trial
        for trial in trials
        if all(used <= 1.0 for name, used in trial.slo_use.items() if name != SPEED)
    ]
    curve = Frontier.of(
        [trial.metrics.interactivity for trial in able],
        [trial.metrics.total_tput_per_gpu for trial in able],
    )
    return curve.at(speed) if curve.x.size > 1 else None
