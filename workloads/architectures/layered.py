"""Architecture that is a list of layers of known kinds."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workloads.architectures.base import Architecture, CacheLayers
from workloads.architectures.kinds import (
    Experts,
    GroupedAttention,
    Layer,
    LinearAttention,
    SharedCompressedAttention,
)

if TYPE_CHECKING:
    from workloads.architectures.base import Attention
    from workloads.architectures.kinds import BlockDraft, Mixer, NgramTables
    from workloads.execution_plan import IndexStorage, KvStorage
    from workloads.ops import Quantity

_RULES = {
    "kda": "Kimi delta attention",
    "lightning": "lightning attention",
    "mamba2": "Mamba-2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayeredArchitecture(Architecture):
    """A model as a list of layers; see `workloads.architectures.kinds`.

    Parameters
    ----------
    kinds, draft_kinds:
        Decoder layers and layers of the draft module, one by one.
    tie_word_embeddings:
        Whether the language-model head is the embedding table.
    draft_tables:
        Whether the draft module has an embedding table and a head of its own in the checkpoint.
    residual_streams:
        Streams of manifold-constrained hyper-connections; 0 with a plain residual. [-]
    attention_residuals:
        Whether each sublayer weighs the outputs of earlier blocks (Kimi K3): their parameters are
        counted, their traffic is not.
    decode_from:
        First layer that prompts do not pass, but for a last window: the layers before it write
        all rows that later ones read; 0: prompts pass all layers.
    ngrams:
        Tables of n-gram embeddings; ``None`` without.
    dspark:
        What makes the draft layers a DSpark module; ``None`` of MTP blocks.
    """

    family: ClassVar[str] = "layers"

    kinds: tuple[Layer, ...]
    draft_kinds: tuple[Layer, ...] = ()
    tie_word_embeddings: bool = False
    draft_tables: bool = False
    residual_streams: int = 0
    attention_residuals: bool = False
    decode_from: int = 0
    ngrams: NgramTables | None = None
    dspark: BlockDraft | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Decoder layers, one by one."""
        return self.kinds

    @property
    def draft_block(self) -> BlockDraft | None:
        """What makes the draft layers a DSpark module; ``None`` of MTP blocks."""
        return self.dspark

    @property
    def ngram_tables(self) -> NgramTables | None:
        """Tables of n-gram embeddings; ``None`` without."""
        return self.ngrams

    @property
    def late_layers(self) -> int:
        """Layers at the end that prompts do not pass. [-]"""
        return len(self.kinds) - self.decode_from if self.decode_from else 0

    @property
    def late_window(self) -> int:
        """Last tokens of a prompt that pass them all the same. [tokens]"""
        return max((_bound(mixer) for mixer in self._context_mixers), default=0)

    @property
    def draft(self) -> tuple[Layer, ...]:
        """Layers of the draft module."""
        return self.draft_kinds

    @property
    def tied(self) -> bool:
        """Whether the language-model head is the embedding table."""
        return self.tie_word_embeddings

    @property
    def streams(self) -> int:
        """Residual streams that hyper-connections mix. [-]"""
        return self.residual_streams

    @property
    def needs_own_fit(self) -> bool:
        """Whether only a fit to this model or a related one that is named applies."""
        return not self.nearest or self.attention == "grouped"

    @property
    def _context_mixers(self) -> list[Mixer]:
        return [
            layer.mixer
            for layer in self.kinds
            if layer.mixer is not None and not isinstance(layer.mixer, LinearAttention)
        ]

    @property
    def attention(self) -> Attention:
        """What a KV entry is."""
        grouped = any(isinstance(mixer, GroupedAttention) for mixer in self._context_mixers)
        return "grouped" if grouped else "latent"

    @property
    def _experts(self) -> Experts | None:
        return next((la.feed for la in self.kinds if isinstance(la.feed, Experts)), None)

    @property
    def routed_experts(self) -> int:
        """Routed experts of a layer; 0 in a dense model. [-]"""
        return self._experts.experts if self._experts else 0

    @property
    def routed_per_token(self) -> int:
        """Routed experts that one token uses. [-]"""
        return self._experts.per_token if self._experts else 0

    @property
    def draft_layers(self) -> int:
        """Layers of the draft module. [-]"""
        return len(self.draft_kinds)

    def context_bytes(self, *, kv: KvStorage, index: IndexStorage, attention_tp: int = 1) -> float:
        """What each token of context adds to the KV cache of one rank. [B/token]"""
        return sum(
            layer.mixer.context_bytes(kv=kv, index=index, attention_tp=attention_tp)
            for layer in self.kinds
            if layer.mixer is not None
        )

    def bounded_bytes(self, *, context: Quantity, kv: KvStorage) -> Quantity:
        """Windows, chunks and states of one request at a context. [B]"""
        total: Quantity = 0.0
        for layer in self.kinds:
            if layer.mixer is not None:
                total = total + layer.mixer.bounded_bytes(context=context, kv=kv)
        return total

    def state_bytes(self, *, attention_tp: int = 1) -> float:
        """State of one request in all linear layers on one rank. [B]"""
        states = (
            layer.mixer.state_bytes
            for layer in self.kinds
            if isinstance(layer.mixer, LinearAttention)
        )
        return sum(states) / attention_tp

    def kv_copies(self, *, attention_tp: int) -> int:
        """A latent is whole on each rank; KV heads are divided first. [-]"""
        heads = [m.kv_heads for m in self._context_mixers if isinstance(m, GroupedAttention)]
        return max(1, attention_tp // min(heads)) if heads else attention_tp

    def cache_layers(
        self, *, kv: KvStorage, attention_tp: int = 1, drafts: int = 0
    ) -> CacheLayers | None:
        """Layers by what they keep; ``None`` where all keep the whole context.

        Entries of unlike layers are taken in the mean, those of windows as so many of them.
        """
        mixers = [layer.mixer for layer in self.kinds if layer.mixer is not None]
        states = [m for m in mixers if isinstance(m, LinearAttention)]
        windows = [m for m in self._context_mixers if m.constant_bytes(kv=kv)]
        if not windows and not states:
            return None
        if drafts:
            mixers += [layer.mixer for layer in self.draft_kinds if layer.mixer is not None]
        entries = [m.context_bytes(kv=kv, index="fp8", attention_tp=attention_tp) for m in mixers]
        full = sum(entry > 0.0 for entry in entries)
        entry = sum(entries) / max(full, 1)
        tokens = max((_bound(m) for m in windows), default=0)
        window = sum(m.constant_bytes(kv=kv, attention_tp=attention_tp) for m in windows)
        return CacheLayers(
            entry_bytes=entry,
            full=full,
            sliding=-(-int(window) // int(entry * tokens)) if windows else 0,
            window_tokens=tokens,
            linear=len(states),
            state_bytes=self.state_bytes(attention_tp=attention_tp),
        )

    def unmeasured(self) -> list[str]:
        """What of the layers has no kernel measurements, and what stands in."""
        rules = {m.rule for layer in self.kinds if isinstance(m := layer.mixer, LinearAttention)}
        notes = [
            f"no measured kernels of {_RULES[rule]}: those of the gated delta rule stand in"
            for rule in sorted(rules - {"gdn"})
        ]
        if any(m.selection for m in self._context_mixers if isinstance(m, GroupedAttention)):
            notes.append(
                "no measured kernels of block-sparse attention: efficiencies of grouped-query "
                "attention and of the lightning indexer"
            )
        if self.attention_residuals:
            notes.append("attention residuals: parameters counted, their traffic is not")
        if self.decode_from:
            notes.append(f"prompts pass the first {self.decode_from} layers, but for a last window")
        if self.ngrams:
            notes.append("n-gram tables are kept in host memory: their reads are not timed")
        return notes

    def describe(self) -> dict[str, Any]:
        """Fields for a reader: equal layers once, with their number."""
        fields = {
            key: value
            for key, value in asdict(self).items()
            if key not in ("kinds", "draft_kinds", "releases")
        }
        for key, layers in (("kinds", self.kinds), ("draft_kinds", self.draft_kinds)):
            fields[key] = [
                {"layers": count, **{k: v for k, v in _named(layer).items() if v}}
                for layer, count in Counter(layers).items()
            ]
        return fields


def _bound(mixer: Mixer) -> int:
    """Tokens that a layer's own cache keeps at the most; 0 where all or none. [tokens]"""
    if isinstance(mixer, SharedCompressedAttention):
        return mixer.window
    return mixer.bound if isinstance(mixer, GroupedAttention) else 0


def _named(layer: Layer) -> dict[str, Any]:
    """A layer's parts by the names of their kinds, what is off left out."""
    return {
        name: {
            "kind": type(part).__name__,
            **{key: value for key, value in asdict(part).items() if value},
        }
        for name, part in (("mixer", layer.mixer), ("feed", layer.feed))
        if part is not None
    }
