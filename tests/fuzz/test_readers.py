"""Altered files give clean errors: a few cases of every reader; `run.py` beside it does many.

``FUZZ_CASES=500`` is what CI asks for: 500 cases of a reader, 200 of those that take 10 ms each.
"""

import os

import pytest
from fuzz_mutations import mutated
from fuzz_readers import attempt, readers

CASES = int(os.environ.get("FUZZ_CASES", "25"))
NAMES = tuple(
    sorted(
        {
            *("scenario", "resolved", "sweep", "load", "plan", "search", "sensitivity", "sku"),
            *(
                "economics",
                "fitted",
                "fitted sealed",
                "bands",
                "bands sealed",
                "recipe",
                "config",
                "table",
            ),
            *("config glm-5.2", "config nemotron-3-nano-30b-a3b", "config qwen3-next-80b-a3b"),
            *("trace mooncake.jsonl", "trace azure_2023.csv", "trace sharegpt.json"),
            *("trace burstgpt.csv", "trace weka.jsonl", "trace vllm_result.json"),
            *("results agg_bmk.json", "results vllm_bench.json", "results sglang_bench.jsonl"),
            *("results runs.csv", "report summary.json", "report points.csv"),
            *("lengths", "model", "system", "sessions dag", "sessions mooncake", "sessions weka"),
            *("sessions plays", "score predictions", "score points", "score mlperf"),
        }
    )
)
SLOW_TO_READ = {
    *("fitted sealed", "bands sealed", "report points.csv", "score points"),
    *("results runs.csv", "results sglang_bench.jsonl", "results vllm_bench.json"),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return readers(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("altered")
    for name in ("summary.json", "points.csv"):
        (path / name).write_text(found[f"report {name}"].text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_good_file_is_read(name, found, folder):
    reader = found[name]
    assert attempt(reader, reader.text, folder) is None


@pytest.mark.parametrize("name", NAMES)
def test_altered_files_give_clean_errors(name, found, folder):
    reader = found[name]
    count = 2 * CASES // 5 if name in SLOW_TO_READ else CASES
    for seed in range(count):
        problem = attempt(reader, mutated(reader.text, seed), folder)
        assert problem is None, f"seed {seed}: {problem}"
