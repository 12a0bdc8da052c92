"""One user, DeepSeek-V4-Pro FP4 8K/1K, no MTP: floors of kernels rule, and how long a token takes.

``test_explain_published.py`` has the same for B300 and MI355X steps taken apart.
"""

import pytest

from simulator.prediction.step_breakdown import Limit
from simulator.scenario.settings import Scenario
from simulator.studies.explain.run import explain_scenario
from simulator.studies.load.run import run_load

ALONE = [
    # SKU, level, deployment, published tok/s/user
    ("mi355x", "sglang@2026-05-21", "TP8", 57.06),
    ("gb200", "dynamo-vllm@2026-05-22", "1xTP8+1xTP8", 74.13),
]


def test_floors_rule_a_decode_step_on_gb200():
    """GB200 NVL72 disaggregated, decode TP8: 74.13 tok/s/user, TPOT 13.3 ms (InferenceX-app,
    gb300-nvl72-vs-gb200-nvl72-dsv4-pro-vllm-fp4.mdx, 2026-05-22). Reading the weights once would
    allow 650-950 tok/s/user, here with 10 % on either side.
    """
    scenario = Scenario(sku="gb200", engine="vllm@2026-05-22", tp=8, ep=1, dp_attention=False)
    found = explain_scenario(scenario, concurrency=1, sensitivities=False)
    floor_s = found.time.by_limit[Limit.FLOOR]
    assert found.binds is Limit.FLOOR
    assert floor_s > 0.5 * found.step_s
    assert 0.9 * 650 < 1.0 / found.weights_alone_s < 1.1 * 950
    assert floor_s > 3.0 * found.time.by_limit[Limit.MEMORY]


@pytest.mark.parametrize(("sku", "engine", "deployment", "published"), ALONE)
def test_speed_of_a_lone_user(sku, engine, deployment, published):
    """To 25 %. Both runs were fitted, so that this is no prediction. MI355X: InferenceX-app,
    mi355x-deepseek-v4-pro-sglang-110x-in-26-days.mdx. The 101 tok/s/user of 8×B300 (TP8+EP) were
    not fitted and are not asserted, since their engine is not stated.
    """
    run = run_load(sku=sku, engine=engine, deployment=deployment, concurrency=1)
    assert run.metrics.interactivity == pytest.approx(published, rel=0.25)
