"""Latency and bandwidth efficiency of collectives, from measured tables.

``t = latency + bytes / (efficiency x link rate)`` as in `hwmodels.collectives`, fitted per kind
of collective and chip generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.kernels.fit import SOFT_L1_SCALE
from calibration.kernels.robust import soft_l1_fit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

    from hwmodels.sku import Sku


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkParameters:
    """Latency [s] and share of the link rate [-] of one kind of collective."""

    latency_s: float
    efficiency: float


def fit_link(
    *,
    peak_s: npt.NDArray[np.float64],
    time_s: npt.NDArray[np.float64],
    max_efficiency: float = 1.0,
) -> LinkParameters:
    """Robust fit of ``t = latency + peak_s / efficiency`` to logarithmic residuals.

    Parameters
    ----------
    peak_s:
        Bytes on the busiest link over its rate. [s]
    time_s:
        Measured. [s]
    max_efficiency:
        1, or 2 for an all-reduce that the switch performs: it halves the bytes on the links.
    """
    measured = np.log(time_s)

    def residuals(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        latency_s, efficiency = np.exp(x)
        return np.asarray(np.log(latency_s + peak_s / efficiency) - measured)

    found = soft_l1_fit(
        residuals,
        np.log([max(0.7 * float(time_s.min()), 2e-8), 0.5]),
        bounds=(np.log([1e-8, 0.005]), np.log([1e-2, max_efficiency])),
        scale=SOFT_L1_SCALE,
    )
    latency_s, efficiency = np.exp(found)
    return LinkParameters(latency_s=float(latency_s), efficiency=float(efficiency))


def link_error(
    parameters: LinkParameters,
    *,
    peak_s: npt.NDArray[np.float64],
    time_s: npt.NDArray[np.float64],
) -> float:
    """Median of ``|predicted / measured - 1|``. [-]"""
    predicted = parameters.latency_s + peak_s / parameters.efficiency
    return float(np.median(np.abs(predicted / time_s - 1.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFit:
    """One kind of collective on one generation (or all of them, ``generic``).

    ``in_sample_error`` and ``cross_sku_error`` (each SKU predicted from the others of its
    generation, median over SKUs; ``None`` with one SKU) are medians of
    ``|predicted / measured - 1|``; ``without`` holds the fit that leaves a SKU out.
    """

    parameters: LinkParameters
    without: dict[str, LinkParameters]
    in_sample_error: float
    cross_sku_error: float | None
    rows: int
    skus: tuple[str, ...]


def _fit(frame: pd.DataFrame, *, max_efficiency: float) -> LinkParameters:
    return fit_link(
        peak_s=frame["peak_s"].to_numpy(float),
        time_s=frame["time_s"].to_numpy(float),
        max_efficiency=max_efficiency,
    )


def _error(parameters: LinkParameters, frame: pd.DataFrame) -> float:
    return link_error(
        parameters,
        peak_s=frame["peak_s"].to_numpy(float),
        time_s=frame["time_s"].to_numpy(float),
    )


def fit_links(
    frame: pd.DataFrame, *, generation_of: Mapping[str, str], max_efficiency: float = 1.0
) -> dict[str, LinkFit]:
    """Fits per generation and ``generic`` (all rows).

    Parameters
    ----------
    frame:
        ``sku, peak_s, time_s``.
    generation_of:
        Chip generation of each SKU.
    """
    generation = frame["sku"].map(dict(generation_of))
    fits: dict[str, LinkFit] = {}
    for name in [*sorted(generation.unique()), "generic"]:
        own = frame if name == "generic" else frame[generation == name]
        skus = tuple(sorted(own["sku"].unique()))
        parameters = _fit(own, max_efficiency=max_efficiency)
        without = {
            sku: _fit(own[own["sku"] != sku], max_efficiency=max_efficiency)
            for sku in skus
            if len(skus) > 1
        }
        cross = [_error(p, own[own["sku"] == sku]) for sku, p in without.items()]
        fits[name] = LinkFit(
            parameters=parameters,
            without=without,
            in_sample_error=_error(parameters, own),
            cross_sku_error=float(np.median(cross)) if cross else None,
            rows=len(own),
            skus=skus,
        )
    return fits


def collective_samples(frame: pd.DataFrame, *, skus: Mapping[str, Sku]) -> pd.DataFrame:
    """Rows with ``wire_bytes`` in the units of the fit: ``peak_s``, time at the full link rate.

    Of several kernels for one shape the fastest counts, as an engine chooses.
    """
    shape = [c for c in frame.columns if c not in ("kernel", "time_s", "value_bytes")]
    best = frame.groupby(shape)["time_s"].min().reset_index()
    rate = best["sku"].map({key: sku.scaleup_bytes_per_s for key, sku in skus.items()})
    return best.assign(peak_s=best["wire_bytes"] / rate)


def network_samples(frame: pd.DataFrame, *, skus: Mapping[str, Sku]) -> pd.DataFrame:
    """Exchanges across nodes: ``peak_s`` of the bytes on the network, at its full rate."""
    across = frame[frame["nodes"] > 1]
    rate = across["sku"].map({key: sku.scaleout_bytes_per_s for key, sku in skus.items()})
    return across.assign(peak_s=across["network_bytes"] / rate)
