"""Who sends what when, and where it goes."""

import pytest
from engine_traces import closed, pool, requests, trace

from simulator.engines.atom.engine import AtomSettings
from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.trtllm.engine import TrtllmSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.client import ClosedLoop, OpenLoop, gather_sessions
from simulator.serving.deployment import Deployment, run_deployment
from simulator.serving.kv_pool import KvPoolSpec
from simulator.serving.router import WorkerPool
from workloads.errors import UserError

VLLM = VllmSettings(async_scheduling=False, max_num_batched_tokens=64, max_num_seqs=8)


def placed(records):
    """(worker, rank) by request."""
    rows = zip(
        records.request.tolist(), records.worker.tolist(), records.rank.tolist(), strict=True
    )
    return [(worker, rank) for _, worker, rank in sorted(rows)]


def conversation(session, *turns, think_s=0.0, start_s=None, first_index=0):
    """Requests of (prompt, output), each a turn."""
    workload = requests(*turns)
    for turn, request in enumerate(workload):
        request.index = first_index + turn
        request.session, request.turn = session, turn
        request.think_s = think_s if turn else 0.0
        request.arrival_s = None if turn else start_s
    return workload


def test_round_robin_takes_turns_over_workers_then_ranks() -> None:
    deployment = pool(VLLM, dp=2, workers=2, rank_routing="round_robin")
    _, records = trace(deployment, requests(*[(4, 2)] * 6))
    assert placed(records) == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 0), (1, 0)]


def test_least_loaded_goes_to_the_fewest_requests_and_the_lowest_index() -> None:
    deployment = pool(VLLM, dp=2, rank_routing="least_loaded")
    _, records = trace(deployment, requests((4, 9), (4, 2), (4, 2), at=[0, 0, 4.5]))
    assert placed(records) == [(0, 0), (0, 1), (0, 1)]
    deployment = pool(VLLM, workers=3, routing="least_loaded")
    _, records = trace(deployment, requests((4, 9), (4, 2), (4, 9), (4, 2), at=[0, 0, 0, 4.5]))
    assert placed(records) == [(0, 0), (1, 0), (2, 0), (1, 0)]


def test_engines_route_over_their_ranks_as_they_do() -> None:
    # the first request is still running when the third comes, the second is not
    workload = requests((4, 9), (4, 2), (4, 2), at=[0, 0, 4.5])
    for settings, ranks in (
        (VLLM, [0, 1, 1]),
        (TrtllmSettings(disable_overlap_scheduler=True), [0, 1, 1]),
        (SglangSettings(disable_overlap_schedule=True), [0, 1, 0]),
        (AtomSettings(deferred_output=False, prefill_alignment="none"), [0, 1, 1]),
    ):
        _, records = trace(pool(settings, dp=2), workload)
        assert [rank for _, rank in placed(records)] == ranks


def test_kv_aware_goes_to_the_cached_prefix_unless_that_worker_is_busy() -> None:
    engine = VllmSettings(
        async_scheduling=False, max_num_batched_tokens=64, enable_prefix_caching=True
    )
    workload = requests((16, 1), (8, 1), (20, 1), (20, 1), at=[0, 0, 5, 5])
    for request in workload:
        request.block_tokens = 4
    workload[0].block_hashes = (1, 2, 3, 4)
    workload[2].block_hashes = (1, 2, 3, 4, 5)
    workload[3].block_hashes = (1, 2, 3, 4, 6)
    deployment = pool(engine, workers=2, routing="kv_aware")
    _, records = trace(deployment, workload)
    assert placed(records) == [(0, 0), (1, 0), (0, 0), (1, 0)]
    # the last finds worker 0 with a queue of 20 tokens to its own 4, worker 1 with 20 in all
    assert sorted(records.cached_tokens.tolist()) == [0, 0, 0, 16]


def test_a_client_thinks_between_turns_and_stays_with_its_conversation() -> None:
    workload = conversation(0, (4, 2), (8, 2), think_s=5.0) + conversation(
        1, (4, 2), (8, 2), think_s=1.0, first_index=2
    )
    _, records = trace(pool(VLLM), workload, closed(1))
    assert records.request.tolist() == [0, 1, 2, 3]
    assert records.arrival_s.tolist() == [0.0, 7.0, 9.0, 12.0]


def test_interleaved_conversations_of_a_list_are_gathered() -> None:
    a = conversation(0, (4, 2), (8, 2))
    b = conversation(1, (4, 2), (8, 2), first_index=2)
    single = requests((1, 1))[0]
    mixed = [a[0], b[0], single, b[1], a[1]]
    assert list(gather_sessions(mixed)) == [a[0], a[1], b[0], b[1], single]
    _, records = trace(pool(VLLM), [a[0], b[0], b[1], a[1]], closed(1))
    assert records.request.tolist() == [0, 1, 2, 3]


def test_interleaved_conversations_of_a_stream_are_refused() -> None:
    a = conversation(0, (4, 2), (8, 2))
    b = conversation(1, (4, 2), (8, 2), first_index=2)
    with pytest.raises(UserError, match="request 1 is turn 1 of session 0, whose turns do not"):
        trace(pool(VLLM), iter([a[0], b[0], a[1]]), closed(1))


def test_an_open_loop_sends_later_turns_after_the_pause() -> None:
    workload = conversation(0, (4, 2), (8, 2), think_s=5.0, start_s=1.0)
    late = conversation(1, (4, 2), start_s=3.0, first_index=2)
    _, records = trace(pool(VLLM), workload + late)
    arrivals = dict(zip(records.request.tolist(), records.arrival_s.tolist(), strict=True))
    assert arrivals == {0: 1.0, 2: 3.0, 1: 8.0}


def test_a_turn_read_after_its_predecessor_finished_still_waits_for_the_user() -> None:
    first, second = conversation(0, (4, 2), (8, 2), think_s=5.0, start_s=1.0)
    late = requests((4, 2), at=[50])[0]
    late.index = 2
    _, records = trace(pool(VLLM), iter([first, late, second]))
    arrivals = dict(zip(records.request.tolist(), records.arrival_s.tolist(), strict=True))
    assert arrivals == {0: 1.0, 2: 50.0, 1: 55.0}


@pytest.mark.parametrize("times", [[None], [-1.0], [2.0, 1.0], [float("nan")]])
def test_an_open_loop_needs_arrivals_in_order(times) -> None:
    workload = requests(*[(4, 1)] * len(times))
    for request, time_s in zip(workload, times, strict=True):
        request.arrival_s = time_s
    with pytest.raises(UserError, match="an open loop needs arrivals"):
        trace(pool(VLLM), workload)


def test_records_reach_the_sink_and_memory_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr("simulator.serving.deployment.RECORDS_PER_CHUNK", 10)
    chunks = []
    read = 0

    def stream():
        nonlocal read
        for request in requests(*[(4, 2)] * 25, at=range(25)):
            read += 1
            yield request
            assert read <= len(chunks) * 10 + 20  # no further ahead than what is in flight

    rest = run_deployment(
        deployment=Deployment(aggregated=pool(VLLM)),
        requests=stream(),
        load=OpenLoop(),
        sink=chunks.append,
    )
    assert len(rest) == 0
    assert [len(chunk) for chunk in chunks] == [10, 10, 5]
    assert sorted(i for chunk in chunks for i in chunk.request.tolist()) == list(range(25))


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="concurrency is 0"):
        ClosedLoop(concurrency=0)
    with pytest.raises(UserError, match="workers is 0"):
        pool(VLLM, workers=0)
    with pytest.raises(UserError, match="total_blocks of the KV pool is 0"):
        KvPoolSpec(total_blocks=0, block_tokens=1)
    with pytest.raises(UserError, match="request_slots of the KV pool is 0"):
        KvPoolSpec(total_blocks=1, block_tokens=1, request_slots=0)
    with pytest.raises(UserError, match="either an aggregated pool"):
        Deployment(prefill=pool(VLLM))
    assert isinstance(pool(VLLM), WorkerPool)


def test_a_conversation_stays_at_its_rank_whatever_the_load() -> None:
    deployment = pool(VLLM, dp=4, workers=2, routing="session", rank_routing="session")
    workload = [r for s in range(40) for r in conversation(s, *[(4, 2)] * 3, first_index=3 * s)]
    _, records = trace(deployment, workload, load=closed(40))
    places = placed(records)
    for session in range(40):
        assert len(set(places[3 * session : 3 * session + 3])) == 1
    assert len(set(places)) == 8  # the hash spreads 40 conversations over all ranks
