"""Builds the table of kernel efficiencies, ``hwmodels/software/kernels.yaml``.

``python -m calibration.kernel_table --out kernels.yaml`` reads the op tables of the
``aiconfigurator-core`` wheel, fits every family (`calibration.kernels`, `calibration.links`),
adds the published figures of chips without op tables (``measurements/kernel_figures.yaml``) and
writes the table with the errors of each fit.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from calibration import kernel_work as work
from calibration.importers import aiconfigurator as tables
from calibration.kernels import fit_family, kernel_samples
from calibration.links import collective_samples, fit_links, network_samples
from hwmodels.sku import load_sku

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from calibration.kernels import FamilyFit, KernelParameters
    from calibration.links import LinkFit
    from hwmodels.sku import Sku

FIGURES = Path(__file__).parent / "measurements" / "kernel_figures.yaml"
NO_FP4 = ("h100", "h200")
INDEXED_CONTEXT = 4096
"""Up to here every compressed entry is selected and the indexer is skipped. [tokens]"""
UNBOUND = {
    "memory": {"e_c": 0.5},
    "indexer": {"e_m": 0.84},
}
"""Efficiencies that no row of a family is bound by, held at: one half for the few FLOPs of
memory kernels; for the indexer that of the memory family, since the keys of its tables, at most
35 MB, sit in the last-level cache."""
_FIELDS = {"t0_s": "s", "e_c": "-", "e_m": "-"}
_RATE = {"fp8": "fp8", "mxfp4xfp8": "fp8", "nvfp4": "fp4", "mxfp4": "fp4"}
"""Peak rate of a path, where it is not BF16."""
_TABLES = {
    "gemm": "gemm_perf",
    "grouped_gemm": "moe_perf, balanced routing",
    "attention": "dsv4_hca_attn_module_perf",
    "indexer": "dsv4_paged_mqa_logits_module_perf",
    "memory": "mhc_module_perf",
    "all_reduce": "nccl_perf and custom_allreduce_perf",
    "all_gather": "nccl_perf",
    "reduce_scatter": "nccl_perf",
    "all_to_all": "wideep_deepep_ll_perf, wideep_deepep_normal_perf and trtllm_alltoall_perf",
    "deepep_ll": "wideep_deepep_ll_perf",
    "deepep_normal": "wideep_deepep_normal_perf",
    "nvlink_one_sided": "trtllm_alltoall_perf",
    "network": "wideep_deepep_ll_perf, 2 to 8 nodes",
}


def _experts(root: Path, skus: list[str]) -> pd.DataFrame:
    """Expert rows of language-model size; of several kernels of an engine the fastest."""
    frame = work.moe_work(tables.read_moe(root, skus=skus))
    wide = (frame["hidden"] >= 2048) & (frame["inter"] / frame["moe_tp"] >= 256)
    many = frame["experts"].between(32, 512) & (frame["top_k"] >= 4)
    held = frame["experts"] / frame["moe_ep"] >= 4
    busy = frame["tokens"] * frame["top_k"] >= frame["moe_ep"]
    kernel = frame["kernel"].str.contains("marlin|trtllm") | (frame["path"] != "w4a16")
    frame = frame[wide & many & held & busy & kernel]
    shape = [column for column in frame.columns if column not in ("kernel", "time_s")]
    return frame.groupby(shape)["time_s"].min().reset_index()


def _around_experts_s(
    frame: pd.DataFrame, *, memory: dict[str, FamilyFit], skus: dict[str, Sku]
) -> pd.Series:
    """Time of the kernels around the grouped GEMMs by the memory family. [s]"""
    fit = frame["sku"].map({key: memory[sku.generation].parameters for key, sku in skus.items()})
    rate = frame["sku"].map({key: sku.hbm_bytes_per_s for key, sku in skus.items()})
    floor_s = frame["memory_kernels"] * fit.map(lambda p: p.t0_s)
    return floor_s + frame["memory_bytes"] / (rate * fit.map(lambda p: p.e_m))


def fit_families(root: Path, *, skus: dict[str, Sku]) -> dict[str, dict[str, dict[str, FamilyFit]]]:
    """Fits of all families by family, path and generation.

    Parameters
    ----------
    root:
        From `calibration.importers.aiconfigurator.find_tables`.
    skus:
        Chips whose tables are read, by key.
    """
    keys = list(skus)
    generation_of = {key: sku.generation for key, sku in skus.items()}

    def fit(frame: pd.DataFrame, precision: str, family: str = "") -> dict[str, FamilyFit]:
        if precision in ("nvfp4", "mxfp4xfp8"):
            frame = frame[~frame["sku"].isin(NO_FP4)]
        samples = kernel_samples(frame, skus=skus, precision=precision)
        return fit_family(samples, generation_of=generation_of, fixed=UNBOUND.get(family))

    gemm = work.gemm_work(tables.read_gemm(root, skus=keys))
    size = gemm["n"] * gemm["k"]
    gemm = gemm[size.between(2**20, 2**28) & (gemm["m"] <= 16384)]
    mhc = work.mhc_work(tables.read_mhc(root, skus=keys))
    mhc["engine"] = mhc["engine"] + mhc["part"]
    memory = {"any": fit(mhc, "bf16", "memory")}
    for part in ("pre", "post"):
        memory[f"mhc_{part}"] = fit(mhc[mhc["part"] == part], "bf16", "memory")
    experts = _experts(root, keys)
    experts["fixed_s"] = _around_experts_s(experts, memory=memory["any"], skus=skus)
    core = work.attention_work(tables.read_attention_core(root, skus=keys))
    core["engine"] = core["phase"]
    index = work.indexer_work(tables.read_indexer(root, skus=keys))
    index = index[index["prefix"] + index["queries"] > INDEXED_CONTEXT]
    return {
        "gemm": {p: fit(gemm[gemm["path"] == p], p) for p in ("bf16", "fp8", "nvfp4")},
        "grouped_gemm": {
            p: fit(experts[experts["path"] == p], p)
            for p in ("bf16", "fp8", "mxfp4xfp8", "nvfp4", "w4a16")
        },
        "attention": {
            "any": fit(core, "bf16"),
            **{p: fit(core[core["phase"] == p], "bf16") for p in ("decode", "prefill")},
        },
        "indexer": {"fp8": fit(index, "fp8", "indexer")},
        "memory": memory,
    }


def fit_all_links(root: Path, *, skus: dict[str, Sku]) -> dict[str, dict[str, LinkFit]]:
    """Fits of all collectives by kind and generation.

    Beside the kinds: named exchange kernels, and the exchange across nodes (``network``).
    """
    keys = list(skus)
    generation_of = {key: sku.generation for key, sku in skus.items()}
    frame = work.collective_work(tables.read_collectives(root, skus=keys))
    samples = collective_samples(frame[frame["group"] >= 4], skus=skus)
    fits = {
        str(kind): fit_links(
            rows,
            generation_of=generation_of,
            max_efficiency=2.0 if kind == "all_reduce" else 1.0,
        )
        for kind, rows in samples.groupby("kind")
        if kind != "all_to_all"
    }
    exchange = work.exchange_work(tables.read_moe_exchange(root, skus=keys))
    exchange = exchange[exchange["hidden"] >= 4096]
    inside = exchange[exchange["nodes"] == 1]
    fits["all_to_all"] = fit_links(
        collective_samples(inside, skus=skus), generation_of=generation_of
    )
    for kernel, rows in inside.groupby("kernel"):
        fits[str(kernel)] = fit_links(
            collective_samples(rows, skus=skus), generation_of=generation_of
        )
    across = exchange[exchange["kernel"] == "deepep_ll"]
    fits["network"] = fit_links(network_samples(across, skus=skus), generation_of=generation_of)
    return fits


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


def _amd(path: str, entry: dict[str, Any], *, generation: str, published: dict[str, Any]) -> Any:
    gemm, stream = published["large_gemm"], published["stream"]
    rate = _RATE.get(path, "bf16")
    own = gemm[generation].get(rate) or gemm[generation]["fp8"]
    scale = {
        "e_c": own["value"] / gemm["nvidia"][rate if rate in gemm[generation] else "fp8"]["value"],
        "e_m": stream[generation]["value"] / stream["nvidia"]["value"],
    }
    source = (
        "generic fit in proportion to published large GEMMs and memory streams, "
        "calibration/measurements/kernel_figures.yaml"
    )
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
                    fit, source=_source(family, version), unbound=UNBOUND.get(family, {})
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
                    generations[generation] = _amd(
                        path, generations["generic"], generation=generation, published=published
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


def build_table(root: Path, *, version: str) -> dict[str, Any]:
    """The whole table as it is written to ``hwmodels/software/kernels.yaml``."""
    skus = {key: load_sku(key) for key in tables.SYSTEM_OF_SKU}
    published = yaml.safe_load(FIGURES.read_text(encoding="utf-8"))
    links = fit_all_links(root, skus=skus)
    return {
        "model": "t = t0_s kernels + ((flops / (e_c peak))^4 + (hbm_bytes / (e_m rate))^4)^(1/4)",
        "families": family_table(
            fit_families(root, skus=skus), skus=skus, version=version, published=published
        ),
        "collectives": collective_table(links, version=version, published=published),
        "exchange_kernels": {
            kernel: {
                generation: _link_entry(fit, source=_source(kernel, version))
                for generation, fit in links[kernel].items()
            }
            for kernel in ("deepep_ll", "deepep_normal", "nvlink_one_sided")
        },
    }


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


def write_table(table: dict[str, Any], path: Path) -> None:
    """Write a table as YAML."""
    text = yaml.dump(table, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    header = (
        "# Kernel efficiencies by family, path and chip generation; written by\n"
        "# `python -m calibration.kernel_table`. Meaning and errors: docs/background/kernels.md.\n"
    )
    path.write_text(header + text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: ``--tables FOLDER --out FILE``."""
    parser = argparse.ArgumentParser(description="fit kernel efficiencies to measured op tables")
    parser.add_argument("--tables", type=Path, help="systems/data folder of the wheel")
    parser.add_argument("--out", type=Path, required=True, help="YAML file to write")
    options = parser.parse_args(arguments)
    root = tables.find_tables(options.tables)
    write_table(build_table(root, version=tables.wheel_version(root)), options.out)


if __name__ == "__main__":
    main()
