"""FLOPs of DeepSeek V4 against V3.2, as its technical report compares them."""

import pytest

from workloads.architectures.catalog import load_architecture
from workloads.models.accounting import decode_token_ops, prefill_ops, total_flops

MILLION = float(2**20)


def flops(model, context, convention="fp8_equivalent"):
    ops = decode_token_ops(architecture=load_architecture(model), context=context)
    return total_flops(ops)[convention]


@pytest.mark.parametrize(("model", "ratio"), [("deepseek-v4-pro", 3.7), ("deepseek-v4-flash", 9.8)])
def test_flops_per_token_below_v32_at_a_million(model, ratio):
    """Report Figure 1, arXiv 2606.19348: 3.7x and 9.8x fewer FP8-equivalent FLOPs at 1M."""
    assert flops("deepseek-v3.2", MILLION) / flops(model, MILLION) == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize(
    ("model", "share"), [("deepseek-v4-pro", 0.27), ("deepseek-v4-flash", 0.10)]
)
def test_flops_share_of_v32(model, share):
    """Report abstract: 27 % (Pro) and 10 % (Flash) of V3.2's single-token FLOPs at 1M."""
    measured = flops(model, MILLION) / flops("deepseek-v3.2", MILLION)
    assert measured == pytest.approx(share, abs=0.005)


def test_plain_count_does_not_give_the_published_ratio_for_flash():
    """Only the FP8-equivalent count fits both models: plain counting gives 12 %, not 10 %."""
    plain = flops("deepseek-v4-flash", MILLION, "raw") / flops("deepseek-v3.2", MILLION, "raw")
    assert plain == pytest.approx(0.121, abs=0.001)


@pytest.mark.parametrize(
    ("model", "active"), [("deepseek-v4-pro", 48.85e9), ("deepseek-v4-flash", 13.27e9)]
)
def test_first_token_costs_two_flops_per_active_parameter(model, active):
    """Report Table 1 (49B and 13B active): 2 FLOPs each; attention of one token adds < 0.1 %."""
    assert flops(model, 1.0, "raw") == pytest.approx(2 * active, rel=0.002)


def test_indexer_logits_of_a_measured_kernel():
    """FLOPs behind NVIDIA's measured FP8 indexer: 8192 tokens after 128k, 512k and 1M.

    aiconfigurator @095f58a5, DeepSeek V4 indexer tables: 5.90, 22.8 and 46.1 ms on H200, at
    39 % of the dense FP8 peak of 1,979 TFLOP/s throughout.
    """
    architecture = load_architecture("deepseek-v4-pro")
    for prefix, seconds in ((131072, 5.90e-3), (524288, 22.8e-3), (1048576, 46.1e-3)):
        ops = prefill_ops(architecture=architecture, new_tokens=8192.0, prefix_tokens=float(prefix))
        score = next(op for op in ops if op.name == "indexer.prefill_score")
        assert score.flops / seconds / 1979e12 == pytest.approx(0.39, abs=0.015)
