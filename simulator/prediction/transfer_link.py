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
    sku: Sku,
    software: SoftwareLevel,
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

    Raises
    ------
    UserError
        If the SKU states no network bandwidth, or the named library does not run on it.
    """
    plan = sender.plan
    rate, latency_s = _transfer_rate(
        named=plan.transfer_library,
        orchestrator=orchestrator,
        engine=engine or software.engine,
        sku=sku,
        software=software,
    )
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
