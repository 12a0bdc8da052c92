"""How tokens fall on experts: experts touched, and the load of the slowest rank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from workloads.ops import Quantity

_SAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertLoad:
    """Distribution of token-expert pairs over the experts of a layer.

    Parameters
    ----------
    kind:
        ``uniform``: every expert is equally likely, as with the random tokens of InferenceX;
        ``balanced``: as uniform, but every rank gets the mean, as kernel benchmarks force it;
        ``power_law``: popularity of real text and traces.
    alpha:
        Exponent of the power law. [-]
    redundant_experts:
        Copies of hot experts that a load balancer (EPLB) places, over all ranks. [-]
    """

    kind: Literal["uniform", "balanced", "power_law"] = "uniform"
    alpha: float = 1.01
    redundant_experts: int = 0

    def __post_init__(self) -> None:
        kinds = ("uniform", "balanced", "power_law")
        if self.kind not in kinds:
            raise unknown_name(field="expert load", value=self.kind, known=kinds)
        if not self.alpha > 0:
            raise UserError(f"expert load alpha is {self.alpha}; it must be positive, such as 1.01")
        if self.redundant_experts < 0:
            raise UserError(f"redundant_experts is {self.redundant_experts}; it must be 0 or more")

    def with_copies(self, redundant_experts: int) -> ExpertLoad:
        """The load over copies as an engine's settings have them, unless it states its own."""
        if not redundant_experts or self.redundant_experts:
            return self
        return replace(self, redundant_experts=redundant_experts)


REAL_TEXT = ExpertLoad(kind="power_law", alpha=1.01)
"""Expert load of traces and conversations: the law of NVIDIA aiconfigurator's expert kernels."""
UNIFORM = ExpertLoad()


@dataclass(frozen=True, slots=True)
class LoadTable:
    """Expected load of the slowest rank over a grid of tokens, see `load_table`."""

    log_tokens: npt.NDArray[np.float64]
    factor: npt.NDArray[np.float64]
    touched: npt.NDArray[np.float64]

    def slowest_rank_factor(self, *, tokens: Quantity) -> npt.NDArray[np.float64]:
        """Token-expert pairs of the slowest rank over the mean of all ranks. [-]"""
        return np.interp(_log(tokens), self.log_tokens, self.factor)

    def touched_share(self, *, tokens: Quantity) -> npt.NDArray[np.float64]:
        """Share of a rank's experts that at least one token is sent to. [-]"""
        return np.interp(_log(tokens), self.log_tokens, self.touched)


def experts_touched(*, experts: int, experts_per_token: int, tokens: Quantity) -> Quantity:
    """Expected number of distinct experts that ``tokens`` tokens use under uniform routing. [-]

    ``E (1 - (1 - k/E)^T)``: each token misses a given expert with probability ``1 - k/E``.
    """
    return experts * (1.0 - (1.0 - experts_per_token / experts) ** tokens)


def _log(tokens: Quantity) -> npt.NDArray[np.float64]:
    return np.log2(np.maximum(tokens, 1.0))


@cache
def load_table(*, load: ExpertLoad, experts: int, experts_per_token: int, ep: int) -> LoadTable:
    """Tabulate the slowest rank's load by seeded sampling.

    Parameters
    ----------
    load:
        Routing distribution.
    experts, experts_per_token:
        Routed experts of a layer and experts per token. [-]
    ep:
        Ranks that the experts and their redundant copies are spread over; it divides all slots
        together (EP24 over 256 experts and 32 copies).

    Notes
    -----
    For each number of tokens T on a logarithmic grid, 64 popularity vectors are drawn, the T k
    pairs are drawn from each, and the pairs of the fullest rank and the experts of the rank that
    touches most are averaged. The generator has a fixed seed, so the table is an expectation that
    never changes between runs. The pairs of a token are drawn independently, which lowers the
    experts touched by under 1 %; where no rank differs, `experts_touched` is used as it is.

    Power law: expected counts x_e are independent with density x^-alpha on [1, 0.8 T], scaled to
    sum T k, and no expert is chosen twice by a token. This is the law under which NVIDIA's
    aiconfigurator measured V4's expert kernels (collector `power_law_logits`, alpha 1.01 by
    default). Redundant copies follow EPLB: one at a time to the expert with the highest load per
    copy, then copies to the least loaded rank that has a free slot, heaviest first, on loads
    known exactly: the best that rearrangement can do.
    """
    tokens = _token_grid()
    used: npt.ArrayLike = experts_touched(
        experts=experts, experts_per_token=experts_per_token, tokens=tokens
    )
    factors = np.ones_like(tokens)
    touched = np.asarray(used, dtype=float) / experts
    if load.kind == "balanced" or (load.kind == "uniform" and ep == 1):
        return LoadTable(np.log2(tokens), factors, touched)
    draws = _draws(
        load=load,
        experts=experts,
        experts_per_token=experts_per_token,
        # ranks matter to the draws only where experts have copies on some of them
        ep=ep if load.redundant_experts else 1,
    )
    for index, (count, pairs) in enumerate(zip(tokens, draws, strict=True)):
        drawn = pairs.reshape(_SAMPLES, ep, -1)
        touched[index] = (drawn > 0).mean(axis=2).max(axis=1).mean()
        factors[index] = (
            drawn.sum(axis=2).max(axis=1).mean() * ep / (int(count) * experts_per_token)
        )
    return LoadTable(np.log2(tokens), factors, touched)


@lru_cache(maxsize=2)
def _draws(
    *, load: ExpertLoad, experts: int, experts_per_token: int, ep: int
) -> list[npt.NDArray[np.int32]]:
    """Pairs of each expert (or copy) by number of tokens, (samples, experts) each."""
    rng = np.random.default_rng(20260424)
    draws = []
    for count in _token_grid():
        share = _popularity(
            load=load, experts=experts, experts_per_token=experts_per_token, tokens=count, rng=rng
        )
        if load.redundant_experts:
            share = _balanced(share=share, redundant=load.redundant_experts, ep=ep)
        draws.append(rng.multinomial(int(count) * experts_per_token, share).astype(np.int32))
    return draws


def _token_grid() -> npt.NDArray[np.float64]:
    """Four numbers of tokens per doubling up to 4096, then one. [tokens]"""
    fine = np.unique(np.round(2.0 ** np.arange(0.0, 12.0, 0.25)))
    return np.concatenate((fine, 2.0 ** np.arange(12.0, 23.0)))


def _popularity(
    *,
    load: ExpertLoad,
    experts: int,
    experts_per_token: int,
    tokens: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Sampled shares of the pairs by expert, (samples, experts), each row summing to one."""
    if load.kind != "power_law":
        return np.full((_SAMPLES, experts), 1.0 / experts)
    largest = max(0.8 * tokens, 1.0)
    u = rng.random((_SAMPLES, experts))
    exponent = 1.0 - load.alpha
    if abs(exponent) < 1e-9:
        counts = largest**u
    else:
        counts = (1.0 + u * (largest**exponent - 1.0)) ** (1.0 / exponent)
    return _capped(counts / counts.sum(axis=1, keepdims=True), 1.0 / experts_per_token)


def _capped(share: npt.NDArray[np.float64], cap: float) -> npt.NDArray[np.float64]:
    """Shares with none above ``cap``, the excess spread over the others in proportion."""
    capped = np.zeros(share.shape, dtype=bool)
    while True:
        over = (share > cap * (1.0 + 1e-12)) & ~capped
        if not over.any():
            return share
        capped |= over
        free = np.where(capped, 0.0, share)
        room = 1.0 - cap * capped.sum(axis=1, keepdims=True)
        share = np.where(capped, cap, free * room / free.sum(axis=1, keepdims=True))


def _balanced(
    *, share: npt.NDArray[np.float64], redundant: int, ep: int
) -> npt.NDArray[np.float64]:
    """Shares of expert slots after replication and placement, the slots of one rank together."""
    samples, experts = share.shape
    rows = np.arange(samples)
    copies = np.ones_like(share)
    for _ in range(redundant):
        copies[rows, np.argmax(share / copies, axis=1)] += 1.0
    order = np.argsort(-share / copies, axis=1)
    heaviest_first = np.take_along_axis(share / copies, order, axis=1)
    repeats = np.take_along_axis(copies, order, axis=1).astype(int)
    slots = np.repeat(heaviest_first.ravel(), repeats.ravel()).reshape(samples, -1)
    capacity = (experts + redundant) // ep
    placed = np.zeros((samples, ep, capacity))
    load = np.zeros((samples, ep))
    filled = np.zeros((samples, ep), dtype=int)
    for slot in slots.T:
        rank = np.argmin(np.where(filled < capacity, load, np.inf), axis=1)
        placed[rows, rank, filled[rows, rank]] = slot
        load[rows, rank] += slot
        filled[rows, rank] += 1
    return placed.reshape(samples, -1)
