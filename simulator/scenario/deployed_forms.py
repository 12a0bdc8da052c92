"""As a SKU is deployed: the engines, speculation and pools that somebody ran on it.

A question that names no engine is about a SKU as it is best deployed, so all of these compete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwmodels.evidence import fitted_forms
from simulator.engines.labels import load_engine
from simulator.recipes.files import load_recipes
from simulator.scenario.target import runs_on

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hwmodels.evidence import DeploymentForm
    from hwmodels.sku import Sku
    from simulator.recipes.files import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedForm:
    """One way to serve a model on a SKU, and who did.

    Parameters
    ----------
    engine:
        Label such as ``dynamo-sglang``.
    speculation:
        ``none``, ``mtp`` or ``dspark``.
    disaggregated:
        Whether prefill and decode have pools of their own.
    sku:
        Key of the SKU that was run: the asked one, or its nearest relation with evidence.
    runs:
        Fitted runs of the form there; 0: a recipe alone. [runs]
    """

    engine: str
    speculation: str
    disaggregated: bool
    sku: str
    runs: int

    @property
    def label(self) -> str:
        """Engine, speculation and pools, for a reader."""
        speculation = "" if self.speculation == "none" else f" {self.speculation}"
        return f"{self.engine}{speculation}{' disaggregated' if self.disaggregated else ''}"

    @property
    def evidence(self) -> str:
        """What it rests on, in a few words."""
        return f"{self.runs} runs on {self.sku}" if self.runs else f"a recipe on {self.sku}"


def deployed_forms(
    *,
    sku: Sku,
    model: str,
    calibration: Path | None = None,
    engine: str | None = None,
    speculation: str | None = None,
    disaggregated: bool | None = None,
) -> tuple[DeployedForm, ...]:
    """Forms that were run on a SKU, else on its nearest relation; most runs first.

    Fitted runs of the model count first, then recipes that name it. An engine with an
    orchestrator is disaggregated, a bare one is not, as far as runs tell.

    Parameters
    ----------
    model:
        Canonical name.
    calibration:
        Directory of a user's own fit.
    engine, speculation, disaggregated:
        What is pinned; ``None``: open.
    """

    def wanted(form: DeployedForm) -> bool:
        return (
            (engine is None or _is_engine(form.engine, engine))
            and (speculation is None or form.speculation == speculation)
            and (disaggregated is None or form.disaggregated == disaggregated)
            and runs_on(load_engine(form.engine), sku=sku)
        )

    fitted = [form for form in fitted_forms(calibration) if form.model == model]
    for name in (sku.key, *sku.kin):
        runs = [_of_runs(form) for form in fitted if form.sku == name]
        found = [form for form in [*runs, *_of_recipes(model, name)] if wanted(form)]
        if found:
            return _distinct(found)
    return ()


def _is_engine(label: str, pinned: str) -> bool:
    """Whether a stack is the pinned one, or an orchestrated form of the pinned bare engine."""
    stack, asked = load_engine(label), load_engine(pinned)
    return label == pinned or (not asked.orchestrator and stack.engine == asked.engine)


def _of_runs(form: DeploymentForm) -> DeployedForm:
    return DeployedForm(
        engine=form.engine,
        speculation=form.speculation,
        disaggregated=form.disaggregated,
        sku=form.sku,
        runs=form.runs,
    )


def _of_recipes(model: str, sku: str) -> Iterable[DeployedForm]:
    """Forms of recipes that name the SKU and the model."""
    for recipe in load_recipes():
        if sku not in recipe.skus or model not in recipe.models:
            continue
        for label in recipe.engines:
            for speculation in _speculation_of(recipe):
                yield DeployedForm(
                    engine=label,
                    speculation=speculation,
                    disaggregated=any(
                        len(offer.pools) > 1 for level in recipe.levels for offer in level.layouts
                    ),
                    sku=sku,
                    runs=0,
                )


def _speculation_of(recipe: Recipe) -> list[str]:
    methods = {
        str(cell.when["speculation"])
        for level in recipe.levels
        for cell in level.cells
        if isinstance(cell.when.get("speculation"), str)
    }
    return ["none", *sorted(methods - {"none"})]


def _distinct(forms: Iterable[DeployedForm]) -> tuple[DeployedForm, ...]:
    best: dict[tuple[str, str, bool], DeployedForm] = {}
    for form in forms:
        key = (form.engine, form.speculation, form.disaggregated)
        if key not in best or form.runs > best[key].runs:
            best[key] = form
    return tuple(sorted(best.values(), key=lambda form: (-form.runs, form.label)))
