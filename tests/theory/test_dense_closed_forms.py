"""Dense models against closed forms: FLOPs, bytes and memory, whole and divided over ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.architectures.catalog import DenseArchitecture, load_architecture
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.accounting import decode_token_ops, prefill_ops, total_flops
from workloads.models.kv_bytes import kv_copies, transfer_bytes
from workloads.models.weights import weight_table
from workloads.ops import Component, OpKind

NAMES = ("llama-3.1-8b", "llama-3.x-70b")
BF16 = ExecutionPlan(dense_path="bf16", kv_storage="bf16")


def dense(name, *, tp=1, pp=1, plan=BF16):
    return bind(architecture=load_architecture(name), layout=Layout(tp=tp, pp=pp), plan=plan)


def amount(ops, field):
    return sum(op.layers * np.asarray(getattr(op, field), dtype=float) for op in ops)


def parameters(name):
    return sum(weight.parameters for weight in weight_table(architecture=load_architecture(name)))


def attention_flops(architecture, pairs):
    """Two products of D multiply-adds per head, query and key."""
    width = architecture.num_attention_heads * architecture.head_dim
    return 4.0 * architecture.num_hidden_layers * width * pairs


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("context", [1.0, 1000.0, 131072.0])
def test_a_decoded_token_costs_two_flops_a_weight_and_attention(name, context):
    arch = load_architecture(name)
    table = arch.vocab_size * arch.hidden_size
    norms = (2 * arch.num_hidden_layers + 1) * arch.hidden_size
    # the embedding is a look-up, norms are no matrix product
    matrices = parameters(name) - table - norms
    found = total_flops(decode_token_ops(architecture=arch, context=context))["raw"]
    assert found == pytest.approx(2.0 * matrices + attention_flops(arch, context), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("new", "prefix"), [(1.0, 0.0), (512.0, 0.0), (512.0, 7680.0)])
def test_a_chunk_sees_what_stands_before_each_of_its_tokens(name, new, prefix):
    arch = load_architecture(name)
    pairs = sum(prefix + position for position in range(1, int(new) + 1))
    ops = dense(name).prefill_attention_ops(new_tokens=new, prefix_tokens=prefix)
    assert amount(ops, "flops") == pytest.approx(attention_flops(arch, pairs), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    prompt=st.integers(2, 20_000),
    share=st.floats(0.01, 0.99),
)
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


@pytest.mark.parametrize("name", NAMES)
def test_a_step_reads_every_weight_once_but_the_embedding(name):
    model, arch = dense(name), load_architecture(name)
    ops = [*model.token_ops(rank_tokens=64.0, group_tokens=64.0), *model.head_ops(samples=64.0)]
    table = arch.vocab_size * arch.hidden_size
    norms = (2 * arch.num_hidden_layers + 1) * arch.hidden_size
    expected = 2.0 * (parameters(name) - table - norms)
    assert amount(ops, "weight_bytes") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_decode_reads_keys_and_values_once_for_each_group_of_heads(name):
    arch = load_architecture(name)
    (core,) = dense(name).decode_attention_ops(requests=32.0, queries_per_request=1, context=1000.0)
    values = 2 * arch.num_key_value_heads * arch.head_dim
    assert core.layers * core.kv_bytes == pytest.approx(
        32 * 1000 * arch.num_hidden_layers * values * 2.0
    )
    assert core.component is Component.ATTENTION
    fp8 = dense(name, plan=ExecutionPlan(kv_storage="fp8"))
    (half,) = fp8.decode_attention_ops(requests=32.0, queries_per_request=1, context=1000.0)
    assert half.kv_bytes == core.kv_bytes / 2.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tp", [2, 4, 8])
def test_ranks_divide_the_work_and_reduce_twice_a_layer(name, tp):
    arch = load_architecture(name)
    whole, shard = dense(name), dense(name, tp=tp)
    for ops in ("token_ops", "head_ops", "decode_attention_ops", "prefill_attention_ops"):
        arguments = {
            "token_ops": {"rank_tokens": 256.0, "group_tokens": 256.0},
            "head_ops": {"samples": 256.0},
            "decode_attention_ops": {
                "requests": 256.0,
                "queries_per_request": 1,
                "context": 4096.0,
            },
            "prefill_attention_ops": {"new_tokens": 256.0, "prefix_tokens": 4096.0},
        }[ops]
        one, many = (getattr(model, ops)(**arguments) for model in (whole, shard))
        assert amount(many, "flops") * tp == pytest.approx(amount(one, "flops"), rel=1e-12)
        for field in ("weight_bytes", "kv_bytes"):
            assert amount(many, field) * tp == pytest.approx(amount(one, field), rel=1e-12)
    reduces = [
        op
        for op in shard.token_ops(rank_tokens=256.0, group_tokens=256.0)
        if op.kind is OpKind.ALL_REDUCE
    ]
    assert sum(op.layers for op in reduces) == 2 * arch.num_hidden_layers
    assert {float(op.message_bytes) for op in reduces} == {256.0 * arch.hidden_size * 2.0}
    assert not any(
        op.kind.is_communication for op in whole.token_ops(rank_tokens=256.0, group_tokens=256.0)
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tp", [1, 2, 8])
def test_resident_weights_of_all_ranks_are_the_checkpoint(name, tp):
    resident = dense(name, tp=tp).weight_bytes_per_rank(speculative=False)
    # norms are whole on every rank
    total = sum(size * (1 if part == "norms" else tp) for part, size in resident.items())
    assert total == pytest.approx(2.0 * parameters(name), rel=1e-12)


def test_pipeline_stages_hold_their_layers_and_pass_the_stream_on():
    whole, stage = dense("llama-3.x-70b"), dense("llama-3.x-70b", pp=2)
    first, second = (
        model.weight_bytes_per_rank(speculative=False)["feed-forward"] for model in (whole, stage)
    )
    assert second == first / 2.0
    assert stage.kv_bytes_per_token() == whole.kv_bytes_per_token() / 2.0
    sent = [
        op
        for op in stage.token_ops(rank_tokens=8.0, group_tokens=8.0)
        if op.kind is OpKind.POINT_TO_POINT
    ]
    assert [op.message_bytes for op in sent] == [8.0 * 8192 * 2.0]


def test_kv_heads_are_divided_then_copied():
    """8 KV heads: a rank of TP2 holds four, one of TP8 and TP16 holds one."""
    per_token = [dense("llama-3.x-70b", tp=tp).kv_bytes_per_token() for tp in (1, 2, 8, 16)]
    assert per_token == [327_680.0, 163_840.0, 40_960.0, 40_960.0]
    arch = load_architecture("llama-3.x-70b")
    assert [kv_copies(architecture=arch, attention_tp=tp) for tp in (1, 8, 16)] == [1, 1, 2]
    assert transfer_bytes(architecture=arch, context=1000.0, kv="bf16", index="bf16") == (
        pytest.approx(327_680_000.0)
    )


def test_tied_embeddings_are_stored_once():
    small = DenseArchitecture(
        name="tied",
        hidden_size=2048,
        num_hidden_layers=16,
        vocab_size=128256,
        max_position_embeddings=131072,
        native_expert_path="bf16",
        native_dense_path="bf16",
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        intermediate_size=8192,
        tie_word_embeddings=True,
    )
    # huggingface.co/meta-llama/Llama-3.2-1B, safetensors metadata
    assert sum(w.parameters for w in weight_table(architecture=small)) == 1_235_814_400
    model = bind(architecture=small, layout=Layout(tp=1), plan=BF16)
    assert sum(model.weight_bytes_per_rank(speculative=False).values()) == 2 * 1_235_814_400
