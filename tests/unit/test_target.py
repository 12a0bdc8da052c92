"""Names are looked up once: chips of one's own, complete layouts and stated server settings."""

import pickle
import re
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

from simulator.engines.pools import PoolLayout, parse_deployment
from simulator.prediction.run import simulate_run
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import build_scenario
from simulator.scenario.table_rows import configure_row
from simulator.scenario.target import resolve_target
from simulator.studies.curve.api import curve
from simulator.studies.load.deployment import configure_load
from simulator.studies.load.request import build_load
from simulator.studies.predict.run import predict_table
from workloads.errors import UserError
from workloads.layout import Layout

SHORT = {"model": "llama-3.1-8b", "isl": 256, "osl": 32, "tp": 1, "concurrency": (1, 2)}
ROW = {"model": "deepseek-v4-pro", "isl": 1024, "osl": 128, "concurrency": 4, "decode_tp": 8}


@pytest.fixture
def own_chip(tmp_path):
    """A user's file: the H200 with twice its memory bandwidth."""
    shipped = Path(str(resources.files("hwmodels") / "catalog" / "h200.yaml")).read_text()
    text, count = re.subn(r"(hbm_bytes_per_s:\s*\{?\s*value:\s*)([\d.]+)", r"\g<1>9.6", shipped)
    assert count == 1
    path = tmp_path / "fast_h200.yaml"
    path.write_text(text)
    return path


def configured(deployment="TP8", *, concurrency=4, **flags):
    source = build_scenario(flags={"sku": "b200", "engine": "vllm", **flags})
    pools = parse_deployment(deployment)
    return configure_run(source.scenario, pools=pools, concurrency=concurrency)


def test_a_chip_of_ones_own_has_a_curve_and_a_picture(own_chip, tmp_path):
    found = curve(sku=str(own_chip), engine="vllm", **SHORT)
    shipped = curve(sku="h200", engine="vllm", **SHORT)
    assert found.frame()["interactivity"][0] > shipped.frame()["interactivity"][0]
    found.plot(tmp_path / "own.png")
    assert (tmp_path / "own.png").stat().st_size > 1000


def test_a_chip_of_ones_own_is_predicted(own_chip):
    row = {**SHORT, "engine": "vllm", "concurrency": 2, "decode_tp": 1}
    row.pop("tp")
    table = predict_table(
        pd.DataFrame([{**row, "sku": str(own_chip)}, {**row, "sku": "h200"}]), workers=1
    )
    assert table["status"].tolist() == ["ok", "ok"]
    assert table["pred_median_tpot_s"].iloc[0] < table["pred_median_tpot_s"].iloc[1]


def test_a_configuration_survives_the_way_to_another_process(own_chip):
    scenario = build_scenario(flags={"sku": str(own_chip), **SHORT}).scenario
    pools = (PoolLayout(layout=Layout(tp=1)),)
    one, _ = configure_run(scenario, pools=pools, concurrency=2)
    own_chip.unlink()
    copy = pickle.loads(pickle.dumps(one))
    assert copy == one
    assert copy.identity == one.identity
    assert copy.step_cost_key == one.step_cost_key
    assert simulate_run(copy).metrics == simulate_run(one).metrics


def test_chips_that_differ_in_one_figure_share_no_tables():
    one, _ = configured()
    other, _ = configured(overrides={"hbm_bytes_per_s": 8.1e12})
    assert one.step_cost_key != other.step_cost_key
    assert one.identity != other.identity


@pytest.mark.parametrize(
    "ask",
    [
        lambda named: resolve_target(build_scenario(flags=named).scenario),
        lambda named: configure_row({**ROW, **named}),
        lambda named: configure_load(build_load(flags={**named, "rate": 1.0})),
    ],
    ids=["curve", "predict", "load"],
)
def test_an_engine_of_another_vendor_is_refused_everywhere_in_the_same_words(ask):
    with pytest.raises(UserError, match="engine atom runs on AMD chips only, not on NVIDIA B200"):
        ask({"sku": "b200", "engine": "atom"})


def test_a_complete_layout_keeps_its_pipeline_stages():
    flags = {"sku": "b300", "engine": "vllm", "rate": 0.5, "requests": 40}
    staged, _ = configure_load(build_load(flags={**flags, "deployment": "TP4PP2"}))
    plain, _ = configure_load(build_load(flags={**flags, "deployment": "TP4"}))
    assert [pool.layout.label for pool in staged.pools] == ["TP4PP2"]
    assert (staged.gpus, plain.gpus) == (8, 4)


def test_a_lone_request_passes_all_pipeline_stages_one_after_another():
    staged, plain = (
        simulate_run(configured(label, sku="b300", isl=1024, osl=64, concurrency=1)[0]).metrics
        for label in ("TP4PP2", "TP4")
    )
    # the layers take as long on two stages as on one, and the residual stream is sent once
    assert staged.tpot.median_s == pytest.approx(plain.tpot.median_s, rel=0.15)
    assert staged.tpot.median_s > plain.tpot.median_s
    assert staged.ttft.median_s >= plain.ttft.median_s


@pytest.mark.parametrize("label", ["TP8DCP8", "TP8CP2", "2xTP8DCP8+1xDEP8"])
def test_context_parallelism_is_refused_with_the_reason(label):
    with pytest.raises(UserError, match=r"context parallelism.*not modelled"):
        parse_deployment(label)


def test_a_stated_setting_replaces_the_recipes():
    plain, recipe = configured()
    changed, told = configured(engine_settings={"max_num_batched_tokens": 4096})
    assert plain.pools[0].settings.max_num_batched_tokens != 4096
    assert changed.pools[0].settings.max_num_batched_tokens == 4096
    assert told.provenance["max_num_batched_tokens"] == "stated"
    assert "server settings: max_num_batched_tokens=4096" in told.messages
    assert not any("server settings" in message for message in recipe.messages)


def test_a_stated_graph_size_reaches_the_execution_plan():
    changed, _ = configured(engine_settings={"max_cudagraph_capture_size": 64})
    assert changed.pools[0].plan["graph_max_tokens"] == 64
    eager, _ = configured(engine_settings={"enforce_eager": True})
    assert eager.pools[0].plan["graph_max_tokens"] == 0


def test_a_setting_may_be_for_one_pool():
    stated = {"max_num_seqs": 64, "decode.max_num_seqs": 32}
    found, _ = configured("1xTP8+1xTP8", engine_settings=stated)
    assert [pool.settings.max_num_seqs for pool in found.pools] == [64, 32]


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"max_num_batched_token": 1}, "did you mean max_num_batched_tokens"),
        (
            {"chunked_prefill_size": 4096},
            "is one of sglang, not of vllm; nearest of the .* vllm has: enable_chunked_prefill, ",
        ),
        ({"max_num_seqs": 0}, "max_num_seqs is 0: input should be greater than or equal to 1"),
        ({"max_num_seqs": "many"}, "max_num_seqs is 'many': input should be a valid integer"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization is 1.5: .*less than or equal"),
        ({"scheduler": "sglang"}, "engine setting of vllm 'scheduler' is unknown"),
        ({"prefill.max_num_seqs": 8}, "is for a prefill pool, which this deployment has not"),
        ({"router.max_num_seqs": 8}, "pool of an engine setting 'router' is unknown"),
        ({"enforce_eager": True, "max_cudagraph_capture_size": 256}, "contradict each other"),
        ({"max_num_batched_tokens": 16, "max_num_seqs": 64}, "is 16, below max_num_seqs, 64"),
        (
            {"enable_chunked_prefill": False, "max_num_batched_tokens": 4096},
            "max_num_batched_tokens is 4096, below the longest prompt, 8192 tokens, .*raise it or",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused(stated, message):
    with pytest.raises(UserError, match=message):
        configured(engine_settings=stated)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"max_num_tokens": 4096}, "max_num_tokens is 4096, below the longest prompt, 8192 tokens"),
        (
            {"max_num_tokens": 32, "max_batch_size": 64, "enable_chunked_prefill": True},
            "max_num_tokens is 32, below max_batch_size, 64",
        ),
    ],
)
def test_a_budget_below_what_a_step_must_hold_is_refused_by_tensorrt_llm_too(stated, message):
    with pytest.raises(UserError, match=message):
        configured(engine="trt", engine_settings=stated)


def test_a_budget_that_nobody_states_follows_prompts_that_are_not_cut():
    found, _ = configured(engine_settings={"enable_chunked_prefill": False})
    assert found.pools[0].settings.max_num_batched_tokens >= 8192
    cut, _ = configured(isl=32768, engine_settings={"enable_chunked_prefill": False})
    assert cut.pools[0].settings.max_num_batched_tokens > 32768


def test_a_format_of_the_kv_cache_that_is_stated_twice_must_be_the_same():
    stated = {"kv_cache_dtype": "bf16"}
    with pytest.raises(UserError, match="kv_precision is fp8, but engine setting kv_cache_dtype"):
        configured(kv_precision="fp8", engine_settings=stated)
    found, _ = configured(kv_precision="bf16", engine_settings=stated)
    assert found.pools[0].settings.kv_cache_dtype == "bf16"
