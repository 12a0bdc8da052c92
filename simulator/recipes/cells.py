"""The cells of a recipe's level that apply to one pool, and what they set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from simulator.engines.registry import bind_engine, engine_class
from simulator.engines.rules import rule_settings
from simulator.recipes.expressions import Number, evaluate, expression_names
from simulator.recipes.stated import GRAPH_SETTINGS, STATED, check_consistent, invalid_setting
from workloads.datafiles import invalid_data
from workloads.errors import UserError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from simulator.engines.base import EngineSettings
    from simulator.recipes.files import Cell, Level, Recipe, Scalar


class ActiveCells:
    """The cells of a level that apply to one pool."""

    def __init__(
        self,
        *,
        recipe: Recipe,
        level: Level,
        day: dt.date | None,
        context: dict[str, object],
        stated: Mapping[str, Scalar] | None = None,
    ) -> None:
        self.stated = dict(stated or {})
        self.recipe = recipe
        self.day = day
        self.level = level
        self.context = context
        self.active = [cell for cell in level.cells if cell.applies(context)]

    def settings(self) -> tuple[EngineSettings, dict[str, str]]:
        """Settings and where each came from."""
        raw: dict[str, Scalar] = {}
        origin: dict[str, str] = {}
        for cell in self.active:
            raw |= cell.settings
            text = _origin(cell, self.level)
            origin |= dict.fromkeys(cell.settings, text)
        raw |= self.stated
        origin |= dict.fromkeys(self.stated, STATED)
        cls: Any = engine_class(self.recipe.engine).settings_class
        rules = rule_settings(engine=self.recipe.engine, day=self.day)
        values: dict[str, Any] = {
            name: value for name, (value, _) in rules.items() if name not in raw
        }
        origin |= {name: text for name, (_, text) in rules.items() if name not in raw}
        values |= {name: self._value(name, raw, ()) for name in raw}
        try:
            settings: Any = cls(**values)
        except ValidationError as error:
            if self.stated:
                raise invalid_setting(error, engine=self.recipe.engine) from None
            raise invalid_data(source=f"recipe {self.level.name}", error=error) from None
        check_consistent(settings, stated=self.stated)
        origin |= {
            name: "engine default, not recorded"
            for name in cls.model_fields
            if name not in origin and name != "scheduler"
        }
        return settings, origin

    def _value(self, name: str, raw: dict[str, Scalar], above: tuple[str, ...]) -> Scalar:
        """A setting's value; expressions may read other settings, and their defaults."""
        if name in self.stated:
            return self.stated[name]
        field_info = engine_class(self.recipe.engine).settings_class.model_fields[name]
        value = raw.get(name, field_info.default)
        is_option = value in get_args(field_info.annotation)
        if not isinstance(value, str) or is_option or value == field_info.default:
            return value  # type: ignore[no-any-return]
        try:
            reads = expression_names(value)
        except ValueError:
            return value
        if name in above:
            raise UserError(f"recipe {self.level.name}: {name} is defined by itself")
        variables: dict[str, Number] = {
            read: self.context[read]  # type: ignore[misc]
            if read in self.context
            else self._value(read, raw, (*above, name))
            for read in reads
        }
        try:
            return evaluate(value, variables=variables)
        except ValueError as error:
            raise UserError(f"recipe {self.level.name}: {name}: {error}") from None

    def plan(self, *, settings: EngineSettings, drafts: int) -> dict[str, Scalar]:
        """Execution-plan fields; a recorded graph size becomes tokens of one rank."""
        plan: dict[str, Scalar] = {}
        graph = bind_engine(settings).graph_tokens(drafts=drafts)
        if graph is not None:
            plan["graph_max_tokens"] = graph
        for cell in self.active:
            plan |= cell.plan
        if graph is not None and GRAPH_SETTINGS & self.stated.keys():
            plan["graph_max_tokens"] = graph
        pieces = bind_engine(settings).graphs_prefill
        if pieces is not None:
            plan["graph_prefill"] = pieces
        if (largest := bind_engine(settings).prefill_graph_tokens) is not None:
            plan["graph_prefill_max_tokens"] = largest
        if bind_engine(settings).two_batches:
            plan["two_batch_overlap"] = True
        return plan

    def unknown(self) -> dict[str, str]:
        """Settings that the server was given but that were not recorded."""
        unknown: dict[str, str] = {}
        for cell in self.active:
            unknown |= cell.unknown
            for name in cell.settings:
                unknown.pop(name, None)
        return unknown


def _origin(cell: Cell, level: Level) -> str:
    note = f"; {cell.note}" if cell.note else ""
    return f"{cell.kind}, {cell.source or level.source}{note}"
