"""MI355X against B200, one node each, DeepSeek-V4-Pro FP4 8K/1K, SGLang, no MTP.

InferenceX-app, ``mi355x-deepseek-v4-pro-sglang-110x-in-26-days.mdx`` (2026-05-22). Data sheets:
MI355X has 1.60 times the memory, 1.00 times its bandwidth, 1.12 times the FP4 rate and 0.64 times
the scale-up bandwidth of B200, and yet B200 gave about five times as much at 15 to 30 tok/s/user.
"""

import pytest

from simulator.compare import compare

SPEEDS = (15.0, 20.0, 25.0, 30.0)
CLIENTS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def mi355x_over_b200(b200, mi355x):
    result = compare(f"b200:{b200}", f"mi355x:{mi355x}", at=SPEEDS, gpus=8, concurrency=CLIENTS)
    table = result.frame()
    return table[table["contestant"] == f"mi355x:{mi355x}"].set_index("interactivity"), result


@pytest.fixture(scope="module")
def specification():
    return mi355x_over_b200("sglang@specification", "sglang@specification")


def test_a_prediction_from_the_specification_says_that_it_is_one(specification):
    """Nothing fitted to serving runs enters, and table and caption say so."""
    table, result = specification
    assert set(table["kind"]) == {"specification"}
    assert set(result.runs()["engine"]) == {"sglang@specification"}
    assert result.caption.count("(specification)") == 2


def test_the_specification_has_the_two_side_by_side(specification):
    """Neither chip is twice the other at any speed, where the measurement has a factor of five;
    the band of the ratio holds 1, so the specification does not claim to rank them.
    """
    table, _ = specification
    assert (table["ratio"] > 0.5).all()
    assert (table["ratio"] < 2.0).all()
    assert (table["ratio_lo"] < 1.0).all()
    assert (table["ratio_hi"] > 1.0).all()


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="0.66 to 0.70 at these speeds when this was written: kernel benchmarks, which the "
    "specification level includes, reach less of MI355X's data sheet than of B200's",
)
def test_the_specification_lands_between_the_ratios_of_the_data_sheets(specification):
    """0.7 to 1.6 times B200, the range of fabric (0.64), bandwidth, FP4 rate and memory (1.60)."""
    table, _ = specification
    assert table["ratio"].between(0.7, 1.6).all()


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="B200 is 1.5 to 1.6 times MI355X when this was written. The published runs of B200 "
    "under SGLang without MTP that were fitted (2026-05-17, TP8) are 2.2 to 7.7 times those of "
    "MI355X at 35 to 55 tok/s/user; their curve ends above 30, and the simulation has MI355X about "
    "25 % too high in throughput",
)
def test_the_software_of_may_2026_makes_the_gap():
    """About 5 times, asserted as 4 to 6. The fit has seen runs of both chips' levels: their
    agreement would be no prediction.
    """
    table, _ = mi355x_over_b200("sglang@2026-05-22", "sglang@2026-05-21")
    assert (1 / table["ratio"]).between(4.0, 6.0).all()
