"""Prefill workers, decode workers and what moves between them."""

import pytest
from engine_traces import closed, finishes, first_tokens, pool, requests, trace

from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.client import OpenLoop
from simulator.serving.deployment import Deployment, run_deployment
from simulator.serving.kv_transfer import TransferLink
from workloads.errors import UserError

PREFILL = VllmSettings(async_scheduling=False, max_num_batched_tokens=64, max_num_seqs=1)
DECODE = VllmSettings(async_scheduling=False, max_num_batched_tokens=64, max_num_seqs=8)
LINK = {"bandwidth_bytes_per_s": 16.0, "token_bytes": 1.0}


def split(*, prefill=None, decode=None, first_token_at="prefill", **link):
    return Deployment(
        prefill=pool(PREFILL, **(prefill or {})),
        decode=pool(DECODE, **(decode or {})),
        transfer=TransferLink(**{**LINK, **link}),
        first_token_at=first_token_at,
    )


def moved(deployment, workload):
    """(start, end, request, source, destination) of every transfer."""
    transfers = []
    run_deployment(
        deployment=deployment, requests=workload, load=OpenLoop(), on_transfer=transfers.append
    )
    return [(t.start_s, t.end_s, t.request, t.source, t.destination) for t in transfers]


def test_a_request_decodes_where_its_kv_entries_went() -> None:
    steps, records = trace(split(), requests((8, 3), (8, 3)))
    assert steps == [
        (0.0, 1, 8, 0),  # prefill worker, one request at a time
        (1.0, 1, 8, 0),
        (1.5, 1, 0, 1),  # decode worker: 8 B at 16 B/s later
        (2.5, 1, 0, 1),  # the second gets its blocks at this boundary, moves until 3.0
        (3.5, 2, 0, 1),  # and joins at the next
    ]
    assert finishes(records) == [(3.5, 0), (5.5, 1)]
    assert first_tokens(records) == {0: 1.0, 1: 2.0}
    assert records.worker.tolist() == [1, 1]


def test_the_decode_worker_may_stream_the_first_token() -> None:
    _, records = trace(split(first_token_at="decode"), requests((8, 3), (8, 3)))
    assert first_tokens(records) == {0: 1.5, 1: 3.5}


def test_transfer_time_has_size_descriptors_and_latency() -> None:
    link = TransferLink(
        bandwidth_bytes_per_s=100.0,
        token_bytes=2.0,
        request_bytes=30.0,
        block_tokens=16,
        latency_s=0.25,
        descriptor_s=0.01,
        descriptors_per_block=5,
    )
    assert link.size_bytes(17) == 30 + 2 * 32
    assert link.posting_s(17) == pytest.approx(0.1)
    whole = split(
        bandwidth_bytes_per_s=100.0,
        token_bytes=2.0,
        request_bytes=30.0,
        block_tokens=16,
        latency_s=0.25,
        descriptor_s=0.01,
        descriptors_per_block=5,
    )
    assert moved(whole, requests((17, 2))) == [
        (1.0, pytest.approx(1.0 + 0.94 + 0.1 + 0.25), 0, 0, 1)
    ]


def test_transfers_of_one_sender_queue_and_of_two_share_the_receiver() -> None:
    one = split(prefill={"workers": 1}, bandwidth_bytes_per_s=4.0)
    assert moved(one, requests((8, 2), (8, 2))) == [(1.0, 3.0, 0, 0, 1), (2.0, 5.0, 1, 0, 1)]
    receivers = split(prefill={"workers": 2}, decode={"workers": 2}, bandwidth_bytes_per_s=4.0)
    assert moved(receivers, requests((8, 2), (8, 2))) == [
        (1.0, 3.0, 0, 0, 2),
        (1.0, 3.0, 1, 1, 3),
    ]
    receiver = split(prefill={"workers": 2}, bandwidth_bytes_per_s=4.0)
    assert moved(receiver, requests((8, 2), (8, 2))) == [(1.0, 3.0, 0, 0, 2), (1.0, 5.0, 1, 1, 2)]


def test_a_full_decode_worker_holds_up_prefill() -> None:
    # the decode pool holds one request of 3 blocks; the prefill pool two prompts of 2 blocks
    deployment = split(prefill={"blocks": 4}, decode={"blocks": 3})
    steps, records = trace(deployment, requests(*[(8, 4)] * 4), closed(4))
    assert [run for run in steps if run[2]] == [
        (0.0, 1, 8, 0),
        (1.0, 1, 8, 0),  # the second prompt keeps its blocks from 2.0 on
        (2.0, 1, 8, 0),  # the first left at 1.5
        (5.0, 1, 8, 0),  # the second leaves when the first has finished
    ]
    assert finishes(records) == [(4.5, 0), (8.0, 1), (11.5, 2), (15.0, 3)]


def test_a_prompt_that_awaits_its_transfer_keeps_its_state_slot() -> None:
    deployment = split(prefill={"request_slots": 1}, bandwidth_bytes_per_s=4.0)
    steps, _ = trace(deployment, requests((8, 2), (8, 2)))
    assert [run for run in steps if run[2]] == [(0.0, 1, 8, 0), (3.0, 1, 8, 0)]


def test_single_token_outputs_never_move() -> None:
    assert moved(split(), requests((8, 1))) == []


def test_pools_may_differ_in_engine_ranks_and_speculation() -> None:
    deployment = Deployment(
        prefill=pool(SglangSettings(disable_overlap_schedule=True), dp=2),
        decode=pool(DECODE, dp=4, queries=3),
        transfer=TransferLink(**LINK),
    )
    workload = requests(*[(16, 7)] * 4)
    for request in workload:
        request.decode_steps = 2
    steps, records = trace(deployment, workload)
    assert steps == [
        (0.0, 1, (32, 32), (0, 0)),
        # each sender moves two requests one after another, the receiver four
        (2.0, 1, (0, 0, 0, 0), (1, 0, 0, 0)),
        (3.0, 1, (0, 0, 0, 0), (1, 1, 0, 0)),
        (4.0, 1, (0, 0, 0, 0), (0, 1, 1, 0)),
        (5.0, 1, (0, 0, 0, 0), (0, 0, 1, 1)),
        (6.0, 1, (0, 0, 0, 0), (0, 0, 0, 1)),
    ]
    assert records.rank.tolist() == [0, 1, 2, 3]


def test_a_link_needs_a_bandwidth() -> None:
    with pytest.raises(UserError, match="bandwidth_bytes_per_s of the KV transfer is 0"):
        TransferLink(bandwidth_bytes_per_s=0.0, token_bytes=1.0)
    with pytest.raises(UserError, match="latency_s of the KV transfer is -1"):
        TransferLink(bandwidth_bytes_per_s=1.0, token_bytes=1.0, latency_s=-1)
