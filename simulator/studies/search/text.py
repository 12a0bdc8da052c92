"""A search as text: the winner, its settings and launch commands, the runners-up, the pruned."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from simulator.output.note_text import note_lines
from simulator.output.text_tables import console, interval, number, records_of, table_of_columns
from simulator.scenario.deployed_forms import is_open
from simulator.studies.closing import closing_lines
from simulator.studies.next_runs import candidate_runs
from simulator.studies.search.launch_commands import launch_commands
from simulator.studies.search.request import GOALS
from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

    from simulator.studies.search.result import SearchResult, Trial

SHOWN = (
    "rank",
    "sku",
    "label",
    "engine",
    "spec",
    "settings",
    "concurrency",
    "total_tput_per_gpu",
    "total_tput_per_gpu_lo",
    "interactivity",
    "median_ttft_s",
    "p90_ttft_s",
    "usd_per_million_tokens",
    "score_at_slo",
    "bottleneck",
    "missed",
)
"""Columns of a printed ranking."""
_MOST_RUNNERS_UP = 9
_MOST_REASONS = 12
_MOST_NAMES = 12
_ALIKE = 0.01
_MISS = "a lone user"
"""Words of a bound that misses a constraint, whose figures are worth a line each."""


def search_caption(result: SearchResult) -> str:
    """What was searched: goal, constraints, model, lengths, prices, version."""
    request = result.request
    asked = request.question
    loads = list(request.settings.loads())
    load = loads[0]
    parts = [str(request.objectives)]
    if asked.min_throughput is not None:
        parts.append(f"at least {asked.min_throughput:g} tok/s/GPU")
    if asked.max_cost is not None:
        parts.append(f"at most ${asked.max_cost:g} per million tokens")
    goal = f"{GOALS[asked.goal]} with {', '.join(parts)}"
    specs = ", ".join(
        "no speculation" if spec == "none" else spec for spec in sorted({one.spec for one in loads})
    )
    if any(is_open(request.settings, one) for one in loads):
        pinned = f", {specs}" if "spec" in request.settings.origin else ""
        specs = f"as best deployed{pinned}"
    skus = ", ".join(dict.fromkeys(one.sku for one in loads))
    return (
        f"{goal}; {load.model} {load.precision.upper()} on {skus}, {load.isl}/{load.osl}, {specs}, "
        f"closed loop, economics {result.economics} ({asked.tier}), "
        f"simulated by forecurve {version()}"
    )


def print_search(result: SearchResult, *, directory: Path | None = None) -> None:
    """Print a search; where its files are, if they were written."""
    out = console()
    out.print(result.caption, soft_wrap=True)
    out.print()
    winner = result.winner
    if winner is None:
        out.print("nothing meets the constraints; the nearest runs:", soft_wrap=True)
        shown: Sequence[Trial] = _nearest(result)
    else:
        shown = (winner, *result.runners_up[:_MOST_RUNNERS_UP])
    if shown:
        out.print(_table(shown))
    lines = [""]
    if winner is not None:
        lines += [*verdict(result), ""]
    lines += [*_pruned(result), *note_lines(result.messages)]
    lines += ["", *closing] if (closing := closing_of(result)) else []
    if winner is not None:
        for launch in launch_commands(winner.configuration):
            lines += ["", launch.text]
    if directory is not None:
        lines += ["", f"results in {directory}"]
    out.print("\n".join(lines), soft_wrap=True)


def verdict(result: SearchResult) -> list[str]:
    """The winner, how far the runner-up is behind, and what binds, a sentence each."""
    winner = result.winner
    if winner is None:
        return []
    name = f"{_named(winner)} at concurrency {winner.configuration.concurrency}"
    lines = [
        f"best: {name}, {winner.settings_text if winner.changes else 'settings of the recipe'}; "
        f"bound by {winner.bottleneck}; kind of prediction: {winner.kind} ({winner.level})"
    ]
    recipe = _with_recipe(result, winner)
    if winner.changes and recipe is not None:
        gain = _gain(winner.score, recipe.score)
        lines.append(f"the changed settings are worth {100 * gain:.1f} % over the recipe's")
    if result.runners_up:
        other = result.runners_up[0]
        behind = _behind(winner, other)
        close = ", which is no difference" if behind < _ALIKE else ""
        lines.append(
            f"runner-up: {_named(other)}, {100 * behind:.1f} % behind{close}"
            + (" at the speed asked for, between its runs" if other.score_at_slo else "")
        )
    form = (winner.sku, winner.engine, winner.spec)
    others = [each for each in result.runners_up if (each.sku, each.engine, each.spec) != form]
    if others and others[0] is not result.runners_up[0]:
        behind = 100 * _behind(winner, others[0])
        name = _named(others[0])
        lines.append(f"best of another engine or speculation: {name}, {behind:.1f} % behind")
    return lines


def _named(trial: Trial) -> str:
    spec = "" if trial.spec == "none" else f" {trial.spec}"
    return f"{trial.sku} {trial.label} on {trial.engine}{spec}"


def closing_of(result: SearchResult) -> list[str]:
    """What the winner rests on, how far off such predictions were, and what to measure first."""
    winner = result.winner
    if winner is None:
        return []
    row = {**winner.cells(), "economics": result.economics, "on_frontier": True}
    calibration = result.request.settings.calibration
    lines = closing_lines([row], calibration=calibration, ends=False)
    runs = candidate_runs([row], calibration=calibration)
    if runs:
        run = runs[0]
        lines.append(
            f"measure first: {run.how}: the 90 % band of its tok/s/GPU is {run.band_words}; then "
            "simulate calibrate fit RUNS.csv --out DIR"
        )
    return lines


def summary_of(result: SearchResult) -> dict[str, Any]:
    """The search as JSON objects."""
    winner = result.winner
    rows = records_of(result.frame()) if result.trials else []
    launches = [] if winner is None else launch_commands(winner.configuration)
    return {
        "caption": result.caption,
        "economics": result.economics,
        "winner": rows[0] if winner is not None else None,
        "verdict": verdict(result),
        "settings": None
        if winner is None
        else {
            pool.role: pool.settings.model_dump(mode="json") for pool in winner.configuration.pools
        },
        "launch": {launch.stack: launch.text for launch in launches},
        "trials": rows,
        "pruned": records_of(result.pruned_frame()),
        "closing": closing_of(result),
        "messages": list(result.messages),
        "version": f"forecurve {version()}, simulated",
    }


def _gain(best: float, other: float) -> float:
    return (best - other) / abs(other) if other else 0.0


def _behind(winner: Trial, other: Trial) -> float:
    """What another lacks of the winner's score, as a share of the winner's. [-]"""
    best = winner.rank_score
    return (best - other.rank_score) / abs(best) if best else 0.0


def _with_recipe(result: SearchResult, winner: Trial) -> Trial | None:
    """The best run of the winner's deployment with the settings of its recipe."""
    return next(
        (
            trial
            for trial in result.trials
            if trial.meets and not trial.changes and trial.deployment == winner.deployment
        ),
        None,
    )


def _nearest(result: SearchResult) -> list[Trial]:
    """The runs that miss their worst constraint by the least."""
    ordered = sorted(result.trials, key=lambda trial: max(trial.slo_use.values(), default=0.0))
    return ordered[:_MOST_RUNNERS_UP]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join((*names[:_MOST_NAMES], *([f"{more} more in pruned.csv"] if more > 0 else [])))


def _table(trials: Sequence[Trial]) -> Table:
    missing = any(not trial.meets for trial in trials)
    between = any(trial.score_at_slo is not None for trial in trials)
    banded = any(trial.bands for trial in trials)
    names = [
        name
        for name in SHOWN
        if (missing or name != "missed")
        and (between or name != "score_at_slo")
        and (banded or name != "total_tput_per_gpu_lo")
    ]
    table = table_of_columns(names, narrow=True)
    for rank, trial in enumerate(trials, start=1):
        metrics = trial.metrics
        missed = [name for name, used in trial.slo_use.items() if used > 1.0]
        table.add_row(
            str(rank),
            trial.sku,
            trial.label,
            trial.engine,
            trial.spec,
            trial.settings_text,
            str(trial.configuration.concurrency),
            number(metrics.total_tput_per_gpu),
            *([interval(*trial.bands.get("total_tput_per_gpu", (None, None)))] if banded else []),
            number(metrics.interactivity),
            number(metrics.ttft.median_s),
            number(metrics.ttft.p90_s),
            number(trial.usd_per_million_tokens),
            *([_at_slo(trial)] if between else []),
            trial.bottleneck,
            *([", ".join(missed)] if missing else []),
        )
    return table


def _at_slo(trial: Trial) -> str:
    """The score at the speed asked for, as tok/s/GPU or dollars per million tokens."""
    score = trial.score_at_slo
    if score is None:
        return ""
    is_cost = trial.usd_per_million_tokens is not None and math.isclose(
        trial.score, 1e6 / trial.usd_per_million_tokens
    )
    return f"${number(1e6 / score)}" if is_cost else number(score)


def _pruned(result: SearchResult) -> list[str]:
    """What was simulated and what was not, by reason."""
    counts = Counter[str](each.status for each in result.pruned)
    words = {
        "does_not_fit": "do not fit",
        "unsupported": "unsupported",
        "bound": "cannot win by their bounds",
        "behind": "too far behind to vary their settings",
    }
    parts = [f"{counts[status]} {text}" for status, text in words.items() if counts[status]]
    lines = [f"{len(result.trials)} runs simulated; pruned: {', '.join(parts) or 'nothing'}"]
    several = len({each.engine for each in result.pruned}) > 1
    gathered: dict[tuple[str, str], list[str]] = {}
    for each in result.pruned:
        summed = each.status in ("does_not_fit", "bound") and _MISS not in each.reason
        reason = words[each.status] if summed else each.reason
        spec = "" if each.spec == "none" else each.spec
        engine = each.engine if several else ""
        name = " ".join(filter(None, (engine, spec, each.label, each.settings)))
        gathered.setdefault((each.sku, reason.splitlines()[0]), []).append(name)
    rest = [
        f"{sku}: {_listed(list(dict.fromkeys(filter(None, names))))}: {reason}"
        for (sku, reason), names in gathered.items()
    ]
    lines += rest[:_MOST_REASONS]
    if len(rest) > _MOST_REASONS:
        lines.append(f"... and {len(rest) - _MOST_REASONS} more in pruned.csv")
    return lines
