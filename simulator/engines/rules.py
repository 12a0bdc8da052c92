"""The engines' scheduling rules by date: which form of each was in force in a build."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.engines.host_times import host_times_table
from workloads.datafiles import invalid_data, read_yaml_mapping

RuleValue: TypeAlias = bool | int | float | str | None


class Rule(BaseModel):
    """One form of one rule of an engine's scheduler.

    Parameters
    ----------
    engine:
        Scheduler that it belongs to.
    rule:
        Name, the same for all of its forms.
    form:
        What the engine does.
    first, last:
        First and last day on which a build has this form; ``None``: open.
    known_absent:
        Last release that was read and does not have it, where ``first`` is an estimate.
    settings:
        Engine settings that express it, with their constants.
    source:
        Commit, release and file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    rule: str
    form: str
    first: dt.date | None = None
    last: dt.date | None = None
    known_absent: str = ""
    settings: Mapping[str, RuleValue] = Field(default_factory=dict)
    source: str

    def holds_on(self, day: dt.date | None) -> bool:
        """Whether a build of that day has this form; ``None`` is the latest build."""
        if day is None:
            return self.last is None
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


class Divergence(BaseModel):
    """What a real engine does that is not modelled here, and what that costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    what: str
    cost: str


class _RuleFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rules: tuple[Rule, ...]
    divergences: tuple[Divergence, ...]


def all_rules() -> tuple[Rule, ...]:
    """Every form of every rule.

    Raises
    ------
    UserError
        If the data file is not valid.
    """
    return _rule_file().rules


@cache
def _rule_file() -> _RuleFile:
    path = Path(__file__).with_name("rules.yaml")
    try:
        return _RuleFile.model_validate(read_yaml_mapping(path))
    except ValidationError as error:
        raise invalid_data(source=str(path), error=error) from None


def rules_in_force(*, engine: str, day: dt.date | None = None) -> tuple[Rule, ...]:
    """The form of each rule that a build of an engine has; ``None`` is the latest build."""
    return tuple(rule for rule in all_rules() if rule.engine == engine and rule.holds_on(day))


def rule_settings(*, engine: str, day: dt.date | None = None) -> dict[str, tuple[RuleValue, str]]:
    """Settings that the rules in force fix where nothing else is recorded, with their origin."""
    return {
        name: (value, f"rule of the engine from {rule.first or 'the start'}, {rule.source}")
        for rule in rules_in_force(engine=engine, day=day)
        for name, value in rule.settings.items()
    }


def rules_page() -> str:
    """``docs/reference/engines.md``: every rule with its dates, and what is known to diverge."""
    lines = [
        "# Scheduling rules of the engines",
        "",
        "Made from `simulator/engines/rules.yaml`; a test keeps the two in step. A form holds in",
        "builds from its first day to its last, and sets the settings named where a recipe records",
        "none. `simulate show engine vllm@2026-07` lists those in force.",
    ]
    for engine in dict.fromkeys(rule.engine for rule in all_rules()):
        lines += ["", f"## {engine}", "", "| rule | builds | what it does | settings | source |"]
        lines.append("|---|---|---|---|---|")
        for rule in (rule for rule in all_rules() if rule.engine == engine):
            settings = ", ".join(f"`{name}: {value}`" for name, value in rule.settings.items())
            lines.append(
                f"| {rule.rule} | {_builds(rule)} | {rule.form} | {settings or 'always'} "
                f"| {rule.source} |"
            )
    lines += ["", *host_times_table()]
    lines += ["", "## Known divergences", "", "| engine | what is not modelled | what it costs |"]
    lines.append("|---|---|---|")
    lines += [f"| {one.engine} | {one.what} | {one.cost} |" for one in _rule_file().divergences]
    return "\n".join(lines) + "\n"


def _builds(rule: Rule) -> str:
    first = f"from {rule.first}" if rule.first else ""
    if rule.known_absent:
        first += f" (an estimate; not in {rule.known_absent})"
    last = f"to {rule.last}" if rule.last else ""
    return f"{first} {last}".strip() or "all"
