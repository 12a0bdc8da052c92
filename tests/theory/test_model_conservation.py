"""Work is neither lost nor invented when a model is divided, and grows with what is asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.architectures.catalog import load_architecture
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.accounting import reference_plan
from workloads.models.expert_load import ExpertLoad
from workloads.models.indexer import causal_sum
from workloads.models.mhc import mhc_ops
from workloads.models.weights import weight_table
from workloads.ops import Component

NAMES = (
    *("deepseek-v4-pro", "deepseek-v4-flash", "deepseek-v3.2", "deepseek-r1"),
    *("kimi-k2.5", "glm-5"),
)
BALANCED = ExpertLoad(kind="balanced")
# under tensor parallelism, what every rank computes in whole
REPLICATED = ("wq_a", "kv_a", "compress", "indexer", "mhc", "router", "embedding", "mix")
LAYOUTS = [
    Layout(tp=4),
    Layout(tp=8),
    Layout(tp=8, ep=8),
    Layout(tp=8, ep=2),
    Layout(tp=8, ep=8, dp_attention=True),
    Layout(tp=8, ep=4, dp_attention=True),
    Layout(tp=8, dp_attention=True),
]


def model_of(name, layout=None, **plan):
    return bind(
        architecture=load_architecture(name),
        layout=layout or Layout(tp=1),
        plan=ExecutionPlan(**{"attention_head_multiple": 1, **plan}),
        expert_load=BALANCED,
    )


def amount(ops, field="flops"):
    return sum(op.layers * np.asarray(getattr(op, field), dtype=float) for op in ops)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.label)
@pytest.mark.parametrize("name", NAMES)
def test_flops_of_all_ranks_are_those_of_one(name, layout):
    """Replicated operations count once, sharded ones sum over the ranks to the whole."""
    tokens = 4096.0
    whole = {
        op.name: op for op in model_of(name).token_ops(rank_tokens=tokens, group_tokens=tokens)
    }
    own = tokens / layout.attention_dp
    for op in model_of(name, layout).token_ops(rank_tokens=own, group_tokens=tokens):
        if op.kind.is_communication or not np.any(op.flops):
            continue
        replicated = any(part in op.name for part in REPLICATED)
        ranks = layout.attention_dp if replicated else layout.tp
        total = ranks * op.flops * op.layers
        assert total == pytest.approx(whole[op.name].flops * whole[op.name].layers), op.name


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.label)
@pytest.mark.parametrize("name", NAMES)
def test_routed_experts_are_stored_once(name, layout):
    whole = model_of(name).weight_bytes_per_rank(speculative=False)["routed experts"]
    share = model_of(name, layout).weight_bytes_per_rank(speculative=False)["routed experts"]
    assert layout.tp * share == pytest.approx(whole)


@pytest.mark.parametrize("name", NAMES)
def test_resident_bytes_on_one_rank_are_the_checkpoint(name):
    """Operation shapes and the weight table count the same model in two ways."""
    architecture = load_architecture(name)
    model = bind(
        architecture=architecture,
        layout=Layout(tp=1),
        plan=reference_plan(architecture=architecture),
        expert_load=BALANCED,
    )
    resident = sum(model.weight_bytes_per_rank(speculative=architecture.eagle3 is None).values())
    checkpoint = sum(w.checkpoint_bytes for w in weight_table(architecture=architecture))
    # V3 keeps its up-projection in BF16 for the absorbed form, 1 GB of 685
    assert resident == pytest.approx(checkpoint, rel=2e-3 if "v3" in name or "r1" in name else 5e-5)


@pytest.mark.parametrize("name", NAMES)
def test_all_weights_are_read_by_a_large_batch(name):
    """With all experts touched a forward pass reads every byte but the embedding table."""
    model = model_of(name)
    ops = [
        *model.token_ops(rank_tokens=1e5, group_tokens=1e5),
        *model.head_ops(samples=1.0),
    ]
    parts = model.weight_bytes_per_rank(speculative=False)
    resident = sum(parts.values()) - parts["embedding and head"] / 2.0
    assert amount(ops, "weight_bytes") == pytest.approx(resident, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
@given(prefix=st.integers(0, 100_000), first=st.integers(1, 20_000), second=st.integers(1, 20_000))
@settings(max_examples=25, deadline=None)
def test_chunks_add_up(name, prefix, first, second):
    """Two chunks cost the attention FLOPs of one, but for a prefix that is projected again."""
    model = model_of(name)

    def flops(new_tokens, prefix_tokens):
        ops = model.prefill_attention_ops(
            new_tokens=float(new_tokens), prefix_tokens=float(prefix_tokens)
        )
        return amount(ops)

    together = flops(first + second, prefix)
    apart = flops(first, prefix) + flops(second, prefix + first)
    again = 0.0
    if name in ("deepseek-r1", "kimi-k2.5"):
        per_token = 2.0 * 512 * model.architecture.num_attention_heads * 256 * 61
        again = per_token * (prefix + first)
    assert apart == pytest.approx(together + again, rel=1e-9)


@pytest.mark.parametrize("name", ["deepseek-v4-pro", "deepseek-v4-flash", "deepseek-v3.2", "glm-5"])
@given(context=st.integers(1, 1_000_000))
@settings(max_examples=25, deadline=None)
def test_one_prefilled_token_is_one_decoded_token(name, context):
    """A chunk of one token attends to what a decoding token at that context attends to."""
    model = model_of(name)
    decoded = model.decode_attention_ops(
        requests=1.0, queries_per_request=1, context=float(context)
    )
    filled = model.prefill_attention_ops(new_tokens=1.0, prefix_tokens=float(context - 1))
    # at the edge of a window the sum of a ramp meets its limit half a token apart
    assert amount(filled) == pytest.approx(amount(decoded), rel=2e-3)


@pytest.mark.parametrize("name", NAMES)
@given(low=st.integers(1, 50_000), factor=st.floats(1.0, 50.0))
@settings(max_examples=25, deadline=None)
def test_work_never_falls_with_tokens_or_context(name, low, factor):
    model = model_of(name, Layout(tp=8, ep=8, dp_attention=True))
    tokens = np.array([low, low * factor])
    for ops in (
        model.token_ops(rank_tokens=tokens, group_tokens=8 * tokens),
        model.decode_attention_ops(requests=tokens, queries_per_request=1, context=1000.0),
        model.decode_attention_ops(requests=4.0, queries_per_request=3, context=tokens),
        model.prefill_attention_ops(new_tokens=tokens, prefix_tokens=0.0),
        model.prefill_attention_ops(new_tokens=100.0, prefix_tokens=tokens),
        model.head_ops(samples=tokens),
    ):
        for op in ops:
            for quantity in (op.flops, op.hbm_bytes, op.message_bytes):
                values = np.broadcast_to(quantity, 2)
                assert values[1] >= values[0] * (1 - 1e-12), op.name


@pytest.mark.parametrize("name", NAMES)
def test_verified_drafts_share_what_is_read(name):
    """K + 1 queries cost K + 1 times the FLOPs, but the cache is not read K + 1 times."""
    model = model_of(name)
    one = model.decode_attention_ops(requests=8.0, queries_per_request=1, context=65536.0)
    four = model.decode_attention_ops(requests=8.0, queries_per_request=4, context=65536.0)
    assert amount(four) == pytest.approx(4 * amount(one))
    read = amount(four, "kv_bytes") / amount(one, "kv_bytes")
    assert 1.0 <= read < 2.6


def test_context_one_attends_to_itself():
    """The first token sees one window entry in every layer."""
    architecture = load_architecture("deepseek-v4-pro")
    model = model_of("deepseek-v4-pro")
    ops = model.decode_attention_ops(requests=1.0, queries_per_request=1, context=1.0)
    core = amount([op for op in ops if op.component is Component.ATTENTION])
    one_entry = 4.0 * 128 * 512 * architecture.num_hidden_layers
    # a quarter of a CSA entry is counted, where floor(1/4) is none
    assert one_entry <= core <= 1.25 * one_entry


def test_head_padding_flattens_the_core():
    """Below 64 local heads the sparse core computes 64: Pro gains nothing from TP2 to TP8."""
    cores = []
    for tp in (1, 2, 4, 8):
        model = model_of("deepseek-v4-pro", Layout(tp=tp), attention_head_multiple=64)
        ops = model.decode_attention_ops(requests=4.0, queries_per_request=1, context=8192.0)
        cores.append(amount([op for op in ops if op.component is Component.ATTENTION]))
    assert cores[0] == pytest.approx(2 * cores[1])
    assert cores[1] == cores[2] == cores[3]


def test_context_parallel_ranks_divide_the_chunk():
    """The queries' work of a divided prompt sums to that of the undivided one."""
    layout = Layout(tp=8, ep=8, dp_attention=True)
    chunk = {"new_tokens": 8192.0, "prefix_tokens": 65536.0}
    divided = model_of("deepseek-v4-pro", layout).context_parallel_prefill_ops(**chunk)
    whole_model = model_of("deepseek-v4-pro")
    whole = [
        *whole_model.token_ops(rank_tokens=8192.0, group_tokens=8192.0),
        *whole_model.prefill_attention_ops(**chunk),
    ]
    assert 8 * amount(divided) == pytest.approx(amount(whole))
    gathered = [op for op in divided if op.name.endswith("context_gather")]
    assert {op.group_size for op in gathered} == {8}


@pytest.mark.parametrize("pp", [1, 2, 4, 8])
def test_pipeline_stages_hold_all_layers(pp):
    """The fullest stage has at least its share, and at most one layer of each kind more."""
    whole = model_of("deepseek-v4-pro").weight_bytes_per_rank(speculative=False)
    stage = model_of("deepseek-v4-pro", Layout(tp=1, pp=pp)).weight_bytes_per_rank(
        speculative=False
    )
    assert stage["routed experts"] >= whole["routed experts"] / pp
    layers = -(-30 // pp) + -(-31 // pp)
    assert stage["routed experts"] <= whole["routed experts"] * layers / 61 * 1.0001


@pytest.mark.parametrize("ratio", [1, 4])
@pytest.mark.parametrize("limit", [None, 16.0])
def test_entries_of_a_prompt_are_the_sum_over_its_tokens(ratio, limit):
    """min(n / m, K) over n = 1..N, with whole windows counted from where they are full."""
    tokens = np.arange(1, 1001) / ratio
    expected = np.minimum(tokens, np.inf if limit is None else limit).sum()
    assert causal_sum(context=1000.0, ratio=ratio, limit=limit) == pytest.approx(
        expected, rel=1e-12
    )


def test_mixing_of_residual_streams_by_hand():
    """m (2 + m) coefficients from m d inputs, and m d products to mix; FP32 weights, two sites."""
    pre, post = mhc_ops(tokens=3.0, hidden=100, streams=4, layers=5, scale=1.0)
    coefficients = 4 * (2 + 4)
    assert pre.flops == 3 * (2 * coefficients * 4 * 100 + 2 * 4 * 100)
    assert pre.weight_bytes == coefficients * 4 * 100 * 4
    assert (pre.layers, post.layers) == (10, 10)
    assert pre.activation_bytes == post.activation_bytes == 3 * (2 * 4 + 1) * 100 * 2
