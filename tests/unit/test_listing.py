"""Lists of what there is, and single things in full."""

import json

import pandas as pd
import pytest

from hwmodels.economics import list_economics, load_economics
from hwmodels.sku import list_skus, load_sku
from simulator.cli.main import run
from simulator.engines.labels import engine_labels
from simulator.recipes.files import recipe_paths
from simulator.studies.catalog.sheets import SHEETS, sheet_of, sheet_rows
from simulator.studies.catalog.tables import CATALOGUES, catalog_list
from workloads.architectures.catalog import architecture_names
from workloads.requests.catalog import NAMED_WORKLOADS


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("skus", list_skus()),
        ("models", list(architecture_names())),
        ("engines", list(engine_labels())),
        ("workloads", list(NAMED_WORKLOADS)),
        ("economics", list_economics()),
    ],
)
def test_a_list_has_a_row_for_each_thing(what, names):
    frame = catalog_list(what)
    assert frame.iloc[:, 0].tolist() == names


def test_recipes_and_levels_are_listed_by_date():
    recipes = catalog_list("recipes")
    assert set(recipes["recipe"]) == {path.stem for path in recipe_paths()}
    levels = catalog_list("levels")
    assert set(levels["engine"]) == {"atom", "cann", "sglang", "trtllm", "vllm"}
    sglang = levels[(levels["engine"] == "sglang") & (levels["skus"] == "mi355x")]
    assert {"2026-04-25", "2026-05-21"} <= set(sglang["date"])


def test_figures_of_a_list_are_those_of_the_catalogue_in_si_units():
    row = catalog_list("skus").set_index("sku").loc["gb200"]
    sku = load_sku("gb200")
    assert row["hbm_usable_bytes"] == sku.hbm_usable_bytes
    assert row["scaleup_world"] == 72
    newest = load_economics().for_sku("gb200")
    assert row["hyperscaler_usd_per_h"] == newest.usd_per_gpu_hour()


def test_a_sku_is_shown_with_unit_kind_and_source_of_every_figure():
    sheet = sheet_of("sku", "GB300-NVL72")
    sku = load_sku("gb300")
    assert {one["name"] for one in sheet["figures"]} == set(sku.figures)
    assert not set(sheet["unknown"]) & set(sku.figures)
    for one in sheet["figures"]:
        figure = sku.figures[one["name"]]
        assert (one["value"], one["unit"], one["kind"]) == (figure.value, figure.unit, figure.kind)
        assert one["source"] or one["note"]
    # InferenceX registry of April 2026: 2.652 $/h and 2.10 kW
    april = {
        one["name"]: one["value"] for one in sheet["economics"] if one["economics"] == "2026-04"
    }
    assert april["hyperscaler_usd_per_h"] == 2.652
    assert april["inferencex_kw"] == 2.10


def test_an_engine_is_shown_with_its_levels_plans_and_parameters():
    sheet = sheet_of("engine", "sglang")
    levels = {(one["sku"], one["level"]): one for one in sheet["levels"]}
    first = levels["mi355x", "sglang@2026-04-25"]
    assert first["plan"]["expert_path"] == "fp8"
    assert levels["mi355x", "sglang@2026-05-21"]["plan"]["expert_path"] == "mxfp4xfp8"
    assert set(first["parameters"]) <= set(sheet["parameters"])
    assert all(one["source"] for one in first["parameters"].values())
    assert "sglang-mi355x" in sheet["recipes"]


def test_a_model_is_shown_with_its_parameters():
    sheet = sheet_of("model", "dsv4-pro")
    assert sheet["model"] == "deepseek-v4-pro"
    # DeepSeek-V4 technical report: 1.6 T parameters, 61 layers
    assert sheet["figures"]["parameters_total"] == pytest.approx(1598.8e9, rel=1e-3)
    assert sheet["config"]["num_hidden_layers"] == 61
    assert sum(sheet["config"]["compress_ratios"].values()) == 62


NAMES = {
    "sku": list_skus(),
    "model": list(architecture_names()),
    "engine": list(engine_labels()),
    "recipe": [path.stem for path in recipe_paths()],
    "economics": list_economics(),
}


@pytest.mark.parametrize("what", SHEETS)
def test_everything_listed_can_be_shown_as_json_and_as_rows(what):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    for name in NAMES[what]:
        sheet = sheet_of(what, name)
        json.loads(json.dumps(sheet), parse_constant=refuse)
        assert isinstance(sheet_rows(what, sheet), pd.DataFrame)


@pytest.mark.parametrize("what", CATALOGUES)
def test_the_list_command_prints_a_line_for_each_row(what, capsys):
    rows = len(catalog_list(what))
    assert run(["list", what]) == 0
    printed = capsys.readouterr().out
    assert len(printed.split("\n\n")[0].strip().splitlines()) == rows + 1
    assert run(["list", what, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == rows
    assert run(["list", what, "--csv"]) == 0
    assert capsys.readouterr().out.count("\n") >= rows + 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sku", "gb300"], "hbm_bytes_per_s"),
        (["model", "deepseek-v4-pro"], "n_routed_experts"),
        (["engine", "dynamo-vllm"], "orchestrator dynamo"),
        (["recipe", "vllm-b200"], "max_num_batched_tokens"),
        (["economics", "2026-04"], "hyperscaler_usd_per_h"),
    ],
)
def test_the_show_command_prints_and_writes(arguments, expected, tmp_path, capsys):
    assert run(["show", *arguments, "--out", str(tmp_path)]) == 0
    assert expected in capsys.readouterr().out
    stem = "-".join(arguments)
    document = json.loads((tmp_path / f"{stem}.json").read_text())
    assert run(["show", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document
    assert run(["show", *arguments, "--csv"]) == 0
    assert capsys.readouterr().out == (tmp_path / f"{stem}.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "sku"], "did you mean skus"),
        (["show", "skus", "b200"], "did you mean sku"),
        (["show", "sku", "b20"], "did you mean b200"),
        (["show", "engine", "vlm"], "did you mean vllm"),
        (["show", "recipe", "vllm"], "names an engine; choose one of"),
        (["show", "recipe", "vllm-b20"], "did you mean vllm-b200"),
        (["show", "economics", "2025-01"], "economics '2025-01' is unknown"),
        (["show", "sku"], "Missing argument"),
        (["list", "skus", "--json", "--csv"], "exclude each other"),
    ],
)
def test_user_errors_are_one_line_and_status_2(arguments, message, capsys):
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
