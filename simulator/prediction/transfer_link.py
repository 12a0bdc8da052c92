"""How KV entries get from a prefill to a decode worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwmodels.kv_transfers import (
    check_transfer,
    default_transfer,
    direction_of,
    load_transfer_library,
    transfer_line_rate,
)
from simulator.serving.kv_transfer import TransferLink
from workloads.errors import UserError
from workloads.models.kv_bytes import kv_copies, transfer_bytes
from workloads.ops import OpKind

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from workloads.architectures.base import Architecture
    from workloads.costmodel import CostModel


def transfer_link(
    *,
    architecture: Architecture,
    skus: tuple[Sku, Sku],
    software: tuple[SoftwareLevel, SoftwareLevel],
    sender: CostModel,
    receiver: CostModel,
    block_tokens: int,
    context: int,
    orchestrator: str = "",
    engine: str = "",
) -> TransferLink:
    """How KV entries get from a prefill to a decode worker: over the network, by a library.

    The library is the one that a recipe names, else the orchestrator's, else that of the chip's
    vendor; chips without one send as their vendor's point-to-point does.

    Racks with one scale-up domain also use the network here: vLLM with NIXL on GB200 lost on
    MNNVL against RDMA because of its descriptors. With one KV head each tensor-parallel rank of
    the receiver needs a copy, with several those beyond their number.

    Parameters
    ----------
    skus, software:
        Of the sender and of the receiver. Where they differ, the slower side's rate and latency
        hold: a byte leaves one and enters the other.

    Raises
    ------
    UserError
        If the SKU states no network bandwidth, the named library does not run on it, or two
        chips have no library or no format of the KV cache in common.
    """
    plan = sender.plan
    if skus[0].key != skus[1].key:
        _check_pair(skus, sender=sender, receiver=receiver, orchestrator=orchestrator)
    found = [
        _transfer_rate(
            named=plan.transfer_library,
            orchestrator=orchestrator,
            engine=engine or level.engine,
            sku=sku,
            software=level,
        )
        for sku, level in zip(skus, software, strict=True)
    ]
    rate, latency_s = min(each[0] for each in found), max(each[1] for each in found)
    sizes = [
        float(
            transfer_bytes(
                architecture=architecture,
                context=tokens,
                kv=plan.kv_storage,
                index=plan.index_storage,
                online_state=plan.online_compressor_state,
            )
        )
        for tokens in (context, 2 * context)
    ]
    token_bytes = (sizes[1] - sizes[0]) / context
    copies = kv_copies(architecture=architecture, attention_tp=receiver.layout.attention_tp)
    # unlike KV heads, the heads of linear attention are never copied
    state_bytes = architecture.state_bytes()
    fixed_bytes = max(0.0, sizes[0] - context * token_bytes - state_bytes)
    ports = min(sender.layout.gpus, receiver.layout.gpus)
    return TransferLink(
        bandwidth_bytes_per_s=rate * ports,
        token_bytes=token_bytes * copies,
        request_bytes=fixed_bytes * copies + state_bytes,
        block_tokens=block_tokens,
        latency_s=latency_s,
    )


def _check_pair(
    skus: tuple[Sku, Sku], *, sender: CostModel, receiver: CostModel, orchestrator: str
) -> None:
    """Make sure that entries that one chip's pool writes can be read by the other's.

    Raises
    ------
    UserError
        If they cannot.
    """
    formats = (sender.plan.kv_storage, receiver.plan.kv_storage)
    if formats[0] != formats[1]:
        raise UserError(
            f"the prefill pool on {skus[0].key} keeps KV entries as {formats[0]}, the decode pool "
            f"on {skus[1].key} as {formats[1]}; state one with --kv-precision"
        )
    if sender.plan.transfer_library:
        return
    libraries = [default_transfer(orchestrator=orchestrator, sku=sku) for sku in skus]
    keys = [library.key if library else "point-to-point" for library in libraries]
    if keys[0] != keys[1]:
        raise UserError(
            f"KV entries leave {skus[0].key} by {keys[0]} and enter {skus[1].key} by {keys[1]}; "
            "no library is known that runs on both"
        )


def _transfer_rate(
    *, named: str, orchestrator: str, engine: str, sku: Sku, software: SoftwareLevel
) -> tuple[float, float]:
    """Rate of one chip and latency of a KV transfer. [B/s], [s]"""
    library = (
        load_transfer_library(named)
        if named
        else default_transfer(orchestrator=orchestrator, sku=sku)
    )
    if library is None:
        fit = software.collective(kind=OpKind.POINT_TO_POINT)
        rate = transfer_line_rate(library=load_transfer_library("nixl"), sku=sku)
        return rate * fit.scaleout_efficiency, fit.latency_s + fit.scaleout_latency_s
    check_transfer(library=library, sku=sku)
    way = direction_of(engine=engine)
    rate = transfer_line_rate(library=library, sku=sku)
    return rate * library.share[way], library.latency_s[way]
