"""One system's curve, and what it gives at a speed per user beside another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hwmodels.economics import joules_per_token, tokens_per_s_per_mw, usd_per_million_tokens
from simulator.analysis.costs import costs_of, costs_of_run
from simulator.analysis.pareto import Frontier, frontier_indices, under_a_line
from simulator.studies.compare.ratios import clamped, nearest_knot, ratio_interval
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from hwmodels.economics import SkuEconomics, Tier
    from simulator.studies.compare.request import ComparedSystem

Denominator = Literal["all", "pool"]
"""GPUs that a token's price is shared over: all of the deployment, or those of the pool that
makes it (input over prefill GPUs, output over decode GPUs), as InferenceX does."""

_RATES: dict[Denominator, dict[str, str]] = {
    "all": {
        "total": "total_tput_per_gpu",
        "input": "input_tput_per_gpu",
        "output": "output_tput_per_gpu",
    },
    "pool": {
        "total": "total_tput_per_gpu",
        "input": "input_tput_per_prefill_gpu",
        "output": "output_tput_per_decode_gpu",
    },
}


@dataclass(frozen=True, kw_only=True)
class Side:
    """One system's curve.

    Parameters
    ----------
    name:
        As in the table and the legend.
    runs:
        All runs of the system, as `simulator.studies.sweep.run.SweepResult.frame`.
    best:
        Those on the frontier of total throughput, the knots of its curve in order.
    curves:
        InferenceX's frontier of total, input and output throughput per GPU. [tok/s/user,
        tok/s/GPU]
    low, high:
        The total's curve with every knot at the low, and at the high end of its 90 % bands;
        ``None`` where predictions of the kind have not been compared with measurements.
    costs:
        Cost and power of its SKU; of pools on two chips of the mean chip of each knot.
    passed_over:
        Points of the frontier that the curve does not go through, see `side_of`.
    calibration:
        Directory of a user's own fit; ``None``: the shipped one.
    """

    name: str
    runs: pd.DataFrame
    best: pd.DataFrame
    curves: dict[str, Frontier]
    low: Frontier | None
    high: Frontier | None
    costs: tuple[SkuEconomics, ...]
    passed_over: int = 0
    calibration: Path | None = None

    def run_at(self, x: float) -> pd.Series:
        """The run whose knot of the curve is nearest to a speed per user."""
        return self.best.iloc[nearest_knot(self.curves["total"].x, x)]

    def costs_at(self, x: float) -> SkuEconomics:
        """Cost and power of a chip at a speed: of two kinds those of the nearest knot's mix."""
        return self.costs[nearest_knot(self.curves["total"].x, x) if len(self.costs) > 1 else 0]

    def band_at(self, x: float) -> tuple[float, float] | None:
        """90 % interval of total throughput per GPU at a speed per user. [tok/s/GPU]

        The low end is 0 where the low curve does not reach the speed. Below the slowest knot of
        a curve its throughput there is taken: a lower speed gives no less.
        """
        if self.low is None or self.high is None:
            return None
        return clamped(self.low, x), clamped(self.high, x)


def side_of(system: ComparedSystem, runs: pd.DataFrame, *, denominator: Denominator) -> Side:
    """The curve of a system's runs within the limits.

    Of the frontier's points those are passed over that lie under the line between two neighbouring
    loads of another deployment, see `simulator.analysis.pareto.under_a_line`.

    Raises
    ------
    UserError
        If no run is within them.
    """
    allowed = runs[runs["meets_limits"]]
    if allowed.empty:
        least = runs["p90_ttft_s"].min()
        raise UserError(
            f"no run of {system.name} is within the TTFT limit; its lowest p90 TTFT is "
            f"{least:.3g} s, so raise --ttft-p90"
        )
    passed = under_a_line(
        allowed["interactivity"],
        allowed["total_tput_per_gpu"],
        deployment=allowed.filter(["engine", "spec", "label"]).agg(tuple, axis=1).tolist(),
        clients=allowed["concurrency"],
    )
    before = frontier_indices(allowed["interactivity"], allowed["total_tput_per_gpu"])
    allowed = allowed[~passed]
    x = allowed["interactivity"].to_numpy(float)
    curves = {
        kind: Frontier.of(x, allowed[column].to_numpy(float))
        for kind, column in _RATES[denominator].items()
    }
    best = allowed.iloc[list(curves["total"].indices)]
    low, high = (
        Frontier.of(
            1.0 / best[f"median_tpot_s_{tpot}"].to_numpy(float),
            best[f"total_tput_per_gpu_{end}"].to_numpy(float),
        )
        for end, tpot in (("lo", "hi"), ("hi", "lo"))
    )
    known = bool(low.x.size and high.x.size)
    return Side(
        name=system.name,
        runs=runs,
        best=best,
        curves=curves,
        low=low if known else None,
        high=high if known else None,
        costs=_costs(system, best),
        passed_over=int(passed[before].sum()),
        calibration=system.settings.calibration,
    )


def _costs(system: ComparedSystem, best: pd.DataFrame) -> tuple[SkuEconomics, ...]:
    """Cost and power of a system's chip; where pools have two, of each knot's mean chip."""
    load = next(system.settings.loads())
    (economics,) = system.settings.values["economics"]
    if load.prefill_sku is None:
        return (costs_of(load.sku, economics=economics),)
    return tuple(costs_of_run(run, economics=economics) for run in best.to_dict("records"))


def common_speeds(sides: Sequence[Side], *, most: int = 5) -> tuple[float, ...]:
    """Round speeds per user within the reach of all; the middle of each if there are none.

    Two significant digits. [tok/s/user]
    """
    slowest = max(float(side.curves["total"].x[0]) for side in sides)
    fastest = min(float(side.curves["total"].x[-1]) for side in sides)
    if fastest > slowest:
        inner = np.linspace(slowest, fastest, most + 2)[1:-1]
        return tuple(dict.fromkeys(float(f"{x:.2g}") for x in inner))
    middles = [float(np.median(side.curves["total"].x)) for side in sides]
    return tuple(dict.fromkeys(float(f"{x:.2g}") for x in sorted(middles)))


def side_row(side: Side, reference: Side, *, x: float, tier: Tier) -> dict[str, Any]:
    """The cells of one system at one speed, or at its slowest run's where that is faster."""
    total = side.curves["total"].at_least(x)
    row: dict[str, Any] = {
        "interactivity": x,
        "system": side.name,
        "reachable": total is not None,
        "slowest": float(side.curves["total"].x[0]),
        "fastest": float(side.curves["total"].x[-1]),
    }
    rates = {kind: curve.at_least(x) for kind, curve in side.curves.items()}
    row |= {f"{kind}_tput_per_gpu": rate for kind, rate in rates.items()}
    band = side.band_at(x) if total is not None else None
    low, high = band or (None, None)
    row |= {"total_tput_per_gpu_lo": low, "total_tput_per_gpu_hi": high}
    costs = side.costs_at(x)
    price = costs.usd_per_gpu_hour(tier)
    for name, rate in (
        ("usd_per_million_tokens", rates["total"]),
        ("usd_per_million_tokens_lo", high),
        ("usd_per_million_tokens_hi", low),
        ("usd_per_million_input_tokens", rates["input"]),
        ("usd_per_million_output_tokens", rates["output"]),
    ):
        row[name] = (
            usd_per_million_tokens(usd_per_gpu_hour=price, tokens_per_s_per_gpu=rate)
            if price is not None and rate
            else None
        )
    for name, kw in (
        ("tokens_per_s_per_mw", costs.inferencex_kw),
        ("tokens_per_s_per_utility_mw", costs.utility_kw),
    ):
        row[name] = (
            tokens_per_s_per_mw(tokens_per_s_per_gpu=total, kw_per_gpu=kw) if total and kw else None
        )
    kw = costs.inferencex_kw
    row["joules_per_token"] = (
        joules_per_token(tokens_per_s_per_gpu=total, kw_per_gpu=kw) if total and kw else None
    )
    return row | _ratios(row, side=side, reference=reference, x=x, tier=tier) | _where(side, x)


_RATIO_COLUMNS = (
    *("ratio", "ratio_lo", "ratio_hi", "ratio_band"),
    *("apart", "usd_ratio", "mw_ratio"),
)


def _ratios(
    row: dict[str, Any], *, side: Side, reference: Side, x: float, tier: Tier
) -> dict[str, Any]:
    """Throughput, dollars and tokens per megawatt over the reference's."""
    mine, other = row["total_tput_per_gpu"], reference.curves["total"].at_least(x)
    if mine is None or other is None:
        return dict.fromkeys(_RATIO_COLUMNS)
    ratio = mine / other
    low, high, basis, apart = None, None, None, None
    if side is not reference and (band := ratio_interval(side, reference, x=x, ratio=ratio)):
        low, high, basis = band
        apart = not low <= 1.0 <= high
    costs = (side.costs_at(x), reference.costs_at(x))
    prices = [each.usd_per_gpu_hour(tier) for each in costs]
    powers = [each.inferencex_kw for each in costs]
    return {
        "ratio": ratio,
        "ratio_lo": low,
        "ratio_hi": high,
        "ratio_band": basis,
        "apart": apart,
        "usd_ratio": prices[0] / prices[1] / ratio if prices[0] and prices[1] else None,
        "mw_ratio": ratio * powers[1] / powers[0] if powers[0] and powers[1] else None,
    }


def _where(side: Side, x: float) -> dict[str, Any]:
    """Deployments of the knots on either side of a speed, and what binds at the nearer."""
    knots = side.curves["total"].x
    x = max(x, float(knots[0]))
    if x > knots[-1]:
        return {"between": "", "bottleneck": "", "kind": ""}
    right = int(np.searchsorted(knots, x))
    left = right if knots[right] == x else right - 1
    names = [
        f"{label} c{concurrency}"
        for label, concurrency in zip(side.best["label"], side.best["concurrency"], strict=True)
    ]
    nearer = left if x - knots[left] <= knots[right] - x else right
    run = side.best.iloc[nearer]
    return {
        "between": " to ".join(dict.fromkeys((names[left], names[right]))),
        "bottleneck": run["bottleneck"],
        "kind": run["kind"],
    }


def crossings(first: Side, second: Side) -> tuple[float, ...]:
    """Speeds per user at which two curves give equal throughput, ascending. [tok/s/user]"""
    one, two = first.curves["total"], second.curves["total"]
    low, high = max(one.x[0], two.x[0]), min(one.x[-1], two.x[-1])
    if not low < high:
        return ()
    x = np.unique(np.concatenate([np.linspace(low, high, 2001), one.x, two.x]))
    x = x[(x >= low) & (x <= high)]
    gap = one.values(x) - two.values(x)
    x, gap = x[gap != 0], gap[gap != 0]
    turns = np.flatnonzero(np.sign(gap[:-1]) * np.sign(gap[1:]) < 0)
    widths = gap[turns] / (gap[turns] - gap[turns + 1])
    return tuple((x[turns] + widths * (x[turns + 1] - x[turns])).tolist())
