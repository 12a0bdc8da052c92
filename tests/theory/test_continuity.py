"""One more request or one percent more length changes a step by little, or the reason is told.

Over every SKU, each engine that runs on it and the usual layouts; slow, for it builds the tables
of all of them.
"""

from itertools import product

import pytest

from hwmodels.sku import list_skus, load_sku
from simulator.engines.labels import load_engine
from simulator.engines.pools import DoesNotFitError, parse_deployment
from simulator.prediction.assembly import assemble
from simulator.prediction.notes import binding_limits
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario
from simulator.scenario.target import check_runs_on
from simulator.studies.explain.run import explain_configuration
from workloads.errors import UserError

MOST_CHANGE = 0.10
ENGINES = ("vllm", "sglang", "trt", "atom")
LAYOUTS = ("TP8", "TEP8", "DEP8")


def cases():
    for key, engine in product(list_skus(), ENGINES):
        try:
            check_runs_on(load_engine(engine), sku=load_sku(key))
        except UserError:
            continue
        yield key, engine


def configured(sku, engine, layout, *, concurrency=64, isl=8192):
    return configure_run(
        Scenario(sku=sku, engine=engine, model="deepseek-r1", isl=isl),
        pools=parse_deployment(layout),
        concurrency=concurrency,
    )


def decode_s(configuration):
    assembly = assemble(configuration)
    pool = assembly.pools[-1]
    requests = configuration.concurrency
    rank = -(-requests // pool.layout.attention_dp)
    seconds = pool.cost.fixed_s(
        rank_tokens=rank,
        group_tokens=requests,
        rank_samples=rank,
        group_samples=requests,
        has_prefill=False,
    )
    line = pool.cost.decode_attention(requests=rank, context_sum=rank * 8192)
    return seconds + line.value_s, binding_limits(assembly, configuration)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("sku", "engine"), list(cases()), ids="-".join)
def test_one_more_request_a_rank(sku, engine, layout):
    try:
        configuration, _ = configured(sku, engine, layout)
        ranks = configuration.pools[0].layout.attention_dp
        held = configuration.pools[0].engine
        size = max(getattr(held.settings, held.graph_setting), 64)
        before, _ = decode_s(configured(sku, engine, layout, concurrency=size * ranks)[0])
        after, told = decode_s(configured(sku, engine, layout, concurrency=(size + 1) * ranks)[0])
    except DoesNotFitError as error:
        pytest.skip(str(error).splitlines()[0])
    assert abs(after / before - 1.0) <= MOST_CHANGE or told


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("sku", "engine"), list(cases()), ids="-".join)
@pytest.mark.parametrize("isl", [1024, 2896, 8192, 32768])
def test_one_percent_more_length(sku, engine, layout, isl):
    try:
        found = [configured(sku, engine, layout, isl=n) for n in (isl, round(1.01 * isl))]
    except DoesNotFitError as error:
        pytest.skip(str(error).splitlines()[0])
    budgets = [
        each.pools[0].engine.step_token_budget(attention_dp=each.pools[0].layout.attention_dp)
        for each, _ in found
    ]
    told = any("recorded at isl" in message for _, recipe in found for message in recipe.messages)
    assert abs(budgets[1] / budgets[0] - 1.0) <= MOST_CHANGE or told


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("sku", "engine"), list(cases()), ids="-".join)
def test_one_more_token_of_a_prompt(sku, engine, layout):
    """At the largest graph of a prompt and at sizes where tiles, blocks and chunks end."""
    try:
        configuration, _ = configured(sku, engine, layout)
        plan = assemble(configuration).models[0].plan
    except DoesNotFitError as error:
        pytest.skip(str(error).splitlines()[0])
    graph = plan.graph_prefill_max_tokens or plan.graph_max_tokens
    for tokens in sorted({graph, 511, 1024, 2048, 8192}):
        before, after = (
            explain_configuration(
                configuration, phase="prefill", new_tokens=size, sensitivities=False
            )
            for size in (tokens, tokens + 1)
        )
        told = any("steps with prompts" in message for message in after.messages)
        assert abs(after.time.step_s / before.time.step_s - 1.0) <= MOST_CHANGE or told, tokens
