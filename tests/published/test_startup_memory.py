"""Weights and KV caches against the start-up lines of real servers (sources in the file).

Bars: weights within 3 %, KV tokens within 10 %. Lines that say what is unexplained are left out
of the bars, and listed on the accuracy page as misses.
"""

import pytest

from calibration.validation.startup_memory import StartupLine, computed, startup_lines, weights_gib
from simulator.engines.pools import DoesNotFitError

LINES = {line.name: line for line in startup_lines()}
EXPLAINED = [name for name, line in LINES.items() if not line.unexplained]


def test_most_lines_are_explained():
    assert len(EXPLAINED) >= 6


@pytest.mark.parametrize("name", [n for n in EXPLAINED if LINES[n].weights_gib])
def test_weights_within_three_percent(name):
    line = LINES[name]
    assert weights_gib(line) == pytest.approx(line.weights_gib, rel=0.03)


@pytest.mark.parametrize("name", [n for n in EXPLAINED if LINES[n].kv_tokens])
def test_kv_tokens_within_ten_percent(name):
    line = LINES[name]
    assert computed(line).kv_tokens == pytest.approx(line.kv_tokens, rel=0.10)


@pytest.mark.parametrize("name", [n for n in EXPLAINED if LINES[n].kv_gib])
def test_kv_bytes_within_one_percent_of_the_chip(name):
    """What is left is a small difference of large numbers: 1 % of the chip's memory."""
    line = LINES[name]
    assert computed(line).kv_gib == pytest.approx(line.kv_gib, abs=0.01 * line.usable_gib)


def test_a_start_that_was_refused_is_refused():
    """SemiAnalysisAI/InferenceX#2128: 0.88 of the memory leaves nothing, 0.9113 does."""
    line = LINES["h200-v4-pro-sglang-tp8"]
    with pytest.raises(DoesNotFitError):
        computed(line)
    enough = line.model_copy(update={"settings": {**line.settings, "mem_fraction_static": 0.9113}})
    assert computed(enough).kv_tokens > 0


def test_peak_activation_of_deepseek_v4_flash():
    """5.3 GiB at 8,224 tokens a step (MiaAI-Lab/DeepSeek-v4-Flash-One-DGX-Spark#4)."""
    line = LINES["b200-v4-flash-0731-vllm-tep8"]
    at = line.model_copy(update={"settings": {**line.settings, "max_num_batched_tokens": 8224}})
    assert computed(at).activation_gib == pytest.approx(5.3, rel=0.12)


def test_minimax_m25_bytes_a_token():
    """126,976 B a token on one of two GPUs, BF16 entries (eugr/spark-vllm-docker#396)."""
    found = computed(
        StartupLine(
            name="minimax-m2.5",
            sku="h200",
            usable_gib=140.4,
            model="minimax-m2.5",
            engine="vllm",
            deployment="TP2",
            settings={"kv_cache_dtype": "bf16"},
            longest_context=1 << 17,
            kind="measured",
            source="eugr/spark-vllm-docker#396",
        )
    )
    assert found.kv_gib * 2**30 / found.kv_tokens == pytest.approx(126976, rel=0.01)
