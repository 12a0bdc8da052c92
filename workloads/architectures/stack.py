"""A model's layers sorted by kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from workloads.architectures.kinds import Experts, FeedForward, GroupedAttention, LinearAttention

if TYPE_CHECKING:
    from workloads.architectures.base import Architecture
    from workloads.architectures.kinds import Feed, Layer, Mixer


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers by kind, of the whole model or of its fullest pipeline stage.

    Parameters
    ----------
    mixers, feeds:
        Kinds of mixers and of feed-forward parts, each with its layers. Attention stands before
        linear attention, the whole context before windows, dense networks before experts.
    parts:
        Sublayers, each with a norm. [-]
    layers:
        Layers of all kinds together. [-]
    """

    mixers: tuple[tuple[Mixer, int], ...]
    feeds: tuple[tuple[Feed, int], ...]
    parts: int
    layers: int

    @property
    def experts(self) -> Experts | None:
        """The mixture of experts; ``None`` in a dense model. Models have one kind."""
        return next((feed for feed, _ in self.feeds if isinstance(feed, Experts)), None)


def _rank_of_mixer(mixer: Mixer) -> int:
    if isinstance(mixer, LinearAttention):
        return 2
    return 1 if isinstance(mixer, GroupedAttention) and mixer.bound else 0


@lru_cache(maxsize=256)
def stack_of(architecture: Architecture, *, stages: int = 1) -> Stack:
    """The layers of an architecture by kind, of the fullest of equal pipeline stages.

    Each kind of layer is divided over the stages on its own and rounded up.
    """
    return _sorted(architecture.layers, stages=stages)


@lru_cache(maxsize=256)
def phases_of(architecture: Architecture, *, stages: int = 1) -> tuple[Stack, Stack]:
    """The layers that every token passes, and those that prompts do not, by kind."""
    layers = architecture.layers
    split = len(layers) - architecture.late_layers
    return _sorted(layers[:split], stages=stages), _sorted(layers[split:], stages=stages)


@lru_cache(maxsize=256)
def draft_stack_of(architecture: Architecture) -> Stack:
    """The layers of its draft module by kind, else those of an EAGLE-3 head."""
    head = architecture.eagle3
    return _sorted(architecture.draft or (head.layers if head else ()), stages=1)


def _sorted(layers: tuple[Layer, ...], *, stages: int) -> Stack:
    counted = {layer: -(-count // stages) for layer, count in Counter(layers).items()}
    mixers: dict[Mixer, int] = {}
    feeds: dict[Feed, int] = {}
    for layer, count in counted.items():
        if layer.mixer is not None:
            mixers[layer.mixer] = mixers.get(layer.mixer, 0) + count
        if layer.feed is not None:
            feeds[layer.feed] = feeds.get(layer.feed, 0) + count
    return Stack(
        mixers=tuple(sorted(mixers.items(), key=lambda item: _rank_of_mixer(item[0]))),
        feeds=tuple(sorted(feeds.items(), key=lambda item: not isinstance(item[0], FeedForward))),
        parts=sum(layer.parts * count for layer, count in counted.items()),
        layers=sum(counted.values()),
    )
