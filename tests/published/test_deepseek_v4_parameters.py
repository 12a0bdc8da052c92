"""Parameters and checkpoint sizes of DeepSeek V4 against what its authors publish."""

import pytest

from workloads.architectures.catalog import load_architecture
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.accounting import account, reference_plan
from workloads.models.weights import weight_table

# DeepSeek-V4 technical report, arXiv 2606.19348, Table 1 (1.6T / 49B and 284B / 13B), the sizes
# of the repositories huggingface.co/deepseek-ai/DeepSeek-V4-{Pro,Flash,Flash-0731} (291B and 304B
# parameters; 865, 160, 167 GB) and vllm-project/recipes (about 893 GB for Pro with DSpark). The
# finer digits are the shapes of DeepSeek's own inference/model.py added up by hand.
PARAMETERS = [
    ("deepseek-v4-pro", "parameters_main", 1573.00e9, 0.001),
    ("deepseek-v4-pro", "parameters_mtp", 25.84e9, 0.001),
    ("deepseek-v4-pro", "parameters_total", 1598.8e9, 0.001),
    ("deepseek-v4-pro", "parameters_active", 48.85e9, 0.001),
    ("deepseek-v4-flash", "parameters_main", 284.33e9, 0.001),
    ("deepseek-v4-flash", "parameters_mtp", 6.61e9, 0.001),
    ("deepseek-v4-flash", "parameters_total", 290.94e9, 0.001),
    ("deepseek-v4-flash", "parameters_active", 13.27e9, 0.001),
    ("deepseek-v4-flash-0731", "parameters_total", 304.18e9, 0.001),
    ("deepseek-v4-pro", "checkpoint_bytes", 864.7e9, 0.005),
    ("deepseek-v4-flash", "checkpoint_bytes", 159.6e9, 0.005),
    ("deepseek-v4-pro-0813", "checkpoint_bytes", 892.6e9, 0.005),
    ("deepseek-v4-flash-0731", "checkpoint_bytes", 166.9e9, 0.005),
    # DeepSeek-V3 technical report, arXiv 2412.19437: 671B parameters, 37B active
    ("deepseek-r1", "parameters_main", 671e9, 0.001),
    ("deepseek-r1", "parameters_active", 37e9, 0.02),
]


@pytest.mark.parametrize(("model", "figure", "published", "tolerance"), PARAMETERS)
def test_whole_model(model, figure, published, tolerance):
    figures = account(architecture=load_architecture(model), context=8192)
    assert figures[figure] == pytest.approx(published, rel=tolerance)


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        # shapes of deepseek-ai/DeepSeek-V4-{Pro,Flash} inference/model.py, 1e9 parameters
        (
            "deepseek-v4-pro",
            {
                "routed experts": 1547.40,
                "attention.wo_b": 7.16,
                "attention.wq_b": 6.14,
                "attention.wo_a": 4.09,
                "shared expert": 4.03,
                "attention.wq_a": 0.67,
                "compressor": 0.67,
                "indexer.wq_b": 0.38,
                "attention.wkv": 0.22,
                "router.gate": 0.17,
                "indexer.compressor": 0.11,
                "mHC": 0.084,
            },
        ),
        (
            "deepseek-v4-flash",
            {
                "routed experts": 277.03,
                "attention.wo_b": 1.44,
                "attention.wq_b": 1.44,
                "attention.wo_a": 1.44,
                "shared expert": 1.08,
                "compressor": 0.26,
                "attention.wq_a": 0.18,
                "indexer.wq_b": 0.18,
            },
        ),
    ],
)
def test_parts(model, parts):
    table = weight_table(architecture=load_architecture(model))
    for part, published in parts.items():
        counted = sum(w.parameters for w in table if w.name == part and w.module == "main") / 1e9
        assert counted == pytest.approx(published, abs=0.0051), part


@pytest.mark.parametrize(
    ("model", "layer_bytes"),
    [
        # one CSA layer of Pro and Flash in 1e6 bytes, same source
        (
            "deepseek-v4-pro",
            {"csa.wq_b": 100.7, "csa.compressor": 29.4, "attention.wo_a": 67.1},
        ),
        (
            "deepseek-v4-flash",
            {"csa.wq_b": 33.6, "csa.compressor": 16.8, "attention.wo_a": 33.6},
        ),
    ],
)
def test_weight_bytes_of_operations(model, layer_bytes):
    architecture = load_architecture(model)
    bound = bind(
        architecture=architecture,
        layout=Layout(tp=1),
        plan=reference_plan(architecture=architecture),
    )
    ops = {op.name: op for op in bound.token_ops(rank_tokens=1.0, group_tokens=1.0)}
    for name, megabytes in layer_bytes.items():
        assert ops[name].weight_bytes == pytest.approx(megabytes * 1e6, rel=0.005), name


@pytest.mark.parametrize(
    ("model", "gigabytes"), [("deepseek-v4-pro", 26.8), ("deepseek-v4-flash", 7.8)]
)
def test_dense_bytes_of_a_forward_pass(model, gigabytes):
    """All weights but routed experts, the head included (same source)."""
    weights = weight_table(architecture=load_architecture(model))
    dense = sum(
        w.checkpoint_bytes
        for w in weights
        if w.module == "main" and w.name not in ("routed experts", "embedding")
    )
    assert dense == pytest.approx(gigabytes * 1e9, rel=0.005)
