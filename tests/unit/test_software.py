"""Software levels: which one applies at a date, on a SKU, and what it is made of."""

import datetime as dt
from math import log

import pytest
import yaml

from hwmodels.calibration_files import sealed
from hwmodels.engine_files import kernel_table, list_engines, list_levels
from hwmodels.fitted import choose_level_date
from hwmodels.sku import list_skus, load_sku
from hwmodels.software import MEDIAN_LEVEL, load_software, parse_date
from workloads.errors import UserError
from workloads.ops import Component, Op, OpKind

PRO = "deepseek-v4-pro"


def level(sku="mi355x", engine="sglang", **query):
    return load_software(engine=engine, sku=load_sku(sku), model=PRO, **query)


@pytest.fixture
def own_fit(tmp_path):
    """A user's own fit: B200 at two dates and as a median, with shared effects."""
    fit = {
        "models": [PRO],
        "families": {PRO: "deepseek_v4", "deepseek-v4-flash": "deepseek_v4"},
        "source": "runs",
        "generations": {"b200": "blackwell"},
        "bounds": {"t0_scale": [log(0.1), log(10.0)]},
        "runs": {
            "deepseek_v4/vllm/b200/2026-05": 4,
            "deepseek_v4/vllm/b200/2026-07-01": 3,
            "deepseek_v4/vllm/b200/median-2026-07": 9,
        },
        "effects": {
            "t0_scale": {
                "all": {"": log(1.5)},
                "kernels": {"vllm/blackwell": log(1.2)},
                "engine_sku": {"vllm/b200": log(1.1)},
                "level": {
                    "deepseek_v4/vllm/b200/2026-05": log(2.0),
                    "deepseek_v4/vllm/b200/median-2026-07": log(0.5),
                },
            }
        },
    }
    (tmp_path / "fitted.yaml").write_text(yaml.safe_dump(sealed({"fits": [fit]})), encoding="utf-8")
    return tmp_path


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


def test_the_last_plan_not_after_the_date_applies():
    def named(**query):
        return level(specification=True, **query).name

    assert named() == "sglang@2026-05-21"
    assert named(date=dt.date(2026, 5, 31)) == "sglang@2026-05-21"
    assert named(date=dt.date(2026, 5, 20)) == "sglang@2026-05-02"
    assert named(date=dt.date(2026, 5, 1)) == "sglang@2026-04-25"
    assert named(date=dt.date(2026, 4, 25)) == "sglang@2026-04-25"


def test_before_the_first_plan_the_first_stands_in_and_says_so():
    early = level(date=dt.date(2026, 1, 1), specification=True)
    assert early.name == "sglang@2026-04-25"
    assert any("stands in" in message for message in early.messages)
    assert not level(specification=True).messages


def test_the_first_light_of_mi355x_ran_other_kernels():
    first, latest = level(date=dt.date(2026, 4, 25)), level(date=dt.date(2026, 5, 31))
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
        # the largest, 553 us, is vLLM's on MI325X: its software of the measured runs, no silicon
        assert 0.0 < fit.t0_s < 6e-4
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
    software = level(specification=True)
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
    with pytest.raises(UserError, match=r"software parameter 't0_scle' is unknown.*t0_scale"):
        level().with_parameters({"t0_scle": 2.0})


def t0_factor(software):
    bare = level(sku="b200", engine="vllm", specification=True)
    key = ("gemm", "fp8")
    return software.kernels[key].t0_s / bare.kernels[key].t0_s


def test_effects_of_all_kernels_sku_and_date_multiply(own_fit):
    fitted = level("b200", "vllm", directory=own_fit, date=dt.date(2026, 7, 20))
    assert fitted.name == f"vllm@2026-07-01 of {own_fit.name}"
    assert (fitted.kind, fitted.basis) == ("calibrated", "own runs")
    assert t0_factor(fitted) == pytest.approx(1.5 * 1.2 * 1.1)
    may = level("b200", "vllm", directory=own_fit, date=dt.date(2026, 6, 15))
    assert may.name == f"vllm@2026-05 of {own_fit.name}"
    assert t0_factor(may) == pytest.approx(1.5 * 1.2 * 1.1 * 2.0)


@pytest.mark.parametrize(
    ("level_dates", "chosen"),
    [
        (["2026-05-17", "median-2026-07"], "2026-05-17"),
        (["2026-05-17", "2026-07", "median-2026-07"], "2026-07"),
        (["2026-05-17", "2026-05"], "2026-05"),
        (["median-2026-07"], "median-2026-07"),
        ([], ""),
    ],
)
def test_without_a_date_the_newest_dated_level_is_in_force(level_dates, chosen):
    """The undated median, which nobody runs, only stands in where nothing is dated."""
    level_date, message = choose_level_date(level_dates, date=None, median=False)
    assert level_date == chosen
    assert ("undated median" in message) == (chosen == "median-2026-07")


@pytest.mark.parametrize(
    ("day", "chosen"),
    [("2026-05-16", "2026-05-17"), ("2026-07-30", "2026-05-17"), ("2026-07-31", "2026-07")],
)
def test_a_date_takes_the_last_dated_level_and_never_the_median(day, chosen):
    level_dates = ["2026-05-17", "2026-07", "median-2026-07"]
    assert (
        choose_level_date(level_dates, date=dt.date.fromisoformat(day), median=False)[0] == chosen
    )


def test_the_median_is_a_level_of_its_own(own_fit):
    newest = level("b200", "vllm", directory=own_fit)
    assert MEDIAN_LEVEL not in newest.name

    median = level("b200", "vllm", directory=own_fit, median=True)
    assert median.name == f"vllm@{MEDIAN_LEVEL} of {own_fit.name}"
    assert t0_factor(median) == pytest.approx(1.5 * 1.2 * 1.1 * 0.5)


def test_a_sibling_shares_the_kernels_and_says_so(own_fit):
    borrowed = level("b300", "vllm", directory=own_fit)
    assert (borrowed.kind, borrowed.basis) == ("transferred", "sibling")
    assert borrowed.parameters["t0_scale"] == pytest.approx(1.5 * 1.2)
    assert borrowed.messages[0] == "vllm efficiencies transferred from b200"
    assert str(own_fit) in borrowed.messages[1]


def test_other_kernels_share_only_what_all_share(own_fit):
    other = level("h200", "vllm", directory=own_fit)
    assert (other.kind, other.basis) == ("transferred", "other kernels")
    assert other.parameters["t0_scale"] == pytest.approx(1.5)


def test_a_new_generation_starts_from_the_kernels_of_related_skus(own_fit):
    rubin = level("vr200", "vllm", directory=own_fit)
    assert (rubin.kind, rubin.basis) == ("transferred", "other kernels")
    assert rubin.parameters["t0_scale"] == pytest.approx(1.5 * 1.2)
    assert "no run on this chip generation: vllm efficiencies of b200" in rubin.messages[0]


def test_a_model_without_a_fit_of_its_own_borrows_and_says_so(own_fit):
    r1 = load_software(engine="vllm", sku=load_sku("b200"), model="deepseek-r1", directory=own_fit)
    assert r1.kind == "transferred"
    assert "efficiencies of other models on b200" in r1.messages[0]
    flash = load_software(
        engine="vllm", sku=load_sku("b200"), model="deepseek-v4-flash", directory=own_fit
    )
    assert (flash.kind, flash.basis) == ("transferred", "sibling")
    assert "fitted on deepseek-v4-pro" in flash.messages[0]


def test_a_specification_level_uses_no_fit(own_fit):
    bare = level("b200", "vllm", directory=own_fit, specification=True)
    assert (bare.kind, bare.basis) == ("specification", "nothing")
    assert t0_factor(bare) == 1.0


def test_scales_never_push_an_efficiency_beyond_the_peak():
    software = level("b200", "vllm").with_parameters({"memory_scale": 10.0})
    products = [fit for (family, _), fit in software.kernels.items() if "gemm" in family]
    assert {fit.memory_efficiency for fit in products} == {1.0}
    # efficiencies of other families are the kernel table's, below 1
    assert max(fit.memory_efficiency for fit in software.kernels.values()) == 1.0


def test_a_level_of_few_runs_says_how_few(tmp_path):
    from hwmodels.fitted import FEW_RUNS, fitted_level

    def message(runs):
        folder = tmp_path / str(runs)
        folder.mkdir()
        (folder / "fitted.yaml").write_text(
            yaml.safe_dump(
                sealed(
                    {
                        "fits": [
                            {
                                "models": ["deepseek-v4-pro"],
                                "families": {"deepseek-v4-pro": "deepseek_v4"},
                                "source": "x",
                                "generations": {"b200": "blackwell"},
                                "bounds": {},
                                "effects": {},
                                "runs": {"deepseek_v4/vllm/b200/2026-05-17": runs},
                            }
                        ]
                    }
                )
            )
        )
        found = fitted_level(
            engine="vllm",
            sku=load_sku("b200"),
            model="deepseek-v4-pro",
            precision="fp4",
            date=None,
            median=False,
            directory=folder,
        )
        return found.message

    assert "vllm@2026-05-17 rests on 7 measured runs" in message(FEW_RUNS - 1)
    assert "rests on" not in message(FEW_RUNS)


def test_parameters_change_on_the_kernel_table_that_a_level_stands_on():
    table = {name: dict(each) for name, each in kernel_table().items() if isinstance(each, dict)}
    slower = yaml.safe_load(yaml.safe_dump(table))
    for generations in slower["families"]["gemm"].values():
        for fit in generations.values():
            fit["t0_s"]["value"] *= 3.0
    shipped = level("b200", "vllm")
    other = shipped.with_kernel_table(slower, name="slower")
    changed = other.with_parameters({"host_step_s": 1e-3})
    family = next(key for key in shipped.kernels if key[0] == "gemm")
    assert changed.host_step_s == 1e-3
    assert changed.kernels[family].t0_s == pytest.approx(3 * shipped.kernels[family].t0_s)
