"""Which communication library exchanges the tokens of a pool, and in which mode."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hwmodels.exchange_libraries import (
    check_library,
    check_ranks,
    default_library,
    gathers_instead,
    load_library,
)
from workloads.models.parts import BF16_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwmodels.sku import Sku
    from simulator.engines.pools import PoolConfiguration, Role
    from workloads.execution_plan import ExchangeMode, ExecutionPlan

_MODE_OF_ROLE: dict[Role, ExchangeMode] = {
    "aggregated": "auto",
    "prefill": "normal",
    "decode": "low_latency",
}


def exchanges_by_library(*, plan: ExecutionPlan, pool: PoolConfiguration) -> bool:
    """Whether the pool's ranks exchange tokens by a communication library."""
    return is_spread(pool) and plan.moe_backend == "dispatch_combine"


def is_spread(pool: PoolConfiguration) -> bool:
    """Whether whole experts and the tokens of data-parallel attention lie on different ranks."""
    layout = pool.layout
    return layout.dp_attention and layout.tp > 1 and layout.moe_tp == 1


def _as_stated(plan: ExecutionPlan, *, pool: PoolConfiguration) -> ExecutionPlan:
    """The plan with the library of the pool's settings, which takes another backend's place."""
    stated = pool.settings.exchange_library
    if not stated or not is_spread(pool):
        return plan
    return replace(plan, exchange_library=stated, moe_backend="dispatch_combine")


def with_exchange(
    plan: ExecutionPlan, *, pool: PoolConfiguration, sku: Sku, engine: str
) -> ExecutionPlan:
    """The plan with the mode of the pool's role, where no recipe names one.

    Prefill workers take the mode for throughput, decode workers that for latency; aggregated ones
    choose by the tokens of a step. An engine none of whose libraries reaches over the ranks may
    all-gather the tokens instead, FP8 experts' in BF16 (their blocks are scaled after it).

    Raises
    ------
    UserError
        If the named library does not run on the chip or does not reach over the ranks, or the
        engine's usual one supports fewer.
    """
    plan = _as_stated(plan, pool=pool)
    if not exchanges_by_library(plan=plan, pool=pool):
        return plan
    if not plan.exchange_library and gathers_instead(engine=engine, sku=sku, ranks=pool.layout.tp):
        in_bf16 = plan.expert_path == "fp8"
        value_bytes = BF16_BYTES if in_bf16 else plan.dispatch_bytes_per_value
        return replace(plan, moe_backend="allgather", dispatch_bytes_per_value=value_bytes)
    if plan.exchange_mode == "auto":
        plan = replace(plan, exchange_mode=_MODE_OF_ROLE[pool.role])
    if plan.exchange_library:
        check_library(
            library=load_library(plan.exchange_library),
            mode=plan.exchange_mode,
            sku=sku,
            ranks=pool.layout.tp,
        )
        return plan
    usual = default_library(engine=engine, sku=sku, ranks=pool.layout.tp)
    if usual is not None:
        check_ranks(library=usual, mode=plan.exchange_mode, ranks=pool.layout.tp, only_known=True)
    return plan


def exchange_messages(
    pools: Sequence[PoolConfiguration], *, plan: ExecutionPlan, engine: str, sku: Sku
) -> list[str]:
    """What is assumed of the exchange of tokens where no recipe names a library.

    Parameters
    ----------
    engine:
        Whose kernels run: ``vllm``, ``sglang``, ``trtllm`` or ``atom``.
    """
    chosen: dict[str, list[str]] = {}
    idle = [
        f"{pool.role}: exchange_library {pool.settings.exchange_library} has no effect as "
        f"{pool.layout.label}, which exchanges no tokens between experts; it needs data-parallel "
        "attention and whole experts"
        for pool in pools
        if pool.settings.exchange_library and not is_spread(pool)
    ]
    for pool in pools:
        own = _as_stated(replace(plan, **dict(pool.plan)), pool=pool)
        if not exchanges_by_library(plan=own, pool=pool) or own.exchange_library:
            continue
        ranks = pool.layout.tp
        library = default_library(engine=engine, sku=sku, ranks=ranks)
        name = library.name if library else "the vendor's all-to-all"
        if gathers_instead(engine=engine, sku=sku, ranks=ranks):
            name = f"all-gather and reduce-scatter over {ranks} ranks"
        chosen.setdefault(name, []).append(pool.role)
    return idle + [
        f"{' and '.join(roles)}: no recipe names the library that exchanges tokens; "
        f"{name} stands in"
        for name, roles in chosen.items()
    ]
