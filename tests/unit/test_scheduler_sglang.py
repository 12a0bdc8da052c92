"""SGLang's rules as traces: (start, steps, prefill tokens, decode requests)."""

from engine_traces import finishes, first_tokens, pool, requests, trace

from simulator.settings import SglangSettings


def sglang(**settings):
    return SglangSettings(**{"chunked_prefill_size": 16, "page_size": 4, **settings})


def test_prefill_goes_first_and_decode_stands_still() -> None:
    steps, records = trace(pool(sglang()), requests((8, 4), (8, 2), at=[0, 1.5]))
    assert steps == [
        (0.0, 1, 8, 0),
        (1.0, 1, 0, 1),
        (2.0, 1, 8, 0),  # the second prompt, while the first request waits
        (3.0, 1, 0, 2),
        (4.0, 1, 0, 1),
    ]
    assert finishes(records) == [(4.0, 1), (5.0, 0)]


def test_a_prompt_is_cut_at_a_page_and_continues_before_others_start() -> None:
    steps, records = trace(pool(sglang()), requests((10, 1), (30, 1), (2, 1)))
    assert steps == [
        (0.0, 1, 14, 0),  # 10, and one page of 4 of the second: 6 are left
        (1.0, 1, 16, 0),
        (2.0, 1, 12, 0),  # the last 10 of the second, and the third
    ]
    assert first_tokens(records) == {0: 1.0, 1: 3.0, 2: 3.0}


def test_max_prefill_tokens_bounds_every_prompt_after_the_first() -> None:
    engine = sglang(chunked_prefill_size=-1, max_prefill_tokens=12)
    steps, _ = trace(pool(engine), requests((20, 1), (8, 1), (6, 1)))
    assert steps == [(0.0, 1, 20, 0), (1.0, 1, 8, 0), (2.0, 1, 6, 0)]


def test_running_requests_and_chunks_are_shared_by_the_ranks() -> None:
    engine = sglang(chunked_prefill_size=16, max_running_requests=2)
    steps, _ = trace(pool(engine, dp=2), requests((12, 1), (4, 1), (4, 1), (4, 1)))
    assert steps == [
        (0.0, 1, (8, 4), (0, 0)),  # 16 / 2 tokens and 2 / 2 requests a rank
        (1.0, 1, (4, 4), (0, 0)),
        (2.0, 1, (4, 0), (0, 0)),
    ]


def test_mixed_chunks_let_decode_advance() -> None:
    steps, records = trace(
        pool(sglang(enable_mixed_chunk=True)), requests((8, 4), (20, 2), at=[0, 1.5])
    )
    assert steps == [
        (0.0, 1, 8, 0),
        (1.0, 1, 0, 1),
        (2.0, 1, 12, 1),  # 15 tokens are left: three pages
        (3.0, 1, 8, 1),
        (4.0, 1, 0, 1),
    ]
    assert finishes(records) == [(4.0, 0), (5.0, 1)]


def test_ranks_without_a_prompt_decode_beside_those_with_one() -> None:
    steps, _ = trace(pool(sglang(), dp=2), requests((4, 4), (4, 4), (8, 1), at=[0, 0, 1.5]))
    assert steps == [
        (0.0, 1, (4, 4), (0, 0)),
        (1.0, 1, (0, 0), (1, 1)),
        (2.0, 1, (8, 0), (0, 1)),
        (3.0, 1, (0, 0), (1, 1)),
        (4.0, 1, (0, 0), (1, 0)),
    ]


def test_with_speculation_they_idle() -> None:
    steps, _ = trace(
        pool(sglang(), dp=2, queries=2), requests((4, 4), (4, 4), (8, 1), at=[0, 0, 1.5])
    )
    assert steps[2:] == [(2.0, 1, (8, 0), (0, 0)), (3.0, 2, (0, 0), (1, 1))]


def test_the_delayer_waits_until_all_ranks_can_prefill() -> None:
    engine = sglang(enable_prefill_delayer=True, prefill_delayer_max_delay_passes=5)
    workload = requests((4, 12), (4, 12), (4, 1), (4, 1), at=[0, 0, 1.5, 4.5])
    steps, _ = trace(pool(engine, dp=2), workload)
    assert steps == [
        (0.0, 1, (4, 4), (0, 0)),
        (1.0, 1, (0, 0), (1, 1)),
        (2.0, 3, (0, 0), (1, 1)),  # one rank has a prompt
        (5.0, 1, (4, 4), (0, 0)),  # both have
        (6.0, 7, (0, 0), (1, 1)),
    ]


def test_the_delayer_gives_up_after_its_passes() -> None:
    engine = sglang(enable_prefill_delayer=True, prefill_delayer_max_delay_passes=5)
    steps, _ = trace(pool(engine, dp=2), requests((4, 12), (4, 12), (4, 1), at=[0, 0, 1.5]))
    assert steps == [
        (0.0, 1, (4, 4), (0, 0)),
        (1.0, 1, (0, 0), (1, 1)),
        (2.0, 5, (0, 0), (1, 1)),
        (7.0, 1, (4, 0), (0, 1)),
        (8.0, 4, (0, 0), (1, 1)),
        (12.0, 1, (0, 0), (1, 0)),
    ]


def test_nobody_waits_where_nothing_decodes() -> None:
    engine = sglang(enable_prefill_delayer=True, prefill_delayer_max_delay_passes=5)
    steps, _ = trace(pool(engine, dp=2), requests((4, 2)))
    assert steps == [(0.0, 1, (4, 0), (0, 0)), (1.0, 1, (0, 0), (1, 0))]


def test_without_radix_cache_no_future_step_may_run_out() -> None:
    # two requests of 8 + 8 tokens need 32 tokens just before they end together
    steps, records = trace(pool(sglang(), blocks=8), requests((8, 8), (8, 8)))
    assert steps == [(0.0, 1, 8, 0), (1.0, 7, 0, 1), (8.0, 1, 8, 0), (9.0, 7, 0, 1)]
    assert records.preemptions.tolist() == [0, 0]
    # a second that ends before the first has grown fits
    steps, _ = trace(pool(sglang(), blocks=8), requests((8, 8), (8, 3)))
    assert steps[0] == (0.0, 1, 16, 0)


def test_with_radix_cache_a_share_of_the_output_is_reserved() -> None:
    # at 2.0 the first request holds 3 blocks and has 38 tokens to write, of which 0.699 are
    # reserved; the second asks for 4 + 34 tokens: 3 + (0.699 * 38 + 34) / 4 + 1 = 19.1 blocks
    def second_starts(blocks):
        engine = sglang(disable_radix_cache=False)
        _, records = trace(pool(engine, blocks=blocks), requests((8, 40), (4, 34), at=[0, 1.5]))
        return records.scheduled_s.tolist()[records.request.tolist().index(1)]

    assert second_starts(19) == 40.0
    assert second_starts(20) == 2.0


def test_a_step_that_does_not_fit_retracts_the_fewest_output_tokens() -> None:
    steps, records = trace(
        pool(sglang(disable_radix_cache=False, max_running_requests=2), blocks=20),
        requests((8, 40), (4, 34), (1, 1), at=[0, 1.5, 20]),
    )
    assert steps == [
        (0.0, 1, 8, 0),
        (1.0, 1, 0, 1),
        (2.0, 1, 4, 0),
        (3.0, 32, 0, 2),
        (35.0, 1, 0, 1),  # contexts of 42 and 37 would take 21 blocks: the second goes
        (36.0, 1, 1, 0),  # to the end of the queue, behind the third
        (37.0, 5, 0, 1),
        (42.0, 1, 16, 0),  # 4 + 33 tokens are computed again, which gives the last
        (43.0, 1, 16, 0),
        (44.0, 1, 5, 0),
    ]
    assert finishes(records) == [(37.0, 2), (42.0, 0), (45.0, 1)]
    assert records.preemptions.tolist() == [0, 0, 1]
