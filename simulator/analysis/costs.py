"""Dollars, power and energy of tokens, as columns beside throughput."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodels.economics import (
    blended_costs,
    joules_per_token,
    load_economics,
    tokens_per_s_per_mw,
    usd_per_million_tokens,
)
from hwmodels.sku import load_sku

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from hwmodels.economics import SkuEconomics, Tier

COST_COLUMNS = (
    "usd_per_million_tokens",
    "usd_per_million_input_tokens",
    "usd_per_million_output_tokens",
    "tokens_per_s_per_mw",
    "tokens_per_s_per_utility_mw",
    "joules_per_token",
)


def costs_of(sku: str, *, economics: str) -> SkuEconomics:
    """Cost and power of a SKU, by name or file, in a dated file."""
    return load_economics(economics).for_sku(load_sku(sku).key)


def costs_of_run(run: Mapping[Any, Any], *, economics: str) -> SkuEconomics:
    """Cost and power of the mean chip of a run: of pools on two chips over both.

    Parameters
    ----------
    run:
        ``sku``, ``prefill_sku`` where it has one, ``prefill_gpus`` and ``decode_gpus``.
    """
    decode = costs_of(run["sku"], economics=economics)
    first = run.get("prefill_sku")
    if not isinstance(first, str) or not first:
        return decode
    prefill = costs_of(first, economics=economics)
    return blended_costs([(prefill, run["prefill_gpus"]), (decode, run["decode_gpus"])])


def cost_figures(
    rates: Mapping[str, Any], *, costs: SkuEconomics, tier: Tier = "hyperscaler"
) -> dict[str, Any]:
    """`COST_COLUMNS` of runs of one SKU, without those on which its file is silent.

    Parameters
    ----------
    rates:
        ``total_tput_per_gpu``, ``input_tput_per_gpu`` and ``output_tput_per_gpu``, each a number
        above 0 or an array. [tok/s]
    """
    found: dict[str, Any] = {}
    total = rates["total_tput_per_gpu"]
    price, kw = costs.usd_per_gpu_hour(tier), costs.inferencex_kw
    if price is not None:
        for name, rate in (
            ("usd_per_million_tokens", total),
            ("usd_per_million_input_tokens", rates["input_tput_per_gpu"]),
            ("usd_per_million_output_tokens", rates["output_tput_per_gpu"]),
        ):
            found[name] = usd_per_million_tokens(usd_per_gpu_hour=price, tokens_per_s_per_gpu=rate)
    for name, power in (
        ("tokens_per_s_per_mw", kw),
        ("tokens_per_s_per_utility_mw", costs.utility_kw),
    ):
        if power is not None:
            found[name] = tokens_per_s_per_mw(tokens_per_s_per_gpu=total, kw_per_gpu=power)
    if kw is not None:
        found["joules_per_token"] = joules_per_token(tokens_per_s_per_gpu=total, kw_per_gpu=kw)
    return found


def point_costs(
    cells: Mapping[str, Any], *, costs: SkuEconomics, tier: Tier = "hyperscaler"
) -> dict[str, float | str | None]:
    """`with_costs` of one run: its cost columns, ``None`` where the file is silent."""
    found: dict[str, float | str | None] = {"economics": costs.economics}
    found |= dict.fromkeys(COST_COLUMNS)
    if cells["total_tput_per_gpu"] > 0:
        figures = cost_figures(cells, costs=costs, tier=tier)
        found |= {name: float(value) for name, value in figures.items()}
    return found


def with_costs(frame: pd.DataFrame, *, economics: str, tier: Tier = "hyperscaler") -> pd.DataFrame:
    """A table of runs with `COST_COLUMNS` and the name of the dated file they follow from.

    Of pools on two chips, price and power are those of both (`costs_of_run`).

    Dollars are over all GPUs of the deployment at the tier's price, power is the constant that
    InferenceX divided by at that date; where the file is silent a figure is missing.
    """
    found = frame.assign(economics=load_economics(economics).name)
    for name in COST_COLUMNS:
        found[name] = np.nan
    for costs, own in _by_costs(frame, economics=economics):
        rows = own & (frame["total_tput_per_gpu"] > 0)
        rates = {
            name: frame.loc[rows, name].to_numpy()
            for name in ("total_tput_per_gpu", "input_tput_per_gpu", "output_tput_per_gpu")
        }
        for name, values in cost_figures(rates, costs=costs, tier=tier).items():
            found.loc[rows, name] = values
    return found


_MIX = ["sku", "prefill_sku", "prefill_gpus", "decode_gpus"]


def _by_costs(frame: pd.DataFrame, *, economics: str) -> Iterator[tuple[SkuEconomics, pd.Series]]:
    """Cost and power with the runs that they are of."""
    pairs = frame["prefill_sku"] if "prefill_sku" in frame else frame["sku"].map(lambda _: "")
    mixed = pairs.fillna("") != ""
    for sku in frame.loc[~mixed, "sku"].unique():
        yield costs_of(sku, economics=economics), (frame["sku"] == sku) & ~mixed
    for run in frame.loc[mixed, _MIX].drop_duplicates().to_dict("records") if mixed.any() else ():
        same = mixed.copy()
        for name, value in run.items():
            same &= frame[name] == value
        yield costs_of_run(run, economics=economics), same
