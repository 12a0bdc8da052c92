"""Flags made from declared settings: a command names settings and receives what was given."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from simulator.cli import parsing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.scenario.declared import Setting

    Command = Callable[..., None]

GIVEN = "given"
"""The parameter of a command in whose place its flags stand."""

OPPOSITES = {"disaggregated": "aggregated", "no-ttft-limit": "ttft-limit"}
"""Flags whose negation has a word of its own."""

SETTINGS_OF: dict[str, tuple[Flag, ...]] = {}
"""Flags by command, filled as the commands are declared; the reference page reads it."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag of a command.

    Parameters
    ----------
    setting:
        What it sets, as the command words it.
    declared:
        The same as it was declared.
    is_list:
        Whether several values may be given, with commas between.
    """

    setting: Setting
    declared: Setting
    is_list: bool = False

    @property
    def annotation(self) -> Any:
        """The type that typer reads: every flag that is not given is ``None``."""
        setting = self.setting
        help_text = (self.is_list and setting.several) or setting.text
        if setting.kind == "bool":
            name = setting.option
            other = OPPOSITES.get(name, f"no-{name}")
            return Annotated[bool | None, typer.Option(f"--{name}/--{other}", help=help_text)]
        kind: Any = str | None
        if setting.kind in ("overrides", "values"):
            kind = list[str] | None
        elif not self.is_list and setting.kind in ("int", "float"):
            kind = int | None if setting.kind == "int" else float | None
        metavar = "LIST" if self.is_list and kind == str | None else setting.metavar
        if self.is_list and setting.kind == "overrides":
            metavar = "FIELD=LIST"
        return Annotated[
            kind, typer.Option(f"--{setting.option}", metavar=metavar or "NAME", help=help_text)
        ]

    def parse(self, value: Any) -> Any:
        """The value of the setting that the text of the flag states."""
        setting = self.setting
        if value is None or value == []:
            return None
        flag = f"--{setting.option}"
        match setting.kind:
            case "overrides":
                read = parsing.listed_overrides if self.is_list else parsing.parse_overrides
                return read(value)
            case "values" if setting.name == "vary":
                return parsing.parse_vary(value)
            case "values":
                return parsing.parse_values(value, flag=flag)
            case "counts":
                return parsing.parse_concurrency(value)
            case "windows":
                return parsing.parse_steps(value)
            case "float" if self.is_list:
                return parsing.numbers(value, flag=flag)
            case "text" if self.is_list:
                return parsing.listed(value)
            case "text" if setting.choices and not self.is_list:
                return parsing.choice(value, setting.choices)
        return value


def flag(setting: Setting, *, lists: bool = False, **changes: Any) -> Flag:
    """A flag for a setting, whose help or name a command may word otherwise."""
    worded = replace(setting, **changes) if changes else setting
    return Flag(setting=worded, declared=setting, is_list=lists)


def one_each(settings: Mapping[str, Setting], *names: str) -> list[Flag]:
    """Flags of some settings, one value each."""
    return [flag(settings[name]) for name in names]


def lists_of(settings: Mapping[str, Setting], *names: str) -> list[Flag]:
    """Flags of some settings, several values each."""
    return [flag(settings[name], lists=True) for name in names]


def takes(*flags: Flag, command: str) -> Callable[[Command], Command]:
    """Give a command the flags of settings; it receives those given as `GIVEN`, by name.

    The flags stand in the place of the parameter `GIVEN`, in their order.
    """
    SETTINGS_OF[command] = flags

    def decorate(function: Command) -> Command:
        hints = get_type_hints(function, include_extras=True)
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name == GIVEN:
                parameters += [
                    inspect.Parameter(
                        each.setting.name,
                        inspect.Parameter.KEYWORD_ONLY,
                        default=None,
                        annotation=each.annotation,
                    )
                    for each in flags
                ]
            else:
                parameters.append(
                    parameter.replace(
                        kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name]
                    )
                )

        @wraps(function)
        def run(**values: Any) -> None:
            given = {each.setting.name: each.parse(values.pop(each.setting.name)) for each in flags}
            function(**values, **{GIVEN: given})

        described: Any = run
        described.__signature__ = inspect.Signature(parameters)
        described.__annotations__ = {each.name: each.annotation for each in parameters}
        del described.__wrapped__
        return run

    return decorate
