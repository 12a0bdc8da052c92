"""Deployments that stand side by side name step token budgets that differ."""

from types import SimpleNamespace

from simulator.engines.pools import parse_deployment
from simulator.prediction.notes import unequal_budgets
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario
from simulator.studies.plan.budgets import budgets_that_differ
from simulator.studies.plan.request import build_plan


def scenario(budget):
    return Scenario(
        sku="b200",
        model="deepseek-r1",
        engine="vllm",
        engine_settings={"max_num_batched_tokens": budget},
    )


def configured(budget):
    return configure_run(scenario(budget), pools=parse_deployment("TP8"), concurrency=16)[0]


def test_equal_budgets_are_not_worth_a_word():
    assert unequal_budgets({"a": configured(8192), "b": configured(8192)}) == ()


def test_unequal_ones_are_named_with_the_flag():
    (told,) = unequal_budgets({"a": configured(8192), "b": configured(16384)})
    assert "a 8,192 (TP8); b 16,384 (TP8)" in told
    assert "--engine-set max_num_batched_tokens=N" in told


def test_a_plan_compares_the_best_deployment_of_each_sku():
    flags = {"sku": ["b200", "b300"], "model": "deepseek-r1", "rate": 5.0, "interactivity": 30.0}
    request = build_plan(flags=flags)

    def row(sku, budget):
        operating = SimpleNamespace(rate_per_s=2.0, e2el=SimpleNamespace(mean_s=8.0))
        return SimpleNamespace(sku=sku, label="TP8", load=scenario(budget), operating=operating)

    rows = [row("one", 8192), row("other", 4096), row("other", 8192)]
    (told,) = budgets_that_differ(rows, request=request)
    assert "one 8,192 (TP8); other 4,096 (TP8)" in told
    assert budgets_that_differ(rows[:1], request=request) == ()
