"""Which measurement would narrow the bands of an answer most: candidate runs, ranked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwmodels.evidence import runs_of_form
from hwmodels.sku import load_sku
from simulator.engines.labels import parse_engine, without_software_of
from simulator.output.text_tables import number
from simulator.prediction.bands import band_factors, cell_of
from simulator.scenario.target import pair_label
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Row = Mapping[str, Any]

MOST_SHOWN = 8
OTHERS = "(--next-run ranks others)"
"""How commands that have the flag show the other candidates."""
_SAME = 0.98
"""Share of a band's width from which a band counts as the same. [-]"""

METHOD = (
    "with it: a form that no run of its own was fitted to gets the band of forms that have such "
    "runs; the band of one that has n runs shrinks as the mean of n + 2 does beside that of n + 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRun:
    """A run that would narrow the bands of points of its form: engine, speculation and pools.

    Parameters
    ----------
    sku, engine, spec, label, concurrency, isl, osl:
        What to run.
    points:
        Points of the form on the frontier, or else such that its band brings up to it.
    leads:
        Whether the form is on the frontier.
    runs:
        Runs of the form that were fitted. [runs]
    low, high:
        90 % band over the prediction at that point. [-]
    low_after, high_after:
        About the same with the run. [-]
    gain:
        Sum over the points of what the band loses, in logarithms. [-]
    """

    sku: str
    engine: str
    spec: str
    label: str
    concurrency: int
    isl: int
    osl: int
    points: int
    leads: bool
    runs: int
    low: float
    high: float
    low_after: float
    high_after: float
    gain: float

    @property
    def how(self) -> str:
        """What to run, in words."""
        spec = "" if self.spec == "none" else f" {self.spec}"
        return (
            f"{self.sku} under {self.engine}{spec} as {self.label} with "
            f"{self.concurrency:,} client{'' if self.concurrency == 1 else 's'} at "
            f"{self.isl}/{self.osl}"
        )

    @property
    def band_words(self) -> str:
        """Its band now and with the run, in words."""
        now = f"{self.low:.2f} to {self.high:.2f} times the prediction"
        if math.log(self.high_after / self.low_after) > _SAME * math.log(self.high / self.low):
            return (
                f"{now}, and one run more hardly narrows it (forms with runs lie as far off here) "
                "but moves the prediction"
            )
        return f"{now}, and about {self.low_after:.2f} to {self.high_after:.2f} with it"

    @property
    def decides(self) -> str:
        """What it bears on, in words."""
        points = f"{self.points} point{'' if self.points == 1 else 's'}"
        if self.leads:
            return f"it anchors {points} of the frontier"
        return f"its band brings {points} up to the frontier"

    def to_dict(self) -> dict[str, Any]:
        """All of it by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def candidate_runs(rows: Sequence[Row], *, calibration: Path | None = None) -> list[NextRun]:
    """Runs worth measuring, those first that would narrow the bands most.

    A run anchors its form, so that there is one of each form: of its points on the frontier, or
    else of those whose bands reach it, the middle one by speed; where a run there narrows nothing,
    the one where it narrows most.

    Parameters
    ----------
    rows:
        Simulated runs in the columns of a sweep.
    calibration:
        Directory of a user's own fit.
    """
    known = [row for row in rows if _width(row) > 0]
    best = sorted(
        ((row["interactivity"], row["total_tput_per_gpu"]) for row in rows if row["on_frontier"]),
        reverse=True,
    )
    forms: dict[tuple[Any, ...], list[Row]] = {}
    for row in known:
        if row["on_frontier"] or (row["meets_limits"] and _reaches(row, best)):
            forms.setdefault(_form(row), []).append(row)
    found = [_candidate(own, calibration=calibration) for own in forms.values()]
    return sorted(found, key=lambda run: (not run.leads, -run.gain))


def next_run_line(runs: Sequence[NextRun]) -> str:
    """What to measure first, in a sentence; empty without a run."""
    if not runs:
        return ""
    run = runs[0]
    return (
        f"measure first: {run.how}: {run.decides}, whose 90 % band there is {run.band_words}; "
        f"then simulate calibrate fit RUNS.csv --out DIR {OTHERS}"
    )


def next_run_lines(runs: Sequence[NextRun]) -> list[str]:
    """All candidates in order, and how the bands with them were found."""
    if not runs:
        return ["no run to measure first: no band is known for predictions of this kind"]
    lines = ["what to measure first, the run that narrows the bands most at the top:"]
    for rank, run in enumerate(runs[:MOST_SHOWN], start=1):
        fitted = f"{run.runs} such runs fitted" if run.runs else "no such run fitted"
        narrower = 1.0 - math.log(run.high_after / run.low_after) / math.log(run.high / run.low)
        lines.append(
            f"  {rank}. {run.how}: {run.decides}; {fitted}; band {number(run.low)} to "
            f"{number(run.high)}, with it about {number(run.low_after)} to "
            f"{number(run.high_after)} ({100 * narrower:.0f} % narrower)"
        )
    return [*lines, f"  {METHOD}"]


def _candidate(own: list[Row], *, calibration: Path | None) -> NextRun:
    leading = [row for row in own if row["on_frontier"]]
    counted = sorted(leading or own, key=lambda row: float(row["interactivity"]))
    row = counted[len(counted) // 2]
    runs = fitted_runs(row, calibration=calibration)
    gains = [_narrowed(each, runs=runs, calibration=calibration)[1] for each in counted]
    if gains[len(counted) // 2] < (1.0 - _SAME) * _width(row):
        row = counted[max(range(len(counted)), key=gains.__getitem__)]
    after, _ = _narrowed(row, runs=runs, calibration=calibration)
    low, high = _band(row)
    return NextRun(
        sku=pair_label(str(row["sku"]), _first_chip(row)),
        engine=without_software_of(str(row["engine"])),
        spec=str(row["spec"]),
        label=str(row["label"]),
        concurrency=int(row["concurrency"]),
        isl=int(row["isl"]),
        osl=int(row["osl"]),
        points=len(counted),
        leads=bool(leading),
        runs=runs,
        low=low,
        high=high,
        low_after=after[0],
        high_after=after[1],
        gain=sum(gains),
    )


def fitted_runs(row: Row, *, calibration: Path | None) -> int:
    """Fitted runs of a row's very form; none of pools on two kinds of chip. [runs]"""
    if _first_chip(row):
        return 0
    return runs_of_form(
        model=row["model"],
        sku=row["sku"],
        engine=without_software_of(row["engine"]).partition("@")[0],
        speculation=row["spec"].partition(":")[0],
        disaggregated=bool(row["disagg"]),
        directory=calibration,
    )


def narrowed(
    band: tuple[float, float],
    *,
    kind: str,
    runs: int,
    cell: str | None = None,
    calibration: Path | None = None,
) -> tuple[float, float]:
    """A band with one run more of its form, see `METHOD`. [-]

    Parameters
    ----------
    kind, runs, cell:
        Kind of the prediction, fitted runs of its form, and the cell of its band
        (`simulator.prediction.bands.cell_of`).
    """
    low, high = band
    if kind == "calibrated":
        part = math.sqrt((runs + 1.0) / (runs + 2.0))
        return low**part, high**part
    own = band_factors(basis="own runs", cell=cell, directory=calibration)
    if "total_tput_per_gpu" not in own:
        return band
    ends = own["total_tput_per_gpu"]
    return (max(low, ends[0]) if low > 0 else low), min(high, ends[1])


def _narrowed(
    row: Row, *, runs: int, calibration: Path | None
) -> tuple[tuple[float, float], float]:
    """A band with one run more of its form, and what it loses in width, in logarithms. [-]"""
    after = narrowed(
        _band(row), kind=row["kind"], runs=runs, cell=_cell(row), calibration=calibration
    )
    return after, _width(row) - math.log(after[1] / after[0])


def _cell(row: Row) -> str | None:
    ranks = int(row["decode_tp"]) if row["decode_dp_attn"] else 1
    try:
        return cell_of(
            engine=parse_engine(str(row["engine"])).engine.software,
            generation=load_sku(str(row["sku"])).generation,
            requests_per_rank=row["concurrency"] / (row["decode_workers"] * ranks),
        )
    except UserError:  # a user's own chip whose file is gone has no cell
        return None


def _form(row: Row) -> tuple[Any, ...]:
    names = ("sku", "engine", "spec", "disagg", "isl", "osl")
    return (_first_chip(row), *(row[name] for name in names))


def _first_chip(row: Row) -> str:
    """The chip of the prefill pool, where it is another; else empty."""
    first = row.get("prefill_sku")
    return first if isinstance(first, str) else ""


def _band(row: Row) -> tuple[float, float]:
    low, high = row.get("total_tput_per_gpu_lo"), row.get("total_tput_per_gpu_hi")
    value = row["total_tput_per_gpu"]
    if low is None or high is None or not low > 0 or not high > low:
        return 1.0, 1.0
    return float(low / value), float(high / value)


def _width(row: Row) -> float:
    low, high = _band(row)
    return math.log(high / low)


def _reaches(row: Row, best: Sequence[tuple[float, float]]) -> bool:
    """Whether the high end of a band lies above the frontier at its speed."""
    top = row["total_tput_per_gpu"] * _band(row)[1]
    as_fast = [rate for speed, rate in best if speed >= row["interactivity"]]
    return not as_fast or bool(top >= max(as_fast))
