"""What must hold in any run: nothing is lost, nothing leaks, time does not run back."""

import gc
from collections import Counter

import numpy as np
from engine_scenarios import scenarios
from hypothesis import given, settings

from simulator.engines.sglang.engine import SglangEngine
from simulator.serving.client import OpenLoop
from simulator.serving.deployment import Simulation, run_deployment
from simulator.serving.records import Records


@settings(max_examples=150, deadline=None)
@given(scenario=scenarios())
def test_every_request_finishes_once_and_in_order_of_its_events(scenario) -> None:
    deployment, requests, load = scenario
    records = run_deployment(deployment=deployment, requests=requests, load=load)
    assert Counter(records.request.tolist()) == Counter(r.index for r in requests)
    assert np.all(records.arrival_s <= records.scheduled_s)
    assert np.all(records.scheduled_s < records.first_token_s)
    assert np.all(records.first_token_s <= records.finish_s)
    assert np.all(np.diff(records.finish_s) >= 0)
    assert np.all(records.cached_tokens < records.prompt_tokens)
    asked = {r.index: (r.prompt_tokens, r.output_tokens) for r in requests}
    given_back = zip(records.prompt_tokens.tolist(), records.output_tokens.tolist(), strict=True)
    assert dict(zip(records.request.tolist(), given_back, strict=True)) == asked
    if isinstance(load, OpenLoop):
        due = {r.index: r.arrival_s for r in requests if r.turn == 0}
        sent = dict(zip(records.request.tolist(), records.arrival_s.tolist(), strict=True))
        assert all(sent[index] == time_s for index, time_s in due.items())
    else:
        assert in_system(records).max() <= load.concurrency


def in_system(records: Records) -> np.ndarray:
    """Requests in the system after every arrival."""
    arrived = np.sort(records.arrival_s)
    left = np.sort(records.finish_s)
    return np.arange(1, len(arrived) + 1) - np.searchsorted(left, arrived, side="right")


@settings(max_examples=150, deadline=None)
@given(scenario=scenarios())
def test_tokens_in_are_tokens_out_and_steps_follow_each_other(scenario) -> None:
    deployment, requests, load = scenario
    prefilled = decoded = 0
    ended_s = {}

    def note(run) -> None:
        nonlocal prefilled, decoded
        assert run.steps >= 1
        assert run.end_s > run.start_s
        assert run.start_s >= ended_s.get(run.worker, 0.0)
        ended_s[run.worker] = run.end_s
        prefilled += sum(run.prefill_tokens)
        decoded += run.steps * sum(run.decode_requests)

    records = run_deployment(deployment=deployment, requests=requests, load=load, on_step=note)
    to_compute = int((records.prompt_tokens - records.cached_tokens).sum())
    to_decode = sum(r.decode_steps for r in requests)
    if records.preemptions.sum():
        assert prefilled >= to_compute
        # a recomputed prompt gives one token, in place of the decode step it stands for
        assert to_decode - records.preemptions.sum() <= decoded <= to_decode
    else:
        assert (prefilled, decoded) == (to_compute, to_decode)


@settings(max_examples=150, deadline=None)
@given(scenario=scenarios())
def test_blocks_are_never_overdrawn_and_all_come_back(scenario) -> None:
    deployment, requests, load = scenario
    pools = {}

    def note(run) -> None:
        for used in run.used_blocks:
            assert 0 <= used <= pools[run.worker].total_blocks

    simulation = Simulation(deployment=deployment, requests=requests, load=load, on_step=note)
    pools.update({worker.index: worker.pool for worker in simulation.workers})
    simulation.run()
    for worker in simulation.workers:
        assert not any(worker.loads)
        for rank in worker.ranks:
            assert rank.held == 0
            assert rank.batch.size == rank.handed_over == rank.life_blocks == 0
            assert rank.used_blocks(worker.steps) == 0
            assert not any((rank.waiting, rank.expected, rank.reserved, rank.prefilling))
            assert rank.swapped_bytes == 0
            if rank.cache is not None:
                assert rank.cache.held_blocks == 0


@settings(max_examples=60, deadline=None)
@given(scenario=scenarios())
def test_each_rank_knows_how_much_it_has_to_serve(scenario) -> None:
    deployment, requests, load = scenario

    def note(run) -> None:
        worker = simulation.workers[run.worker]
        for rank in worker.ranks:
            queued = len(rank.waiting) + len(rank.incoming) + len(rank.expected)
            assert worker.loads[rank.index] == queued + rank.admitted_count()
            admitted = [*rank.filling(), *(s for _, _, s in rank.batch.running)]
            assert rank.life_blocks == sum(s.life_blocks for s in admitted)
        assert worker.total_load == sum(worker.loads)

    simulation = Simulation(deployment=deployment, requests=requests, load=load, on_step=note)
    simulation.run()


@settings(max_examples=40, deadline=None)
@given(scenario=scenarios())
def test_a_run_makes_no_reference_cycles(scenario) -> None:
    """It may last long, and Python does not look for cycles while it does."""
    deployment, requests, load = scenario
    simulation = Simulation(deployment=deployment, requests=requests, load=load)
    gc.freeze()  # what stood before is not looked through again and again
    try:
        records = simulation.run()
        assert gc.collect() == 0
    finally:
        gc.unfreeze()
    assert len(records) == len(requests)


@settings(max_examples=60, deadline=None)
@given(scenario=scenarios())
def test_first_come_first_served(scenario) -> None:
    deployment, requests, load = scenario
    records = run_deployment(deployment=deployment, requests=requests, load=load)
    pool = deployment.aggregated or deployment.prefill
    retracts_to_the_end = isinstance(pool.engine, SglangEngine) and records.preemptions.any()
    if deployment.prefill is not None or retracts_to_the_end:
        return
    place = records.worker.astype(np.int64) * 1000 + records.rank
    reached_s = records.arrival_s + deployment.front_end.delay_s(records.prompt_tokens)
    for rank in np.unique(place):
        of_rank = place == rank
        order = np.lexsort((records.scheduled_s[of_rank], reached_s[of_rank]))
        assert np.all(np.diff(records.scheduled_s[of_rank][order]) >= 0)


@settings(max_examples=30, deadline=None)
@given(scenario=scenarios())
def test_the_same_run_gives_the_same_bytes(scenario) -> None:
    deployment, requests, load = scenario
    first, second = (
        run_deployment(deployment=deployment, requests=requests, load=load) for _ in range(2)
    )
    for name in Records.names:
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
