"""A user's own runs on top of a fit: only the levels that they ran at move.

The prior of a level is what the fit says of it: as mean the factors that its predictions have, as
covariance what the fit's runs have left of its effects, and the full width of what a build may
add. Derivatives are taken of the own runs alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from calibration.fit.effects import FITTED, EffectSpace
from calibration.fit.gauss_newton import LARGEST_MOVE
from calibration.fit.least_squares import SIGN, LinearSystem
from calibration.fit.observations import METRICS, NOISE
from calibration.fit.response import jacobian, respond
from calibration.fit.sampled_jacobian import SampledRuns
from hwmodels.fitted import fitted_level
from hwmodels.software import MEDIAN_LEVEL, parse_date

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from calibration.fit.effects import LevelKey
    from calibration.fit.observations import Observation
    from calibration.fit.posterior import Posterior
    from simulator.output.kept_work import KeptWork

    FloatArray = npt.NDArray[np.float64]

MOST_MOVES = 2
"""Times that the parameters move before the runs are compared with them."""

STILL = 0.01
"""Change of the logarithm of any figure below which parameters stay. [-]"""


COMMON_WIDTH = 0.05
"""Prior standard deviation of what all times of a user's level share beyond the fit's runs: a
clock, a power limit, flags that nobody wrote down. [-]"""

SERIES_WIDTH = 0.02
"""That of what a series adds to it, which is no part of the level. Both predict left-out runs of
published cells best. [-]"""

_ALL_TIMES = {
    "t0_scale": 1.0,
    "compute_scale": -1.0,
    "attention_scale": -1.0,
    "memory_scale": -1.0,
    "eager_launch_s": 1.0,
}
"""What makes every operation of a step longer alike; grouped products follow other ones."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnFit:
    """Levels moved by a user's own runs.

    Parameters
    ----------
    observations, weights:
        The runs, at the levels that they move, and the trust in each.
    levels:
        Levels that move, one for each name, such as ``dense/vllm/h200/2026-09-01``.
    start:
        Log parameters of each observation before. [-]
    moves:
        What is added to those of each level, (levels, parameters). [-]
    prior, covariance:
        Of all moves together before and after, level by level. [-]
    before, after:
        Simulated logarithms at ``start`` and at the end, (observations, metrics).
    alone:
        Linearised logarithms of each run as the others predict it; NaN for a single run.
    """

    observations: list[Observation]
    weights: FloatArray
    levels: dict[str, LevelKey]
    start: FloatArray
    moves: FloatArray
    prior: FloatArray
    covariance: FloatArray
    before: FloatArray
    after: FloatArray
    alone: FloatArray

    def errors(self, logs: FloatArray) -> dict[str, float]:
        """Median of |predicted / measured - 1| by metric, of the runs that both know. [-]"""
        measured = np.array([o.measured for o in self.observations])
        missed = np.abs(np.expm1(logs - measured))
        return {
            name: float(np.nanmedian(missed[:, column]))
            for column, name in enumerate(METRICS)
            if np.isfinite(missed[:, column]).any()
        }


class Simulator(Protocol):
    """What says how long runs or steps take, and how that changes."""

    def respond(self, runs: Sequence[Observation], logs: FloatArray) -> FloatArray:
        """Logarithms at some log parameters, (runs, metrics); NaN where unknown."""
        ...

    def slopes(self, runs: Sequence[Observation], logs: FloatArray) -> FloatArray:
        """Their derivatives, (runs, metrics, parameters)."""
        ...


def fit_own(
    observations: Sequence[Observation],
    *,
    weights: FloatArray,
    posterior: Posterior,
    simulator: Simulator,
    directory: Path | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> OwnFit:
    """Move the levels of a user's own runs towards what they measured.

    Parameters
    ----------
    weights:
        Trust in each run. [-]
    posterior:
        Covariance of the fit that is moved.
    simulator:
        What says the logarithms of the runs and their derivatives.
    directory:
        The calibration that is moved; ``None``: the shipped one.

    Notes
    -----
    Minimises ``sum h(w (y - f - J d -+ b) / s) + d' K^-1 d + sum (b / 0.02)^2`` over moves d of
    levels and offsets b of series, as `calibration.fit.least_squares.solve` does for effects; K
    is the covariance of what the effects of a level add up to, see `moves_prior`.
    """
    placed = [at_fitted_level(o, directory=directory) for o in observations]
    runs = [each for each, _ in placed]
    start = np.array([logs for _, logs in placed])
    levels = _levels(runs)
    prior = moves_prior(levels, posterior=posterior)
    group = np.array([list(levels).index(o.level.groups[-1]) for o in runs], dtype=np.int64)
    steps = MOST_MOVES + 2

    def tell(done: int, what: str) -> None:
        if on_progress is not None:
            on_progress(done, steps, what)

    tell(0, "your runs")
    responses = before = simulator.respond(runs, start)
    tell(1, "derivatives")
    slopes = simulator.slopes(runs, start)
    low, high = (np.log([getattr(p, end) for p in FITTED]) for end in ("low", "high"))
    moves = np.zeros((len(levels), len(FITTED)))

    def system() -> LinearSystem:
        return moves_system(
            runs,
            responses=responses - np.einsum("omp,op->om", slopes, moves[group]),
            slopes=slopes,
            weights=weights,
            group=group,
            prior=prior,
        )

    for done in range(MOST_MOVES):
        wanted = moves_of(system(), prior=prior)
        step = np.clip(wanted - moves, -LARGEST_MOVE, LARGEST_MOVE)
        inside = np.clip(start + (moves + step)[group], low, high) - start
        moved = np.array([inside[group == g][0] for g in range(len(levels))])
        change = np.abs(np.einsum("omp,op->om", slopes, (moved - moves)[group]))
        if not (change > STILL).any():
            break
        moves = moved
        tell(2 + done, "your runs at the parameters found")
        responses = simulator.respond(runs, start + moves[group])
    last = system()
    found = last.solve(rounds=12)
    root = _root(prior)
    return OwnFit(
        observations=runs,
        weights=weights,
        levels=levels,
        start=start,
        moves=moves,
        prior=prior,
        covariance=root @ found.covariance @ root.T,
        before=before,
        after=responses,
        alone=_each_alone(
            last, responses=responses, slopes=slopes, moves=moves, group=group, prior=prior
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRuns:
    """The simulator of whole runs, see `calibration.fit.response`; derivatives of sampled ones.

    Parameters
    ----------
    workers:
        Processes; the result does not depend on their number.
    kept:
        Where finished responses are kept.
    """

    workers: int = 2
    kept: KeptWork | None = None

    def respond(self, runs: Sequence[Observation], logs: FloatArray) -> FloatArray:
        """Simulated logarithms, (runs, metrics)."""
        return respond(
            observations=runs,
            logs=logs,
            parameters=FITTED,
            workers=self.workers,
            kept=self.kept,
        )

    def slopes(self, runs: Sequence[Observation], logs: FloatArray) -> FloatArray:
        """Their derivatives, (runs, metrics, parameters)."""
        sample = SampledRuns(runs, logs=logs)
        taken = jacobian(
            observations=[runs[i] for i in sample.rows],
            logs=logs[sample.rows],
            parameters=FITTED,
            workers=self.workers,
            kept=self.kept,
        )
        return sample.spread(taken)


def at_fitted_level(
    observation: Observation, *, directory: Path | None
) -> tuple[Observation, FloatArray]:
    """A run at the level that it moves, and the log parameters that a fit gives it. [-]

    An undated run moves the level that predictions without a date have; a dated one its own.
    """
    level = observation.level
    undated = level.level_date == MEDIAN_LEVEL
    known = fitted_level(
        engine=level.engine,
        sku=observation.configuration.sku,
        model=level.model,
        precision=level.precision,
        date=None if undated else parse_date(level.level_date),
        median=False,
        directory=directory,
    )
    factors = {} if known is None else known.factors
    if undated and known is not None and known.level_date:
        observation = replace(observation, level=replace(level, level_date=known.level_date))
    logs = np.log([factors.get(parameter.name, 1.0) for parameter in FITTED])
    return observation, np.asarray(logs, dtype=np.float64)


def _levels(runs: Sequence[Observation]) -> dict[str, LevelKey]:
    """The levels of runs by name; of several models of a family the most run."""
    counts: dict[str, dict[LevelKey, int]] = {}
    for run in runs:
        of_name = counts.setdefault(run.level.groups[-1], {})
        of_name[run.level] = of_name.get(run.level, 0) + 1
    return {name: max(each, key=lambda key: each[key]) for name, each in sorted(counts.items())}


def moves_prior(levels: dict[str, LevelKey], *, posterior: Posterior) -> FloatArray:
    """Covariance of the moves of levels, (levels x parameters) squared. [-]

    That of the effects which add up to a level, and a factor on all of its times alike, of
    `COMMON_WIDTH`.
    """
    space = EffectSpace(levels=list(levels.values()))
    adds = np.zeros((len(levels) * len(FITTED), len(space)))
    for place, level in enumerate(levels.values()):
        for column, parameter in enumerate(FITTED):
            row = place * len(FITTED) + column
            adds[row, space.indices(parameter=parameter, level=level)] = 1.0
    return with_common(adds @ posterior.prior(space) @ adds.T)


def with_common(covariance: FloatArray) -> FloatArray:
    """A covariance of moves with the factor on all times of each level alike added. [-]"""
    alike = np.array([_ALL_TIMES.get(parameter.name, 0.0) for parameter in FITTED])
    levels = len(covariance) // len(FITTED)
    common = np.kron(np.eye(levels), COMMON_WIDTH**2 * np.outer(alike, alike))
    widened: FloatArray = covariance + common
    return widened


def moves_system(
    runs: Sequence[Observation],
    *,
    responses: FloatArray,
    slopes: FloatArray,
    weights: FloatArray,
    group: npt.NDArray[np.int64],
    prior: FloatArray,
    build_width: float = SERIES_WIDTH,
) -> LinearSystem:
    """Runs as rows over whitened moves of levels and offsets of builds.

    Parameters
    ----------
    responses:
        Logarithms where no level has moved. [-]
    group:
        Place of each run's level.
    prior:
        Covariance K of the moves; the columns are those of its root: d = root(K) z.
    """
    builds = sorted({run.build for run in runs})
    count = len(prior)
    rows, targets, trust, owner = [], [], [], []
    for index, run in enumerate(runs):
        for metric, name in enumerate(METRICS):
            target = run.measured[metric] - responses[index, metric]
            if not (np.isfinite(target) and np.isfinite(slopes[index, metric]).all()):
                continue
            row = np.zeros(count + len(builds))
            first = int(group[index]) * len(FITTED)
            row[first : first + len(FITTED)] = slopes[index, metric]
            row[count + builds.index(run.build)] = SIGN[name]
            rows.append(row)
            targets.append(float(target))
            trust.append(float(weights[index]) / NOISE[name])
            owner.append(index)
    design = np.array(rows).reshape(len(rows), count + len(builds))
    design[:, :count] = design[:, :count] @ _root(prior)
    return LinearSystem(
        design=design,
        targets=np.array(targets),
        trust=np.array(trust),
        observation=np.array(owner, dtype=np.int64),
        builds=builds,
        widths=np.concatenate([np.ones(count), np.full(len(builds), build_width)]),
    )


def moves_of(system: LinearSystem, *, prior: FloatArray) -> FloatArray:
    """Moves that a system asks for, (levels, parameters). [-]"""
    found = system.solve(with_covariance=False)
    moves: FloatArray = (_root(prior) @ found.effects).reshape(-1, len(FITTED))
    return moves


def _root(covariance: FloatArray) -> FloatArray:
    """A root R of a covariance, R R' = K; what single precision made negative counts as none."""
    values, vectors = np.linalg.eigh(covariance)
    root: FloatArray = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def _each_alone(
    system: LinearSystem,
    *,
    responses: FloatArray,
    slopes: FloatArray,
    moves: FloatArray,
    group: npt.NDArray[np.int64],
    prior: FloatArray,
) -> FloatArray:
    """Linearised logarithms of each run at the moves that the others ask for."""
    alone = np.full_like(responses, np.nan)
    if len(responses) < 2:
        return alone
    root = _root(prior)
    for index in range(len(responses)):
        found = system.solve(without=[index], rounds=4, with_covariance=False)
        there = (root @ found.effects).reshape(moves.shape)[group[index]]
        alone[index] = responses[index] + slopes[index] @ (there - moves[group[index]])
    return alone
