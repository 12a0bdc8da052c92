"""What is timed: one operation and its size, with the FLOPs and bytes that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gemm", "grouped_gemm", "copy", "read", "gather", "launch_eager", "launch_graph"]
Path = Literal["bf16", "fp8", "any"]

VALUE_BYTES = {"bf16": 2, "fp8": 1}
INDEX_BYTES = 8
ENTRY_VALUES = 576
"""Values of a latent KV entry that decode attention reads. [values]"""

_WEIGHTS = ((7168, 1536), (1536, 24576), (2048, 7168), (7168, 4096), (16384, 7168), (7168, 16384))
"""``(k, n)`` of projections from 2 to 117 million parameters."""

_TOKENS = (1, 8, 32, 128, 512, 2048, 8192)
_EXPERTS = ((8, 7168, 4096), (32, 7168, 4096), (32, 2048, 7168), (64, 7168, 512))
"""``(groups, k, n)`` of expert weights held by one rank."""

_TOKENS_PER_EXPERT = (1, 4, 16, 64, 256)
_STREAMS = (1 << 20, 1 << 23, 1 << 26, 1 << 29, 1 << 31)
_ENTRIES = ((8, 1024), (64, 1024), (64, 8192), (256, 8192))
"""``(requests, entries of each)`` that a decode step gathers from a large pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One operation of one size.

    Parameters
    ----------
    kind:
        ``gemm``: ``[m, k] x [k, n]``. ``grouped_gemm``: the same for each of ``groups``
        weights. ``copy`` and ``read`` stream ``size_bytes``. ``gather``: ``m`` entries of `n`
        values at random from a pool. ``launch_eager`` and ``launch_graph``: a kernel with
        nothing to do, launched by the host or replayed in a graph.
    path:
        Arithmetic; ``any`` where there is none.
    m, n, k, groups:
        Sizes. [-]
    size_bytes:
        Of a stream. [B]
    """

    kind: Kind
    path: Path = "any"
    m: int = 0
    n: int = 0
    k: int = 0
    groups: int = 1
    size_bytes: int = 0

    @property
    def flops(self) -> float:
        """Two per multiply-add. [FLOP]"""
        return 2.0 * self.groups * self.m * self.n * self.k

    @property
    def hbm_bytes(self) -> float:
        """Every operand read once, every result written once. [B]

        Products read operands of the path and write BF16.
        """
        match self.kind:
            case "gemm" | "grouped_gemm":
                value = VALUE_BYTES[self.path]
                operands = self.k * self.n + self.m * self.k
                return float(self.groups * (value * operands + 2 * self.m * self.n))
            case "copy":
                return 2.0 * self.size_bytes
            case "read":
                return float(self.size_bytes)
            case "gather":
                return float(self.m * (2 * self.n * VALUE_BYTES["bf16"] + INDEX_BYTES))
        return 0.0


def standard_cases(*, memory_bytes: float) -> list[Case]:
    """The cases of a full run, as far as they fit.

    Parameters
    ----------
    memory_bytes:
        Free memory of the device; a case takes at most a quarter of it, for its operands are
        held several times over so that none is found in the cache. [B]
    """
    paths: tuple[Path, ...] = ("bf16", "fp8")
    cases = [
        Case(kind="gemm", path=path, m=m, n=n, k=k)
        for path in paths
        for k, n in _WEIGHTS
        for m in _TOKENS
    ]
    cases += [
        Case(kind="grouped_gemm", path="bf16", m=m, n=n, k=k, groups=groups)
        for groups, k, n in _EXPERTS
        for m in _TOKENS_PER_EXPERT
    ]
    kinds: tuple[Kind, ...] = ("copy", "read")
    cases += [Case(kind=kind, size_bytes=size) for kind in kinds for size in _STREAMS]
    cases += [
        Case(kind="gather", m=requests * entries, n=ENTRY_VALUES) for requests, entries in _ENTRIES
    ]
    cases += launch_cases()
    return [case for case in cases if case.hbm_bytes <= memory_bytes / 4.0]


def small_cases() -> list[Case]:
    """One tiny case of each kind: to see that everything runs."""
    return [
        Case(kind="gemm", path="bf16", m=16, n=64, k=32),
        Case(kind="gemm", path="fp8", m=16, n=64, k=32),
        Case(kind="grouped_gemm", path="bf16", m=4, n=32, k=16, groups=3),
        Case(kind="copy", size_bytes=1 << 16),
        Case(kind="read", size_bytes=1 << 16),
        Case(kind="gather", m=64, n=32),
        *launch_cases(),
    ]


def launch_cases() -> list[Case]:
    """Latency of a small kernel, launched by the host and replayed in a graph."""
    return [Case(kind="launch_eager"), Case(kind="launch_graph")]
