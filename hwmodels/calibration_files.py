"""The files of a calibration as they must be: schema, digest, and the source that ties them.

``fitted.yaml`` and ``bands.yaml`` are written together. Each carries a digest of its content, so
that a truncated or edited file is refused and never read with other numbers; bands name the fit
that they were judged with.
"""

from __future__ import annotations

import hashlib
import json
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwmodels.sku import load_sku
from workloads.datafiles import invalid_data, read_yaml_mapping
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

DIGEST = "digest"

PARAMETERS: dict[str, str] = {
    "t0_scale": "kernel floors over those of the kernel table [-]",
    "compute_scale": "matrix-product efficiency over the kernel table's [-]",
    "grouped_compute_scale": "grouped matrix products (routed experts) over other ones [-]",
    "attention_scale": "attention and indexer efficiency over the kernel table's [-]",
    "memory_scale": "weight-streaming efficiency over the kernel table's [-]",
    "expert_traffic_scale": "expert weights read over those of uniform routing [-]",
    "collective_scale": "link efficiency of collectives over the kernel table's [-]",
    "host_step_s": "host time of a step that the GPU does not hide [s]",
    "eager_launch_s": "host time per kernel outside a graph that the GPU does not hide [s]",
    "floor_limit_s": "most that a launch takes, where a persistent kernel steps on; 0: none [s]",
    "acceptance_scale": "accepted drafts over the recipe's source, where a run states none [-]",
}
"""What a software level sets, with its meaning and unit; scales are 1 where a level is silent."""

_Finite = Annotated[float, Field(allow_inf_nan=False, ge=-50.0, le=50.0)]
_Factor = Annotated[float, Field(allow_inf_nan=False, gt=0.0, le=1e6)]
_Count = Annotated[int, Field(ge=1)]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FitForm(_File):
    """Runs of one form of deployment, its newest level, and the pools that ran."""

    runs: _Count
    newest: str
    deployments: list[str] = []


class FitEntry(_File):
    """One fit of ``fitted.yaml``; its effects are natural logarithms. [-]"""

    models: Annotated[list[str], Field(min_length=1)]
    families: dict[str, str]
    source: str
    generations: dict[str, str]
    precisions: list[str] = []
    runs: dict[str, _Count]
    forms: dict[str, FitForm] = {}
    bounds: dict[str, Annotated[list[_Finite], Field(min_length=2, max_length=2)]]
    effects: dict[str, dict[str, dict[str, _Finite]]]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        for name, (low, high) in self.bounds.items():
            if low > high:
                raise ValueError(f"bounds of {name} are {low:g} to {high:g}; the lower comes first")
        for name in self.effects:
            if name not in self.bounds:
                raise ValueError(f"effects of {name} have no bounds")
        for model in self.models:
            if model not in self.families:
                raise ValueError(f"models names {model}, which has no family")
        for run in self.runs:
            parts = run.split("/")
            if len(parts) != 4 or not all(parts) or parts[2] not in self.generations:
                raise ValueError(f"runs names {run}, not family/engine/sku/date with a known SKU")
        return self


class FittedFile(_File):
    """``fitted.yaml``."""

    fits: list[FitEntry]


class BandRange(_File):
    """Factors on a prediction between which nine of ten measurements lie. [-]"""

    low: _Factor
    high: _Factor
    unit: Literal["1"]
    kind: Literal["fitted"]
    n: _Count

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}; the lower comes first")
        return self


class BandsFile(_File):
    """``bands.yaml``."""

    source: str
    bands: dict[str, dict[str, BandRange]]
    cells: dict[str, dict[str, dict[str, BandRange]]] = {}
    pairs: dict[str, dict[str, BandRange]] = {}


def digest_of(content: Mapping[str, Any]) -> str:
    """Digest of a file's content without its own line."""
    held = {name: value for name, value in content.items() if name != DIGEST}
    text = json.dumps(held, sort_keys=True, ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content with its digest in front, as it is written."""
    plain = json.loads(json.dumps(dict(content)))
    return {DIGEST: digest_of(plain), **plain}


def read_fitted(
    path: Path,
    *,
    effects: Sequence[str],
    groups: Callable[..., Mapping[str, str]],
    is_shipped: bool = False,
) -> dict[str, Any]:
    """``fitted.yaml``, checked.

    Parameters
    ----------
    effects:
        Effects that a fit may have.
    groups:
        The group of each effect that a level belongs to, see `hwmodels.fitted.effect_groups`.
    is_shipped:
        Whether it is the project's own, whose names a test checks and its digest vouches for:
        only schema and digest are then checked.

    Raises
    ------
    UserError
        If the file cannot be read, does not fit the schema, names a parameter, effect or group
        that its runs do not have, or was changed after it was written.
    """
    data = _checked(path, FittedFile)
    for fit in () if is_shipped else data["fits"]:
        known = _groups_of(fit, effects=effects, groups=groups)
        for parameter in (*fit["bounds"], *fit["effects"]):
            _known(path, "parameter", parameter, PARAMETERS)
        for by_effect in fit["effects"].values():
            for effect, addends in by_effect.items():
                _known(path, "effect", effect, effects)
                for group in addends:
                    _known(path, f"group of {effect}", group, known[effect])
    return data


def read_bands(path: Path, *, sources: Callable[[], list[str]]) -> dict[str, Any]:
    """``bands.yaml``, checked.

    Parameters
    ----------
    sources:
        Sources of the fits that stand beside it; the bands must be of one of them.

    Raises
    ------
    UserError
        If the file cannot be read, does not fit the schema, was changed after it was written, or
        belongs to another fit.
    """
    data = _checked(path, BandsFile)
    known = sources()
    if data["source"] not in known:
        raise UserError(
            f"{path} is of another fit than the one beside it: {data['source']!r}; "
            "write both with simulate calibrate fit"
        )
    return data


def _checked(path: Path, kind: type[BaseModel]) -> dict[str, Any]:
    data = read_yaml_mapping(path)
    stated = data.pop(DIGEST, None)
    try:
        kind.model_validate(data)
    except ValidationError as error:
        raise invalid_data(source=str(path), error=error) from None
    if stated != digest_of(data):
        problem = "has no digest" if stated is None else "was changed after it was written"
        raise UserError(
            f"{path} {problem}; write it again with simulate calibrate fit --out {path.parent}"
        )
    return data


def _known(path: Path, field: str, value: str, known: Any) -> None:
    if value not in known:
        error = unknown_name(field=field, value=value, known=known)
        raise UserError(f"{path}: {error}")


def _groups_of(
    fit: Mapping[str, Any], *, effects: Sequence[str], groups: Callable[..., Mapping[str, str]]
) -> dict[str, set[str]]:
    """The groups of each effect that the runs of a fit belong to."""
    known: dict[str, set[str]] = {effect: set() for effect in effects}
    for run in fit["runs"]:
        family, engine, sku, level_date = run.split("/")
        of_family = [model for model in fit["models"] if fit["families"][model] == family]
        for model, precision in product(of_family, fit.get("precisions") or [""]):
            found = groups(
                family=family,
                model=model,
                engine=engine,
                sku=sku,
                vendor=load_sku(sku).vendor,
                generation=fit["generations"][sku],
                precision=precision,
                level_date=level_date,
            )
            for effect, group in found.items():
                known[effect].add(group)
    return known
