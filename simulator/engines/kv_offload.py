"""Host memory behind the KV pool: what an engine keeps there, how much and over which link."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from simulator.serving.kv_pool import OffloadTier
from workloads.errors import UserError

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from simulator.engines.registry import AnyEngine
    from workloads.layout import Layout

OffloadPolicy: TypeAlias = Literal["write_through", "write_back"]

POLICIES: dict[str, OffloadPolicy] = {
    "write-through": "write_through",
    "eager": "write_through",
    "write-back": "write_back",
    "lazy": "write_back",
}
"""Policies by the engines' names: vLLM's simple CPU connector is eager or lazy."""

HOST_LINK_EFFICIENCY = 0.85
"""Share of a chip's host link that large copies of KV blocks reach: 50-55 of 63 GB/s over PCIe 5,
193-211 of 225 GB/s over NVLink-C2C. Estimate. [-]"""

LOAD_LATENCY_S = 1e-3
"""Fixed time of one asynchronous load: look-up, descriptors, completion. Estimate. [s]"""

NVME_BYTES_PER_S = 6.5e9
"""Reads of one chip's share of a server's local drives: one drive a chip over four lanes of PCIe 4,
as in DGX and HGX servers with eight U.2 drives (NVIDIA DGX B200 data sheet). Estimate. [B/s]"""

NVME_LATENCY_S = 2e-3
"""Fixed time of one load from a drive through host memory. Estimate. [s]"""

_NVME = re.compile(r"^nvme:([0-9.]+)\s*(TB|GB|TiB|GiB)$")
_TEXT = re.compile(r"^(none|(cpu|host)(?::([0-9.]+)\s*(TB|GB|TiB|GiB))?(?::([a-z-]+))?)$")
_BYTES = {"TB": 1e12, "GB": 1e9, "TiB": 2.0**40, "GiB": 2.0**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class KvOffload:
    """Host memory for KV blocks, as a user states it.

    Parameters
    ----------
    total_bytes:
        Of one server of ``node_gpus`` chips; ``None``: the SKU's budget; 0: none. [B]
    policy:
        When blocks are copied; ``None``: as the recipe has it.
    nvme_bytes:
        Local drives of one server, which take what host memory evicts; 0: none. [B]
    """

    total_bytes: float | None = None
    policy: OffloadPolicy | None = None
    nvme_bytes: float = 0.0


def parse_kv_offload(text: str) -> KvOffload:
    """Host memory of ``none``, ``cpu``, ``cpu:2849GB`` or ``cpu:2849GB:lazy``.

    A second tier may follow a comma: ``cpu,nvme:30TB``, local drives of one server.

    Raises
    ------
    UserError
        If the text is none of these.
    """
    memory, comma, drives = text.partition(",")
    match = _TEXT.match(memory.strip())
    nvme = _NVME.match(drives.strip()) if comma else None
    if match is None or (comma and (nvme is None or match.group(1) == "none")):
        raise UserError(
            f"kv_offload '{text}' is not known; write none, cpu, cpu:2849GB (of one server) or "
            f"cpu:2849GB:POLICY with one of {', '.join(POLICIES)}; ,nvme:30TB behind it"
        )
    if match.group(1) == "none":
        return KvOffload(total_bytes=0.0)
    _, _, size, unit, policy = match.groups()
    if policy is not None and policy not in POLICIES:
        raise UserError(f"kv_offload policy '{policy}' is not one of {', '.join(POLICIES)}")
    return KvOffload(
        total_bytes=None if size is None else float(size) * _BYTES[unit],
        policy=None if policy is None else POLICIES[policy],
        nvme_bytes=0.0 if nvme is None else float(nvme.group(1)) * _BYTES[nvme.group(2)],
    )


def host_tiers(
    *,
    engine: AnyEngine,
    asked: KvOffload | None,
    sku: Sku,
    layout: Layout,
    pool_bytes: float,
) -> tuple[tuple[OffloadTier, ...], str]:
    """The host tier of one rank, and what was assumed for it; empty without one.

    Parameters
    ----------
    engine:
        With its settings: a recipe's ``kv_offloading`` (vLLM) or ``hicache_ratio`` (SGLang).
    asked:
        What the user states instead; ``None``: as the recipe has it.
    pool_bytes:
        KV pool of one rank, of which SGLang's host pool is a multiple. [B]

    Raises
    ------
    UserError
        If the stated memory exceeds what the SKU's server has, or the SKU has no host link.

    Notes
    -----
    Every chip has an equal share of its server's memory and a link of its own. Where a tensor
    parallel group keeps copies of one latent cache, each chip keeps its copy on the host too.
    """
    recorded = engine.kv_offload
    policy: OffloadPolicy | None = None
    ratio: float | None = None
    if recorded is not None:
        policy = "write_through" if recorded.write_through else "write_back"
        ratio = recorded.pool_ratio
    if asked is not None:
        if asked.total_bytes == 0:
            return (), "no KV offloading, as stated"
        policy = asked.policy or policy or "write_through"
        if asked.total_bytes is not None:
            ratio = None
    if policy is None:
        return (), ""
    if sku.host_link_bytes_per_s is None:
        raise UserError(
            f"sku {sku.key} states no host_link_bytes_per_s for KV offloading; give one with "
            "--set host_link_bytes_per_s=..., or --kv-offload none"
        )
    budget = sku.host_memory_bytes
    if asked is not None and asked.total_bytes is not None:
        capacity = asked.total_bytes / sku.node_gpus
        if budget is not None and capacity > budget * 1.001:
            raise UserError(
                f"kv_offload is {asked.total_bytes / 1e9:.0f} GB; a server of {sku.node_gpus} x "
                f"{sku.key} has {budget * sku.node_gpus / 1e9:.0f} GB of host memory for it: state "
                "less, or --set host_memory_bytes=... of one chip"
            )
    elif budget is None:
        raise UserError(
            f"sku {sku.key} states no host_memory_bytes; give the memory with "
            "--kv-offload cpu:SIZE, or --kv-offload none"
        )
    else:
        capacity = budget if ratio is None else min(budget, ratio * max(pool_bytes, 0.0))
    tier = OffloadTier(
        name="host",
        capacity_bytes=capacity,
        bandwidth_bytes_per_s=sku.host_link_bytes_per_s * HOST_LINK_EFFICIENCY,
        latency_s=LOAD_LATENCY_S,
        inclusive=policy == "write_through",
    )
    how = policy.replace("_", "-")
    message = (
        f"KV offloading to host memory, {how}: {capacity / 1e9:.0f} GB a chip of "
        f"{layout.gpus}, loads at {tier.bandwidth_bytes_per_s / 1e9:.0f} GB/s a chip"
    )
    if asked is None or not asked.nvme_bytes:
        return (tier,), message
    drives = OffloadTier(
        name="nvme",
        capacity_bytes=asked.nvme_bytes / sku.node_gpus,
        bandwidth_bytes_per_s=NVME_BYTES_PER_S,
        latency_s=NVME_LATENCY_S,
    )
    message += (
        f"; behind it {drives.capacity_bytes / 1e9:,.0f} GB of local drives a chip at "
        f"{NVME_BYTES_PER_S / 1e9:g} GB/s (estimate), counted with the host's hits"
    )
    return (tier, drives), message
