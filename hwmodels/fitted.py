"""Software parameters that were fitted to measured runs, and what they say of unseen SKUs.

A fit gives each parameter as a sum of logarithms: what all runs share, and what the model's
architecture, the model, the vendor, the engine, its port to a vendor's chips, its kernels on a chip
generation, those for the architecture, the SKU, the engine on the SKU and the date add. A SKU,
engine or model without runs gets the addends that it shares with related ones. The file
``software/fitted.yaml`` is written by ``simulate calibrate fit``.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hwmodels.calibration_files import read_fitted
from hwmodels.sku import load_sku
from workloads.datafiles import is_file
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hwmodels.sku import Sku

FITTED_FILE = "fitted.yaml"
MEDIAN_LEVEL_DATE = "median-2026-07"
MEDIAN_DATE = dt.date(2026, 7, 19)
FEW_RUNS = 8
"""Runs of a level below which a prediction says how few they are."""

Basis = Literal["own runs", "sibling", "other kernels", "nothing"]
"""What a level rests on: runs of the engine on the SKU, on another SKU of its generation, on
other generations or engines, or no run at all."""

EFFECTS = (
    *("all", "family", "model", "vendor", "engine", "port", "kernels", "family_kernels"),
    *("precision_kernels", "sku", "engine_sku", "level"),
)
"""Addends of a log parameter, from what all levels share to a single one."""


def effect_groups(
    *,
    family: str,
    model: str,
    engine: str,
    sku: str,
    vendor: str,
    generation: str,
    precision: str,
    level_date: str,
) -> dict[str, str]:
    """The group of each of `EFFECTS` that a software level belongs to.

    A port is an engine on the chips of a vendor, whose kernels are written apart from those for
    others. Generations that share kernels count as one: ``blackwell_ultra`` is ``blackwell``.
    ``family`` is the architecture that kernels are written for, such as ``deepseek_v3`` (R1, V3.2);
    its kernels for one ``precision`` are others than those for the next.
    """
    kernels = f"{engine}/{generation.split('_')[0]}"
    return dict(
        zip(
            EFFECTS,
            (
                "",
                family,
                model,
                vendor,
                engine,
                f"{engine}/{vendor}",
                kernels,
                f"{family}/{kernels}",
                f"{family}/{kernels}/{precision}",
                sku,
                f"{engine}/{sku}",
                f"{family}/{engine}/{sku}/{level_date}",
            ),
            strict=True,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedLevel:
    """Fitted factors of one software level.

    Parameters
    ----------
    factors:
        Factor on each parameter's unfitted value. [-]
    level_date:
        Date or pseudo-date of the runs; empty without runs of its own.
    basis:
        What it rests on.
    runs:
        Measured runs of the level.
    source:
        Data and fit.
    message:
        What was assumed.
    """

    factors: dict[str, float]
    level_date: str
    basis: Basis
    runs: int
    source: str
    message: str = ""


@lru_cache(maxsize=8)
def _read(directory: Path | None) -> dict[str, Any]:
    folder = directory or Path(str(resources.files("hwmodels") / "software"))
    path = folder / FITTED_FILE
    if directory is not None:
        check_calibration(directory)
    if not path.exists():
        return {"fits": []}
    return read_fitted(path, effects=EFFECTS, groups=effect_groups, is_shipped=directory is None)


def read_fits(directory: Path | None = None) -> list[dict[str, Any]]:
    """The fits of the shipped ``fitted.yaml``, or of that in a directory."""
    fits: list[dict[str, Any]] = _read(directory)["fits"]
    return fits


def check_calibration(directory: Path) -> None:
    """Make sure that a directory holds a fit.

    Raises
    ------
    UserError
        If it does not.
    """
    if not is_file(directory / FITTED_FILE):
        raise UserError(
            f"calibration {directory} holds no {FITTED_FILE}; "
            f"write one with simulate calibrate fit --out {directory}"
        )


def fit_of(model: str, directory: Path | None = None) -> dict[str, Any] | None:
    """The fit for a model, else one that knows its family, else the first one."""
    fits = read_fits(directory)
    own = [fit for fit in fits if model in fit["models"]]
    related = [fit for fit in fits if model in fit["families"]]
    return next(iter([*own, *related, *fits]), None)


def model_family(model: str, *, directory: Path | None = None) -> str:
    """Architecture that a model's kernels are written for, such as ``deepseek_v4``; else empty."""
    fit = fit_of(model, directory)
    return "" if fit is None else str(fit["families"].get(model, ""))


def is_fitted(model: str, *, directory: Path | None = None) -> bool:
    """Whether runs of a model or of its architecture's relatives are in a fit."""
    return any(
        name.startswith(f"{fit['families'].get(model)}/")
        for fit in read_fits(directory)
        for name in fit["runs"]
    )


def fitted_level_dates(
    *, engine: str, sku: str, model: str, directory: Path | None = None
) -> dict[str, int]:
    """Dates and pseudo-dates of an engine's fitted levels on a SKU, with their runs.

    The runs are those of all models of the model's family.
    """
    dates = _fitted_level_dates if directory is None else _fitted_level_dates.__wrapped__
    return dict(dates(engine, sku, model, directory))


@lru_cache(maxsize=256)  # shipped files do not change while a process runs
def _fitted_level_dates(
    engine: str, sku: str, model: str, directory: Path | None
) -> dict[str, int]:
    fit = fit_of(model, directory)
    if fit is None:
        return {}
    prefix = f"{fit['families'].get(model, '')}/{engine}/{sku}/"
    return {
        name.removeprefix(prefix): int(count)
        for name, count in sorted(fit["runs"].items())
        if name.startswith(prefix)
    }


def fitted_level(
    *,
    engine: str,
    sku: Sku,
    model: str,
    precision: str,
    date: dt.date | None,
    median: bool,
    directory: Path | None = None,
) -> FittedLevel | None:
    """What a fit says of an engine on a SKU at a date; ``None`` if there is no fit at all.

    Parameters
    ----------
    model:
        Canonical name; a model that no fit covers gets the factors of the first one.
    precision:
        Label of the run, such as ``fp4``; one that no run has adds nothing.
    date, median:
        As `hwmodels.software.load_software`.

    Raises
    ------
    UserError
        If a directory is given that holds no fit.
    """
    fit = fit_of(model, directory)
    if fit is None:
        return None
    level_dates = fitted_level_dates(engine=engine, sku=sku.key, model=model, directory=directory)
    level_date, message = choose_level_date(list(level_dates), date=date, median=median)
    groups = effect_groups(
        family=fit["families"].get(model, ""),
        model=model,
        engine=engine,
        sku=sku.key,
        vendor=sku.vendor,
        generation=kernel_generation(fit, sku),
        precision=precision,
        level_date=level_date,
    )
    runs = level_dates.get(level_date, 0)
    if 0 < runs < FEW_RUNS:
        counted = f"{runs} measured run{'' if runs == 1 else 's'} on {sku.key}"
        few = f"level {engine}@{level_date} rests on {counted} and on what related runs share"
        message = "; ".join(filter(None, (message, few)))
    basis: Basis = "own runs"
    if not level_dates:
        basis, message = _transfer_basis(fit, groups=groups, engine=engine, model=model, sku=sku)
    elif model not in fit["models"]:
        basis = "sibling"
        near = [name for name in fit["models"] if fit["families"][name] == groups["family"]]
        message = "; ".join(filter(None, (f"efficiencies fitted on {', '.join(near)}", message)))
    return FittedLevel(
        factors=_factors(fit, groups),
        level_date=level_date,
        basis=basis,
        runs=runs,
        source=str(fit["source"]),
        message=message,
    )


def shipped_factors(*, model: str, groups: dict[str, str]) -> dict[str, float]:
    """What the shipped fit says of a level that these groups of `EFFECTS` make; empty without one.

    Groups that the fit does not know add nothing.
    """
    fit = fit_of(model, None)
    return {} if fit is None else _factors(fit, groups)


def fitted_factor(fit: dict[str, Any], *, parameter: str, groups: Mapping[str, str]) -> float:
    """Factor of a fit on one parameter for a level that these groups make. [-]"""
    return _factors(fit, dict(groups)).get(parameter, 1.0)


def _factors(fit: dict[str, Any], groups: dict[str, str]) -> dict[str, float]:
    """Factor on each parameter, within its bounds. [-]"""
    factors: dict[str, float] = {}
    for parameter, effects in fit["effects"].items():
        low, high = fit["bounds"][parameter]
        total = sum(effects.get(effect, {}).get(group, 0.0) for effect, group in groups.items())
        factors[parameter] = exp(min(max(total, low), high))
    return factors


def kernel_generation(fit: dict[str, Any], sku: Sku) -> str:
    """The SKU's generation, or that of its nearest related SKU where no chip of its own has runs.

    Engines start a new generation from the kernels of the one before.
    """
    known = set(fit["generations"].values())
    if sku.generation.split("_")[0] in known:
        return sku.generation
    related = (load_sku(name).generation.split("_")[0] for name in sku.related_skus)
    return next((generation for generation in related if generation in known), sku.generation)


def _transfer_basis(
    fit: dict[str, Any], *, groups: dict[str, str], engine: str, model: str, sku: Sku
) -> tuple[Basis, str]:
    """What a level without runs of its own rests on, and what that means."""
    generation = groups["kernels"].split("/")[1]
    own: set[str] = set()
    other: set[str] = set()
    for name in fit["runs"]:
        family, runner, chip, _ = name.split("/")
        if runner == engine and fit["generations"][chip] == generation:
            (own if family == groups["family"] else other).add(chip)
    if own and generation == sku.generation.split("_")[0]:
        return "sibling", f"{engine} efficiencies transferred from {', '.join(sorted(own))}"
    if own:
        return "other kernels", (
            f"no run on this chip generation: {engine} efficiencies of {', '.join(sorted(own))}"
        )
    if other:
        return "other kernels", (
            f"no run of {model} or a related model with {engine} on this chip generation: "
            f"efficiencies of other models on {', '.join(sorted(other))}"
        )
    return "other kernels", f"no run of {engine} on this chip generation: efficiencies of others"


def choose_level_date(
    level_dates: list[str], *, date: dt.date | None, median: bool
) -> tuple[str, str]:
    """The level date in force and what had to be assumed; empty if there is none.

    Without a date the newest dated one, which somebody runs; at a date the last dated one not
    after it. The undated median mixes the builds before its last day and answers only where it
    is asked for or nothing dated exists.
    """
    if not level_dates:
        return "", ""
    if median and MEDIAN_LEVEL_DATE in level_dates:
        return MEDIAN_LEVEL_DATE, ""
    dated = sorted(
        (_last_day(level_date), level_date)
        for level_date in level_dates
        if level_date != MEDIAN_LEVEL_DATE
    )
    if not dated:
        if median:
            return MEDIAN_LEVEL_DATE, ""
        return MEDIAN_LEVEL_DATE, f"no dated run: undated median of runs to {MEDIAN_DATE} stands in"
    if date is None and not median:
        return dated[-1][1], ""
    wanted = date or MEDIAN_DATE
    before = [level_date for day, level_date in dated if day <= wanted]
    if before:
        return before[-1], ""
    return dated[0][1], f"no level before {wanted}; the first one stands in"


def newest_level_date(level_dates: Iterable[str]) -> str:
    """The level date whose runs reach furthest; undated medians count as of their last day."""
    return max(
        sorted(level_dates),
        key=lambda level_date: (
            MEDIAN_DATE if level_date == MEDIAN_LEVEL_DATE else _last_day(level_date)
        ),
    )


def _last_day(level_date: str) -> dt.date:
    if len(level_date) == 7:
        first = dt.date.fromisoformat(f"{level_date}-01")
        return (first.replace(day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(1)
    return dt.date.fromisoformat(level_date)
