"""Llama 3 against what Meta and the model repositories publish."""

import pytest

from workloads.architectures.catalog import load_architecture
from workloads.models.accounting import account
from workloads.models.weights import weight_table


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        # huggingface.co/meta-llama/Llama-3.1-8B and Llama-3.3-70B-Instruct, safetensors metadata
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.3-70b", 70_553_706_496),
    ],
)
def test_parameters(model, parameters):
    figures = account(architecture=load_architecture(model), context=8192)
    assert figures["parameters_total"] == parameters
    # BF16 safetensors: two bytes a parameter
    assert figures["checkpoint_bytes"] == 2 * parameters
    # the embedding is a look-up of one row
    table = 128256 * load_architecture(model).hidden_size
    assert figures["parameters_active"] == pytest.approx(parameters - table, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "gib"),
    # Hugging Face blog "Llama 3.1" (2024-07-23), table of KV cache memory in FP16
    [("llama-3.1-8b", {1000: 0.125, 16000: 1.95}), ("llama-3.1-70b", {1000: 0.313, 16000: 4.88})],
)
def test_kv_cache_of_a_sequence(model, gib):
    for context, published in gib.items():
        figures = account(architecture=load_architecture(model), context=context)
        found = figures["kv_bytes_per_sequence"]["bf16"] / 2**30
        assert found == pytest.approx(published, rel=0.03)


def test_no_part_of_the_model_is_a_draft():
    assert {w.module for w in weight_table(architecture=load_architecture("llama-3.1-8b"))} == {
        "main"
    }
