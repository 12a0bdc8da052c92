"""Architecture of dense models of grouped-query attention: Llama 3 and its like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from workloads.architectures.base import Architecture
from workloads.architectures.kinds import FeedForward, GroupedAttention, Layer
from workloads.architectures.storage import head_entry_bytes

if TYPE_CHECKING:
    from workloads.architectures.base import Attention
    from workloads.execution_plan import IndexStorage, KvStorage


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

    @property
    def attention(self) -> Attention:
        """What a KV entry is."""
        return "grouped"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Equal layers of full attention and a feed-forward network."""
        layer = Layer(
            mixer=GroupedAttention(
                heads=self.num_attention_heads,
                kv_heads=self.num_key_value_heads,
                key_dim=self.head_dim,
                value_dim=self.head_dim,
            ),
            feed=FeedForward(width=self.intermediate_size),
        )
        return (layer,) * self.num_hidden_layers

    @property
    def tied(self) -> bool:
        """Whether the language-model head is the embedding table."""
        return self.tie_word_embeddings

    def entry_bytes(self, *, kv: KvStorage, attention_tp: int = 1) -> float:
        """Keys and values of one token in one layer on one rank. [B]"""
        return head_entry_bytes(
            kv_heads=self.num_key_value_heads,
            width=2 * self.head_dim,
            kv=kv,
            attention_tp=attention_tp,
        )

    def context_bytes(self, *, kv: KvStorage, index: IndexStorage, attention_tp: int = 1) -> float:
        """Keys and values of a token in all layers on one rank. [B/token]"""
        del index
        return self.num_hidden_layers * self.entry_bytes(kv=kv, attention_tp=attention_tp)

    def kv_copies(self, *, attention_tp: int) -> int:
        """KV heads are divided over the ranks; those beyond their number hold copies. [-]"""
        return max(1, attention_tp // self.num_key_value_heads)
