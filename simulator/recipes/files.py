"""Recipe files: recorded server settings by date, and how a file states them.

A recipe belongs to serving stacks, SKUs and models. It lists dated levels; a level offers the
layouts that were run and holds cells, each with conditions and the settings that apply under
them. Cells are read top to bottom: where two that apply set the same field, the later one wins.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hwmodels.software import MEDIAN_LEVEL
from simulator.engines.labels import engine_labels
from simulator.engines.pools import PoolLayout, parse_deployment
from simulator.engines.registry import engine_class
from simulator.recipes.expressions import expression_names
from workloads.datafiles import invalid_data, read_yaml_mapping
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan

Scalar: TypeAlias = bool | int | float | str
# A setting is a value, or an expression in the variables below and in other settings.
VARIABLES = ("isl", "osl", "concurrency", "tp", "ep", "dp", "drafts")
CONDITIONS = (*VARIABLES, "dp_attention", "role", "speculation", "precision", "scenario", "layout")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Model):
    """Numbers from ``min`` to ``max``, both included; either may be open."""

    min: float = float("-inf")
    max: float = float("inf")


Condition: TypeAlias = Range | list[Scalar] | Scalar


def holds(condition: Condition, value: object) -> bool:
    """Whether a value is in a range or a list, or is the one value asked for."""
    if isinstance(condition, Range):
        return isinstance(value, int | float) and condition.min <= value <= condition.max
    allowed = condition if isinstance(condition, list) else [condition]
    return any(value == each and type(value) is type(each) for each in allowed)


class _Conditional(_Model):
    when: dict[str, Condition] = Field(default_factory=dict)

    @field_validator("when")
    @classmethod
    def _known_conditions(cls, when: dict[str, Condition]) -> dict[str, Condition]:
        unknown = sorted(when.keys() - set(CONDITIONS))
        if unknown:
            raise ValueError(f"{unknown[0]} is not one of {', '.join(CONDITIONS)}")
        return when

    def applies(self, context: dict[str, object]) -> bool:
        """Whether every condition holds in a context; a value not in it fails its condition."""
        return all(
            name in context and holds(condition, context[name])
            for name, condition in self.when.items()
        )


class Speculation(_Model):
    """How a level speculates where it does.

    ``acceptance_length`` is a length that the benchmark forces [tokens per step];
    ``acceptance_source`` names a published distribution instead.
    """

    drafts: int | None = Field(None, ge=1)
    acceptance_length: float | None = Field(None, ge=1)
    acceptance_source: str | None = None


class Cell(_Conditional):
    """Settings that hold under conditions.

    Parameters
    ----------
    when:
        Conditions: a value, a list of values or ``{min:, max:}``; all must hold.
    settings:
        Fields of the engine's settings class: values or arithmetic expressions.
    plan:
        Fields of `workloads.execution_plan.ExecutionPlan`.
    speculation:
        Drafts and acceptance.
    unknown:
        Settings that the server was given but whose value was not recorded, with what is known.
    kind:
        ``recorded`` from the server's command line, or an ``estimate`` with its note.
    source, note:
        Where it stands if not in the level's source; what a reader should know.
    """

    settings: dict[str, Scalar] = Field(default_factory=dict)
    plan: dict[str, Scalar] = Field(default_factory=dict)
    speculation: Speculation | None = None
    unknown: dict[str, str] = Field(default_factory=dict)
    kind: Literal["recorded", "estimate"] = "recorded"
    source: str = ""
    note: str = ""

    @field_validator("plan")
    @classmethod
    def _valid_plan(cls, plan: dict[str, Scalar]) -> dict[str, Scalar]:
        known = [field.name for field in fields(ExecutionPlan)]
        unknown = sorted(plan.keys() - set(known))
        if unknown:
            raise ValueError(f"{unknown[0]} is not one of {', '.join(known)}")
        return plan

    @model_validator(mode="after")
    def _estimates_say_why(self) -> Cell:
        if self.kind == "estimate" and not self.note:
            raise ValueError("an estimate needs a note that says what it rests on")
        return self


class OfferedLayout(_Conditional):
    """A deployment that was run, such as ``TP8`` or ``1xDEP8+6xTP8``, and at which load."""

    layout: str
    concurrency: list[int] = Field(min_length=1)

    def serves(self, traffic: str) -> bool:
        """Whether it was run with this traffic, ``fixed`` lengths unless it says otherwise."""
        return holds(self.when.get("scenario", "fixed"), traffic)

    @property
    def pools(self) -> tuple[PoolLayout, ...]:
        """The pools of the deployment."""
        return parse_deployment(self.layout)

    @field_validator("layout")
    @classmethod
    def _valid_layout(cls, layout: str) -> str:
        parse_deployment(layout)
        return layout


class Level(_Model):
    """The settings of a date.

    Parameters
    ----------
    name:
        Release or build; ``median-2026-07`` is the undated median of runs up to 2026-07-19.
    date:
        First day from which the level is known to hold.
    date_kind:
        ``image_tag``: the tag of the container image shows it; ``release``: the day by which
        the package index had the release; ``run``: a published run of that day;
        ``validity``: a day on which the configuration was in force, since when is unknown;
        ``any``: engine defaults, without a date.
    source:
        Public place of the settings.
    extends:
        Another level of the file whose layouts and cells come before this level's own.
    assumed:
        What the settings rest on where those of this date are not recorded.
    """

    name: str
    date: dt.date | None = None
    date_kind: Literal["image_tag", "release", "run", "validity", "any"]
    source: str = Field(min_length=1)
    extends: str | None = None
    assumed: str = ""
    layouts: list[OfferedLayout] = Field(default_factory=list)
    cells: list[Cell] = Field(default_factory=list)

    @model_validator(mode="after")
    def _dated_unless_general(self) -> Level:
        if (self.date is None) != (self.date_kind == "any"):
            raise ValueError(f"level {self.name}: a date belongs to every date_kind but 'any'")
        return self

    @property
    def is_median(self) -> bool:
        """Whether this is the pseudo-level of undated medians."""
        return self.name == MEDIAN_LEVEL


class Recipe(_Model):
    """One recipe file.

    Parameters
    ----------
    engines:
        Labels of the serving stacks, all with one scheduler.
    skus:
        SKU keys; empty holds for every SKU.
    models:
        Canonical model names; empty holds for every model.
    stands_in_for:
        Models of the same family that inherit the recipe, with a message.
    lengths:
        Input lengths at which the settings were recorded [tokens], InferenceX's unless stated;
        at others the conditions and expressions of the nearest one hold.
    traffic:
        ``agentic``: a file of such runs alone, which fixed lengths do not see; one without
        ``skus`` also fills in what a recipe that was not run with agentic traffic leaves open.
    levels:
        In order of date.
    """

    engines: list[str] = Field(min_length=1)
    traffic: Literal["any", "agentic"] = "any"
    skus: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    stands_in_for: list[str] = Field(default_factory=list)
    lengths: list[int] = Field(default=[1024, 8192], min_length=1)
    levels: list[Level] = Field(min_length=1)

    @property
    def engine(self) -> str:
        """The scheduler."""
        return engine_labels()[self.engines[0]].engine

    def ran(self, traffic: str, *, level: str) -> bool:
        """Whether a level has settings or layouts of this traffic's own runs."""
        if self.traffic == traffic:
            return True
        found = self.level(level)
        parts = (*found.cells, *found.layouts)
        return any(
            "scenario" in part.when and holds(part.when["scenario"], traffic) for part in parts
        )

    @field_validator("engines")
    @classmethod
    def _one_scheduler(cls, engines: list[str]) -> list[str]:
        labels = engine_labels()
        for name in engines:
            if name not in labels:
                raise ValueError(f"'{name}' is not one of {', '.join(labels)}")
        if len({labels[name].engine for name in engines}) > 1:
            raise ValueError("the engines of one recipe must share a scheduler")
        return engines

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        fields = set(engine_class(self.engine).settings_class.model_fields) - {"scheduler"}
        names: list[str] = []
        for level in self.levels:
            if level.extends is not None and level.extends not in names:
                raise ValueError(f"level {level.name} extends {level.extends}, not listed above it")
            if level.name in names:
                raise ValueError(f"two levels are called {level.name}")
            names.append(level.name)
            for cell in level.cells:
                for name in (*cell.settings, *cell.unknown):
                    if name not in fields:
                        raise ValueError(f"level {level.name}: {name} is no {self.engine} setting")
                for name, value in cell.settings.items():
                    if isinstance(value, str) and not _is_literal(self.engine, name, value):
                        stray = sorted(expression_names(value) - fields - set(VARIABLES))
                        if stray:
                            raise ValueError(f"level {level.name}: {name} reads {stray[0]}")
        dates = [level.date for level in self.levels if level.date and not level.is_median]
        if dates != sorted(dates):
            raise ValueError("levels are not in order of date")
        if len(self.levels) > 1 and None in [level.date for level in self.levels]:
            raise ValueError("a level without a date stands alone")
        return self

    def level(self, name: str) -> Level:
        """The level of a name, with what it extends before its own layouts and cells."""
        level = next(each for each in self.levels if each.name == name)
        if level.extends is None:
            return level
        base = self.level(level.extends)
        return level.model_copy(
            update={
                "layouts": [*level.layouts, *base.layouts],
                "cells": [*base.cells, *level.cells],
            }
        )


def _is_literal(engine: str, field: str, value: str) -> bool:
    """Whether a text is a named choice of the field rather than an expression."""
    return value in get_args(engine_class(engine).settings_class.model_fields[field].annotation)


def read_recipe(path: Path) -> Recipe:
    """A recipe from a YAML file.

    Raises
    ------
    UserError
        If the file cannot be read, is not YAML (with line and column) or does not fit the
        schema (with the field).
    """
    return _recipe(data=read_yaml_mapping(path), source=str(path))


def _recipe(*, data: dict[str, Any], source: str) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise invalid_data(source=source, error=error) from None


def recipe_paths() -> list[Path]:
    """The shipped recipe files, in order of name."""
    folder = Path(str(resources.files("simulator.recipes") / "data"))
    return sorted(folder.glob("*.yaml"))


@lru_cache(maxsize=1)
def load_recipes() -> tuple[Recipe, ...]:
    """Every shipped recipe.

    Raises
    ------
    UserError
        If a file is malformed.
    """
    recipes = tuple(read_recipe(path) for path in recipe_paths())
    if not recipes:
        raise UserError("no recipe file is installed; reinstall the package")
    return recipes
