"""Stored formats of a checkpoint by tensor class, from its ``quantization_config``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from workloads.architectures.base import Release
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workloads.architectures.base import PrecisionLabel
    from workloads.execution_plan import DensePath, ExpertPath

_LABELS: dict[str, PrecisionLabel] = {
    "nvfp4": "fp4",
    "mxfp4xfp8": "fp4",
    "mxfp4": "fp4",
    "int4": "int4",
    "fp8": "fp8",
    "bf16": "bf16",
}
_DENSE_OF = {"mxfp4xfp8": "mxfp4"}
"""Path of projections outside the experts, where it differs."""
_MODELOPT = {
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A16_NVFP4": "nvfp4",
    "FP8": "fp8",
    "FP8_PB_WO": "fp8",
    "MXFP8": "fp8",
    "MXFP4": "mxfp4xfp8",
}
_CLASSES = {
    "attention": ("self_attn", "attention", "mixer", "linear_attn"),
    "feed": ("shared_expert", "dense mlp", "mlp.down_proj", "mlp.gate_proj", "layers.0.mlp"),
}
"""Words in the names of modules that tell a tensor class."""


def stored_formats(config: Mapping[str, Any], *, source: str) -> Release:
    """The release that a configuration describes.

    Attention and linear layers are one class, shared experts and dense networks another, routed
    experts a third; embedding, head, norms and routers are BF16. A class is BF16 where a module of
    it is left out of the quantisation, whatever the number of its layers.

    Raises
    ------
    UserError
        If the method or a format is not understood.
    """
    text = config.get("text_config")
    inner = text.get("quantization_config") if isinstance(text, dict) else None
    quantisation = config.get("quantization_config") or inner
    if not quantisation:
        return Release(label="bf16", expert_path="bf16", dense_path="bf16", kv_storage="bf16")
    method = str(quantisation.get("quant_method") or quantisation.get("quant_algo") or "").lower()
    routed = _routed_path(quantisation, method=method, source=source)
    base = "fp8" if method in ("fp8", "fbgemm_fp8") else routed
    skipped = _skipped(quantisation)
    paths = dict.fromkeys(_CLASSES, base)
    paths |= _named_layers(quantisation, source=source)
    paths |= _named_groups(quantisation, source=source)
    if method == "mxfp4":
        paths = dict.fromkeys(paths, "bf16")
    for name, words in _CLASSES.items():
        if any(word in module for module in skipped for word in words):
            paths[name] = "bf16"
    paths = {name: _DENSE_OF.get(path, path) for name, path in paths.items()}
    return Release(
        label=_LABELS[routed],
        expert_path=cast("ExpertPath", routed),
        dense_path=cast("DensePath", paths["attention"]),
        feed_forward_path=cast("DensePath", paths["feed"]),
        kv_storage="fp8" if _kv_is_fp8(quantisation) else "bf16",
        source=f"{source}, quantization_config",
    )


def _refused(source: str, what: str, value: Any) -> UserError:
    return UserError(
        f"{source}: quantization_config: {what} '{value}' is not understood; it would change the "
        "bytes of the weights (understood: fp8, mxfp4, NVFP4, 4 bits in groups of 16 or 32)"
    )


def _routed_path(quantisation: Mapping[str, Any], *, method: str, source: str) -> str:
    """Storage of the routed experts, or of all matrices of a dense model."""
    if method in ("fp8", "fbgemm_fp8"):
        if str(quantisation.get("moe_quant_algo", "")).upper() == "NVFP4":
            return "nvfp4"
        return "mxfp4xfp8" if quantisation.get("expert_dtype") == "fp4" else "fp8"
    if method == "mxfp4":
        return "mxfp4xfp8"
    if method in ("gptq", "awq"):
        if quantisation.get("bits") != 4:
            raise _refused(source, "bits", quantisation.get("bits"))
        return "int4"
    if method == "compressed-tensors":
        return _compressed(quantisation, source=source)
    if method == "quark":
        return _quark(quantisation, source=source)
    algo = str(quantisation.get("quant_algo") or method).upper()
    if algo == "MIXED_PRECISION":
        named = quantisation.get("quantized_layers") or {}
        experts = {
            str(entry.get("quant_algo", "")).upper()
            for name, entry in named.items()
            if "experts" in name and "shared" not in name
        }
        algo = min(experts) if experts else algo
    path = _MODELOPT.get(algo)
    if path is None:
        raise _refused(source, "quant_method", algo or method)
    return path


def _quark(quantisation: Mapping[str, Any], *, source: str) -> str:
    """Path of AMD's Quark: MXFP4 or FP8 everywhere but in the modules under ``exclude``."""
    if quantisation.get("layer_quant_config") or quantisation.get("layer_type_quant_config"):
        raise _refused(source, "layer_quant_config of quark", "formats by layer")
    weight = (quantisation.get("global_quant_config") or {}).get("weight") or {}
    dtype = str(weight.get("dtype", "")).lower()
    if dtype == "fp4":
        return "mxfp4xfp8"
    if dtype.startswith("fp8"):
        return "fp8"
    raise _refused(source, "weight dtype of quark", dtype)


def _named_groups(quantisation: Mapping[str, Any], *, source: str) -> dict[str, str]:
    """Paths by class of compressed-tensors groups that name their modules."""
    groups = list((quantisation.get("config_groups") or {}).values())
    if len(groups) < 2:
        return {}
    everything = any("Linear" in (group.get("targets") or ()) for group in groups)
    found: dict[str, str] = {} if everything else dict.fromkeys(_CLASSES, "bf16")
    for group in groups:
        for target in group.get("targets") or ():
            for name, words in _CLASSES.items():
                if any(word in str(target).replace("\\.", ".") for word in words):
                    found[name] = _of_group(quantisation, group, source=source)
    return found


def _compressed(quantisation: Mapping[str, Any], *, source: str) -> str:
    """Path of the routed experts: the group of a compressed-tensors file that names them, or all.

    Raises
    ------
    UserError
        If several groups have formats of their own and none of them names experts or all layers.
    """
    groups = list((quantisation.get("config_groups") or {}).values())
    named = [
        group
        for group in groups
        if any(
            target == "Linear" or ("expert" in target and "shared" not in target)
            for target in map(str, group.get("targets") or ("Linear",))
        )
    ]
    paths = {_of_group(quantisation, group, source=source) for group in groups}
    if len(paths) > 1 and len(named) != 1:
        raise _refused(source, "config_groups", "several formats, experts in none or in several")
    return _of_group(quantisation, next(iter(named or groups), {}), source=source)


def _of_group(quantisation: Mapping[str, Any], of_group: Mapping[str, Any], *, source: str) -> str:
    """Path of one group."""
    form = str(of_group.get("format") or quantisation.get("format", ""))
    weights = of_group.get("weights") or {}
    bits, kind = weights.get("num_bits"), weights.get("type")
    group = weights.get("group_size", quantisation.get("group_size"))
    if form.startswith("mxfp4") or (bits == 4 and kind == "float" and group == 32):
        return "mxfp4xfp8"
    if form.startswith("nvfp4") or (bits == 4 and kind == "float" and group == 16):
        return "nvfp4"
    if bits == 4 and kind == "int":
        return "int4"
    if bits == 8 and kind == "float":
        return "fp8"
    raise _refused(source, "format", form or f"{bits} bits, {kind}")


def _named_layers(quantisation: Mapping[str, Any], *, source: str) -> dict[str, str]:
    """Paths by class of a modelopt file that names the format of each module."""
    named = quantisation.get("quantized_layers")
    if not isinstance(named, dict):
        return {}
    found: dict[str, str] = dict.fromkeys(_CLASSES, "bf16")
    for module, entry in named.items():
        algo = str(entry.get("quant_algo", "")).upper()
        for name, words in _CLASSES.items():
            if any(word in module for word in words):
                if algo not in _MODELOPT:
                    raise _refused(source, f"quant_algo of {module}", algo)
                found[name] = _MODELOPT[algo]
    return found


def _skipped(quantisation: Mapping[str, Any]) -> list[str]:
    """Modules that stay in BF16."""
    keys = ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "exclude")
    lists: Iterable[Any] = (quantisation.get(key) or () for key in keys)
    return [str(module).replace("\\.", ".") for entries in lists for module in entries]


def _kv_is_fp8(quantisation: Mapping[str, Any]) -> bool:
    scheme = quantisation.get("kv_cache_scheme")
    bits = scheme.get("num_bits") if isinstance(scheme, dict) else None
    return bits == 8 or str(quantisation.get("kv_cache_quant_algo") or "").upper() == "FP8"
