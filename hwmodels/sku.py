"""What a chip can do: one record per SKU, every figure with its source.

Peak rates are dense. Link bandwidth is per direction and per chip. Memory counts bytes. The
shipped records are ``catalog/<key>.yaml``; a user's own chip is a file of the same form.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwmodels.quantities import Figure
from workloads.datafiles import invalid_data, mapping_of, read_yaml_mapping
from workloads.errors import UserError, left_out, unknown_name

__all__ = [
    "CollectiveFigures",
    "Figure",
    "GemmEfficiency",
    "Sku",
    "figure_fields",
    "informative_fields",
    "list_skus",
    "load_sku",
]


_TABLES = "kernel tables and fitted levels say what kernels reach"
_LINKS = "measured latencies and efficiencies of the kernel tables stand in its place"


def _quantity(
    unit: str,
    text: str,
    *,
    required: bool = False,
    most: float | None = None,
    informative: str = "",
) -> Any:
    return Field(
        ... if required else None,
        gt=0,
        le=most,
        description=f"{text} [{unit}]",
        json_schema_extra={"unit": unit, "informative": informative},
    )


class _Quantities(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GemmEfficiency(_Quantities):
    """Share of the dense peak that large matrix products reach, by precision.

    A planning figure: the median over shapes where one was published, not the best shape.
    """

    bf16: float | None = _quantity("-", "BF16", most=1.0, informative=_TABLES)
    fp8: float | None = _quantity("-", "FP8", most=1.0, informative=_TABLES)
    fp4: float | None = _quantity("-", "FP4", most=1.0, informative=_TABLES)
    int8: float | None = _quantity("-", "INT8", most=1.0, informative=_TABLES)


class CollectiveFigures(_Quantities):
    """What the vendor's communication library reaches inside one scale-up domain.

    An efficiency is bus bandwidth (nccl-tests, PERFORMANCE.md) over `Sku.scaleup_bytes_per_s`.
    All-reduce may exceed 1 where the switch reduces; its bus bandwidth is bounded by 2.
    """

    allreduce_latency_s: float | None = _quantity(
        "s", "library all-reduce up to 16 KiB", informative=_LINKS
    )
    allreduce_oneshot_latency_s: float | None = _quantity(
        "s", "an engine's own all-reduce of 8 KiB inside a graph", informative=_LINKS
    )
    allgather_latency_s: float | None = _quantity(
        "s", "all-gather up to 16 KiB", informative=_LINKS
    )
    reducescatter_latency_s: float | None = _quantity(
        "s", "reduce-scatter up to 16 KiB", informative=_LINKS
    )
    alltoall_latency_s: float | None = _quantity("s", "all-to-all up to 16 KiB", informative=_LINKS)
    allreduce_efficiency: float | None = _quantity(
        "-", "large all-reduce", most=2.0, informative=_LINKS
    )
    allgather_efficiency: float | None = _quantity(
        "-", "large all-gather", most=1.0, informative=_LINKS
    )
    reducescatter_efficiency: float | None = _quantity(
        "-", "large reduce-scatter", most=1.0, informative=_LINKS
    )
    alltoall_efficiency: float | None = _quantity(
        "-", "large all-to-all", most=1.0, informative=_LINKS
    )
    p2p_efficiency: float | None = _quantity(
        "-",
        "one pair, over the pair's link where there is one, else over the chip's",
        most=1.0,
        informative=_LINKS,
    )
    scaleout_efficiency: float | None = _quantity(
        "-", "large blocks over the network", most=1.0, informative=_LINKS
    )


_GROUPS: dict[str, type[_Quantities]] = {
    "gemm_efficiency": GemmEfficiency,
    "collective": CollectiveFigures,
}


class Sku(_Quantities):
    """One chip as sold in one system, in SI base units.

    Every quantity below comes from a `Figure` of the same name in `figures` (dotted for the
    two groups, as in ``gemm_efficiency.fp8``), which keeps unit, kind, source and range. An
    unknown quantity is ``None``.

    Raises
    ------
    ValueError
        If a required figure is missing, a field is unknown, or a figure's unit is of another
        dimension than the field's.
    """

    key: str
    name: str = Field(description="display name")
    vendor: Literal["nvidia", "amd", "huawei", "google", "aws", "intel", "user"]
    generation: str = Field(description="chip generation; kernels are alike within one")
    status: Literal["shipping", "announced", "cancelled"]
    scaleup_topology: Literal["switch", "mesh", "torus"]
    devices_per_chip: int = Field(
        default=1, ge=1, description="devices that engines count on a chip; here a rank is a chip"
    )
    aliases: tuple[str, ...] = ()
    related_skus: tuple[str, ...] = Field(default=(), description="related SKUs, nearest first")
    announced: str | None = Field(default=None, description="year, month or half-year")
    expected: str | None = Field(default=None, description="when it is to ship, if it does not")
    shipping_since: str | None = Field(default=None, description="year, month or half-year")
    note: str = ""
    sources: tuple[str, ...] = Field(default=(), description="every source that the figures cite")
    figures: Mapping[str, Figure] = Field(description="by dotted field name; read only")

    flops_fp4: float | None = _quantity("FLOP/s", "dense peak, FP4")
    flops_fp6: float | None = _quantity(
        "FLOP/s", "dense peak, FP6", informative="no kernel computes in FP6"
    )
    flops_fp8: float | None = _quantity("FLOP/s", "dense peak, FP8")
    flops_bf16: float = _quantity("FLOP/s", "dense peak, BF16", required=True)
    flops_fp32: float | None = _quantity(
        "FLOP/s",
        "peak of the FP32 vector units",
        informative="no kernel is bound by the vector units",
    )
    flops_int8: float | None = _quantity(
        "FLOP/s", "dense peak, INT8", informative="no kernel computes in INT8"
    )
    hbm_bytes: float = _quantity(
        "B",
        "marketed memory, as bytes",
        required=True,
        informative="what fits follows from hbm_usable_bytes",
    )
    hbm_usable_bytes: float = _quantity("B", "memory that the driver reports", required=True)
    hbm_bytes_per_s: float = _quantity("B/s", "peak memory bandwidth", required=True)
    l2_bytes: float | None = _quantity(
        "B",
        "last-level cache or on-chip memory",
        informative="caches are part of the kernel tables",
    )
    clock_hz: float | None = _quantity(
        "Hz", "boost clock", informative="peak rates are stated on their own"
    )
    sm_count: int | None = _quantity(
        "cores",
        "SMs, CUs or the vendor's counterpart, of which exchanges take some",
    )
    scaleup_bytes_per_s: float = _quantity("B/s", "scale-up, all links", required=True)
    scaleup_pair_bytes_per_s: float | None = _quantity(
        "B/s", "scale-up, one pair of a mesh or one neighbour of a torus"
    )
    scaleup_world: int = _quantity("chips", "one scale-up domain", required=True)
    scaleout_bytes_per_s: float | None = _quantity("B/s", "network")
    host_link_bytes_per_s: float | None = _quantity("B/s", "host memory link")
    host_memory_bytes: float | None = _quantity(
        "B", "host memory of one chip's share of its server that engines may take for KV"
    )
    node_gpus: int = _quantity("chips", "one server or tray as sold", required=True)
    rack_gpus: int | None = _quantity("chips", "one rack, where the rack is the product")
    tdp_w: float | None = _quantity(
        "W", "thermal design power of the chip", informative="power is that of the economics file"
    )
    hbm_efficiency: float | None = _quantity(
        "-", "share of memory bandwidth, large reads", most=1, informative=_TABLES
    )
    gemm_efficiency: GemmEfficiency = GemmEfficiency()
    collective: CollectiveFigures = CollectiveFigures()

    def __hash__(self) -> int:
        return hash(self.key)

    @model_validator(mode="before")
    @classmethod
    def _from_figures(cls, data: Any) -> Any:
        figures = _flatten(mapping_of("figures", data.get("figures")))
        units = figure_fields()
        values: dict[str, Any] = {}
        for name, figure in figures.items():
            if name not in units:
                raise unknown_name(field="figure", value=name, known=units)
            if figure.si_unit != units[name]:
                raise ValueError(f"{name} is in {figure.unit}; it needs a unit of {units[name]}")
            group, _, member = name.rpartition(".")
            target = values.setdefault(group, {}) if group else values
            target[member] = figure.si
        for name in (*units, *_GROUPS):
            if name in data:
                raise ValueError(f"{name} belongs under 'figures', with unit, kind and source")
        return {**data, "figures": figures, **values}

    @property
    def fingerprint(self) -> str:
        """Stands for all that predictions take from the record: its key and a digest of it."""
        return _fingerprint(self)

    def override(self, changes: Mapping[str, float]) -> Sku:
        """The same chip with some quantities replaced by a user's.

        Parameters
        ----------
        changes:
            New values by dotted field name, in SI base units, as in
            ``{"hbm_usable_bytes": 298e9}``. The figure becomes one of kind ``user`` whose note
            keeps what it replaces.

        Raises
        ------
        UserError
            If a field is unknown or informative (`informative_fields`), or a value is not a
            positive number within its bounds, or below a thousandth of the chip's, as figures in
            GB or TB/s are.
        """
        units = figure_fields()
        figures = dict(self.figures)
        for name, value in changes.items():
            if name not in units:
                raise unknown_name(field="sku field", value=name, known=units)
            reason = informative_fields().get(name)
            if reason is not None:
                raise UserError(
                    f"{name} is on record only and changes no figure: {reason}; leave it out"
                )
            number = _positive(name=name, value=value, unit=units[name])
            old = figures.get(name)
            if old is not None:
                _check_unit(name, number, old=old, unit=units[name])
            note = f"replaces {old.value:g} {old.unit} ({old.kind})" if old else "was unknown"
            figures[name] = Figure(value=number, unit=units[name], kind="user", note=note)
        identity = {name: getattr(self, name) for name in _identity_fields()}
        try:
            return Sku.model_validate({**identity, "figures": figures})
        except ValidationError as error:
            raise invalid_data(source=f"override of {self.key}", error=error) from None


def _check_unit(name: str, value: float, *, old: Figure, unit: str) -> None:
    """Refuse a rate or size that was meant in another unit; latencies may fall to nothing."""
    if unit in _SIZES and value < _LEAST_SHARE * old.si:
        raise UserError(
            f"{name} is {value:g} {unit}, below a thousandth of the chip's {old.si:.4g} {unit}; "
            f"fields are in SI units, as in {name}={old.si:.4g}"
        )


_SIZES = ("B", "B/s", "FLOP/s", "OP/s", "Hz")
_LEAST_SHARE = 1e-3


@lru_cache(maxsize=1)
def figure_fields() -> dict[str, str]:
    """Every quantity of a `Sku` by its dotted name, and its SI unit."""
    return {name: str(extra["unit"]) for name, extra in _declared().items()}


@lru_cache(maxsize=1)
def informative_fields() -> dict[str, str]:
    """Quantities that are on record but feed no model, by dotted name, and why."""
    return {
        name: str(extra["informative"])
        for name, extra in _declared().items()
        if extra["informative"]
    }


def _declared() -> dict[str, dict[str, Any]]:
    """What each quantity was declared with, by its dotted name."""
    found: dict[str, dict[str, Any]] = {}
    models: dict[str, type[BaseModel]] = {"": Sku}
    models.update({f"{group}.": model for group, model in _GROUPS.items()})
    for prefix, model in models.items():
        for name, field in model.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict):
                found[prefix + name] = dict(extra)
    return found


@lru_cache(maxsize=256)
def _fingerprint(sku: Sku) -> str:
    fields = sku.model_dump(exclude={"figures", "sources", "note"})
    return f"{sku.key}-{hashlib.sha256(repr(fields).encode()).hexdigest()[:16]}"


def _identity_fields() -> list[str]:
    quantities = {*figure_fields(), *_GROUPS, "figures"}
    return [name for name in Sku.model_fields if name not in quantities]


def _flatten(tree: Mapping[str, Any]) -> dict[str, Figure]:
    flat: dict[str, Figure] = {}
    for name, node in tree.items():
        if name in _GROUPS:
            group = mapping_of(name, node)
            leaves = {f"{name}.{member}": leaf for member, leaf in group.items()}
        else:
            leaves = {name: node}
        for path, leaf in leaves.items():
            try:
                flat[path] = leaf if isinstance(leaf, Figure) else Figure.model_validate(leaf)
            except ValidationError as error:
                raise invalid_data(source=path, error=error) from None
    return flat


def _positive(*, name: str, value: object, unit: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not 0.0 < number < float("inf"):
        raise UserError(f"{name} is {value!r}; it must be a positive number in {unit}")
    return number


def _normal(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _catalogue() -> Path:
    return Path(str(resources.files("hwmodels") / "catalog"))


@lru_cache(maxsize=1)
def _keys() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in _catalogue().glob("*.yaml")))


@lru_cache(maxsize=1)
def _own_names() -> dict[str, str]:
    return {_normal(key): key for key in _keys()}


@lru_cache(maxsize=1)
def _aliases() -> dict[str, str]:
    return {_normal(alias): key for key in _keys() for alias in _shipped(key).aliases}


def _read_sku(path: Path) -> Sku:
    data = read_yaml_mapping(path)
    try:
        return Sku.model_validate({"key": path.stem, **data})
    except ValidationError as error:
        raise invalid_data(source=str(path), error=error) from None


@lru_cache(maxsize=64)
def _shipped(key: str) -> Sku:
    return _read_sku(_catalogue() / f"{key}.yaml")


def list_skus() -> list[str]:
    """Keys of the shipped catalogue, in alphabetical order."""
    return list(_keys())


def load_sku(name: str) -> Sku:
    """A SKU by name, or from a user's file.

    Parameters
    ----------
    name:
        A key or an alias, whatever its case and punctuation (``GB200-NVL72``, ``gb200``), or
        the path of a YAML file of the catalogue's form (``my_chip.yaml``).

    Raises
    ------
    UserError
        If no SKU is called so, or the file cannot be read, is not YAML or does not fit the schema.
    """
    if name.lower().endswith((".yaml", ".yml")):
        return _read_sku(Path(name))
    normal = _normal(name)
    key = _own_names().get(normal)
    if key is None:  # only then need all chips be read
        key = _aliases().get(normal)
    if key is not None:
        return _shipped(key)
    named = read_yaml_mapping(_catalogue().parent / "left_out.yaml")
    raise left_out(field="sku", value=name, known=named) or unknown_name(
        field="sku", value=name, known=_keys()
    )
