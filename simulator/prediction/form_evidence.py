"""What a software level rests on where a deployment's very form was not run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hwmodels.evidence import runs_of_form

if TYPE_CHECKING:
    from hwmodels.software import SoftwareLevel
    from simulator.scenario.configuration import RunConfiguration


def as_of_form(
    level: SoftwareLevel, *, configuration: RunConfiguration, model: str
) -> tuple[SoftwareLevel, list[str]]:
    """A calibrated level as that of a relation where no run of the very form was fitted.

    A form is a model's serving stack on a SKU with its speculation, aggregated or not. Kernels of
    other forms are the same; how their pools, queues and drafts work together was not seen.

    Parameters
    ----------
    level:
        The software level of a configuration.
    model:
        Whose runs are fitted in the configuration's model's place, or itself.

    Returns
    -------
    The level, and what to say of it.
    """
    if level.kind != "calibrated" or configuration.traffic == "agentic":
        return level, []
    pools = "disaggregated" if len(configuration.pools) == 2 else "aggregated"
    speculation = configuration.speculation
    engine = configuration.engine.label
    if runs_of_form(
        model=model,
        sku=configuration.sku.key,
        engine=engine,
        speculation=speculation,
        disaggregated=pools == "disaggregated",
        directory=configuration.calibration,
    ):
        return level, []
    with_drafts = "" if speculation == "none" else f" with {speculation}"
    note = (
        f"no run of {model} under {engine}{with_drafts}, {pools}, on "
        f"{configuration.sku.key} was fitted: kernels of its other deployments, bands of a relation"
    )
    return replace(level, basis="sibling", kind="transferred"), [note]
