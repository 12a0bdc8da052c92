import numpy as np
import pytest

from calibration.validation.scores import coverage, frontier_error, score


def test_errors_bias_and_share_within_a_quarter():
    measured = np.log([100.0, 100.0, 100.0, 100.0, 100.0])
    predicted = np.log([110.0, 110.0, 80.0, 140.0, 105.0])
    found = score(predicted=predicted, measured=measured)
    assert found.runs == 5
    assert found.median == pytest.approx(0.10)
    assert found.mean == pytest.approx((0.1 + 0.1 + 0.2 + 0.4 + 0.05) / 5)
    assert found.bias == pytest.approx(0.10)
    assert found.within_quarter == pytest.approx(0.8)


def test_runs_with_an_unknown_side_are_left_out():
    found = score(predicted=np.array([0.0, np.nan, 0.0]), measured=np.array([0.0, 0.0, np.nan]))
    assert found.runs == 1
    assert found.median == 0.0
    assert score(predicted=np.array([np.nan]), measured=np.array([0.0])) is None


def frontier(speed, rate):
    return {"tpot_s": 1.0 / np.array(speed), "rate": np.array(rate)}


def error(measured, predicted):
    return frontier_error(
        measured_tpot_s=measured["tpot_s"],
        measured_rate=measured["rate"],
        predicted_tpot_s=predicted["tpot_s"],
        predicted_rate=predicted["rate"],
    )


def test_a_frontier_that_is_higher_everywhere_is_off_by_its_factor():
    base = frontier([20.0, 40.0, 80.0], [400.0, 200.0, 50.0])
    higher = frontier([20.0, 40.0, 80.0], [480.0, 240.0, 60.0])
    assert error(base, base) == pytest.approx(0.0, abs=1e-12)
    assert error(base, higher) == pytest.approx(0.2)


def test_frontiers_without_a_common_speed_count_in_full():
    slow, fast = frontier([10.0, 20.0], [9.0, 8.0]), frontier([30.0, 40.0], [9.0, 8.0])
    assert error(slow, fast) == 1.0


def test_one_run_is_no_frontier():
    one = frontier([10.0], [9.0])
    assert error(one, one) is None


def test_coverage_is_the_share_inside():
    assert coverage(inside=[True, True, False, True]) == 0.75
    assert np.isnan(coverage(inside=[]))
