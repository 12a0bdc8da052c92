"""Prefill and decode on different chips: each pool is its own chip's, and costs are of both."""

from dataclasses import replace

import pandas as pd
import pytest

from hwmodels.economics import blended_costs, load_economics
from hwmodels.sku import load_sku
from simulator.analysis.costs import with_costs
from simulator.cli.main import run
from simulator.engines.pools import parse_deployment
from simulator.prediction.assembly import assemble
from simulator.scenario.configure import configure_run
from simulator.scenario.grid import build_sweep
from simulator.scenario.pairs import paired_deployments, split_pair
from simulator.scenario.settings import build_scenario
from simulator.scenario.table_rows import configure_row
from simulator.studies.plan.fleet import UnitPair, buying_unit, fleet_for
from simulator.studies.plan.request import build_plan
from simulator.studies.sweep.deployments import plan_sweep
from workloads.errors import UserError
from workloads.layout import Layout

PAIR = {"prefill_sku": "b200", "decode_sku": "gb300", "engine": "dynamo-vllm"}


def configured(label="2xDEP8+1xDEP16", **flags):
    load = build_scenario(flags={**PAIR, **flags}).scenario
    return configure_run(load, pools=parse_deployment(label), concurrency=64)[0]


def test_the_names_of_a_pair_are_one_and_the_same():
    named = build_scenario(flags={"sku": "b200+gb300"}).scenario
    apart = build_scenario(flags={"prefill_sku": "b200", "decode_sku": "gb300"}).scenario
    beside = build_scenario(flags={"sku": "b200", "decode_sku": "gb300"}).scenario
    assert named == apart == beside
    assert (named.prefill_sku, named.sku) == ("b200", "gb300")
    assert split_pair("mi355x") == (None, "mi355x")
    with pytest.raises(UserError, match="leave sku out"):
        build_scenario(flags={"sku": "h200", "prefill_sku": "b200", "decode_sku": "gb300"})
    with pytest.raises(UserError, match="no prefill_sku"):
        build_scenario(flags={"decode_sku": "gb300"})


def test_each_pool_has_the_memory_and_step_times_of_its_own_chip():
    pair = configured()
    alone = {
        sku: assemble(replace(pair, sku=load_sku(sku), prefill_sku=None))
        for sku in ("b200", "gb300")
    }
    both = assemble(pair)
    assert both.memory[0] == alone["b200"].memory[0]
    assert both.memory[1] == alone["gb300"].memory[1]
    assert both.memory[0] != alone["gb300"].memory[0]
    for index, sku in enumerate(("b200", "gb300")):
        times = [
            each.pools[index].cost.fixed_s(
                rank_tokens=512,
                group_tokens=4096,
                rank_samples=1,
                group_samples=8,
                has_prefill=index == 0,
            )
            for each in (both, alone[sku])
        ]
        assert times[0] == times[1]


def test_kv_entries_go_at_the_slower_network_and_the_kind_is_no_better_than_transferred():
    pair = configured()
    alone = [
        assemble(replace(pair, sku=load_sku(sku), prefill_sku=None)) for sku in ("b200", "gb300")
    ]
    both = assemble(pair)
    rates = [each.deployment.transfer.bandwidth_bytes_per_s for each in alone]
    assert both.deployment.transfer.bandwidth_bytes_per_s == min(rates)
    assert both.software.kind in ("transferred", "specification")
    slow = load_sku("b200").override({"scaleout_bytes_per_s": 1e9})
    choked = assemble(replace(pair, prefill_sku=slow))
    assert choked.deployment.transfer.bandwidth_bytes_per_s < 0.1 * min(rates)


def test_what_cannot_be_is_refused_with_the_reason():
    with pytest.raises(UserError, match="aggregated worker has one kind of chip"):
        configured("TP8")
    with pytest.raises(UserError, match="runs on AMD chips only"):
        configured(prefill_sku="b200", decode_sku="mi355x", engine="mori-sglang")
    with pytest.raises(UserError, match="nothing here has a prefill pool"):
        plan_sweep(build_sweep(flags={**PAIR, "engine": "vllm"}))


def test_a_row_of_a_pair_is_read_back_as_the_same_run():
    row = {
        "sku": "gb300",
        "prefill_sku": "b200",
        "model": "deepseek-v4-pro",
        "engine": "dynamo-vllm",
        "level": "vllm@median-2026-07",
        "precision": "fp4",
        "spec": "none",
        "isl": 8192,
        "osl": 1024,
        "label": "2xDEP8+1xDEP16",
        "concurrency": 64,
    }
    again, _ = configure_row(row)
    assert again.identity == configured().identity
    assert again.sku_label == "b200+gb300"


def test_prefill_workers_are_those_that_ran_on_their_chip_in_half_to_twice_the_gpus():
    pools = parse_deployment("4xDEP8+1xDEP16")
    found = paired_deployments(
        [pools, parse_deployment("TP8")], recorded=[Layout(tp=8)], sku=load_sku("b200")
    )
    assert [each[0].gpus for each in found] == [16, 32, 64]
    assert {each[0].layout.label for each in found} == {"TP8"}
    assert {each[1] for each in found} == {pools[1]}
    wide = parse_deployment("1xDEP16+1xDEP16")
    assert paired_deployments([wide], recorded=[], sku=load_sku("b200")) == ()


def test_dollars_and_watts_are_sums_by_kind():
    prices = load_economics("2026-09")
    b200, gb300 = prices.for_sku("b200"), prices.for_sku("gb300")
    mean = blended_costs([(b200, 16), (gb300, 8)])
    assert 24 * mean.usd_per_gpu_hour() == pytest.approx(
        16 * b200.usd_per_gpu_hour() + 8 * gb300.usd_per_gpu_hour()
    )
    assert 24 * mean.utility_kw == pytest.approx(16 * b200.utility_kw + 8 * gb300.utility_kw)
    rates = {f"{kind}_tput_per_gpu": 100.0 for kind in ("total", "input", "output")}
    row = {"sku": "gb300", "prefill_sku": "b200", "prefill_gpus": 16, "decode_gpus": 8, **rates}
    plain = {**row, "prefill_sku": ""}
    priced = with_costs(pd.DataFrame([row, plain]), economics="2026-09")
    costs = priced["usd_per_million_tokens"] * 3600 * 100 / 1e6
    assert costs.tolist() == pytest.approx([mean.usd_per_gpu_hour(), gb300.usd_per_gpu_hour()])


def test_a_fleet_of_a_pair_is_bought_in_whole_units_of_both_kinds():
    prices = load_economics("2026-09")
    unit = UnitPair(
        prefill=buying_unit(sku=load_sku("b200"), replica_gpus=16),
        decode=buying_unit(sku=load_sku("gb300"), replica_gpus=16),
        skus=("b200", "gb300"),
    )
    fleet = fleet_for(
        5,
        unit=unit,
        costs=prices.for_sku("gb300"),
        tier="hyperscaler",
        prefill_costs=prices.for_sku("b200"),
    )
    # a rack of 72 holds four replicas of 16
    assert unit.chips(5) == (80, 144)
    assert fleet.gpus == 224
    assert fleet.text == "b200 10 nodes, gb300 2 racks"
    sizes = {"b200": 80, "gb300": 144}
    dollars = [n * prices.for_sku(key).usd_per_gpu_hour() for key, n in sizes.items()]
    assert f"(b200 ${dollars[0]:,.0f}/h, " in fleet.of_both
    assert f"gb300 ${dollars[1]:,.0f}/h, " in fleet.of_both
    assert fleet.usd_per_h == pytest.approx(
        80 * prices.for_sku("b200").usd_per_gpu_hour()
        + 144 * prices.for_sku("gb300").usd_per_gpu_hour()
    )
    within = fleet.within(223, measure=lambda one: one.gpus)
    assert within.units == 4
    assert within.gpus == 136


def test_a_plan_ranks_a_pair_beside_single_chips():
    asked = build_plan(
        flags={
            "sku": ["gb300"],
            "prefill_sku": "b200",
            "decode_sku": "gb300",
            "interactivity": 50,
            "rate": 10,
        }
    )
    assert [(load.prefill_sku, load.sku) for load in asked.loads()] == [
        (None, "gb300"),
        ("b200", "gb300"),
    ]


@pytest.mark.parametrize("command", [[], ["sweep"]], ids=["curve", "sweep"])
def test_a_prefill_chip_alone_asks_for_the_decode_chip(capsys, command):
    assert run([*command, "--prefill-sku", "b200"]) == 2
    assert "prefill_sku is b200, but no decode_sku; name one" in capsys.readouterr().err
