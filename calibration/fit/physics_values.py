"""Fitted parameters as physics knows them: efficiencies, times of launches, shares."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from math import exp, log
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from calibration.fit.effects import FITTED, EffectSpace, LevelKey
from calibration.fit.posterior import read_posterior
from hwmodels.engine_files import engine_defaults, kernel_table
from hwmodels.fitted import EFFECTS, fit_of, fitted_factor
from hwmodels.sku import load_sku
from workloads.architectures.catalog import load_architecture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calibration.fit.posterior import Posterior


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A physical quantity behind a fitted parameter.

    Parameters
    ----------
    parameter:
        Of `hwmodels.software.PARAMETERS`.
    label, unit:
        What it is.
    low, high:
        Outside which a value is a finding, not a fit.
    at_factor_one:
        The value that nothing fitted has, by chip generation and engine.
    """

    parameter: str
    label: str
    unit: str
    low: float
    high: float
    at_factor_one: Callable[[str, str], float]


def _one(generation: str, engine: str) -> float:
    return 1.0


def _launch_us(generation: str, engine: str) -> float:
    figure = engine_defaults(engine)["eager_launch_s"]
    return 1e6 * float(figure["value"])


def _floor_us(generation: str, engine: str) -> float:
    return 1e6 * _best("gemm", "t0_s")(generation, engine)


def _best(family: str, name: str) -> Callable[[str, str], float]:
    """A figure of a kernel family's best path on a generation."""

    @cache
    def value(generation: str, engine: str) -> float:
        paths = kernel_table()["families"][family]
        figures = [
            float(of.get(generation, of.get("generic", {})).get(name, {}).get("value", "nan"))
            for of in paths.values()
        ]
        chosen = np.nanmin(figures) if name == "t0_s" else np.nanmax(figures)
        return float(chosen)

    return value


QUANTITIES = (
    Quantity(
        parameter="t0_scale",
        label="kernel floor",
        unit="us",
        low=0.3,
        high=20.0,
        at_factor_one=_floor_us,
    ),
    Quantity(
        parameter="compute_scale",
        label="dense GEMM efficiency",
        unit="-",
        low=0.3,
        high=1.0,
        at_factor_one=_best("gemm", "e_c"),
    ),
    Quantity(
        parameter="grouped_compute_scale",
        label="grouped GEMM efficiency",
        unit="-",
        low=0.3,
        high=1.0,
        at_factor_one=_best("grouped_gemm", "e_c"),
    ),
    Quantity(
        parameter="attention_scale",
        label="attention over its table",
        unit="-",
        low=0.3,
        high=2.0,
        at_factor_one=_one,
    ),
    Quantity(
        parameter="memory_scale",
        label="weight-streaming efficiency",
        unit="-",
        low=0.3,
        high=1.0,
        at_factor_one=_best("gemm", "e_m"),
    ),
    Quantity(
        parameter="expert_traffic_scale",
        label="experts read over uniform",
        unit="-",
        low=0.3,
        high=1.05,
        at_factor_one=_one,
    ),
    Quantity(
        parameter="eager_launch_s",
        label="launch outside a graph",
        unit="us",
        low=2.0,
        high=400.0,
        at_factor_one=_launch_us,
    ),
    Quantity(
        parameter="acceptance_scale",
        label="accepted drafts over source",
        unit="-",
        low=0.3,
        high=1.5,
        at_factor_one=_one,
    ),
)
"""Floors and efficiencies of the best path of the kernel table, scaled; efficiencies are clipped to
1 where they are used."""


_OF_EXPERTS = ("grouped_compute_scale", "expert_traffic_scale")


def physics_table(runs: pd.DataFrame, *, directory: Path | None = None) -> pd.DataFrame:
    """Every fitted quantity of the levels that runs belong to.

    Parameters
    ----------
    runs:
        From `calibration.fit.residuals.read_residuals`.
    directory:
        The calibration; ``None``: the shipped one.

    Returns
    -------
    One row a level and quantity: ``level``, ``model``, ``precision``, ``runs``, ``parameter``,
    ``label``, ``unit``, ``value``, ``prior`` (nothing fitted), ``prior_sd`` and ``sd`` (of the
    logarithm, at most: what single levels' runs say of their own addend is left aside), and
    ``finding``: why the value is not physical, or empty.
    """
    posterior = read_posterior(directory)
    rows: list[dict[str, Any]] = []
    for name, group in runs.groupby("level", sort=True):
        pairs = Counter(
            zip(group["model"].astype(str), group["precision"].astype(str), strict=True)
        )
        model, precision = pairs.most_common(1)[0][0]
        family, engine, sku, level_date = str(name).split("/")
        fit = fit_of(model, directory)
        if fit is None or name not in fit["runs"]:
            continue
        chip = load_sku(sku)
        level = LevelKey(
            family=family,
            model=model,
            engine=engine,
            sku=sku,
            level_date=level_date,
            vendor=chip.vendor,
            generation=chip.generation,
            precision=precision,
        )
        groups = dict(zip(EFFECTS, level.groups, strict=True))
        widths = _widths(level, posterior)
        for quantity in QUANTITIES:
            if quantity.parameter in _OF_EXPERTS and not load_architecture(model).routed_experts:
                continue
            factor = fitted_factor(fit, parameter=quantity.parameter, groups=groups)
            one = quantity.at_factor_one(chip.generation, engine)
            if quantity.parameter == "grouped_compute_scale":
                factor *= fitted_factor(fit, parameter="compute_scale", groups=groups)
            value = factor * one
            rows.append(
                {
                    "level": name,
                    "model": model,
                    "precision": precision,
                    "runs": len(group),
                    "parameter": quantity.parameter,
                    "label": quantity.label,
                    "unit": quantity.unit,
                    "value": value,
                    "prior": one,
                    "prior_sd": widths[quantity.parameter][0],
                    "sd": widths[quantity.parameter][1],
                    "finding": _finding(quantity, value),
                }
            )
    return pd.DataFrame(rows)


def _finding(quantity: Quantity, value: float) -> str:
    if quantity.low <= value <= quantity.high:
        return ""
    limit = quantity.low if value < quantity.low else quantity.high
    side = "below" if value < quantity.low else "above"
    unit = "" if quantity.unit == "-" else f" {quantity.unit}"
    return f"{value:.2f}{unit}, {side} {limit:g}{unit}"


def _widths(level: LevelKey, posterior: Posterior) -> dict[str, tuple[float, float]]:
    """Standard deviations of each parameter's logarithm, prior and posterior. [-]"""
    space = EffectSpace(levels=[level])
    covariance = posterior.prior(space)
    found = {}
    for parameter in FITTED:
        columns = space.indices(parameter=parameter, level=level)
        before = float(np.sqrt(np.sum(space.widths[columns] ** 2)))
        after = float(np.sqrt(max(covariance[np.ix_(columns, columns)].sum(), 0.0)))
        found[parameter.name] = (before, min(after, before))
    return found


def spread_text(value: float, sd: float) -> str:
    """A value with the ends of one standard deviation of its logarithm."""
    return f"{value:.2f} ({value * exp(-sd):.2f}-{exp(log(value) + sd):.2f})"
