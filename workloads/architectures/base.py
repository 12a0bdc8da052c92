"""What every model architecture states, and its published checkpoints."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from workloads.errors import UserError

if TYPE_CHECKING:
    from workloads.architectures.eagle import EagleHead
    from workloads.architectures.kinds import BlockDraft, Layer, NgramTables
    from workloads.execution_plan import DensePath, ExpertPath, IndexStorage, KvStorage
    from workloads.ops import Quantity

Attention: TypeAlias = Literal["", "grouped", "latent", "compressed"]

PrecisionLabel: TypeAlias = Literal["fp4", "nvfp4", "fp8", "int4", "bf16"]

EXPERT_LABELS = ("fp4", "nvfp4", "fp8", "bf16")
"""Labels of precision of a model that states no releases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A published checkpoint of a model: what a label of precision stands for.

    Parameters
    ----------
    label:
        ``fp4``, ``fp8``, ``int4`` or ``bf16``: of the routed experts.
    expert_path, dense_path, feed_forward_path:
        Arithmetic paths that its tensors are stored for, see
        `workloads.execution_plan.ExecutionPlan`;
        NVIDIA's ``nvfp4`` stands for ``mxfp4`` on other vendors' chips.
    draft_path:
        Storage of the draft module where it is not the model's.
    kv_storage:
        KV cache that the checkpoint asks for; ``None`` leaves it to the engine.
    repositories:
        Names on Hugging Face, which mean this release where no precision is named.
    source, note:
        Where it is published, and what that leaves open.
    """

    label: PrecisionLabel
    expert_path: ExpertPath
    dense_path: DensePath
    feed_forward_path: DensePath | None = None
    draft_path: DensePath | None = None
    kv_storage: KvStorage | None = None
    repositories: tuple[str, ...] = ()
    source: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLayers:
    """Layers of a model by what they keep of a request, on one rank.

    Parameters
    ----------
    entry_bytes:
        What one token adds to one layer that keeps the whole context, in the mean. [B]
    full, sliding:
        Layers with the whole context, and with a window, the latter in entries of
        ``entry_bytes``. [-]
    window_tokens:
        Tokens that a window keeps. [tokens]
    linear:
        Layers with a state of constant size. [-]
    state_bytes:
        State of one request in all of them. [B]
    """

    entry_bytes: float
    full: int
    sliding: int = 0
    window_tokens: int = 0
    linear: int = 0
    state_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What every architecture states; field names are those of the published ``config.json``.

    Parameters
    ----------
    name:
        Canonical name, such as ``deepseek-v4-pro``.
    hidden_size, num_hidden_layers, vocab_size:
        Width of the residual stream, decoder layers, vocabulary. [-]
    max_position_embeddings:
        Longest context. [tokens]
    native_expert_path, native_dense_path:
        Arithmetic paths that the published checkpoint is made for, in the terms of
        `workloads.execution_plan.ExecutionPlan`; the same where there are no experts.
    native_feed_path, native_draft_path:
        Of shared experts and dense networks, and of the draft module; ``None``: as the other
        projections, and as the model.
    nearest:
        Measured model whose fitted efficiencies apply; empty: its own.
    releases:
        What each label of precision stands for, the usual one first; empty where the label
        names the routed experts alone and the software level the rest.
    eagle3:
        EAGLE-3 head that is published for it; ``None`` without.
    """

    family: ClassVar[str] = ""
    index_storage: ClassVar[IndexStorage] = "fp8"
    """Format that the published model scores its indexer keys in."""

    name: str
    hidden_size: int
    num_hidden_layers: int
    vocab_size: int
    max_position_embeddings: int
    native_expert_path: ExpertPath
    native_dense_path: DensePath
    native_feed_path: DensePath | None = None
    native_draft_path: DensePath | None = None
    nearest: str = ""
    releases: tuple[Release, ...] = ()
    eagle3: EagleHead | None = None

    def stored_as(self, release: Release) -> Self:
        """The same model with the stored formats of one of its releases."""
        return replace(
            self,
            native_expert_path=release.expert_path,
            native_dense_path=release.dense_path,
            native_feed_path=release.feed_forward_path,
            native_draft_path=release.draft_path,
        )

    def release(self, label: str) -> Release | None:
        """The checkpoint that a label of precision means; ``None`` where labels name experts only.

        Raises
        ------
        UserError
            If the model is not released in that precision.
        """
        if not self.releases and label in EXPERT_LABELS:
            return None
        for release in self.releases:
            stored = "nvfp4" if release.expert_path == "nvfp4" else release.label
            if label in (release.label, stored):
                return release
        known = ", ".join(release.label for release in self.releases) or ", ".join(EXPERT_LABELS)
        raise UserError(f"precision is {label}; {self.name} comes in {known}: choose one of them")

    @property
    def attention(self) -> Attention:
        """What a KV entry is: heads of keys and values, a latent, or one of several tokens."""
        return ""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Kinds of the decoder layers, one by one; empty where a family is described otherwise."""
        return ()

    @property
    def draft_block(self) -> BlockDraft | None:
        """What makes the draft layers a DSpark module; ``None`` of MTP blocks."""
        return None

    @property
    def drafter(self) -> str:
        """How drafts are made for it: ``mtp``, ``dspark``, ``eagle3``, or empty."""
        if self.draft_layers:
            return "mtp" if self.draft_block is None else "dspark"
        return "eagle3" if self.eagle3 else ""

    @property
    def ngram_tables(self) -> NgramTables | None:
        """Tables of n-gram embeddings; ``None`` without."""
        return None

    @property
    def late_layers(self) -> int:
        """Layers at the end that prompts do not pass, but for a last window. [-]"""
        return 0

    @property
    def late_window(self) -> int:
        """Last tokens of a prompt that pass them all the same. [tokens]"""
        return 0

    @property
    def draft(self) -> tuple[Layer, ...]:
        """Kinds of the layers of the draft module. [-]"""
        return ()

    @property
    def tied(self) -> bool:
        """Whether the language-model head is the embedding table."""
        return False

    @property
    def streams(self) -> int:
        """Residual streams that hyper-connections mix; 0 with a plain residual. [-]"""
        return 0

    @property
    def fit_as(self) -> str:
        """Model whose measured kernel efficiencies apply: itself, or the nearest that has some."""
        return self.nearest or self.name

    @property
    def needs_own_fit(self) -> bool:
        """Whether fits to models without its kind of attention would mislead.

        Their factors stand for the kernels of latent attention, and double the error on grouped
        queries (docs/background/model_dense.md).
        """
        return self.attention == "grouped"

    @property
    def routed_experts(self) -> int:
        """Routed experts of a layer; 0 in a dense model. [-]"""
        return 0

    @property
    def routed_per_token(self) -> int:
        """Routed experts that one token uses. [-]"""
        return 0

    @property
    def draft_layers(self) -> int:
        """Layers of the model's own draft module. [-]"""
        return 0

    def context_bytes(self, *, kv: KvStorage, index: IndexStorage, attention_tp: int = 1) -> float:
        """What each token of context adds to the KV cache of one rank, in all layers. [B/token]

        Raises
        ------
        UserError
            If the family has no KV arithmetic.
        """
        del kv, index, attention_tp
        raise UserError(f"model {self.name}: no KV arithmetic for family '{self.family}'")

    def bounded_bytes(self, *, context: Quantity, kv: KvStorage) -> Quantity:
        """Windows and states of one request at a context, which do not grow for ever. [B]"""
        del context, kv
        return 0.0

    def state_bytes(self, *, attention_tp: int = 1) -> float:
        """State of one request in all linear layers on one rank, whatever its context. [B]"""
        del attention_tp
        return 0.0

    def compressor_bytes(self, *, online: bool) -> float:
        """What compressors of KV entries keep of one request. [B]"""
        del online
        return 0.0

    def unmeasured(self) -> list[str]:
        """What of the layers has no kernel measurements, and what stands in."""
        return []

    def describe(self) -> dict[str, Any]:
        """Fields for a reader, releases apart."""
        return {key: value for key, value in asdict(self).items() if key != "releases"}

    def kv_copies(self, *, attention_tp: int) -> int:
        """Copies of a sequence's KV entries that the ranks of a worker hold together. [-]"""
        return attention_tp

    def cache_layers(
        self, *, kv: KvStorage, attention_tp: int = 1, drafts: int = 0
    ) -> CacheLayers | None:
        """Layers by what they keep of a request; ``None`` where all keep the whole context.

        Parameters
        ----------
        attention_tp:
            Ranks that share the attention.
        drafts:
            Tokens drafted per step; with any, the draft layers count as well. [tokens]
        """
        del kv, attention_tp, drafts
        return None
