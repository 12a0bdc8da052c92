"""Whole-model figures as the explain command prints them."""

import pytest

from simulator.engines.kv_accounting import plain_pool, sglang_pool, vllm_pool
from workloads.architectures.catalog import Architecture, load_architecture
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.accounting import account, touched_share, weights_read_bytes
from workloads.models.kv_bytes import kv_bytes_per_context_token, storage_of
from workloads.models.weights import weight_table

PRO = load_architecture("deepseek-v4-pro")
OTHER = Architecture(
    name="other",
    hidden_size=8,
    num_hidden_layers=1,
    vocab_size=8,
    max_position_embeddings=8,
    native_expert_path="bf16",
    native_dense_path="bf16",
)


@pytest.mark.parametrize("name", ["deepseek-v4-pro", "deepseek-v4-flash-0731", "deepseek-r1"])
def test_keys(name):
    figures = account(architecture=load_architecture(name), context=1000)
    assert list(figures) == [
        "parameters_main",
        "parameters_mtp",
        "parameters_total",
        "parameters_active",
        "checkpoint_bytes",
        "kv_bytes_per_sequence",
        "kv_bytes_per_token_marginal",
        "flops_per_token",
        "weights_read_bytes",
    ]
    assert set(figures["kv_bytes_per_sequence"]) == {"fp8_fp4idx", "fp8_fp8idx", "bf16"}
    assert set(figures["flops_per_token"]) == {"raw", "fp8_equivalent"}
    assert all(isinstance(value, float | dict) for value in figures.values())


@pytest.mark.parametrize("context", [0, 2_000_000])
def test_context_out_of_range(context):
    with pytest.raises(UserError, match="takes 1 to 1048576 tokens"):
        account(architecture=PRO, context=context)


def test_weights_read_saturate():
    one = weights_read_bytes(architecture=PRO, tokens=1)
    many = weights_read_bytes(architecture=PRO, tokens=1e6)
    assert one == pytest.approx(26.8e9 + 12.8e9, rel=0.005)
    assert many == pytest.approx(26.8e9 + 822e9, rel=0.005)


def test_families_without_figures_are_refused():
    for call in (
        lambda: weight_table(architecture=OTHER),
        lambda: touched_share(architecture=OTHER, tokens=1),
        lambda: kv_bytes_per_context_token(architecture=OTHER, kv="bf16", index="bf16"),
        lambda: bind(architecture=OTHER, layout=Layout(tp=1), plan=ExecutionPlan()),
    ):
        with pytest.raises(UserError, match="other"):
            call()


def test_storage_names():
    assert storage_of("fp8_fp4idx") == ("fp8_ds_mla", "fp4")
    with pytest.raises(UserError, match="fp8_fp4idx"):
        storage_of("fp8_fp4")


def test_draft_layers_join_the_windows_of_vllm():
    plain, drafting = vllm_pool(architecture=PRO), vllm_pool(architecture=PRO, draft_layers=1)
    assert drafting.block_bytes == plain.block_bytes
    assert (
        sum(group.page_bytes for group in drafting.windows)
        - sum(group.page_bytes for group in plain.windows)
        == 37_440
    )


def test_blocks_grow_by_whole_blocks():
    pool = vllm_pool(architecture=PRO)
    assert pool.request_blocks(context_tokens=256) == pool.request_blocks(context_tokens=1)
    assert pool.request_blocks(context_tokens=257) == pool.request_blocks(context_tokens=256) + 1
    assert pool.request_slots(total_blocks=1000) is None


def test_sglang_windows_bound_running_requests():
    """A request takes two pages of the window pool: 5,120 tokens of the full pool at 0.1."""
    pool = sglang_pool(architecture=PRO)
    assert pool.fixed_blocks() == 0
    assert pool.request_slots(total_blocks=2000) == 100
    with pytest.raises(UserError, match="swa_full_tokens_ratio is 0"):
        sglang_pool(architecture=PRO, swa_full_tokens_ratio=0)


def test_plain_pool_is_the_logical_need():
    model = bind(architecture=PRO, layout=Layout(tp=1), plan=ExecutionPlan())
    pool = plain_pool(architecture=PRO, block_tokens=128, kv="fp8_ds_mla", index="fp8")
    assert pool.block_bytes == pytest.approx(128 * model.kv_bytes_per_token())
    assert pool.request_bytes == pytest.approx(model.state_bytes_per_request())
    r1 = plain_pool(
        architecture=load_architecture("dsr1"), block_tokens=64, kv="bf16", index="bf16"
    )
    assert r1.block_bytes == 64 * 61 * 1152
    assert r1.request_bytes == 0
