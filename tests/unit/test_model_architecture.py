"""Architectures by name."""

import pytest

from workloads.architectures.catalog import architecture_names, load_architecture
from workloads.errors import UserError


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("dsv4-pro", "deepseek-v4-pro"),
        ("deepseek-ai/DeepSeek-V4-Pro", "deepseek-v4-pro"),
        (" DeepSeek-V4-Flash ", "deepseek-v4-flash"),
        ("dsv4-flash", "deepseek-v4-flash"),
        ("deepseek-ai/DeepSeek-V4-Flash-0731", "deepseek-v4-flash-0731"),
        ("dsr1", "deepseek-r1"),
        ("deepseek-ai/DeepSeek-V3.2", "deepseek-v3.2"),
        ("moonshotai/Kimi-K2.5", "kimi-k2.5"),
        ("k2-thinking", "kimi-k2.5"),
        ("GLM-5.1", "glm-5.1"),
        ("nvidia/Kimi-K2.7-Code-NVFP4", "kimi-k2.6"),
        ("MiniMaxAI/MiniMax-M2.7", "minimax-m2.5"),
        ("zai-org/GLM-5.3", "glm-5.2"),
    ],
)
def test_aliases(alias, name):
    assert load_architecture(alias).name == name


def test_unknown_name_proposes_near_ones():
    with pytest.raises(UserError, match=r"model 'deepseek-v4-prp' is unknown.*deepseek-v4-pro"):
        load_architecture("deepseek-v4-prp")


def test_every_architecture_loads():
    for name, aliases in architecture_names().items():
        assert load_architecture(name).name == name
        assert name in aliases


@pytest.mark.parametrize(
    ("name", "layers"),
    [("deepseek-v4-pro", (30, 31, 0)), ("deepseek-v4-flash", (21, 20, 2))],
)
def test_layers_by_kind(name, layers):
    architecture = load_architecture(name)
    assert tuple(architecture.layers_of_ratio(r) for r in (4, 128, 0)) == layers
    assert sum(layers) == architecture.num_hidden_layers
    assert len(architecture.compress_ratios) == architecture.num_hidden_layers + 1


def test_dspark_release_has_the_layers_of_the_first():
    release, first = (load_architecture(f"deepseek-v4-pro{tail}") for tail in ("-0813", ""))
    assert release.compress_ratios == first.compress_ratios
    assert first.dspark is None
    assert release.dspark is not None
    assert release.num_nextn_predict_layers == 0


def test_v32_is_r1_with_an_indexer():
    r1, v32 = load_architecture("deepseek-r1"), load_architecture("deepseek-v3.2")
    assert (r1.index_topk, v32.index_topk) == (0, 2048)
    assert r1.hidden_size == v32.hidden_size
