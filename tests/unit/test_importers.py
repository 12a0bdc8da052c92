"""A user's own results become rows of the measured table, or errors that say what to add."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.importers.runs import import_runs
from calibration.measured.runs import to_predict_columns
from simulator.scenario.table_rows import configure_row
from workloads.errors import UserError

RESULTS = Path(__file__).parents[1] / "data" / "results"
CLIENT = {"sku": "b200", "engine": "vllm", "layout": "TP8", "isl": 8192, "osl": 1024}


def only(imported):
    """The one run of an import."""
    (row,) = imported.frame.to_dict("records")
    return row


def document(name):
    return json.loads((RESULTS / name).read_text())


def written(tmp_path, content, name="result.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


# InferenceX


def test_an_inferencex_single_node_result_carries_its_layout_and_seconds():
    source = document("agg_single_node.json")
    row = only(import_runs(RESULTS / "agg_single_node.json"))
    assert (row["model"], row["sku"], row["engine"]) == ("deepseek-v4-pro", "b300", "sglang")
    assert (row["layout"], row["gpus"], row["concurrency"]) == ("DEP8", 8, 64)
    assert (row["isl"], row["osl"], row["length_distribution"]) == (8192, 1024, "uniform_0.8")
    assert row["total_tput_per_gpu"] == pytest.approx(source["tput_per_gpu"], rel=1e-5)
    assert row["median_tpot_s"] == pytest.approx(source["median_tpot"])
    assert row["p99_ttft_s"] == pytest.approx(source["p99_ttft"])
    assert (row["speculation"], row["precision"], row["quality"]) == ("none", "fp4", "ok")
    assert row["source"] == "agg_single_node.json"


def test_an_inferencex_array_holds_every_form():
    imported = import_runs(RESULTS / "agg_bmk.json")
    assert imported.frame["layout"].tolist() == [
        "2xDEP8+1xDEP8",
        "DEP8",  # no decode workers: one aggregated server over two nodes
        "TP8",  # before roles, one node
        "? GPUs+? GPUs",  # before roles, an orchestrated deployment of which the GPUs are known
    ]
    assert imported.frame["gpus"].tolist() == [24, 8, 8, 72]
    assert imported.frame["place"].tolist() == [f"entry {n}" for n in (1, 2, 3, 4)]
    split = imported.frame.iloc[0]
    output, inputs = split["output_tput_per_gpu"] * 8, split["input_tput_per_gpu"] * 16
    assert (output + inputs) / 24 == pytest.approx(split["total_tput_per_gpu"], rel=1e-4)
    assert imported.notes == (
        "runs without a date: 4; they count as medians up to 2026-07-19, give date",
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"conc": "many"}, r"conc is 'many', not a number"),
        ({"dp_attention": "perhaps"}, "dp_attention is 'perhaps', neither true nor false"),
        ({"pp": 2}, "pp is 2; a table of runs has no column for it"),
        ({"hw": "gpu-cluster_1"}, "sku not stated.*\n.*names no SKU"),
        ({"model": "x", "infmax_model_prefix": "y"}, "model not stated"),
        ({"framework": "sglangs"}, "engine 'sglangs' is unknown; did you mean"),
        ({"spec_decoding": "eagle"}, "speculation 'eagle' is unknown"),
        ({"median_tpot": 21.0}, "median_tpot_s = '21': is out of range"),
        ({"ep": 3}, "decode_ep = '3': does not divide"),
    ],
)
def test_a_bad_field_of_an_inferencex_result_is_named(tmp_path, change, problem):
    path = written(tmp_path, document("agg_single_node.json") | change)
    with pytest.raises(UserError, match=problem) as caught:
        import_runs(path)
    assert str(path) in str(caught.value)


def test_an_agentic_result_is_refused_by_name(tmp_path):
    path = written(tmp_path, {"hw": "b200-nv_1", "scenario_type": "agentic-coding", "conc": 8})
    with pytest.raises(UserError, match="scenario_type is agentic-coding; only runs of fixed"):
        import_runs(path)


# Clients that know nothing of the hardware


def test_the_inferencex_client_needs_what_only_the_user_knows():
    with pytest.raises(UserError) as caught:
        import_runs(RESULTS / "client.json")
    message = str(caught.value)
    assert "sku, engine, isl, osl, tp or layout not stated" in message
    assert "client.yaml or runs.yaml beside it" in message
    assert "hence isl near 8192" in message


def test_the_inferencex_client_gives_rates_of_the_deployment_in_milliseconds():
    source = document("client.json")
    row = only(import_runs(RESULTS / "client.json", **CLIENT))
    assert row["total_tput_per_gpu"] == pytest.approx(source["total_token_throughput"] / 8, 1e-5)
    assert row["output_tput_per_gpu"] == pytest.approx(source["output_throughput"] / 8, 1e-5)
    assert row["median_ttft_s"] == pytest.approx(source["median_ttft_ms"] / 1000)
    assert (row["concurrency"], row["date"], row["quality"]) == (32, "2026-05-10", "ok")


def test_a_disaggregated_layout_divides_each_rate_by_its_own_pool():
    facts = CLIENT | {"layout": "2xDEP8+1xDEP8", "engine": "dynamo-vllm"}
    source = document("client.json")
    row = only(import_runs(RESULTS / "client.json", **facts))
    inputs = source["total_token_throughput"] - source["output_throughput"]
    assert row["total_tput_per_gpu"] == pytest.approx(source["total_token_throughput"] / 24, 1e-5)
    assert row["output_tput_per_gpu"] == pytest.approx(source["output_throughput"] / 8, 1e-5)
    assert row["input_tput_per_gpu"] == pytest.approx(inputs / 16, 1e-5)


def test_vllm_results_read_their_metadata_and_speculation_statistics():
    imported = import_runs(RESULTS / "vllm_bench.json", layout="TP8", speculation="mtp")
    row = only(imported)
    assert (row["model"], row["sku"], row["engine"]) == ("deepseek-v4-pro", "h200", "vllm")
    assert (row["precision"], row["drafts"], row["acceptance_length"]) == ("fp8", 2, 2.2)
    assert (row["isl"], row["osl"], row["length_distribution"]) == (4000, 500, "fixed")
    assert "the means 4000/500 stand in" in imported.notes[0]


def test_equal_lengths_of_a_detailed_vllm_result_are_nominal(tmp_path):
    detailed = document("vllm_bench.json") | {"input_lens": [4000] * 3, "output_lens": [500] * 3}
    imported = import_runs(written(tmp_path, detailed), layout="TP8", speculation="mtp")
    assert only(imported)["isl"] == 4000
    assert imported.notes == ()


def test_an_open_loop_is_refused(tmp_path):
    for name in ("client.json", "vllm_bench.json"):
        path = written(tmp_path, document(name) | {"request_rate": 4.0})
        with pytest.raises(UserError, match=r"request_rate is 4\.0: an open loop"):
            import_runs(path, **CLIENT)


def test_a_result_without_a_bound_on_clients_says_so(tmp_path):
    path = written(tmp_path, document("client.json") | {"max_concurrency": None})
    with pytest.raises(UserError, match=r"concurrency not stated.*\n.*without --max-concurrency"):
        import_runs(path, **CLIENT)


def test_sglang_lines_read_lengths_layout_and_speculation_from_the_server():
    imported = import_runs(RESULTS / "sglang_bench.jsonl", sku="mi355x", precision="fp4")
    assert imported.frame["concurrency"].tolist() == [8, 32]
    assert imported.frame["place"].tolist() == ["line 1", "line 2"]
    row = imported.frame.iloc[1]
    assert (row["model"], row["engine"], row["layout"]) == ("deepseek-v4-pro", "sglang", "DEP8")
    assert (row["speculation"], row["drafts"], row["acceptance_length"]) == ("mtp", 3, 2.24)
    assert (row["isl"], row["length_distribution"]) == (1024, "uniform_0_to_cap")
    assert row["quality"] == "ok"  # with the mean length of half the cap, Little's law holds


@pytest.mark.parametrize(("ratio", "name"), [(1.0, "fixed"), (0.8, "uniform_0.8")])
def test_sglang_range_ratios_name_the_length_distribution(tmp_path, ratio, name):
    line = json.loads((RESULTS / "sglang_bench.jsonl").read_text().splitlines()[0])
    path = written(tmp_path, line | {"random_range_ratio": ratio}, "x.jsonl")
    assert only(import_runs(path, sku="mi355x"))["length_distribution"] == name


# AIPerf


def test_aiperf_summaries_are_read_in_their_own_units():
    row = only(import_runs(RESULTS / "aiperf" / "profile_export_aiperf.json"))
    assert row["mean_ttft_s"] == pytest.approx(0.5)  # milliseconds in the file
    assert row["mean_tpot_s"] == pytest.approx(0.02)  # microseconds in the file
    assert (row["isl"], row["osl"], row["concurrency"]) == (2000, 200, 16)
    assert (row["date"], row["acceptance_length"]) == ("2026-09-01", 1.8)
    assert (row["sku"], row["layout"], row["quality"]) == ("b200", "TP8", "ok")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"time_to_first_token": {"unit": "min", "avg": 1}}, "time_to_first_token.unit is 'min'"),
        ({"output_token_throughput": {"unit": "req", "avg": 1}}, "throughput.unit is 'req'"),
        ({"is_complete": False}, "did not finish"),
        ({"input_config": {"phases": [{"type": "poisson", "rate": 4}]}}, "open loop"),
        ({"input_config": {"loadgen": {"request_rate": 4}}}, "open loop"),
        ({"input_sequence_length": {"avg": 0}}, "input_sequence_length.avg is 0"),
    ],
)
def test_an_aiperf_summary_that_cannot_be_read_says_why(tmp_path, change, problem):
    path = written(tmp_path, document("aiperf/profile_export_aiperf.json") | change)
    with pytest.raises(UserError, match=problem):
        import_runs(path, **CLIENT)


def test_older_aiperf_configurations_name_model_and_clients(tmp_path):
    config = {
        "endpoint": {"model_names": ["deepseek-ai/DeepSeek-V4-Pro"]},
        "loadgen": {"concurrency": 16},
    }
    summary = document("aiperf/profile_export_aiperf.json") | {"input_config": config}
    row = only(import_runs(written(tmp_path, summary), sku="b200", engine="vllm", tp=8))
    assert (row["model"], row["concurrency"], row["layout"]) == ("deepseek-v4-pro", 16, "TP8")


def test_aiperf_records_give_rates_over_the_profiled_requests():
    """Four successes from 1.0 s to 3.3 s (2200 + 250 + 100 x 11 ms is 3.55 s): by hand."""
    imported = import_runs(RESULTS / "aiperf" / "profile_export.jsonl", model="dsv4", concurrency=2)
    row = only(imported)
    duration_s = 2.2 + 0.25 + 100 * 0.011 - 1.0
    assert row["output_tput_per_gpu"] * 8 == pytest.approx((3 * 101 + 1) / duration_s, rel=1e-5)
    assert row["input_tput_per_gpu"] * 8 == pytest.approx(4 * 1000 / duration_s, rel=1e-5)
    assert row["mean_ttft_s"] == pytest.approx((0.2 + 0.3 + 0.25 + 0.4) / 4)
    assert row["median_tpot_s"] == pytest.approx(0.011)  # the answer of one token has none
    assert any("failed requests left out: 1" in note for note in imported.notes)


# Files, folders, facts


def test_a_folder_is_read_once_and_what_is_no_result_is_said(tmp_path):
    imported = import_runs(RESULTS / "aiperf")
    assert len(imported.frame) == 1
    assert imported.frame["source"].tolist() == ["aiperf"]
    assert len(imported.notes) == 2
    assert "profile_export.jsonl: the same run as" in imported.notes[0]
    assert "inputs.json: not a benchmark result" in imported.notes[1]


def test_facts_of_the_caller_come_before_sidecars_and_those_before_the_result(tmp_path):
    written(tmp_path, document("client.json"), "a.json")
    written(tmp_path, document("client.json"), "b.json")
    written(tmp_path, "sku: b200\nengine: vllm\ntp: 8\nisl: 8192\nosl: 1024\n", "runs.yaml")
    written(tmp_path, "sku: b300\nlayout: DEP8\ndate: 2026-07-01\n", "b.yaml")
    rows = import_runs(tmp_path).frame
    assert rows["sku"].tolist() == ["b200", "b300"]
    assert rows["layout"].tolist() == ["TP8", "DEP8"]
    assert rows["date"].tolist() == ["2026-05-10", "2026-07-01"]
    assert set(import_runs(tmp_path, sku="h200").frame["sku"]) == {"h200"}


def test_an_aggregate_stands_for_the_client_result_beside_it(tmp_path):
    written(tmp_path, document("agg_single_node.json"), "agg_x.json")
    written(tmp_path, document("client.json"), "x.json")
    imported = import_runs(tmp_path)
    assert len(imported.frame) == 1
    assert imported.notes[0] == f"{tmp_path / 'x.json'}: the same run as agg_x.json"


def test_a_table_takes_facts_for_its_blank_cells():
    rows = import_runs(RESULTS / "runs.csv", sku="b200", acceptance_length=2.5).frame
    assert rows["sku"].tolist() == ["mi355x", "mi355x"]
    assert rows["acceptance_length"].tolist() == [2.5, 2.5]
    assert rows["source"].tolist() == ["runs.csv", "runs.csv"]


def test_bad_results_are_left_out_only_where_asked(tmp_path):
    good, bad = document("agg_single_node.json"), document("agg_single_node.json") | {"conc": "?"}
    wrong = document("agg_single_node.json") | {"median_tpot": 21.0}
    path = written(tmp_path, [good, bad, wrong])
    with pytest.raises(UserError, match="entry 2: conc is '\\?'"):
        import_runs(path)
    imported = import_runs(path, skip_bad=True)
    assert imported.frame["place"].tolist() == ["entry 1"]
    assert [text.split(", ")[0].split(": ")[0] for text in imported.problems] == [
        f"{path} entry 2",
        f"{path} entry 3",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "line 1, column 2"),
        ('{"a": 1}\n{"a": \n', "line 2, column"),
        ("[1]", "entry 1: holds int, not an object"),
        ("{}", "holds no run that can be read; known: InferenceX"),
        ("", "holds no run that can be read"),
    ],
)
def test_what_is_no_result_is_a_user_error(tmp_path, content, problem):
    with pytest.raises(UserError, match=problem):
        import_runs(written(tmp_path, content))


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"skew": "b200"}, "the options: field 'skew' is unknown; did you mean sku"),
        ({"layout": "TPX"}, "the options: layout 'TPX' is not a pool"),
        ({"gpus": 0}, "gpus is 0; it must be at least 1"),
        ({"gpus": "eight"}, "gpus is eight"),
    ],
)
def test_a_wrong_fact_is_a_user_error(facts, problem):
    with pytest.raises(UserError, match=problem):
        import_runs(RESULTS / "client.json", **(CLIENT | facts))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), value=JSON_VALUES)
@pytest.mark.parametrize(
    "name", ["agg_single_node.json", "vllm_bench.json", "aiperf/profile_export_aiperf.json"]
)
def test_whatever_stands_in_a_field_the_import_succeeds_or_says_why(tmp_path, name, data, value):
    result = document(name)
    field = data.draw(st.sampled_from(sorted(result)))
    path = written(tmp_path, result | {field: value})
    try:
        outcome = f"{path}: {len(import_runs(path, **CLIENT).frame)} run"
    except UserError as error:
        outcome = str(error)
    assert outcome.startswith(str(path))


def test_a_missing_path_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        import_runs(tmp_path / "nowhere")


def test_imported_runs_can_be_predicted():
    rows = pd.concat(
        [
            import_runs(RESULTS / "agg_single_node.json").frame,
            import_runs(RESULTS / "sglang_bench.jsonl", sku="mi355x", precision="fp4").frame,
        ]
    )
    for cells in to_predict_columns(rows).to_dict("records"):
        configuration, _ = configure_row(cells)
        assert configuration.gpus == 8


AGGREGATE = {
    "hw": "tpuv7",
    "conc": 64,
    "model": "Qwen/Qwen3.5-397B-A17B-FP8",
    "framework": "vllm",
    "infmax_model_prefix": "qwen3.5",
    "precision": "fp8",
    "spec_decoding": "none",
    "disagg": False,
    "isl": 8192,
    "osl": 1024,
    "is_multinode": False,
    "tp": 1,
    "ep": 1,
    "dp_attention": "false",
    "tput_per_gpu": 29400,
    "output_tput_per_gpu": 3260,
    "input_tput_per_gpu": 26140,
    "mean_ttft": 7.2,
    "median_tpot": 0.0305,
    "mean_tpot": 0.0304,
}


def test_a_result_that_contradicts_itself_is_suspect(tmp_path):
    (tmp_path / "agg.json").write_text(json.dumps(AGGREGATE))
    reason = import_runs(tmp_path / "agg.json").frame["quality_reason"][0]
    assert "Little's law" in reason
    assert "weights alone exceed the memory" in reason


def test_results_in_a_wrapper_are_read(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps({"benchmarks": [AGGREGATE], "evaluations": []}))
    frame = import_runs(str(tmp_path / "sweep.json")).frame
    assert frame["place"].tolist() == ["benchmarks 1"]


@pytest.mark.parametrize("steps", [1e-320, 0.001])
def test_counters_of_drafts_that_cannot_be_are_refused(tmp_path, steps):
    data = json.loads(
        (Path(__file__).parents[1] / "data/results/vllm_bench.json").read_text(encoding="utf-8")
    )
    data |= {
        "spec_decode_acceptance_length": 2.0,
        "spec_decode_num_drafts": steps,
        "spec_decode_draft_tokens": 3000,
    }
    path = tmp_path / "vllm_bench.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(UserError, match="drafts of a step must lie between 0 and 1000"):
        import_runs(path, sku="b200", layout="TP8")
