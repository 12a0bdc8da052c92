"""Baseline, rank agreement, targets and tables of a validation, on made-up left-out runs."""

import numpy as np
import pandas as pd
import pytest
from calibration_cases import level, linear_fit

from calibration.fit.effects import FITTED
from calibration.measured.selection import Selection
from calibration.pages.accuracy_tables import target_cells, worst_rows
from calibration.validation.bands import Band
from calibration.validation.baseline import nearest_label
from calibration.validation.holdout_log import read_looks, record_look
from calibration.validation.left_out import SCHEMES, predict_left_out
from calibration.validation.ranking import layout_agreement, sku_agreement
from calibration.validation.targets import AccuracyTarget, targets_of
from calibration.validation.validate import Validation, frontier_table, score_table
from calibration.validation.worst_series import explain_miss, worst_series

LABEL = {
    "model": "deepseek-v4-pro",
    "engine": "vllm",
    "software": "vllm",
    "precision": "fp4",
    "speculation": "none",
    "disaggregated": False,
    "dp_attention": False,
    "gpus": 8.0,
    "isl": 8192.0,
    "osl": 1024.0,
    "layout": "TP8",
    "date": "",
    "level_date": "median-2026-07",
    "source": "somewhere",
    "vendor": "nvidia",
    "generation": "blackwell",
    "sku": "b200",
    "concurrency": 8.0,
    "split": "structure",
    "basis": "own runs",
    "scheme": "series",
    "fold": "f",
    "pools": "TP",
    "own": False,
    "trust": 1.0,
    "trust_reasons": "",
    "series": "s",
    "sweep": "w",
    "frontier": "front",
}


def runs(*changes):
    """Left-out runs: throughput 100, TPOT 10 ms and TTFT 1 s unless stated, predicted exactly."""
    figures = {"throughput": np.log(100.0), "tpot": np.log(0.01), "ttft": 0.0}
    base = {
        f"{side}_{name}": value
        for side in ("measured", "predicted", "copied")
        for name, value in figures.items()
    }
    rows = [{"run_id": f"r{n}", **LABEL, **base, **change} for n, change in enumerate(changes)]
    return pd.DataFrame(rows)


def test_the_nearest_label_is_copied_from_what_stays_in():
    table = runs(
        {"measured_throughput": 1.0},
        {"sku": "b300", "measured_throughput": 2.0},
        {"sku": "h200", "generation": "hopper", "measured_throughput": 3.0},
        {"layout": "DEP8", "concurrency": 16.0, "measured_throughput": 4.0},
        {"osl": 1.0, "measured_throughput": 5.0},
    )
    copied = nearest_label(table, rows=[0, 0, 0], without=[[0], [0, 1], [0, 1, 2]])
    assert copied[:, 0].tolist() == [2.0, 3.0, 4.0]


def test_equally_near_labels_give_their_median():
    table = runs({}, {"measured_throughput": 1.0}, {"measured_throughput": 4.0})
    assert nearest_label(table, rows=[0], without=[{0}])[0, 0] == 2.5


def test_nothing_is_copied_where_nothing_is_left():
    table = runs({}, {"measured_ttft": np.nan})
    found = nearest_label(table, rows=[0, 0], without=[{0, 1}, {0}])
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1, :2]).all()
    assert np.isnan(found[1, 2])


BANDS = {"sibling": {"total_tput_per_gpu": Band(0.9, 1.1, 50)}}


def pair(first, second, *, predicted):
    sides = zip((("b200", first), ("b300", second)), predicted, strict=True)
    return [
        {
            "sku": sku,
            "basis": "sibling",
            "measured_throughput": np.log(measured),
            "predicted_throughput": np.log(said),
        }
        for (sku, measured), said in sides
    ]


def test_pairs_count_as_apart_only_where_bands_do_not_overlap():
    near = sku_agreement(runs(*pair(100, 120, predicted=(100, 110))), BANDS)
    assert (near.pairs, near.right, near.apart) == (1, 1, 0)
    far = sku_agreement(runs(*pair(100, 120, predicted=(100, 150))), BANDS)
    assert (far.apart, far.right_apart) == (1, 1)
    wrong = sku_agreement(runs(*pair(100, 120, predicted=(150, 100))), BANDS)
    assert (wrong.right, wrong.apart, wrong.right_apart) == (0, 1, 0)
    assert wrong.share_apart == 0.0


def test_without_bands_no_pair_is_apart():
    found = sku_agreement(runs(*pair(100, 120, predicted=(100, 900))), {})
    assert (found.pairs, found.apart) == (1, 0)
    assert np.isnan(found.share_apart)


def test_layouts_are_compared_on_one_sku_and_skus_at_one_layout():
    rows = [
        {"layout": "TP8", "measured_throughput": 1.0, "predicted_throughput": 1.0},
        {"layout": "DEP8", "measured_throughput": 2.0, "predicted_throughput": 2.0},
        {"layout": "DEP8", "sku": "b300", "measured_throughput": 3.0, "predicted_throughput": 1.5},
        {"layout": "DEP8", "concurrency": 16.0, "measured_throughput": 9.0},
    ]
    layouts, skus = layout_agreement(runs(*rows), BANDS), sku_agreement(runs(*rows), BANDS)
    assert (layouts.pairs, layouts.right) == (1, 1)
    assert (skus.pairs, skus.right) == (1, 0)


def test_errors_are_grouped_and_the_baseline_is_scored_beside():
    table = runs(
        {"predicted_throughput": np.log(110.0), "copied_throughput": np.log(150.0)},
        {"predicted_throughput": np.log(80.0), "copied_throughput": np.log(150.0)},
        {"software": "atom", "measured_ttft": np.nan},
    )
    scores = score_table(table, by=["software"]).set_index("software")
    assert scores.at["vllm", "throughput_median"] == pytest.approx(0.15)
    assert scores.at["vllm", "throughput_within"] == 1.0
    assert scores.at["atom", "ttft_runs"] == 0
    assert np.isnan(scores.at["atom", "ttft_median"])
    copied = score_table(table, by=["software"], baseline=True).set_index("software")
    assert copied.at["vllm", "throughput_median"] == pytest.approx(0.5)


def test_frontiers_compare_the_same_runs_on_both_sides():
    def point(speed, rate, *, factor=1.2):
        tpot, throughput = np.log(1.0 / speed), np.log(rate)
        sides = {f"{side}_tpot": tpot for side in ("measured", "predicted", "copied")}
        return {
            **sides,
            "measured_throughput": throughput,
            "predicted_throughput": throughput + np.log(factor),
            "copied_throughput": throughput,
        }

    table = runs(point(20.0, 400.0), point(40.0, 100.0), {"measured_tpot": np.nan})
    found = frontier_table(table)
    assert found["runs"].tolist() == [2]
    assert found["error"].iloc[0] == pytest.approx(0.2)
    assert found["copied_error"].iloc[0] == pytest.approx(0.0, abs=1e-9)


def test_verdicts():
    def verdict(value, **asked):
        return AccuracyTarget(name="x", value=value, runs=1, **asked).verdict

    assert verdict(0.07, must=0.12, aim=0.08) == "aim"
    assert verdict(0.10, must=0.12, aim=0.08) == "must"
    assert verdict(0.13, must=0.12, aim=0.08) == "missed"
    assert verdict(0.31, aim=0.30) == "aim missed"
    assert verdict(0.90, must=0.95, more=True) == "missed"
    assert verdict(0.97, must=0.95, more=True) == "must"
    assert verdict(0.80, low=0.85, must=0.95) == "missed"
    assert verdict(0.90, low=0.85, must=0.95) == "must"
    assert verdict(0.99, low=0.85, must=0.95) == "missed"
    assert verdict(None, must=0.1) == "no data"
    assert verdict(0.5) == "reported"


def validation(table):
    return Validation(
        predictions=table,
        cells={},
        bands=BANDS,
        coverage=pd.DataFrame(columns=["basis", "metric", "runs", "covered_by_others"]),
        unanswered=pd.DataFrame(columns=["run_id", "series", "split", "reason"]),
        fit_s=100.0,
        simulated=True,
    )


def test_bars_keep_apart_what_is_measured_apart():
    off = {"predicted_throughput": np.log(110.0)}
    table = runs(
        off,
        {**off, "split": "held", "predicted_throughput": np.log(130.0)},
        {"pools": "disaggregated", "disaggregated": True, "predicted_throughput": np.log(120.0)},
        {"basis": "sibling", "predicted_throughput": np.log(500.0)},
        {"scheme": "anchor", "predicted_throughput": np.log(104.0)},
        {"scheme": "sku", "basis": "sibling", "predicted_throughput": np.log(114.0)},
        {"pools": "data-parallel", "dp_attention": True, "predicted_ttft": np.log(1.5)},
    )
    targets = {target.name: target for target in targets_of(validation(table), split="structure")}
    # the sibling's layout is no run of the same SKU and engine; the held one is another part
    assert targets["unseen layout, V4 and R1, tok/s/GPU"].runs == 2
    assert targets["unseen layout, V4 and R1, tok/s/GPU"].value == pytest.approx(0.05)
    assert targets["unseen layout, TTFT under TP"].value == pytest.approx(0.0)
    assert targets["unseen layout, TTFT data-parallel"].value == pytest.approx(0.5)
    assert targets["disaggregated, unseen layout, tok/s/GPU"].value == pytest.approx(0.2)
    assert targets["one anchor run of the series, tok/s/GPU"].value == pytest.approx(0.04)
    assert targets["SKU left out, sibling known, tok/s/GPU"].value == pytest.approx(0.14)
    held = {target.name: target for target in targets_of(validation(table), split="held")}
    assert held["unseen layout, V4 and R1, tok/s/GPU"].value == pytest.approx(0.3)


def test_unseen_kernels_are_told_by_sku_and_by_larger_group():
    other = {"basis": "other kernels", "predicted_throughput": np.log(120.0)}
    table = runs(
        {**other, "scheme": "sku", "sku": "h200", "fold": "h200"},
        {**other, "scheme": "kernels", "sku": "h200", "fold": "hopper"},
        {**other, "scheme": "kernels", "sku": "b200", "fold": "blackwell"},
        {**other, "scheme": "kernels", "sku": "b300", "fold": "blackwell"},
    )
    names = [
        target.name
        for target in targets_of(validation(table), split="structure")
        if target.name.startswith("unseen kernels")
    ]
    assert {name.split(":")[1].split(",")[0].strip() for name in names} == {
        "h200 left out",
        "all of blackwell left out",
    }


def test_the_worst_series_come_first_and_say_why():
    level_off = [{"series": "level", "predicted_tpot": np.log(0.016)} for _ in range(3)]
    shape = [
        {"series": "shape", "predicted_tpot": np.log(0.01 * factor)} for factor in (0.7, 1.0, 1.3)
    ]
    table = runs(*level_off, *shape, {"series": "good"})
    found = worst_series(table)
    assert found["series"].tolist() == ["level", "shape", "good"]
    assert "level, not its shape: +60%" in found["why"].iloc[0]
    assert "its shape" in found["why"].iloc[1]
    assert found["why"].iloc[2] == "a single run"
    assert "level" in worst_rows(validation(table))


def test_reasons_name_doubtful_settings_and_missing_relatives():
    table = runs(
        {"basis": "sibling", "trust_reasons": "undated median; max_num_seqs not recorded: a script"}
    )
    why = explain_miss(table)
    assert "no other run of its engine" in why
    assert "max_num_seqs not recorded" in why
    assert "undated medians" in why


def test_looks_at_the_held_part_are_counted_and_shown(tmp_path):
    import datetime as dt

    targets = [AccuracyTarget(name="unseen layout, TPOT", value=0.1234, runs=5, must=0.12)]
    for count in (1, 2):
        assert record_look(tmp_path, date=dt.date(2026, 9, 1), source="x", targets=targets) == count
    looks = read_looks(tmp_path)
    assert [look["fit"] for look in looks] == ["x", "x"]
    (cells,) = target_cells(targets, held=[], looks=looks)
    assert cells[-1] == "12.3 %"
    (scored,) = target_cells(
        targets, held=[AccuracyTarget(name=targets[0].name, value=0.2, runs=1)], looks=looks
    )
    assert scored[-1] == "20.0 %"
    assert read_looks(tmp_path / "nowhere") == []


LEVELS = [level(), level(sku="b300"), level(sku="h200"), level(engine="sglang")]


@pytest.fixture(scope="module")
def linear():
    """A fit with linear responses, and a selection that its runs could have come from."""
    fit = linear_fit(LEVELS, lambda at: np.full(len(FITTED), 0.1), per_level=3)
    names = [key for key in LABEL if key not in ("scheme", "fold", "basis", "pools")]
    table = runs(
        *[
            {"sku": o.level.sku, "engine": o.level.engine, "series": o.series}
            for o in fit.observations
        ]
    )
    selection = Selection(
        runs=table[["run_id", *names]],
        observations=fit.observations,
        weights=fit.weights,
        unfitted=[],
        why_unfitted=[],
        excluded=pd.DataFrame(columns=["run_id", "source", "series", "split", "reason"]),
    )
    return fit, selection


@pytest.mark.parametrize("scheme", SCHEMES)
def test_linearised_predictions_of_linear_runs_are_those_of_a_refit(linear, scheme):
    """The simulator, were it linear, would say what the linearised responses say."""
    fit, selection = linear

    def simulator(*, observations, logs, absent, **_):
        rows = [fit.observations.index(each) for each in observations]
        moved = logs - fit.logs[rows]
        return fit.responses[rows] + np.einsum("omp,op->om", fit.slopes[rows], moved)

    quick = predict_left_out(fit, selection, scheme=scheme, simulate="none")
    slow = predict_left_out(fit, selection, scheme=scheme, simulator=simulator)
    columns = [f"predicted_{name}" for name in ("throughput", "tpot", "ttft")]
    np.testing.assert_allclose(quick[columns], slow[columns])
    # a vendor or an architecture is left out only where another stays
    assert set(quick["scheme"]) == ({scheme} if scheme not in ("vendor", "model") else set())


def test_what_is_left_out_loses_its_kernel_tables_too(linear):
    fit, selection = linear
    asked = {}

    def simulator(*, observations, absent, **_):
        for each, missing in zip(observations, absent, strict=True):
            asked.setdefault(missing, set()).add(each.level.sku)
        return np.zeros((len(observations), 3))

    for scheme, expected in (
        ("sku", {"sku": {"b200", "b300", "h200"}}),
        ("kernels", {"generation": {"b200", "b300", "h200"}}),
        ("sku, kernels measured", {None: {"b200", "b300", "h200"}}),
        ("series", {None: {"b200", "b300", "h200"}}),
    ):
        asked.clear()
        predict_left_out(fit, selection, scheme=scheme, simulator=simulator)
        assert asked == expected


def test_runs_too_large_to_fit_are_predicted_as_their_fold_is(linear):
    from dataclasses import replace
    from types import SimpleNamespace

    fit, selection = linear
    template = fit.observations[0]
    pools = template.configuration.pools
    large = [
        replace(template, configuration=SimpleNamespace(concurrency=4096, pools=pools)),
        replace(template, series="a series of its own"),
        replace(template, level=level(engine="atom", sku="mi355x"), series="of a strange level"),
    ]
    both = replace(selection, unfitted=large, why_unfitted=["large"] * len(large))
    asked = {}

    def simulator(*, observations, logs, **_):
        asked.update({o.series: row for o, row in zip(observations, logs, strict=True)})
        return np.zeros((len(observations), 3))

    series = predict_left_out(fit, both, scheme="series", simulator=simulator)
    assert len(series) == len(fit.observations) + 3
    assert asked["a series of its own"] == pytest.approx(fit.level_logs(template.level))
    fold = series[series["fold"] == template.series]
    assert len(fold) == 4
    assert fold["basis"].nunique() == 1
    assert series["basis"].iloc[-1] == "other kernels"
    # of a SKU that is left out, a level without fitted runs cannot be told
    sku = predict_left_out(fit, both, scheme="sku", simulator=simulator)
    assert len(sku) == len(fit.observations) + 2
    quick = predict_left_out(fit, both, scheme="series", simulate="none")
    assert len(quick) == len(fit.observations)
