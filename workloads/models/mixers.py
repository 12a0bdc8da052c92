"""Mixers of a layer on one rank: each kind of attention with the class that computes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from workloads.architectures.kinds import (
    GroupedAttention,
    LatentAttention,
    LinearAttention,
    SharedCompressedAttention,
)
from workloads.models.gqa_attention import GroupedQueryAttention
from workloads.models.latent_attention import LatentAttentionLayers
from workloads.models.linear_attention import LinearLayers
from workloads.models.shared_compressed import SharedCompressedLayers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workloads.architectures.kinds import Mixer
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Op, Quantity


class MixerLayers(Protocol):
    """Some equal mixers on one rank."""

    def validate(self) -> None:
        """Check what `shared_heads` does not, such as copies of KV heads."""
        ...

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """What is computed for each token whatever its context."""
        ...

    def row_ops(self, *, tokens: Quantity) -> list[Op]:
        """What writes KV entries of tokens that do not pass the layer otherwise."""
        ...

    def decode(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Cores of decoding requests."""
        ...

    def prefill(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """Cores of one prompt chunk."""
        ...


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a kind of mixer is bound, and what of it tensor-parallel ranks share."""

    layers: Callable[..., MixerLayers]
    shared: Callable[[Any], dict[str, int]]


def _grouped(*, kind: GroupedAttention, **bound: Any) -> MixerLayers:
    return GroupedQueryAttention(kind=kind, **bound)


def _latent(*, kind: LatentAttention, model: str, **bound: Any) -> MixerLayers:
    del model
    return LatentAttentionLayers(kind=kind, **bound)


def _linear(*, kind: LinearAttention, model: str, **bound: Any) -> MixerLayers:
    del model
    return LinearLayers(kind=kind, **bound)


def _compressed(*, kind: SharedCompressedAttention, model: str, **bound: Any) -> MixerLayers:
    del model
    return SharedCompressedLayers(kind=kind, **bound)


_KINDS: dict[type, _Kind] = {
    GroupedAttention: _Kind(_grouped, lambda kind: {"attention heads": kind.heads}),
    LatentAttention: _Kind(_latent, lambda kind: {"attention heads": kind.heads}),
    SharedCompressedAttention: _Kind(
        _compressed,
        lambda kind: {
            "attention heads": kind.heads,
            "output groups (o_groups)": kind.o_groups,
        },
    ),
    LinearAttention: _Kind(
        _linear,
        lambda kind: {
            "value heads of linear attention": kind.value_heads,
            "key heads of linear attention": kind.key_heads,
        },
    ),
}


def bind_mixer(
    mixer: Mixer,
    *,
    hidden: int,
    model: str,
    layout: Layout,
    plan: ExecutionPlan,
    layers: int,
) -> MixerLayers:
    """``layers`` equal mixers of a kind on a layout under a plan."""
    return _KINDS[type(mixer)].layers(
        kind=mixer, hidden=hidden, model=model, layout=layout, plan=plan, layers=layers
    )


def shared_heads(mixer: Mixer) -> dict[str, int]:
    """Counts that the tensor-parallel degree of attention must divide, by name. [-]"""
    return _KINDS[type(mixer)].shared(mixer)


def merged_projections(mixers: Iterable[tuple[Mixer, int]]) -> list[tuple[Mixer, int]]:
    """Mixers with those together whose projections are the same: windows change the core alone."""
    merged: dict[Mixer, int] = {}
    for mixer, count in mixers:
        same = mixer
        if isinstance(mixer, GroupedAttention):
            same = replace(mixer, window=0, chunk=0)
        merged[same] = merged.get(same, 0) + count
    return list(merged.items())
