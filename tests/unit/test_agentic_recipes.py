"""Layouts and settings by traffic: agentic recipes serve agentic traffic, others do not."""

import pytest

from simulator.recipes.layouts import PoolRequest
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import build_scenario
from workloads.requests.catalog import NAMED_WORKLOADS, traffic_kind


def configured(sku, engine, sessions, traffic):
    scenario = build_scenario(flags={"sku": sku, "engine": engine, "spec": "mtp:3"}).scenario
    return configure_run(
        scenario, pools=(PoolRequest(workers=1),), concurrency=sessions, traffic=traffic
    )


def test_layouts_of_fixed_lengths_serve_no_sessions() -> None:
    # the parent level offers TEP8 at 256, which was never run with sessions
    configuration, recipe = configured("b200", "vllm", 384, "agentic")
    assert configuration.pools[0].layout.label == "DEP8"
    assert any("run at concurrency 196" in message for message in recipe.messages)
    settings = configuration.pools[0].settings
    assert (settings.long_prefill_token_threshold, settings.prefix_retention_interval) == (
        512,
        32768,
    )
    assert settings.kv_offloading == "eager"
    assert configuration.traffic == "agentic"


def test_layouts_of_sessions_serve_no_fixed_lengths() -> None:
    configuration, _ = configured("b200", "vllm", 256, "fixed")
    assert configuration.pools[0].layout.label != "TP8"
    assert configuration.pools[0].settings.kv_offloading == "none"


def test_a_recipe_without_agentic_runs_says_so() -> None:
    _, recipe = configured("h200", "vllm", 16, "agentic")
    assert any("has no layout run with agentic traffic" in text for text in recipe.messages)


def test_what_a_recipe_leaves_open_for_sessions_is_what_their_scripts_usually_give() -> None:
    fixed, _ = configured("h200", "vllm", 16, "fixed")
    agentic, recipe = configured("h200", "vllm", 16, "agentic")
    settings = agentic.pools[0].settings
    assert settings.enable_prefix_caching
    ranks = agentic.pools[0].layout.attention_dp
    assert settings.max_num_seqs == 2 * 16 // ranks
    assert not fixed.pools[0].settings.enable_prefix_caching
    assert any("was not run with agentic traffic" in text for text in recipe.messages)


def test_recipes_of_agentic_runs_alone_are_not_seen_by_fixed_lengths() -> None:
    flags = {"sku": "b300", "engine": "sglang", "model": "glm-5.2", "precision": "fp4"}
    scenario = build_scenario(flags=flags).scenario
    pools = (PoolRequest(workers=1, tp=8, ep=1, dp_attention=True),)
    agentic, _ = configure_run(scenario, pools=pools, concurrency=48, traffic="agentic")
    fixed, recipe = configure_run(scenario, pools=pools, concurrency=48, traffic="fixed")
    assert agentic.pools[0].settings.chunked_prefill_size == 32768
    assert agentic.pools[0].settings.max_running_requests == 96
    assert fixed.pools[0].settings.disable_radix_cache
    assert any("no sglang recipe for glm-5.2" in text for text in recipe.messages)


@pytest.mark.parametrize(("name", "kind"), [("8k1k", "fixed"), ("agentic", "agentic")])
def test_one_rule_says_which_traffic_a_workload_is(name, kind) -> None:
    assert traffic_kind(NAMED_WORKLOADS[name]) == kind
