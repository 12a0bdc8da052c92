"""MI355X against B200, one node each, DeepSeek-V4-Pro FP4 8K/1K, SGLang, no MTP.

InferenceX-app, ``mi355x-deepseek-v4-pro-sglang-110x-in-26-days.mdx`` (2026-05-22). Data sheets:
MI355X has 1.60 times the memory, 1.00 times its bandwidth, 1.12 times the FP4 rate and 0.64 times
the scale-up bandwidth of B200, and yet B200 gave about five times as much at 15 to 30 tok/s/user.
"""

import pytest

from calibration.measured.runs import load_measured
from simulator.analysis.pareto import Frontier
from simulator.studies.compare.run import compare

pytestmark = pytest.mark.slow  # whole comparisons, a minute of one core

SPEEDS = (15.0, 20.0, 25.0, 30.0)
DATES = ("2026-05-21", "2026-05-17", "2026-05-04")
"""Levels of MI355X's software."""
CLIENTS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def mi355x_over_b200(b200, mi355x):
    result = compare(f"b200:{b200}", f"mi355x:{mi355x}", at=SPEEDS, gpus=8, concurrency=CLIENTS)
    table = result.frame()
    return table[table["system"] == f"mi355x:{mi355x}"].set_index("interactivity"), result


@pytest.fixture(scope="module")
def specification():
    return mi355x_over_b200("sglang@specification", "sglang@specification")


def test_a_prediction_from_the_specification_says_that_it_is_one(specification):
    """Nothing fitted to serving runs enters, and table and caption say so."""
    table, result = specification
    assert set(table["kind"]) == {"specification"}
    assert set(result.runs()["engine"]) == {"sglang@specification"}
    assert "(all specification)" in result.caption


def test_the_specification_has_the_two_side_by_side(specification):
    """Neither chip is twice the other at any speed, where the measurement has a factor of five;
    the band of the ratio holds 1, so the specification does not claim to rank them.
    """
    table, _ = specification
    assert (table["ratio"] > 0.5).all()
    assert (table["ratio"] < 2.0).all()
    assert (table["ratio_lo"] < 1.0).all()
    assert (table["ratio_hi"] > 1.0).all()


def test_the_specification_lands_between_the_ratios_of_the_data_sheets(specification):
    """B200 is 0.7 to 1.6 times MI355X by the specification, where software made it five times:
    1.4 to 1.5 when this was written, as kernel benchmarks, which the specification level includes,
    reach less of MI355X's data sheet than of B200's.
    """
    table, _ = specification
    assert (1.0 / table["ratio"]).between(0.7, 1.6).all()


def published_curve(sku, *, date=None):
    """Frontier of published SGLang runs without MTP on one node: tok/s/GPU over tok/s/user.

    Of B200 all there are to 512 clients. Beyond 32 no TPOT is published; there the output tokens
    that a user gets per second, TTFT included, stand in: a lower bound of the speed, which a
    published median TTFT of about 1 s puts within 2 % of it.
    """
    runs = load_measured(
        models=["deepseek-v4-pro"], skus=[sku], engines=["sglang"], speculation=["none"]
    )
    runs = runs[(runs["isl"] == 8192) & (runs["osl"] == 1024) & (runs["precision"] == "fp4")]
    runs = runs[(runs["decode_tp"] == 8) & (runs["quality"] == "ok")]
    if date is not None:
        runs = runs[runs["date"].astype(str) == date]
    runs = runs[runs["length_distribution"] == "uniform_0.8"]
    of_a_user = runs["total_tput_per_gpu"] * 8 / 9 / runs["concurrency"]
    speed = (1.0 / runs["median_tpot_s"]).fillna(of_a_user)
    return Frontier.of(speed, runs["total_tput_per_gpu"])


def published_gap(date):
    """B200 over MI355X of a date at each speed, from published runs."""
    b200, mi355x = published_curve("b200"), published_curve("mi355x", date=date)
    return {speed: b200.at(speed) / mi355x.at(speed) for speed in SPEEDS}


def simulated_gap(date):
    table, _ = mi355x_over_b200("sglang@2026-05-22", f"sglang@{date}")
    return (1.0 / table["ratio"]).to_dict()


@pytest.fixture(scope="module")
def gaps():
    """Simulated and published gap by date of MI355X's software and speed."""
    found = {date: (simulated_gap(date), published_gap(date)) for date in DATES}
    for date, (simulated, published) in found.items():
        for speed in SPEEDS:
            print(
                f"{date}, {speed:g} tok/s/user: B200 over MI355X {simulated[speed]:.2f} simulated, "
                f"{published[speed]:.2f} published"
            )
    return found


def test_the_published_gap_is_one_of_dates(gaps):
    """The article of 2026-05-22 says about five times at 15 to 30 tok/s/user. The runs that it
    and the database print give that with MI355X's software of 2026-05-17. With that of
    2026-05-21, of the same article, they give 1.3 to 1.9 times.
    """
    assert all(1.3 < gap < 1.9 for gap in gaps["2026-05-21"][1].values())
    assert all(3.5 < gaps["2026-05-17"][1][speed] < 6.5 for speed in (20.0, 25.0, 30.0))
    assert all(gap > 9.0 for gap in gaps["2026-05-04"][1].values())


def missed(date, factor, reason):
    return pytest.param(
        date, factor, marks=pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)
    )


@pytest.mark.parametrize(
    ("date", "factor"),
    [
        missed("2026-05-21", 1.4, "2.7 to 2.9 times simulated, 1.3 to 1.9 published"),
        missed("2026-05-17", 1.8, "5.4 times simulated at 15 tok/s/user, 2.1 published"),
        missed("2026-05-04", 1.3, "15 times simulated at 30 tok/s/user, 24 published"),
    ],
)
def test_software_alone_makes_the_gap_of_each_date(gaps, date, factor):
    """The simulated gap at 15, 20, 25 and 30 tok/s/user over that of the published runs.

    The fit has seen runs of both chips' levels, so that agreement is no prediction. MI355X is the
    same chip at all dates. Where MI355X's curve of the date ends, a little speed is much
    throughput; that of 2026-05-04 ends near 30 tok/s/user.
    """
    simulated, published = gaps[date]
    reached = [speed for speed in SPEEDS if simulated[speed] == simulated[speed]]
    assert set(SPEEDS) - set(reached) <= ({30.0} if date == "2026-05-04" else set())
    for speed in reached:
        assert 1 / factor < simulated[speed] / published[speed] < factor


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="6.3 times simulated at 25 tok/s/user when this was written, 4.6 published: where "
    "MI355X's curve of the date ends, a little speed is much throughput",
)
def test_the_gap_is_four_to_six_where_the_published_runs_have_it_so(gaps):
    """With MI355X's software of 2026-05-17, at 25 tok/s/user: 4.6 times in the published runs."""
    simulated, published = gaps["2026-05-17"]
    speeds = [speed for speed in SPEEDS if 4.0 <= published[speed] <= 6.0]
    assert speeds
    for speed in speeds:
        assert 4.0 <= simulated[speed] <= 6.0


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="B200 is 2.7 to 2.9 times MI355X when this was written, 1.4 to 1.9 in published runs of "
    "2026-05-21; five times is the gap of MI355X's software of 2026-05-17",
)
def test_the_software_of_the_articles_day_makes_the_gap(gaps):
    """About 5 times, asserted as 4 to 6."""
    assert all(4.0 <= gap <= 6.0 for gap in gaps["2026-05-21"][0].values())
