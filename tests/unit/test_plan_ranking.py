"""Which SKUs of a catalogue a plan load tests."""

from types import SimpleNamespace

import pytest

from simulator.studies.plan.ranking import leave_others, worth_testing
from simulator.studies.plan.run import plan
from simulator.studies.plan.text import advice


def planner(score, *, held=True, tested=False):
    left = []
    return SimpleNamespace(
        closed_loop_score=score,
        found=SimpleNamespace(sketches=["one"], held=held),
        tested=tested,
        left=left,
        leave=left.append,
    )


def asked(origin="default: all of the catalogue", every=False):
    return SimpleNamespace(
        question=SimpleNamespace(every=every), settings=SimpleNamespace(origin={"sku": origin})
    )


def test_skus_far_behind_the_best_are_left_and_told():
    best, near, far = planner(10.0), planner(5.0), planner(2.0)
    assert worth_testing([best, near, far], request=asked()) == [best, near]
    best.tested = near.tested = True
    assert worth_testing([best, near, far], request=asked()) == []
    leave_others([best, near, far])
    assert far.left == ["closed loops put it 5.0 times behind the best SKU; --all tests it"]
    assert not best.left
    assert not near.left


def test_a_best_one_that_does_not_hold_under_load_hides_no_others():
    broken, far = planner(10.0, held=False, tested=True), planner(2.0)
    assert worth_testing([broken, far], request=asked()) == [far]


@pytest.mark.parametrize("request_", [asked("stated"), asked(every=True)])
def test_named_skus_are_all_tested(request_):
    both = [planner(10.0), planner(0.1)]
    assert worth_testing(both, request=request_) == both


@pytest.mark.slow
def test_a_thin_load_that_breaks_a_closed_loop_does_not_size_the_fleet():
    """ATOM's delayer holds single prompts back while others decode: 9,704 GPUs by DSpark alone."""
    found = plan(sku=["mi355x"], interactivity=25.0, ttft_p90=5.0, rate=40.0, layouts=1)
    assert found.rows[0].fleet.gpus < 1000


@pytest.mark.slow
def test_as_many_deployments_as_are_stated_are_load_tested_and_ranked():
    found = plan(sku=["b300"], fleet_gpus=16, interactivity=40.0, ttft_p90=3.0, layouts=3)
    assert [row.sku for row in found.rows] == ["b300"] * 3
    assert len({(row.engine, row.label, row.load.spec) for row in found.rows}) == 3
    assert any("next deployment of it" in line for line in advice(found))
    # TensorRT-LLM's DEP8 with drafts is one of them
    assert any("random arrivals leave under half" in each for each in found.messages)
    alone = plan(sku=["b300"], fleet_gpus=16, interactivity=40.0, ttft_p90=3.0, layouts=1)
    assert any("one SKU is asked" in line for line in advice(alone))
