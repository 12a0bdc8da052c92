"""The smooth roofline: its limits, its bounds, and how operations add up to a step."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.roofline import floor_of_op_s, op_s, peak_flops_per_s, roofline_s, step_ops_s
from hwmodels.sku import list_skus, load_sku
from hwmodels.software import load_software
from simulator.prediction.step_breakdown import time_ops
from workloads.errors import UserError
from workloads.ops import Component, Op, OpKind, TokenExchange

WORK = st.floats(min_value=0.0, max_value=1e18)
SOME_WORK = st.floats(min_value=1.0, max_value=1e18)
EXPONENT = st.floats(min_value=1.0, max_value=16.0)
FEW = settings(max_examples=60, deadline=None)


def seconds(flops: float, hbm_bytes: float, exponent: float = 4.0) -> float:
    """Time on a chip of 2 PFLOP/s and 4 TB/s, half and three quarters of which are reached."""
    return float(
        roofline_s(
            flops=np.float64(flops),
            hbm_bytes=np.float64(hbm_bytes),
            peak_flops_per_s=2e15,
            hbm_bytes_per_s=4e12,
            compute_efficiency=0.5,
            memory_efficiency=0.75,
            exponent=exponent,
        )
    )


def level(sku: str = "b300", engine: str = "vllm"):
    return load_software(engine=engine, sku=load_sku(sku), model="deepseek-v4-pro")


def gemm(**changes) -> Op:
    values = {
        "name": "gemm",
        "component": Component.DENSE,
        "kind": OpKind.GEMM,
        "precision": "fp8",
        "flops": 1e12,
        "weight_bytes": 1e8,
        "layers": 3,
    }
    return Op(**values | changes)


@given(flops=WORK, hbm_bytes=WORK, exponent=EXPONENT)
@FEW
def test_a_kernel_takes_between_its_slower_limit_and_the_sum_of_both(flops, hbm_bytes, exponent):
    compute_s, memory_s = flops / 1e15, hbm_bytes / 3e12
    taken = seconds(flops, hbm_bytes, exponent)
    assert taken >= max(compute_s, memory_s) * (1 - 1e-12)
    assert taken <= (compute_s + memory_s) * (1 + 1e-12)


@given(flops=SOME_WORK, hbm_bytes=SOME_WORK)
@FEW
def test_exponent_one_is_the_sum_and_a_large_one_the_maximum(flops, hbm_bytes):
    compute_s, memory_s = flops / 1e15, hbm_bytes / 3e12
    assert seconds(flops, hbm_bytes, 1.0) == pytest.approx(compute_s + memory_s)
    assert seconds(flops, hbm_bytes, 2000.0) == pytest.approx(max(compute_s, memory_s), rel=1e-3)


@given(work=SOME_WORK)
@FEW
def test_one_limit_alone_is_the_plain_roofline(work):
    assert seconds(work, 0.0) == pytest.approx(work / 1e15)
    assert seconds(0.0, work) == pytest.approx(work / 3e12)


def test_no_work_takes_no_time():
    assert seconds(0.0, 0.0) == 0.0


def test_at_the_knee_the_norm_is_two_to_the_quarter():
    assert seconds(1e15, 3e12) == pytest.approx(2**0.25)


@given(flops=WORK, hbm_bytes=WORK, more=st.floats(min_value=1.0, max_value=100.0))
@FEW
def test_more_work_never_takes_less_time(flops, hbm_bytes, more):
    least = seconds(flops, hbm_bytes) * (1 - 1e-12)
    assert seconds(flops * more, hbm_bytes) >= least
    assert seconds(flops, hbm_bytes * more) >= least


@given(flops=SOME_WORK, hbm_bytes=SOME_WORK, scale=st.floats(min_value=1e-3, max_value=1e3))
@FEW
def test_time_scales_with_the_amount_of_work(flops, hbm_bytes, scale):
    scaled = seconds(scale * flops, scale * hbm_bytes)
    assert scaled == pytest.approx(scale * seconds(flops, hbm_bytes))


def test_a_launch_with_nothing_to_do_takes_the_floor():
    software = level()
    empty = gemm(flops=0.0, weight_bytes=0.0, kernels=3.0)
    fit = software.kernel(op=empty)
    taken = float(op_s(op=empty, sku=load_sku("b300"), software=software))
    assert taken == pytest.approx(3.0 * fit.t0_s)
    assert 1e-6 < fit.t0_s < 2e-5


@pytest.mark.parametrize("sku", list_skus())
def test_large_products_reach_their_efficiency_of_the_peak(sku):
    chip = load_sku(sku)
    software = level(sku)
    large = gemm(precision="bf16", flops=1e18, weight_bytes=0.0)
    rate = 1e18 / float(op_s(op=large, sku=chip, software=software))
    assert rate == pytest.approx(
        software.kernel(op=large).compute_efficiency * chip.flops_bf16, rel=1e-3
    )
    assert rate < chip.flops_bf16


def test_array_quantities_are_the_scalars_one_by_one():
    chip, software = load_sku("h200"), level("h200")
    flops = np.array([0.0, 1e9, 1e12, 1e15])
    times = op_s(op=gemm(flops=flops), sku=chip, software=software)
    for index, value in enumerate(flops):
        alone = op_s(op=gemm(flops=float(value)), sku=chip, software=software)
        assert float(times[index]) == pytest.approx(float(alone))


def test_operations_in_order_add_up_over_their_layers():
    chip, software = load_sku("b300"), level()
    ops = [gemm(), gemm(flops=5e13, layers=1)]
    each = [op.layers * float(op_s(op=op, sku=chip, software=software)) for op in ops]
    together = float(step_ops_s(ops=ops, sku=chip, software=software))
    assert together == pytest.approx(sum(each))


def exchanged(*, mode, tokens, stream=1):
    exchange = TokenExchange(
        operation="combine",
        tokens=tokens,
        choices=8,
        copy_bytes=14336.0,
        library="deepep",
        mode=mode,
    )
    return Op(
        name="moe.combine",
        component=Component.COMMUNICATION,
        kind=OpKind.ALL_TO_ALL,
        group_size=8,
        exchange=exchange,
        layers=1,
        stage="s",
        stream=stream,
    )


@pytest.mark.parametrize("tokens", [64.0, 4096.0, 65536.0])
def test_an_exchange_takes_its_multiprocessors_from_the_other_half(tokens):
    """DeepEP's normal mode holds 24 SMs, its low-latency mode lets go of them."""
    chip, software = load_sku("b300"), level()
    work = gemm(flops=5e12, layers=1, stage="s", stream=0)
    work_s = float(op_s(op=work, sku=chip, software=software))
    for mode, taken in (("normal", 24.0), ("low_latency", 0.0)):
        exchange = exchanged(mode=mode, tokens=tokens)
        exchange_s = float(op_s(op=exchange, sku=chip, software=software))
        together = float(step_ops_s(ops=[work, exchange], sku=chip, software=software))
        lost_s = taken / chip.sm_count * exchange_s
        assert together == pytest.approx(max(exchange_s, work_s + lost_s))
        shown = time_ops(ops=[work, exchange], sku=chip, software=software)
        assert sum(time.seconds for time in shown) == pytest.approx(together)
        # one after another in a stream nothing is lost
        after = exchanged(mode=mode, tokens=tokens, stream=0)
        in_order = float(step_ops_s(ops=[work, after], sku=chip, software=software))
        assert in_order == pytest.approx(work_s + exchange_s)


def test_a_chip_of_unknown_size_says_what_to_give():
    chip = load_sku("b300").model_copy(update={"sm_count": None})
    ops = [gemm(stage="s"), exchanged(mode="normal", tokens=64.0)]
    with pytest.raises(UserError, match="--set sm_count="):
        step_ops_s(ops=ops, sku=chip, software=level())


def test_overlap_hides_floors_and_communication_but_not_work():
    chip, software = load_sku("b300"), level()

    def stage_s(*ops):
        return float(step_ops_s(ops=list(ops), sku=chip, software=software))

    tiny = [gemm(flops=1.0, weight_bytes=1.0, stage="s", stream=stream) for stream in (0, 1)]
    assert stage_s(*tiny) == pytest.approx(stage_s(tiny[0]))
    large = [gemm(flops=5e13, layers=1, stage="s", stream=stream) for stream in (0, 1)]
    floor_s = floor_of_op_s(op=large[0], software=software)
    assert stage_s(*large) == pytest.approx(2.0 * (stage_s(large[0]) - floor_s))
    apart = [large[0], gemm(flops=5e13, layers=1, stage="other", stream=1)]
    assert stage_s(*apart) == pytest.approx(2.0 * stage_s(large[0]))


@pytest.mark.parametrize(
    ("sku", "precision", "field"),
    [
        ("b300", "mxfp4", "flops_fp4"),
        ("b300", "mxfp4xfp8", "flops_fp8"),
        ("h200", "mxfp4", "flops_fp8"),
        ("mi300x", "nvfp4", "flops_fp8"),
        ("a100", "fp8", "flops_bf16"),
        ("b300", "w4a16", "flops_bf16"),
    ],
)
def test_a_path_without_its_own_unit_runs_at_the_next_wider_rate(sku, precision, field):
    chip = load_sku(sku)
    assert peak_flops_per_s(sku=chip, precision=precision) == getattr(chip, field)


def test_every_sku_can_run_every_path():
    for name in list_skus():
        for precision in ("mxfp4", "nvfp4", "mxfp4xfp8", "fp8", "w4a16", "bf16", "fp32", "int8"):
            assert peak_flops_per_s(sku=load_sku(name), precision=precision) > 0


def test_a_chip_without_any_rate_names_the_flag():
    class Bare:
        key = "bare"
        flops_bf16 = None

    with pytest.raises(UserError, match=r"bare states no peak rate for 'bf16'.*--set flops_bf16="):
        peak_flops_per_s(sku=Bare(), precision="bf16")


def test_the_time_is_finite_where_one_limit_is_far_below_the_other():
    assert math.isfinite(seconds(1e-30, 1e18))
    assert seconds(1e-30, 1e18) == pytest.approx(1e18 / 3e12)
