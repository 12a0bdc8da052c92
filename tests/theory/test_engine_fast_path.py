"""Sleeping through runs of steps gives exactly what waking at every step gives."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.client import ClosedLoop, OpenLoop
from simulator.cluster import WorkerPool
from simulator.deployment import Deployment, RecordColumns, run_deployment
from simulator.kvcache import KvPoolSpec
from simulator.settings import AtomSettings, SglangSettings, TrtllmSettings, VllmSettings
from simulator.step_cost import Line
from workloads.layout import Layout
from workloads.requests import Request


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
    st.builds(
        VllmSettings,
        max_num_batched_tokens=st.integers(8, 200),
        max_num_seqs=st.integers(1, 12),
        enable_chunked_prefill=st.booleans(),
        prefill_schedule_interval=st.integers(1, 5),
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
        disable_radix_cache=st.booleans(),
    ),
    st.builds(
        TrtllmSettings,
        max_num_tokens=st.integers(300, 600),
        max_batch_size=st.integers(1, 12),
        tokens_per_block=st.sampled_from([4, 16]),
        capacity_policy=st.sampled_from(["max_utilization", "guaranteed_no_evict"]),
        enable_chunked_prefill=st.booleans(),
        attention_dp_batching_wait_iters=st.integers(0, 12),
    ),
    st.builds(
        AtomSettings,
        max_num_batched_tokens=st.integers(40, 400),
        max_num_seqs=st.integers(1, 12),
        prefill_align_steps=st.integers(0, 12),
    ),
)


@st.composite
def scenarios(draw):
    ranks = draw(st.sampled_from([1, 1, 2, 4]))
    workers = draw(st.sampled_from([1, 1, 2]))
    queries = draw(st.sampled_from([1, 1, 3]))
    block = draw(st.sampled_from([4, 16, 64]))
    longest = 260
    pool = KvPoolSpec(
        total_blocks=draw(st.integers(1, 6)) * (-(-longest // block) + 4),
        block_tokens=block,
        fixed_blocks_per_request=draw(st.integers(0, 2)),
        admission_blocks=draw(st.integers(0, 2)),
        request_slots=draw(st.one_of(st.none(), st.integers(1, 8))),
    )
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prompts = rng.integers(1, 180, count)
    outputs = rng.integers(1, 72, count)
    steps = (
        [0 if o == 1 else int(rng.integers(-(-(o - 1) // queries), o)) for o in outputs]
        if queries > 1
        else (outputs - 1).tolist()
    )
    gap_s = draw(st.sampled_from([0.0, 0.01, 0.05, 0.2]))
    arrivals = np.cumsum(rng.exponential(1.0, count) * gap_s)
    requests = [
        Request(
            index=i,
            prompt_tokens=int(prompts[i]),
            output_tokens=int(outputs[i]),
            decode_steps=int(steps[i]),
            arrival_s=float(arrivals[i]),
        )
        for i in range(count)
    ]
    load = draw(
        st.one_of(st.just(OpenLoop()), st.builds(ClosedLoop, concurrency=st.integers(1, 16)))
    )
    deployment = Deployment(
        aggregated=WorkerPool(
            layout=Layout(tp=ranks, ep=ranks, dp_attention=ranks > 1),
            settings=draw(ENGINES),
            kv_pool=pool,
            cost=SegmentedCost(queries),
            workers=workers,
            routing=draw(st.sampled_from(["round_robin", "least_loaded"])),
            rank_routing=draw(st.sampled_from(["round_robin", "least_loaded"])),
        )
    )
    return deployment, requests, load


@settings(max_examples=300, deadline=None)
@given(scenario=scenarios())
def test_runs_of_steps_equal_single_steps(scenario) -> None:
    deployment, requests, load = scenario
    fast = run_deployment(deployment=deployment, requests=requests, load=load)
    slow = run_deployment(deployment=deployment, requests=requests, load=load, step_by_step=True)
    assert len(fast) == len(requests)
    for name in RecordColumns.__slots__:
        ours, reference = getattr(fast, name), getattr(slow, name)
        if name.endswith("_s"):
            np.testing.assert_allclose(ours, reference, rtol=1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(ours, reference, err_msg=name)
