"""Deployments whose prefill pool runs on another chip than their decode pool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hwmodels.sku import Sku
    from simulator.engines.pools import PoolLayout
    from workloads.layout import Layout

    Pools = tuple[PoolLayout, ...]

SHARES = (0.5, 1.0, 2.0)
"""GPUs of a prefill pool over those of the deployment that ran on the decode pool's chip."""


def paired_deployments(
    deployments: Sequence[Pools], *, recorded: Sequence[Layout], sku: Sku
) -> tuple[Pools, ...]:
    """Deployments of one chip with their prefill pool on another.

    Prefill workers are laid out as recipes ran them on that chip, else as in the deployment where
    one fits into a server or scale-up domain. How many of them a decode pool needs depends on
    both chips, so that half to twice the GPUs of the deployment's prefill pool are tried.

    Parameters
    ----------
    deployments:
        Those of the decode pool's chip; such without pools are left out.
    recorded:
        Layouts of prefill workers that ran on the other chip.
    sku:
        The prefill pool's chip.
    """
    domain = max(sku.node_gpus, sku.scaleup_world)
    found: dict[Pools, None] = {}
    for pools in deployments:
        if len(pools) == 1:
            continue
        prefill, decode = pools
        own = recorded or ([prefill.layout] if prefill.layout.gpus <= domain else [])
        for layout in own:
            for workers in _numbers(prefill.gpus, each=layout.gpus):
                found[replace(prefill, workers=workers, layout=layout), decode] = None
    return tuple(found)


def split_pair(text: str) -> tuple[str | None, str]:
    """Chips of the prefill and the decode pool of ``b200+gb300``; of ``b200`` the first is none."""
    prefill, plus, decode = text.partition("+")
    if not plus or not prefill or not decode or Path(text).exists():
        return None, text
    return prefill, decode


def _numbers(gpus: int, *, each: int) -> Iterator[int]:
    """Workers of a prefill pool, without repeats."""
    yield from dict.fromkeys(max(1, round(share * gpus / each)) for share in SHARES)
