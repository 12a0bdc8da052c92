"""Acceptance of drafts as published."""

import numpy as np
import pytest

from workloads.speculation import (
    draw_decode_steps,
    published_acceptance,
    synthetic_acceptance,
    verification_budget,
)

# SemiAnalysisAI/InferenceX @843c6254, golden_al_distribution/{dsv4_mtp,dsv4-pro-0813-dspark}.yaml
GOLDEN = {
    "deepseek-v4-pro-mtp-thinking": [1.79, 2.27, 2.49, 2.54, 2.55, 2.55, 2.54, 2.58],
    "deepseek-v4-pro-mtp-direct": [1.92, 2.61, 2.97, 3.00, 3.10, 3.16, 3.00, 3.11],
    "deepseek-v4-pro-dspark-thinking": [1.84, 2.51, 3.01, 3.36, 3.61, 3.77, 3.73, 3.47],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_lengths(name):
    for drafts, length in enumerate(GOLDEN[name], start=1):
        acceptance = published_acceptance(name=name, drafts=drafts)
        assert acceptance.acceptance_length == pytest.approx(length, abs=1e-9)


def test_survival_of_the_golden_curve():
    """The differences of the curve are the survival of each position: .79 .48 .22 .05."""
    acceptance = published_acceptance(name="deepseek-v4-pro-mtp-thinking", drafts=4)
    np.testing.assert_allclose(acceptance.survival, [0.79, 0.48, 0.22, 0.05], atol=1e-9)


@pytest.mark.parametrize(
    ("name", "drafts", "length"),
    [
        ("deepseek-v4-flash-mtp-random", 2, 1.99),  # vllm-project/vllm#41044: 70.0 %, 28.7 %
        ("deepseek-v4-flash-dspark-serving", 7, 2.91),  # vllm-project/vllm-ascend#13640
        ("deepseek-v4-mtp-cann", 1, 1.70),  # hicann/cann-recipes-infer @fbc225d2
        ("deepseek-v4-mtp-cann", 3, 2.44),
        ("deepseek-v4-mtp-production", 1, 1.81),  # vllm-project/vllm#43447: 1.80 to 1.82
    ],
)
def test_other_lengths(name, drafts, length):
    acceptance = published_acceptance(name=name, drafts=drafts)
    assert acceptance.acceptance_length == pytest.approx(length, abs=0.006)


def test_forced_length_of_the_agent_benchmark():
    """InferenceX AgentX forces 2.49 tokens per step with 3 drafts: 922 tokens in 370 steps."""
    acceptance = synthetic_acceptance(acceptance_length=2.49, drafts=3)
    steps = draw_decode_steps(
        rng=np.random.default_rng(1), output_tokens=np.full(4000, 922), acceptance=acceptance
    )
    assert steps.mean() == pytest.approx(921 / 2.49, rel=0.002)


@pytest.mark.parametrize(
    ("model", "points"),
    [
        # DSpark paper, arXiv 2607.05147, Figures 7 and 8, digitised
        ("deepseek-v4-flash-0731", {20: 4.94, 50: 4.60, 100: 4.12, 150: 3.75, 200: 3.48}),
        ("deepseek-v4-pro-0813", {5: 5.39, 50: 4.63, 100: 4.02, 150: 3.64}),
    ],
)
def test_verification_budget(model, points):
    for concurrency, budget in points.items():
        assert verification_budget(model=model, concurrency_per_gpu=concurrency) == pytest.approx(
            budget, abs=1e-9
        )
