"""As a SKU is deployed: the engines, speculation and pools that somebody ran on it.

A question that names no engine is about a SKU as it is best deployed, so all of these compete.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hwmodels.evidence import fitted_forms
from simulator.engines.labels import load_engine, with_software_of
from simulator.engines.pools import PoolLayout, parse_deployment
from simulator.recipes.files import load_recipes
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.candidates import (
    Candidates,
    candidate_deployments,
    paired_candidates,
    within_gpus,
)
from simulator.scenario.configure import parse_speculation
from simulator.scenario.grid import LAYOUT_FIELDS
from simulator.scenario.sibling_deployments import with_those_of_siblings
from simulator.scenario.target import changed_sku, resolve_target, runs_on
from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hwmodels.evidence import DeploymentForm
    from hwmodels.sku import Sku
    from simulator.recipes.files import Recipe
    from simulator.scenario.candidates import Pools
    from simulator.scenario.grid import SweepSettings
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target


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
    deployments:
        Labels of the pools that ran, the most frequent first.
    """

    engine: str
    speculation: str
    disaggregated: bool
    sku: str
    runs: int
    deployments: tuple[str, ...] = ()

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
    for name in (sku.key, *sku.related_skus):
        runs = [_of_runs(form) for form in fitted if form.sku == name]
        found = [form for form in [*runs, *_of_recipes(model, name)] if wanted(form)]
        if found:
            return _distinct(found)
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Competitor:
    """A scenario that competes for a SKU, and its deployments.

    Parameters
    ----------
    load, target:
        The scenario with engine and speculation, and what it names.
    candidates:
        Its deployments.
    """

    load: Scenario
    target: Target
    candidates: Candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class Competition:
    """What competes where a question leaves open how a SKU is deployed.

    Parameters
    ----------
    competitors:
        Scenarios with their deployments.
    refused:
        Why forms are left out, by their labels.
    message:
        Which forms compete and what each rests on; empty where the engine is named.
    forms:
        All forms that are known; none: the default engine stands in.
    """

    competitors: tuple[Competitor, ...]
    refused: dict[str, str]
    message: str
    forms: tuple[DeployedForm, ...] = ()


def forms_note(target: Target, *, calibration: Path | None) -> str:
    """What else was run of a target's model on its SKU; empty where nothing else was."""
    forms = deployed_forms(sku=target.sku, model=target.model, calibration=calibration)
    others = [
        f"{form.label} ({form.evidence})"
        for form in forms
        if (form.engine, form.speculation) != (target.engine.engine.label, "none")
    ]
    if not others:
        return ""
    return (
        f"engine {target.engine.engine.label} stands in, {target.engine_reason}; the SKU is also "
        f"deployed as {', '.join(others)}: name one with --engine and --spec, or leave layouts "
        "and server settings out to let all compete"
    )


def is_open(settings: SweepSettings, load: Scenario) -> bool:
    """Whether a question leaves the engine, and so how a SKU is deployed, open."""
    return load.engine is None and not settings.pools.is_stated


def is_all_open(settings: SweepSettings, load: Scenario) -> bool:
    """Whether it leaves layouts and server settings, which are an engine's own, open too."""
    layouts = [settings.values[name] for name in LAYOUT_FIELDS]
    return (
        is_open(settings, load)
        and not settings.engine_settings
        and all(values == (None,) for values in layouts)
    )


def competing(settings: SweepSettings, load: Scenario) -> Competition:
    """The forms in which a model was served on a SKU, or on its nearest relation.

    Their deployments are those that ran and those that recipes offer; of a bare engine that ran,
    those that ran. Stated layouts and speculation hold.

    Raises
    ------
    UserError
        If a name is unknown, or nothing that is stated can be.
    """
    sku = changed_sku(load.sku, overrides=load.overrides)
    model = load_architecture(load.model).name
    pinned = "spec" in settings.origin
    kind = settings.pools.disaggregated
    if load.prefill_sku is not None:
        if kind is False:
            raise UserError(f"prefill_sku is {load.prefill_sku}; leave --aggregated out")
        kind = True
    forms = deployed_forms(
        sku=sku,
        model=model,
        calibration=load.calibration,
        speculation=parse_speculation(load.spec)[0] if pinned else None,
        disaggregated=kind,
    )
    if not forms and kind is not None:
        pools = "prefill and decode pools" if kind else "aggregated workers"
        raise UserError(
            f"nobody is known to have run {model} on {sku.key} or a relation with {pools}; name an "
            "engine and --prefill and --decode"
        )
    if not forms:
        target = resolve_target(load)
        label = with_software_of(target.engine.engine.label, settings.software_of)
        named = load.model_copy(update={"engine": label})
        target = resolve_target(named)
        return Competition(
            competitors=(
                Competitor(
                    load=named,
                    target=target,
                    candidates=candidate_deployments(settings=settings, load=named, target=target),
                ),
            ),
            refused={},
            message=f"{sku.key}: nobody is known to have run {model} on it or a relation, so its "
            f"default engine {target.engine.engine.label}, {target.engine_reason}",
        )
    found: list[Competitor] = []
    refused: dict[str, str] = {}
    for form in forms:
        spec = load.spec if pinned else form.speculation
        engine = with_software_of(form.engine, own_first(settings.software_of, key=sku.key))
        one = load.model_copy(update={"engine": engine, "spec": spec})
        try:
            target = resolve_target(one)
            candidates = _with_recipes(
                _that_ran(form, settings=settings, load=one),
                form=form,
                settings=settings,
                load=one,
                target=replace(target, prefill_sku=None),
            )
            candidates = paired_candidates(candidates, load=one, target=target)
            candidates = within_gpus(candidates, most=settings.pools.max_gpus)
        except UserError as error:
            refused[form.label] = str(error)
            continue
        found.append(Competitor(load=one, target=target, candidates=candidates))
    if not found:
        raise UserError("; ".join(f"{label}: {reason}" for label, reason in refused.items()))
    told = ", ".join(f"{form.label} ({form.evidence})" for form in forms)
    own = Competition(
        competitors=tuple(found),
        refused=refused,
        message=f"{found[0].target.label} as best deployed, of {told}; pin one with --engine and "
        "--spec",
        forms=forms,
    )
    if not settings.software_of:
        return own
    alone = replace(settings, software_of=())
    return with_those_of_siblings(
        own,
        load=load,
        sku=sku,
        software_of=own_first(settings.software_of, key=sku.key),
        competing_on=lambda other: competing(alone, other),
    )


def own_first(names: tuple[str, ...], *, key: str) -> tuple[str, ...]:
    """SKUs whose software is equal, a SKU itself in front: it has server settings of its own.

    What ran on a chip ran with settings for its memory; those of another would keep it back.
    """
    if key not in names:
        return names
    return (key, *(name for name in names if name != key))


def _that_ran(form: DeployedForm, *, settings: SweepSettings, load: Scenario) -> Candidates | None:
    """Deployments of a form that ran and agree with stated layouts; ``None`` without any."""
    asked = [
        PoolRequest(tp=each.tp or each.gpus, ep=each.ep, dp_attention=each.dp_attention)
        for each in settings.layouts_of(load)
    ]
    found: list[Pools] = []
    for label in form.deployments:
        try:
            pools = parse_deployment(label)
        except ValueError:
            continue
        if any(request.accepts(PoolLayout(layout=pools[-1].layout)) for request in asked):
            found.append(pools)
    return Candidates(deployments=tuple(found), refused=()) if found else None


def _with_recipes(
    ran: Candidates | None,
    *,
    form: DeployedForm,
    settings: SweepSettings,
    load: Scenario,
    target: Target,
) -> Candidates:
    """Deployments that ran and, of pools, those that the recipe in force offers.

    Raises
    ------
    UserError
        If none ran and the recipe offers none.
    """
    if ran is not None and not target.engine.engine.orchestrator:
        return ran
    try:
        offered = candidate_deployments(settings=settings, load=load, target=target)
    except UserError:
        if ran is None:
            raise
        return ran
    if ran is None:
        return offered
    alike = tuple(p for p in offered.deployments if (len(p) > 1) == form.disaggregated)
    return replace(ran, deployments=tuple(dict.fromkeys((*ran.deployments, *alike))))


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
        deployments=form.deployments,
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
