"""Model architectures: the numbers of a published ``config.json``, by name."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.architectures.base import EXPERT_LABELS, Architecture, Release
from workloads.architectures.deepseek_v3 import DeepseekV3Architecture
from workloads.architectures.deepseek_v4 import DeepseekV4Architecture, DsparkDraft
from workloads.architectures.dense import DenseArchitecture
from workloads.architectures.eagle import EagleHead
from workloads.architectures.huggingface.reader import read_architecture
from workloads.architectures.kinds import BlockDraft, FeedForward, LatentAttention, Layer
from workloads.architectures.model_file import (
    checked_length,
    expanded,
    is_model_file,
    model_file,
    read_model_file,
)
from workloads.architectures.moe_gqa import GatedDeltaNet, MoeGqaArchitecture
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError, left_out, unknown_name

if TYPE_CHECKING:
    from workloads.architectures.base import PrecisionLabel
    from workloads.architectures.layered import LayeredArchitecture

__all__ = [
    "EXPERT_LABELS",
    "Architecture",
    "DeepseekV3Architecture",
    "DeepseekV4Architecture",
    "DenseArchitecture",
    "DsparkDraft",
    "GatedDeltaNet",
    "MoeGqaArchitecture",
    "Release",
    "architecture_names",
    "label_of_repository",
    "load_architecture",
    "note_of",
    "repository_of",
    "stored_architecture",
    "usual_release",
]


_FAMILIES: dict[str, type[Architecture]] = {
    architecture.family: architecture
    for architecture in (
        DeepseekV3Architecture,
        DeepseekV4Architecture,
        DenseArchitecture,
        MoeGqaArchitecture,
    )
}


def load_architecture(name: str) -> Architecture:
    """The architecture of a model, by canonical name or alias (case does not matter).

    Parameters
    ----------
    name:
        Such as ``deepseek-v4-pro``, ``dsv4-pro`` or ``deepseek-ai/DeepSeek-V4-Pro``.

    Raises
    ------
    UserError
        If the name is unknown; the message proposes the nearest names.
    """
    if is_model_file(name):
        path = model_file(name)
        return _from_file(path, path.stat().st_mtime_ns)
    names = _catalogue()[1]
    key = names.get(name.strip().lower())
    if key is None:
        raise unknown_model(name)
    return _architecture_of(key)


def unknown_model(name: str) -> UserError:
    """The error for a name that is no model here: why it is left out, or the nearest ones."""
    path = Path(str(resources.files("workloads.architectures") / "left_out.yaml"))
    known = left_out(field="model", value=name, known=read_yaml_mapping(path))
    return known or unknown_name(field="model", value=name, known=_catalogue()[1])


@lru_cache(maxsize=64)
def _architecture_of(key: str) -> Architecture:
    documents, _ = _catalogue()
    document = documents[key]
    return _build(document, base=documents.get(document.get("base", "")))


@lru_cache(maxsize=64)
def _from_file(path: Path, modified_ns: int) -> Architecture:
    """The architecture of a file, read again when it changes."""
    del modified_ns
    return file_architecture(path)


def file_architecture(path: Path) -> Architecture:
    """The architecture of a user's file.

    Raises
    ------
    UserError
        If the file cannot be read, or names keys that are unknown or missing.
    """
    document = read_model_file(path)
    try:
        base = _catalogue()[0].get(document.get("base", ""))
        return _build(document, base=base, source=str(path))
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = str(error).replace("__init__() ", "")
        raise UserError(f"{path} does not describe a model: {reason}") from None


def _build(
    document: dict[str, Any], *, base: dict[str, Any] | None = None, source: str = ""
) -> Architecture:
    """The architecture of a document, on the values of the one that it is based on."""
    found = _without_head(document, base=base, source=source)
    head = document.get("eagle3_draft", (base or {}).get("eagle3_draft"))
    return found if head is None else replace(found, eagle3=EagleHead.of(head))


def _without_head(
    document: dict[str, Any], *, base: dict[str, Any] | None, source: str
) -> Architecture:
    releases = _releases(document)
    name = str(document["name"])
    nearest = str(document.get("nearest", (base or {}).get("nearest", "")))
    published = {**((base or {}).get("config_json") or {}), **document.get("config_json", {})}
    if published:
        architecture = read_architecture(
            expanded(published),
            name=name,
            source=source or f"architecture {name}",
            releases=releases,
            nearest=nearest,
            labels=not source,
        )
        drafter = document.get("dspark_draft")
        return _with_draft(architecture, drafter) if drafter else architecture
    values: dict[str, Any] = dict((base or {}).get("config", {}))
    values |= document.get("config") or {}
    for field in values:
        if field.endswith("_layers"):
            checked_length(values[field])
    for field in ("compress_ratios", "layer_pattern"):
        if field in values:
            values[field] = tuple(expanded(values[field]))
    if "dspark" in values:
        values["dspark"] = DsparkDraft(**values["dspark"])
    if "linear" in values:
        values["linear"] = GatedDeltaNet(**values["linear"])
    family = document.get("family", (base or {}).get("family"))
    if family not in _FAMILIES:
        raise unknown_name(field="model family", value=str(family), known=_FAMILIES)
    checkpoint = document.get("checkpoint") or (base or {}).get("checkpoint") or {}
    dense = checkpoint.get("dense_path", "bf16")
    return _FAMILIES[family](
        name=name,
        native_expert_path=checkpoint.get("expert_path", dense),
        native_dense_path=dense,
        nearest=nearest,
        releases=releases,
        **values,
    )


def _with_draft(architecture: LayeredArchitecture, drafter: dict[str, Any]) -> Architecture:
    """A model with a DSpark module that is published in a repository of its own."""
    layer = Layer(
        mixer=LatentAttention(**drafter["attention"]), feed=FeedForward(**drafter["feed"])
    )
    return replace(
        architecture,
        draft_kinds=(layer,) * checked_length(drafter["layers"]),
        dspark=BlockDraft(
            target_layers=drafter["target_layers"],
            markov_rank=drafter["markov_rank"],
            block_size=drafter["block_size"],
        ),
    )


def _releases(document: dict[str, Any]) -> tuple[Release, ...]:
    return tuple(
        Release(label=label, **{**fields, "repositories": tuple(fields.get("repositories", ()))})
        for label, fields in document.get("releases", {}).items()
    )


def usual_release(name: str) -> Release | None:
    """The checkpoint that a name means where no precision is stated.

    That of the repository if the name is one, else the model's usual; ``None`` if the model
    states no releases.

    Raises
    ------
    UserError
        If the name is unknown.
    """
    releases = load_architecture(name).releases
    repository = name.strip().lower()
    named = (r for r in releases if repository in (other.lower() for other in r.repositories))
    return next(named, releases[0] if releases else None)


def label_of_repository(name: str) -> PrecisionLabel | None:
    """Label of precision of a repository of a model without releases; ``None`` of other names."""
    if is_model_file(name):
        return None
    documents, names = _catalogue()
    key = name.strip().lower()
    labels = documents[names[key]].get("labels", {}) if key in names else {}
    return next((of for repository, of in labels.items() if repository.lower() == key), None)


def stored_architecture(name: str) -> Architecture:
    """The architecture of a name; of a repository with the formats that it stores.

    Raises
    ------
    UserError
        If the name is unknown.
    """
    architecture = load_architecture(name)
    release = usual_release(name)
    repository = name.strip().lower()
    if release is not None and repository in (other.lower() for other in release.repositories):
        return architecture.stored_as(release)
    if label_of_repository(name) == "nvfp4":
        return replace(architecture, native_expert_path="nvfp4")
    return architecture


def architecture_names() -> dict[str, tuple[str, ...]]:
    """Canonical names of all architectures, each with its aliases."""
    documents, names = _catalogue()
    return {
        canonical: tuple(sorted(alias for alias, of in names.items() if of == canonical))
        for canonical in sorted(documents)
    }


def repository_of(canonical: str, *, precision: str = "", vendor: str = "") -> str:
    """Hugging Face repository of an architecture, else its name.

    That of the release of a precision, of those the one that the chips' vendor publishes; of a
    model without releases the first alias that is one.
    """
    document = _catalogue()[0].get(canonical, {})
    named = [
        r
        for release in _releases(document)
        if release.label == precision
        for r in release.repositories
    ]
    named.sort(key=lambda repository: not repository.lower().startswith(f"{vendor}/"))
    aliases = (str(alias) for alias in (*named, *document.get("aliases", ())))
    return next((alias for alias in aliases if "/" in alias), canonical)


def note_of(canonical: str) -> str:
    """What the figures of an architecture leave out or assume."""
    if is_model_file(canonical):
        return str(read_model_file(model_file(canonical)).get("note", ""))
    return str(_catalogue()[0][canonical].get("note", ""))


@cache
def _catalogue() -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Document of each canonical name, and canonical name of each lower-case alias."""
    documents: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    folder = Path(str(resources.files("workloads.architectures") / "data"))
    for path in sorted(folder.glob("*.yaml")):
        document = read_yaml_mapping(path)
        canonical = str(document["name"])
        documents[canonical] = document
        repositories = (alias for release in _releases(document) for alias in release.repositories)
        for alias in (canonical, *document.get("aliases", ()), *repositories):
            if names.setdefault(str(alias).lower(), canonical) != canonical:
                raise UserError(f"architecture alias '{alias}' names two models; see {path.name}")
    return documents, names
