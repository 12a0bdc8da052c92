"""Comparisons: curves at equal speed, dollars, power, ratios with bands, and what is refused."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.analysis.pareto import Frontier
from simulator.cli.main import run
from simulator.studies.compare import ratios
from simulator.studies.compare.ratios import ratio_band
from simulator.studies.compare.request import build_systems
from simulator.studies.compare.run import compare, run_comparison
from simulator.studies.compare.sides import common_speeds, crossings, side_of, side_row
from simulator.studies.compare.text import unpriced_lines
from workloads.errors import UserError

FLAGS = {"tp": 8, "ep": 8, "concurrency": [1, 8, 64], "economics": "2026-04"}


def runs_of(x, y, *, band=None, gpus=16, prefill=8, isl=8.0, **columns):
    """A table of runs with the columns that a comparison reads."""
    x, y = np.array(x, dtype=float), np.array(y, dtype=float)
    share = 1 / (isl + 1)
    tput_band, tpot_band = band or ((np.nan, np.nan), (np.nan, np.nan))
    return pd.DataFrame(
        {
            "interactivity": x,
            "median_tpot_s": 1 / x,
            "total_tput_per_gpu": y,
            "input_tput_per_gpu": y * (1 - share),
            "output_tput_per_gpu": y * share,
            "input_tput_per_prefill_gpu": y * (1 - share) * gpus / prefill,
            "output_tput_per_decode_gpu": y * share * gpus / (gpus - prefill),
            "total_tput_per_gpu_lo": y * tput_band[0],
            "total_tput_per_gpu_hi": y * tput_band[1],
            "median_tpot_s_lo": 1 / x * tpot_band[0],
            "median_tpot_s_hi": 1 / x * tpot_band[1],
            "p90_ttft_s": 1.0,
            "meets_limits": True,
            "label": [f"TP{n}" for n in range(1, len(x) + 1)],
            "concurrency": range(1, len(x) + 1),
            "bottleneck": "decode: HBM bandwidth",
            "kind": "specification",
            "sku": "gb200",
            "engine": "vllm",
            "spec": "none",
        }
        | columns
    )


def sides_of(*runs, skus=("gb200", "b200", "mi355x"), denominator="all", economics="2026-04"):
    systems = build_systems(skus[: max(2, len(runs))], flags={"economics": economics})
    return [
        side_of(each, table, denominator=denominator)
        for each, table in zip(systems, runs, strict=False)
    ]


def test_a_curve_is_the_frontier_rule_and_the_monotone_cubic():
    x, y = [60, 40, 30, 20, 35], [100.0, 900, 1500, 4000, 800]
    (side,) = sides_of(runs_of(x, y))
    expected = Frontier.of(x, y)
    assert side.curves["total"].x.tolist() == [20, 30, 40, 60]
    assert side.best["label"].tolist() == ["TP4", "TP3", "TP2", "TP1"]
    grid = np.linspace(20, 60, 101)
    np.testing.assert_allclose(side.curves["total"].values(grid), expected.values(grid), rtol=0)


def test_a_curve_goes_on_where_one_deployment_serves_the_speeds_between():
    """TP2 with 12 clients gives 50 tok/s/user at 1,500: a point of TP1 there at 1,100 is none."""
    x, y = [40.0, 60.0, 50.0], [2000.0, 1000.0, 1100.0]
    table = runs_of(x, y).assign(label=["TP2", "TP2", "TP1"], concurrency=[16, 8, 4])
    (side,) = sides_of(table)
    assert side.curves["total"].x.tolist() == [40, 60]
    assert side.curves["total"].at(50.0) == pytest.approx(1500)
    assert side.passed_over == 1
    (apart,) = sides_of(table.assign(concurrency=[64, 8, 4]))  # no loads between are known
    assert apart.curves["total"].x.tolist() == [40, 50, 60]
    assert apart.passed_over == 0


def test_dollars_and_power_follow_from_the_interpolated_throughput():
    first, second = sides_of(runs_of([20, 60], [9000, 900]), runs_of([20, 60], [4500, 900]))
    row = side_row(second, first, x=40.0, tier="hyperscaler")
    # B200 in April 2026: 1.95 $/h and 2.17 kW; GB200: 2.21 $/h and 2.10 kW; both curves are lines
    assert row["total_tput_per_gpu"] == pytest.approx(2700)
    assert row["input_tput_per_gpu"] == pytest.approx(2400)
    assert row["output_tput_per_gpu"] == pytest.approx(300)
    assert row["usd_per_million_tokens"] == pytest.approx(1.95e6 / 3600 / 2700)
    assert row["usd_per_million_input_tokens"] == pytest.approx(1.95e6 / 3600 / 2400)
    assert row["usd_per_million_output_tokens"] == pytest.approx(1.95e6 / 3600 / 300)
    assert row["tokens_per_s_per_mw"] == pytest.approx(2700 / 2.17e-3)
    assert row["joules_per_token"] == pytest.approx(2170 / 2700)
    assert row["ratio"] == pytest.approx(2700 / 4950)
    assert row["usd_ratio"] == pytest.approx((1.95 / 2700) / (2.21 / 4950))
    assert row["mw_ratio"] == pytest.approx((2700 / 2.17) / (4950 / 2.10))
    assert row["between"] == "TP1 c1 to TP2 c2"


def test_pool_denominators_are_those_of_the_pool_that_makes_the_tokens():
    table = runs_of([20, 60], [9000, 900], gpus=32, prefill=24)
    (every,) = sides_of(table)
    (pool,) = sides_of(table, denominator="pool")
    assert pool.curves["total"].at(20) == every.curves["total"].at(20)
    assert pool.curves["input"].at(20) == pytest.approx(every.curves["input"].at(20) * 32 / 24)
    assert pool.curves["output"].at(20) == pytest.approx(every.curves["output"].at(20) * 32 / 8)


def test_tiers_have_their_own_prices_and_a_missing_one_leaves_dollars_blank():
    table = runs_of([20, 60], [9000, 900])
    (april,) = sides_of(table)
    (september,) = sides_of(table, economics="2026-09")
    for side, tier, price in (
        (april, "hyperscaler", 2.21),
        (april, "neocloud", 2.75),
        (april, "rental", 3.30),
        (september, "neocloud", None),
    ):
        row = side_row(side, side, x=20.0, tier=tier)
        expected = None if price is None else pytest.approx(price * 1e6 / 3600 / 9000)
        assert row["usd_per_million_tokens"] == expected
        assert row["tokens_per_s_per_mw"] is not None


@pytest.mark.parametrize("x", [60.01, 1000.0])
def test_beyond_a_curve_nothing_is_said_but_where_it_reaches(x):
    first, second = sides_of(runs_of([1, 2000], [9000, 10]), runs_of([20, 60], [4500, 900]))
    row = side_row(second, first, x=x, tier="hyperscaler")
    assert not row["reachable"]
    assert (row["slowest"], row["fastest"]) == (20, 60)
    figures = [name for name in row if "tok" in name or "tput" in name or "ratio" in name]
    assert all(row[name] is None for name in figures)
    assert side_row(first, second, x=x, tier="hyperscaler")["ratio"] is None


def test_below_a_curve_its_slowest_run_serves_at_no_less():
    first, second = sides_of(runs_of([1, 2000], [9000, 10]), runs_of([20, 60], [4500, 900]))
    row = side_row(second, first, x=5.0, tier="hyperscaler")
    assert row["total_tput_per_gpu"] == 4500
    assert row["ratio"] == pytest.approx(4500 / first.curves["total"].at(5.0))
    assert row["slowest"] == 20
    assert side_row(first, second, x=5.0, tier="hyperscaler")["ratio"] == pytest.approx(
        first.curves["total"].at(5.0) / 4500
    )


def test_a_band_moves_both_axes_and_reaches_down_to_nothing_beyond_the_slow_curve():
    # throughput 0.8 to 1.25 times, TPOT 0.8 to 1.25 times: the low curve runs from 16 to 48
    (side,) = sides_of(runs_of([20, 60], [9000, 900], band=((0.8, 1.25), (0.8, 1.25))))
    low, high = side.band_at(40.0)
    line = np.interp([40 * 1.25, 40 / 1.25], [20, 60], [9000, 900])
    assert low == pytest.approx(0.8 * line[0])
    assert high == pytest.approx(1.25 * line[1])
    assert side.band_at(50.0)[0] == 0.0
    # slower than the fast curve's slowest run, which it can serve at no less
    assert side.band_at(20.0)[1] == pytest.approx(1.25 * 9000)


@pytest.fixture
def unpaired(monkeypatch):
    """Kinds of predictions whose ratios have not been judged in pairs."""
    monkeypatch.setattr(ratios, "ratio_factors", lambda **_: None)


def test_without_bands_there_is_no_interval(unpaired):
    first, second = sides_of(runs_of([20, 60], [9000, 900]), runs_of([20, 60], [4500, 900]))
    row = side_row(second, first, x=40.0, tier="hyperscaler")
    assert row["total_tput_per_gpu_lo"] is None
    assert row["ratio_lo"] is None
    assert row["apart"] is None


@pytest.mark.parametrize(("factor", "apart"), [(1.5, True), (1.3, False)])
def test_two_are_apart_when_the_band_of_their_ratio_leaves_out_one(unpaired, factor, apart):
    """Two bands of 0.8 to 1.25 give a ratio band of exp(+-0.316), 0.73 to 1.37."""
    band = ((0.8, 1.25), (1.0, 1.0))
    first, second = sides_of(
        runs_of([20, 60], [9000, 900], band=band),
        runs_of([20, 60], [9000 / factor, 900 / factor], band=band),
    )
    row = side_row(second, first, x=40.0, tier="hyperscaler")
    assert row["apart"] is apart
    width = math.exp(math.hypot(math.log(1.25), math.log(1.25)))
    assert row["ratio_lo"] == pytest.approx(1 / factor / width)
    assert row["ratio_hi"] == pytest.approx(1 / factor * width)


positive = st.floats(0.1, 1e4)
widths = st.floats(1.0, 5.0)


@settings(max_examples=100, deadline=None)
@given(positive, widths, widths, positive, widths, widths)
def test_a_ratios_band_holds_it_and_inverts_with_it(a, a_down, a_up, b, b_down, b_up):
    first, second = (a / a_down, a * a_up), (b / b_down, b * b_up)
    low, high = ratio_band(a, first, b, second)
    assert low <= a / b * (1 + 1e-12)
    assert high >= a / b * (1 - 1e-12)
    back = ratio_band(b, second, a, first)
    assert back[0] == pytest.approx(1 / high)
    assert back[1] == pytest.approx(1 / low)
    assert low >= first[0] / second[1] * (1 - 1e-12)
    assert high <= first[1] / second[0] * (1 + 1e-12)


def test_a_band_down_to_nothing_leaves_the_ratio_open():
    assert ratio_band(10, (0, 20), 5, (4, 6)) == (
        0.0,
        pytest.approx(2 * math.exp(math.hypot(math.log(2), math.log(5 / 4)))),
    )
    assert ratio_band(10, (8, 12), 5, (0, 6))[1] == math.inf


def test_curves_cross_where_they_are_equal():
    first, second = sides_of(runs_of([20, 60], [9000, 1000]), runs_of([10, 60], [5000, 2000]))
    (x,) = crossings(first, second)
    assert x == pytest.approx(7400 / 140, rel=1e-3)
    assert first.curves["total"].at(x) == pytest.approx(second.curves["total"].at(x), rel=1e-4)
    assert crossings(second, first) == (x,)
    assert crossings(first, first) == ()
    apart, _ = sides_of(runs_of([70, 90], [50, 10]), runs_of([20, 60], [9000, 1000]))
    assert crossings(apart, first) == ()


def test_the_default_speeds_are_round_and_within_the_reach_of_all():
    first, second = sides_of(runs_of([11, 83], [9000, 10]), runs_of([20.3, 117], [900, 1]))
    speeds = common_speeds([first, second])
    assert len(speeds) == 5
    assert all(20.3 <= x <= 83 for x in speeds)
    assert all(float(f"{x:.2g}") == x for x in speeds)


def test_a_ttft_limit_that_nothing_meets_says_what_is_met():
    table = runs_of([20, 60], [9000, 900], p90_ttft_s=[4.0, 3.0], meets_limits=False)
    with pytest.raises(UserError, match="lowest p90 TTFT is 3 s"):
        sides_of(table)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("compared")
    systems = build_systems(["mi355x:sglang@2026-04", "mi355x:sglang"], flags=FLAGS)
    return run_comparison(systems, at=[5, 20, 500], directory=directory, workers=1), directory


def test_two_dates_of_one_engine_are_two_systems(compared):
    result, _ = compared
    table = result.frame()
    assert table["system"].tolist() == ["mi355x:sglang@2026-04", "mi355x:sglang"] * 3
    early, late = result.sides
    assert early.runs["level"].unique().tolist() == ["sglang@2026-04-25"]
    assert late.curves["total"].y.max() > early.curves["total"].y.max()
    assert late.curves["total"].x.max() > early.curves["total"].x.max()
    assert not table.loc[table["interactivity"] == 500, "reachable"].any()


def test_a_comparison_interpolates_its_own_runs(compared):
    side = compared[0].sides[1]
    for knot, rate in zip(side.curves["total"].x, side.curves["total"].y, strict=True):
        assert side.curves["total"].at(knot) == pytest.approx(rate, rel=1e-12)
    assert set(side.curves["total"].y) <= set(side.runs["total_tput_per_gpu"])


def test_the_python_function_finds_the_runs_of_an_earlier_comparison(compared):
    result, directory = compared
    again = compare(
        "mi355x:sglang@2026-04", "mi355x:sglang", at=(5, 20, 500), out=directory, workers=1, **FLAGS
    )
    pd.testing.assert_frame_equal(again.frame(), result.frame())
    pd.testing.assert_frame_equal(again.runs(), result.runs())


def test_pictures_are_drawn_and_their_bytes_repeat(compared, tmp_path):
    result, _ = compared
    for draw in (result.plot, result.plot_ratio):
        one, two = tmp_path / "one.png", tmp_path / "two.png"
        draw(one)
        draw(two)
        assert one.read_bytes()[:4] == b"\x89PNG"
        assert one.read_bytes() == two.read_bytes()


def test_the_command_prints_unreachable_and_writes_its_files(compared, tmp_path, capsys):
    arguments = ["compare", "mi355x:sglang@2026-04", "mi355x:sglang", "--at", "5,20,500"]
    arguments += ["--tp", "8", "--ep", "8", "--concurrency", "1,8,64", "--economics", "2026-04"]
    arguments += ["--workers", "1", "--out", str(tmp_path)]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert text.count("unreachable") == (~compared[0].frame()["reachable"]).sum() >= 2
    assert "ratios over mi355x:sglang@2026-04" in text
    assert "hyperscaler price of economics 2026-04, over all GPUs" in text
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "runs",
        "comparison.csv",
        "points.csv",
        "refused.csv",
        "resolved.yaml",
        "summary.json",
        "frontier.png",
        "ratio.png",
    }
    assert run([*arguments, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["reference"] == "mi355x:sglang@2026-04"
    assert len(summary["table"]) == 6
    assert run([*arguments, "--csv", "--denominator", "pool"]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "comparison.csv").read_text()


def test_systems_may_be_scenario_files_and_chips_of_ones_own(tmp_path):
    scenario = tmp_path / "wide.yaml"
    scenario.write_text("sku: gb200\nengine: vllm\nep: 16\nisl: 1024\n")
    one, two = build_systems([str(scenario), "b200:sglang@2026-07"], flags={"osl": 512})
    assert one.settings.values["ep"] == (16,)
    assert one.settings.values["isl"] == (1024,)
    assert one.settings.values["osl"] == (512,)
    assert two.settings.values["engine"] == ("sglang@2026-07",)
    assert two.settings.values["isl"] == (8192,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gb200"], "needs two or more"),
        (["gb200", "gb200"], "is named twice"),
        (["gb200", "gb20"], "did you mean"),
        (["gb200", "b200:vlm"], "did you mean vllm"),
        (["gb200:vllm", "b200", "--engine", "vllm"], "engine is given beside"),
        (["gb200", "b200", "--at", "x"], "is not a list of numbers"),
        (["gb200", "b200", "--at", "0"], "is no speed"),
        (["gb200", "b200", "--denominator", "decode"], "denominator 'decode' is unknown"),
        (["gb200", "b200", "--tier", "spot"], "tier 'spot' is unknown"),
        (["gb200", "b200", "--json", "--csv"], "exclude each other"),
        (["gb200", "missing.yaml"], "missing.yaml"),
    ],
)
def test_user_errors_are_one_line_and_status_2(arguments, message, tmp_path, capsys):
    assert run(["compare", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_a_blank_price_or_power_is_explained():
    """Dollars of MI455X were blank beside VR200's without a word."""
    table = pd.DataFrame(
        {
            "system": ["vr200", "mi455x", "h100"],
            "reachable": [True, True, False],
            "usd_per_million_tokens": [0.05, np.nan, np.nan],
            "tokens_per_s_per_mw": [6e6, np.nan, np.nan],
        }
    )
    told = unpriced_lines(SimpleNamespace(table=table, tier="hyperscaler", economics="2026-09"))
    assert told == [
        "no hyperscaler price known in economics 2026-09: mi455x",
        "no power known in economics 2026-09: mi455x",
    ]


def test_a_system_is_one_curve():
    with pytest.raises(UserError, match="isl has several values"):
        build_systems(["gb200", "b200"], flags={"isl": [1024, 8192]})
