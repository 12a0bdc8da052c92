"""How an answer ends: what decides it, how far off such predictions were, what to measure next."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from simulator.engines.labels import without_software_of
from simulator.output.text_tables import number
from simulator.scenario.target import pair_label
from simulator.studies.next_runs import (
    candidate_runs,
    fitted_runs,
    next_run_line,
    next_run_lines,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def closing_lines(
    rows: Sequence[Mapping[str, Any]],
    *,
    calibration: Path | None = None,
    ranks_runs: bool = False,
    ends: bool = True,
) -> list[str]:
    """What decides a frontier, how far off such predictions were, and what to measure first.

    Parameters
    ----------
    rows:
        Simulated runs, on the frontier or not, in the columns of a sweep.
    calibration:
        Directory of a user's own fit.
    ranks_runs:
        Whether to list all runs that would narrow the bands and not the first one alone.
    ends:
        Whether to end with what to measure first.
    """
    frontier = [row for row in rows if row["on_frontier"]]
    if not frontier:
        return []
    forms: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in frontier:
        names = ("sku", "prefill_sku", "engine", "spec", "disagg", "level")
        forms.setdefault(tuple(row.get(name) for name in names), row)
    levels: dict[tuple[str, str], dict[str, None]] = {}
    for row in forms.values():
        evidence = _evidence(row, calibration=calibration)
        levels.setdefault((_form_words(row), evidence), {})[row["level"]] = None
    decides = [
        f"{form} at {_level_words(list(own))} ({evidence}{' over all dates' * (len(own) > 1)})"
        for (form, evidence), own in levels.items()
    ]
    prices = ", ".join(dict.fromkeys(str(row["economics"]) for row in frontier))
    lines = [f"it rests on: {'; '.join(decides)}; prices {prices}"]
    ran = [row for row in frontier if row["spec"] != "none"]
    if ran and all(_blank(row["acceptance_length"]) for row in ran):
        lines.append(
            "acceptance of drafts is the recipe's or a published estimate (see notes); "
            "--acceptance-length states your own"
        )
    banded = [row for row in frontier if not _blank(row.get("total_tput_per_gpu_lo"))]
    if banded:
        low, high = (
            median(row[f"total_tput_per_gpu_{end}"] / row["total_tput_per_gpu"] for row in banded)
            for end in ("lo", "hi")
        )
        lines.append(
            "how far off: nine in ten measured runs of such kinds lay within "
            f"{number(float(low))} to {number(float(high))} times the prediction ("
            + ("median of the frontier's points; " if len(banded) > 1 else "")
            + "docs/ACCURACY.md)"
        )
    else:
        lines.append("how far off: predictions of this kind were never compared with measurements")
    if not ends:
        return lines
    candidates = candidate_runs(rows, calibration=calibration)
    if ranks_runs:
        return [*lines, *next_run_lines(candidates)]
    return [*lines, *filter(None, [next_run_line(candidates)])]


def _form_words(row: Mapping[str, Any]) -> str:
    """Engine, speculation, pools and chip of a run, whatever its date."""
    engine = without_software_of(row["engine"]).partition("@")[0]
    spec = "" if row["spec"] == "none" else f" {row['spec']}"
    return f"{engine}{spec}{', pools' if row['disagg'] else ''} on {_chip(row)}"


def _level_words(levels: Sequence[str]) -> str:
    """Levels, those of one engine by their dates."""
    first, *others = levels
    engine = first.partition("@")[0]
    return ", ".join([first, *(each.removeprefix(f"{engine}@") for each in others)])


def _chip(row: Mapping[str, Any]) -> str:
    first = row.get("prefill_sku")
    return pair_label(str(row["sku"]), first if isinstance(first, str) else None)


def _blank(value: Any) -> bool:
    return value is None or value != value


def _evidence(row: Mapping[str, Any], *, calibration: Path | None) -> str:
    """How many runs of exactly this form were fitted, or that none was."""
    runs = fitted_runs(row, calibration=calibration)
    if runs:
        return f"{row['kind']}, {runs} runs of this form fitted"
    return f"{row['kind']}; no run of this very form was fitted"
