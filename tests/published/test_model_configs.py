"""Configurations of published models, read from their config.json, against published totals."""

from dataclasses import replace
from pathlib import Path

import pytest

from workloads.architectures.catalog import load_architecture
from workloads.architectures.names import default_precision
from workloads.datafiles import read_yaml_mapping
from workloads.models.accounting import account, reference_model, total_flops
from workloads.models.weights import weight_table

FOLDER = Path(__file__).parents[1] / "data" / "model_configs"
MODELS = read_yaml_mapping(FOLDER / "expected.yaml")["models"]
IDS = [row["file"] for row in MODELS]


def total(architecture, module, *, active=False):
    return sum(
        weight.parameters * (weight.active if active else 1.0)
        for weight in weight_table(architecture=architecture)
        if weight.module == module
    )


@pytest.mark.parametrize("row", MODELS, ids=IDS)
def test_parameters_are_the_published_ones(row):
    """Within 0.1 %; most are equal to the last parameter."""
    architecture = load_architecture(str(FOLDER / row["file"]))
    assert total(architecture, "main") == pytest.approx(row["parameters"], rel=1e-3)
    lookup = 0 if architecture.tied else architecture.hidden_size
    active = total(architecture, "main", active=True) - lookup
    assert active == pytest.approx(row["active"], rel=1e-3)
    if "draft_parameters" in row:
        drafted = total(architecture, "draft")
        assert drafted == pytest.approx(row["draft_parameters"], rel=5e-3)


@pytest.mark.parametrize("row", MODELS, ids=IDS)
def test_the_cache_of_a_sequence_is_the_published_one(row):
    """KV bytes per token and constant bytes per sequence, equal."""
    architecture = load_architecture(str(FOLDER / row["file"]))
    keys = 2.0 * row.get("index_values_per_token", 0)
    per_token = architecture.context_bytes(kv="bf16", index="bf16")
    assert per_token == row["kv_bytes_per_token_bf16"] + keys
    state = architecture.state_bytes()
    assert state == row.get("state_bytes", 0)
    longest = float(architecture.max_position_embeddings)
    windows = architecture.bounded_bytes(context=longest, kv="bf16") - state
    assert windows == 2.0 * row.get("window_values", 0)


@pytest.mark.parametrize("row", MODELS, ids=IDS)
def test_a_decoded_token_multiplies_every_active_matrix(row):
    """FLOPs of a token at context 1 are twice the active parameters of matrices, within 2 %."""
    architecture = load_architecture(str(FOLDER / row["file"]))
    figures = account(architecture=architecture, context=1)
    assert figures["flops_per_token"]["raw"] == pytest.approx(2.0 * row["active"], rel=0.02)


@pytest.mark.parametrize(
    ("model", "label", "gigabytes"),
    [
        ("glm-5.2", "fp4", 464.8),  # "~465 GB", vllm-project/recipes, models/zai-org/GLM-5.2
        ("kimi-k3", "fp4", 1.42 * 1.024**4 * 1000),  # 1.42 TiB, sqliteai/waste docs/K3.md
        ("glm-5.3-flash", "bf16", 642.0),  # unslothai/llama.cpp#116
        ("gpt-oss-20b", "fp4", 13.8),  # huggingface.co/openai/gpt-oss-20b
        # index total_size, vllm-project/recipes, models/Qwen/Qwen3.8-2.4T-A95B
        ("qwen3.8-2.4t-a95b", "bf16", 4892.388705238),
        ("qwen3.8-2.4t-a95b", "fp8", 2496.154358768),
        ("qwen3.8-2.4t-a95b", "fp4", 1447.265951488),
    ],
)
def test_a_checkpoint_has_the_published_bytes(model, label, gigabytes):
    """Within 0.5 %: tensor classes keep the formats of each release."""
    architecture = load_architecture(model)
    stored = architecture.stored_as(architecture.release(label))
    total_bytes = sum(w.checkpoint_bytes for w in weight_table(architecture=stored))
    assert total_bytes / 1e9 == pytest.approx(gigabytes, rel=5e-3)


@pytest.mark.parametrize(
    ("former", "later", "gigabytes"), [("glm-5", "glm-5.1", 5.05), ("kimi-k2.5", "kimi-k2.6", 4.37)]
)
def test_shared_experts_and_dense_layers_stay_in_bf16(former, later, gigabytes):
    """NVIDIA's later NVFP4 releases: so much more is read in every step (hf_quant_config.json)."""
    read = []
    for model in (former, later):
        architecture = load_architecture(model)
        stored = architecture.stored_as(architecture.release("fp4"))
        read.append(
            sum(
                w.checkpoint_bytes
                for w in weight_table(architecture=stored)
                if w.module == "main" and w.name in ("shared expert", "dense layers")
            )
        )
    assert (read[1] - read[0]) / 1e9 == pytest.approx(gigabytes, rel=2e-3)


def test_deepseek_v4_pro_in_nvfp4_has_the_published_bytes():
    """913 GB, github.com/vllm-project/recipes/issues/779; within 0.5 %."""
    assert default_precision("nvidia/DeepSeek-V4-Pro-NVFP4") == "nvfp4"
    architecture = load_architecture("nvidia/DeepSeek-V4-Pro-NVFP4")
    stored = replace(architecture, native_expert_path="nvfp4")
    total_bytes = sum(w.checkpoint_bytes for w in weight_table(architecture=stored))
    assert total_bytes / 1e9 == pytest.approx(913, rel=5e-3)


def test_deepseek_v41_flash_shares_rows_and_skips_layers():
    """890 B a token in FP4 and 8e9 parameters of a prompt token (arXiv 2609.19969)."""
    architecture = load_architecture("deepseek-v4.1-flash")
    assert architecture.context_bytes(kv="fp4", index="fp4") == 890.0
    model = reference_model(architecture=architecture)
    ops = model.token_ops(rank_tokens=1.0, group_tokens=1.0)
    assert total_flops(ops)["raw"] / 2.0 == pytest.approx(8e9, rel=0.03)
    # a long prompt passes the later layers with its last window alone
    late = [
        sum(op.flops * op.layers for op in ops if op.name.startswith("late.moe.router"))
        for ops in (
            model.prefill_attention_ops(new_tokens=tokens, prefix_tokens=0.0)
            for tokens in (128.0, 8192.0)
        )
    ]
    assert late[0] == late[1] > 0.0
    # a decoding token passes all layers
    decode = model.decode_attention_ops(requests=1.0, queries_per_request=1, context=1.0)
    whole = total_flops([*ops, *decode, *model.head_ops(samples=1.0)])["raw"] / 2.0
    assert whole == pytest.approx(16.13e9, rel=0.02)


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        ("kimi-k3", 2.388),  # Inferact/Kimi-K3-DSpark in github.com/ROCm/ATOM (ffdf3bb)
        ("deepseek-v4.1-flash", 14.1),  # 763.1 stored, less 748.5 and the vision encoder
        ("ling-3.0-flash", 3.07),  # 127,486,405,600 on Hugging Face, less 124.41
        ("hy3", 3.75),  # huggingface.co/tencent/Hy3-preview
    ],
)
def test_draft_modules_have_the_published_parameters(model, billions):
    """Within 1 %."""
    drafted = total(load_architecture(model), "draft")
    assert drafted / 1e9 == pytest.approx(billions, rel=0.01)


def test_requests_of_a_hybrid_fit_as_served():
    """Qwen3.8-2.4T, TP8, 70 GiB of KV cache a GPU, 9,240 tokens each: 506 requests fit.

    vllm-project/recipes, models/Qwen/Qwen3.8-2.4T-A95B; within 2 %: FP8 entries of KV heads that
    two ranks share, and a BF16 state divided over all.
    """
    architecture = load_architecture("qwen3.8-2.4t-a95b")
    context_bytes = architecture.context_bytes(kv="fp8", index="fp8", attention_tp=8)
    request = 9240 * context_bytes + architecture.state_bytes(attention_tp=8)
    assert 70 * 2**30 / request == pytest.approx(506, rel=0.02)


def test_the_state_of_kimi_k3_on_a_rank():
    """About 54 MiB a slot at TP8 (ai-dynamo/aiconfigurator, sdk/models/kimi_k3.py)."""
    state = load_architecture("kimi-k3").state_bytes(attention_tp=8)
    assert state / 2**20 == pytest.approx(54, rel=0.01)
