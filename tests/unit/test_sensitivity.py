"""Elasticities of a run: homogeneity, the chain rule, what has no influence, what cannot run."""

import json
import math
from dataclasses import replace

import pytest

from simulator.cli.main import run
from simulator.engines.pools import DoesNotFitError, deployment_label
from simulator.prediction.assembly import assemble
from simulator.studies.explain.request import configure
from simulator.studies.sensitivity.request import build_sensitivity
from simulator.studies.sensitivity.run import _configuration, sensitivity
from simulator.studies.sensitivity.text import print_sensitivity, summary_of
from workloads.errors import UserError

RATES = (
    "hbm_bytes_per_s",
    "flops_fp4",
    "flops_fp8",
    "flops_bf16",
    "flops_fp32",
    "scaleup_bytes_per_s",
    "scaleup_pair_bytes_per_s",
    "scaleout_bytes_per_s",
)
HOST = ("turnaround_s", "client_overhead_s", "tokenise_s_per_token")
TIMES = ("t0_scale", "host_step_s", "eager_launch_s", *HOST)
SMALL = {"isl": 1024, "osl": 128, "engine": "vllm"}


def means(result, metric):
    return {one.parameter: one.elasticity[metric].mean for one in result.elasticities}


@pytest.fixture(scope="module")
def alone():
    """One chip: no collective, so that rates and times are all there is."""
    return sensitivity(
        sku="b300",
        model="deepseek-v4-flash",
        tp=1,
        concurrency=16,
        step=0.02,
        replications=2,
        **SMALL,
    )


@pytest.mark.parametrize("metric", ["throughput", "interactivity"])
def test_speed_is_homogeneous_in_rates_and_times(alone, metric):
    """Euler: with all rates k times as high and all times 1/k, all is k times as fast."""
    found = means(alone, metric)
    rates = sum(found.get(name, 0.0) for name in RATES)
    times = sum(found.get(name, 0.0) for name in TIMES)
    assert rates - times == pytest.approx(1.0, abs=0.02)


def test_ttft_is_homogeneous_too(alone):
    """The clients' turnaround counts: what they take to send anew, they wait less for a step."""
    found = means(alone, "ttft")
    rates = sum(found.get(name, 0.0) for name in RATES)
    times = sum(found.get(name, 0.0) for name in TIMES)
    assert times - rates == pytest.approx(1.0, abs=0.03)


def test_faster_chips_are_no_slower(alone):
    for metric in ("throughput", "interactivity"):
        found = means(alone, metric)
        assert all(found[name] >= -1e-3 for name in RATES if name in found)
        chips_own = set(TIMES) - set(HOST)
        assert all(found[name] <= 1e-3 for name in chips_own if name in found)


def test_more_clients_give_throughput_and_take_speed(alone):
    assert 0 < means(alone, "throughput")["concurrency"] < 1
    assert means(alone, "interactivity")["concurrency"] < 0


def test_numbers_without_influence_are_listed_not_run(alone):
    assert {"host_memory_bytes", "host_link_bytes_per_s"} <= set(alone.without_influence)
    assert set(alone.untried.values()) >= {"a count moves in whole steps"}
    assert {"tdp_w", "hbm_bytes"} <= {
        name for name, reason in alone.untried.items() if reason.startswith("changes no figure")
    }
    tried = {one.parameter for one in alone.elasticities}
    assert not tried & (set(alone.without_influence) | set(alone.untried))


def test_rows_are_ordered_and_exported(alone, capsys, tmp_path):
    sizes = [abs(one.elasticity["throughput"].mean) for one in alone.elasticities]
    assert sizes == sorted(sizes, reverse=True)
    frame = alone.frame()
    assert frame["parameter"].tolist() == [one.parameter for one in alone.elasticities]
    # the elasticity is the slope through the two results
    row = frame.iloc[0]
    slope = math.log(row["throughput_at_high"] / row["throughput_at_low"])
    slope /= math.log(row["high"] / row["low"])
    assert row["elasticity_throughput"] == pytest.approx(slope, rel=0.01)
    print_sensitivity(alone, directory=tmp_path)
    text = capsys.readouterr().out
    assert "matters most" in text
    assert "without influence here" in text
    assert json.loads(json.dumps(summary_of(alone)))["base"]["throughput"] > 0
    alone.plot(tmp_path / "tornado.png")
    assert (tmp_path / "tornado.png").stat().st_size > 10_000


def test_at_a_fixed_speed_the_chain_rule_holds():
    """dT/dp at constant speed: E_T(p) - E_T(c) E_I(p) / E_I(c)."""
    load = {"sku": "b200", "tp": 8, "ep": 8, "dp_attention": False, **SMALL}
    fixed = sensitivity(interactivity=40.0, replications=1, **load)
    assert fixed.base.keys() == {"throughput"}
    assert fixed.untried["concurrency"] == "it follows from the interactivity"
    free = sensitivity(concurrency=fixed.configuration.concurrency, replications=1, **load)
    tput, speed = means(free, "throughput"), means(free, "interactivity")
    trade = tput["concurrency"] / speed["concurrency"]
    for name in ("hbm_bytes_per_s", "t0_scale"):
        expected = tput[name] - trade * speed[name]
        assert means(fixed, "throughput")[name] == pytest.approx(expected, rel=0.3)


@pytest.fixture(scope="module")
def tight():
    """Settings of a chip with 1 % more memory than the least that holds the model."""
    settings = {
        "sku": "b300",
        "model": "deepseek-v4-flash",
        "tp": 1,
        "concurrency": 64,
        "replications": 1,
        **SMALL,
    }
    request = build_sensitivity(flags=settings)
    configuration, _ = configure(request.scenario, concurrency=64)
    low, high = 1e11, 3e11
    while high - low > 1e8:
        middle = (low + high) / 2
        try:
            assemble(
                replace(configuration, sku=configuration.sku.override({"hbm_usable_bytes": middle}))
            )
        except DoesNotFitError:
            low = middle
        else:
            high = middle
    return settings | {"overrides": {"hbm_usable_bytes": 1.01 * high}}


def test_memory_matters_where_it_is_full(tight):
    """Few requests fit: more bytes hold more of them, and the queue is shorter."""
    full = sensitivity(step=0.004, **tight)
    assert full.elasticities[0].parameter == "hbm_usable_bytes"
    assert means(full, "throughput")["hbm_usable_bytes"] > 5
    assert means(full, "ttft")["hbm_usable_bytes"] < 0


def test_a_side_that_does_not_fit_leaves_the_other(tight):
    one_sided = sensitivity(step=0.02, **tight)
    row = next(one for one in one_sided.elasticities if one.parameter == "hbm_usable_bytes")
    assert row.note.startswith("does not fit at")
    assert row.low == row.value < row.high
    assert row.result_low["throughput"] == 1.0 < row.result_high["throughput"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "no SKU is given"),
        ({"sku": ["b200", "b300"]}, "one configuration"),
        ({"sku": "b200", "concurrency": (1, 2)}, "one configuration"),
        ({"sku": "b200", "step": 0.9}, "step is 0.9"),
        ({"sku": "b200", "stepp": 0.1}, "did you mean step"),
    ],
)
def test_requests_refuse_what_makes_no_study(flags, message):
    with pytest.raises(UserError, match=message):
        build_sensitivity(flags=flags)


def test_a_speed_out_of_reach_is_said():
    with pytest.raises(UserError, match="a lone user gets"):
        sensitivity(sku="b200", tp=8, interactivity=5000.0, **SMALL)


def test_the_command_writes_its_files(tmp_path, capsys):
    line = (
        "sensitivity --sku b200 --tp 8 --ep 8 --no-dp-attention --isl 256 --osl 16 "
        "--engine vllm --concurrency 4 --replications 1 --json --out"
    )
    out = tmp_path / "study"
    assert run([*line.split(), str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["elasticities"]
    names = {file.name for file in out.iterdir()}
    assert names == {"sensitivity.csv", "sensitivity.png", "resolved.yaml", "summary.json"}


def test_stated_numbers_of_workers_take_the_layouts_that_the_recipe_ran():
    asked = {"sku": "b200", "engine": "dynamo-sglang", "isl": 8192, "osl": 1024}
    request = build_sensitivity(flags={**asked, "prefill": 1, "decode": 1, "concurrency": 128})
    configuration, messages = _configuration(request, concurrency=128)
    assert deployment_label(configuration.pools) == "1xDEP8+1xDEP8"
    assert any("from recipe" in message for message in messages)
    several = build_sensitivity(flags={**asked, "prefill": "1-2", "decode": 1})
    with pytest.raises(UserError, match="leave a choice of"):
        _configuration(several, concurrency=128)
