"""Kinds of layers against closed forms: cores, chunks, shared indexers, states, latent experts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.architectures.catalog import architecture_names, load_architecture
from workloads.architectures.kinds import GroupedAttention, LatentAttention, LinearAttention
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.gqa_attention import GroupedQueryAttention
from workloads.models.latent_attention import LatentAttentionLayers
from workloads.models.linear_attention import LinearLayers
from workloads.models.weights import weight_table

BF16 = ExecutionPlan(
    expert_path="bf16",
    dense_path="bf16",
    output_a_path="bf16",
    kv_storage="bf16",
    index_storage="bf16",
    attention_head_multiple=1,
)
LAYERED = [n for n in architecture_names() if load_architecture(n).family == "layers"]


def model_of(name, layout=None, drafts=0):
    return bind(
        architecture=load_architecture(name),
        layout=layout or Layout(tp=1),
        plan=BF16,
        drafts=drafts,
    )


def decode(name, context, requests=1.0, layout=None):
    model = model_of(name, layout)
    ops = model.decode_attention_ops(requests=requests, queries_per_request=1, context=context)
    return {op.name: op for op in ops}


def attention(**kind):
    return GroupedQueryAttention(
        kind=GroupedAttention(heads=8, kv_heads=2, key_dim=64, value_dim=32, **kind),
        hidden=512,
        model="m",
        layout=Layout(tp=1),
        plan=BF16,
        layers=1,
    )


@pytest.mark.parametrize("name", LAYERED)
def test_resident_weights_are_the_checkpoint(name):
    """On one rank and in BF16 a model takes the bytes of its matrices; within 0.3 %.

    Vectors (norms, biases, convolutions) and mHC in FP32 are what differs.
    """
    architecture = load_architecture(name)
    resident = sum(model_of(name).weight_bytes_per_rank(speculative=False).values())
    stored = sum(
        2.0 * w.parameters
        for w in weight_table(architecture=architecture)
        if w.module == "main" and w.name != "n-gram tables"
    )
    assert resident == pytest.approx(stored, rel=3e-3)


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize("tp", [2, 4])
def test_ranks_share_the_experts_and_no_more_than_all(name, tp):
    """Experts divide exactly; nothing is smaller than its share or larger than the whole."""
    parts = model_of(name, Layout(tp=tp)).weight_bytes_per_rank(speculative=False)
    whole = model_of(name).weight_bytes_per_rank(speculative=False)
    if "routed experts" in whole:
        assert parts["routed experts"] == pytest.approx(whole["routed experts"] / tp)
    for part, found in parts.items():
        assert whole[part] / tp <= found * (1 + 1e-9) <= whole[part] * (1 + 1e-6)


@pytest.mark.parametrize("name", LAYERED)
def test_the_pool_holds_what_a_decoding_token_reads(name):
    """Cores read at most the cache of the sequence, its index keys and its states both ways."""
    architecture = load_architecture(name)
    context = 3000.0
    ops = decode(name, context).values()
    read = sum(float(op.kv_bytes) * op.layers for op in ops)
    held = context * architecture.context_bytes(kv="bf16", index="bf16")
    held += float(architecture.bounded_bytes(context=context, kv="bf16"))
    shared = "deepseek-v4.1-flash"  # many layers read the rows of one
    states = architecture.state_bytes()
    assert read <= (held + states) * (12.0 if name == shared else 1.001)


@given(chunk=st.integers(2, 50), prefix=st.integers(0, 120), new=st.integers(1, 120))
@settings(max_examples=60, deadline=None)
def test_a_chunked_prompt_sees_each_tokens_own_chunk(chunk, prefix, new):
    layer = attention(chunk=chunk)
    (core,) = layer.prefill(new_tokens=float(new), prefix_tokens=float(prefix))
    pairs = sum(i % chunk + 1 for i in range(prefix, prefix + new))
    assert core.flops == pytest.approx(pairs * 2 * 8 * (64 + 32))


def test_a_chunked_token_reaches_half_a_chunk_in_the_mean():
    layer = attention(chunk=100)
    (mean,) = layer.decode(requests=1.0, queries_per_request=1, context=5000.0)
    exact = np.mean([i % 100 + 1 for i in range(10_000)])
    assert mean.flops == pytest.approx(exact * 2 * 8 * 96)
    assert mean.kv_bytes == pytest.approx(exact * 2 * 96 * 2)


def test_values_narrower_than_keys():
    (core,) = attention().decode(requests=3.0, queries_per_request=1, context=1000.0)
    assert core.flops == 3 * 1000 * 2 * 8 * (64 + 32)
    assert core.kv_bytes == 3 * 1000 * 2 * (64 + 32) * 2
    qkv, *_, out = [op for op in attention().projections(tokens=1.0) if "proj" in op.name]
    assert qkv.weight_bytes == 2 * 512 * (8 * 64 + 2 * 64 + 2 * 32)
    assert out.weight_bytes == 2 * 512 * 8 * 32


def test_a_layer_without_its_own_indexer_neither_scores_nor_stores():
    """GLM-5.2: 21 of 78 layers score; all of them attend to 2,048 tokens."""
    model = model_of("glm-5.2")
    ops = model.decode_attention_ops(requests=1.0, queries_per_request=1, context=50_000.0)
    assert sum(op.layers for op in ops if op.name == "indexer.decode_score") == 21
    cores = [op for op in ops if op.name == "mla.decode"]
    assert sum(op.layers for op in cores) == 78
    assert {float(op.flops) for op in cores} == {2048 * 2 * 64 * (2 * 512 + 64)}
    assert model.kv_bytes_per_token() == 78 * 576 * 2 + 21 * 128 * 2


def test_pooled_keys_are_a_fourth():
    """GLM-5.3-Flash: one key for four tokens in each of 11 sparse layers."""
    score = decode("glm-5.3-flash", 40_000.0)["indexer.decode_score"]
    assert score.flops == 10_000 * 2 * 32 * 128
    assert score.kv_bytes == 10_000 * 128 * 2


def test_block_sparse_attention_is_bounded_and_its_scores_are_not():
    """MiniMax-M3: 16 blocks of 128 tokens; one key of 128 values a token."""
    ops = decode("minimax-m3", 100_000.0)
    assert ops["gqa.decode_blocks"].flops == 2048 * 2 * 64 * 256
    assert ops["gqa.decode_blocks"].layers == 57
    assert ops["gqa.decode"].flops == 100_000 * 2 * 64 * 256
    assert ops["indexer.decode_score"].flops == 100_000 * 2 * 4 * 128
    assert ops["indexer.decode_score"].kv_bytes == 100_000 * 128 * 2


@pytest.mark.parametrize(
    ("name", "op", "state"),
    [
        ("kimi-k3", "kda.decode", 96 * 128 * 128),
        ("nemotron-3-super", "mamba2.decode", 128 * 64 * 128),
        ("ling-2.6-flash", "lightning.decode", 32 * 128 * 128),
    ],
)
def test_states_are_read_and_written_whatever_the_context(name, op, state):
    short, long = (decode(name, context)[op] for context in (10.0, 100_000.0))
    assert short.kv_bytes == long.kv_bytes == 2 * state * 4
    assert short.flops == long.flops


def test_latent_experts_multiply_on_the_latent():
    """Kimi K3: 16 of 896 experts of 3072 on 3584, with projections of 7168 to 3584 and back."""
    ops = {op.name: op for op in model_of("kimi-k3").token_ops(rank_tokens=1.0, group_tokens=1.0)}
    routed = ops["experts.w13"].flops + ops["experts.w2"].flops
    assert routed == pytest.approx(16 * 3 * 2 * 3584 * 3072)
    for name in ("moe.latent_down", "moe.latent_up"):
        assert ops[name].flops == 2 * 7168 * 3584


def test_experts_without_a_gate_have_two_matrices():
    ops = model_of("nemotron-3-nano").token_ops(rank_tokens=1.0, group_tokens=1.0)
    flops = {op.name: op.flops for op in ops}
    assert flops["experts.w13"] == pytest.approx(flops["experts.w2"])
    assert flops["experts.w13"] == pytest.approx(6 * 2 * 2688 * 1856)


def test_draft_layers_of_a_hybrid_attend_to_all():
    model = model_of("qwen3.5-27b", drafts=2)
    plain = model_of("qwen3.5-27b")
    assert model.kv_bytes_per_token() - plain.kv_bytes_per_token() == 2 * 4 * 256 * 2
    ops = model.decode_attention_ops(requests=1.0, queries_per_request=3, context=1000.0)
    assert {"draft.first.gqa.decode", "draft.next.gqa.decode"} <= {op.name for op in ops}


@pytest.mark.parametrize(
    ("rule", "ranks", "into"),
    [
        ("gdn", (0, 0), {"gdn.in_proj": 2 * 96 + 2 * 160, "gdn.gates": 2 * 5}),
        ("mamba2", (0, 0), {"mamba2.in_proj": 2 * 96 + 2 * 160 + 5}),
        ("lightning", (0, 0), {"lightning.in_proj": 2 * 96 + 2 * 160}),
        ("kda", (0, 0), {"kda.in_proj": 2 * 96 + 160 + 96 + 160, "kda.gates": 5}),
        (
            "kda",
            (8, 4),
            {
                "kda.in_proj": 2 * 96 + 160,
                "kda.decay_down": 8,
                "kda.decay_up": 96,
                "kda.gate_down": 4,
                "kda.gate_up": 160,
                "kda.gates": 5,
            },
        ),
    ],
)
def test_projections_of_linear_attention_by_hand(rule, ranks, into):
    """Three key heads of 32, five value heads of 32; BF16 products of seven tokens."""
    kind = LinearAttention(
        rule=rule,
        key_heads=3,
        key_dim=32,
        value_heads=5,
        value_dim=32,
        decay_rank=ranks[0],
        gate_rank=ranks[1],
    )
    layers = LinearLayers(kind=kind, hidden=64, layout=Layout(tp=1), plan=BF16, layers=2)
    ops = {op.name: op for op in layers.projections(tokens=7.0)}
    width = {"kda.decay_up": 8, "kda.gate_up": 4, f"{rule}.out_proj": 160}
    for name, outputs in (into | {f"{rule}.out_proj": 64}).items():
        assert ops.pop(name).flops == 7 * 2 * width.get(name, 64) * outputs, name
    assert ops.pop(f"{rule}.split").activation_bytes == 7 * 2 * 2 * (2 * 96 + 2 * 160)
    assert ops.pop(f"{rule}.norm").activation_bytes == 7 * 2 * 3 * 160
    assert not ops


def test_a_chunk_behind_a_cached_prefix_projects_its_latents_up_again():
    """Four tokens after ten: 40 + 10 pairs of 2 h (d_qk + d_v), 2 c h d for each latent."""
    kind = LatentAttention(heads=3, q_rank=8, kv_rank=16, nope_dim=4, rope_dim=2, value_dim=5)
    layers = LatentAttentionLayers(kind=kind, hidden=64, layout=Layout(tp=1), plan=BF16, layers=1)
    (core,) = layers.prefill(new_tokens=4.0, prefix_tokens=10.0)
    assert core.flops == 50 * 2 * 3 * (6 + 5) + 10 * 2 * 16 * 3 * (4 + 5)
    assert core.kv_bytes == 14 * (16 + 2) * 2
    assert core.activation_bytes == 14 * 2 * 27 * 2 + 4 * 3 * (6 + 5) * 2
