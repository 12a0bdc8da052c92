"""The tables that the engine reads, against the operation model they are made from.

Bound: 1 % of each part (decode attention, prefill attention) and 0.6 % of a whole step, over random
batches on five chips, tensor-parallel and data-parallel layouts, with and without drafts, to a
million tokens of context. Of 1,500 random batches a case, the worst part was the attention of a
prompt chunk of 21 tokens (0.9 %), the worst step a decode step of unevenly filled data-parallel
ranks (0.5 %); 95 % of the steps are within 0.2 %.
"""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.roofline import step_ops_s
from hwmodels.sku import load_sku
from hwmodels.software import load_software
from simulator.prediction.step_breakdown import attention_ops, time_step
from simulator.serving.step_cost import (
    TabulatedStepCost,
    eager_wait_s,
    geometric_knots,
    share_knots,
)
from workloads.architectures.catalog import load_architecture
from workloads.costmodel import PrefillChunk, StepBatch
from workloads.layout import Layout
from workloads.models import bind

PART_BOUND = 0.01
STEP_BOUND = 0.006
MAX_CONTEXT = 1 << 20
MAX_TOKENS = 16384
CASES = {
    "b300 TEP8": ("b300", "vllm", "deepseek-v4-pro", Layout(tp=8, ep=8), 0),
    "h200 TP8 MTP": ("h200", "vllm", "deepseek-v4-pro", Layout(tp=8), 1),
    "mi355x DEP8": (
        "mi355x",
        "sglang",
        "deepseek-v4-pro",
        Layout(tp=8, ep=8, dp_attention=True),
        0,
    ),
    "gb300 DEP16 MTP": (
        "gb300",
        "trtllm",
        "deepseek-v4-pro",
        Layout(tp=16, ep=16, dp_attention=True),
        3,
    ),
    "b200 DPATP8 Flash": (
        "b200",
        "sglang",
        "deepseek-v4-flash",
        Layout(tp=8, dp_attention=True),
        0,
    ),
    "h200 TP2 windows": ("h200", "vllm", "gpt-oss-120b", Layout(tp=2), 0),
    "b200 TP4 linear MTP": ("b200", "sglang", "qwen3.5", Layout(tp=4), 3),
}
each_case = pytest.mark.parametrize("case", CASES)
FEW = settings(max_examples=40, deadline=None)


def logarithmic(largest):
    """Whole numbers from 1, every doubling as likely."""
    exponents = st.floats(min_value=0.0, max_value=1.0)
    return exponents.map(lambda exponent: max(1, round(float(largest) ** exponent)))


@cache
def tables(case):
    sku_name, engine, model_name, layout, drafts = CASES[case]
    sku = load_sku(sku_name)
    software = load_software(engine=engine, sku=sku, model=model_name)
    model = bind(
        architecture=load_architecture(model_name),
        layout=layout,
        plan=software.plan,
        drafts=drafts,
    )
    return TabulatedStepCost(
        model=model,
        sku=sku,
        software=software,
        drafts=drafts,
        max_context=MAX_CONTEXT,
        max_tokens=MAX_TOKENS,
    )


def attention_s(cost, batch):
    ops = attention_ops(model=cost.model, batch=batch)
    return float(step_ops_s(ops=ops, sku=cost.sku, software=cost.software))


def tabulated_step_s(cost, batch):
    """A step put together from the tables as the engine does."""
    tokens, samples = batch.of_group(ranks=cost.model.layout.attention_dp)
    seconds = cost.fixed_s(
        rank_tokens=batch.rank_tokens,
        group_tokens=tokens,
        rank_samples=batch.rank_samples,
        group_samples=samples,
        has_prefill=bool(batch.prefill),
    )
    if batch.decode_requests:
        seconds += cost.decode_attention(
            requests=batch.decode_requests,
            context_sum=batch.decode_requests * batch.decode_context,
        ).value_s
    return seconds + sum(
        cost.prefill_attention_s(new_tokens=c.new_tokens, prefix_tokens=c.prefix_tokens)
        for c in batch.prefill
    )


def direct_step_s(cost, batch):
    return time_step(model=cost.model, sku=cost.sku, software=cost.software, batch=batch).step_s


@each_case
@given(requests=logarithmic(2048), context=st.floats(min_value=0.0, max_value=1.0))
@FEW
def test_decode_attention(case, requests, context):
    cost = tables(case)
    tokens = MAX_CONTEXT**context
    batch = StepBatch(
        decode_requests=requests,
        decode_context=tokens,
        queries_per_request=cost.queries_per_request,
    )
    line = cost.decode_attention(requests=requests, context_sum=requests * tokens)
    assert line.value_s == pytest.approx(attention_s(cost, batch), rel=PART_BOUND)
    assert line.slope_s >= 0.0
    assert line.limit > requests * tokens * (1 - 1e-12)


@each_case
@given(new=logarithmic(MAX_TOKENS), prefix=logarithmic(MAX_CONTEXT))
@FEW
def test_prefill_attention(case, new, prefix):
    cost = tables(case)
    batch = StepBatch(prefill=(PrefillChunk(new_tokens=new, prefix_tokens=prefix - 1),))
    taken = cost.prefill_attention_s(new_tokens=new, prefix_tokens=prefix - 1)
    assert taken == pytest.approx(attention_s(cost, batch), rel=PART_BOUND)


@each_case
@given(
    requests=logarithmic(2048),
    others=st.floats(min_value=0.0, max_value=1.0),
    context=logarithmic(MAX_CONTEXT),
)
@FEW
def test_decode_steps(case, requests, others, context):
    cost = tables(case)
    ranks = cost.model.layout.attention_dp
    queries = cost.queries_per_request
    group = requests + int(others * (ranks - 1) * requests)
    batch = StepBatch(
        decode_requests=requests,
        decode_context=context,
        queries_per_request=queries,
        group_tokens=group * queries,
        group_samples=group,
    )
    assert tabulated_step_s(cost, batch) == pytest.approx(
        direct_step_s(cost, batch), rel=STEP_BOUND
    )


@each_case
@given(
    decoding=st.integers(min_value=0, max_value=512),
    context=logarithmic(MAX_CONTEXT),
    chunks=st.lists(
        st.tuples(logarithmic(MAX_TOKENS // 4), logarithmic(MAX_CONTEXT)), min_size=1, max_size=3
    ),
    others=st.floats(min_value=0.0, max_value=1.0),
)
@FEW
def test_mixed_steps(case, decoding, context, chunks, others):
    cost = tables(case)
    queries = cost.queries_per_request
    batch = StepBatch(
        decode_requests=decoding,
        decode_context=context,
        queries_per_request=queries,
        prefill=tuple(PrefillChunk(new_tokens=n, prefix_tokens=p - 1) for n, p in chunks),
    )
    more = int(others * (cost.model.layout.attention_dp - 1) * batch.rank_tokens)
    uneven = StepBatch(
        decode_requests=decoding,
        decode_context=context,
        queries_per_request=queries,
        prefill=batch.prefill,
        group_tokens=batch.rank_tokens + more,
        group_samples=batch.rank_samples,
    )
    for one in (batch, uneven):
        assert tabulated_step_s(cost, one) == pytest.approx(
            direct_step_s(cost, one), rel=STEP_BOUND
        )


@each_case
def test_at_the_knots_tables_are_exact(case):
    cost = tables(case)
    for requests, context in ((1, 1), (16, 128), (64, 4096), (512, 65536)):
        batch = StepBatch(
            decode_requests=requests,
            decode_context=context,
            queries_per_request=cost.queries_per_request,
        )
        line = cost.decode_attention(requests=requests, context_sum=requests * context)
        assert line.value_s == pytest.approx(attention_s(cost, batch), rel=1e-12)


@each_case
def test_samples_timed_together_take_what_each_takes_alone(case):
    """Head and drafts of many sums over the group are timed in one go, the same to the last bit."""
    cost = tables(case)
    ranks = cost.model.layout.attention_dp
    for samples, share in ((1, 0.0), (3, 0.4), (64, 0.9), (257, 1.0)):
        group = round(samples * (1 + share * (ranks - 1)))
        ops = cost.model.head_ops(samples=float(samples)) + cost.model.draft_ops(
            requests=float(samples), group_requests=float(group), drafts=cost.drafts
        )
        alone = float(step_ops_s(ops=ops, sku=cost.sku, software=cost.software))
        assert cost._samples_s(samples, group) == alone


def test_the_segments_of_a_growing_context_join_without_a_step():
    cost = tables("b300 TEP8")
    context_sum = 1.0
    while context_sum < 32 * MAX_CONTEXT:
        line = cost.decode_attention(requests=32, context_sum=context_sum)
        end = line.value_s + line.slope_s * (line.limit - context_sum)
        following = cost.decode_attention(requests=32, context_sum=line.limit)
        if following.limit == float("inf"):
            break
        assert following.value_s == pytest.approx(end, rel=1e-9)
        assert following.limit > line.limit
        context_sum = line.limit


def test_an_eager_step_waits_for_the_host_and_a_graph_does_not():
    cost = tables("b300 TEP8")
    largest = cost.model.plan.graph_max_tokens

    def fixed_s(tokens, has_prefill=False):
        return cost.fixed_s(
            rank_tokens=tokens,
            group_tokens=tokens,
            rank_samples=1,
            group_samples=1,
            has_prefill=has_prefill,
        )

    launches_s = cost.token_kernels * cost.software.eager_launch_s
    assert fixed_s(16, has_prefill=True) - fixed_s(16) == pytest.approx(launches_s)
    assert launches_s < fixed_s(largest + 1) - fixed_s(largest) < 1.05 * launches_s


@pytest.mark.parametrize("gpu_s", [0.0, 0.004, 0.1])
def test_launches_that_run_ahead_show_beyond_the_gpu_time_only(gpu_s):
    cost = tables("b300 TEP8")
    kernels = 1000.0
    host_s = kernels * cost.software.eager_launch_s

    def wait_s(**fields):
        return eager_wait_s(
            plan=replace(cost.model.plan, graph_max_tokens=0, **fields),
            software=cost.software,
            kernels=kernels,
            rank_tokens=1,
            has_prefill=False,
            gpu_s=gpu_s,
        )

    assert wait_s() == pytest.approx(host_s)
    assert wait_s(launch_overlap=True) == pytest.approx(max(0.0, host_s - gpu_s))


def test_nothing_to_attend_to_takes_no_time():
    cost = tables("b300 TEP8")
    assert cost.decode_attention(requests=0, context_sum=0.0).value_s == 0.0
    assert cost.prefill_attention_s(new_tokens=0, prefix_tokens=8192) == 0.0


@pytest.mark.parametrize("largest", [1, 16, 17, 4096, 100_000, MAX_CONTEXT])
def test_knots_rise_by_at_most_a_fifth_and_hold_every_power_of_two(largest):
    knots = geometric_knots(largest=largest)
    assert knots[0] == 1.0
    assert knots[-1] >= largest
    assert all(low < high for low, high in pairwise(knots))
    steps = pairwise(knots[15:])
    assert all(high / low < 1.22 for low, high in steps)
    assert {2.0**n for n in range(largest.bit_length())} <= set(knots)


@pytest.mark.parametrize("ranks", [1, 2, 8, 24, 64])
def test_shares_run_from_even_to_one_rank_alone(ranks):
    shares = share_knots(ranks=ranks)
    assert shares[0] == pytest.approx(1.0 / ranks)
    assert shares[-1] == 1.0
    assert list(shares) == sorted(set(shares))
