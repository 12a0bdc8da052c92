"""gpt-oss-120b, MiniMax-M2.5 and Qwen3.5 against model cards, repositories and op tables."""

import pytest

from hwmodels.roofline import op_s
from hwmodels.sku import load_sku
from hwmodels.software import load_software
from workloads.architectures.catalog import load_architecture
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.accounting import account
from workloads.models.kv_bytes import linear_state_bytes
from workloads.models.weights import weight_table

FOUR_RANKS = Layout(tp=4)


@pytest.mark.parametrize(
    ("model", "total", "active", "tolerance"),
    [
        # model card of gpt-oss, arXiv 2508.10925, table 1
        ("gpt-oss-120b", 116.83e9, 5.13e9, 1e-3),
        # huggingface.co/MiniMaxAI/MiniMax-M2.5: "230 billion total, 10 billion active"
        ("minimax-m2.5", 230e9, 10e9, 0.05),
        # huggingface.co/Qwen/Qwen3.5-397B-A17B, by its name; the vision encoder is not counted
        ("qwen3.5", 397e9, 17e9, 0.05),
    ],
)
def test_parameters(model, total, active, tolerance):
    figures = account(architecture=load_architecture(model), context=8192)
    assert figures["parameters_main"] == pytest.approx(total, rel=min(tolerance, 0.01))
    assert figures["parameters_active"] == pytest.approx(active, rel=tolerance)


def test_parts_of_gpt_oss():
    """arXiv 2508.10925, table 1: MLP 114.71 B, attention 0.96 B, embeddings 1.16 B, 60.8 GiB."""
    parts = {"attention": 0.0, "embedding": 0.0, "experts": 0.0}
    weights = weight_table(architecture=load_architecture("gpt-oss-120b"))
    for weight in weights:
        name = weight.name
        part = "attention" if name.startswith("attention") else "experts"
        part = "embedding" if name in ("embedding", "lm_head") else part
        parts[part] += weight.parameters / 1e9
    assert parts["experts"] == pytest.approx(114.71, abs=0.01)
    assert parts["attention"] == pytest.approx(0.96, abs=0.01)
    assert parts["embedding"] == pytest.approx(1.16, abs=0.01)
    checkpoint = sum(weight.checkpoint_bytes for weight in weights)
    assert checkpoint / 2**30 == pytest.approx(60.8, rel=0.002)


@pytest.mark.parametrize(
    ("model", "gigabytes"),
    [
        # sizes of the safetensors of MiniMaxAI/MiniMax-M2.5 (FP8) and Qwen/Qwen3.5-397B-A17B (BF16)
        # follow from their stated parameters: one and two bytes each
        ("minimax-m2.5", 230.0),
        ("qwen3.5", 2 * 403.0),
    ],
)
def test_checkpoint(model, gigabytes):
    figures = account(architecture=load_architecture(model), context=8192)
    assert figures["checkpoint_bytes"] / 1e9 == pytest.approx(gigabytes, rel=0.01)


@pytest.mark.parametrize(
    ("model", "bytes_per_token"),
    [
        # 2 (key, value) x KV heads x width x 2 B x layers of config.json with full attention
        ("gpt-oss-120b", 2 * 8 * 64 * 2 * 18),
        ("minimax-m2.5", 2 * 8 * 128 * 2 * 62),
        ("qwen3.5", 2 * 2 * 256 * 2 * 15),
    ],
)
def test_kv_bytes_of_a_further_token(model, bytes_per_token):
    figures = account(architecture=load_architecture(model), context=8192)
    assert figures["kv_bytes_per_token_marginal"]["bf16"] == bytes_per_token


def test_state_of_qwen():
    """FP32 matrices of 64 heads of 128 x 128 and three BF16 inputs of 12,288 channels, 45 layers.

    Shapes of ``gated_delta_net_state_shape`` (vllm-project/vllm, mamba_utils.py) at the config's
    ``linear_*`` values and ``mamba_ssm_dtype`` float32.
    """
    architecture = load_architecture("qwen3.5")
    whole = 45 * (64 * 128 * 128 * 4 + 3 * 12288 * 2)
    assert linear_state_bytes(architecture=architecture) == whole
    assert linear_state_bytes(architecture=architecture, attention_tp=8) == whole / 8
    assert linear_state_bytes(architecture=load_architecture("gpt-oss-120b")) == 0.0


@pytest.mark.parametrize(
    ("sku", "phase", "size", "measured_us", "tolerance"),
    [
        # PyPI aiconfigurator-core 0.12.0, gdn_perf, Qwen3.5-397B-A17B over four ranks (4 key and
        # 16 value heads), vLLM 0.24.0
        ("b200", "decode", 64, 23.3, 0.2),
        ("b200", "decode", 1024, 336.9, 0.15),
        ("h200", "decode", 256, 136.7, 0.15),
        ("b200", "prefill", 4096, 172.2, 0.35),
        ("b200", "prefill", 16384, 638.1, 0.35),
    ],
)
def test_the_delta_rule_takes_what_op_tables_measure(sku, phase, size, measured_us, tolerance):
    chip = load_sku(sku)
    model = bind(
        architecture=load_architecture("qwen3.5"),
        layout=FOUR_RANKS,
        plan=ExecutionPlan(expert_path="bf16", dense_path="bf16", kv_storage="bf16"),
    )
    software = load_software(engine="vllm", sku=chip, model="qwen3.5", specification=True)
    ops = (
        model.decode_attention_ops(requests=float(size), queries_per_request=1, context=1.0)
        if phase == "decode"
        else model.prefill_attention_ops(new_tokens=float(size), prefix_tokens=0.0)
    )
    (rule,) = (op for op in ops if op.name == f"gdn.{phase}")
    seconds = float(op_s(op=rule, sku=chip, software=software))
    assert seconds * 1e6 == pytest.approx(measured_us, rel=tolerance)
