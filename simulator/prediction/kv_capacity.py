"""What KV pools hold, in tokens and in the server's own terms, and how many sessions that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from simulator.prediction.assembly import Assembly
    from simulator.serving.records import Records

SESSION_TOKENS = 300_000
"""Tokens that a live AgentX session keeps at steady state, its sub-agents included. [tokens]

Estimate: 141,000 to 177,000 tokens a lane are referenced by running requests (pool usage of
published runs); cached contexts that wait for their next turn come on top, .25 to .4 M in all.
"""

SESSION_CHAINS = 5
"""Conversations of a live session whose last state is kept: its own and sub-agents'. Estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCapacity:
    """KV pools of a deployment's prefill side and the tiers behind them.

    Parameters
    ----------
    pool_tokens:
        Context tokens of all pools. [tokens]
    logged_tokens:
        What the server prints at its start: vLLM's ``GPU KV cache size`` is the number of
        requests of the longest context that fit, times that context. [tokens]
    host_tokens:
        Context tokens of the tiers behind the pools, drives too, beyond what the pools hold.
        [tokens]
    has_drives:
        Whether a tier lies behind host memory.
    session_tokens:
        What a live session takes: its contexts, and the state of windows or linear layers that is
        kept at boundaries of them. [tokens]
    """

    pool_tokens: float
    logged_tokens: float
    host_tokens: float
    has_drives: bool = False
    session_tokens: float = SESSION_TOKENS

    @property
    def sessions_device(self) -> float:
        """Live sessions whose contexts fill the pools. [sessions]"""
        return self.pool_tokens / self.session_tokens

    @property
    def sessions_host(self) -> float:
        """Live sessions whose contexts fill pools and host tiers. [sessions]"""
        return (self.pool_tokens + self.host_tokens) / self.session_tokens


def kv_capacity(assembly: Assembly) -> KvCapacity:
    """Capacity of the pools that cache prompts."""
    pool = assembly.pools[0]
    spec = pool.kv_pool
    ranks = pool.workers * pool.layout.attention_dp * pool.layout.pp
    tokens = float(spec.total_blocks * spec.block_tokens)
    logged = float(assembly.kv_tokens[0])
    host = 0.0
    for tier in spec.offload:
        held = tier.capacity_bytes / spec.token_bytes
        host += max(0.0, held - tokens) if tier.inclusive else held
    session = float(SESSION_TOKENS)
    interval = spec.prefix_hit_interval_tokens
    if interval is not None:
        states = SESSION_CHAINS + (SESSION_TOKENS / interval if interval else 0.0)
        session += states * spec.kept_state_blocks * spec.block_tokens
    return KvCapacity(
        pool_tokens=ranks * tokens,
        logged_tokens=ranks * logged,
        host_tokens=ranks * host,
        has_drives=len(spec.offload) > 1,
        session_tokens=session,
    )


def kv_use(assembly: Assembly, records: Records) -> float:
    """Mean share of the blocks of the caching pools that running requests hold. [-]

    What vLLM logs as ``GPU KV cache usage``: cached blocks that nobody holds do not count. A
    request holds the blocks of its context, and those of windows and state, from its first step to
    its last token, or to its first where another pool decodes; the time is that of
    `simulator.analysis.agentic_metrics`. Requests that were cut off are left out.
    """
    pool = assembly.pools[0]
    spec = pool.kv_pool
    ranks = pool.workers * pool.layout.attention_dp * pool.layout.pp
    prefill_s = records.first_token_s - records.scheduled_s
    block = spec.block_tokens
    fixed = spec.fixed_blocks_per_request
    held = prefill_s * (np.ceil(records.prompt_tokens / block) + fixed)
    if len(assembly.pools) == 1:
        context = records.prompt_tokens + records.output_tokens / 2.0
        held = held + (records.finish_s - records.first_token_s) * (context / block + 0.5 + fixed)
    duration_s = float(records.finish_s.max() - records.arrival_s.min())
    return float(np.nansum(held)) / (duration_s * ranks * spec.total_blocks)
