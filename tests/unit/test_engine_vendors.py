"""Engines on chips that they are not written for are refused, with what runs there."""

from types import SimpleNamespace

import pytest

from hwmodels.sku import load_sku
from hwmodels.software import load_software
from simulator.engines.labels import engine_labels, load_engine
from simulator.output.text_tables import OUT_OF_REACH, interval
from simulator.recipes.files import load_recipes
from simulator.scenario.candidates import stack_of
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings import Scenario
from simulator.scenario.target import check_runs_on, named_engine, resolve_target
from simulator.scenario.worker_layouts import candidate_layouts
from simulator.studies.plan.run import plan
from simulator.studies.plan.text import band_text
from simulator.studies.sweep.deployments import plan_sweep
from workloads.errors import UserError


@pytest.mark.parametrize(
    ("engine", "sku", "runs_there"),
    [
        ("mori-sglang", "b300", "engines for b300: dynamo-sglang, dynamo-vllm, sglang, trt, vllm"),
        ("atom", "gb200", "dynamo-vllm"),
        ("trt", "mi355x", "atom, atom-disagg, atom-sglang, atom-vllm, mori-sglang, sglang, vllm"),
        ("trt", "ascend950dt", "vllm"),
    ],
)
def test_another_vendors_engine_is_refused_with_what_runs_there(engine, sku, runs_there):
    with pytest.raises(UserError, match="chips only, not on") as refusal:
        check_runs_on(load_engine(engine), sku=load_sku(sku))
    assert runs_there in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_engines_run_where_their_recipes_do():
    for recipe in load_recipes():
        for engine in recipe.engines:
            for sku in recipe.skus:
                check_runs_on(load_engine(engine), sku=load_sku(sku))


def test_an_own_chip_takes_every_engine():
    for engine in engine_labels().values():
        check_runs_on(engine, sku=SimpleNamespace(vendor="user", key="own", name="own"))


def test_a_sweep_refuses_the_pair_and_keeps_the_others():
    flags = {"sku": ["b300", "mi355x"], "engine": ["mori-sglang"], "concurrency": (8,)}
    planned = plan_sweep(build_sweep(flags=flags | {"tp": (8,), "ep": (1,)}, file=None))
    assert {each.load.sku for each in planned.sweeps} == {"mi355x"}
    (refused,) = planned.refused
    assert refused["status"] == "unsupported"
    assert "not on NVIDIA B300" in refused["reason"]
    with pytest.raises(UserError, match="engines for b300"):
        build_sweep(flags=flags | {"sku": ["b300"]}, file=None)


def test_a_plan_refuses_the_pair_in_a_line():
    with pytest.raises(UserError, match="engines for b300"):
        plan(sku=["b300"], engine=["mori-sglang"], interactivity=25.0, rate=1.0)


@pytest.mark.parametrize(
    ("sku", "engine", "pooled", "stack"),
    [
        ("mi355x", "sglang", True, "mori-sglang"),
        ("mi355x", "sglang", False, "sglang"),
        ("b300", "dynamo-vllm@2026-07", True, "dynamo-vllm"),
        ("b300", "vllm", True, "dynamo-vllm"),
    ],
)
def test_pools_carry_the_name_of_the_stack_that_moves_their_kv(sku, engine, pooled, stack):
    load = Scenario(sku=sku, engine=engine)
    assert stack_of(load, sku=load_sku(sku), pooled=pooled) == stack


def test_a_low_end_beyond_the_curve_is_out_of_reach_and_no_zero():
    assert interval(0.0, 12.0) == f"{OUT_OF_REACH}–12.0"
    assert interval(6.0, 12.0) == "6.00–12.0"
    asked = dict.fromkeys(("rate", "users", "mw", "fleet_gpus"))

    def text(band, gpus_band=None, **question):
        row = SimpleNamespace(
            band=band,
            gpus_band=gpus_band,
            rate_per_s=10.0,
            operating=SimpleNamespace(interactivity=30.0),
        )
        request = SimpleNamespace(question=SimpleNamespace(**asked | question))
        return band_text(SimpleNamespace(request=request), row)

    assert text((0.0, 1.2), mw=1.0) == f"{OUT_OF_REACH}–12.0 req/s"
    assert text((0.5, 1.2), mw=1.0) == "5.00–12.0 req/s"
    assert text((0.0, 1.2), gpus_band=(16, float("inf")), rate=5.0) == f"16–{OUT_OF_REACH}"


@pytest.mark.parametrize(("engine", "label"), [(None, "vllm-ascend"), ("sglang", "sglang-ascend")])
def test_engines_on_ascend_are_ports_that_nothing_is_fitted_to(engine, label):
    """Their kernels are CANN's: no factor of a fit to GPUs applies."""
    sku = load_sku("ascend950dt")
    found, _ = named_engine(engine, sku=sku, model="deepseek-v4-pro")
    assert found.engine.label == label
    level = load_software(engine=found.engine.software, sku=sku, model="deepseek-v4-pro")
    assert (level.kind, level.basis) == ("specification", "nothing")
    assert "t0_scale" not in level.parameters


def test_ranks_may_count_the_cores_of_a_chip():
    """TP8 on four TPU v7 chips of two cores each is a worker of four chips, and EP8 EP4."""
    target = resolve_target(Scenario(sku="tpu7x", model="gpt-oss-120b"))
    asked = Scenario(sku="tpu7x", model="gpt-oss-120b", tp=8, gpus=4, ep=8)
    layouts = candidate_layouts(scenario=asked, target=target)
    assert {(each.gpus, each.ep) for each in layouts} == {(4, 4)}
    with pytest.raises(UserError, match="give a multiple"):
        candidate_layouts(scenario=asked.model_copy(update={"ep": 3}), target=target)
    other = resolve_target(Scenario(sku="b200", model="gpt-oss-120b"))
    with pytest.raises(UserError, match="so give one of them"):
        candidate_layouts(scenario=asked.model_copy(update={"sku": "b200"}), target=other)
