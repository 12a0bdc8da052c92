"""What is left out together, and what the fit says of it without it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from calibration.fit.least_squares import Refits, linear_system
from hwmodels.fitted import EFFECTS, MEDIAN_DATE, MEDIAN_LEVEL_DATE
from hwmodels.software import parse_date

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    import numpy.typing as npt

    from calibration.fit.effects import LevelKey
    from calibration.fit.gauss_newton import Fit
    from calibration.fit.observations import Observation

    FloatArray = npt.NDArray[np.float64]

Scheme = Literal["run", "series", "engine", "sku", "kernels", "vendor", "model", "date", "anchor"]


REWEIGHTS = 3
"""Reweighting rounds of a refit without many runs, which starts from the whole fit's weights."""

GROUPS: dict[Scheme, Callable[[Observation], str]] = {
    "run": lambda o: str(o.row),
    "series": lambda o: o.series,
    "engine": lambda o: o.level.engine,
    "sku": lambda o: o.level.sku,
    "kernels": lambda o: o.level.generation.split("_")[0],
    "vendor": lambda o: o.level.vendor,
    "model": lambda o: o.level.family,
    "date": lambda o: o.level.groups[-1],
    "anchor": lambda o: o.series,
}
"""What is left out together: a run; a whole series; all of an engine; a SKU with all its
engines; a chip generation; a vendor; all models of an architecture; everything of an engine on
a SKU from a date on, predicted from the level before; a series, of each build of which one run
then moves the others, see `calibration.validation.anchors`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Log parameters of left-out observations, fitted without them.

    Parameters
    ----------
    rows:
        Positions among the observations of the fit.
    logs:
        Log parameters, one row each. [-]
    offsets:
        Log factor on time of the build, from the runs of it that stayed in. [-]
    basis:
        What was left to predict each from, see `hwmodels.fitted.Basis`.
    without:
        Positions that were left out together with each.
    """

    rows: list[int]
    logs: FloatArray
    offsets: FloatArray
    basis: list[str]
    without: list[frozenset[int]]


def leave_out(fit: Fit, *, scheme: Scheme) -> LeftOut:
    """Refit without each group of a scheme and collect what is said of the group.

    The refit solves the same regularised system without the group's rows, at the derivatives
    of the full fit; the caller simulates the left-out rows at the parameters returned.
    """
    group_of = GROUPS[scheme]
    observations = fit.observations
    names = [group_of(o) for o in observations]
    refits = refits_of(fit)
    counts = Counter(o.level for o in observations)
    rows: list[int] = []
    logs: list[FloatArray] = []
    offsets: list[float] = []
    basis: list[str] = []
    without: list[frozenset[int]] = []
    members: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        members.setdefault(name, []).append(position)
    for _, held in sorted(members.items()):
        dropped = set(held)
        if scheme == "date":
            level = observations[held[0]].level
            dropped |= {
                i
                for i, o in enumerate(observations)
                if _same_chain(o.level, level) and level_day(o.level) >= level_day(level)
            }
        if len(dropped) == len(observations):
            continue
        solution = refits.without(sorted(dropped), rounds=REWEIGHTS)
        gone = Counter(observations[i].level for i in dropped)
        levels = counts.keys() - {level for level, runs in gone.items() if runs == counts[level]}
        without += [frozenset(dropped)] * len(held)
        for i in held:
            level = observations[i].level
            if scheme == "date":
                level = _level_before(level, known=levels)
            rows.append(i)
            logs.append(fit.space.values(effects=solution.effects, level=level))
            offsets.append(solution.offsets.get(observations[i].build, 0.0))
            basis.append(basis_of(observations[i].level, known=levels))
    return LeftOut(
        rows=rows,
        logs=np.array(logs).reshape(len(rows), len(fit.space.parameters)),
        offsets=np.array(offsets),
        basis=basis,
        without=without,
    )


@lru_cache(maxsize=1)
def refits_of(fit: Fit) -> Refits:
    """The system of a fit, ready to be solved without some of its runs."""
    system = linear_system(
        space=fit.space,
        observations=fit.observations,
        responses=fit.responses,
        slopes=fit.slopes,
        logs=fit.logs,
        weights=fit.weights,
    )
    return Refits(system, start=fit.solution)


def level_day(level: LevelKey) -> dt.date:
    """Last day of a level's runs; undated medians count as of the last day that they cover."""
    return MEDIAN_DATE if level.level_date == MEDIAN_LEVEL_DATE else parse_date(level.level_date)


def _same_chain(one: LevelKey, other: LevelKey) -> bool:
    return (one.family, one.engine, one.sku) == (other.family, other.engine, other.sku)


def _level_before(level: LevelKey, *, known: set[LevelKey]) -> LevelKey:
    """The last known level of an engine on a SKU before another: what a forecast rests on."""
    before = [k for k in known if _same_chain(k, level) and level_day(k) < level_day(level)]
    if not before:
        return level
    return replace(level, level_date=max(before, key=level_day).level_date)


def basis_of(level: LevelKey, *, known: set[LevelKey]) -> str:
    """What a fit on some levels knows of another."""
    if any(_same_chain(k, level) for k in known):
        return "own runs"
    kernels = EFFECTS.index("family_kernels")
    if any(k.groups[kernels] == level.groups[kernels] for k in known):
        return "sibling"
    return "other kernels"
