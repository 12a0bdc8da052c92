"""Software levels: which one applies at a date, on a SKU, and what it is made of."""

import datetime as dt

import pytest
import yaml

from hwmodels.sku import list_skus, load_sku
from hwmodels.software import (
    MEDIAN_LEVEL,
    list_engines,
    list_levels,
    load_software,
    parse_date,
)
from workloads.errors import UserError
from workloads.ops import Component, Op, OpKind

PRO = "deepseek-v4-pro"
UNDATED = """
engine: vllm
defaults:
  host_step_s: {value: 0.002, unit: s, kind: estimate, source: by hand}
  eager_launch_s: {value: 1.0e-05, unit: s, kind: estimate, source: by hand}
plan: {graph_max_tokens: 256}
levels:
  - note: general
"""


def level(sku="mi355x", engine="sglang", **query):
    return load_software(engine=engine, sku=load_sku(sku), model=PRO, **query)


def write(directory, text):
    (directory / "vllm.yaml").write_text(text, encoding="utf-8")
    return directory


@pytest.fixture
def own_levels(tmp_path):
    """A user's own directory: two fitted levels of B200 and a median of B300."""
    data = yaml.safe_load(UNDATED)

    def fitted(scale):
        return {"t0_scale": {"value": scale, "unit": "-", "kind": "fitted", "source": "runs"}}

    data["levels"] += [
        {"date": dt.date(2026, 5, 1), "skus": ["b200"], "parameters": fitted(2.0)},
        {"date": dt.date(2026, 7, 1), "skus": ["b200"], "parameters": fitted(1.5)},
        {"name": MEDIAN_LEVEL, "skus": ["b200"], "parameters": fitted(3.0)},
    ]
    return write(tmp_path, yaml.safe_dump(data))


def test_a_month_means_its_last_day():
    assert parse_date("2026-05") == dt.date(2026, 5, 31)
    assert parse_date("2024-02") == dt.date(2024, 2, 29)
    assert parse_date("2026-12") == dt.date(2026, 12, 31)
    assert parse_date("2026-05-21") == dt.date(2026, 5, 21)


@pytest.mark.parametrize("text", ["2026", "2026-13", "05-2026", "2026-02-30", "yesterday", ""])
def test_what_is_no_date_is_refused(text):
    with pytest.raises(UserError, match="YYYY-MM"):
        parse_date(text)


def test_an_unknown_engine_gets_the_nearest_name():
    with pytest.raises(UserError, match="sglang"):
        level(engine="sglnag")
    with pytest.raises(UserError, match="vllm"):
        list_levels(engine="vlm")


def test_the_last_level_not_after_the_date_applies():
    first, second, third = (dt.date(2026, 4, 25), dt.date(2026, 5, 2), dt.date(2026, 5, 21))
    assert level().date == third
    assert level(date=dt.date(2026, 5, 31)).date == third
    assert level(date=dt.date(2026, 5, 20)).date == second
    assert level(date=dt.date(2026, 5, 1)).date == first
    assert level(date=first).name == "sglang@2026-04-25"


def test_before_the_first_level_the_first_stands_in_and_says_so():
    early = level(date=dt.date(2026, 1, 1))
    assert early.date == dt.date(2026, 4, 25)
    assert any("first one stands in" in message for message in early.messages)
    assert not level().messages


def test_the_first_light_of_mi355x_ran_other_kernels():
    first, latest = level(date=dt.date(2026, 4, 25)), level()
    assert (first.plan.expert_path, first.plan.graph_max_tokens) == ("fp8", 0)
    assert latest.plan.expert_path == "mxfp4xfp8"
    assert latest.plan.graph_max_tokens > 0


@pytest.mark.parametrize("engine", list_engines())
@pytest.mark.parametrize("sku", list_skus())
def test_every_engine_has_a_level_on_every_sku_with_sane_figures(engine, sku):
    software = level(sku, engine)
    assert software.kind in ("calibrated", "transferred", "specification")
    assert 0.0 <= software.host_step_s < 0.1
    assert 0.0 < software.eager_launch_s < 1e-3
    for fit in software.kernels.values():
        assert 0.0 < fit.t0_s < 1e-4
        assert 0.0 < fit.compute_efficiency <= 1.0
        assert 0.0 < fit.memory_efficiency <= 1.0
    for kind in OpKind:
        if kind.is_communication:
            fit = software.collective(kind=kind)
            assert fit.latency_s > 0.0
            assert 0.0 < fit.efficiency < 2.0
            assert 0.0 < fit.scaleout_efficiency <= 1.0


@pytest.mark.parametrize("engine", list_engines())
def test_every_parameter_says_where_it_came_from(engine):
    software = level("b300", engine)
    assert {"host_step_s", "eager_launch_s"} <= set(software.provenance)
    for text in software.provenance.values():
        kind, _, source = text.partition(": ")
        assert kind in ("measured", "fitted", "estimate")
        assert source


def op(**changes):
    values = {"name": "x", "component": Component.ATTENTION, "kind": OpKind.ATTENTION}
    return Op(**values | changes)


def test_a_kernel_is_found_by_variant_then_precision_then_any():
    software = level("b300", "vllm")
    kernels = software.kernels
    prefill = op(variant="prefill", precision="bf16")
    assert software.kernel(op=prefill) == kernels["attention", "prefill"]
    assert software.kernel(op=op(variant="decode")) == kernels["attention", "decode"]
    fp8 = op(kind=OpKind.GEMM, precision="fp8", variant="of no kind")
    assert software.kernel(op=fp8) == kernels["gemm", "fp8"]
    assert software.kernel(op=op(variant="", precision="fp64")) == kernels["attention", "any"]


def test_every_generation_without_its_own_fit_uses_the_generic_one():
    assert level("tpu7x", "vllm").kernels == level("trainium3", "vllm").kernels
    assert level("tpu7x", "vllm").kernels != level("b300", "vllm").kernels


def test_with_parameters_scales_floors_everywhere_and_efficiencies_of_matrix_products_only():
    software = level()
    tuned = software.with_parameters({"t0_scale": 2.0, "compute_scale": 0.5, "host_step_s": 0.003})
    gemm, attention = ("gemm", "fp8"), ("attention", "decode")
    for key in (gemm, attention):
        assert tuned.kernels[key].t0_s == pytest.approx(2.0 * software.kernels[key].t0_s)
    halved = 0.5 * software.kernels[gemm].compute_efficiency
    assert tuned.kernels[gemm].compute_efficiency == pytest.approx(halved)
    kept = software.kernels[attention].compute_efficiency
    assert tuned.kernels[attention].compute_efficiency == kept
    assert tuned.host_step_s == 0.003
    assert tuned.plan == software.plan


def test_an_unknown_parameter_is_named_with_its_neighbours():
    with pytest.raises(UserError, match="software parameter 't0_scle' is unknown.*t0_scale"):
        level().with_parameters({"t0_scle": 2.0})


def test_a_directory_of_own_levels_replaces_the_shipped_ones(own_levels):
    plain = level("h200", "vllm", directory=own_levels)
    assert plain.kind == "specification"
    assert plain.host_step_s == 0.002
    assert plain.plan.graph_max_tokens == 256
    fitted = level("b200", "vllm", directory=own_levels)
    assert fitted.kind == "calibrated"
    assert fitted.date == dt.date(2026, 7, 1)
    key = ("gemm", "fp8")
    shipped = level("b200", "vllm").kernels[key]
    assert fitted.kernels[key].t0_s == pytest.approx(1.5 * shipped.t0_s)
    assert fitted.kernels[key].memory_efficiency == shipped.memory_efficiency


def test_kin_of_a_fitted_sku_borrow_its_level_and_say_so(own_levels):
    borrowed = level("b300", "vllm", directory=own_levels)
    assert "b200" in load_sku("b300").kin
    assert borrowed.kind == "transferred"
    assert borrowed.messages == ("software level transferred from b200",)
    assert borrowed.date == dt.date(2026, 7, 1)


def test_the_median_of_undated_runs_is_a_level_of_its_own(own_levels):
    median = level("b200", "vllm", median=True, directory=own_levels)
    assert median.name == f"vllm@{MEDIAN_LEVEL}"
    assert median.date is None
    dated = level("b200", "vllm", directory=own_levels)
    ratio = median.kernels["gemm", "fp8"].t0_s / dated.kernels["gemm", "fp8"].t0_s
    assert ratio == pytest.approx(2.0)


def test_without_a_median_the_last_level_up_to_its_day_stands_in():
    assert level(median=True).date == dt.date(2026, 5, 21)


def test_scales_never_push_an_efficiency_beyond_the_peak(tmp_path):
    data = yaml.safe_load(UNDATED)
    data["levels"][0]["parameters"] = {
        "memory_scale": {"value": 10.0, "unit": "-", "kind": "fitted", "source": "runs"}
    }
    software = level("b200", "vllm", directory=write(tmp_path, yaml.safe_dump(data)))
    products = [fit for (family, _), fit in software.kernels.items() if "gemm" in family]
    assert {fit.memory_efficiency for fit in products} == {1.0}
