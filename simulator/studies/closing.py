"""How an answer ends: what decides it, how far off such predictions were, what to measure next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodels.evidence import runs_of_form
from simulator.output.text_tables import number, records_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRun:
    """The one run that would narrow the bands of a frontier most.

    Parameters
    ----------
    sku, engine, spec, label, concurrency, isl, osl:
        What to run.
    points:
        Frontier points of the same form, which it would anchor.
    low, high:
        90 % band over the prediction at that point. [-]
    """

    sku: str
    engine: str
    spec: str
    label: str
    concurrency: int
    isl: int
    osl: int
    points: int
    low: float
    high: float


def next_run(frontier: pd.DataFrame) -> NextRun | None:
    """The run to measure first; ``None`` where no band is known.

    A run anchors its form (SKU, engine, speculation, pools), so that the form counts whose points
    have the widest bands together, in logarithms; of its points the middle one by speed.
    """
    known = frontier[
        frontier["total_tput_per_gpu_lo"].gt(0) & frontier["total_tput_per_gpu_hi"].notna()
    ]
    if known.empty:
        return None
    width = np.log(known["total_tput_per_gpu_hi"] / known["total_tput_per_gpu_lo"])
    forms = known.assign(width=width).groupby(["sku", "engine", "spec", "disagg"], sort=False)
    widest = forms["width"].sum().idxmax()
    own = forms.get_group(widest).sort_values("interactivity")
    row = own.iloc[len(own) // 2]
    return NextRun(
        sku=str(row["sku"]),
        engine=str(row["engine"]),
        spec=str(row["spec"]),
        label=str(row["label"]),
        concurrency=int(row["concurrency"]),
        isl=int(row["isl"]),
        osl=int(row["osl"]),
        points=len(own),
        low=float(row["total_tput_per_gpu_lo"] / row["total_tput_per_gpu"]),
        high=float(row["total_tput_per_gpu_hi"] / row["total_tput_per_gpu"]),
    )


def next_run_line(run: NextRun | None) -> str:
    """What to measure next, in a sentence; empty without a run."""
    if run is None:
        return ""
    spec = "" if run.spec == "none" else f" {run.spec}"
    return (
        f"measure first: {run.sku} under {run.engine}{spec} as {run.label} with "
        f"{run.concurrency:,} clients at {run.isl}/{run.osl}: it anchors {run.points} points of "
        f"the frontier, whose 90 % band there is {run.low:.2f} to {run.high:.2f} times the "
        "prediction; then simulate calibrate fit RUNS.csv --out DIR"
    )


def closing_lines(frontier: pd.DataFrame, *, calibration: Path | None = None) -> list[str]:
    """What decides a frontier, how far off such predictions were, and what to measure first."""
    if frontier.empty:
        return []
    distinct = frontier.drop_duplicates(["sku", "engine", "spec", "disagg", "level"])
    decides = [
        f"{row['engine']}{'' if row['spec'] == 'none' else ' ' + row['spec']}"
        f"{', pools' if row['disagg'] else ''} on {row['sku']} at {row['level']} "
        f"({_evidence(row, calibration=calibration)})"
        for row in records_of(distinct)
    ]
    lines = [f"it rests on: {'; '.join(decides)}; prices {_every(frontier, 'economics')}"]
    ran = frontier[frontier["spec"] != "none"]
    if not ran.empty and ran["acceptance_length"].isna().all():
        lines.append(
            "acceptance of drafts is the recipe's or a published estimate (see notes); "
            "--acceptance-length states your own"
        )
    low = (frontier["total_tput_per_gpu_lo"] / frontier["total_tput_per_gpu"]).median()
    high = (frontier["total_tput_per_gpu_hi"] / frontier["total_tput_per_gpu"]).median()
    if low == low and high == high:
        lines.append(
            "how far off: nine in ten measured runs of such kinds lay within "
            f"{number(float(low))} to {number(float(high))} times the prediction (median of the "
            "frontier's points; docs/ACCURACY.md)"
        )
    else:
        lines.append("how far off: predictions of this kind were never compared with measurements")
    return [*lines, *filter(None, [next_run_line(next_run(frontier))])]


def _every(frame: pd.DataFrame, name: str) -> str:
    return ", ".join(str(value) for value in frame[name].unique())


def _evidence(row: Mapping[str, Any], *, calibration: Path | None) -> str:
    """How many runs of exactly this form were fitted, or that none was."""
    runs = runs_of_form(
        model=row["model"],
        sku=row["sku"],
        engine=row["engine"].partition("@")[0],
        speculation=row["spec"].partition(":")[0],
        disaggregated=bool(row["disagg"]),
        directory=calibration,
    )
    if runs:
        return f"{row['kind']}, {runs} runs of this form fitted"
    return f"{row['kind']}; no run of this very form was fitted"
