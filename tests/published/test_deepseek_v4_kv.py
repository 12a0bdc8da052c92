"""KV bytes of DeepSeek V4: sequences, engine pools, transfers."""

import pytest

from simulator.engines.kv_accounting import sglang_bytes_per_full_token, sglang_pool, vllm_pool
from workloads.architectures.catalog import load_architecture
from workloads.models.kv_bytes import (
    compressor_state_bytes,
    kv_bytes_per_context_token,
    kv_bytes_per_sequence,
    storage_of,
    transfer_bytes,
)

PRO = load_architecture("deepseek-v4-pro")
FLASH = load_architecture("deepseek-v4-flash")
V32 = load_architecture("deepseek-v3.2")
MILLION = 2**20
GIB = 2**30


def sequence(architecture, context, storage):
    kv, index = storage_of(storage)
    return kv_bytes_per_sequence(architecture=architecture, context=context, kv=kv, index=index)


@pytest.mark.parametrize(
    ("architecture", "context", "storage", "megabytes"),
    [
        # entries of 584 B and keys of 68 or 132 B (vllm-project/vllm, vllm/models/deepseek_v4),
        # over the layer pattern of config.json; 9.62 GiB below is the published anchor
        (PRO, 8192, "fp8_fp4idx", 45.8),
        (PRO, 8192, "fp8_fp8idx", 49.7),
        (PRO, 8192, "bf16", 88.7),
        (PRO, 131072, "fp8_fp4idx", 664.0),
        (PRO, 131072, "fp8_fp8idx", 727.0),
        (PRO, 131072, "bf16", 1298.8),
        (PRO, MILLION, "fp8_fp4idx", 5280.4),
        (PRO, MILLION, "fp8_fp8idx", 5783.7),
        (PRO, MILLION, "bf16", 10334.4),
        (FLASH, 8192, "fp8_fp4idx", 32.0),
        (FLASH, 8192, "fp8_fp8idx", 34.8),
        (FLASH, 8192, "bf16", 62.0),
        (FLASH, 131072, "fp8_fp4idx", 463.8),
        (FLASH, 131072, "fp8_fp8idx", 507.9),
        (FLASH, 131072, "bf16", 907.4),
        (FLASH, MILLION, "fp8_fp4idx", 3688.2),
        (FLASH, MILLION, "fp8_fp8idx", 4040.5),
        (FLASH, MILLION, "bf16", 7219.8),
        (V32, 8192, "fp8_fp8idx", 393.8),
        (V32, MILLION, "fp8_fp8idx", 50403.0),
    ],
)
def test_bytes_of_a_sequence(architecture, context, storage, megabytes):
    assert sequence(architecture, context, storage) == pytest.approx(megabytes * 1e6, rel=0.005)


def test_bf16_at_a_million_tokens():
    """VLLM blog "DeepSeek V4", 2026-04-24: 9.62 GiB for Pro, 83.9 GiB for V3.2, 8.7x less."""
    pro, v32 = sequence(PRO, MILLION, "bf16"), sequence(V32, MILLION, "bf16")
    assert pro / GIB == pytest.approx(9.62, rel=0.005)
    assert v32 / GIB == pytest.approx(83.9, rel=0.005)
    assert v32 / pro == pytest.approx(8.7, rel=0.005)


@pytest.mark.parametrize(("architecture", "ratio"), [(PRO, 9.5), (FLASH, 13.7)])
def test_less_than_v32(architecture, ratio):
    """Report Figure 1, arXiv 2606.19348: 9.5x and 13.7x less KV than V3.2 at 1M tokens."""
    v32 = sequence(V32, MILLION, "fp8_fp8idx")
    assert v32 / sequence(architecture, MILLION, "fp8_fp4idx") == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize("architecture", [PRO, FLASH])
def test_share_of_grouped_query_attention(architecture):
    """Report: about 2 % of BF16 GQA with 8 KV heads of 128."""
    gqa = architecture.num_hidden_layers * 8 * 128 * 2 * 2 * MILLION
    assert sequence(architecture, MILLION, "fp8_fp4idx") / gqa == pytest.approx(0.02, abs=0.0005)


@pytest.mark.parametrize(
    ("architecture", "per_token"), [(PRO, (5031, 5511)), (FLASH, (3514, 3850))]
)
def test_marginal_bytes(architecture, per_token):
    for storage, published in zip(("fp8_fp4idx", "fp8_fp8idx"), per_token, strict=True):
        kv, index = storage_of(storage)
        counted = kv_bytes_per_context_token(architecture=architecture, kv=kv, index=index)
        assert counted == pytest.approx(published, abs=1)


@pytest.mark.parametrize(("architecture", "megabytes"), [(PRO, 18.71), (FLASH, 12.21)])
def test_compressor_state(architecture, megabytes):
    """FP32 rows of 8 CSA and 128 HCA tokens (vllm/models/deepseek_v4/compressor.py)."""
    state = compressor_state_bytes(architecture=architecture, online=False)
    assert state == pytest.approx(megabytes * 1e6, rel=0.001)


def test_vllm_group_pages_of_flash():
    """To the byte: groups logged by an instrumented vLLM in vllm-project/vllm#54703."""
    pool = vllm_pool(architecture=FLASH)
    assert pool.context_page_bytes == 1_002_240
    assert [(group.block_tokens, group.page_bytes) for group in pool.windows] == [
        (64, 823_680),
        (64, 786_240),
        (4, 870_912),
        (8, 656_640),
    ]
    assert pool.block_bytes == 1_002_240
    assert vllm_pool(architecture=FLASH, index="fp4").block_bytes == 917_568


def test_vllm_group_pages_of_pro():
    """To the byte, by the same code (vllm/v1/core/kv_cache_utils.py)."""
    pool = vllm_pool(architecture=PRO)
    assert pool.block_bytes == pool.context_page_bytes == 1_435_968
    assert [group.page_bytes for group in pool.windows] == [
        1_160_640,
        1_123_200,
        1_244_160,
        1_017_792,
    ]
    assert vllm_pool(architecture=PRO, index="fp4").block_bytes == 1_315_008


@pytest.mark.parametrize("architecture", [PRO, FLASH])
def test_vllm_blocks_of_a_request(architecture):
    """Decode and admission charge; vllm-project/vllm#52495 quotes 4099 + 2065 at 16384."""
    pool = vllm_pool(architecture=architecture)
    assert pool.fixed_blocks() == 26
    assert pool.fixed_blocks(in_flight_tokens=8192) == 3354
    assert pool.fixed_blocks(in_flight_tokens=16384) == 6682
    states = [
        group.blocks(in_flight_tokens=16384) for group in pool.windows if "state" in group.name
    ]
    assert states == [4099, 2065]
    assert pool.request_blocks(context_tokens=8192) == 32 + 26


def test_vllm_start_up_line_of_flash():
    """7.28 KiB a token at 1,009,661 tokens of pool 7.01 GiB, within the 8 % of vllm#51041.

    The line is max_concurrency x max_model_len: a request of the longest context is charged
    ``ceil(n / 256)`` blocks and the admission charge.
    """
    pool = vllm_pool(architecture=FLASH)
    longest = 1_009_661
    blocks = pool.request_blocks(context_tokens=longest, in_flight_tokens=8192)
    assert blocks * pool.block_bytes / longest / 1024 == pytest.approx(7.28, rel=0.08)


def test_sglang_bytes_per_full_token():
    """Values that SGLang logs: Pro on 0.5.12, Flash with DSpark (sgl-project/sglang)."""
    pro = sglang_bytes_per_full_token(architecture=PRO, version=(0, 5, 12))
    assert pro == pytest.approx(23_749.84, abs=0.005)
    flash = sglang_bytes_per_full_token(architecture=FLASH, speculative=True)
    assert flash == pytest.approx(9_259.90, abs=0.005)


def test_sglang_pool_since_0_5_14():
    """Same configurator: 10,994 B a token for Pro, 13,126 with drafts; state of 16.25 MB."""
    pool = sglang_pool(architecture=PRO)
    assert pool.block_bytes / pool.block_tokens == pytest.approx(10_994, abs=0.5)
    assert pool.request_bytes == pytest.approx(16.25e6, rel=0.001)
    assert sglang_pool(architecture=PRO, online_state=True).request_bytes == pytest.approx(
        0.19e6, rel=0.005
    )
    drafting = sglang_pool(architecture=PRO, speculative=True)
    assert drafting.block_bytes / drafting.block_tokens == pytest.approx(13_126, abs=0.5)


@pytest.mark.parametrize(
    ("architecture", "context", "megabytes"),
    [
        # vLLM blog "DeepSeek V4", 2026-04-24, says what is sent; bytes of entries, keys and state
        (PRO, 8192, 68),
        (PRO, 131072, 746),
        (PRO, MILLION, 5800),
        (FLASH, 8192, 47),
        (FLASH, 131072, 520),
        (FLASH, MILLION, 4053),
    ],
)
def test_prefill_to_decode_transfer(architecture, context, megabytes):
    sent = transfer_bytes(architecture=architecture, context=context, kv="fp8_ds_mla", index="fp8")
    assert sent == pytest.approx(megabytes * 1e6, rel=0.01)
