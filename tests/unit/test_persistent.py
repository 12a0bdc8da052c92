"""``ENGINE+persistent``: a decode step as one persistent kernel, an execution plan."""

import pytest

import simulator as sim
from hwmodels.sku import load_sku
from hwmodels.software import PERSISTENT_FLOOR_S, load_software
from simulator.engines.labels import parse_engine
from workloads.errors import UserError


@pytest.fixture(scope="module")
def level():
    return load_software(engine="sglang", sku=load_sku("b200"), model="deepseek-r1")


def test_the_name_carries_the_plan_and_a_date():
    request = parse_engine("vllm+persistent@2026-05")
    assert request.engine.persistent
    assert request.engine.label == "vllm"
    assert str(request.date) == "2026-05-31"
    assert not parse_engine("vllm").engine.persistent


@pytest.mark.parametrize("text", ["vllm+persistant", "vllm+", "vllm+mega@2026-05"])
def test_an_unknown_plan_is_told_with_the_one_there_is(text):
    with pytest.raises(UserError, match="persistent"):
        parse_engine(text)


def test_floors_become_barriers_and_nothing_else_changes(level):
    plan = level.as_persistent()
    for key, fit in plan.kernels.items():
        before = level.kernels[key]
        assert fit.t0_s == min(before.t0_s, PERSISTENT_FLOOR_S)
        assert fit.compute_efficiency == before.compute_efficiency
        assert fit.memory_efficiency == before.memory_efficiency
    assert plan.collectives == level.collectives
    assert plan.host_step_s <= level.host_step_s
    assert plan.name == f"{level.name}+persistent"
    assert "not a release" in plan.messages[-1]


def test_the_plan_outlives_a_change_of_parameters(level):
    changed = level.as_persistent().with_parameters({"memory_scale": 0.5})
    assert max(fit.t0_s for fit in changed.kernels.values()) <= PERSISTENT_FLOOR_S


@pytest.mark.slow
def test_published_speed_of_glm_5_on_b200():
    """340 tok/s/user at 8k/1k, one client, MTP (B200, persistent kernel, 2026); within 20 %."""
    question = {"sku": "b200", "model": "glm-5", "tp": 8, "spec": "mtp:3", "isl": 8192}
    curve = sim.curve(**question, osl=1024, engine="sglang+persistent", concurrency=[1])
    assert curve.frame()["interactivity"].max() == pytest.approx(340, rel=0.20)
