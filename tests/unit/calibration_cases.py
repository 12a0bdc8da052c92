"""Made-up levels, runs and responses for tests of the fit: everything is exactly linear."""

from types import SimpleNamespace

import numpy as np

from calibration.fit.effects import FITTED, EffectSpace, LevelKey
from calibration.fit.gauss_newton import Fit
from calibration.fit.least_squares import Solution, linear_system
from calibration.fit.observations import Observation
from workloads.layout import Layout

SKUS = {
    "b200": ("nvidia", "blackwell"),
    "b300": ("nvidia", "blackwell_ultra"),
    "h200": ("nvidia", "hopper"),
    "mi355x": ("amd", "cdna4"),
}


def level(
    engine="vllm", sku="b200", level_date="median-2026-07", family="deepseek_v4", precision="fp4"
):
    vendor, generation = SKUS[sku]
    return LevelKey(
        family=family,
        model=family.replace("_", "-"),
        engine=engine,
        sku=sku,
        level_date=level_date,
        vendor=vendor,
        generation=generation,
        precision=precision,
    )


def observation(row, *, at, series, measured, concurrency=8, messages=()):
    return Observation(
        row=row,
        series=series,
        level=at,
        configuration=SimpleNamespace(
            concurrency=concurrency,
            pools=(SimpleNamespace(layout=Layout(tp=8)),),
        ),
        measured=np.array(measured, dtype=float),
        mean_tpot=False,
        mean_ttft=False,
        fixed_acceptance=True,
        messages=messages,
    )


def linear_fit(levels, truth, *, per_level=6, noise=0.0, offsets=None, seed=0):
    """A fit whose runs respond linearly to their log parameters, which are ``truth(level)``.

    Every level has one series of runs; ``offsets`` by series are added to their times.
    """
    rng = np.random.default_rng(seed)
    offsets = offsets or {}
    slopes, observations, weights = [], [], []
    for at in levels:
        series = f"{at.family} {at.engine} {at.sku} {at.level_date}"
        for number in range(per_level):
            slope = rng.normal(size=(3, len(FITTED))) * 0.5
            shift = offsets.get(series, 0.0) * np.array([-1.0, 1.0, 1.0])
            said = slope @ truth(at) + shift + noise * rng.normal(size=3)
            observations.append(
                observation(
                    len(observations),
                    at=at,
                    series=series,
                    measured=said,
                    concurrency=2**number,
                )
            )
            slopes.append(slope)
            weights.append(1.0)
    space = EffectSpace(levels=sorted(set(levels), key=lambda each: each.groups))
    count = len(observations)
    fit = Fit(
        space=space,
        solution=Solution(
            effects=np.zeros(len(space)), offsets={}, covariance=np.diag(space.widths**2)
        ),
        observations=observations,
        weights=np.array(weights),
        logs=np.zeros((count, len(FITTED))),
        responses=np.zeros((count, 3)),
        slopes=np.array(slopes),
    )
    return solved(fit)


def system_of(fit):
    return linear_system(
        space=fit.space,
        observations=fit.observations,
        responses=fit.responses,
        slopes=fit.slopes,
        logs=fit.logs,
        weights=fit.weights,
    )


def solved(fit):
    """The same fit with its system solved."""
    from dataclasses import replace

    return replace(fit, solution=system_of(fit).solve())
