"""What binds a run most of the time, in a planner's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.prediction.step_breakdown import Limit, seconds_by_limit, time_ops

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from simulator.serving.router import WorkerPool
    from workloads.costmodel import CostModel


KV_CAPACITY = "KV capacity"
"""More requests are present than the KV pool admits."""


def name_bottleneck(
    *,
    model: CostModel,
    sku: Sku,
    software: SoftwareLevel,
    pool: WorkerPool,
    drafts: int,
    requests_per_rank: float,
    prompt_tokens: float,
    output_tokens: float,
) -> str:
    """The limit that takes the largest share of a steady state's time.

    Parameters
    ----------
    requests_per_rank:
        Requests in the system per attention rank. [requests]
    prompt_tokens, output_tokens:
        Mean lengths. [tokens]

    Notes
    -----
    A batch of D requests finishes D / output_tokens of them each step and takes in as many
    prompts, so that a decode step of t_d stands beside D / output_tokens whole prefills of t_p.
    Where more requests are present than the KV pool or the running cap admits, that is named.
    """
    context = prompt_tokens + output_tokens / 2.0
    room = pool.kv_pool.total_blocks / pool.kv_pool.blocks(prompt_tokens + output_tokens)
    if pool.kv_pool.request_slots is not None:
        room = min(room, pool.kv_pool.request_slots)
    cap = pool.engine.running_cap(attention_dp=model.layout.attention_dp)
    if requests_per_rank > min(room, cap):
        return KV_CAPACITY if room < cap else "running cap"
    decoding = max(requests_per_rank, 1.0)
    ranks = model.layout.attention_dp
    queries = drafts + 1
    decode_ops = [
        *model.token_ops(rank_tokens=decoding * queries, group_tokens=decoding * queries * ranks),
        *model.decode_attention_ops(
            requests=decoding, queries_per_request=queries, context=context
        ),
        *model.head_ops(samples=decoding),
        *model.draft_ops(requests=decoding, group_requests=decoding * ranks, drafts=drafts),
    ]
    prefill_ops = [
        *model.token_ops(rank_tokens=prompt_tokens, group_tokens=prompt_tokens * ranks),
        *model.prefill_attention_ops(new_tokens=prompt_tokens, prefix_tokens=0.0),
    ]
    shares: dict[tuple[str, Limit], float] = {}
    for phase, ops, weight in (
        ("decode", decode_ops, 1.0),
        ("prefill", prefill_ops, decoding / output_tokens),
    ):
        for limit, seconds in seconds_by_limit(
            time_ops(ops=ops, sku=sku, software=software)
        ).items():
            shares[phase, limit] = seconds * weight
    phase, limit = max(shares, key=lambda key: shares[key])
    return f"{phase}: {limit.value}"
