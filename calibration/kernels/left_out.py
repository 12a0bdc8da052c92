"""Kernel tables as they would be if a SKU, its chip generation or its vendor had none.

Leaving a SKU out of a validation leaves out its serving runs and its kernel measurements alike.
What stands in: the fit to the other SKUs of its generation (``kernels_without.yaml``); else the
table of another generation of its vendor; for a vendor without tables that of all others.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from calibration.measured.runs import measurements_folder
from hwmodels.engine_files import kernel_table
from hwmodels.sku import load_sku
from workloads.datafiles import read_yaml_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel

Absent = Literal["sku", "generation", "vendor"]

_STAND_INS: dict[str, tuple[str, ...]] = {
    "blackwell": ("hopper",),
    "blackwell_ultra": ("hopper",),
    "hopper": ("blackwell",),
    "cdna4": ("cdna3",),
    "cdna3": ("cdna4",),
}
"""Generations of the same vendor whose tables stand in, the nearest first."""

_VENDOR_STAND_INS = {"amd": ("generic",), "nvidia": ("cdna4",)}
"""What stands in for a whole vendor. AMD's entries rest on the shape of NVIDIA's tables, so that
without NVIDIA the floors remain in them; without AMD its published large GEMMs are gone."""

_WITHOUT_FP4 = ("hopper", "cdna3")
_FP4_PATHS = ("mxfp4", "nvfp4")

_TAKEN_FROM = {
    ("gemm", "any"): "bf16",
    ("gemm", "mxfp4"): "nvfp4",
    ("grouped_gemm", "any"): "bf16",
    ("grouped_gemm", "mxfp4"): "nvfp4",
    ("indexer", "any"): "fp8",
    ("indexer", "mxfp4"): "fp8",
}
"""Paths without tables of their own, and the path in proportion to which they were written."""


def kernel_tables_of(sku: str) -> bool:
    """Whether a SKU has op tables and its generation others without it."""
    return sku in _refits()


def without_kernels(software: SoftwareLevel, *, sku: Sku, absent: Absent) -> SoftwareLevel:
    """A software level of a SKU whose kernels nobody has measured.

    Parameters
    ----------
    absent:
        Whether the SKU alone, all of its chip generation or all of its vendor is without
        kernel tables.
    """
    table = table_without(sku=sku.key, generation=sku.generation, vendor=sku.vendor, absent=absent)
    name = f"{software.name} without kernels of the {absent} of {sku.key}"
    return software.with_kernel_table(table, name=name)


@lru_cache(maxsize=64)
def table_without(*, sku: str, generation: str, vendor: str, absent: Absent) -> dict[str, Any]:
    """The kernel table with the entries of a generation replaced by what is left of it.

    A SKU without op tables alone takes nothing away: the entries of its generation are then
    estimates, to which the fit of its siblings is relative. A path that no stand-in has (FP4
    on Hopper) takes the stand-in's FP8 path.
    """
    table = kernel_table()
    if absent == "sku":
        return _without_rows(table, sku=sku, generation=generation)
    order = (
        _VENDOR_STAND_INS.get(vendor, ())
        if absent == "vendor"
        else _STAND_INS.get(generation, ("generic",))
    )
    chip = load_sku(sku)
    slowdown = (chip.flops_fp8 or 1.0) / (chip.flops_fp4 or chip.flops_fp8 or 1.0)
    families = {
        family: {
            path: _replaced(
                generations,
                generation,
                _first(
                    order,
                    generations,
                    paths.get("fp8", generations),
                    fp4_share=slowdown if path in _FP4_PATHS else 1.0,
                ),
            )
            for path, generations in paths.items()
        }
        for family, paths in table["families"].items()
    }
    collectives = {
        kind: _replaced(
            generations,
            generation,
            {
                # the network between nodes is not the chip's
                **generations.get(generation, generations["generic"]),
                **_inside(_first(order, generations, generations)),
            },
        )
        for kind, generations in table["collectives"].items()
    }
    return {"families": families, "collectives": collectives}


def _without_rows(table: Mapping[str, Any], *, sku: str, generation: str) -> dict[str, Any]:
    """The table with the refits of a generation that lacks the rows of one SKU."""
    refit = _refits().get(sku, {"families": {}, "collectives": {}})
    families: dict[str, Any] = {}
    for family, paths in table["families"].items():
        again = refit["families"].get(family, {})
        families[family] = {}
        for path, generations in paths.items():
            entry = generations.get(generation)
            source = path if path in again else _TAKEN_FROM.get((family, path), "")
            if entry is None or source not in again:
                again_entry = _related_entry(generations, generation=generation, sku=sku)
            else:
                old = paths[source][generation]
                again_entry = {
                    name: {"value": entry[name]["value"] * value / old[name]["value"]}
                    for name, value in again[source].items()
                }
            families[family][path] = _replaced(generations, generation, again_entry)
    collectives = {
        kind: _replaced(
            generations,
            generation,
            {
                **generations.get(generation, generations["generic"]),
                **{
                    name: {"value": value}
                    for name, value in refit["collectives"].get(kind, {}).items()
                },
            },
        )
        for kind, generations in table["collectives"].items()
    }
    return {"families": families, "collectives": collectives}


def _related_entry(
    generations: Mapping[str, Any], *, generation: str, sku: str
) -> dict[str, Any] | None:
    """The entry of a generation, or of related ones if the SKU alone was measured for it."""
    entry: dict[str, Any] | None = generations.get(generation)
    if entry is None or entry.get("skus") != [sku]:
        return entry
    family = generation.split("_")[0]
    related = [g for g in generations if g.split("_")[0] == family and g != generation]
    kept: dict[str, Any] = generations[related[0] if related else "generic"]
    return kept


def _first(
    order: Sequence[str],
    generations: Mapping[str, Any],
    substitute: Mapping[str, Any],
    *,
    fp4_share: float = 1.0,
) -> dict[str, Any]:
    """The entry of the first stand-in that has one, of the path itself or of a substitute.

    The FLOP/s of a stand-in without FP4 units are carried over, as ``fp4_share`` of its share
    of the peak.
    """
    for name in order:
        entry: dict[str, Any] | None = generations.get(name) or substitute.get(name)
        if entry is not None:
            share = fp4_share if name in _WITHOUT_FP4 and "e_c" in entry else 1.0
            return entry | ({"e_c": {"value": entry["e_c"]["value"] * share}} if share < 1 else {})
    generic: dict[str, Any] = generations["generic"]
    return generic


def _replaced(
    generations: Mapping[str, Any], generation: str, entry: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {**generations, **({} if entry is None else {generation: entry})}


def _inside(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("latency_s", "efficiency")}


@lru_cache(maxsize=1)
def _refits() -> dict[str, Any]:
    return read_yaml_mapping(measurements_folder() / "kernels_without.yaml")
