"""GQA with experts against closed forms: FLOPs, windows, linear state, layouts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engines.kv_accounting_hybrid import (
    separate_hybrid_pool,
    sglang_hybrid_pool,
    vllm_hybrid_pool,
)
from workloads.architectures.base import CacheLayers
from workloads.architectures.catalog import load_architecture
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.accounting import decode_token_ops, prefill_ops, reference_plan, total_flops
from workloads.models.expert_load import ExpertLoad
from workloads.models.kv_bytes import (
    gqa_entry_bytes,
    kv_bytes_per_sequence,
    linear_state_bytes,
    transfer_bytes,
)
from workloads.models.linear_attention import CHUNK, chunked_flops, recurrent_flops
from workloads.models.weights import weight_table

NAMES = ("gpt-oss-120b", "minimax-m2.5", "qwen3.5")
BALANCED = ExpertLoad(kind="balanced")
BF16 = ExecutionPlan(expert_path="bf16", dense_path="bf16", kv_storage="bf16")
# vectors that no matrix product reads: biases, norms, sinks, and the gate of one output
VECTORS = ("biases", "norm", "sinks", "expert biases", "shared expert gate", "conv", "embedding")


def model_of(name, layout=None, *, drafts=0, plan=BF16):
    return bind(
        architecture=load_architecture(name),
        layout=layout or Layout(tp=1),
        plan=plan,
        expert_load=BALANCED,
        drafts=drafts,
    )


def amount(ops, field):
    return sum(op.layers * np.asarray(getattr(op, field), dtype=float) for op in ops)


def named(ops, name):
    (op,) = (op for op in ops if op.name == name)
    return op


def matrices(architecture):
    """Active parameters of matrix products, the small ones of the gates included."""
    total = 0.0
    for weight in weight_table(architecture=architecture):
        if weight.module == "main" and not any(part in weight.name for part in VECTORS):
            total += weight.parameters * weight.active
    biases = architecture.attention_bias * architecture.num_experts * architecture.num_hidden_layers
    linear = architecture.linear
    layers = architecture.layers_of("linear_attention")
    gates = 2 * linear.linear_num_value_heads * layers if linear else 0
    # the routers' biases and the two vectors of each head's gates stand with their matrices
    return total - biases - gates


def core_flops(architecture, context):
    """4 h D per query and key it sees, and the recurrence of the linear layers."""
    width = architecture.num_attention_heads * architecture.head_dim
    keys = architecture.layers_of("full_attention") * context
    keys += architecture.layers_of("sliding_attention") * min(context, architecture.sliding_window)
    total = 4.0 * width * keys
    linear = architecture.linear
    if linear:
        per_layer = linear.linear_num_value_heads * recurrent_flops(
            key_dim=linear.linear_key_head_dim, value_dim=linear.linear_value_head_dim
        )
        conv = 2.0 * linear.linear_conv_kernel_dim * linear.conv_width
        total += architecture.layers_of("linear_attention") * (per_layer + conv)
    return total


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("context", [1.0, 100.0, 5000.0, 131072.0])
def test_a_decoded_token_costs_two_flops_an_active_weight_and_attention(name, context):
    arch = load_architecture(name)
    found = total_flops(decode_token_ops(architecture=arch, context=context))["raw"]
    expected = 2.0 * matrices(arch) + core_flops(arch, context)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_resident_bytes_on_one_rank_are_the_checkpoint(name):
    """Operation shapes and the weight table count the same model in two ways."""
    arch = load_architecture(name)
    model = model_of(name, plan=reference_plan(architecture=arch))
    resident = sum(
        model.weight_bytes_per_rank(speculative=bool(arch.mtp_num_hidden_layers)).values()
    )
    checkpoint = sum(weight.checkpoint_bytes for weight in weight_table(architecture=arch))
    assert resident == pytest.approx(checkpoint, rel=2e-3)


@settings(max_examples=40, deadline=None)
@given(context=st.integers(1, 200_000), queries=st.integers(1, 4))
def test_a_window_caps_what_a_layer_reads(context, queries):
    arch = load_architecture("gpt-oss-120b")
    model = model_of("gpt-oss-120b")
    ops = model.decode_attention_ops(
        requests=3.0, queries_per_request=queries, context=float(context)
    )
    full, window = named(ops, "gqa.decode"), named(ops, "gqa.decode_window")
    entry = gqa_entry_bytes(architecture=arch, kv="bf16", attention_tp=1)
    assert full.kv_bytes == pytest.approx(3 * context * entry)
    assert window.kv_bytes == pytest.approx(3 * min(context, 128 + queries - 1) * entry)
    assert window.flops == pytest.approx(3 * queries * 4 * 64 * 64 * min(context, 128))
    assert window.flops <= full.flops * (1 + 1e-12)
    assert full.layers == window.layers == 18


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(NAMES), prompt=st.integers(2, 20_000), share=st.floats(0.01, 0.99))
def test_chunks_do_the_work_of_the_whole_prompt(name, prompt, share):
    first = max(1, int(share * prompt))
    arch = load_architecture(name)
    whole, *parts = (
        total_flops(
            prefill_ops(architecture=arch, new_tokens=float(new), prefix_tokens=float(prefix))
        )["raw"]
        for new, prefix in ((prompt, 0), (first, 0), (prompt - first, first))
    )
    assert sum(parts) == pytest.approx(whole, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    requests=st.integers(1, 1000),
    context=st.integers(1, 200_000),
    other=st.integers(1, 200_000),
    queries=st.integers(1, 4),
)
def test_linear_layers_cost_the_same_at_any_context(requests, context, other, queries):
    model = model_of("qwen3.5", drafts=queries - 1)
    one, two = (
        model.decode_attention_ops(
            requests=float(requests), queries_per_request=queries, context=float(n)
        )
        for n in (context, other)
    )
    for name in ("gdn.decode", "gdn.decode_conv"):
        assert named(one, name) == named(two, name)
    rule = named(one, "gdn.decode")
    state = 64 * 128 * 128 * 4.0
    # read once, written after each verified token
    assert rule.kv_bytes == requests * (1 + queries) * state
    assert model.state_bytes_per_request() == linear_state_bytes(architecture=model.architecture)


def test_work_of_a_chunk_beside_that_of_steps():
    """A chunk of one token does what a step does; a longer one adds products in its length."""
    step = recurrent_flops(key_dim=128.0, value_dim=128.0)
    small, large = (
        chunked_flops(key_dim=128.0, value_dim=128.0, chunk=chunk) for chunk in (1.0, CHUNK)
    )
    assert small == pytest.approx(6.0 * 128**2, rel=0.02)
    assert step == 7.0 * 128**2
    inside = (large - 6.0 * 128**2) / CHUNK
    assert inside == pytest.approx(10.0 * 128, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "layout",
    [Layout(tp=2), Layout(tp=4, ep=4), Layout(tp=8, ep=8), Layout(tp=8, ep=8, dp_attention=True)],
    ids=lambda layout: layout.label,
)
def test_work_is_shared_out_and_nothing_lost(name, layout):
    """All ranks together do the work of one; copies of KV heads and routers come on top."""
    tokens = 4096.0
    arch = load_architecture(name)
    whole = {o.name: o for o in model_of(name).token_ops(rank_tokens=tokens, group_tokens=tokens)}
    own = tokens / layout.attention_dp
    copies = max(1, layout.attention_tp // arch.num_key_value_heads)
    for op in model_of(name, layout).token_ops(rank_tokens=own, group_tokens=tokens):
        if op.kind.is_communication or not np.any(op.flops):
            continue
        total = layout.tp * op.flops * op.layers
        one = whole[op.name].flops * whole[op.name].layers
        if op.name == "moe.router":
            assert total == pytest.approx(one * layout.attention_tp)
        elif op.name == "gqa.qkv_proj" and copies > 1:
            query = arch.num_attention_heads * arch.head_dim * (2 if arch.attn_output_gate else 1)
            kv = 2 * arch.num_key_value_heads * arch.head_dim
            assert total == pytest.approx(one * (query + copies * kv) / (query + kv))
        else:
            assert total == pytest.approx(one), op.name


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(NAMES), context=st.integers(1, 130_000))
def test_a_sequence_is_its_tokens_windows_and_state(name, context):
    arch = load_architecture(name)
    model = model_of(name)
    found = float(
        kv_bytes_per_sequence(architecture=arch, context=float(context), kv="bf16", index="bf16")
    )
    most = context * model.kv_bytes_per_token() + model.state_bytes_per_request()
    assert found <= most * (1 + 1e-12)
    if context >= arch.sliding_window:
        assert found == pytest.approx(most)
    moved = transfer_bytes(architecture=arch, context=float(context), kv="bf16", index="bf16")
    assert moved == found


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    tp=st.sampled_from([1, 2, 4, 8]),
    context=st.integers(1, 100_000),
    drafts=st.integers(0, 3),
)
def test_no_pool_charges_less_than_a_sequence_needs(name, tp, context, drafts):
    arch = load_architecture(name)
    drafts = drafts if arch.mtp_num_hidden_layers else 0
    model = model_of(name, Layout(tp=tp), drafts=drafts)
    needed = context * model.kv_bytes_per_token() + linear_state_bytes(
        architecture=arch, attention_tp=tp
    )
    layers = arch.cache_layers(kv="bf16", attention_tp=tp, drafts=drafts)
    given_ = {"layers": layers, "drafts": drafts}
    pools = (
        vllm_hybrid_pool(block_tokens=16, **given_),
        sglang_hybrid_pool(page_tokens=64, swa_full_tokens_ratio=0.8, **given_),
        separate_hybrid_pool(block_tokens=64, windowed=True, **given_),
        separate_hybrid_pool(block_tokens=64, windowed=False, **given_),
    )
    for pool in pools:
        blocks = pool.request_blocks(context_tokens=context, in_flight_tokens=drafts + 1)
        assert blocks * pool.block_bytes + pool.request_bytes >= needed * (1 - 1e-12)


def test_sglang_keeps_three_states_of_a_request_where_prefixes_are_cached():
    """And one after each token that is verified: K (1 + D / R) slots of the state's budget."""
    layers = CacheLayers(entry_bytes=1024.0, full=12, linear=36, state_bytes=5e6)
    held = {
        (radix, drafts): sglang_hybrid_pool(
            layers=layers, page_tokens=64, swa_full_tokens_ratio=0.8, radix=radix, drafts=drafts
        ).request_bytes
        / layers.state_bytes
        for radix in (False, True)
        for drafts in (0, 3)
    }
    assert held == {(False, 0): 1, (False, 3): 5, (True, 0): 3, (True, 3): 7}
