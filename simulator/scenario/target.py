"""What is simulated, every name looked up once: chip, model, engine and price list as objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hwmodels.economics import load_economics
from hwmodels.sku import load_sku
from simulator.engines.default_engine import default_engine
from simulator.engines.labels import engine_labels, parse_engine
from simulator.recipes.files import load_recipes
from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hwmodels.economics import Economics, SkuEconomics
    from hwmodels.sku import Sku
    from simulator.engines.labels import EngineLabel, EngineRequest
    from simulator.scenario.settings import Scenario
    from workloads.architectures.base import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A chip that serves a model with an engine.

    Parameters
    ----------
    sku:
        The chip or rack with the user's changes; of a shipped record or of the user's own file.
    architecture:
        The model.
    engine, engine_reason:
        The serving stack, of a date where one is named, and why it is this one.
    economics:
        Dated file of prices and power; a simulated run does not depend on it.
    prefill_sku:
        The chip of the prefill pool, where it is another than that of the decode pool.
    """

    sku: Sku
    architecture: Architecture
    engine: EngineRequest
    engine_reason: str
    economics: Economics
    prefill_sku: Sku | None = None

    @property
    def prefill_side(self) -> Target:
        """The same with the chip of the prefill pool; itself where pools have one chip."""
        if self.prefill_sku is None:
            return self
        return replace(self, sku=self.prefill_sku, prefill_sku=None)

    @property
    def model(self) -> str:
        """Canonical name of the model."""
        return self.architecture.name

    @property
    def costs(self) -> SkuEconomics:
        """Price and power of the chip; figures are missing where the file does not know it."""
        return self.economics.for_sku(self.sku.key)

    @property
    def label(self) -> str:
        """Key of the chip; of two the prefill pool's first: ``b200+gb300``."""
        return pair_label(self.sku.key, None if self.prefill_sku is None else self.prefill_sku.key)


def resolve_target(scenario: Scenario) -> Target:
    """The objects that a scenario names.

    Raises
    ------
    UserError
        If a name is unknown, a changed field of the SKU is unknown or out of range, or the
        engine does not run on the SKU's chips.
    """
    sku = changed_sku(scenario.sku, overrides=scenario.overrides)
    architecture = load_architecture(scenario.model)
    engine, reason = named_engine(scenario.engine, sku=sku, model=architecture.name)
    check_runs_on(engine.engine, sku=sku)
    first = None
    if scenario.prefill_sku is not None:
        first = changed_sku(scenario.prefill_sku, overrides=scenario.overrides)
        check_runs_on(engine.engine, sku=first)
        if ported(engine, sku=first).engine != engine.engine:
            raise UserError(
                f"engine {engine.engine.label} of {sku.key} does not serve the prefill pool on "
                f"{first.key}: both pools must run the same engine"
            )
    return Target(
        prefill_sku=None if first is not None and first.key == sku.key else first,
        sku=sku,
        architecture=architecture,
        engine=engine,
        engine_reason=reason,
        economics=load_economics(scenario.economics),
    )


def pair_label(decode: str, prefill: str | None) -> str:
    """Name of the chip of a deployment; of two the prefill pool's first: ``b200+gb300``."""
    return decode if prefill in (None, "", decode) else f"{prefill}+{decode}"


def changed_sku(name: str, *, overrides: Mapping[str, float]) -> Sku:
    """A SKU by name or file, with changed fields.

    Raises
    ------
    UserError
        If the name or a field is unknown, or a value out of range.
    """
    sku = load_sku(name)
    return sku.override(overrides) if overrides else sku


def named_sku(name: str, *, sku: Sku) -> str:
    """What names a SKU again: its key, or the file that a user's own chip stands in."""
    return name if name.lower().endswith((".yaml", ".yml")) else sku.key


def named_engine(text: str | None, *, sku: Sku, model: str) -> tuple[EngineRequest, str]:
    """The engine of a text, or the default of a SKU and model, and why it is the one.

    Whether it runs on the chips is not looked at, see `check_runs_on`.

    Raises
    ------
    UserError
        If the engine is unknown or its date is none.
    """
    if text is not None:
        return ported(parse_engine(text), sku=sku), "stated"
    default, reason = default_engine(sku=sku.key, model=model)
    return ported(parse_engine(default), sku=sku), reason


def ported(asked: EngineRequest, *, sku: Sku) -> EngineRequest:
    """The engine as it runs on a vendor's chips: on Ascend by a plug-in with kernels of its own."""
    port = engine_labels().get(f"{asked.engine.label}-ascend")
    if port is None or sku.vendor != port.vendor:
        return asked
    own = asked.engine
    ported_engine = replace(port, persistent=own.persistent, software_of=own.software_of)
    return replace(asked, engine=ported_engine)


def check_runs_on(engine: EngineLabel, *, sku: Sku) -> None:
    """Whether an engine is written for a SKU's chips; a user's own chip takes every engine.

    Raises
    ------
    UserError
        If it is another vendor's alone; the message names engines that run on the SKU.
    """
    if runs_on(engine, sku=sku):
        return
    known = [
        label for recipe in load_recipes() if sku.key in recipe.skus for label in recipe.engines
    ]
    others = [each.label for each in engine_labels().values() if runs_on(each, sku=sku)]
    raise UserError(
        f"engine {engine.label} runs on {engine.vendor.upper()} chips only, not on {sku.name}; "
        f"engines for {sku.key}: {', '.join(sorted(set(known)) or others)}"
    )


def runs_on(engine: EngineLabel, *, sku: Sku) -> bool:
    """Whether an engine is written for a SKU's chips; a user's own chip takes every engine."""
    return engine.vendor in ("", sku.vendor) or sku.vendor == "user"
