"""SGLang's rules as traces: (start, steps, prefill tokens, decode requests)."""

from math import ceil

import numpy as np
from engine_traces import finishes, first_tokens, pool, requests, trace
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engines.sglang.engine import SglangSettings
from simulator.serving.client import OpenLoop
from simulator.serving.deployment import Deployment, Simulation, run_deployment
from simulator.serving.request_state import RequestState
from workloads.requests.request import Request


def sglang(**settings):
    return SglangSettings(
        **{"disable_overlap_schedule": True, "chunked_prefill_size": 16, "page_size": 4, **settings}
    )


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


def test_new_requests_are_seen_every_few_decode_steps_and_after_a_prefill() -> None:
    engine = sglang(scheduler_recv_interval=4)
    steps, records = trace(pool(engine), requests((8, 12), (8, 9), (8, 1), at=[0, 1.5, 6.5]))
    assert steps == [
        (0.0, 1, 8, 0),  # idle: seen at once
        (1.0, 1, 0, 1),
        (2.0, 3, 0, 1),  # the second request arrived between two looks
        (5.0, 1, 8, 0),
        (6.0, 1, 0, 2),
        (7.0, 3, 0, 2),  # the third too: four steps after the last prefill
        (10.0, 1, 8, 0),
        (11.0, 3, 0, 2),
        (14.0, 1, 0, 1),
    ]
    assert first_tokens(records) == {0: 1.0, 1: 6.0, 2: 11.0}


def test_a_prompt_is_cut_at_a_page_and_continues_before_others_start() -> None:
    steps, records = trace(pool(sglang()), requests((10, 1), (30, 1), (2, 1)))
    assert steps == [
        (0.0, 1, 14, 0),  # 10, and one page of 4 of the second: 6 are left
        (1.0, 1, 16, 0),
        (2.0, 1, 12, 0),  # the last 10 of the second, and the third
    ]
    assert first_tokens(records) == {0: 1.0, 1: 3.0, 2: 3.0}


def test_an_interval_lets_others_decode_between_the_chunks_of_a_prompt() -> None:
    engine = sglang(prefill_decode_interval=3)
    steps, records = trace(pool(engine), requests((8, 20), (40, 1), at=[0, 2.5]))
    chunks = [start for start, _, tokens, _ in steps if tokens]
    assert chunks == [0.0, 4.0, 8.0, 12.0]  # three decode steps between any two
    assert first_tokens(records)[1] == 13.0


def test_conversations_stay_where_the_fewest_requests_were_at_their_first() -> None:
    engine = sglang(max_running_requests=8)
    workload = requests((8, 30), (8, 30), (8, 2), (8, 2), (8, 2), at=[0, 0, 0, 40, 41])
    for request, session in zip(workload, (1, 2, 3, 3, 4), strict=True):
        request.session = session
    records = run_deployment(
        deployment=Deployment(
            aggregated=pool(engine, dp=2, routing="session", rank_routing="session_balanced")
        ),
        requests=workload,
        load=OpenLoop(),
    )
    ranks = dict(zip(records.request.tolist(), records.rank.tolist(), strict=True))
    assert ranks[0] != ranks[1]
    assert ranks[2] == ranks[3]


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
        (2.0, 4, (0, 0), (1, 1)),  # one pass less than the setting says
        (6.0, 1, (4, 0), (0, 1)),
        (7.0, 5, (0, 0), (1, 1)),
        (12.0, 1, (0, 0), (1, 0)),
    ]


def test_the_delayer_waits_for_as_many_slots_as_prompts_came_at_once() -> None:
    # both ranks are ready at 2, but rank 1 has one slot free and prompts came two at a time
    workload = requests((4, 9), (4, 9), (4, 9), (4, 3), (4, 1), (4, 1), at=[0, 0, 0, 0, 1.5, 1.5])
    bounded = sglang(
        enable_prefill_delayer=True, prefill_delayer_max_delay_passes=4, max_running_requests=6
    )
    unbounded = bounded.model_copy(
        update={"prefill_delayer_bounds_slots": False, "prefill_delayer_window": None}
    )
    starts = {}
    for engine in (bounded, unbounded):
        # the first such hold of a process is skipped
        engine = engine.model_copy(update={"prefill_delayer_counts_chunks": False})
        deployment = pool(engine, dp=2)
        steps, _ = trace(deployment, workload)
        starts[engine.prefill_delayer_bounds_slots] = [s for s, _, p, _ in steps if any(p)]
    assert starts[True][0] == starts[False][0] == 0.0
    assert starts[True] == starts[False]  # skipped once


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


def drawn(rng, order, queries, longest_prompt):
    """A request somewhere between its first and its last decode step at step 0."""
    output = int(rng.integers(2, 200))
    steps = int(rng.integers(-(-(output - 1) // queries), output)) if queries > 1 else output - 1
    request = Request(
        index=order,
        prompt_tokens=int(rng.integers(1, longest_prompt)),
        output_tokens=output,
        decode_steps=steps,
    )
    sequence = RequestState(request, 0.0, queries)
    sequence.order = order
    sequence.steps_done = int(rng.integers(steps))
    return sequence


def fits_request_by_request(free_tokens, states, per_request_tokens):
    """``add_one_req_ignore_eos``: the pool when each request ends, the nearest to its end first."""
    states = sorted(states)
    for position, (left, occupied) in enumerate(states):
        remaining = len(states) - position
        if free_tokens - left * remaining <= remaining:
            return False
        free_tokens += occupied + per_request_tokens
    return True


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 60),
    filling=st.integers(0, 3),
    queries=st.sampled_from([1, 4]),
    longest_prompt=st.sampled_from([8, 400]),
    page=st.sampled_from([1, 16, 64]),
    fixed=st.sampled_from([0, 1, 3]),
    spare=st.floats(0.0, 1.2),
)
def test_without_a_radix_cache_a_prompt_starts_if_no_later_step_runs_out(
    seed, size, filling, queries, longest_prompt, page, fixed, spare
) -> None:
    rng = np.random.default_rng(seed)
    decoding, prefilling = (
        [drawn(rng, order, queries, longest_prompt) for order in range(first, first + count)]
        for first, count in ((0, size), (size, filling))
    )
    head = drawn(rng, size + filling, queries, longest_prompt)
    for sequence in (*prefilling, head):
        sequence.steps_done = 0
    step = int(rng.integers(0, 3))
    contexts = [s.base_tokens + s.rate * (s.steps_done + step) for s in decoding]
    admitted = [s.target for s in prefilling]
    used = sum(ceil(tokens / page) + fixed for tokens in contexts + admitted)
    total = used + ceil(head.target / page) + fixed
    total += int(spare * sum(s.final_tokens - s.base_tokens for s in decoding) / page)

    engine = sglang(page_size=page, disable_radix_cache=True)
    served_by = pool(
        engine,
        blocks=total,
        block_tokens=page,
        queries=queries,
        fixed_blocks_per_request=fixed,
    )
    simulation = Simulation(
        deployment=Deployment(aggregated=served_by), requests=[], load=OpenLoop()
    )
    worker = simulation.workers[0]
    (rank,) = worker.ranks
    for sequence in decoding:
        rank.start_decode(sequence, 0)
    for sequence in prefilling:
        rank.admit(sequence, now=0.0, order=sequence.order, step=0)
    worker.steps = step

    free = total - used - ceil(head.target / page) - fixed
    joining = [(s.final_tokens - s.target, s.target) for s in (*prefilling, head)]
    states = [
        *(
            (s.final_tokens - context, context)
            for s, context in zip(decoding, contexts, strict=True)
        ),
        *joining,
    ]
    ample = sum(left for left, _ in states) / page + 1 <= free
    expected = ample or fits_request_by_request(free * page, states, fixed * page)
    assert worker.scheduler.has_room(rank, head) == expected
