"""``simulate calibrate`` from the command line, on a handful of small runs."""

import pandas as pd
import pytest
import yaml

import calibration.fit.pipeline as fitting
from calibration import tasks
from calibration.fit.own_runs import read_own_runs
from calibration.fit.state import STATE_FILE, load_fit
from calibration.measured.runs import load_measured
from calibration.measured.selection import select_for_fit
from hwmodels.fitted import fitted_level
from hwmodels.sku import load_sku
from simulator.cli.calibrate import parse_facts
from simulator.cli.main import run
from workloads.errors import UserError


def few_runs():
    """Small runs of three engines on three SKUs, two of one series each."""
    runs = load_measured(models=["deepseek-v4-pro"], quality="ok")
    runs = runs[(runs["concurrency"] <= 8) & (runs["isl"] == 1024) & (runs["date"] == "")]
    wanted = [("b200", "vllm"), ("b300", "vllm"), ("h200", "sglang"), ("mi355x", "atom")]
    parts = [
        runs[(runs["sku"] == sku) & (runs["engine"] == engine)].sort_values("series").head(2)
        for sku, engine in wanted
    ]
    return pd.concat(parts)


def own_file(folder, *, tpot_s):
    """Two runs of vLLM on B300, consistent with Little's law, at a time per token."""
    rate = 2.0 / (8 * tpot_s)
    path = folder / "own.csv"
    header = "model,sku,engine,isl,osl,concurrency,date,decode_tp,gpus,precision,speculation"
    lines = [f"{header},total_tput_per_gpu,median_tpot_s"]
    for clients in (1, 4):
        labels = f"deepseek-v4-pro,b300,vllm,1024,1024,{clients},2026-09-01,8,8,fp4,none"
        lines.append(f"{labels},{clients * rate:.6g},{tpot_s}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def published(monkeypatch):
    runs = few_runs()
    monkeypatch.setattr(fitting, "load_measured", lambda models: runs)
    return runs


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_facts_are_pairs():
    assert parse_facts(["sku=h200", " layout = TP8 "]) == {"sku": "h200", "layout": "TP8"}
    for wrong in ("sku", "=h200", "sku="):
        with pytest.raises(UserError, match="is not NAME=VALUE"):
            parse_facts([wrong])
    with pytest.raises(UserError, match="gives sku twice"):
        parse_facts(["sku=h200", "sku=b200"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--out", "o", "--fact", "sku=h200"], "--fact describes your own runs"),
        (["fit", "--out", "o", "--workers", "0"], "workers is 0; it must be at least 1"),
        (["fit", "--out", "o", "--models", " "], "models names none"),
        (["fit", "--out", "o", "--models", "deepseek-v5"], "model 'deepseek-v5'"),
        (["fit", "--out", "o", "none/"], "none does not exist"),
        (["fit", "--out", "o", "none/", "--structure"], "--structure is of published runs"),
        (["fit"], "Missing option '--out'"),
        (["validate", "--fit", "none"], "responses.npz does not exist; fit again"),
        (["validate", "--workers", "-1"], "workers is -1"),
    ],
)
def test_errors_of_a_user(elsewhere, capsys, arguments, message):
    assert run(["calibrate", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_directory_that_cannot_be_written_is_told_before_the_fit(elsewhere, capsys):
    (elsewhere / "file").write_text("", encoding="utf-8")
    assert run(["calibrate", "fit", "--out", "file"]) == 2
    assert "cannot write into file" in capsys.readouterr().err


def test_a_calibration_without_a_fit_is_refused(elsewhere, capsys):
    for command in (
        ["--sku", "b300", "--concurrency", "1"],
        ["explain", "--sku", "b300"],
        ["sweep", "--sku", "b300"],
        ["compare", "b300", "b200"],
    ):
        assert run([*command, "--calibration", "nowhere"]) == 2
        assert "calibration nowhere holds no fitted.yaml" in capsys.readouterr().err


def test_a_row_of_ones_own_that_cannot_be_simulated_is_named_before_anything_runs(elsewhere):
    path = own_file(elsewhere, tpot_s=0.009)
    rows = path.read_text("utf-8").splitlines()
    bad = rows[2].replace(",fp4,", ",int3,").replace("2026-09-01", "2026-09-02")
    path.write_text("\n".join([*rows, bad]) + "\n", encoding="utf-8")
    told = []
    selection, _ = read_own_runs([path], facts={}, tell=told.append)
    assert len(told) == 1
    assert told[0].startswith(f"left out, cannot be simulated: {path}, line 4: precision is int3")
    assert selection.runs["own"].to_numpy(bool).tolist() == [True, True]
    path.write_text("\n".join([rows[0], bad]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="none of your 1 runs can be fitted: precision is int3"):
        read_own_runs([path], facts={})


@pytest.mark.slow
def test_own_runs_move_the_fit_and_every_command_uses_it(elsewhere, capsys):
    level = {
        "engine": "vllm",
        "sku": load_sku("b300"),
        "model": "deepseek-v4-pro",
        "precision": "fp4",
        "date": None,
        "median": False,
    }
    shipped = fitted_level(**level)
    floors = {}
    for name, tpot_s in (("fast", 0.009), ("slow", 0.036)):
        own_file(elsewhere, tpot_s=tpot_s)
        assert run(["calibrate", "fit", "own.csv", "--out", name, "--workers", "1"]) == 0
        out = capsys.readouterr().out
        assert "2 own runs of own.csv, fitted in" in out
        assert "median error of TPOT" in out
        fitted = fitted_level(**level, directory=elsewhere / name)
        assert fitted.basis == "own runs"
        assert fitted.level_date == "2026-09-01"
        assert fitted.runs == 2
        floors[name] = fitted.factors["t0_scale"]
        other = level | {"sku": load_sku("b200"), "engine": "sglang"}
        kept = fitted_level(**other, directory=elsewhere / name)
        assert kept.factors == pytest.approx(fitted_level(**other).factors)
    assert floors["slow"] > 1.1 * floors["fast"]
    assert floors["fast"] != shipped.factors["t0_scale"]

    provenance = yaml.safe_load((elsewhere / "slow" / "provenance.yaml").read_text("utf-8"))
    own_level = provenance["levels"]["deepseek_v4/vllm/b300/2026-09-01"]
    assert own_level["runs"] == 2
    assert own_level["t0_scale"]["log_sd"] < own_level["t0_scale"]["log_sd_before"]
    errors = provenance["median_errors"]
    assert errors["after"]["tpot"] < errors["before"]["tpot"]

    # more runs go on from the fit that is there
    assert run(["calibrate", "fit", "own.csv", "--from", "slow", "--out", "more"]) == 0
    more = fitted_level(**level, directory=elsewhere / "more")
    assert more.factors["t0_scale"] > floors["slow"]
    assert more.runs == 4

    assert run(["explain", "--sku", "b300", "--concurrency", "4", "--calibration", "slow"]) == 0
    assert "vllm@2026-09-01 of slow (calibrated)" in capsys.readouterr().out
    table = "model,sku,engine,isl,osl,concurrency,decode_tp,num_gpus,date\n"
    table += "deepseek-v4-pro,b300,vllm,1024,1024,1,8,8,2026-09-01\n"
    (elsewhere / "table.csv").write_text(table, encoding="utf-8")
    predicted = {}
    for name in floors:
        flags = ["--out", f"{name}.csv", "--calibration", name, "--workers", "1"]
        assert run(["predict", "table.csv", *flags]) == 0
        assert f"calibration {name}" in capsys.readouterr().err
        predicted[name] = pd.read_csv(elsewhere / f"{name}.csv")["pred_median_tpot_s"].iloc[0]
    assert predicted["fast"] < predicted["slow"]


@pytest.mark.slow
def test_a_validation_reuses_a_fit_and_writes_the_page(elsewhere, published, capsys, monkeypatch):
    monkeypatch.setattr(tasks, "source_checkout", lambda: None)
    assert run(["calibrate", "fit", "--out", "fitted", "--workers", "1"]) == 0
    capsys.readouterr()
    flags = ["--fit", "fitted", "--held", "--bands", "bands", "--workers", "1"]
    assert run(["calibrate", "validate", *flags, "--out", "page"]) == 0
    out = capsys.readouterr().out
    assert "one anchor run of the series" in out
    text = (elsewhere / "page" / "ACCURACY.md").read_text(encoding="utf-8")
    assert "How far predictions are from 8 measured runs" in text
    assert "| anchor | structure |" in text
    assert "| specification | structure |" in text
    for name in ("series", "sku", "kernels"):
        picture = elsewhere / "page" / "images" / f"accuracy_{name}.png"
        assert f"](images/{picture.name})" in text
        assert picture.read_bytes().startswith(b"\x89PNG")

    selection = select_for_fit(published)
    fit, seconds = load_fit(selection, directory=elsewhere / "fitted")
    assert seconds > 0.0
    assert len(fit.observations) == 8
    with pytest.raises(UserError, match="belongs to a fit of other runs"):
        load_fit(select_for_fit(published.head(6)), directory=elsewhere / "fitted")
    spoil(elsewhere / "fitted" / STATE_FILE)
    with pytest.raises(UserError, match="was made by another simulator"):
        load_fit(selection, directory=elsewhere / "fitted")


def spoil(path):
    """Responses that the simulator does not give."""
    import numpy as np

    state = dict(np.load(path))
    np.savez_compressed(path, **state | {"responses": state["responses"] + 0.1})
