"""What binds a run most of the time, in a planner's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.prediction.step_breakdown import Limit, seconds_by_limit, time_ops

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from simulator.serving.router import WorkerPool
    from workloads.costmodel import CostModel


KV_CAPACITY = "KV capacity"
"""More requests are present than the KV pool admits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCost:
    """What a phase runs on: the cost model of its pool, that pool's chip and software."""

    model: CostModel
    sku: Sku
    software: SoftwareLevel
    ranks: int


def name_bottleneck(
    *,
    prefill: PhaseCost,
    decode: PhaseCost,
    pool: WorkerPool,
    drafts: int,
    requests_per_rank: float,
    prompt_tokens: float,
    output_tokens: float,
) -> str:
    """The limit that takes the largest share of a steady state's time.

    Parameters
    ----------
    prefill, decode:
        Where either runs, with the attention ranks of all workers; the same for an aggregated
        deployment.
    pool:
        The pool that decodes.
    requests_per_rank:
        Requests in the system per attention rank of it. [requests]
    prompt_tokens, output_tokens:
        Mean lengths. [tokens]

    Notes
    -----
    A batch of D requests finishes D / output_tokens of them each step and takes in as many
    prompts, so that a decode step of t_d stands beside D / output_tokens whole prefills of t_p, or,
    where R_p ranks of their own take in what R_d decode, that times R_d / R_p. Such pools work at
    the same time: the busier one is named, by what takes most of its time. Where more requests are
    present than the KV pool or the running cap admits, that is named.
    """
    model = decode.model
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
    group_tokens = prompt_tokens * prefill.model.layout.attention_dp
    prefill_ops = [
        *prefill.model.token_ops(rank_tokens=prompt_tokens, group_tokens=group_tokens),
        *prefill.model.prefill_attention_ops(new_tokens=prompt_tokens, prefix_tokens=0.0),
    ]
    prompts = decoding / output_tokens * decode.ranks / prefill.ranks
    shares: dict[str, dict[Limit, float]] = {}
    for phase, of, ops, weight in (
        ("decode", decode, decode_ops, 1.0),
        ("prefill", prefill, prefill_ops, prompts),
    ):
        seconds = seconds_by_limit(time_ops(ops=ops, sku=of.sku, software=of.software))
        shares[phase] = {limit: value * weight for limit, value in seconds.items()}
    busier = max if prefill.model is decode.model else sum
    phase = max(shares, key=lambda name: busier(shares[name].values()))
    limit = max(shares[phase], key=lambda name: shares[phase][name])
    return f"{phase}: {limit.value}"
