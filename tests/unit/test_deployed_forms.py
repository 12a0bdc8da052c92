"""As a SKU is deployed: engines, speculation and pools that somebody ran."""

import pytest

from hwmodels.sku import load_sku
from simulator.engines.pools import deployment_label, parse_deployment
from simulator.scenario.candidates import candidate_deployments
from simulator.scenario.configure import parse_speculation
from simulator.scenario.deployed_forms import competing, deployed_forms
from simulator.scenario.grid import build_sweep
from simulator.scenario.target import resolve_target
from workloads.errors import UserError


def forms(sku, model="deepseek-v4-pro", **pinned):
    return deployed_forms(sku=load_sku(sku), model=model, **pinned)


def test_forms_of_fitted_runs_come_first():
    labels = [form.label for form in forms("b200")]
    assert {"vllm mtp", "vllm", "sglang", "trt mtp", "dynamo-vllm disaggregated"} <= set(labels)
    runs = [form.runs for form in forms("b200")]
    assert runs == sorted(runs, reverse=True)


def test_a_chip_that_nobody_ran_takes_the_forms_of_its_nearest_relation():
    found = forms("vr200")
    assert found
    assert {form.sku for form in found} == {next(iter(found)).sku}
    assert "vr200" not in {form.sku for form in found}
    assert "on gb300" in found[0].evidence


def test_engines_of_another_vendor_never_stand_in():
    assert not {"atom", "mori-sglang"} & {form.engine for form in forms("b200")}
    assert not {"trt", "dynamo-trt"} & {form.engine for form in forms("mi355x")}


@pytest.mark.parametrize(
    ("pinned", "holds"),
    [
        ({"engine": "vllm"}, lambda form: form.engine.endswith("vllm")),
        ({"engine": "dynamo-vllm"}, lambda form: form.engine == "dynamo-vllm"),
        ({"speculation": "none"}, lambda form: form.speculation == "none"),
        ({"disaggregated": True}, lambda form: form.disaggregated),
        ({"disaggregated": False}, lambda form: not form.disaggregated),
    ],
)
def test_what_is_pinned_holds(pinned, holds):
    found = forms("b200", **pinned)
    assert found
    assert all(holds(form) for form in found)


def test_a_method_without_a_number_takes_the_recipes_drafts():
    assert parse_speculation("mtp") == ("mtp", 0)
    assert parse_speculation("mtp:2") == ("mtp", 2)


def labels_of(**flags):
    settings = build_sweep(flags={"sku": "b300", **flags})
    (load,) = settings.loads()
    found = competing(settings, load)
    return {
        deployment_label(pools)
        for each in found.competitors
        for pools in each.candidates.deployments
    }, found


def test_max_gpus_leaves_only_deployments_that_fit_into_the_chips_one_has():
    every, _ = labels_of()
    small, found = labels_of(max_gpus=16)
    assert "2xDEP4+1xDEP8" in small
    assert "8xDEP4+1xDEP8" in every - small
    assert {sum(pool.gpus for pool in parse_deployment(label)) <= 16 for label in small} == {True}
    told = [note for each in found.competitors for note in each.candidates.messages]
    assert any("of more than 16 chips left out (--max-gpus)" in note for note in told)


def test_max_gpus_holds_for_a_named_engine_too_and_says_what_is_smallest():
    settings = build_sweep(flags={"sku": "b300", "engine": "vllm", "max_gpus": 4})
    (load,) = settings.loads()
    found = candidate_deployments(settings=settings, load=load, target=resolve_target(load))
    assert {sum(pool.gpus for pool in pools) <= 4 for pools in found.deployments} == {True}
    with pytest.raises(UserError, match="max_gpus is 2; the smallest deployment here has"):
        labels_of(max_gpus=2)


@pytest.mark.parametrize("wrong", [0, True, [4, 8], "16"])
def test_max_gpus_is_one_whole_number(wrong):
    with pytest.raises(UserError, match=r"max_gpus is .*; it must be one whole number"):
        build_sweep(flags={"sku": "b300", "max_gpus": wrong})
