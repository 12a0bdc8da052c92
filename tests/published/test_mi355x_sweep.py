"""MI355X on 2026-05-21 and 26 days before, one node, DeepSeek-V4-Pro FP4 8K/1K, SGLang, no MTP.

InferenceX-app, ``mi355x-deepseek-v4-pro-sglang-110x-in-26-days.mdx``. The fit has seen these runs,
so that agreement with them is no prediction. The gains from point to point are in
``test_engine_published.py``.
"""

import pytest

from simulator.studies.load.run import run_load

# clients: layout (InferenceX database), tok/s/GPU, tok/s/user
PUBLISHED = {
    1: ("TP8", 59.2, 57.1),
    8: ("TP8", 348.0, 41.8),
    64: ("TP8", 960.0, 16.8),
    256: ("DPATP8", 2256.0, 9.37),
    512: ("DPATP8", 1814.0, 5.6),
}
FIRST_DAY = (8, "TP8", 20.4, 2.4)


def simulated(clients, layout, *, date):
    return run_load(
        sku="mi355x", engine=f"sglang@{date}", deployment=layout, concurrency=clients
    ).metrics


@pytest.fixture(scope="module")
def points():
    return {
        clients: simulated(clients, layout, date="2026-05-21")
        for clients, (layout, _, _) in PUBLISHED.items()
    }


@pytest.mark.parametrize("clients", [1, 8, 64, 256])
def test_speed_at_every_concurrency(points, clients):
    """57.1, 41.8, 16.8 and 9.37 tok/s/user, to 20 %."""
    assert points[clients].interactivity == pytest.approx(PUBLISHED[clients][2], rel=0.20)


@pytest.mark.parametrize("clients", [1, 8, 64, 256])
def test_throughput_at_every_concurrency(points, clients):
    """59.2, 348, 960 and 2,256 tok/s/GPU, to 10 %.

    The fit takes the smallest and the largest concurrencies of each resolved layout: TP8 to 64
    clients, data-parallel attention from 128 clients on.
    """
    found = points[clients].total_tput_per_gpu
    print(f"{clients} clients: {found:.0f} tok/s/GPU, {found / PUBLISHED[clients][1]:.2f} times")
    assert found == pytest.approx(PUBLISHED[clients][1], rel=0.10)


@pytest.mark.parametrize(("few", "many"), [(1, 8), (8, 64), (64, 256)])
def test_throughput_rises_from_point_to_point_to_256_clients(points, few, many):
    """Each gain to 25 %: 5.9, 2.8 and 2.4 times."""
    gain = points[many].total_tput_per_gpu / points[few].total_tput_per_gpu
    assert gain == pytest.approx(PUBLISHED[many][1] / PUBLISHED[few][1], rel=0.25)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="throughput rises to about 2,600 tok/s/GPU from 256 to 512 clients when this was "
    "written, 1.4 times the measured one: no recorded setting of the date and no mechanism "
    "modelled here (memory, preemption, graph sizes) makes it fall. The database's medians of the "
    "same configuration to 2026-07-19 rise as well, from 2,381 to 3,327",
)
def test_throughput_falls_from_256_to_512_clients(points):
    """2,256 to 1,814 tok/s/GPU."""
    assert points[512].total_tput_per_gpu < points[256].total_tput_per_gpu


@pytest.fixture(scope="module")
def gain(points):
    """Highest throughput of the last day over that of the first one's run of eight clients."""
    clients, layout, _, _ = FIRST_DAY
    first = simulated(clients, layout, date="2026-04-25")
    return points[256].total_tput_per_gpu / first.total_tput_per_gpu


def test_two_software_levels_of_one_chip_are_two_orders_of_magnitude_apart(gain):
    """FP8 fallback kernels without graphs on 2026-04-25; 110.5 times, to a factor of 3."""
    assert 110.5 / 3 < gain < 110.5 * 3


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="180 times when this was written: the first day's run is 36 % too slow",
)
def test_the_gain_of_26_days(gain):
    """2,256 over 20.4 tok/s/GPU is 110.5 times, to 25 %."""
    assert gain == pytest.approx(110.5, rel=0.25)
