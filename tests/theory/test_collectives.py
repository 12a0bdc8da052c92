"""Collectives: what crosses the links, the bandwidth limit, and groups beyond one domain."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.collectives import CollectiveFit, collective_s, group_scaleup_bytes_per_s
from hwmodels.sku import list_skus, load_sku
from workloads.errors import UserError
from workloads.ops import OpKind

FIT = CollectiveFit(
    latency_s=5e-6, efficiency=0.8, scaleout_latency_s=10e-6, scaleout_efficiency=0.9
)
COLLECTIVES = [kind for kind in OpKind if kind.is_communication]
REDUCING = [OpKind.ALL_REDUCE, OpKind.ALL_GATHER, OpKind.REDUCE_SCATTER]
MESSAGE = st.floats(min_value=0.0, max_value=1e10)
FEW = settings(max_examples=60, deadline=None)
HUGE_BYTES = 1e14


def seconds(*, kind, message_bytes, group_size, sku="b300", fit=FIT):
    return float(
        collective_s(
            kind=kind,
            message_bytes=message_bytes,
            group_size=group_size,
            sku=load_sku(sku) if isinstance(sku, str) else sku,
            fit=fit,
        )
    )


@pytest.mark.parametrize("kind", COLLECTIVES)
@given(message_bytes=MESSAGE)
@FEW
def test_one_rank_costs_nothing(kind, message_bytes):
    assert seconds(kind=kind, message_bytes=message_bytes, group_size=1) == 0.0


@pytest.mark.parametrize("kind", COLLECTIVES)
@pytest.mark.parametrize("group_size", [2, 8])
def test_an_empty_message_costs_the_latency(kind, group_size):
    assert seconds(kind=kind, message_bytes=0.0, group_size=group_size) == FIT.latency_s


@pytest.mark.parametrize("group_size", [2, 3, 4, 8])
@pytest.mark.parametrize(
    ("kind", "crossing"),
    [
        (OpKind.ALL_REDUCE, lambda g: 2 * (g - 1) / g),
        (OpKind.ALL_GATHER, lambda g: (g - 1) / g),
        (OpKind.REDUCE_SCATTER, lambda g: (g - 1) / g),
        (OpKind.ALL_TO_ALL, lambda g: (g - 1) / g),
        (OpKind.POINT_TO_POINT, lambda g: 1.0),
    ],
)
def test_a_large_message_reaches_the_links_bandwidth(kind, crossing, group_size):
    taken = seconds(kind=kind, message_bytes=HUGE_BYTES, group_size=group_size)
    rate = crossing(group_size) * HUGE_BYTES / taken
    assert rate == pytest.approx(FIT.efficiency * load_sku("b300").scaleup_bytes_per_s, rel=1e-4)


@pytest.mark.parametrize("kind", COLLECTIVES)
@given(message_bytes=MESSAGE, more=st.floats(min_value=1.0, max_value=100.0))
@FEW
def test_a_larger_message_never_takes_less_time(kind, message_bytes, more):
    for group_size in (2, 8, 16):
        small = seconds(kind=kind, message_bytes=message_bytes, group_size=group_size)
        large = seconds(kind=kind, message_bytes=more * message_bytes, group_size=group_size)
        assert large >= small * (1 - 1e-12)


@pytest.mark.parametrize("kind", COLLECTIVES)
@pytest.mark.parametrize("message_bytes", [0.0, 1e4, 1e8])
def test_more_ranks_behind_a_switch_never_take_less_time(kind, message_bytes):
    times = [
        seconds(kind=kind, message_bytes=message_bytes, group_size=g, sku="gb300")
        for g in (2, 4, 8, 16, 32, 64)
    ]
    assert times == sorted(times)


@pytest.mark.parametrize("kind", COLLECTIVES)
@pytest.mark.parametrize("message_bytes", [0.0, 1e5, 1e9])
def test_leaving_the_scaleup_domain_costs_time(kind, message_bytes):
    inside = seconds(kind=kind, message_bytes=message_bytes, group_size=8)
    across = seconds(kind=kind, message_bytes=message_bytes, group_size=16)
    assert across >= inside + FIT.scaleout_latency_s


@pytest.mark.parametrize("domains", [2, 4])
def test_all_to_all_across_domains_is_bound_by_the_network(domains):
    sku = load_sku("b300")
    g, w = 8 * domains, 8
    taken = seconds(kind=OpKind.ALL_TO_ALL, message_bytes=HUGE_BYTES, group_size=g)
    away_bytes = HUGE_BYTES * (g - w) / g
    rate = FIT.scaleout_efficiency * sku.scaleout_bytes_per_s
    assert taken == pytest.approx(away_bytes / rate, rel=1e-4)


@pytest.mark.parametrize("kind", REDUCING)
def test_a_reduction_crosses_the_network_through_all_ports_of_a_domain(kind):
    sku = load_sku("b300")
    factor = (2 if kind is OpKind.ALL_REDUCE else 1) * 15 / 16
    taken = seconds(kind=kind, message_bytes=HUGE_BYTES, group_size=16)
    inside_s = factor * HUGE_BYTES / (FIT.efficiency * sku.scaleup_bytes_per_s)
    network_s = factor * HUGE_BYTES / 8 / (FIT.scaleout_efficiency * sku.scaleout_bytes_per_s)
    assert taken == pytest.approx(max(inside_s, network_s), rel=1e-4)


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_a_domain_of_one_chip_has_only_the_network(kind):
    sku = load_sku("b300").override({"scaleup_world": 1})
    faster_links = sku.override({"scaleup_bytes_per_s": 1e15})
    taken = seconds(kind=kind, message_bytes=1e9, group_size=8, sku=sku)
    assert math.isfinite(taken)
    assert seconds(kind=kind, message_bytes=1e9, group_size=8, sku=faster_links) == taken


def test_a_mesh_uses_only_the_links_to_the_group():
    sku = load_sku("mi300x")
    pair = sku.scaleup_pair_bytes_per_s
    assert group_scaleup_bytes_per_s(sku=sku, group_size=2) == pair
    assert group_scaleup_bytes_per_s(sku=sku, group_size=4) == 3 * pair
    full = group_scaleup_bytes_per_s(sku=sku, group_size=8)
    assert full == min(sku.scaleup_bytes_per_s, 7 * pair)


def test_a_switch_gives_every_group_the_full_rate():
    sku = load_sku("b300")
    for group_size in (2, 4, 8):
        assert group_scaleup_bytes_per_s(sku=sku, group_size=group_size) == sku.scaleup_bytes_per_s


def test_arrays_of_messages_are_the_scalars_one_by_one():
    messages = np.array([0.0, 1e3, 1e6, 1e9])
    for group_size in (1, 8, 16):
        times = collective_s(
            kind=OpKind.ALL_TO_ALL,
            message_bytes=messages,
            group_size=group_size,
            sku=load_sku("b300"),
            fit=FIT,
        )
        assert times.shape == messages.shape
        for one, message_bytes in zip(times, messages, strict=True):
            alone = seconds(
                kind=OpKind.ALL_TO_ALL, message_bytes=message_bytes, group_size=group_size
            )
            assert float(one) == alone


WITHOUT_NETWORK = [name for name in list_skus() if load_sku(name).scaleout_bytes_per_s is None]


def test_some_skus_state_no_network():
    assert {"tpu7x", "ascend950pr", "rtx_pro_6000"} <= set(WITHOUT_NETWORK)


@pytest.mark.parametrize("name", WITHOUT_NETWORK)
@pytest.mark.parametrize("kind", COLLECTIVES)
def test_an_unknown_network_is_asked_for_only_where_it_is_needed(name, kind):
    world = load_sku(name).scaleup_world
    assert seconds(kind=kind, message_bytes=1e6, group_size=min(world, 8), sku=name) > 0.0
    with pytest.raises(UserError, match=rf"scaleout_bytes_per_s of {name} is unknown"):
        seconds(kind=kind, message_bytes=1e6, group_size=2 * world, sku=name)
    with pytest.raises(UserError, match=r"--set scaleout_bytes_per_s="):
        seconds(kind=kind, message_bytes=1e6, group_size=2 * world, sku=name)
    known = load_sku(name).override({"scaleout_bytes_per_s": 50e9})
    assert seconds(kind=kind, message_bytes=1e6, group_size=2 * world, sku=known) > 0.0
