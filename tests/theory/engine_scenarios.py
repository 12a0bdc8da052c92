"""Random deployments and workloads, small enough to run thousands of them."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from simulator.engines.atom.engine import AtomSettings
from simulator.engines.registry import bind_engine
from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.trtllm.engine import TrtllmSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.client import ClosedLoop, OpenLoop
from simulator.serving.deployment import Deployment
from simulator.serving.front_end import FrontEnd
from simulator.serving.kv_pool import KvPoolSpec, OffloadTier
from simulator.serving.kv_transfer import TransferLink
from simulator.serving.router import WorkerPool
from simulator.serving.step_cost import Line
from workloads.layout import Layout
from workloads.requests.request import Request
from workloads.requests.synthetic import link_turns

LONGEST_TOKENS = 420


class SegmentedCost:
    """A made-up step cost, piecewise linear in context with a knot every 64 tokens."""

    def __init__(self, queries_per_request: int = 1) -> None:
        self.queries_per_request = queries_per_request

    def fixed_s(self, *, rank_tokens, group_tokens, rank_samples, group_samples, has_prefill):
        return (
            0.01
            + 1e-4 * rank_tokens
            + 1e-5 * group_tokens
            + 1e-4 * rank_samples
            + 1e-5 * group_samples
            + (0.005 if has_prefill else 0.0)
        )

    def decode_attention(self, *, requests, context_sum):
        knot = 64.0 * requests
        index = int(context_sum // knot)
        value = self._at_knot(index, requests)
        slope = (self._at_knot(index + 1, requests) - value) / knot
        return Line(value + slope * (context_sum - index * knot), slope, (index + 1) * knot)

    @staticmethod
    def _at_knot(index, requests):
        return 1e-5 * requests * (index + 0.02 * index * index)

    def prefill_attention_s(self, *, new_tokens, prefix_tokens):
        return 1e-8 * new_tokens * (prefix_tokens + 0.5 * new_tokens)


ENGINES = st.one_of(
    *(
        st.builds(
            VllmSettings,
            max_num_batched_tokens=budget,
            max_num_seqs=st.integers(1, 12),
            enable_chunked_prefill=st.just(cut),
            enable_prefix_caching=st.booleans(),
            prefill_schedule_interval=st.integers(1, 5),
            async_scheduling=st.booleans(),
            scheduler_reserve_full_isl=st.booleans(),
        )
        for cut, budget in ((True, st.integers(8, 200)), (False, st.integers(LONGEST_TOKENS, 700)))
    ),
    st.builds(
        SglangSettings,
        chunked_prefill_size=st.sampled_from([-1, 64, 128, 512]),
        max_prefill_tokens=st.integers(32, 400),
        max_running_requests=st.one_of(st.none(), st.integers(4, 30)),
        page_size=st.sampled_from([1, 8]),
        enable_mixed_chunk=st.booleans(),
        enable_prefill_delayer=st.booleans(),
        prefill_delayer_max_delay_passes=st.integers(0, 12),
        prefill_delayer_bounds_slots=st.booleans(),
        prefill_delayer_window=st.sampled_from([None, 4]),
        prefill_delayer_counts_chunks=st.booleans(),
        disable_overlap_schedule=st.booleans(),
        disable_radix_cache=st.booleans(),
        scheduler_recv_interval=st.sampled_from([1, 1, 3, 10]),
    ),
    st.builds(
        TrtllmSettings,
        max_num_tokens=st.integers(LONGEST_TOKENS, 700),
        max_batch_size=st.integers(1, 12),
        tokens_per_block=st.sampled_from([4, 16]),
        capacity_policy=st.sampled_from(["max_utilization", "guaranteed_no_evict"]),
        enable_chunked_prefill=st.booleans(),
        attention_dp_enable_balance=st.booleans(),
        attention_dp_timeout_iters=st.integers(0, 12),
        attention_dp_batching_wait_iters=st.integers(0, 5),
        batch_wait_timeout_iters=st.integers(0, 6),
        batch_wait_max_tokens_ratio=st.sampled_from([0.0, 0.3, 1.0]),
        disable_overlap_scheduler=st.booleans(),
    ),
    st.builds(
        AtomSettings,
        max_num_batched_tokens=st.integers(40, 400),
        max_num_seqs=st.integers(1, 12),
        enable_chunked_prefill=st.booleans(),
        deferred_output=st.booleans(),
        prefill_alignment=st.sampled_from(["none", "some_ranks", "full_budget", "coalescer"]),
        prefill_align_fill=st.sampled_from([0.2, 0.9]),
        prefill_align_max_ticks=st.integers(0, 40),
        prefill_align_partial_ticks=st.integers(0, 20),
        prefill_align_stall_ticks=st.integers(1, 10),
        data_parallel_routing=st.sampled_from(["round_robin", "least_requests"]),
    ),
)


@st.composite
def kv_pools(draw, stages=1):
    block = draw(st.sampled_from([4, 16, 64]))
    longest_blocks = -(-LONGEST_TOKENS // block) + 4
    tier = OffloadTier(
        name="host",
        capacity_bytes=draw(st.sampled_from([0.0, 100.0, 1e6])),
        bandwidth_bytes_per_s=1e3,
        latency_s=draw(st.sampled_from([0.0, 0.003])),
    )
    return KvPoolSpec(
        total_blocks=stages * draw(st.sampled_from([1, 1, 2, 4])) * longest_blocks,
        block_tokens=block,
        fixed_blocks_per_request=draw(st.integers(0, 2)),
        admission_blocks=draw(st.integers(0, 2)),
        request_slots=draw(st.one_of(st.none(), st.integers(stages, 8))),
        block_bytes=float(block),
        prefix_hit_interval_tokens=draw(st.sampled_from([None, 0, 64])),
        offload=draw(st.sampled_from([(), (tier,)])),
        swap=draw(st.sampled_from([None, tier])),
    )


@st.composite
def worker_pools(draw, queries):
    ranks = draw(st.sampled_from([1, 1, 2, 4]))
    stages = draw(st.sampled_from([1, 1, 1, 2]))
    routing = st.sampled_from(["round_robin", "least_loaded", "kv_aware"])
    engine = draw(ENGINES)
    kv_pool = draw(kv_pools(stages))
    if not getattr(engine, "scheduler_reserve_full_isl", True):
        # vLLM computes again what it preempts: two requests that swap in for ever would never end
        kv_pool = replace(kv_pool, swap=None)
    return WorkerPool(
        layout=Layout(tp=ranks, ep=ranks, dp_attention=ranks > 1, pp=stages),
        engine=bind_engine(engine),
        kv_pool=kv_pool,
        cost=SegmentedCost(queries),
        workers=draw(st.sampled_from([1, 1, 2])),
        routing=draw(routing),
        rank_routing=draw(st.one_of(st.none(), routing)),
    )


@st.composite
def deployments(draw, queries):
    front_end = FrontEnd(token_s=draw(st.sampled_from([0.0, 0.0, 1e-4])))
    if draw(st.booleans()):
        return Deployment(aggregated=draw(worker_pools(queries)), front_end=front_end)
    return Deployment(
        front_end=front_end,
        prefill=draw(worker_pools(1)),
        decode=draw(worker_pools(queries)),
        transfer=TransferLink(
            bandwidth_bytes_per_s=draw(st.sampled_from([1e3, 1e5])),
            token_bytes=draw(st.sampled_from([0.0, 1.0])),
            request_bytes=draw(st.sampled_from([0.0, 10.0])),
            block_tokens=16,
            latency_s=draw(st.sampled_from([0.0, 0.002])),
            descriptor_s=1e-5,
            descriptors_per_block=draw(st.sampled_from([0.0, 3.0])),
        ),
        first_token_at=draw(st.sampled_from(["prefill", "decode"])),
    )


@st.composite
def workloads(draw, queries):
    """Single requests and conversations; with ``queries`` above 1 some drafts are accepted."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gap_s = draw(st.sampled_from([0.0, 0.01, 0.05, 0.2]))
    conversational = draw(st.booleans())
    requests = []
    arrival_s = 0.0
    for session in range(draw(st.integers(1, 30))):
        arrival_s += float(rng.exponential(1.0)) * gap_s
        turns = int(rng.integers(1, 4)) if conversational else 1
        context = 0
        conversation = []
        for turn in range(turns):
            context += int(rng.integers(1, 120 if conversational else 300))
            output = int(rng.integers(1, 20 if conversational else 100))
            least = -(-(output - 1) // queries)
            steps = int(rng.integers(least, output)) if output > 1 else 0
            conversation.append(
                Request(
                    index=len(requests) + turn,
                    prompt_tokens=context,
                    output_tokens=output,
                    decode_steps=output - 1 if queries == 1 else steps,
                    arrival_s=None if turn else arrival_s,
                )
            )
            context += output
        if conversational:
            link_turns(
                conversation,
                session=session,
                think_s=rng.exponential(gap_s, turns).tolist() if gap_s else [0.0] * turns,
                shared_blocks=(1, 2, 3)[: conversation[0].prompt_tokens // 16],
                block_tokens=16,
            )
        requests += conversation
    return requests


@st.composite
def scenarios(draw):
    """A deployment, its requests and their load."""
    queries = draw(st.sampled_from([1, 1, 3]))
    load = draw(
        st.one_of(
            st.just(OpenLoop()),
            st.builds(
                ClosedLoop,
                concurrency=st.integers(1, 16),
                turnaround_s=st.sampled_from([0.0, 0.015]),
            ),
        )
    )
    return draw(deployments(queries)), draw(workloads(queries)), load
