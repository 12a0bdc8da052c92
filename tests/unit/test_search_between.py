"""A search ranks deployments at the very speed asked for, between their runs."""

from types import SimpleNamespace

import pytest

from simulator.analysis.pareto import Frontier
from simulator.studies.search.between import tput_at_speed


def trial(speed, tput, *, asked=50.0, **used):
    return SimpleNamespace(
        metrics=SimpleNamespace(interactivity=speed, total_tput_per_gpu=tput),
        slo_use={"interactivity": asked / speed, **used},
    )


def test_the_interpolation_is_that_of_the_frontier():
    runs = [trial(80.0, 500.0), trial(60.0, 900.0), trial(40.0, 1500.0), trial(20.0, 1900.0)]
    curve = Frontier.of([80.0, 60.0, 40.0, 20.0], [500.0, 900.0, 1500.0, 1900.0])
    assert tput_at_speed(runs, speed=50.0) == pytest.approx(curve.at(50.0))
    assert 900.0 < tput_at_speed(runs, speed=50.0) < 1500.0


def test_a_deployment_whose_runs_lie_far_apart_is_not_put_behind_one_with_a_lucky_run():
    """By runs that keep the speed the first leads, 1,000 to 900; at 50 tok/s/user the second."""
    lucky = [trial(51.0, 1000.0), trial(49.0, 1020.0)]
    apart = [trial(70.0, 900.0), trial(40.0, 1500.0)]
    assert tput_at_speed(apart, speed=50.0) > tput_at_speed(lucky, speed=50.0)


def test_runs_that_miss_another_constraint_do_not_count():
    runs = [trial(60.0, 900.0), trial(40.0, 1500.0, **{"TTFT p50": 1.2})]
    assert tput_at_speed(runs, speed=50.0) is None
    assert tput_at_speed(runs, speed=None) is None
    assert tput_at_speed([trial(60.0, 900.0), trial(55.0, 1000.0)], speed=50.0) is None
