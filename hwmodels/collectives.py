"""Seconds of one collective among the ranks of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwmodels.quantities import Figure
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError
from workloads.ops import OpKind

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveFit:
    """Latency and efficiency of one kind of collective inside one scale-up domain.

    Parameters
    ----------
    latency_s:
        Time of a small message. [s]
    efficiency:
        Share of the scale-up bandwidth per direction that a large message reaches (bus
        bandwidth over link bandwidth; above 1 where a switch reduces in the network). [-]
    scaleout_latency_s:
        Added once where the group spans scale-up domains. [s]
    scaleout_efficiency:
        Share of the network bandwidth per direction that is reached. [-]
    """

    latency_s: float
    efficiency: float
    scaleout_latency_s: float
    scaleout_efficiency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReduce:
    """What an all-reduce across scale-up domains is limited to by its protocols.

    Parameters
    ----------
    ll_bytes_per_s:
        Rate of the low-latency protocol over the message, for two domains and for more. [B/s]
    simple_latency_s:
        Latency of the bulk protocol. [s]
    """

    ll_bytes_per_s: tuple[float, float]
    simple_latency_s: float


@lru_cache(maxsize=8)
def network_reduce(*, engine: str) -> NetworkReduce | None:
    """The protocols of an engine's all-reduce across domains; ``None``: the links alone limit it.

    Engines reduce by kernels of their own up to the end of the scale-up domain and by the vendor's
    library beyond. SGLang and vLLM switch its in-switch reduction off, which leaves a tree.
    """
    path = Path(str(resources.files("hwmodels") / "communication" / "allreduce.yaml"))
    data = read_yaml_mapping(path)
    chosen = data["engines"].get(engine)
    node = data["algorithms"][chosen["algorithm"]] if chosen else {}
    if "ll_rate" not in node:
        return None
    rates = [Figure.model_validate(node["ll_rate"][name]).si for name in ("two", "more")]
    latency_s = Figure.model_validate(node["simple_latency"]).si
    return NetworkReduce(ll_bytes_per_s=(rates[0], rates[1]), simple_latency_s=latency_s)


def group_scaleup_bytes_per_s(*, sku: Sku, group_size: int) -> float:
    """Scale-up bandwidth of one chip towards a group, per direction. [B/s]

    Behind a switch a chip can send at its full rate to any number of peers. In a mesh of
    point-to-point links only the links to the members of the group carry traffic, so two chips
    of an eight-chip mesh see one link (MI300X: 47.7 GB/s measured by RCCL with two, 313 with
    eight).
    """
    full = float(sku.scaleup_bytes_per_s)
    if sku.scaleup_pair_bytes_per_s is None:
        return full
    return min(full, float(sku.scaleup_pair_bytes_per_s) * max(group_size - 1, 1))


def collective_s(
    *,
    kind: OpKind,
    message_bytes: Quantity,
    group_size: int,
    sku: Sku,
    fit: CollectiveFit,
    reduce: NetworkReduce | None = None,
) -> Quantity:
    """Time of one collective. [s]

    Parameters
    ----------
    kind:
        Which collective.
    message_bytes:
        As defined by `workloads.ops.Op.message_bytes`. [B]
    group_size:
        Ranks g that take part; one rank costs nothing.
    sku, fit:
        Link bandwidths, and the latency and efficiency reached on them.
    reduce:
        Protocols of an all-reduce beyond one domain; ``None``: the links alone limit it.

    Notes
    -----
    Bytes that cross a chip's links: all-reduce ``2 (g-1)/g m``; all-gather, reduce-scatter and
    all-to-all ``(g-1)/g m``; point-to-point ``m`` (nccl-tests, PERFORMANCE.md). A group that
    spans scale-up domains of ``w`` chips sends ``(w-1)/(g-1)`` of them inside (``w < g``) and
    the rest over the network; the two run side by side, so the slower one counts. Reductions
    and gathers are hierarchical: they cross the network once per domain, spread over its ``w``
    network ports, pipelined with the part inside (4 x 8 H200: 365 of 400 GB/s at the ports,
    github stas00/ml-engineering, network/README.md).

    With ``reduce`` an all-reduce across domains takes the faster of two protocols:
    ``latency + m / r_LL``, or ``latency_Simple`` and the links. So it grows by 0.17 µs per kB up
    to some 3 MB, then hardly: decode of DeepSeek-R1 over two nodes of H100 with SGLang shows
    0.1 to 0.2 µs per kB from 0.2 to 3.7 MB, its prefill of 100 MB nothing of the kind.

    Raises
    ------
    UserError
        If the group spans scale-up domains and the SKU states no network bandwidth.
    """
    if group_size <= 1:
        return np.zeros_like(np.asarray(message_bytes, dtype=float))
    g = group_size
    w = min(g, int(sku.scaleup_world))
    factor = {OpKind.ALL_REDUCE: 2.0 * (g - 1) / g, OpKind.POINT_TO_POINT: 1.0}.get(
        kind, (g - 1) / g
    )
    link_bytes = factor * np.asarray(message_bytes, dtype=float)
    inside_rate = fit.efficiency * group_scaleup_bytes_per_s(sku=sku, group_size=w)
    if w == g:
        return fit.latency_s + link_bytes / inside_rate
    if sku.scaleout_bytes_per_s is None:
        raise UserError(
            f"scaleout_bytes_per_s of {sku.key} is unknown, and {g} ranks span scale-up domains of "
            f"{w} chips; give it with --set scaleout_bytes_per_s=50e9 (400 Gb/s) or use at most "
            f"{w} chips"
        )
    network_rate = fit.scaleout_efficiency * float(sku.scaleout_bytes_per_s)
    latency_s = fit.latency_s + fit.scaleout_latency_s
    if kind in (OpKind.ALL_TO_ALL, OpKind.POINT_TO_POINT):
        inside_share = (w - 1) / (g - 1)
        inside_s = link_bytes * inside_share / inside_rate
        network_s = link_bytes * (1.0 - inside_share) / network_rate
        return latency_s + np.maximum(inside_s, network_s)
    network_s = link_bytes / w / network_rate
    inside_s = link_bytes * float(w > 1) / inside_rate
    links_s = np.maximum(inside_s, network_s)
    if kind is not OpKind.ALL_REDUCE or reduce is None:
        return latency_s + links_s
    low_latency_s = np.asarray(message_bytes) / reduce.ll_bytes_per_s[int(g > 2 * w)]
    bulk_s = reduce.simple_latency_s - latency_s + links_s
    return latency_s + np.maximum(links_s, np.minimum(low_latency_s, bulk_s))
