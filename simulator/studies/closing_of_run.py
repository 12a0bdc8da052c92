"""How an answer about one stated deployment ends: how far off, and what to measure first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwmodels.evidence import runs_of_form
from simulator.engines.pools import deployment_label
from simulator.output.text_tables import number
from simulator.prediction.bands import band_factors, cell_of
from simulator.scenario.deployed_forms import forms_note
from simulator.scenario.target import pair_label, resolve_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwmodels.software import SoftwareLevel
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario

BANDED_WORDS = {
    "total_tput_per_gpu": "tok/s/GPU",
    "median_tpot_s": "TPOT",
    "median_ttft_s": "TTFT",
}
"""What a reader calls the banded metrics."""


def closing_of_run(
    configuration: RunConfiguration,
    *,
    software: SoftwareLevel,
    metrics: Sequence[str] = tuple(BANDED_WORDS),
    in_flight: float | None = None,
) -> list[str]:
    """What a deployment's prediction rests on, how far off such ones were, what to measure first.

    Parameters
    ----------
    software:
        The level that was used.
    metrics:
        Which banded metrics the answer is about, see `simulator.prediction.bands.BANDED`.
    in_flight:
        Requests in the system; ``None``: those of the configuration. [requests]
    """
    pool = configuration.pools[-1]
    requests = configuration.concurrency if in_flight is None else max(1.0, in_flight)
    runs = 0
    if configuration.prefill_sku is None:
        runs = runs_of_form(
            model=configuration.model,
            sku=configuration.sku.key,
            engine=configuration.engine.label,
            speculation=configuration.speculation,
            disaggregated=len(configuration.pools) > 1,
            directory=configuration.calibration,
        )
    fitted = f"{runs} runs of this form fitted" if runs else "no run of this very form was fitted"
    first = configuration.prefill_sku
    sku = pair_label(configuration.sku.key, None if first is None else first.key)
    how = f"{configuration.engine.label}"
    if configuration.drafts:
        how += f" {configuration.speculation}:{configuration.drafts}"
    lines = [f"it rests on: {how} on {sku} at {software.name} ({software.kind}; {fitted})"]
    factors = band_factors(
        basis=software.basis,
        cell=cell_of(
            engine=software.engine,
            generation=software.generation,
            requests_per_rank=requests / (pool.workers * pool.layout.attention_dp),
        ),
        directory=configuration.calibration,
    )
    told = [
        f"{BANDED_WORDS[name]} within {number(low)} to {number(high)}"
        for name, (low, high) in factors.items()
        if name in metrics
    ]
    if told:
        lines.append(
            "how far off: nine in ten measured runs of such kinds, all closed loops, had "
            f"{', '.join(told)} times the prediction (docs/ACCURACY.md)"
        )
    else:
        lines.append("how far off: predictions of this kind were never compared with measurements")
    lines.append(
        f"measure first: {sku} under {how} as {deployment_label(configuration.pools)} with about "
        f"{max(1, round(requests)):,} clients at {configuration.isl}/{configuration.osl}; then "
        "simulate calibrate fit RUNS.csv --out DIR"
    )
    return lines


def stands_in(scenario: Scenario) -> list[str]:
    """What else a SKU is deployed as, where a scenario names no engine; empty if nothing."""
    if scenario.engine is not None or scenario.spec != "none":
        return []
    note = forms_note(resolve_target(scenario), calibration=scenario.calibration)
    return [note] if note else []
