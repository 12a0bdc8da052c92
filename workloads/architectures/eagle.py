"""EAGLE-3 heads: a dense layer of a repository of its own that drafts tokens for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from workloads.architectures.kinds import FeedForward, GroupedAttention, Layer
from workloads.errors import UserError

_FIELDS = ("repository", "heads", "kv_heads", "head_dim", "width", "vocabulary")


@dataclass(frozen=True, slots=True, kw_only=True)
class EagleHead:
    """A published EAGLE-3 head (arXiv 2503.01840): one decoder layer, run once a draft.

    Parameters
    ----------
    repository:
        Name on Hugging Face.
    heads, kv_heads, head_dim:
        Its attention. [-]
    width:
        Of its dense network. [-]
    vocabulary:
        Tokens that its own head tells apart. [-]

    Notes
    -----
    It reads hidden states of three layers and the embedding of a token. The projection to its
    input is counted as that of an MTP block (2 h by h for each pass), a little more than it reads.
    """

    repository: str
    heads: int
    kv_heads: int
    head_dim: int
    width: int
    vocabulary: int

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The head that ``eagle3_draft`` of a model file describes.

        Raises
        ------
        UserError
            If a field is missing.
        """
        lacking = [name for name in _FIELDS if name not in document]
        if lacking:
            raise UserError(f"eagle3_draft lacks {', '.join(lacking)}; see {_FIELDS}")
        return cls(**{name: document[name] for name in _FIELDS})

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its only layer."""
        mixer = GroupedAttention(
            heads=self.heads,
            kv_heads=self.kv_heads,
            key_dim=self.head_dim,
            value_dim=self.head_dim,
        )
        return (Layer(mixer=mixer, feed=FeedForward(width=self.width)),)
