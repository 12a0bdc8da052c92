"""Comparisons of siblings at equal software: whose level, when it is the default, what is said."""

from dataclasses import replace
from math import log

import pytest

from hwmodels.sku import load_sku
from simulator.engines.labels import parse_engine, with_software_of, without_software_of
from simulator.engines.pools import parse_deployment
from simulator.prediction.assembly import assemble, execution_plan, named_software
from simulator.prediction.shared_software import PROBED_REQUESTS, _score
from simulator.prediction.step_breakdown import time_step
from simulator.scenario.configure import ClosedLoad, configure, configure_run
from simulator.scenario.deployed_forms import competing
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings import build_scenario
from simulator.scenario.target import resolve_target
from simulator.studies.compare.request import build_systems
from simulator.studies.compare.run import compare
from simulator.studies.compare.siblings import LINES, at_equal_software
from simulator.studies.sweep.deployments import plan_sweep
from workloads.costmodel import PrefillChunk, StepBatch
from workloads.errors import UserError
from workloads.models import bind


def configured(sku, engine, deployment="TP8"):
    scenario = build_scenario(flags={"sku": sku, "engine": engine}).scenario
    load = ClosedLoad.of(scenario, concurrency=8)
    target = resolve_target(scenario)
    return configure(target, pools=parse_deployment(deployment), load=load)[0]


def software(sku, engine):
    return named_software(configured(sku, engine))


def test_an_engines_text_names_whose_software_it_has():
    text = with_software_of("vllm@2026-07", ["b200", "gb200"])
    assert text == "vllm+as-b200.gb200@2026-07"
    asked = parse_engine(text)
    assert asked.engine.software_of == ("b200", "gb200")
    assert asked.engine.label == "vllm"
    assert without_software_of(text) == "vllm@2026-07"
    assert without_software_of("vllm+persistent@2026-05") == "vllm+persistent@2026-05"
    assert asked.date.isoformat() == "2026-07-31"
    with pytest.raises(UserError, match="execution plan 'as-' is unknown"):
        parse_engine("vllm+as-")


@pytest.mark.parametrize("deployment", ["TP8", "DEP8", "TEP4"])
def test_levels_are_compared_on_the_step_times_that_explain_prints(deployment):
    configuration = configured("b200", "vllm+as-b200.gb200", deployment)
    chip, pool = load_sku("b200"), configuration.pools[-1]
    level = named_software(configuration)

    def plan_of(software, sku):
        return execution_plan(
            software=software,
            pool=pool,
            precision=configuration.precision,
            sku=sku,
            architecture=configuration.architecture,
        )

    model = bind(
        architecture=configuration.architecture, layout=pool.layout, plan=plan_of(level, chip)
    )
    batches = [
        *(
            StepBatch(decode_requests=n, decode_context=configuration.isl + configuration.osl / 2)
            for n in PROBED_REQUESTS
        ),
        StepBatch(prefill=(PrefillChunk(new_tokens=configuration.isl),)),
    ]
    expected = sum(
        log(time_step(model=model, sku=chip, software=level, batch=batch).step_s)
        for batch in batches
    )
    assert _score(configuration, level, plan_of=plan_of) == pytest.approx(expected, rel=1e-12)


def test_both_siblings_get_one_level_and_say_whose():
    """B200 and GB200 at one level: equal parameters and kernels, where their own ones differ."""
    own = [software(sku, "vllm") for sku in ("b200", "gb200")]
    shared = [software(sku, "vllm+as-b200.gb200") for sku in ("b200", "gb200")]
    assert own[0].parameters != own[1].parameters
    assert shared[0].parameters == shared[1].parameters
    assert shared[0].kernels == shared[1].kernels
    assert shared[0].parameters in (own[0].parameters, own[1].parameters)
    for level in shared:
        (told,) = [text for text in level.messages if text.startswith("equal software")]
        assert "level was fitted to" in told
        assert load_sku("b200").name in told
    # on the chip that lent it the level is its own, on the other a sibling's
    lender = [level.parameters for level in own].index(shared[0].parameters)
    assert shared[lender].kind == own[lender].kind
    assert shared[1 - lender].kind == "transferred"


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        (["b200", "gb200"], None, ("b200", "gb200")),
        (["b200", "gb200"], False, ()),
        (["b200:vllm", "gb200:vllm"], None, ("b200", "gb200")),
        (["b200:vllm", "gb200:sglang"], None, ()),
        (["b200:vllm@specification", "gb200:vllm@specification"], None, ()),
        (["b200", "h200"], None, ()),
        (["b200", "h200"], True, ("b200", "h200")),
    ],
)
def test_it_is_the_default_between_siblings_of_one_engine(names, asked, expected):
    systems, shared = at_equal_software(build_systems(names, flags={}), asked=asked)
    assert shared == expected
    for system in systems:
        engine = system.settings.values["engine"][0]
        said = system.settings.software_of or (
            parse_engine(engine).engine.software_of if engine else ()
        )
        assert tuple(said) == expected


def test_chips_of_two_vendors_have_no_software_in_common():
    with pytest.raises(UserError, match="different chips of one vendor, not b200, mi355x"):
        at_equal_software(build_systems(["b200", "mi355x"], flags={}), asked=True)


def test_lines_name_skus():
    assert all(load_sku(name).key == name for line in LINES for name in line)


def test_a_sku_as_best_deployed_keeps_its_own_server_settings_at_equal_software():
    """Chunks and memory shares of GB200 on GB300 ended its best deployments at 128 clients."""
    asked = build_sweep(flags={"sku": ["gb300"], "spec": ["mtp"], "disaggregated": True})
    (load,) = asked.loads()
    shared = replace(asked, software_of=("gb200", "gb300"))

    def settings(question):
        (one,) = [
            each
            for each in competing(question, load).competitors
            if without_software_of(each.load.engine) == "dynamo-sglang"
        ]
        pools = parse_deployment("8xDEP4+1xDEP8")
        configuration, _ = configure_run(one.load, target=one.target, pools=pools, concurrency=1024)
        return configuration.engine.software_of, [pool.settings for pool in configuration.pools]

    names, equal = settings(shared)
    assert set(names) == {"gb200", "gb300"}
    assert equal == settings(asked)[1]


def test_pools_of_a_named_engine_keep_their_own_server_settings_at_equal_software():
    """With chunks for GB200's prefill of eight no DEP4 fitted on GB300: 0.26 times GB200."""
    names = ["gb200:dynamo-sglang", "gb300:dynamo-sglang"]
    systems, shared = at_equal_software(build_systems(names, flags={}), asked=None)
    assert shared == ("gb200", "gb300")
    engines = [system.settings.values["engine"][0] for system in systems]
    assert [parse_engine(engine).engine.software_of[0] for engine in engines] == list(shared)
    scenario = build_scenario(flags={"sku": "gb300", "engine": engines[1]}).scenario
    configuration, _ = configure(
        resolve_target(scenario),
        pools=parse_deployment("14xDEP4+1xDEP16"),
        load=ClosedLoad.of(scenario, concurrency=4096),
    )
    assert all(pool.kv_pool.total_blocks > 0 for pool in assemble(configuration).pools)


@pytest.mark.slow
def test_more_memory_and_flops_do_not_lose_throughput_at_equal_software():
    """GB300 beside GB200 with the same engines: 1.5 times the memory and the FP4 FLOP/s."""
    ratios = compare("gb200", "gb300", at=[27.0]).frame()
    (ratio,) = ratios[ratios["system"].str.startswith("gb300")]["ratio"]
    assert ratio > 0.95


def test_equal_software_has_equal_layouts_within_a_scale_up_domain():
    """What ran on one sibling competes on the other too, where its workers have links to run on."""
    systems, _ = at_equal_software(
        build_systems(["b200", "gb300"], flags={}, file=None), asked=None
    )
    plans = [plan_sweep(each.settings, as_deployed=True) for each in systems]
    found = [
        {
            (without_software_of(one.load.engine), one.load.spec, one.label): one.pools
            for one in plan.sweeps
        }
        for plan in plans
    ]
    server, rack = found
    assert ("dynamo-sglang", "mtp", "1xDEP8+6xTP8") in rack
    assert ("dynamo-trt", "mtp", "7xDEP4+1xDEP8") in server
    assert set(server) <= set(rack)
    beyond = {key for key, pools in rack.items() if max(p.layout.gpus for p in pools) > 8}
    assert set(rack) - set(server) == beyond
    assert "since equal software has equal layouts, 36 deployments of gb300" in plans[0].messages[0]


def test_own_software_keeps_own_layouts():
    systems, _ = at_equal_software(
        build_systems(["b200", "gb300"], flags={}, file=None), asked=False
    )
    labels = [
        {one.label for one in plan_sweep(each.settings, as_deployed=True).sweeps}
        for each in systems
    ]
    assert "1xDEP8+6xTP8" in labels[0] - labels[1]
