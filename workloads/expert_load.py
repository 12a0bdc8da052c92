"""How tokens fall on experts: experts touched, and the load of the slowest rank."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from workloads.errors import UserError

if TYPE_CHECKING:
    from workloads.ops import Quantity

_SAMPLES = 128
_LARGEST_TOKENS = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertLoad:
    """Distribution of token-expert pairs over the experts of a layer.

    Parameters
    ----------
    kind:
        ``uniform``: every expert is equally likely, as with the random tokens of InferenceX;
        ``power_law``: popularity of real text and traces.
    alpha:
        Exponent of the power law. [-]
    redundant_experts:
        Copies of hot experts that a load balancer (EPLB) places, over all ranks. [-]
    """

    kind: Literal["uniform", "power_law"] = "uniform"
    alpha: float = 1.01
    redundant_experts: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("uniform", "power_law"):
            raise UserError(
                f"expert load kind '{self.kind}' is unknown; choose uniform or power_law"
            )
        if not self.alpha > 0:
            raise UserError(f"expert load alpha is {self.alpha}; it must be positive, such as 1.01")
        if self.redundant_experts < 0:
            raise UserError(f"redundant_experts is {self.redundant_experts}; it must be 0 or more")


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
        Ranks that the experts (and their redundant copies) are spread over.

    Notes
    -----
    For each number of tokens T on a grid of powers of two, 128 popularity vectors are drawn, the
    T k pairs are drawn from each, and the pairs of the fullest rank and the experts of the rank
    that touches most are averaged. The generator has a fixed seed, so the table is an expectation
    that never changes between runs. With one rank ``touched`` is `experts_touched` (a token's
    pairs are drawn independently here, which changes it by under 1 %).

    Power law: expected counts x_e are independent with density x^-alpha on [1, 0.8 T], scaled to
    sum T k, and no expert is chosen twice by a token. This is the law under which NVIDIA's
    aiconfigurator measured V4's expert kernels (collector `power_law_logits`, alpha 1.01 by
    default). Redundant copies follow EPLB: one at a time to the expert with the highest load per
    copy, then copies to the least loaded rank that has a free slot, heaviest first, on loads
    known exactly: the best that rearrangement can do.
    """
    rng = np.random.default_rng(20260424)
    tokens = 2.0 ** np.arange(0, int(np.log2(_LARGEST_TOKENS)) + 1)
    factors = np.ones_like(tokens)
    touched = np.ones_like(tokens)
    for index, count in enumerate(tokens):
        share = _popularity(
            load=load, experts=experts, experts_per_token=experts_per_token, tokens=count, rng=rng
        )
        pairs = int(count) * experts_per_token
        if load.redundant_experts == 0:
            drawn = rng.multinomial(pairs, share).reshape(_SAMPLES, ep, experts // ep)
            rank_pairs = drawn.sum(axis=2)
            touched[index] = (drawn > 0).mean(axis=2).max(axis=1).mean()
        else:
            copies = _copies(share=share, redundant=load.redundant_experts)
            rank_pairs = rng.multinomial(pairs, _packed(share=share, copies=copies, ep=ep))
            unused = np.exp(pairs * np.log1p(-np.minimum(share / copies, 1.0 - 1e-12)))
            touched[index] = np.average(1.0 - unused, weights=copies)
        factors[index] = rank_pairs.max(axis=1).mean() * ep / pairs
    return LoadTable(np.log2(tokens), factors, touched)


def _popularity(
    *,
    load: ExpertLoad,
    experts: int,
    experts_per_token: int,
    tokens: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Sampled shares of the pairs by expert, (samples, experts), each row summing to one."""
    if load.kind == "uniform":
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


def _copies(*, share: npt.NDArray[np.float64], redundant: int) -> npt.NDArray[np.float64]:
    """Copies of each expert: one more at a time for the highest load per copy."""
    copies = np.ones_like(share)
    rows = np.arange(share.shape[0])
    for _ in range(redundant):
        copies[rows, np.argmax(share / copies, axis=1)] += 1.0
    return copies


def _packed(
    *, share: npt.NDArray[np.float64], copies: npt.NDArray[np.float64], ep: int
) -> npt.NDArray[np.float64]:
    """Shares by rank, (samples, ranks): heaviest copy first to the lightest rank with a slot."""
    samples = share.shape[0]
    order = np.argsort(-share / copies, axis=1)
    heaviest_first = np.take_along_axis(share / copies, order, axis=1)
    repeats = np.take_along_axis(copies, order, axis=1).astype(int)
    per_copy = np.repeat(heaviest_first.ravel(), repeats.ravel()).reshape(samples, -1)
    slots = per_copy.shape[1]
    rows = np.arange(samples)
    rank_share = np.zeros((samples, ep))
    rank_slots = np.zeros((samples, ep))
    for slot in range(slots):
        open_share = np.where(rank_slots < slots // ep, rank_share, np.inf)
        rank = np.argmin(open_share, axis=1)
        rank_share[rows, rank] += per_copy[:, slot]
        rank_slots[rows, rank] += 1.0
    shares: npt.NDArray[np.float64] = rank_share / rank_share.sum(axis=1, keepdims=True)
    return shares
