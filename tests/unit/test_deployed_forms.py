"""As a SKU is deployed: engines, speculation and pools that somebody ran."""

import pytest

from hwmodels.sku import load_sku
from simulator.scenario.configure import parse_speculation
from simulator.scenario.deployed_forms import deployed_forms


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
