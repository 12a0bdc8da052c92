"""Which concurrencies a deployment is tried at, and where its sweep ends."""

import itertools

import pandas as pd
import pytest

from simulator.prediction.bottleneck import KV_CAPACITY
from simulator.studies.concurrency import concurrencies, ends_after
from simulator.studies.curve.api import curve
from simulator.studies.sweep.api import sweep


def test_stated_concurrencies_are_taken_as_they_are():
    assert concurrencies((3, 5)) == (3, 5)


@pytest.mark.parametrize(("gpus", "largest"), [(1, 2048), (16, 2048), (32, 4096), (72, 8192)])
def test_powers_of_two_go_further_for_more_gpus(gpus, largest):
    found = concurrencies(None, gpus=gpus)
    assert found[0] == 1
    assert all(high == 2 * low for low, high in itertools.pairwise(found))
    assert largest / 2 <= found[-1] <= largest


@pytest.mark.parametrize(
    ("rates", "bottleneck", "kv_fill", "ends"),
    [
        ((1.0,), "decode", 0.1, False),
        ((1.0, 2.0, 2.0), "decode", 0.1, False),
        ((2.0, 2.0, 2.01), "decode", 0.1, True),
        ((1.0, 2.0, 4.0), "decode", 0.91, True),
        ((1.0, 2.0, 4.0), KV_CAPACITY, 0.5, True),
    ],
)
def test_a_sweep_ends_where_it_stalls_or_memory_is_full(rates, bottleneck, kv_fill, ends):
    assert ends_after(rates, bottleneck=bottleneck, kv_fill=kv_fill) is ends


def test_a_curve_and_a_sweep_of_one_question_end_alike():
    asked = {"sku": "a100", "model": "llama-3.x-70b", "tp": 2, "isl": 4096, "osl": 64}
    drawn = curve(**asked, engine="vllm").frame()
    swept = sweep(**asked, engine="vllm").frame()
    assert swept["concurrency"].max() < 2048
    pd.testing.assert_frame_equal(
        swept.drop(columns="series"), drawn.drop(columns="series"), rtol=1e-12
    )
