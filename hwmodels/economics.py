"""What a chip costs and draws, by date, and what follows for tokens.

Constants drift: a figure in dollars or per megawatt means something only with the file that it
was computed from. The shipped files are ``economics/<YYYY-MM>.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwmodels.quantities import Figure
from workloads.datafiles import invalid_data, mapping_of, read_yaml_mapping
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workloads.ops import Quantity

Tier = Literal["hyperscaler", "neocloud", "rental"]

_UNIT_OF_FIELD = {
    "inferencex_kw": "kW",
    "it_kw": "kW",
    "pue": "-",
    "hyperscaler_usd_per_h": "USD/h",
    "neocloud_usd_per_h": "USD/h",
    "rental_usd_per_h": "USD/h",
}


class SkuEconomics(BaseModel):
    """Cost and power of one SKU in one dated file; what the file does not state is ``None``.

    Parameters
    ----------
    sku, economics:
        Key of the SKU and name of the file.
    figures:
        The stated figures by field, with source and note.
    remarks:
        What is said of single figures beyond their column: copies that stand in, other values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sku: str
    economics: str
    figures: Mapping[str, Figure] = Field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def _value(self, name: str) -> float | None:
        figure = self.figures.get(name)
        return None if figure is None else figure.value

    @property
    def inferencex_kw(self) -> float | None:
        """Power per chip that the InferenceX dashboard of that date divides by. [kW]"""
        return self._value("inferencex_kw")

    @property
    def it_kw(self) -> float | None:
        """Critical IT power per chip: the chip and its share of host, switches, NICs. [kW]"""
        return self._value("it_kw")

    @property
    def pue(self) -> float | None:
        """Power usage effectiveness: utility power over IT power. [-]"""
        return self._value("pue")

    @property
    def utility_kw(self) -> float | None:
        """Power per chip at the meter, ``it_kw * pue``; ``None`` unless both are stated. [kW]"""
        if self.it_kw is None or self.pue is None:
            return None
        return self.it_kw * self.pue

    def usd_per_gpu_hour(self, tier: Tier = "hyperscaler") -> float | None:
        """Price of one chip for one hour. [USD/h]

        ``hyperscaler`` and ``neocloud`` are costs of ownership, ``rental`` a three-year
        contract.
        """
        return self._value(f"{tier}_usd_per_h")


def blended_costs(parts: Sequence[tuple[SkuEconomics, float]]) -> SkuEconomics:
    """Cost and power of the mean chip of a deployment on several kinds.

    Prices and powers are averaged over chips, so that dollars and megawatts of the mean chip times
    all chips are the sums by kind; the PUE is that which makes the powers at the meter add up.
    A figure that one kind lacks is missing.

    Parameters
    ----------
    parts:
        Figures of each kind in one dated file, and how many chips of it.
    """
    total = sum(chips for _, chips in parts)
    figures: dict[str, Figure] = {}
    for name, unit in _UNIT_OF_FIELD.items():
        own = [each.figures.get(name) for each, _ in parts]
        known = [figure for figure in own if figure is not None]
        if len(known) < len(parts):
            continue
        weights = [chips / total for _, chips in parts]
        if name == "pue":
            powers = [each.it_kw for each, _ in parts]
            if any(power is None for power in powers):
                continue
            weights = [w * (power or 0.0) for w, power in zip(weights, powers, strict=True)]
            weights = [weight / sum(weights) for weight in weights]
        figures[name] = Figure(
            value=sum(w * figure.value for w, figure in zip(weights, known, strict=True)),
            unit=unit,
            kind=known[0].kind,
            source=known[0].source,
            note="mean over " + ", ".join(f"{chips:g} {each.sku}" for each, chips in parts),
        )
    return SkuEconomics(
        sku="+".join(each.sku for each, _ in parts),
        economics=parts[0][0].economics,
        figures=figures,
        remarks=tuple(dict.fromkeys(remark for each, _ in parts for remark in each.remarks)),
    )


class Economics(BaseModel):
    """Dated cost and power constants.

    Parameters
    ----------
    name:
        Such as ``2026-04``.
    effective_from:
        First day in force, or its month; the next file ends it.
    note:
        What the constants mean in this file.
    skus:
        Figures by SKU key and field.
    remarks:
        What is said of single figures, by SKU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    effective_from: str = Field(pattern=r"^\d{4}-\d{2}(-\d{2})?$")
    note: str
    sources: tuple[str, ...] = ()
    skus: Mapping[str, Mapping[str, Figure]]
    remarks: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _fill_columns(cls, data: Any) -> Any:
        columns = mapping_of("columns", data.get("columns"))
        rows: dict[str, dict[str, Figure]] = {}
        remarks: dict[str, tuple[str, ...]] = {}
        for sku, cells in mapping_of("skus", data.get("skus")).items():
            rows[sku] = {
                field: _cell(sku=sku, field=field, column=columns.get(field), cell=cell)
                for field, cell in mapping_of(sku, cells).items()
            }
            remarks[sku] = tuple(
                f"{field} of {sku} is {rows[sku][field].value:g}: {cell['note']}"
                for field, cell in mapping_of(sku, cells).items()
                if isinstance(cell, dict) and cell.get("note")
            )
        rest = {name: value for name, value in data.items() if name != "columns"}
        return {**rest, "skus": rows, "remarks": remarks}

    def for_sku(self, key: str) -> SkuEconomics:
        """Cost and power of a SKU; all ``None`` where the file does not know it."""
        return SkuEconomics(
            sku=key,
            economics=self.name,
            figures=self.skus.get(key, {}),
            remarks=tuple(f"economics {self.name}: {each}" for each in self.remarks.get(key, ())),
        )


def _cell(*, sku: str, field: str, column: Any, cell: Any) -> Figure:
    if isinstance(cell, Figure):
        return cell
    if field not in _UNIT_OF_FIELD:
        raise unknown_name(field=f"{sku} field", value=field, known=_UNIT_OF_FIELD)
    own = cell if isinstance(cell, dict) else {"value": cell}
    try:
        figure = Figure.model_validate({**mapping_of(field, column), **own})
    except ValidationError as error:
        raise invalid_data(source=f"{sku}.{field}", error=error) from None
    if figure.unit != _UNIT_OF_FIELD[field]:
        raise UserError(f"{sku}.{field} is in {figure.unit}; it must be in {_UNIT_OF_FIELD[field]}")
    return figure


def _folder() -> Path:
    return Path(str(resources.files("hwmodels") / "economics"))


def list_economics() -> list[str]:
    """Names of the shipped files, oldest first."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def _read_economics(path: Path) -> Economics:
    data = read_yaml_mapping(path)
    try:
        return Economics.model_validate({"name": path.stem, **data})
    except ValidationError as error:
        raise invalid_data(source=str(path), error=error) from None


@lru_cache(maxsize=16)
def _shipped(name: str) -> Economics:
    return _read_economics(_folder() / f"{name}.yaml")


def load_economics(name: str = "latest") -> Economics:
    """Dated constants by name, or from a user's file.

    Parameters
    ----------
    name:
        Such as ``2026-04``; ``latest``; or the path of a YAML file of the same form.

    Raises
    ------
    UserError
        If no file is called so (with the nearest names), or it cannot be read or does not fit
        the schema.
    """
    if name.lower().endswith((".yaml", ".yml")):
        return _read_economics(Path(name))
    known = list_economics()
    if name == "latest":
        return _shipped(known[-1])
    if name not in known:
        raise unknown_name(field="economics", value=name, known=[*known, "latest"])
    return _shipped(name)


def usd_per_million_tokens(
    *, usd_per_gpu_hour: Quantity, tokens_per_s_per_gpu: Quantity
) -> Quantity:
    """Cost of a million tokens. [USD]

    ``$ = 1e6 c / (3600 r)`` with the price of a chip c [USD/h] and its rate r [tok/s] of the
    tokens that are paid for: InferenceX takes all tokens over all chips, or output tokens over
    the decode chips where it says output.

    Raises
    ------
    ValueError
        If a price or rate is not positive.
    """
    _require_positive(usd_per_gpu_hour=usd_per_gpu_hour, tokens_per_s_per_gpu=tokens_per_s_per_gpu)
    return usd_per_gpu_hour * 1e6 / (3600.0 * tokens_per_s_per_gpu)


def tokens_per_usd(*, usd_per_gpu_hour: Quantity, tokens_per_s_per_gpu: Quantity) -> Quantity:
    """Tokens for one dollar, ``3600 r / c``. [tokens/USD]

    Raises
    ------
    ValueError
        If a price or rate is not positive.
    """
    _require_positive(usd_per_gpu_hour=usd_per_gpu_hour, tokens_per_s_per_gpu=tokens_per_s_per_gpu)
    return 3600.0 * tokens_per_s_per_gpu / usd_per_gpu_hour


def tokens_per_s_per_mw(*, tokens_per_s_per_gpu: Quantity, kw_per_gpu: Quantity) -> Quantity:
    """Throughput of a megawatt, ``1000 r / P``, with the power per chip P [kW]. [tok/s/MW]

    Raises
    ------
    ValueError
        If a power or rate is not positive.
    """
    _require_positive(tokens_per_s_per_gpu=tokens_per_s_per_gpu, kw_per_gpu=kw_per_gpu)
    return tokens_per_s_per_gpu * 1e3 / kw_per_gpu


def joules_per_token(*, tokens_per_s_per_gpu: Quantity, kw_per_gpu: Quantity) -> Quantity:
    """Provisioned energy of a token, ``1000 P / r``, with the power per chip P [kW]. [J]

    Raises
    ------
    ValueError
        If a power or rate is not positive.
    """
    _require_positive(tokens_per_s_per_gpu=tokens_per_s_per_gpu, kw_per_gpu=kw_per_gpu)
    return 1e3 * kw_per_gpu / tokens_per_s_per_gpu


def _require_positive(**quantities: Quantity) -> None:
    for name, value in quantities.items():
        if not np.all(np.asarray(value) > 0):
            raise ValueError(f"{name} is {value}; it must be positive")
