"""What a user asks for: one flat set of named settings, each remembering where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from hwmodels.fitted import check_calibration
from simulator.analysis.objectives import NO_LIMIT, TTFT_LIMITS, stated_limits
from simulator.scenario.declared import SCENARIO, field
from simulator.scenario.drawn_lengths import MEANS_OF, nominal_lengths, without_means
from simulator.scenario.pairs import split_pair
from simulator.scenario.settings_file import SettingsFile, edited_defaults, read_settings
from workloads.architectures.names import default_precision
from workloads.errors import UserError, shown, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.analysis.objectives import Objectives


class Scenario(BaseModel):
    """Settings of one curve; a field that is ``None`` is resolved from data files.

    Defaults are InferenceX's single-node job on DeepSeek-V4-Pro. The precision, where nobody
    names one, is that of the model's usual checkpoint
    (`workloads.architectures.names.default_precision`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sku: str = field(SCENARIO["sku"])
    prefill_sku: str | None = field(SCENARIO["prefill_sku"])
    model: str = field(SCENARIO["model"])
    engine: str | None = field(SCENARIO["engine"])
    precision: Literal["fp4", "nvfp4", "fp8", "int4", "bf16"] = field(SCENARIO["precision"])
    gpus: int | None = field(SCENARIO["gpus"])
    tp: int | None = field(SCENARIO["tp"])
    ep: int | None = field(SCENARIO["ep"])
    dp_attention: bool | None = field(SCENARIO["dp_attention"])
    isl: int = field(SCENARIO["isl"])
    osl: int = field(SCENARIO["osl"])
    length_distribution: Literal["uniform_0.8", "uniform_0_to_cap", "fixed"] = field(
        SCENARIO["length_distribution"]
    )
    lengths: str | None = field(SCENARIO["lengths"])
    concurrency: tuple[int, ...] | None = field(SCENARIO["concurrency"])
    spec: str = field(SCENARIO["spec"])
    acceptance_length: float | None = field(SCENARIO["acceptance_length"])
    engine_settings: dict[str, Any] = field(SCENARIO["engine_settings"])
    kv_precision: Literal["auto", "fp8", "bf16"] = field(SCENARIO["kv_precision"])
    client_turnaround_s: float | None = field(SCENARIO["client_turnaround_s"])
    client_overhead_s: float | None = field(SCENARIO["client_overhead_s"])
    tokenise_s_per_token: float | None = field(SCENARIO["tokenise_s_per_token"])
    economics: str = field(SCENARIO["economics"])
    overrides: dict[str, float] = field(SCENARIO["overrides"])
    calibration: Path | None = field(SCENARIO["calibration"])
    seed: int = field(SCENARIO["seed"])

    @model_validator(mode="before")
    @classmethod
    def _usual_precision(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("precision") is not None:
            return values
        model = values.get("model", cls.model_fields["model"].default)
        return {**values, "precision": default_precision(str(model))}

    @model_validator(mode="before")
    @classmethod
    def _mean_lengths(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("lengths"), str):
            return values
        stated = {name: (value,) for name, value in values.items() if value is not None}
        means = nominal_lengths([values["lengths"]], stated=stated)
        return {**values, **{name: tokens for name, (tokens,) in means.items()}}


@dataclass(frozen=True, kw_only=True)
class ScenarioSource:
    """A scenario, where each of its settings came from, and the file that was read.

    ``limits`` are those that the file states for the frontier of a curve.
    """

    scenario: Scenario
    origin: dict[str, str]
    file: SettingsFile = dataclass_field(default_factory=SettingsFile)
    limits: Objectives = NO_LIMIT


def build_scenario(*, flags: Mapping[str, Any], file: Path | None = None) -> ScenarioSource:
    """A scenario from a YAML file with flags on top.

    Parameters
    ----------
    flags:
        Settings given on the command line; ``None`` means not given.
    file:
        YAML file of settings, or the ``resolved.yaml`` of an earlier run, which gives that run
        again; whoever runs it checks its server settings, see
        `simulator.scenario.reported.check_reported`.

    Raises
    ------
    UserError
        If the file cannot be read or parsed (line and column), a setting is unknown or out of
        range, or the calibration holds no fit.
    """
    read = read_settings(file)
    values = dict(read.values)
    origin = dict.fromkeys(Scenario.model_fields, "default") | dict(read.origin)
    found = scenario_defaults(values) | dict.fromkeys(TTFT_LIMITS)
    for name, value in edited_defaults(read, found=found).items():
        values[name] = value
        origin[name] = f"file {file}"
    for name, value in flags.items():
        if value is not None:
            values[name] = value
            origin[name] = "flag"
    values = without_means(values, origin=origin, flags=flags)
    values, origin = with_pool_skus(values, origin=origin)
    limits = stated_limits(**{name: limit_of(name, values.pop(name, None)) for name in TTFT_LIMITS})
    for name in values:
        if name not in Scenario.model_fields:
            raise unknown_name(field="setting", value=name, known=Scenario.model_fields)
    try:
        source = ScenarioSource(
            scenario=Scenario(**values), origin=origin, file=read, limits=limits or NO_LIMIT
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "value_error" and not field:
            raise UserError(str(first["ctx"]["error"])) from None
        given = "" if first["type"] == "missing" else f" is {shown(first['input'])}"
        raise UserError(f"{field}{given}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    if source.scenario.lengths is not None:
        origin |= dict.fromkeys(("isl", "osl"), MEANS_OF + source.scenario.lengths)
    if source.scenario.calibration is not None:
        check_calibration(source.scenario.calibration)
    return source


def with_pool_skus(
    values: Mapping[str, Any], *, origin: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings in which ``sku`` is the chip of the decode pool, and of all pools but prefill's.

    ``decode_sku`` is another name of it; beside it alone, ``sku`` stands for the prefill pool.
    ``b200+gb300`` names both. Beside a list of chips a named pair is one more of them.

    Raises
    ------
    UserError
        If more chips are named than there are pools.
    """
    found, whence = dict(values), dict(origin)
    if isinstance(named := found.get("sku"), str) and found.get("prefill_sku") is None:
        first, found["sku"] = split_pair(named)
        if first is not None:
            found["prefill_sku"], whence["prefill_sku"] = first, whence.get("sku", "default")
    decode = found.pop("decode_sku", None)
    source = whence.pop("decode_sku", "default")
    if decode is None:
        return found, whence
    if found.get("sku") is not None:
        if isinstance(found["sku"], list) and found.get("prefill_sku") is not None:
            found["sku"] = [*found["sku"], f"{found.pop('prefill_sku')}+{decode}"]
            return found, whence
        if found.get("prefill_sku") is not None:
            raise UserError(
                f"sku is {found['sku']} beside prefill_sku {found['prefill_sku']} and decode_sku "
                f"{decode}; leave sku out"
            )
        found["prefill_sku"], whence["prefill_sku"] = found["sku"], whence.get("sku", "default")
    elif found.get("prefill_sku") is None:
        raise UserError(f"decode_sku is {decode}, but no prefill_sku; name one, or take --sku")
    found["sku"], whence["sku"] = decode, source
    return found, whence


def no_sku(prefill_sku: str | None, *, example: str) -> UserError:
    """What is wrong where a question names no SKU, or that of the prefill pool alone."""
    if prefill_sku is not None:
        return UserError(f"prefill_sku is {prefill_sku}, but no decode_sku; name one")
    return UserError(f"no SKU is given; {example}")


def limit_of(name: str, given: Any) -> float | None:
    """A limit of a settings file for frontiers. [s], [-]

    Raises
    ------
    UserError
        If it is no number above 0.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise UserError(f"{name} is {given!r}; it must be a number above 0")
    return float(given)


def scenario_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the settings that are not stated, given those that are."""
    found = {
        name: setting.get_default(call_default_factory=True)
        for name, setting in Scenario.model_fields.items()
        if not setting.is_required()
    }
    model = values.get("model", found["model"])
    models = model if isinstance(model, list | tuple) else [model]
    usual = [default_precision(str(each)) for each in models]
    found["precision"] = usual[0] if len(dict.fromkeys(usual)) == 1 else list(dict.fromkeys(usual))
    return found
