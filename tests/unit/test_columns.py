"""Columns of runs: one table of definitions, and what ``simulate predict`` reads of it."""

import json
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest

from calibration.measured.schema import COLUMNS as MEASURED
from simulator.analysis.metrics import RunMetrics
from simulator.output.columns import BANDS, METRICS, RUN, SECTIONS, WHAT_RAN, columns, columns_page
from simulator.prediction.bands import BANDED
from simulator.scenario.run_cells import LOAD_COLUMNS, POOL_COLUMNS
from simulator.scenario.settings import Scenario
from simulator.scenario.table_columns import ALIASES, UNUSABLE, check_columns, read_columns
from simulator.scenario.table_rows import configure_row
from simulator.studies.curve.api import curve
from simulator.studies.plan.result import PlanRow
from simulator.studies.predict.run import OUTPUT_COLUMNS, predict_table
from simulator.studies.search.run import search
from simulator.studies.sweep.api import sweep
from workloads.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "columns.md"
SHORT = {"sku": "h200", "model": "llama-3.1-8b", "isl": 256, "osl": 32, "tp": 1}
ROW = {"model": "deepseek-v4-pro", "sku": "b200", "engine": "vllm", "isl": 1024, "osl": 128}
ROW |= {"concurrency": 4, "label": "TEP8"}


@pytest.fixture(scope="module")
def swept():
    return sweep(
        **{**SHORT, "model": "deepseek-v4-pro", "sku": "b200", "tp": 8, "ep": 8},
        engine="vllm",
        dp_attention=False,
        concurrency=(2,),
        spec="mtp:2",
        seed=5,
        overrides={"hbm_bytes_per_s": 9e12},
        engine_settings={"max_num_seqs": 64},
    ).frame()


def test_the_reference_page_is_in_step():
    assert PAGE.read_text(encoding="utf-8") == columns_page()


def test_no_column_is_defined_twice():
    names = [column.name for section in SECTIONS.values() for column in section]
    assert sorted(set(names)) == sorted(names)
    assert all(column.text for column in columns().values())


def test_metrics_and_bands_have_their_columns():
    written = {
        f"{part}_{field.name}_s" if field.type == "Distribution" else field.name
        for field in fields(RunMetrics)
        for part in ("mean", "median", "p90", "p99", "std")
    }
    assert {column.name for column in METRICS} == written | {"interactivity"}
    assert [column.name for column in BANDS] == [f"{m}_{e}" for m in BANDED for e in ("lo", "hi")]


def test_what_ran_is_the_scenario_and_the_pools():
    names = [column.name for column in WHAT_RAN]
    pools = [f"{pool}_{name}" for pool in ("prefill", "decode") for name in POOL_COLUMNS]
    assert names == [*LOAD_COLUMNS, "label", "disagg", *pools, "concurrency"]
    assert set(LOAD_COLUMNS) <= set(Scenario.model_fields)


def test_a_sweep_and_a_curve_write_the_columns_of_a_run(swept):
    drawn = curve(**SHORT, concurrency=(1, 2)).frame()
    assert list(drawn.columns) == [column.name for column in RUN]
    assert set(swept.columns) == set(drawn.columns)


def test_a_search_a_plan_and_predictions_write_known_columns():
    found = search(**SHORT, concurrency=(1, 2), interactivity=20, vary={"max_num_seqs": (8,)})
    assert set(found.frame().columns) <= set(columns())
    assert set(OUTPUT_COLUMNS) <= {*columns(), "kind", "status", "bottleneck"}
    again = predict_table(found.frame(), workers=1)
    assert (again["status"] == "ok").all()
    assert again["pred_total_tput_per_gpu"].tolist() == pytest.approx(
        again["total_tput_per_gpu"].tolist(), rel=1e-12
    )
    assert PlanRow.cells.__doc__


def test_a_swept_table_is_predicted_as_it_was_swept(swept):
    again = predict_table(swept, workers=1)
    assert again["status"].tolist() == ["ok"]
    for name in ("total_tput_per_gpu", "median_tpot_s", "median_ttft_s"):
        assert again[f"pred_{name}"].tolist() == swept[name].tolist()


def configured(**cells):
    return configure_row({**ROW, **cells})[0]


def test_every_cell_that_is_read_reaches_the_configuration():
    one = configured(
        spec="mtp:3",
        acceptance_length=2.5,
        overrides=json.dumps({"hbm_bytes_per_s": 9e12}),
        engine_settings=json.dumps({"max_num_seqs": 32}),
        seed=7,
        length_distribution="fixed",
        precision="fp8",
        level="vllm@median-2026-07",
    )
    assert (one.speculation, one.drafts, one.acceptance_length) == ("mtp", 3, 2.5)
    assert one.sku.hbm_bytes_per_s == 9e12
    assert one.pools[0].settings.max_num_seqs == 32
    assert (one.seed, one.length_distribution, one.precision) == (7, "fixed", "fp8")
    assert (one.median, one.level_date) == (False, None)
    assert one.pools[0].layout.label == "TEP8"


def test_names_of_measured_tables_and_of_scenarios_are_read():
    cells = {name: value for name, value in ROW.items() if name != "label"}
    measured = {"decode_tp": 8, "decode_ep": 8, "decode_dp_attention": True, "drafts": 2}
    one, _ = configure_row({**cells, **measured, "speculation": "mtp", "gpus": 8})
    other, _ = configure_row({**cells, "tp": 8, "ep": 8, "dp_attention": True, "spec": "mtp:2"})
    assert one.pools[0].layout == other.pools[0].layout
    assert one.drafts == other.drafts == 2
    for column in MEASURED:
        if column.predict_name not in (None, column.name):
            assert column.name in ALIASES[column.predict_name]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"spec": "mtp:2", "spec_decoding": "none"}, "spec is mtp:2, but spec_decoding is none"),
        ({"spec": "mtp:2", "spec_tokens": 3}, "spec is mtp:2, but spec_tokens is 3"),
        ({"label": "TEP8", "decode_tp": 4}, "label is TEP8, but the columns say decode_tp 4"),
        ({"label": "run seven"}, "names no deployment such as TEP8"),
        ({"label": "TP8DCP8"}, "context parallelism"),
        ({"tp": 4, "decode_tp": 8}, "is another name"),
        ({"overrides": "9e12"}, "overrides is '9e12'; write a JSON object"),
        ({"overrides": '{"hbm": 1}'}, "sku field 'hbm' is unknown"),
        ({"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
        ({"settings": "faster"}, "settings is 'faster'; write NAME=VALUE pairs"),
    ],
)
def test_cells_that_contradict_or_mean_nothing_are_refused(cells, message):
    with pytest.raises(UserError, match=message):
        configured(**cells)


@pytest.mark.parametrize(
    ("name", "near"),
    [("prescision", "precision"), ("decode_tpp", "decode_tp"), ("Concurency", "concurrency")],
)
def test_a_mistyped_column_names_its_neighbour(name, near):
    with pytest.raises(UserError, match=f"column {name} is not read; did you mean {near}"):
        predict_table(pd.DataFrame([{**ROW, name: 1}]), workers=1)


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_column_that_cannot_be_used_is_refused_unless_it_is_blank(name):
    with pytest.raises(UserError, match=f"column {name} cannot be used: "):
        check_columns([name], filled={name: True})
    check_columns([name], filled={name: False})


def test_other_columns_pass_through():
    names = [name for name in (*columns(), *read_columns()) if name not in UNUSABLE]
    check_columns([*names, "note", "my_run", "tps"], filled={})
    check_columns([column.name for column in MEASURED], filled={})
