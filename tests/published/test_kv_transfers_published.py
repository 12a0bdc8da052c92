"""KV transfers against measured ones: InferenceX CollectiveX, August 2026, two nodes.

Tolerances: within 15 % (median) but for pulls of NIXL, which on B300 fall to a seventh of the line
under a batch and are told as such by the range of their share.
"""

import numpy as np
import pytest

from calibration.kernels.kv_transfers import fit_kv_transfers, read_kv_transfers
from hwmodels.kv_transfers import (
    check_transfer,
    default_transfer,
    load_transfer_library,
    transfer_line_rate,
)
from hwmodels.sku import load_sku
from workloads.errors import UserError

ROWS = read_kv_transfers()
CASES = [
    ("nixl", "push", 0.15),
    ("nixl", "pull", 0.35),
    ("mooncake", "push", 0.15),
    ("mooncake", "pull", 0.10),
    ("mori_io", "push", 0.05),
    ("mori_io", "pull", 0.10),
]


@pytest.mark.parametrize(("name", "way", "tolerance"), CASES)
def test_measured_transfers(name, way, tolerance):
    rows = ROWS[(ROWS["library"] == name) & (ROWS["op"] == way)]
    library = load_transfer_library(name)
    predicted = library.latency_s[way] + rows["line_s"] / library.share[way]
    assert np.median(np.abs(predicted / rows["time_s"] - 1.0)) <= tolerance


@pytest.mark.parametrize(("name", "way", "tolerance"), CASES)
def test_the_shipped_figures_are_those_of_the_shipped_rows(name, way, tolerance):
    law = fit_kv_transfers(ROWS[(ROWS["library"] == name) & (ROWS["op"] == way)])
    library = load_transfer_library(name)
    assert library.share[way] == pytest.approx(law.share, rel=0.01)
    assert library.latency_s[way] == pytest.approx(law.latency_s, rel=0.05)


def test_small_transfers_reach_less_of_the_line():
    """16 MB over B200 and Mooncake: 27 of 50 GB/s, a batch of 32 of them 46."""
    library, sku = load_transfer_library("mooncake"), load_sku("b200")
    line = transfer_line_rate(library=library, sku=sku)

    def rate(size):
        return size / (library.latency_s["pull"] + size / (library.share["pull"] * line))

    assert rate(16e6) == pytest.approx(27e9, rel=0.15)
    assert rate(32 * 16e6) == pytest.approx(46e9, rel=0.10)


def test_the_library_that_stands_in():
    b200, mi355x = load_sku("b200"), load_sku("mi355x")
    assert default_transfer(orchestrator="dynamo", sku=b200).key == "nixl"
    assert default_transfer(orchestrator="mori", sku=mi355x).key == "mori_io"
    assert default_transfer(orchestrator="", sku=mi355x).key == "mori_io"
    assert default_transfer(orchestrator="mori", sku=b200).key == "nixl"
    assert default_transfer(orchestrator="", sku=load_sku("ascend950dt")) is None


def test_a_library_for_other_chips_is_refused_with_those_that_fit():
    with pytest.raises(UserError, match="mori_io does not run on b200; use one of nixl, mooncake"):
        check_transfer(library=load_transfer_library("mori_io"), sku=load_sku("b200"))
    with pytest.raises(UserError, match="mooncake"):
        load_transfer_library("moncake")
