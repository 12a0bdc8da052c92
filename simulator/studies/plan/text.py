"""A capacity plan as text: the ranking, the runner-up, what would change it, what is left out."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from simulator.output.note_text import note_lines
from simulator.output.text_tables import (
    OUT_OF_REACH,
    OUT_OF_REACH_NOTE,
    console,
    interval,
    leading,
    number,
    records_of,
    table_of_columns,
)
from simulator.scenario.deployed_forms import is_open
from simulator.studies.plan.break_even import break_even_of
from simulator.studies.plan.measure_first import fitted_runs, next_run_lines, next_runs_of
from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

    from simulator.studies.plan.break_even import BreakEven
    from simulator.studies.plan.fleet import Fleet
    from simulator.studies.plan.result import PlanResult, PlanRow, Rejected

_MOST_REASONS = 2
_TOLD_IDLE = 0.02
"""Share of the chips bought from which those that hold no replica are told. [-]"""
SHOWN = (
    "rank",
    "sku",
    "layout",
    "engine",
    "gpus",
    "gpus_low",
    "nodes",
    "utility_mw",
    "usd_per_h",
    "usd_per_month",
    "usd_per_million_tokens",
    "rate_per_s",
    "headroom",
    "users",
    "interactivity",
    "p90_ttft_s",
    "limit",
    "kind",
)
"""Columns of a printed ranking."""


def demand_text(result: PlanResult) -> str:
    """What is asked for, in a planner's words."""
    asked = result.request.question
    spare = ", one node spare" if asked.spare else ""
    if asked.rate is not None:
        what = f"{asked.rate:g} req/s"
    elif asked.users is not None:
        pause = f", {asked.think:g} s between requests" if asked.think else ""
        what = f"{asked.users:,.0f} users{pause}"
    elif asked.mw is not None:
        what = f"{asked.mw:g} MW at the meter"
    elif asked.fleet_gpus is not None:
        what = f"{asked.fleet_gpus:,} GPUs"
    else:
        what = f"the fastest service for ${asked.max_cost:g} per million prompt and output tokens"
    if asked.max_cost is not None and not what.startswith("the fastest"):
        what += f", at most ${asked.max_cost:g} per million prompt and output tokens"
    return what + spare


def plan_caption(result: PlanResult) -> str:
    """What was planned for: demand, SLOs, model, lengths, arrivals, prices, version."""
    request = result.request
    load = next(request.loads())
    traffic = request.traffic(load)
    lengths = (
        f"{load.isl}/{load.osl}"
        if request.workload is None
        else f"{traffic.prompt_tokens:,.0f}/{traffic.output_tokens:,.0f} on average"
    )
    if "spec" not in request.settings.origin and is_open(request.settings, load):
        form = "as best deployed"
    else:
        specs = sorted({each.spec for each in request.loads()})
        form = ", ".join("no speculation" if each == "none" else each for each in specs)
    return (
        f"{demand_text(result)}; {request.objectives}; {load.model} {load.precision.upper()}, "
        f"{lengths}, {form}, {traffic.describe()}, economics {result.economics} "
        f"({request.question.tier}), simulated by forecurve {version()}"
    )


def print_plan(
    result: PlanResult, *, directory: Path | None = None, ranks_runs: bool = False
) -> None:
    """Print a plan; where its files are, if they were written.

    Parameters
    ----------
    ranks_runs:
        Whether to list a run for each SKU that would narrow its band, and by how much.
    """
    out = console()
    out.print(result.caption, soft_wrap=True)
    out.print()
    if result.rows:
        out.print(_table(result))
        out.print()
    lines = [*advice(result), *_unpriced(result), *_software(result), *_closing(result)]
    lines += next_run_lines(result) if ranks_runs else []
    if any(row.band is not None and row.band[0] <= 0 for row in result.rows):
        lines.append(OUT_OF_REACH_NOTE)
    lines += ["", *_left_out(result)]
    lines += note_lines(result.messages)
    lines += ["", _method(result)]
    if directory is not None:
        lines.append(f"results in {directory}")
    out.print("\n".join(lines), soft_wrap=True)


def _unpriced(result: PlanResult) -> list[str]:
    """Which SKUs of the ranking have no price, a line for all."""
    named = [row.sku for row in result.rows if row.fleet.usd_per_h is None]
    if not named:
        return []
    skus = ", ".join(dict.fromkeys(named))
    return [f"no price known in economics {result.economics}: {skus}"]


def summary_of(result: PlanResult) -> dict[str, Any]:
    """The plan as JSON objects: what was asked, the ranking, what would change it, the rest."""
    turn = break_even_of(result)
    return {
        "caption": result.caption,
        "economics": result.economics,
        "rows": records_of(result.frame()),
        "advice": advice(result),
        "break_even": None
        if turn is None
        else {
            "winner": turn.winner.sku,
            "runner_up": turn.runner_up.sku,
            "runner_up_factor": _finite(turn.runner_up_factor),
            "winner_factor": _finite(turn.winner_factor),
            "price_factor": turn.price_factor,
            "by_scale": turn.by_scale,
            "other_tiers": list(turn.other_tiers),
            "is_certain": turn.is_certain,
        },
        "next_runs": next_runs_of(result),
        "rejected": records_of(result.rejected_frame()),
        "messages": list(result.messages),
        "version": f"forecurve {version()}, simulated",
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def advice(result: PlanResult) -> list[str]:
    """The winner, the runner-up and what would change their order, a sentence each."""
    if not result.rows:
        return ["nothing can do it; the reasons are below"]
    lines = [_headline(result, result.rows[0])]
    turn = break_even_of(result)
    if turn is None:
        return [*lines, *_alone(result)]
    return [
        *lines,
        _headline(result, turn.runner_up, title="runner-up"),
        *break_even_lines(turn),
    ]


def _alone(result: PlanResult) -> list[str]:
    """What comes next where one SKU is ranked: its next deployment, if one was tested."""
    first, *others = result.rows
    skus = {row.sku for row in result.rows} | {each.sku for each in result.rejected}
    why = "no other SKU can do it" if len(skus) > 1 else "one SKU is asked"
    if not others:
        more = "" if len(skus) > 1 else "; --layouts 3 tests the next deployments too"
        return [f"no runner-up: {why}{more}"]
    second = others[0]
    if first.rate_per_s > second.rate_per_s and first.fleet.gpus == second.fleet.gpus:
        behind = f"{second.rate_per_s / first.rate_per_s:.2f} times its req/s"
    else:
        behind = f"{second.fleet.gpus:,} GPUs"
    spec = second.load.spec.partition(":")[0]
    how = f"{second.engine}{'' if spec == 'none' else ' ' + spec}"
    return [f"next deployment of it: {how} as {second.label}, {behind} ({why})"]


def break_even_lines(turn: BreakEven) -> list[str]:
    """What would change the order of the two best SKUs."""
    first, second = turn.winner.sku, turn.runner_up.sku
    ways = []
    if turn.price_factor is not None and turn.price_factor < 1:
        ways.append(f"{second} costs {_percent(1 - turn.price_factor)} less per GPU-hour")
    if 1 < turn.runner_up_factor < math.inf:
        ways.append(f"{second} does {_percent(turn.runner_up_factor - 1)} better than predicted")
    if 0 < turn.winner_factor < 1:
        ways.append(f"{first} does {_percent(1 - turn.winner_factor)} worse")
    lines = [f"the order turns if {'; or if '.join(ways)}"] if ways else []
    if turn.price_factor == 1:
        lines.append(f"{first} and {second} cost the same; {first} needs fewer GPUs")
    if turn.by_scale is not None and turn.by_scale < 1:
        lines.append(
            f"in a large fleet {second} costs {_percent(1 - turn.by_scale)} less per request: "
            f"whole {turn.runner_up.fleet.unit.name}s decide here"
        )
    if turn.other_tiers:
        lines.append(f"at {' and '.join(turn.other_tiers)} prices {second} is cheaper")
    if turn.is_certain is None:
        lines.append("how certain the order is cannot be said: no band is known for both")
    elif turn.is_certain:
        lines.append("these changes lie outside the 90 % bands: the order is certain")
    else:
        lines.append("such changes lie inside the 90 % bands: the order is not certain")
    return lines


def _headline(result: PlanResult, row: PlanRow, *, title: str = "best") -> str:
    fleet, now = row.fleet, row.operating
    size = f"{fleet.gpus:,} GPUs in {_units(fleet)}"
    idle = fleet.gpus - fleet.replicas * row.replica_gpus
    if idle > _TOLD_IDLE * fleet.gpus:
        size += f" ({idle:,} of them idle: they come whole)"
    money = "no price known"
    if fleet.usd_per_h is not None and fleet.usd_per_month is not None:
        money = f"${fleet.usd_per_h:,.0f}/h, {_money(fleet.usd_per_month)} a month"
    served = (
        f"{number(row.rate_per_s)} req/s, {leading(row.users):,.0f} users, "
        f"{now.interactivity:.1f} tok/s/user, p90 TTFT {now.ttft.p90_s:.2f} s"
    )
    power = "" if fleet.utility_mw is None else f", {fleet.utility_mw:.3g} MW"
    return (
        f"{title}: {row.sku_name} as {row.label}: {size}{power}, {money}{fleet.of_both}; {served}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %"


def _table(result: PlanResult) -> Table:
    kinds = {row.kind for row in result.rows}
    banded = any(row.band is not None for row in result.rows)
    left_out = set() if banded else {"gpus_low"}
    left_out |= set() if len(kinds) > 1 else {"kind"}
    table = table_of_columns([name for name in SHOWN if name not in left_out], narrow=True)
    for rank, row in enumerate(result.rows, start=1):
        fleet, now = row.fleet, row.operating
        table.add_row(
            str(rank),
            row.sku,
            row.label,
            row.engine if row.load.spec == "none" else f"{row.engine} {row.load.spec}",
            f"{fleet.gpus:,}",
            *([band_text(result, row)] if banded else []),
            _units(fleet),
            number(fleet.utility_mw),
            number(fleet.usd_per_h),
            _money(fleet.usd_per_month),
            number(row.usd_per_million_tokens),
            number(row.rate_per_s),
            f"{100 * row.headroom:.0f} %",
            f"{leading(row.users):,.0f}",
            f"{now.interactivity:.1f}",
            f"{now.ttft.p90_s:.2f}",
            row.limit,
            *([row.kind] if len(kinds) > 1 else []),
        )
    return table


def _units(fleet: Fleet) -> str:
    return fleet.text


def band_text(result: PlanResult, row: PlanRow) -> str:
    """The 90 % band of what the ranking is about: GPUs, requests carried, or speed."""
    asked = result.request.question
    if row.band is None:
        return ""
    if asked.rate is not None or asked.users is not None:
        fewest, most = row.gpus_band or (math.nan, math.nan)
        return f"{fewest:,.0f}–{f'{most:,.0f}' if most < math.inf else OUT_OF_REACH}"
    if asked.mw is not None or asked.fleet_gpus is not None:
        value, unit = row.rate_per_s, "req/s"
    else:
        value, unit = row.operating.interactivity, "tok/s"
    low, high = row.band
    return f"{interval(low * value, high * value)} {unit}"


def _money(usd: float | None) -> str:
    if usd is None:
        return ""
    return f"${usd / 1e6:,.2f} M" if usd >= 1e6 else f"${usd / 1e3:,.0f} k"


def _software(result: PlanResult) -> list[str]:
    """Kinds of prediction and software levels of the ranked rows, in a line."""
    levels: dict[tuple[str, str], list[str]] = {}
    for row in result.rows:
        skus = levels.setdefault((row.kind, row.level), [])
        if row.sku not in skus:
            skus.append(row.sku)
    parts = [f"{kind}: {', '.join(skus)} on {level}" for (kind, level), skus in levels.items()]
    return [f"kind of prediction: {'; '.join(parts)}"] if parts else []


def _closing(result: PlanResult) -> list[str]:
    """What decides the answer, and what to measure first to settle it."""
    if not result.rows:
        return []
    row = result.rows[0]
    spec = row.load.spec.partition(":")[0]
    runs = fitted_runs(row)
    fitted = f"{runs} runs" if runs else "no run"
    how = f"{row.engine}{'' if spec == 'none' else ' ' + spec}"
    lines = [
        f"it rests on {row.level} ({fitted} of {how} on {row.sku} fitted), the acceptance and "
        f"assumptions of the notes, {result.request.objectives}, prices of {result.economics}"
    ]
    if row.band is not None:
        low, high = row.band
        worst = f"{number(low)}" if low > 0 else "nothing, the speed being out of reach,"
        lines.append(
            f"how far off: nine in ten such predictions lie so that a chip carries {worst} to "
            f"{number(high)} times what is predicted at this speed (docs/ACCURACY.md)"
        )
    lines.append(
        f"measure first: {row.sku} under {how} as {row.label} with about "
        f"{max(1, round(row.operating.in_flight)):,} clients; the winner's band decides the order"
    )
    return lines


def _left_out(result: PlanResult) -> list[str]:
    """SKUs that are not ranked and why, then what else was left out, in numbers."""
    ranked = {row.sku for row in result.rows}
    lines: list[str] = []
    for sku in dict.fromkeys(each.sku for each in result.rejected):
        if sku not in ranked:
            own = [each for each in result.rejected if each.sku == sku]
            lines.append(f"not ranked: {sku}: {_why(own)}")
    words = {
        "does_not_fit": "do not fit",
        "misses": "miss an SLO, price or budget",
        "behind": "are well behind another of their SKU",
        "unsupported": "are unsupported",
    }
    counts = Counter[str](each.status for each in result.rejected)
    parts = [f"{counts[status]} {text}" for status, text in words.items() if counts[status]]
    if parts:
        lines.append(f"deployments left out: {', '.join(parts)} (rejected.csv says why)")
    return lines


def _why(rejected: Sequence[Rejected]) -> str:
    """Why a SKU is not ranked: what its most hopeful deployments miss."""
    misses = [each for each in rejected if each.status == "misses"]
    if misses:
        reasons: dict[str, list[str]] = {}
        for each in misses:
            spec = "" if each.spec == "none" else f" {each.spec}"
            reasons.setdefault(each.reason, []).append(f"{each.engine}{spec} {each.label}")
        shown = [f"{', '.join(dict.fromkeys(names))}: {why}" for why, names in reasons.items()]
        more = f"; {len(shown) - _MOST_REASONS} more" if len(shown) > _MOST_REASONS else ""
        return "; ".join(shown[:_MOST_REASONS]) + more
    behind = [each for each in rejected if each.status == "behind"]
    if behind:
        return behind[-1].reason
    if any(each.status == "does_not_fit" for each in rejected):
        return "no layout fits its memory"
    return rejected[-1].reason.splitlines()[0]


def _method(result: PlanResult) -> str:
    question = result.request.question
    spare = ", with one node down" if question.spare else ""
    return (
        "judged on cells of up to four replicas behind one router, to which the fleet's requests "
        f"fall at random (one router over all does better){spare}; {question.replications} "
        "replications, limits hold with 95 % confidence; power is at the meter"
    )
