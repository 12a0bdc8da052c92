import pandas as pd
import pytest

from calibration.measured.runs import load_measured
from calibration.measured.selection import (
    FITTED_PER_BUILD,
    LARGEST_FITTED,
    LOADED,
    UNDATED_TRUST,
    UNRECORDED_TRUST,
    select_for_fit,
    undated_trust,
)


@pytest.fixture(scope="module")
def runs():
    return load_measured(models=["deepseek-v4-pro"])


@pytest.fixture(scope="module")
def selection(runs):
    return select_for_fit(runs)


def test_every_run_either_enters_or_has_a_reason(runs, selection):
    entered, out = set(selection.runs["run_id"]), set(selection.excluded["run_id"])
    assert entered | out == set(runs["run_id"])
    assert not entered & out
    assert (selection.excluded["reason"] != "").all()


def test_observations_point_at_their_runs(selection):
    together = [*selection.observations, *selection.unfitted]
    assert sorted(each.row for each in together) == list(selection.runs.index)
    for each in together:
        assert each.series == selection.runs.at[each.row, "series"]
        assert each.configuration.concurrency == selection.runs.at[each.row, "concurrency"]
    trust = selection.fitted_runs["trust"].to_numpy()
    assert selection.weights == pytest.approx(trust)


def test_the_largest_published_runs_are_predicted_only(runs, selection):
    reasons = dict(zip([o.row for o in selection.unfitted], selection.why_unfitted, strict=True))
    for each in selection.unfitted:
        large = each.configuration.concurrency > LARGEST_FITTED
        assert reasons[each.row].startswith("more than" if large else "between fitted")
    assert max(each.configuration.concurrency for each in selection.observations) <= LARGEST_FITTED
    own = runs[(runs["concurrency"] > LARGEST_FITTED) & (runs["quality"] == "ok")].head(2)
    mine = select_for_fit(runs.iloc[:0], own=own)
    assert not mine.unfitted
    assert len(mine.observations) == len(own)


def layouts_of(observation):
    """A build in one resolved layout: SGLang's TP8 on MI355X is DPATP8 from 128 clients on."""
    return observation.build, *(p.layout.label for p in observation.configuration.pools)


def test_a_build_is_fitted_at_both_ends_and_where_it_is_usually_loaded(selection):
    of_build = {}
    for each in [*selection.observations, *selection.unfitted]:
        if each.configuration.concurrency <= LARGEST_FITTED:
            of_build.setdefault(layouts_of(each), set()).add(each.configuration.concurrency)
    fitted = {}
    for each in selection.observations:
        fitted.setdefault(layouts_of(each), set()).add(each.configuration.concurrency)
    assert max(map(len, of_build.values())) > FITTED_PER_BUILD
    for build, clients in of_build.items():
        usual = [each for each in clients if each <= LOADED] or clients
        loaded = set() if max(usual) == max(clients) else {max(clients)}
        assert len(fitted[build]) == min(len(usual), FITTED_PER_BUILD) + len(loaded)
        assert max(usual) in fitted[build]
        assert {min(clients), max(clients)} <= fitted[build]


def test_suspect_runs_and_conversations_stay_out(runs, selection):
    out = selection.excluded.set_index("run_id")["reason"]
    suspect = runs.loc[runs["quality"] == "suspect", "run_id"]
    assert out[suspect].str.startswith("suspect: ").all()
    conversations = runs.loc[runs["isl"].isna() & (runs["quality"] == "ok"), "run_id"]
    assert len(conversations)
    assert out[conversations].str.contains("conversations").all()


def test_undated_medians_count_less(selection):
    reasons = selection.fitted_runs["trust_reasons"]
    undated = selection.fitted_runs["date"] == ""
    assert reasons[undated].str.startswith("undated median").all()
    assert not reasons[~undated].str.contains("undated").any()
    low, high = UNDATED_TRUST
    weights = selection.weights[reasons == "undated median"]
    assert low <= weights.min() <= weights.max() <= high
    shares = selection.fitted_runs.loc[reasons == "undated median", "image_share"]
    assert weights == pytest.approx([undated_trust(share) for share in shares])
    assert undated_trust(float("nan")) < undated_trust(1.0) == pytest.approx(high)
    assert selection.weights[reasons == ""] == pytest.approx(1.0)
    assert (reasons == "").any()


def test_runs_of_workers_that_span_nodes_count_as_others():
    """Their network is priced (communication.md), so that they need no distrust of their own."""
    runs = load_measured(models=["deepseek-r1"])
    selection = select_for_fit(runs[runs["sku"] == "h100"])
    assert selection.fitted_runs["layout"].str.contains("16").all()
    dated = selection.fitted_runs["date"] != ""
    assert selection.weights[dated.to_numpy()] == pytest.approx(1.0)


def test_runs_whose_settings_are_not_recorded_count_less(selection):
    messages = [" ".join(each.messages) for each in selection.observations]
    unknown = [number for number, text in enumerate(messages) if "not recorded" in text]
    assert len(unknown) > 20
    assert (selection.weights[unknown] <= UNRECORDED_TRUST).all()


def test_figures_that_a_source_warns_of_do_not_enter(selection):
    source = selection.runs["source"]
    cookbook = [each for each in selection.observations if source[each.row] == "sglang-cookbook"]
    assert cookbook
    for each in cookbook:
        throughput, tpot, ttft = each.measured
        assert tpot == tpot
        assert throughput != throughput
        assert ttft != ttft


def test_own_runs_count_in_full_whatever_they_are(runs):
    own = runs[(runs["date"] == "") & (runs["quality"] == "ok") & (runs["sku"] == "b200")].head(3)
    selection = select_for_fit(runs.iloc[:0], own=own)
    assert selection.weights == pytest.approx(1.0)
    assert selection.runs["own"].all()
    both = select_for_fit(runs[runs["sku"] == "h200"], own=own)
    mine = both.fitted_runs["own"].to_numpy(bool)
    assert both.weights[mine] == pytest.approx(1.0)
    assert (both.weights[~mine] < 1.0).any()


def test_a_run_that_cannot_be_configured_says_why(runs):
    small = runs[(runs["quality"] == "ok") & (runs["concurrency"] <= LARGEST_FITTED)]
    broken = small.head(2).copy()
    broken.loc[broken.index[0], ["decode_tp", "decode_gpus", "gpus"]] = 3.0
    broken.loc[broken.index[0], "osl"] = float("nan")
    selection = select_for_fit(broken)
    assert len(selection.observations) == 1
    assert selection.excluded["reason"].tolist() == ["osl is blank; fill it in"]


def test_rows_that_cannot_be_simulated_are_named_and_stop_no_others(runs):
    few = runs[(runs["sku"] == "b200") & (runs["engine"] == "sglang") & (runs["quality"] == "ok")]
    few = few[few["precision"] == "fp4"].sort_values("concurrency").head(12).copy()
    few.loc[few.index[[2, 5]], "precision"] = "int3"
    few.loc[few.index[7], ["decode_tp", "decode_ep", "decode_gpus", "gpus"]] = 1.0
    selection = select_for_fit(few)
    assert len(selection.observations) + len(selection.unfitted) == 9
    precision, memory = selection.refused_lines
    places = few["place"].to_list()
    lines = ", ".join(places[at].removeprefix("line ") for at in (2, 5))
    assert precision.startswith(f"{few['file'].iloc[0]}, lines {lines}: precision is int3; ")
    assert f"{few['file'].iloc[0]}, {places[7]}: " in memory
    assert "does not fit" in memory


def test_every_published_label_of_precision_enters_or_is_named(runs, selection):
    """Six published runs carry NVFP4; they once ended every fit."""
    labels = set(runs["precision"])
    entered = {each.configuration.precision for each in selection.observations}
    named = " ".join(selection.refused_lines)
    assert labels - entered <= {label for label in labels if f"precision is {label}" in named}


@pytest.mark.slow
def test_runs_on_disk_are_fitted_or_named_with_a_reason():
    """Runs on disk - fitted - left out with a reason = 0, over all models."""
    import csv

    from calibration.measured.runs import measurements_folder

    on_disk = 0
    for path in measurements_folder().glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            on_disk += sum(1 for _ in csv.DictReader(file))
    selection = select_for_fit(load_measured())
    named = selection.left_out
    assert (named["reason"].str.len() > 5).all()
    assert on_disk - len(selection.observations) - len(named) == 0
    assert len(selection.excluded) < 0.25 * on_disk


def test_what_is_given_is_not_changed(runs):
    few = runs.head(40)
    before = few.copy()
    select_for_fit(few)
    pd.testing.assert_frame_equal(few, before)


def test_a_label_of_two_layouts_is_fitted_at_the_ends_of_each(selection):
    """SGLang on MI355X of 2026-05-21 is labelled TP8 throughout; its recipe has DPATP8 from 128
    clients on, so that 64 clients are the loaded end of TP8.
    """
    fitted = {
        (each.configuration.pools[0].layout.label, each.configuration.concurrency)
        for each in selection.observations
        if each.level.groups[-1] == "deepseek_v4/sglang/mi355x/2026-05-21"
    }
    assert {("TP8", 1), ("TP8", 64), ("DPATP8", 256)} <= fitted
