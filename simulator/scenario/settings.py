"""What a user asks for: one flat set of named settings, each remembering where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwmodels.fitted import check_calibration
from simulator.engines.labels import default_precision
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

REPORTED = "settings."
"""How the server settings begin that ``resolved.yaml`` reports beside those of a scenario."""


class Scenario(BaseModel):
    """Settings of one curve; a field that is ``None`` is resolved from data files.

    Defaults are InferenceX's single-node job on DeepSeek-V4-Pro. The precision, where nobody
    names one, is that of the model's usual checkpoint
    (`simulator.engines.labels.default_precision`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sku: str = Field(description="chip or rack, see `simulate list skus`")
    model: str = Field("deepseek-v4-pro", description="model, see `simulate list models`")
    engine: str | None = Field(
        None, description="engine, optionally of a date: sglang or sglang@2026-05"
    )
    precision: Literal["fp4", "fp8", "int4", "bf16"] = Field(
        "fp4", description="of the routed experts; of all projections in a dense model"
    )
    gpus: int | None = Field(None, ge=1, description="chips of one worker; None: one node")
    tp: int | None = Field(None, ge=1, description="tensor parallel degree; None: all that fit")
    ep: int | None = Field(None, ge=1, description="expert parallel degree; None: all that fit")
    dp_attention: bool | None = Field(None, description="attention data parallelism; None: both")
    isl: int = Field(8192, ge=1, description="nominal input length [tokens]")
    osl: int = Field(1024, ge=1, description="nominal output length [tokens]")
    length_distribution: Literal["uniform_0.8", "uniform_0_to_cap", "fixed"] = Field(
        "uniform_0.8", description="InferenceX draws lengths uniformly from [0.8 L, L]"
    )
    concurrency: tuple[int, ...] | None = Field(
        None, description="closed-loop clients; None: powers of two to 2,048 while it pays"
    )
    spec: str = Field("none", description="speculation: none, mtp:K or dspark:K")
    acceptance_length: float | None = Field(
        None, ge=1, description="tokens per step under speculation; None: the recipe's"
    )
    economics: str = Field("latest", description="dated cost and power file, such as 2026-04")
    overrides: dict[str, float] = Field(
        default_factory=dict, description="SKU fields to change, in SI units"
    )
    calibration: Path | None = Field(None, description="directory of an own fit; None: shipped")
    seed: int = Field(0, ge=0, description="seed of every random stream")

    @model_validator(mode="before")
    @classmethod
    def _usual_precision(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("precision") is not None:
            return values
        model = values.get("model", cls.model_fields["model"].default)
        return {**values, "precision": default_precision(str(model))}


class ScenarioSource(BaseModel):
    """A scenario and where each of its settings came from."""

    model_config = ConfigDict(frozen=True)

    scenario: Scenario
    origin: dict[str, str]


def build_scenario(*, flags: Mapping[str, Any], file: Path | None = None) -> ScenarioSource:
    """A scenario from a YAML file with flags on top.

    Parameters
    ----------
    flags:
        Settings given on the command line; ``None`` means not given.
    file:
        YAML file of settings, or the ``resolved.yaml`` of an earlier run, which gives that run
        again: its server settings (`REPORTED`) are those of the recipe and are not read.

    Raises
    ------
    UserError
        If the file cannot be read or parsed (line and column), a setting is unknown or out of
        range, or the calibration holds no fit.
    """
    values: dict[str, Any] = {}
    origin = dict.fromkeys(Scenario.model_fields, "default")
    if file is not None:
        for name, entry in read_yaml_mapping(file).items():
            if name.startswith(REPORTED):
                continue
            resolved = isinstance(entry, dict) and set(entry) == {"value", "origin"}
            value = entry["value"] if resolved else entry
            if value is not None:
                values[name] = value
                origin[name] = f"file {file}"
    for name, value in flags.items():
        if value is not None:
            values[name] = value
            origin[name] = "flag"
    for name in values:
        if name not in Scenario.model_fields:
            raise unknown_name(field="setting", value=name, known=Scenario.model_fields)
    try:
        source = ScenarioSource(scenario=Scenario(**values), origin=origin)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f" is {first['input']!r}"
        raise UserError(f"{field}{given}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    if source.scenario.calibration is not None:
        check_calibration(source.scenario.calibration)
    return source
