import datetime as dt

import pytest

from hwmodels.engine_files import list_engines
from hwmodels.software import MEDIAN_DATE
from simulator.engines.labels import engine_labels, load_engine, parse_engine
from workloads.architectures.catalog import architecture_names
from workloads.architectures.names import canonical_model
from workloads.errors import UserError

# Labels of the public InferenceX tables and of ROCm/ATOM's nightly benchmark.
BENCHMARK_MODELS = {
    "dsv4-pro": "deepseek-v4-pro",
    "deepseek-ai/DeepSeek-V4-Pro": "deepseek-v4-pro",
    "dsv4-flash": "deepseek-v4-flash",
    "dsr1": "deepseek-r1",
    "dsv3.2": "deepseek-v3.2",
    "gptoss120b": "gpt-oss-120b",
    "llama70b": "llama-3.x-70b",
    "minimaxm2.5": "minimax-m2.5",
    "qwen3.5": "qwen3.5",
    "kimik2.5": "kimi-k2.5",
    "glm5": "glm-5",
}
BENCHMARK_ENGINES = {
    "vllm": ("vllm", "vllm", "", "vllm"),
    "sglang": ("sglang", "sglang", "", "sglang"),
    "trt": ("trt", "trtllm", "", "trtllm"),
    "TensorRT-LLM": ("trt", "trtllm", "", "trtllm"),
    "trtllm": ("trt", "trtllm", "", "trtllm"),
    "atom": ("atom", "atom", "", "atom"),
    "dynamo-vllm": ("dynamo-vllm", "vllm", "dynamo", "vllm"),
    "dynamo-sglang": ("dynamo-sglang", "sglang", "dynamo", "sglang"),
    "dynamo-trt": ("dynamo-trt", "trtllm", "dynamo", "trtllm"),
    "llmd-vllm": ("llmd-vllm", "vllm", "llm-d", "vllm"),
    "mori-sglang": ("mori-sglang", "sglang", "mori", "sglang"),
    "atomesh-vllm": ("atomesh-vllm", "vllm", "atomesh", "atom"),
    "atom-vllm": ("atom-vllm", "vllm", "", "atom"),
    "atom-sglang": ("atom-sglang", "sglang", "", "atom"),
    "vllm-disagg": ("vllm-disagg", "vllm", "vllm-router", "vllm"),
    "sglang_disagg": ("mori-sglang", "sglang", "mori", "sglang"),
}


@pytest.mark.parametrize(("label", "canonical"), BENCHMARK_MODELS.items())
def test_model_labels_of_benchmark_tables(label: str, canonical: str) -> None:
    assert canonical_model(label) == canonical
    assert canonical_model(label.upper()) == canonical


def test_every_architecture_alias_means_the_same_everywhere() -> None:
    for canonical, aliases in architecture_names().items():
        assert {canonical_model(alias) for alias in (canonical, *aliases)} == {canonical}


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"model 'deepseek-v4-por' is unknown.*deepseek-v4-pro"):
        canonical_model("deepseek-v4-por")


@pytest.mark.parametrize(("name", "expected"), BENCHMARK_ENGINES.items())
def test_engine_labels_of_benchmark_tables(name: str, expected: tuple[str, ...]) -> None:
    engine = load_engine(name)
    assert (engine.label, engine.engine, engine.orchestrator, engine.software) == expected


def test_every_engine_has_software_levels() -> None:
    assert {engine.software for engine in engine_labels().values()} <= set(list_engines())


def test_unknown_engine_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"engine 'sglnag' is unknown.*sglang"):
        load_engine("sglnag")


def test_engine_without_a_date_asks_for_the_latest() -> None:
    request = parse_engine("sglang")
    assert (request.date, request.median) == (None, False)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("sglang@2026-05", dt.date(2026, 5, 31)),
        ("sglang@2026-02", dt.date(2026, 2, 28)),
        ("trtllm@2026-05-21", dt.date(2026, 5, 21)),
    ],
)
def test_engine_date_is_its_last_day(text: str, date: dt.date) -> None:
    request = parse_engine(text)
    assert (request.date, request.median) == (date, False)


def test_engine_of_the_undated_median() -> None:
    request = parse_engine("vllm@median-2026-07")
    assert (request.date, request.median) == (MEDIAN_DATE, True)


def test_engine_date_that_is_none() -> None:
    with pytest.raises(UserError, match=r"'May' is not a date; write YYYY-MM"):
        parse_engine("vllm@May")
