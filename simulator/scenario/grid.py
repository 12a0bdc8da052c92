"""What a sweep varies: settings of a scenario with several values each, and pools of workers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from hwmodels.economics import load_economics
from hwmodels.sku import load_sku
from simulator.analysis.objectives import NO_LIMIT, TTFT_LIMITS, stated_limits
from simulator.engines.labels import parse_engine
from simulator.scenario.configure import parse_speculation
from simulator.scenario.declared import POOLS
from simulator.scenario.drawn_lengths import MEANS, MEANS_OF, nominal_lengths, without_means
from simulator.scenario.pairs import split_pair
from simulator.scenario.pool_grid import PoolGrid as PoolGrid
from simulator.scenario.pool_grid import parse_integers as parse_integers
from simulator.scenario.pool_grid import pool_grid
from simulator.scenario.reported import check_reported
from simulator.scenario.settings import (
    Scenario,
    build_scenario,
    limit_of,
    no_sku,
    scenario_defaults,
    with_pool_skus,
)
from simulator.scenario.settings_file import SettingsFile, edited_defaults, read_settings
from simulator.scenario.target import check_runs_on
from workloads.architectures.catalog import load_architecture
from workloads.architectures.names import default_precision
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hwmodels.sku import Sku
    from simulator.analysis.objectives import Objectives

LAYOUT_FIELDS = ("gpus", "tp", "ep", "dp_attention")
POOL_FIELDS = tuple(POOLS)
_SINGLE_FIELDS = ("concurrency", "engine_settings", "overrides", "calibration")
LOAD_FIELDS = tuple(
    name for name in Scenario.model_fields if name not in (*LAYOUT_FIELDS, *_SINGLE_FIELDS)
)
_WHOLE_NUMBERS = {"gpus", "tp", "ep", "isl", "osl", "seed", *POOL_FIELDS}
_WHOLE_NUMBERS -= {"prefill_dp_attention", "disaggregated", "max_gpus"}


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """A scenario in which fields have several values.

    Parameters
    ----------
    values:
        Values of every field of `Scenario` that may vary, at least one each.
    overrides:
        Values of each SKU field to change, in SI units.
    concurrency:
        Closed-loop clients; ``None``: powers of two while they pay. [requests]
    engine_settings:
        Settings of the server that are stated, by the engine's names.
    calibration:
        Directory of a user's own fit; ``None``: the shipped one.
    pools:
        Numbers of workers and layouts of prefill pools.
    limits:
        TTFT limits and goodput of a frontier, where a settings file states them.
    origin:
        Where each setting came from.
    software_of:
        SKUs the better of whose levels every engine has; empty: the SKU's own.
    """

    values: Mapping[str, tuple[Any, ...]]
    overrides: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    concurrency: tuple[int, ...] | None = None
    engine_settings: Mapping[str, Any] = field(default_factory=dict)
    calibration: Path | None = None
    pools: PoolGrid = field(default_factory=PoolGrid)
    limits: Objectives = NO_LIMIT
    origin: Mapping[str, str] = field(default_factory=dict)
    software_of: tuple[str, ...] = ()

    @property
    def _free(self) -> tuple[str, ...]:
        """Fields that vary on their own; drawn lengths bring their means."""
        taken = MEANS if self.values["lengths"] != (None,) else ()
        return tuple(name for name in LOAD_FIELDS if name not in taken)

    @property
    def varied(self) -> tuple[str, ...]:
        """Fields with more than one value, layouts and pools aside."""
        names = [name for name in self._free if len(self.values[name]) > 1]
        return (*names, *(name for name, values in self.overrides.items() if len(values) > 1))

    def loads(self) -> Iterator[Scenario]:
        """A scenario for each combination of values, the layout left open.

        Where no precision is named, each model is run in its usual one.
        """
        names = list(self.overrides)
        for values in product(*(self.values[name] for name in self._free)):
            fields = dict(zip(self._free, values, strict=True))
            first, fields["sku"] = split_pair(fields["sku"])
            first = first or fields["prefill_sku"]
            fields["prefill_sku"] = None if first == fields["sku"] else first
            usual = fields["precision"] == default_precision(fields["model"])
            if "precision" not in self.origin and not usual:
                continue
            for numbers in product(*(self.overrides[name] for name in names)):
                yield Scenario(
                    **fields,
                    overrides=dict(zip(names, numbers, strict=True)),
                    concurrency=self.concurrency,
                    engine_settings=dict(self.engine_settings),
                    calibration=self.calibration,
                )

    def layouts_of(self, load: Scenario) -> Iterator[Scenario]:
        """A load with each combination of the stated layout fields."""
        for values in product(*(self.values[name] for name in LAYOUT_FIELDS)):
            yield load.model_copy(update=dict(zip(LAYOUT_FIELDS, values, strict=True)))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Every setting with its value, or list of values, and where it came from."""
        found: dict[str, Any] = {name: _plain(values) for name, values in self.values.items()}
        found["concurrency"] = None if self.concurrency is None else list(self.concurrency)
        found["overrides"] = {name: _plain(values) for name, values in self.overrides.items()}
        found["engine_settings"] = dict(self.engine_settings)
        found["calibration"] = None if self.calibration is None else str(self.calibration)
        grid = self.pools
        pools: tuple[tuple[Any, ...], ...]
        pools = (grid.prefill, grid.decode, grid.tp, grid.ep, grid.dp_attention)
        pools += tuple(() if one is None else (one,) for one in (grid.disaggregated, grid.max_gpus))
        found |= {
            name: _plain(values) if values else None
            for name, values in zip(POOL_FIELDS, pools, strict=True)
        }
        return {
            name: {"value": value, "origin": self.origin.get(name, "default")}
            for name, value in found.items()
        }


def _plain(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def build_sweep(
    *, flags: Mapping[str, Any], file: Path | SettingsFile | None = None
) -> SweepSettings:
    """Settings of a sweep from a YAML file with flags on top; every name is looked up.

    Parameters
    ----------
    flags:
        Values or lists of values by field; ``None`` means not given.
    file:
        YAML file of a scenario in which fields may be lists, or what was read of one.

    Raises
    ------
    UserError
        If the file cannot be read, or a setting or value is unknown or out of range.
    """
    read = file if isinstance(file, SettingsFile) else read_settings(file)
    check_reported(read)
    given, origin = dict(read.values), dict(read.origin)
    defaults = scenario_defaults(given) | dict.fromkeys((*POOL_FIELDS, *TTFT_LIMITS))
    for name, value in edited_defaults(read, found=defaults).items():
        given[name], origin[name] = value, f"file {read.path}"
    for name, value in flags.items():
        if value is not None:
            given[name], origin[name] = value, "flag"
    given = without_means(given, origin=origin, flags=flags)
    given, origin = with_pool_skus(given, origin=origin)
    limits = {name: limit_of(name, given.pop(name, None)) for name in TTFT_LIMITS}
    known = [*Scenario.model_fields, *POOL_FIELDS]
    for name in given:
        if name not in known:
            raise unknown_name(field="setting", value=name, known=known)
    if given.get("sku") is None:
        example = "name one or more with --sku, as in --sku gb200,b200"
        raise no_sku(given.get("prefill_sku"), example=example)
    if given.get("precision") is None:
        models = _values(
            "model", given.get("model"), default=Scenario.model_fields["model"].default
        )
        given["precision"] = [default_precision(model) for model in models]
    settings = SweepSettings(
        values={
            name: _values(name, given.get(name), default=Scenario.model_fields[name].default)
            for name in (*LOAD_FIELDS, *LAYOUT_FIELDS)
        },
        overrides=_overrides(given.get("overrides")),
        concurrency=_concurrency(given.get("concurrency")),
        engine_settings=_engine_settings(given.get("engine_settings")),
        calibration=build_scenario(
            flags={"sku": "any", "calibration": given.get("calibration")}
        ).scenario.calibration,
        pools=pool_grid(given),
        limits=stated_limits(**limits) or NO_LIMIT,
        origin=origin,
    )
    settings = _with_means(settings)
    _check(settings)
    return settings


def _with_means(settings: SweepSettings) -> SweepSettings:
    """Settings with the means of drawn lengths as ``isl`` and ``osl``.

    Raises
    ------
    UserError
        If other lengths are stated beside them.
    """
    named = settings.values["lengths"]
    if named == (None,):
        return settings
    stated = {name: settings.values[name] for name in settings.origin if name in settings.values}
    means = nominal_lengths(named, stated=stated)
    origin = dict.fromkeys(means, MEANS_OF + ", ".join(named))
    return replace(
        settings, values={**settings.values, **means}, origin={**settings.origin, **origin}
    )


def _values(name: str, given: Any, *, default: Any) -> tuple[Any, ...]:
    """The values of a field, each validated on its own."""
    listed = given if isinstance(given, list | tuple) else [default if given is None else given]
    if not listed:
        raise UserError(f"{name} is an empty list; give it a value or leave it out")
    values: list[Any] = []
    for each in listed:
        parts = parse_integers(each, name=name) if name in _WHOLE_NUMBERS else (each,)
        for part in parts:
            if name == "sku" and isinstance(part, str):
                values.append(part)  # which may name a pair
                continue
            flags = {"sku": "any"} | ({} if part is None else {name: part})
            values.append(getattr(build_scenario(flags=flags).scenario, name))
    return tuple(dict.fromkeys(values))


def _overrides(given: Any) -> dict[str, tuple[float, ...]]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise UserError(f"overrides is {given!r}; write SKU fields and their values")
    listed = {
        name: tuple(values) if isinstance(values, list | tuple) else (values,)
        for name, values in given.items()
    }
    for name, values in listed.items():
        if not values:
            raise UserError(f"overrides.{name} is an empty list; give it a value or leave it out")
        for value in values:
            build_scenario(flags={"sku": "any", "overrides": {name: value}})
    return {name: tuple(float(value) for value in listed[name]) for name in sorted(listed)}


def _engine_settings(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    return build_scenario(flags={"sku": "any", "engine_settings": given}).scenario.engine_settings


def _concurrency(given: Any) -> tuple[int, ...] | None:
    if given is None:
        return None
    listed = given if isinstance(given, list | tuple) else (given,)
    found = build_scenario(flags={"sku": "any", "concurrency": tuple(listed)}).scenario.concurrency
    if not found or min(found) < 1:
        raise UserError(f"concurrency is {list(listed)}; give whole numbers of at least 1")
    return tuple(sorted(set(found)))


def _check(settings: SweepSettings) -> None:
    """Look up every name before anything runs.

    Raises
    ------
    UserError
        If one is unknown.
    """
    for name in settings.values["economics"]:
        load_economics(name)
    for text in settings.values["spec"]:
        parse_speculation(text)
    for name in settings.values["model"]:
        load_architecture(name)
    skus = [load_sku(split_pair(name)[1]) for name in settings.values["sku"]]
    firsts = [split_pair(name)[0] for name in settings.values["sku"]]
    for name in filter(None, (*firsts, *settings.values["prefill_sku"])):
        load_sku(name)
    for sku in skus:
        for field_name, values in settings.overrides.items():
            for value in values:
                sku.override({field_name: value})
    for engine in settings.values["engine"]:
        _check_engine(engine, skus=skus)


def _check_engine(engine: Any, *, skus: Sequence[Sku]) -> None:
    """Whether an engine runs on one SKU at least; the others are refused one by one."""
    if engine is None:
        return
    label = parse_engine(str(engine)).engine
    errors = []
    for sku in skus:
        try:
            check_runs_on(label, sku=sku)
        except UserError as error:
            errors.append(error)
    if len(errors) == len(skus):
        raise errors[0]
