"""Kernel efficiencies: the floor and the two efficiencies of each kernel family, from tables.

For every kernel family and precision path the model of `hwmodels.roofline`,

    t = t0 n + ((F / (e_c P))^4 + (B / (e_m W))^4)^(1/4),

is fitted to measured kernel times: ``t0`` per launch, ``e_c`` and ``e_m`` as shares of the dense
peak ``P`` and of the memory bandwidth ``W``. One set of values per chip generation, so that a
chip which nobody has measured inherits its generation's; how well that works is measured by
leaving each SKU out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.kernels.robust import soft_l1_fit
from hwmodels.roofline import peak_flops_per_s, roofline_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

    from hwmodels.sku import Sku

MAX_ROWS_PER_GROUP = 1500
"""Rows of one SKU and engine that enter a fit; more only repeat the same surface."""

_BOUNDS = {"t0_s": (1e-8, 1e-3), "e_c": (0.005, 1.0), "e_m": (0.01, 1.0)}
SOFT_L1_SCALE = 0.1
"""Logarithmic residual beyond which the loss grows linearly. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelParameters:
    """Floor per launch [s] and the shares of peak rate and memory bandwidth reached [-]."""

    t0_s: float
    e_c: float
    e_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyFit:
    """One kernel family and path on one generation (or all of them, ``generic``).

    Parameters
    ----------
    parameters:
        The fit to all SKUs of the generation.
    without:
        The fit with one SKU left out, by SKU.
    spread:
        Lowest and highest value of the fits to a single engine on a single SKU, by parameter.
    in_sample_error:
        Median of ``|predicted / measured - 1|``. [-]
    cross_sku_error:
        The same for each SKU predicted from the others of the generation (median over SKUs);
        ``None`` with one SKU. [-]
    cross_generation_error:
        The same, predicted from the fit to all other generations. [-]
    rows, skus:
        Measured rows behind it and the SKUs that they come from.
    """

    parameters: KernelParameters
    without: dict[str, KernelParameters]
    spread: dict[str, tuple[float, float]]
    in_sample_error: float
    cross_sku_error: float | None
    cross_generation_error: float | None
    rows: int
    skus: tuple[str, ...]


def kernel_samples(
    frame: pd.DataFrame, *, skus: Mapping[str, Sku], precision: str, seed: int = 0
) -> pd.DataFrame:
    """Rows of one family and path in the units of the fit.

    Parameters
    ----------
    frame:
        ``sku, flops, hbm_bytes, kernels, time_s`` and optionally ``engine`` and ``fixed_s``,
        the part of the time that other families account for.
    skus:
        Peak rates and bandwidths by SKU.
    precision:
        Arithmetic path, as in `hwmodels.roofline.peak_flops_per_s`.

    Returns
    -------
    ``sku, engine, flop_peak_s`` (time at peak rate), ``byte_peak_s`` (time at full bandwidth),
    ``kernels, fixed_s, time_s, weight``. Rows are thinned to `MAX_ROWS_PER_GROUP` per SKU and
    engine, and weighted so that each SKU counts the same and, within it, each engine.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    engines = frame["engine"] if "engine" in frame else pd.Series("", index=frame.index)
    parts = []
    for (sku, engine), rows in frame.groupby([frame["sku"], engines]):
        kept = rows
        if len(rows) > MAX_ROWS_PER_GROUP:
            kept = rows.iloc[np.sort(rng.choice(len(rows), MAX_ROWS_PER_GROUP, replace=False))]
        chip = skus[str(sku)]
        parts.append(
            pd.DataFrame(
                {
                    "sku": sku,
                    "engine": engine,
                    "flop_peak_s": kept["flops"] / peak_flops_per_s(sku=chip, precision=precision),
                    "byte_peak_s": kept["hbm_bytes"] / chip.hbm_bytes_per_s,
                    "kernels": kept["kernels"],
                    "fixed_s": kept.get("fixed_s", 0.0),
                    "time_s": kept["time_s"],
                    "weight": 1.0 / len(kept),
                }
            )
        )
    samples = pd.concat(parts, ignore_index=True)
    per_sku = samples.groupby("sku")["weight"].transform("sum")
    samples["weight"] *= len(samples) / per_sku / samples["sku"].nunique()
    return samples


def predict_s(parameters: KernelParameters, samples: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Time of each row of `kernel_samples`. [s]"""
    work_s = roofline_s(
        flops=samples["flop_peak_s"].to_numpy(float),
        hbm_bytes=samples["byte_peak_s"].to_numpy(float),
        peak_flops_per_s=1.0,
        hbm_bytes_per_s=1.0,
        compute_efficiency=parameters.e_c,
        memory_efficiency=parameters.e_m,
    )
    floor_s = parameters.t0_s * samples["kernels"].to_numpy(float)
    return np.asarray(samples["fixed_s"].to_numpy(float) + floor_s + work_s)


def median_error(parameters: KernelParameters, samples: pd.DataFrame) -> float:
    """Weighted median of ``|predicted / measured - 1|``. [-]"""
    error = np.abs(predict_s(parameters, samples) / samples["time_s"].to_numpy(float) - 1.0)
    order = np.argsort(error)
    weight = np.cumsum(samples["weight"].to_numpy(float)[order])
    return float(error[order][np.searchsorted(weight, 0.5 * weight[-1])])


def fit_kernel(
    samples: pd.DataFrame, *, fixed: Mapping[str, float] | None = None
) -> KernelParameters:
    """Robust fit of the three parameters to logarithmic residuals.

    Soft-L1 loss beyond 10 %; bounds ``0 < e <= 1`` and a positive floor.

    Parameters
    ----------
    samples:
        From `kernel_samples`.
    fixed:
        Parameters that the rows say nothing about, by name, held at a given value.
    """
    measured = np.log(samples["time_s"].to_numpy(float))
    root_weight = np.sqrt(samples["weight"].to_numpy(float))

    held = dict(fixed or {})
    floor_s = float((samples["time_s"] / samples["kernels"]).min())
    starts = {"t0_s": 0.7 * floor_s, "e_c": 0.5, "e_m": 0.5}
    free = [name for name in _BOUNDS if name not in held]
    lower, upper = (np.array([_BOUNDS[name][side] for name in free]) for side in (0, 1))
    start = np.clip([starts[name] for name in free], 1.01 * lower, upper / 1.01)

    def parameters(x: npt.NDArray[np.float64]) -> KernelParameters:
        return KernelParameters(**held, **dict(zip(free, np.exp(x).tolist(), strict=True)))

    def residuals(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(root_weight * (np.log(predict_s(parameters(x), samples)) - measured))

    found = soft_l1_fit(
        residuals,
        np.log(start),
        bounds=(np.log(lower), np.log(upper)),
        scale=SOFT_L1_SCALE,
    )
    return parameters(found)


def fit_family(
    samples: pd.DataFrame,
    *,
    generation_of: Mapping[str, str],
    fixed: Mapping[str, float] | None = None,
) -> dict[str, FamilyFit]:
    """Fits per generation and ``generic`` (all rows), with errors across SKUs and generations.

    Parameters
    ----------
    samples:
        From `kernel_samples`.
    generation_of:
        Chip generation of each SKU.
    fixed:
        As for `fit_kernel`.
    """
    generation = samples["sku"].map(dict(generation_of))
    fits: dict[str, FamilyFit] = {}
    for name in [*sorted(generation.unique()), "generic"]:
        own = samples if name == "generic" else samples[generation == name]
        others = samples[generation != name]
        skus = tuple(sorted(own["sku"].unique()))
        parameters = fit_kernel(own, fixed=fixed)
        single = [fit_kernel(rows, fixed=fixed) for _, rows in own.groupby(["sku", "engine"])]
        without = {
            sku: fit_kernel(own[own["sku"] != sku], fixed=fixed) for sku in skus if len(skus) > 1
        }
        cross = [median_error(p, own[own["sku"] == sku]) for sku, p in without.items()]
        fits[name] = FamilyFit(
            parameters=parameters,
            without=without,
            spread={
                field: (
                    min(getattr(p, field) for p in single),
                    max(getattr(p, field) for p in single),
                )
                for field in ("t0_s", "e_c", "e_m")
            },
            in_sample_error=median_error(parameters, own),
            cross_sku_error=float(np.median(cross)) if cross else None,
            cross_generation_error=median_error(fit_kernel(others, fixed=fixed), own)
            if name != "generic" and len(others)
            else None,
            rows=len(own),
            skus=skus,
        )
    return fits
