"""Lengths from histograms, quantiles and files."""

import numpy as np
import pytest

from workloads.errors import UserError
from workloads.requests.length_laws import (
    histogram_length,
    length_law,
    longest_tokens,
    read_lengths,
)
from workloads.requests.mlperf import benchmark_of, benchmarks


def test_a_histogram_keeps_the_shares_of_its_bins():
    law = histogram_length(edges=(1, 10, 100, 1000), counts=(1, 0, 3), at_cap=1)
    drawn = law.sample(np.random.default_rng(0), 100_000)
    shares = [np.mean(drawn <= 10), np.mean((drawn > 10) & (drawn < 100)), np.mean(drawn == 1000)]
    assert shares == pytest.approx([0.2, 0.0, 0.2], abs=0.01)
    assert drawn.mean() == pytest.approx(law.mean_tokens, rel=0.01)


@pytest.mark.parametrize("name", benchmarks())
def test_means_of_benchmarks_are_those_drawn(name):
    rng = np.random.default_rng(1)
    benchmark = benchmark_of(name)
    for law in (benchmark.prompt, benchmark.output):
        assert law.sample(rng, 200_000).mean() == pytest.approx(law.mean_tokens, rel=0.02)


def test_r1_answers_are_as_published():
    """mlcommons/inference R1: median 2,114, p90 9,496, sd 4,230, mean 3,650 to 3,886 tokens."""
    drawn = benchmark_of("deepseek-r1").output.sample(np.random.default_rng(2), 400_000)
    assert np.median(drawn) == pytest.approx(2114, rel=0.02)
    assert np.percentile(drawn, 90) == pytest.approx(9496, rel=0.02)
    assert drawn.std() == pytest.approx(4230, rel=0.02)
    assert 3650 <= drawn.mean() <= 3886


def test_a_truncated_lognormal_has_no_length_beyond_its_cap():
    """Its mean is that of the whole law times a ratio of normal integrals; none sits at the cap."""
    entry = {"law": "lognormal", "median_tokens": 500, "sigma": 0.8, "cap_tokens": 2000}
    whole, cut = length_law(entry), length_law({**entry, "truncated": True})
    drawn = cut.sample(np.random.default_rng(0), 200_000)
    assert drawn.max() <= 2000
    assert np.mean(drawn == 2000) < 1e-3
    assert drawn.mean() == pytest.approx(cut.mean_tokens, rel=0.005)
    assert cut.mean_tokens < whole.mean_tokens


def test_errors_of_a_file_name_its_line(tmp_path):
    path = tmp_path / "lengths.yaml"
    text = "prompt: {law: fixed, tokens: 7}\n\noutput: {law: quantiles, tokens: [5, 50]}\n"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="line 3: output: law quantiles: probabilities is missing"):
        read_lengths(path)
    path.write_text(text + "outputs: 3\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 4: key 'outputs' is unknown"):
        read_lengths(path)


def test_lengths_from_a_file(tmp_path):
    path = tmp_path / "lengths.yaml"
    path.write_text(
        "prompt: {law: fixed, tokens: 7}\n"
        "output: {law: quantiles, probabilities: [0, 1], tokens: [5, 50]}\n",
        encoding="utf-8",
    )
    prompt, output = read_lengths(path)
    assert prompt.mean_tokens == 7
    assert longest_tokens(output) == 50


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"law": "cauchy"}, "law 'cauchy' is unknown"),
        ({"law": "lognormal", "sigma": 1.0}, "median_tokens is missing"),
        ({"law": "histogram", "edges": [1, 2], "counts": [1, 2]}, "n bins have n \\+ 1 edges"),
        ({"law": "quantiles", "probabilities": [0, 0.5], "tokens": [1, 2]}, "from 0 to 1"),
        (
            {"law": "normal", "mean_tokens": 5, "sd_tokens": -1, "low_tokens": 1, "cap_tokens": 9},
            "must not be negative",
        ),
        ({"law": "histogram", "edges": [1, 2], "counts": ["1e999"]}, "counts is 1e999"),
        ({"law": "histogram", "edges": [1, 2, 3], "counts": [1e308] * 2}, "their sum too"),
        (
            {"law": "lognormal", "median_tokens": 5, "sigma": float("nan"), "cap_tokens": 9},
            "sigma is nan; it must be finite",
        ),
    ],
)
def test_a_law_that_is_none_is_named(entry, message):
    with pytest.raises(UserError, match=message):
        length_law(entry)
