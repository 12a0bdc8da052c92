"""Models of DeepSeek V3's layer against what their authors publish: R1, Kimi K2 and GLM-5."""

import pytest

from workloads.architectures.catalog import load_architecture
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.accounting import account
from workloads.models.kv_bytes import kv_bytes_per_context_token

FIGURES = [
    # huggingface.co/moonshotai/Kimi-K2.5, model summary: 1T parameters, 32B activated; Kimi K2
    # technical report, arXiv 2507.20534, Table 2: 1.04T and 32.6B
    ("kimi-k2.5", "parameters_total", 1.04e12, 0.015),
    ("kimi-k2.5", "parameters_active", 32e9, 0.015),
    ("kimi-k2.5", "parameters_active", 32.6e9, 0.03),
    # huggingface.co/zai-org/GLM-5: "744B parameters (40B active)"
    ("glm-5", "parameters_main", 744e9, 0.001),
    ("glm-5", "parameters_active", 40e9, 0.025),
    # 594 GB of INT4, simonwillison.net/2025/Nov/6/kimi-k2-thinking (K2 Thinking has no tower)
    ("kimi-k2-thinking", "checkpoint_bytes", 594e9, 0.002),
]


@pytest.mark.parametrize(("model", "figure", "published", "tolerance"), FIGURES)
def test_whole_model(model, figure, published, tolerance):
    figures = account(architecture=load_architecture(model), context=8192)
    assert figures[figure] == pytest.approx(published, rel=tolerance)


def test_only_glm_has_a_draft_module():
    """``num_nextn_predict_layers`` of the two config.json: 0 and 1."""
    figures = {
        name: account(architecture=load_architecture(name), context=1) for name in ("k2", "glm5")
    }
    assert figures["k2"]["parameters_mtp"] == 0
    assert figures["glm5"]["parameters_mtp"] == pytest.approx(9.9e9, rel=0.01)


def test_fp8_checkpoint_of_the_first_k2():
    """1.03 TB, simonwillison.net/2025/Nov/6/kimi-k2-thinking; the up-projection stays BF16 here."""
    model = bind(
        architecture=load_architecture("kimi-k2"),
        layout=Layout(tp=1),
        plan=ExecutionPlan(expert_path="fp8", dense_path="fp8"),
    )
    total = sum(model.weight_bytes_per_rank(speculative=False).values())
    assert total == pytest.approx(1.03e12, rel=0.005)


@pytest.mark.parametrize("name", ["deepseek-r1", "kimi-k2.5"])
def test_kv_cache_of_a_token(name):
    """70.272 KB in BF16 for 61 layers of 512 + 64 values (arXiv 2505.09343, Table 1)."""
    architecture = load_architecture(name)
    found = kv_bytes_per_context_token(architecture=architecture, kv="bf16", index="bf16")
    assert found == 70_272


def test_kv_cache_of_a_token_of_glm():
    """Entries as in DeepSeek V3.2 with keys of 132 B (github deepseek-ai/FlashMLA, DeepGEMM)."""
    architecture = load_architecture("glm-5")
    found = kv_bytes_per_context_token(architecture=architecture, kv="fp8_ds_mla", index="fp8")
    assert found == 78 * (656 + 132)
