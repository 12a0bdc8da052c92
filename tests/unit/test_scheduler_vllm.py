"""vLLM's rules as traces: (start, steps, prefill tokens, decode requests)."""

from engine_traces import finishes, first_tokens, pool, requests, trace

from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.kv_pool import KvPoolSpec, OffloadTier


def vllm(**settings):
    return VllmSettings(
        **{"async_scheduling": False, "max_num_batched_tokens": 16, "max_num_seqs": 8, **settings}
    )


def test_decode_takes_its_tokens_first_and_prompts_what_is_left() -> None:
    steps, records = trace(pool(vllm()), requests((10, 6), (30, 3)))
    assert steps == [
        (0.0, 1, 16, 0),  # all of the first prompt, 6 of the second
        (1.0, 1, 15, 1),  # one decode token, 15 of the prompt
        (2.0, 1, 9, 1),  # the rest
        (3.0, 2, 0, 2),
        (5.0, 1, 0, 1),
    ]
    assert finishes(records) == [(5.0, 1), (6.0, 0)]
    assert first_tokens(records) == {0: 1.0, 1: 3.0}


def test_max_num_seqs_bounds_admission() -> None:
    steps, records = trace(pool(vllm(max_num_seqs=2)), requests((4, 3), (4, 5), (4, 1)))
    assert steps == [(0.0, 1, 8, 0), (1.0, 2, 0, 2), (3.0, 1, 4, 1), (4.0, 1, 0, 1)]
    assert finishes(records) == [(3.0, 0), (4.0, 2), (5.0, 1)]


def test_speculation_charges_all_verified_tokens_to_the_budget() -> None:
    steps, _ = trace(pool(vllm(), queries=4), requests((4, 20), (30, 2)))
    # the first request takes 4 of the 16 tokens of each step
    assert steps[:3] == [(0.0, 1, 16, 0), (1.0, 1, 12, 1), (2.0, 1, 6, 1)]


def test_without_chunked_prefill_a_prompt_waits_for_room_in_the_budget() -> None:
    steps, records = trace(
        pool(vllm(enable_chunked_prefill=False)), requests((10, 2), (16, 1), (6, 1))
    )
    assert steps == [(0.0, 1, 10, 0), (1.0, 1, 0, 1), (2.0, 1, 16, 0), (3.0, 1, 6, 0)]
    assert finishes(records) == [(2.0, 0), (3.0, 1), (4.0, 2)]


def test_a_head_that_does_not_fit_holds_back_those_behind_it() -> None:
    # 10 blocks of 4: 5 for the first request; the second needs 8, the third only 1
    steps, records = trace(pool(vllm(), blocks=10), requests((16, 4), (30, 1), (1, 1)))
    assert steps == [(0.0, 1, 16, 0), (1.0, 3, 0, 1), (4.0, 1, 16, 0), (5.0, 1, 15, 0)]
    assert finishes(records) == [(4.0, 0), (6.0, 1), (6.0, 2)]


def test_the_older_admission_asks_for_the_first_chunk_alone() -> None:
    """The second prompt is taken up at once, and again, when its second chunk lacked blocks."""
    settings = vllm(scheduler_reserve_full_isl=False)
    steps, records = trace(pool(settings, blocks=10), requests((16, 4), (30, 1), (1, 1)))
    assert steps[:2] == [(0.0, 1, 16, 0), (1.0, 1, 15, 1)]
    assert steps[2:4] == [(2.0, 1, 0, 1), (3.0, 1, 15, 1)]  # preempted, and admitted again
    assert steps[4:] == [(4.0, 1, 16, 0)]  # its rest, and the third
    assert records.preemptions.tolist() == [0, 1, 0]


def test_a_prompt_takes_its_blocks_chunk_by_chunk() -> None:
    """12 blocks of 4, 10 of them for the second prompt in the end, 3 for the first request."""
    steps, records = trace(
        pool(vllm(max_num_batched_tokens=5), blocks=12), requests((4, 8), (40, 1))
    )
    # the first grows into blocks that are set aside for the second, which does not need them yet
    assert steps[0] == (0.0, 1, 5, 0)
    assert steps[1:8] == [(float(second), 1, 4, 1) for second in range(1, 8)]
    assert steps[8:] == [(8.0, 1, 5, 0), (9.0, 1, 5, 0), (10.0, 1, 1, 0)]
    assert records.preemptions.tolist() == [0, 0]


def test_a_chunk_that_lacks_blocks_preempts_its_own_prompt() -> None:
    _, records = trace(pool(vllm(max_num_batched_tokens=5), blocks=12), requests((4, 12), (40, 1)))
    # step 9: 4 blocks of the first request and 10 of the prompt's first 37 tokens
    assert records.preemptions.tolist() == [0, 1]
    assert finishes(records)[0] == (12.0, 0)


def test_the_in_flight_charge_must_be_free_at_admission() -> None:
    def starts(**kv):
        _, records = trace(pool(vllm(), blocks=7, **kv), requests((8, 4), (8, 1)))
        return sorted(records.scheduled_s.tolist())

    assert starts() == [0.0, 0.0]
    # 2 + 4 blocks do not fit beside the 2 that the first request holds
    assert starts(admission_blocks=4) == [0.0, 4.0]


def test_the_last_admitted_request_is_preempted_and_recomputed() -> None:
    # 5 blocks of 4 tokens; each request comes to need 3
    steps, records = trace(pool(vllm(), blocks=5), requests((7, 5), (7, 5)))
    assert steps == [
        (0.0, 1, 14, 0),
        (1.0, 1, 0, 2),  # contexts of 8: 4 blocks
        (2.0, 1, 0, 1),  # contexts of 9 would take 6: the second request gives way
        (3.0, 2, 0, 1),  # and does not fit beside the first
        (5.0, 1, 9, 0),  # its prompt and 2 generated tokens again, which gives the third
        (6.0, 2, 0, 1),
    ]
    assert finishes(records) == [(5.0, 0), (8.0, 1)]
    assert records.preemptions.tolist() == [0, 1]
    assert first_tokens(records) == {0: 1.0, 1: 1.0}


def test_a_swapped_request_returns_without_recomputing() -> None:
    host = OffloadTier(name="host", capacity_bytes=1e9, bandwidth_bytes_per_s=6.0)
    steps, records = trace(
        pool(vllm(), blocks=5, block_bytes=4.0, swap=host), requests((7, 5), (7, 5))
    )
    assert steps == [
        (0.0, 1, 14, 0),
        (1.0, 1, 0, 2),
        (2.0, 1, 0, 1),
        (3.0, 2, 0, 1),
        (6.5, 3, 0, 1),  # 9 tokens of 1 B at 6 B/s from 5.0 on
    ]
    assert finishes(records) == [(5.0, 0), (9.5, 1)]


def test_nothing_is_admitted_in_a_step_that_preempts() -> None:
    steps, records = trace(
        pool(vllm(max_num_seqs=3), blocks=5), requests((7, 5), (7, 5), (1, 1), at=[0, 0, 1.5])
    )
    # at 2.0 the second request is preempted; it is at the head and does not fit until 5.0,
    # and the third, which would fit, stays behind it
    assert steps[2:5] == [(2.0, 1, 0, 1), (3.0, 2, 0, 1), (5.0, 1, 10, 0)]
    assert finishes(records) == [(5.0, 0), (6.0, 2), (8.0, 1)]


def test_prefix_hits_at_block_boundaries_leave_one_token_to_compute() -> None:
    def computed(prompt, hashes, first_hashes):
        workload = requests((12, 1), (prompt, 1), at=[0, 5])
        workload[0].block_hashes, workload[0].block_tokens = first_hashes, 2
        workload[1].block_hashes, workload[1].block_tokens = hashes, 2
        steps, records = trace(pool(vllm(enable_prefix_caching=True)), workload)
        return steps[1][2], records.cached_tokens.tolist()[1]

    first = (1, 2, 3, 4, 5, 6)
    assert computed(14, (1, 2, 3, 4, 5, 6, 7), first) == (2, 12)
    # 10 tokens match, two blocks of 4 are whole
    assert computed(14, (1, 2, 3, 4, 5, 9, 9), first) == (6, 8)
    # the whole prompt is known; its last token is computed all the same
    assert computed(12, first, first) == (4, 8)
    assert computed(14, (9, 2, 3, 4, 5, 6, 7), first) == (14, 0)


def test_data_parallel_ranks_start_prompts_every_nth_step() -> None:
    engine = vllm(prefill_schedule_interval=4)
    steps, _ = trace(pool(engine, dp=2), requests((4, 9), (4, 3), (4, 3), at=[0, 1.5, 1.5]))
    assert steps == [
        (0.0, 1, (4, 0), (0, 0)),
        (1.0, 1, (0, 0), (1, 0)),
        (2.0, 1, (0, 4), (1, 0)),  # rank 1 decodes nothing, so that it need not wait
        (3.0, 1, (0, 0), (1, 1)),
        (4.0, 1, (4, 0), (1, 1)),
        (5.0, 2, (0, 0), (2, 0)),
        (7.0, 2, (0, 0), (1, 0)),
    ]


def test_amds_cadence_admits_every_nth_step_once_enough_run() -> None:
    # D = 3: steps 0, 4, 8 ... admit; below the threshold any step does
    engine = vllm(prefill_cadence_steps=3, prefill_cadence_min_running=2)
    steps, records = trace(
        pool(engine), requests((4, 20), (4, 20), (4, 2), (4, 2), at=[0, 0.5, 1.5, 4.5])
    )
    assert steps == [
        (0.0, 1, 4, 0),
        (1.0, 1, 4, 1),  # one runs: fewer than the threshold
        (2.0, 2, 0, 2),
        (4.0, 1, 4, 2),
        (5.0, 1, 0, 3),
        (6.0, 2, 0, 2),
        (8.0, 1, 4, 2),
        (9.0, 1, 0, 3),
        (10.0, 10, 0, 2),
        (20.0, 1, 0, 1),
    ]
    assert first_tokens(records) == {0: 1.0, 1: 2.0, 2: 5.0, 3: 9.0}


def test_prompts_in_progress_go_on_under_the_cadence() -> None:
    steps, _ = trace(
        pool(vllm(prefill_cadence_steps=9)), requests((40, 2), (4, 2), (4, 2), at=[0, 0.5, 20.5])
    )
    assert steps == [
        (0.0, 1, 16, 0),  # the counter is 0
        (1.0, 1, 16, 0),
        (2.0, 1, 8, 0),
        (3.0, 1, 0, 1),
        (4.0, 1, 4, 0),  # nothing runs any more: the passes up to the next 0 take no time
        (5.0, 1, 0, 1),
        (20.5, 1, 4, 0),
        (21.5, 1, 0, 1),
    ]


def test_far_into_a_prompt_the_charge_of_a_chunk_does_not_depend_on_where() -> None:
    windows = ((128, 4), (1024, 64), (131, 8))
    pool = KvPoolSpec(
        total_blocks=10, block_tokens=256, admission_windows=windows, in_flight_tokens=8192
    )
    settled = max(window + 2 * block for window, block in windows)
    for tokens in (1, 3, 64, 511, 512, 513, 8192):
        far = pool.chunk_charge(tokens=tokens, end_tokens=1 << 40)
        for more in range(0, 300, 7):
            assert pool.chunk_charge(tokens=tokens, end_tokens=tokens + settled + more) == far
        assert pool.chunk_charge(tokens=tokens, end_tokens=tokens) < far
