"""Which deployment forms were measured: engine, speculation and pools of a model on a SKU.

``fitted.yaml`` counts the fitted runs of each form under ``forms``; a prediction is of kind
calibrated where its own form is among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from hwmodels.fitted import read_fits

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentForm:
    """How a model was served on a SKU.

    Parameters
    ----------
    model, sku, engine:
        Canonical names; the engine is a label such as ``dynamo-vllm``.
    speculation:
        ``none``, ``mtp`` or ``dspark``.
    disaggregated:
        Whether prefill and decode had pools of their own.
    runs:
        Fitted runs.
    newest:
        Level date of the newest of them, or the pseudo-date of undated medians.
    deployments:
        Labels of the pools that ran, the most frequent first.
    """

    model: str
    sku: str
    engine: str
    speculation: str
    disaggregated: bool
    runs: int = 0
    newest: str = ""
    deployments: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its name in ``fitted.yaml``."""
        pools = "disaggregated" if self.disaggregated else "aggregated"
        return "/".join((self.model, self.engine, self.sku, self.speculation, pools))

    @property
    def label(self) -> str:
        """Engine, speculation and pools, for a reader."""
        speculation = "" if self.speculation == "none" else f" {self.speculation}"
        return f"{self.engine}{speculation}{', disaggregated' if self.disaggregated else ''}"


def form_of(
    key: str, *, runs: int = 0, newest: str = "", deployments: tuple[str, ...] = ()
) -> DeploymentForm:
    """The form of a key of ``fitted.yaml``."""
    model, engine, sku, speculation, pools = key.split("/")
    return DeploymentForm(
        model=model,
        sku=sku,
        engine=engine,
        speculation=speculation,
        disaggregated=pools == "disaggregated",
        runs=runs,
        newest=newest,
        deployments=deployments,
    )


def fitted_forms(directory: Path | None = None) -> tuple[DeploymentForm, ...]:
    """All forms that a fit has seen, by key.

    Parameters
    ----------
    directory:
        Of a user's own fit; ``None``: the shipped one.
    """
    return tuple(_by_key(directory).values())


@lru_cache(maxsize=8)
def _by_key(directory: Path | None) -> dict[str, DeploymentForm]:
    forms = {
        key: form_of(
            key,
            runs=int(entry["runs"]),
            newest=str(entry["newest"]),
            deployments=tuple(map(str, entry.get("deployments", ()))),
        )
        for fit in read_fits(directory)
        for key, entry in fit.get("forms", {}).items()
    }
    return dict(sorted(forms.items()))


def runs_of_form(
    *,
    model: str,
    sku: str,
    engine: str,
    speculation: str,
    disaggregated: bool,
    directory: Path | None = None,
) -> int:
    """Fitted runs of exactly this form. [runs]"""
    wanted = DeploymentForm(
        model=model, sku=sku, engine=engine, speculation=speculation, disaggregated=disaggregated
    )
    found = _by_key(directory).get(wanted.key)
    return 0 if found is None else found.runs
