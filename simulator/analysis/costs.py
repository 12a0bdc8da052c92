"""Dollars, power and energy of tokens, as columns beside throughput."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwmodels.economics import (
    joules_per_token,
    load_economics,
    tokens_per_s_per_mw,
    usd_per_million_tokens,
)
from hwmodels.sku import load_sku

if TYPE_CHECKING:
    import pandas as pd

    from hwmodels.economics import SkuEconomics, Tier
    from simulator.analysis.metrics import RunMetrics

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


def point_costs(
    metrics: RunMetrics, *, costs: SkuEconomics, tier: Tier = "hyperscaler"
) -> dict[str, float | str | None]:
    """`with_costs` of one run: its cost columns, ``None`` where the file is silent."""
    found: dict[str, float | str | None] = {"economics": costs.economics}
    found |= dict.fromkeys(COST_COLUMNS)
    total = metrics.total_tput_per_gpu
    if total <= 0:
        return found
    price, kw = costs.usd_per_gpu_hour(tier), costs.inferencex_kw
    if price is not None:
        for name, rate in (
            ("usd_per_million_tokens", total),
            ("usd_per_million_input_tokens", metrics.input_tput_per_gpu),
            ("usd_per_million_output_tokens", metrics.output_tput_per_gpu),
        ):
            found[name] = float(
                usd_per_million_tokens(usd_per_gpu_hour=price, tokens_per_s_per_gpu=rate)
            )
    for name, power in (
        ("tokens_per_s_per_mw", kw),
        ("tokens_per_s_per_utility_mw", costs.utility_kw),
    ):
        if power is not None:
            found[name] = float(tokens_per_s_per_mw(tokens_per_s_per_gpu=total, kw_per_gpu=power))
    if kw is not None:
        found["joules_per_token"] = float(
            joules_per_token(tokens_per_s_per_gpu=total, kw_per_gpu=kw)
        )
    return found


def with_costs(frame: pd.DataFrame, *, economics: str, tier: Tier = "hyperscaler") -> pd.DataFrame:
    """A table of runs with `COST_COLUMNS` and the name of the dated file they follow from.

    Dollars are over all GPUs of the deployment at the tier's price, power is the constant that
    InferenceX divided by at that date; where the file is silent a figure is missing.
    """
    found = frame.assign(economics=load_economics(economics).name)
    for name in COST_COLUMNS:
        found[name] = np.nan
    for sku in frame["sku"].unique():
        costs = costs_of(sku, economics=economics)
        rows = (frame["sku"] == sku) & (frame["total_tput_per_gpu"] > 0)
        rates = frame.loc[rows]
        price = costs.usd_per_gpu_hour(tier)
        if price is not None:
            for kind in ("total", "input", "output"):
                name = f"usd_per_million_{kind}_tokens".replace("_total_", "_")
                found.loc[rows, name] = usd_per_million_tokens(
                    usd_per_gpu_hour=price,
                    tokens_per_s_per_gpu=rates[f"{kind}_tput_per_gpu"].to_numpy(),
                )
        total = rates["total_tput_per_gpu"].to_numpy()
        for name, kw in (
            ("tokens_per_s_per_mw", costs.inferencex_kw),
            ("tokens_per_s_per_utility_mw", costs.utility_kw),
        ):
            if kw is not None:
                found.loc[rows, name] = tokens_per_s_per_mw(
                    tokens_per_s_per_gpu=total, kw_per_gpu=kw
                )
        if costs.inferencex_kw is not None:
            found.loc[rows, "joules_per_token"] = joules_per_token(
                tokens_per_s_per_gpu=total, kw_per_gpu=costs.inferencex_kw
            )
    return found
