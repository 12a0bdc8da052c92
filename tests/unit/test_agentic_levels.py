"""Software levels of builds that only agentic runs have measured."""

import datetime as dt
from dataclasses import replace

import pytest

from hwmodels.agentic_levels import agentic_level, fixed_lengths_only
from hwmodels.sku import load_sku
from hwmodels.software import load_software


def level(engine, sku, **more):
    return load_software(engine=engine, sku=load_sku(sku), model="deepseek-v4-pro", **more)


def test_the_agentic_build_stands_in_for_agentic_traffic_and_says_so() -> None:
    fixed = level("vllm", "b200")
    agentic = agentic_level(fixed, family="deepseek_v4", date=None)
    assert agentic.name == "vllm@2026-08-21-agentic"
    assert "fitted to step records of B200 (one agentic run in it)" in agentic.messages[0]
    assert agentic.parameters["memory_scale"] == 1.15
    # nothing of the level is left over from fixed lengths but what no step time depends on
    for name in ("t0_scale", "memory_scale", "compute_scale", "eager_launch_s", "host_step_s"):
        changed = replace(fixed, parameters={**fixed.parameters, name: 9.0})
        again = agentic_level(changed, family="deepseek_v4", date=None)
        assert again.parameters[name] == agentic.parameters[name]


def test_a_chip_whose_agentic_build_nobody_measured_has_it_transferred() -> None:
    """Step records of B200 made B300's replays calibrated."""
    kinds = {
        sku: agentic_level(level("vllm", sku), family="deepseek_v4", date=None, sku=sku).kind
        for sku in ("b200", "b300")
    }
    assert level("vllm", "b300").kind == "calibrated"
    assert kinds == {"b200": "calibrated", "b300": "transferred"}


@pytest.mark.parametrize(
    ("engine", "sku", "family", "date"),
    [
        ("vllm", "b200", "deepseek_v4", dt.date(2026, 6, 1)),
        ("vllm", "b200", "moe_gqa", None),
        ("vllm", "h200", "deepseek_v4", None),
        ("sglang", "b300", "deepseek_v4", None),
    ],
)
def test_other_dates_families_and_chips_keep_their_level(engine, sku, family, date) -> None:
    fixed = level(engine, sku)
    assert agentic_level(fixed, family=family, date=date) is fixed


def test_for_comparisons_the_level_of_fixed_lengths_answers_alone() -> None:
    fixed = level("vllm", "b200")
    with fixed_lengths_only():
        assert agentic_level(fixed, family="deepseek_v4", date=None) is fixed
    assert agentic_level(fixed, family="deepseek_v4", date=None) is not fixed
