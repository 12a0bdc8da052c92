"""Counts of DeepSeek V3's layer by closed forms of its widths, for all models that have it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.architectures.catalog import load_architecture
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.accounting import account, decode_token_ops, prefill_ops, total_flops
from workloads.models.kv_bytes import (
    INDEX_KEY_BYTES,
    index_key_bytes,
    kv_bytes_per_context_token,
    mla_entry_bytes,
)
from workloads.ops import Component

NAMES = ("deepseek-r1", "deepseek-v3.2", "kimi-k2.5", "glm-5")


def core_flops(ops):
    return sum(
        float(op.flops) * op.layers
        for op in ops
        if op.component is Component.ATTENTION or op.name.endswith("_score")
    )


@pytest.mark.parametrize("name", NAMES)
@given(context=st.integers(1, 160_000))
@settings(max_examples=20, deadline=None)
def test_a_token_costs_two_flops_per_active_parameter_and_its_attention(name, context):
    architecture = load_architecture(name)
    ops = decode_token_ops(architecture=architecture, context=float(context))
    active = account(architecture=architecture, context=1)["parameters_active"]
    # norms are parameters without products, the up-projection counts once
    assert total_flops(ops)["raw"] - core_flops(ops) == pytest.approx(2 * active, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
@given(context=st.integers(1, 160_000))
@settings(max_examples=20, deadline=None)
def test_attention_of_a_decoded_token(name, context):
    """2 h (2 c + r) per entry attended to, and 2 H D per key that an indexer scores."""
    arch = load_architecture(name)
    attended = min(context, arch.index_topk) if arch.index_topk else context
    width = 2 * arch.kv_lora_rank + arch.qk_rope_head_dim
    core = 2 * arch.num_attention_heads * width * attended
    scores = 2 * arch.index_n_heads * arch.index_head_dim * context
    found = core_flops(decode_token_ops(architecture=arch, context=float(context)))
    assert found == pytest.approx(arch.num_hidden_layers * (core + scores))


@pytest.mark.parametrize("name", ["deepseek-r1", "kimi-k2.5"])
def test_attention_of_a_whole_prompt(name):
    """Multi-head over all pairs of tokens: 2 h (d_qk + d_v) each."""
    arch = load_architecture(name)
    pairs = 8192 * 8193 / 2
    width = arch.qk_nope_head_dim + arch.qk_rope_head_dim + arch.v_head_dim
    ops = prefill_ops(architecture=arch, new_tokens=8192.0, prefix_tokens=0.0)
    expected = arch.num_hidden_layers * 2 * arch.num_attention_heads * width * pairs
    assert core_flops(ops) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kv", "entry", "index", "key"),
    [
        ("fp8_ds_mla", 656.0, "fp4", 68.0),
        ("fp8", 576.0, "fp8", 132.0),
        ("bf16", 1152.0, "bf16", 256.0),
    ],
)
def test_entries_of_512_and_64_values_and_keys_of_128(kv, entry, index, key):
    for name in NAMES:
        assert mla_entry_bytes(architecture=load_architecture(name), kv=kv) == entry
    assert index_key_bytes(head_dim=128, index=index) == INDEX_KEY_BYTES[index] == key


@given(
    latent=st.integers(1, 16).map(lambda n: 128 * n),
    rope=st.sampled_from([32, 64, 128]),
    key=st.sampled_from([64, 128, 256]),
    layers=st.integers(1, 100),
)
@settings(max_examples=50, deadline=None)
def test_the_cache_follows_the_widths(latent, rope, key, layers):
    architecture = replace(
        load_architecture("glm-5"),
        kv_lora_rank=latent,
        qk_rope_head_dim=rope,
        index_head_dim=key,
        num_hidden_layers=layers,
    )

    def token(kv, index):
        return kv_bytes_per_context_token(architecture=architecture, kv=kv, index=index)

    assert token("bf16", "bf16") == 2 * layers * (latent + rope + key)
    # scales: four bytes per 128 values; keys shorter than a group have one all the same
    groups = latent // 128 + max(1, key // 128)
    assert token("fp8_ds_mla", "fp8") == layers * (latent + 2 * rope + key + 4 * groups)
    # what is stored is what a decoding token reads
    model = bind(
        architecture=architecture,
        layout=Layout(tp=1),
        plan=ExecutionPlan(kv_storage="bf16", index_storage="bf16"),
    )
    ops = model.decode_attention_ops(requests=1.0, queries_per_request=1, context=1000.0)
    assert sum(op.kv_bytes * op.layers for op in ops) == 1000 * token("bf16", "bf16")
