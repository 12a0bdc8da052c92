"""Builds the table of kernel efficiencies, ``hwmodels/software/kernels.yaml``.

``python -m calibration.kernels.table --out kernels.yaml`` reads the op tables of the
``aiconfigurator-core`` wheel, fits every family (`calibration.kernels.fit`,
`calibration.kernels.collectives`),
adds the published figures of chips without op tables (``measurements/kernel_figures.yaml``) and
writes the table with the errors of each fit.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from calibration.command_line import run_main
from calibration.importers import aiconfigurator as tables
from calibration.kernels.fit_rows import (
    UNBOUND,
    fit_all_links,
    fit_collectives,
    fit_dense_families,
    fit_families,
)
from hwmodels.sku import load_sku
from simulator.output.text_file import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration.kernels.collectives import LinkFit
    from calibration.kernels.fit import FamilyFit, KernelParameters
    from hwmodels.sku import Sku

FIGURES = Path(__file__).parents[1] / "measurements" / "kernel_figures.yaml"
_FIELDS = {"t0_s": "s", "e_c": "-", "e_m": "-"}
_RATE = {"fp8": "fp8", "mxfp4xfp8": "fp8", "fused": "fp8", "nvfp4": "fp4", "mxfp4": "fp4"}
_FAMILY_RATE = {
    "gemm": "bf16",
    "grouped_gemm": "bf16",
    "attention": "bf16",
    "indexer": "fp8",
    "memory": None,
}
"""Peak rate that a path runs at, and that of a family's other paths."""
_LONGER = ("gemm", "fp4")
"""Family and rate whose products take much longer on AMD's chips than on NVIDIA's."""
_HEADER = """\
# Kernel efficiencies by family, path and chip generation; written by
# `python -m calibration.kernels.table`. Meaning and errors: docs/background/kernels.md.
"""
_WITHOUT_HEADER = """\
# Kernel parameters of each SKU's generation fitted without the rows of that SKU: t0_s [s], e_c,
# e_m; latency_s [s], efficiency. Written by `python -m calibration.kernels.table`.
"""
_TABLES = {
    "gemm": "gemm_perf",
    "grouped_gemm": "moe_perf, balanced routing",
    "attention": "dsv4_hca_attn_module_perf (vLLM); mla_*: *_mla_perf (TensorRT-LLM)",
    "gqa": "generation_attention_perf and context_attention_perf",
    "gdn": "gdn_perf",
    "indexer": "dsv4_paged_mqa_logits_module_perf",
    "memory": "mhc_module_perf, scale_matrix_perf and dsv4_csa_topk_calib_perf",
    "all_reduce": "nccl_perf and custom_allreduce_perf",
    "all_gather": "nccl_perf",
    "reduce_scatter": "nccl_perf",
    "all_to_all": "wideep_deepep_ll_perf, wideep_deepep_normal_perf and trtllm_alltoall_perf",
    "deepep_ll": "wideep_deepep_ll_perf",
    "deepep_normal": "wideep_deepep_normal_perf",
    "nvlink_one_sided": "trtllm_alltoall_perf",
    "network": "wideep_deepep_ll_perf, 2 to 8 nodes",
}
_TABLE_OF_PATH = {
    **{f"{kind}_{phase}": kind for kind in ("gqa", "gdn") for phase in ("decode", "prefill")},
    "conv": "gdn",
}
"""Tables of paths that are not those of their family."""


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _errors(fit: FamilyFit | LinkFit) -> dict[str, Any]:
    errors = {
        "in_sample": fit.in_sample_error,
        "cross_sku": fit.cross_sku_error,
        "cross_generation": getattr(fit, "cross_generation_error", None),
    }
    return {name: round(value, 3) for name, value in errors.items() if value is not None}


def _source(name: str, version: str) -> str:
    return f"PyPI aiconfigurator-core {version}, {_TABLES[name]}"


def _figure(value: float, *, unit: str, kind: str, source: str) -> dict[str, Any]:
    return {"value": _round(value), "unit": unit, "kind": kind, "source": source}


def _values(parameters: KernelParameters) -> dict[str, float]:
    return {field: _round(getattr(parameters, field)) for field in _FIELDS}


def _entry(fit: FamilyFit, *, source: str, unbound: dict[str, float]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for field, value in _values(fit.parameters).items():
        if field in unbound:
            entry[field] = _figure(
                value, unit=_FIELDS[field], kind="estimate", source="held: binds in no row"
            )
            continue
        entry[field] = _figure(value, unit=_FIELDS[field], kind="fitted", source=source)
        entry[field]["range"] = [_round(bound) for bound in fit.spread[field]]
    entry["error"] = _errors(fit)
    entry["rows"] = fit.rows
    entry["skus"] = list(fit.skus)
    return entry


def _estimate(entry: dict[str, Any], *, scale: dict[str, float], source: str) -> dict[str, Any]:
    """A path or generation without a table: another's values, scaled."""
    estimate = {}
    for field, unit in _FIELDS.items():
        value = entry[field]["value"] * scale.get(field, 1.0)
        value = value if field == "t0_s" else min(1.0, value)
        estimate[field] = _figure(value, unit=unit, kind="estimate", source=source)
    return estimate


def _amd(
    entry: dict[str, Any],
    *,
    rate: str | None,
    generation: str,
    published: dict[str, Any],
    as_long: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The generic values in proportion to published figures of an AMD generation.

    ``rate`` is the peak rate that the path runs at, ``None`` where FLOPs do not count. ``as_long``
    is the generic FP8 entry where its products take as long as those of this path on AMD's chips:
    what quantising, filling and draining cost of a product hangs on how long it takes. FP4 GEMMs
    of MI355X reach 4.1 PFLOP/s at best, FP8 ones of NVIDIA's chips 1.4 to 3.6, FP4 ones 6 to 9.
    """
    own, nvidia = published["large_gemm"][generation], published["large_gemm"]["nvidia"]
    stream = published["stream"]
    source = (
        "generic fit in proportion to published large GEMMs and memory streams, "
        "calibration/measurements/kernel_figures.yaml"
    )
    scale = {"e_m": stream[generation]["value"] / stream["nvidia"]["value"]}
    if rate is not None and as_long is not None:
        source = f"share of a large product that the generic FP8 fit reaches; {source}"
        share = as_long["e_c"]["value"] / nvidia["fp8"]["value"]
        scale["e_c"] = own.get(rate, own["fp8"])["value"] * share / entry["e_c"]["value"]
    elif rate is not None:
        rate = rate if rate in own else "fp8"
        scale["e_c"] = own[rate]["value"] / nvidia[rate]["value"]
    return _estimate(entry, scale=scale, source=source)


def family_table(
    fits: dict[str, dict[str, dict[str, FamilyFit]]],
    *,
    skus: dict[str, Sku],
    version: str,
    published: dict[str, Any],
) -> dict[str, dict[str, dict[str, Any]]]:
    """The ``families`` section: family, path, generation, figures."""
    families: dict[str, dict[str, dict[str, Any]]] = {}
    for family, paths in fits.items():
        section = families[family] = {
            path: {
                generation: _entry(
                    fit,
                    source=_source(_TABLE_OF_PATH.get(path, family), version),
                    unbound=UNBOUND.get(path) or UNBOUND.get(family, {}),
                )
                for generation, fit in generations.items()
            }
            for path, generations in paths.items()
        }
        if "nvfp4" in section:
            section["mxfp4"] = {
                generation: _estimate(
                    entry, scale={}, source="no op table of MXFP4 by MXFP4; NVFP4 taken over"
                )
                for generation, entry in section["nvfp4"].items()
            }
        if family == "indexer":
            section["mxfp4"] = {
                generation: _estimate(
                    entry,
                    scale={"e_c": _fp4_slowdown(generation, skus=skus)},
                    source="no op table of FP4 scores; the FLOP/s of the FP8 kernel taken over, "
                    "as share of the FP4 peak",
                )
                for generation, entry in section["fp8"].items()
            }
            section["any"] = section["fp8"]
        if "any" not in section:
            section["any"] = section["bf16"]
        for path, generations in section.items():
            for generation in ("cdna3", "cdna4"):
                if generation not in generations:
                    rate = _RATE.get(path, _FAMILY_RATE[family])
                    generations[generation] = _amd(
                        generations["generic"],
                        rate=rate,
                        generation=generation,
                        published=published,
                        as_long=section["fp8"]["generic"] if (family, rate) == _LONGER else None,
                    )
    return families


def _fp4_slowdown(generation: str, *, skus: dict[str, Sku]) -> float:
    """FP8 over FP4 peak rate of a generation; 1 where FP4 runs at the FP8 rate. [-]"""
    chips = [s for s in skus.values() if generation in (s.generation, "generic")]
    ratios = [(s.flops_fp8 or 1.0) / (s.flops_fp4 or s.flops_fp8 or 1.0) for s in chips]
    return float(np.median(ratios))


def _link_entry(fit: LinkFit, *, source: str) -> dict[str, Any]:
    return {
        "latency_s": _figure(fit.parameters.latency_s, unit="s", kind="fitted", source=source),
        "efficiency": _figure(fit.parameters.efficiency, unit="-", kind="fitted", source=source),
        "error": _errors(fit),
        "rows": fit.rows,
        "skus": list(fit.skus),
    }


def collective_table(
    fits: dict[str, dict[str, LinkFit]], *, version: str, published: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The ``collectives`` section: kind, generation, figures.

    Latency and efficiency inside a scale-up domain and across the network.
    """
    network = fits["network"]["generic"].parameters
    inside_s = fits["deepep_ll"]["hopper"].parameters.latency_s
    source = _source("network", version)
    across = {
        **published["scaleout"],
        "all_to_all": {
            "latency_s": _figure(
                max(network.latency_s - inside_s, 0.0), unit="s", kind="fitted", source=source
            ),
            "efficiency": _figure(network.efficiency, unit="-", kind="fitted", source=source),
        },
    }
    section: dict[str, dict[str, Any]] = {}
    for kind in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        section[kind] = {
            generation: _link_entry(fit, source=_source(kind, version))
            for generation, fit in fits[kind].items()
        }
        for generation, kinds in published["collectives"].items():
            section[kind][generation] = dict(kinds[kind])
    section["point_to_point"] = {"generic": dict(published["point_to_point"])}
    for kind, generations in section.items():
        for entry in generations.values():
            entry["scaleout_latency_s"] = across[kind]["latency_s"]
            entry["scaleout_efficiency"] = across[kind]["efficiency"]
    return section


def build_tables(root: Path, *, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The table of ``hwmodels/software/kernels.yaml``, and the one with each SKU left out.

    Parameters
    ----------
    root:
        From `calibration.importers.aiconfigurator.find_tables`.
    version:
        Of the wheel, for the sources.
    """
    known = {key: load_sku(key) for key in tables.SYSTEM_OF_SKU}
    skus = {key: sku for key, sku in known.items() if key not in tables.DENSE_ONLY}
    dense_only = {key: known[key] for key in tables.DENSE_ONLY}
    published = yaml.safe_load(FIGURES.read_text(encoding="utf-8"))
    fits = fit_families(root, skus=skus)
    links = fit_all_links(root, skus=skus)
    for family, paths in fit_dense_families(root, skus=dense_only).items():
        for path, generations in paths.items():
            fits[family][path] |= generations
    for kind, found in fit_collectives(root, skus=dense_only).items():
        links[kind] |= {name: link for name, link in found.items() if name != "generic"}
    kernels = {
        "model": "t = t0_s kernels + ((flops / (e_c peak))^4 + (hbm_bytes / (e_m rate))^4)^(1/4)",
        "families": family_table(fits, skus=skus, version=version, published=published),
        "collectives": collective_table(links, version=version, published=published),
        "exchange_kernels": {
            kernel: {
                generation: _link_entry(fit, source=_source(kernel, version))
                for generation, fit in links[kernel].items()
            }
            for kernel in ("deepep_ll", "deepep_normal", "nvlink_one_sided")
        },
    }
    without = {
        key: _without(key, sku.generation, fits=fits, links=links) for key, sku in skus.items()
    }
    return kernels, without


def _without(
    sku: str,
    generation: str,
    *,
    fits: dict[str, dict[str, dict[str, FamilyFit]]],
    links: dict[str, dict[str, LinkFit]],
) -> dict[str, Any]:
    """Parameters of a SKU's generation from the other SKUs of it, by family and path."""
    families = {
        family: {
            path: _values(fit.without[sku])
            for path, generations in paths.items()
            if (fit := generations.get(generation)) is not None and sku in fit.without
        }
        for family, paths in fits.items()
    }
    collectives = {
        kind: {"latency_s": _round(p.latency_s), "efficiency": _round(p.efficiency)}
        for kind, generations in links.items()
        if (link := generations.get(generation)) is not None
        and (p := link.without.get(sku)) is not None
    }
    return {"families": families, "collectives": collectives}


class _Dumper(yaml.SafeDumper):
    """One line per figure; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: Any = None
    ) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=True)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: Any = None) -> yaml.MappingNode:
        leaf = all(not isinstance(value, dict) for value in mapping.values())
        return super().represent_mapping(tag, mapping, flow_style=leaf)


def write_table(table: dict[str, Any], path: Path, *, header: str) -> None:
    """Write a table as YAML, one line per figure."""
    text = yaml.dump(table, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    write_text(path, header + text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: ``--tables FOLDER --out FILE --without FILE``."""
    parser = argparse.ArgumentParser(description="fit kernel efficiencies to measured op tables")
    parser.add_argument("--tables", type=Path, help="systems/data folder of the wheel")
    parser.add_argument("--out", type=Path, required=True, help="YAML file to write")
    parser.add_argument("--without", type=Path, help="YAML file for the fits with a SKU left out")
    options = parser.parse_args(arguments)
    root = tables.find_tables(options.tables)
    kernels, without = build_tables(root, version=tables.wheel_version(root))
    write_table(kernels, options.out, header=_HEADER)
    if options.without is not None:
        write_table(without, options.without, header=_WITHOUT_HEADER)


if __name__ == "__main__":
    run_main(main)
