"""Elasticities as text: which numbers matter, in order, and which do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.engines.pools import deployment_label
from simulator.output.note_text import note_lines
from simulator.output.text_tables import console, number, records_of, table_of
from simulator.studies.sensitivity.differences import METRICS
from simulator.version import version

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from simulator.studies.sensitivity.differences import Elasticity, Owner
    from simulator.studies.sensitivity.run import SensitivityResult

OWNERS: dict[Owner, str] = {"sku": "data sheet", "software": "software", "workload": "workload"}
_SCALES = {
    "FLOP/s": (1e12, "TFLOP/s"),
    "B": (1e9, "GB"),
    "B/s": (1e9, "GB/s"),
    "Hz": (1e6, "MHz"),
    "s": (1e-6, "us"),
}


def sensitivity_caption(result: SensitivityResult) -> str:
    """What was run: point, model, SKU, lengths, level, version."""
    one = result.configuration
    speed = result.question.interactivity
    at = f"concurrency {one.concurrency}" if speed is None else f"{speed:g} tok/s/user"
    spec = f"{one.speculation}:{one.drafts}" if one.drafts else "no speculation"
    load = result.load or f"{one.isl}/{one.osl}, {at}"
    return (
        f"{one.model} {one.precision.upper()} on {one.sku.key} as {deployment_label(one.pools)}, "
        f"{load}, {result.level} ({result.kind}), {spec}, closed loop, "
        f"simulated by forecurve {version()}"
    )


def print_sensitivity(result: SensitivityResult, *, directory: Path | None = None) -> None:
    """Print the elasticities; where their files are, if they were written."""
    out = console()
    out.print(result.caption, soft_wrap=True)
    out.print()
    out.print(_table(result))
    lines = ["", *reading(result)]
    if result.without_influence:
        lines.append(f"without influence here: {', '.join(result.without_influence)}")
    reasons: dict[str, list[str]] = {}
    for name, reason in result.untried.items():
        reasons.setdefault(reason, []).append(name)
    lines += [f"not tried: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    lines += [f"{one.parameter}: {one.note}" for one in result.elasticities if one.note]
    lines += note_lines(result.messages)
    lines += ["", *result.closing] if result.closing else []
    if directory is not None:
        lines += ["", f"results in {directory}"]
    out.print("\n".join(lines), soft_wrap=True)


def reading(result: SensitivityResult) -> list[str]:
    """The number of the data sheet that matters most, in a sentence, and how to read the table."""
    lines = [
        f"elasticity: percent of change for each percent of the number, from "
        f"{100 * result.question.step:g} % to either side; ± is the 90 % interval over "
        f"{result.question.replications} replications"
    ]
    own = [one for one in result.elasticities if one.owner == "sku"]
    if own:
        most = own[0]
        gain = 10 * most.elasticity["throughput"].mean
        lines.insert(
            0,
            f"on the data sheet {most.parameter} matters most: 10 % more of it is worth about "
            f"{gain:+.1f} % throughput",
        )
    else:
        lines.insert(0, "no number of the data sheet has an influence on throughput here")
    return lines


def value_text(one: Elasticity) -> str:
    """A number's value in the unit that people read it in."""
    scale, unit = _SCALES.get(one.unit, (1.0, one.unit))
    return f"{number(one.value / scale)} {'' if unit == '-' else unit}".rstrip()


def summary_of(result: SensitivityResult) -> dict[str, Any]:
    """All of it as JSON objects."""
    return {
        "caption": result.caption,
        "base": dict(result.base),
        "elasticities": records_of(result.frame()),
        "without_influence": list(result.without_influence),
        "untried": dict(result.untried),
        "reading": reading(result),
        "messages": list(result.messages),
        "version": f"forecurve {version()}, simulated",
    }


def _table(result: SensitivityResult) -> Table:
    names = [name for name in METRICS if name in result.base]
    units = {"throughput": "tok/s/GPU", "interactivity": "tok/s/user", "ttft": "s"}
    headers = ["number", "of", "value"]
    headers += [f"{name}\n{number(result.base[name])} {units[name]}" for name in names]
    table = table_of(title="", headers=headers, left=("number", "of"))
    for one in result.elasticities:
        cells = []
        for name in names:
            interval = one.elasticity[name]
            spread = "" if interval.observations < 2 else f" ± {interval.half_width:.2f}"
            cells.append(f"{interval.mean:+.2f}{spread}")
        table.add_row(one.parameter, OWNERS[one.owner], value_text(one), *cells)
    return table
