"""Model architectures: the numbers of a published ``config.json``, by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from workloads.architectures.base import EXPERT_LABELS, Architecture, Release
from workloads.architectures.moe_gqa import GatedDeltaNet, MoeGqaArchitecture
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError, unknown_name

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
    "load_architecture",
    "note_of",
    "repository_of",
    "usual_release",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DsparkDraft:
    """The draft module of the DSpark releases, in place of the MTP block.

    Parameters
    ----------
    stages:
        Draft layers (sliding window, experts, mHC each). [-]
    block_size:
        Tokens that the module was trained to draft in one pass. [tokens]
    markov_rank:
        Rank of the token-to-token correction of the draft distribution. [-]
    target_layers:
        Layers of the main model whose hidden states it reads. [-]
    """

    stages: int
    block_size: int
    markov_rank: int
    target_layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepseekV4Architecture(Architecture):
    """DeepSeek V4: compressed sparse attention (CSA), heavily compressed attention (HCA), mHC, MoE.

    Parameters
    ----------
    compress_ratios:
        Tokens per compressed KV entry of each layer: 4 is CSA, 128 HCA, 0 sliding window only.
        One entry per decoder layer and one for the MTP block. [tokens]
    num_attention_heads, head_dim, qk_rope_head_dim:
        Query heads and their width; the KV latent has one head of the same width. [-]
    q_lora_rank, o_groups, o_lora_rank:
        Low-rank query projection; groups and rank of the output projection. [-]
    index_n_heads, index_head_dim, index_topk:
        Lightning indexer of the CSA layers. [-]
    sliding_window:
        Uncompressed recent tokens that every layer attends to. [tokens]
    n_routed_experts, num_experts_per_tok, n_shared_experts, moe_intermediate_size:
        Mixture of experts, the same in every layer. [-]
    num_hash_layers:
        First layers, whose experts are looked up by token id. [-]
    hc_mult, hc_sinkhorn_iters:
        Residual streams and normalisation rounds of the manifold-constrained hyper-connections.
    num_nextn_predict_layers:
        MTP blocks. [-]
    dspark:
        Draft module of the DSpark releases, else ``None``.
    """

    family: ClassVar[str] = "deepseek_v4"

    compress_ratios: tuple[int, ...]
    num_attention_heads: int
    head_dim: int
    qk_rope_head_dim: int
    q_lora_rank: int
    o_groups: int
    o_lora_rank: int
    index_n_heads: int
    index_head_dim: int
    index_topk: int
    sliding_window: int
    n_routed_experts: int
    num_experts_per_tok: int
    n_shared_experts: int
    moe_intermediate_size: int
    num_hash_layers: int
    hc_mult: int
    hc_sinkhorn_iters: int
    num_nextn_predict_layers: int
    dspark: DsparkDraft | None = None

    def layers_of_ratio(self, ratio: int) -> int:
        """Decoder layers (without MTP) that compress by ``ratio``; 0: sliding window only."""
        return self.compress_ratios[: self.num_hidden_layers].count(ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepseekV3Architecture(Architecture):
    """DeepSeek V3 and its kin (R1, V3.2, Kimi K2, GLM-5): latent attention (MLA) and MoE.

    Parameters
    ----------
    num_attention_heads:
        Query heads. [-]
    q_lora_rank, kv_lora_rank:
        Ranks of the query and of the shared KV latent. [-]
    qk_nope_head_dim, qk_rope_head_dim, v_head_dim:
        Widths of a head. [-]
    index_n_heads, index_head_dim, index_topk:
        Lightning indexer of V3.2 and GLM-5, in every layer; 0 without. [-]
    intermediate_size, first_k_dense_replace:
        Width of the dense feed-forward layers and how many layers have one. [-]
    n_routed_experts, num_experts_per_tok, n_shared_experts, moe_intermediate_size:
        Mixture of experts of the other layers. [-]
    num_nextn_predict_layers:
        MTP blocks; 0 without. [-]
    """

    family: ClassVar[str] = "deepseek_v3"

    num_attention_heads: int
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    intermediate_size: int
    first_k_dense_replace: int
    n_routed_experts: int
    num_experts_per_tok: int
    n_shared_experts: int
    moe_intermediate_size: int
    num_nextn_predict_layers: int
    index_n_heads: int = 0
    index_head_dim: int = 0
    index_topk: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseArchitecture(Architecture):
    """Llama 3 and its like: grouped-query attention (GQA) and one feed-forward network per layer.

    Parameters
    ----------
    num_attention_heads, num_key_value_heads, head_dim:
        Query heads, the fewer heads of keys and values that groups of them share, and the width
        of each. [-]
    intermediate_size:
        Width of the gated feed-forward network. [-]
    tie_word_embeddings:
        Whether the language-model head is the embedding table.
    """

    family: ClassVar[str] = "dense"

    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    tie_word_embeddings: bool = False


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
    documents, names = _catalogue()
    key = names.get(name.strip().lower())
    if key is None:
        raise unknown_name(field="model", value=name, known=names)
    document = documents[key]
    values: dict[str, Any] = dict(documents[document.get("base", key)]["config"])
    values |= document["config"]
    for field in ("compress_ratios", "layer_pattern"):
        if field in values:
            values[field] = tuple(values[field])
    if "dspark" in values:
        values["dspark"] = DsparkDraft(**values["dspark"])
    if "linear" in values:
        values["linear"] = GatedDeltaNet(**values["linear"])
    checkpoint = document["checkpoint"]
    return _FAMILIES[document["family"]](
        name=document["name"],
        native_expert_path=checkpoint.get("expert_path", checkpoint["dense_path"]),
        native_dense_path=checkpoint["dense_path"],
        releases=_releases(document),
        **values,
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
