"""Scheduling rules by date: one form of each in force on any day, and the page in step."""

import datetime as dt
from pathlib import Path

import pytest

from simulator.engines.registry import engine_class
from simulator.engines.rules import all_rules, rule_settings, rules_in_force, rules_page

ROOT = Path(__file__).parents[2]
DAYS = [dt.date(2025, 10, 1) + dt.timedelta(days=n) for n in range(420)]


def test_the_page_is_in_step() -> None:
    assert (ROOT / "docs/reference/engines.md").read_text(encoding="utf-8") == rules_page()


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "atom"])
def test_one_form_of_each_rule_holds_on_any_day(engine) -> None:
    names = {rule.rule for rule in all_rules() if rule.engine == engine}
    for day in [*DAYS, None]:
        found = [rule.rule for rule in rules_in_force(engine=engine, day=day)]
        assert sorted(found) == sorted(names), day


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "atom"])
def test_rules_set_settings_that_the_engine_has(engine) -> None:
    fields = engine_class(engine).settings_class
    for rule in all_rules():
        if rule.engine == engine:
            fields(**rule.settings)


def test_atom_changed_its_alignment_four_times() -> None:
    def kind(day):
        settings = rule_settings(engine="atom", day=dt.date.fromisoformat(day))
        return settings["prefill_alignment"][0], settings["prefill_align_max_ticks"][0]

    assert rule_settings(engine="atom", day=dt.date(2026, 5, 1))["prefill_alignment"][0] == "none"
    assert kind("2026-06-16") == ("some_ranks", 30)
    assert kind("2026-07-05") == ("full_budget", 30)
    assert kind("2026-07-18") == ("coalescer", 30)
    assert kind("2026-08-20") == ("coalescer", 200)
