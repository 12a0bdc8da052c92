"""The Python interface: cheap to import, one function a command, results with table and picture."""

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import matplotlib.figure
import pandas as pd
import pytest

import simulator as sim


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys; import simulator; "
        "heavy = {'numpy', 'pandas', 'matplotlib', 'pydantic', 'yaml'} & set(sys.modules); "
        "sys.exit(bool(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sim.__all__)
def test_a_function_keeps_its_name_where_a_module_has_the_same(name):
    import_module("simulator.studies.curve.run")
    import_module("simulator.studies.compare.run")
    found = getattr(sim, name)
    assert callable(found)
    assert not isinstance(found, ModuleType)
    assert name in dir(sim)
    assert (
        sys.modules["simulator.studies.curve.run"].CurveResult
        is import_module("simulator.studies.curve.run").CurveResult
    )


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sim.nothing
    assert not hasattr(sim, "nothing")


def test_a_curve_has_a_table_and_a_picture(tmp_path):
    curve = sim.curve(sku="mi355x", tp=8, ep=8, dp_attention=False, concurrency=(1, 8))
    assert curve.frame()["concurrency"].tolist() == [1, 8]
    assert len(curve.frontier) == 2
    assert isinstance(curve.plot(tmp_path / "curve.png"), matplotlib.figure.Figure)
    assert (tmp_path / "curve.png").exists()


def test_a_sweep_keeps_nothing_unless_it_is_told_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = sim.sweep(sku="mi355x", tp=8, ep=8, dp_attention=False, concurrency=(1,), workers=1)
    assert isinstance(result.frame(), pd.DataFrame)
    assert isinstance(result.plot(), matplotlib.figure.Figure)
    assert list(tmp_path.iterdir()) == []


def test_curve_and_sweep_give_the_same_figures():
    asked = {"sku": "b200", "tp": 8, "ep": 8, "dp_attention": True, "concurrency": (1, 16)}
    curve = sim.curve(**asked).frame()
    swept = sim.sweep(**asked, workers=1).frame()
    for name in ("total_tput_per_gpu", "interactivity", "p99_ttft_s", "usd_per_million_tokens"):
        assert curve[name].tolist() == swept[name].tolist()


def test_a_step_is_explained_as_a_table_and_a_picture():
    step = sim.explain(sku="mi355x", tp=8, ep=8, clients=16)
    assert step.frame()["seconds"].sum() > 0
    assert isinstance(step.plot(), matplotlib.figure.Figure)


def test_a_table_of_runs_is_predicted(tmp_path):
    row = {"model": "deepseek-v4-pro", "sku": "mi355x", "engine": "sglang", "isl": 1024}
    row |= {"osl": 128, "concurrency": 2, "decode_tp": 8, "decode_ep": 8, "decode_dp_attn": False}
    table = pd.DataFrame([row])
    predicted = sim.predict(table)
    assert predicted["status"].tolist() == ["ok"]
    path = tmp_path / "runs.csv"
    table.to_csv(path, index=False)
    again = sim.predict(path)["pred_total_tput_per_gpu"]
    assert again.tolist() == predicted["pred_total_tput_per_gpu"].tolist()


def test_the_catalogue_is_at_hand():
    assert "gb300" in set(sim.catalog("skus")["sku"])
    assert sim.show("sku", "gb300")["name"] == "NVIDIA GB300 NVL72"
    with pytest.raises(sim.UserError, match="did you mean skus"):
        sim.catalog("sku")
