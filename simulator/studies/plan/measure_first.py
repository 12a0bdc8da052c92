"""Which runs would narrow the bands of a plan, one for each ranked SKU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwmodels.evidence import runs_of_form
from simulator.output.text_tables import OUT_OF_REACH, number
from simulator.studies.next_runs import METHOD, narrowed
from workloads.architectures.catalog import load_architecture

if TYPE_CHECKING:
    from simulator.studies.plan.result import PlanResult, PlanRow


def next_runs_of(result: PlanResult) -> list[dict[str, Any]]:
    """A run for each ranked SKU that would narrow the band of its fleet, the best first."""
    found = []
    for row in result.best:
        if row.band is None:
            continue
        runs = fitted_runs(row)
        low, high = narrowed(row.band, kind=row.kind, runs=runs, calibration=row.load.calibration)
        found.append(
            {
                "sku": row.sku,
                "engine": row.engine,
                "spec": row.load.spec,
                "label": row.label,
                "concurrency": max(1, round(row.operating.in_flight)),
                "runs": runs,
                "low": row.band[0],
                "high": row.band[1],
                "low_after": low,
                "high_after": high,
            }
        )
    return found


def next_run_lines(result: PlanResult) -> list[str]:
    """`next_runs_of` for a reader."""
    lines = ["what to measure first, in the order of the ranking:"]
    for rank, run in enumerate(next_runs_of(result), start=1):
        spec = "" if run["spec"] == "none" else f" {run['spec']}"
        fitted = f"{run['runs']} such runs fitted" if run["runs"] else "no such run fitted"
        low = number(run["low"]) if run["low"] > 0 else OUT_OF_REACH
        after = number(run["low_after"]) if run["low_after"] > 0 else OUT_OF_REACH
        lines.append(
            f"  {rank}. {run['sku']} under {run['engine']}{spec} as {run['label']} with about "
            f"{run['concurrency']:,} clients; {fitted}; band {low} to {number(run['high'])} times "
            f"the capacity, with it about {after} to {number(run['high_after'])}"
        )
    if len(lines) == 1:
        return ["no run to measure first: no band is known for predictions of this kind"]
    return [*lines, f"  {METHOD}"]


def fitted_runs(row: PlanRow) -> int:
    """Fitted runs of a row's very form. [runs]"""
    return runs_of_form(
        model=load_architecture(row.load.model).name,
        sku=row.sku,
        engine=row.engine.partition("@")[0],
        speculation=row.load.spec.partition(":")[0],
        disaggregated="+" in row.label,
        directory=row.load.calibration,
    )
