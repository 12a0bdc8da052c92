"""Runs that end early: what three requests of each client tell, and whom that ends."""

from dataclasses import replace

import numpy as np
import pytest

from simulator.analysis.objectives import NO_LIMIT, Objectives
from simulator.prediction.part_of_run import LOOKED_AT, whole_run
from simulator.prediction.run import simulate_run
from simulator.scenario.grid import build_sweep
from simulator.serving.deployment import Checkpoint
from simulator.serving.records import Records
from simulator.studies.sweep.bar import BEHIND, WORTH_LOOKING, Bar, Staircase
from simulator.studies.sweep.choosing import Choice, Point
from simulator.studies.sweep.deployments import plan_sweep
from simulator.studies.sweep.points import configure_point, simulate_point

CLIENTS = 64


@pytest.fixture(scope="module")
def sweep():
    flags = {"sku": "b200", "engine": "vllm", "tp": 8, "ep": 8, "isl": 1024, "osl": 128}
    flags |= {"dp_attention": True}
    (found,) = plan_sweep(build_sweep(flags=flags)).sweeps
    return found


@pytest.fixture(scope="module")
def whole(sweep):
    return simulate_point(sweep, CLIENTS)


def even(clients, each):
    """Requests that finish at an even pace: the first of each client after 10 s, then 1 s."""
    count = clients * each
    wave = np.arange(count) // clients
    blank = np.zeros(count)
    first = np.where(wave == 0, 10.0, 1.0)
    finish = 10.0 + wave + np.arange(count) % clients / clients
    return Records.from_columns(
        dict.fromkeys(Records.names, blank)
        | {
            "request": np.arange(count),
            "arrival_s": finish - 1.0 - first,
            "first_token_s": finish - 1.0,
            "finish_s": finish,
            "prompt_tokens": blank + 900,
            "output_tokens": blank + 101,
        }
    )


def test_what_goes_on_evenly_is_estimated_to_the_number():
    """Three of ten even requests a client give the whole run's figures in closed form."""
    part, all_ = even(8, 3), even(8, 10)
    seen = whole_run(part, clients=8, requests_per_client=10, gpus=2, good_ttft_s=5.0)
    assert seen.interactivity == pytest.approx(100.0)
    assert seen.total_tput_per_gpu == pytest.approx(80 * 1001 / all_.finish_s.max() / 2)
    assert seen.ttft == {"median_ttft_s": 1.0, "p90_ttft_s": 1.0, "p99_ttft_s": 1.0}
    assert seen.goodput == 1.0


def test_the_ttft_is_that_of_others_than_the_opening_burst():
    """Of ten requests a client all but the first wait 1 to 8 s: nine tenths up to 8/9 of these."""
    part = even(8, 3)
    wait_s = np.tile(np.arange(1.0, 9.0), 3)
    part = replace(part, arrival_s=part.first_token_s - wait_s)
    seen = whole_run(part, clients=8, requests_per_client=10, gpus=2, good_ttft_s=4.0)
    assert seen.ttft["p90_ttft_s"] == pytest.approx(np.quantile(np.arange(1.0, 9.0), 8 / 9))
    assert seen.ttft["median_ttft_s"] == pytest.approx(np.quantile(np.arange(1.0, 9.0), 4 / 9))
    assert seen.goodput == pytest.approx((0.5 * 9 + 1) / 10)


def test_a_look_is_near_the_whole_run(sweep, whole):
    """Within a fifth of its throughput and speed, as the shares that end a run suppose."""
    configuration, _ = configure_point(sweep, CLIENTS)
    seen = []
    outcome = simulate_run(
        configuration, checkpoint=Checkpoint(after=LOOKED_AT * CLIENTS, look=seen.append)
    )
    (part,) = seen
    assert len(part) == LOOKED_AT * CLIENTS
    assert outcome.metrics.total_tput_per_gpu == whole.cells["total_tput_per_gpu"]
    each = configuration.requests_per_client
    found = whole_run(part, clients=CLIENTS, requests_per_client=each, gpus=configuration.gpus)
    assert found.total_tput_per_gpu == pytest.approx(outcome.metrics.total_tput_per_gpu, rel=0.2)
    assert found.interactivity == pytest.approx(outcome.metrics.interactivity, rel=0.2)


@pytest.mark.parametrize(("height", "ends"), [(0.9, False), (1.5, True)])
def test_a_run_ends_where_it_is_far_below_others(sweep, whole, height, ends):
    place = (2.0 * whole.cells["interactivity"], height * whole.cells["total_tput_per_gpu"])
    point = simulate_point(sweep, CLIENTS, bar=Bar(places=(place,), limits=NO_LIMIT))
    if not ends:
        assert point.cells == whole.cells
        return
    assert point.cells["status"] == BEHIND
    assert point.cells["total_tput_per_gpu"] == pytest.approx(
        whole.cells["total_tput_per_gpu"], rel=0.2
    )


@pytest.fixture(scope="module")
def pools():
    flags = {"sku": "b200", "engine": "dynamo-vllm", "isl": 1024, "osl": 128}
    flags |= {"prefill": "1", "decode": "1", "tp": "8", "ep": "8"}
    found = plan_sweep(build_sweep(flags=flags)).sweeps
    return next(each for each in found if each.label == "1xDEP8+1xDEP8")


def test_pools_end_where_they_are_less_far_below_others(pools):
    """A look at pools is nearer to their whole run, so that less has to be left for its error."""
    configuration, _ = configure_point(pools, CLIENTS)
    seen = []
    look = Checkpoint(after=LOOKED_AT * CLIENTS, look=seen.append)
    whole_ = simulate_run(configuration, checkpoint=look).metrics
    each = configuration.requests_per_client
    found = whole_run(seen[0], clients=CLIENTS, requests_per_client=each, gpus=configuration.gpus)
    assert 0.9 < found.total_tput_per_gpu / whole_.total_tput_per_gpu < 1.05
    for share, ends in ((0.91, False), (0.89, True)):
        place = (2.0 * whole_.interactivity, found.total_tput_per_gpu / share)
        point = simulate_point(pools, CLIENTS, bar=Bar(places=(place,), limits=NO_LIMIT))
        assert (point.cells["status"] == BEHIND) == ends


@pytest.mark.parametrize(("limit_s", "ends"), [(0.2, True), (1.0, False)])
def test_a_run_ends_where_its_users_wait_far_too_long(sweep, whole, limit_s, ends):
    limits = Objectives(ttft_p90_s=limit_s * whole.cells["p90_ttft_s"])
    point = simulate_point(sweep, CLIENTS, bar=Bar(places=(), limits=limits))
    assert (point.cells["status"] == BEHIND) == ends


def test_short_runs_are_not_looked_at(sweep):
    limits = Objectives(ttft_p90_s=1e-6)
    few = simulate_point(sweep, WORTH_LOOKING // 2, bar=Bar(places=(), limits=limits))
    assert few.cells["status"] == "ok"


def test_what_ended_early_is_no_bar_for_others():
    """It is an estimate: it corrects others of its deployment and stands on no frontier."""
    guess = {c: Point(interactivity=100.0 / c, tput=10.0 * c) for c in (1, 2)}
    ended = Point(interactivity=100.0, tput=10.0, is_whole=False)
    choice = Choice(estimates={"one": guess}, shown={("one", 1): ended})
    assert choice.bar(NO_LIMIT).places == ()
    assert choice.next_points() == [("one", 2)]
    assert Staircase([(10.0, 4.0), (5.0, 8.0)]).share(7.0, 2.0) == 0.5
