"""Kernel floors of generations that no kernel was measured on: the trend of their line."""

import pytest

from hwmodels.engine_files import kernel_table
from hwmodels.floors import dated_floors, floor_s, floor_trend
from hwmodels.sku import load_sku
from hwmodels.software import load_software
from simulator.studies.catalog.sheets import sheet_of
from workloads.ops import Component, Op, OpKind


def entry(**floors_us):
    return {
        name: {"t0_s": {"value": value * 1e-6, "kind": "fitted"}}
        for name, value in floors_us.items()
    }


def table(**paths):
    return {"families": {"gemm": paths}}


def test_a_measured_generation_has_its_own_floors():
    trend = floor_trend(generation="hopper", table=kernel_table())
    assert (trend.base, trend.ratio) == ("hopper", 1.0)


def test_the_trend_is_the_median_step_to_the_power_of_the_steps_ahead():
    paths = {
        "a": entry(ampere=8, hopper=4, blackwell=4, generic=5),
        "b": entry(hopper=10, blackwell=8, generic=9),
    }
    trend = floor_trend(generation="rubin", table=table(**paths))
    # steps 0.5 and 0.9; two steps from blackwell to rubin
    assert trend.steps == (("ampere", "hopper", 0.5, 1), ("hopper", "blackwell", 0.9, 2))
    assert trend.ratio == pytest.approx(0.7**2)
    assert (trend.low, trend.high) == (pytest.approx(0.25), pytest.approx(0.81))
    assert floor_s(generations=paths["b"], trend=trend) == pytest.approx(0.49 * 8e-6)


def test_one_step_is_no_trend():
    trend = floor_trend(generation="rubin", table=table(a=entry(hopper=4, blackwell=2, generic=3)))
    assert (trend.base, trend.ratio) == ("blackwell", 1.0)


@pytest.mark.parametrize("generation", ["cdna5", "ironwood"])
def test_a_line_without_measured_floors_takes_the_mean(generation):
    assert floor_trend(generation=generation, table=kernel_table()).base == "generic"


def test_an_unmeasured_chip_starts_where_its_line_ends():
    op = Op(name="x", component=Component.DENSE, kind=OpKind.GEMM, precision="bf16")

    def floor(key):
        sku = load_sku(key)
        level = load_software(engine="vllm", sku=sku, model="deepseek-r1", specification=True)
        return level.kernel(op=op).t0_s

    trend = floor_trend(generation="rubin", table=kernel_table())
    assert floor("vr200") == pytest.approx(trend.ratio * floor("gb300"))


def test_the_sheet_of_a_chip_says_what_floor_it_assumes_and_from_what():
    text = sheet_of("sku", "vr200")["floors"]
    assert "of blackwell_ultra's" in text
    assert "hopper to blackwell" in text
    assert sheet_of("sku", "h100")["floors"].endswith("measured on hopper")
    assert "assumed" in sheet_of("sku", "mi355x")["floors"]


def test_dated_floors_are_the_slope_of_their_logarithm():
    """Floors that fall by 5 % a month on one chip and stay on another: -2.5 % in the median."""
    runs = [f"dsv3/{engine}/b200/2026-0{n}" for engine in ("vllm", "trtllm") for n in (1, 2, 4)]
    runs += ["dsv3/sglang/b200/2026-01", "dsv3/vllm/h100/2026-01", "dsv3/vllm/b200/median"]

    def factor_of(family, engine, sku, date):
        return 0.95 ** int(date[5:7]) if engine == "vllm" else 1.0

    found = dated_floors(("b200", "b300"), factor_of=factor_of, runs=runs)
    assert found.levels == 2
    assert found.change == pytest.approx(-0.025)
    assert (found.low, found.high) == (pytest.approx(-0.05), 0.0)
    assert (found.skus, found.first, found.last) == (("b200",), "2026-01", "2026-04")
    assert dated_floors(("b300",), factor_of=factor_of, runs=runs) is None


def test_dated_floors_count_years_and_days():
    """Two months over a new year, and half of one: 5 % a month all the way."""
    months = {"2025-11-15": 0.0, "2026-01": 2.0, "2026-01-30": 2.5}

    def factor_of(family, engine, sku, date):
        return 0.95 ** months[date]

    runs = [f"dsv3/vllm/b200/{date}" for date in months]
    found = dated_floors(("b200",), factor_of=factor_of, runs=runs)
    assert found.change == pytest.approx(-0.05)
    assert (found.first, found.last) == ("2025-11-15", "2026-01-30")


def test_the_sheet_says_how_floors_moved_with_the_software():
    assert "by date: floors of" in sheet_of("sku", "b200")["floors_by_date"]
    assert "a month" in sheet_of("sku", "vr200")["floors_by_date"]
