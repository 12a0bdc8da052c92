"""Which prompt blocks stay, which go, and what it takes to get them back."""

import pytest
from engine_traces import closed, pool, requests, trace
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.kv_pool import KvPoolSpec, OffloadTier
from simulator.serving.prefix_cache import PrefixCache, PrefixMatch
from workloads.errors import UserError
from workloads.requests.request import Request
from workloads.requests.synthetic import link_turns

CACHING = VllmSettings(
    async_scheduling=False, max_num_batched_tokens=1000, enable_prefix_caching=True
)


def prompt(*keys, size=4, extra=1):
    """A request whose prompt has these blocks and a few tokens more."""
    return Request(
        index=0,
        prompt_tokens=len(keys) * size + extra,
        output_tokens=1,
        decode_steps=0,
        block_hashes=keys,
        block_tokens=size,
    )


def serve(cache, request):
    """Let a request hold its hits, add its prompt and leave."""
    match = cache.match(request, request.prompt_tokens)
    cache.release(cache.insert(request, cache.hold(request, match)))
    return match.tokens


def cache(**kv):
    return PrefixCache(KvPoolSpec(total_blocks=100, block_tokens=4, **kv))


def test_the_longest_known_prefix_is_found() -> None:
    known = cache()
    assert serve(known, prompt(1, 2, 3)) == 0
    assert serve(known, prompt(1, 2, 4)) == 8
    assert serve(known, prompt(5, 6)) == 0
    assert serve(known, prompt(1, 2, 3)) == 12
    assert known.idle_blocks == 6
    assert known.held_blocks == 0


def test_a_token_is_always_left_to_compute() -> None:
    known = cache()
    serve(known, prompt(1, 2, 3))
    assert serve(known, prompt(1, 2, 3, extra=0)) == 8


def test_hits_end_at_pool_blocks() -> None:
    known = PrefixCache(KvPoolSpec(total_blocks=100, block_tokens=8))
    serve(known, prompt(1, 2, 3, 4, 5, size=4))
    assert serve(known, prompt(1, 2, 3, 9, size=4)) == 8
    assert serve(known, prompt(1, 2, 3, 4, 5, 6, size=4)) == 16


def test_the_least_recently_released_goes_first_and_tails_before_heads() -> None:
    known = cache()
    serve(known, prompt(1, 2))
    serve(known, prompt(3, 4))
    serve(known, prompt(1, 2))
    known.shrink(3)
    assert known.match(prompt(3, 4), 9).tokens == 4
    known.shrink(1)
    assert known.match(prompt(3, 4), 9).tokens == 0
    assert known.match(prompt(1, 2), 9).tokens == 4


def test_held_blocks_stay() -> None:
    known = cache()
    request = prompt(1, 2)
    held = known.insert(request, None)
    known.shrink(0)
    assert known.held_blocks == 2
    assert known.match(request, 9) == PrefixMatch(
        tokens=8, pool_tokens=8, live_tokens=8, load_s=0.0
    )
    other = prompt(1, 3)
    known.hold(other, known.match(other, 9))
    known.release(held)
    assert known.held_blocks == 1
    assert known.idle_blocks == 1
    known.shrink(0)
    assert known.match(request, 9).tokens == 4


def test_with_window_state_only_the_last_boundary_can_be_resumed() -> None:
    known = cache(prefix_hit_interval_tokens=0, fixed_blocks_per_request=2)
    serve(known, prompt(1, 2, 3))
    assert known.idle_blocks == 5  # three blocks and the state at the end of the third
    assert known.match(prompt(1, 2, 9), 13).tokens == 0
    assert known.match(prompt(1, 2, 3, 4), 17).tokens == 12


def test_with_a_retention_interval_its_multiples_can_too() -> None:
    known = cache(prefix_hit_interval_tokens=8, fixed_blocks_per_request=2)
    serve(known, prompt(1, 2, 3, 4, 5))
    assert known.match(prompt(1, 2, 3, 9), 17).tokens == 8
    assert known.match(prompt(1, 2, 3, 4, 5, 6), 25).tokens == 20


def test_evicted_state_takes_the_hit_with_it() -> None:
    known = cache(prefix_hit_interval_tokens=0, fixed_blocks_per_request=2)
    serve(known, prompt(1, 2))
    serve(known, prompt(1, 2, 3))
    known.hold(prompt(1, 2, 3), known.match(prompt(1, 2, 3), 13))
    known.shrink(2)  # the older state has to go
    assert known.match(prompt(1, 2), 9).tokens == 0
    assert known.match(prompt(1, 2, 3), 13).tokens == 12


def test_a_hit_does_not_bring_back_state_that_was_evicted_before_it() -> None:
    known = cache(prefix_hit_interval_tokens=8, fixed_blocks_per_request=2)
    serve(known, prompt(1, 2, 3, 4, 5))
    for state in list(known._tree.root.children[1].states.values())[:2]:  # at 8 and 16 tokens
        known._move_state(state, 0)
    known.hold(prompt(1, 2, 3, 4, 5), known.match(prompt(1, 2, 3, 4, 5, 6), 25))
    known.shrink(2)  # both go; the end, which was raised by its hit, stays
    assert serve(known, prompt(1, 2, 3, 4, 5, 6)) == 20
    # only the new prompt's end and its multiples beyond the hit were made
    assert known.match(prompt(1, 2, 3, 9), 17).tokens == 0
    assert known.match(prompt(1, 2, 3, 4, 5, 6, 7), 29).tokens == 24


def test_evicted_blocks_come_back_from_the_tiers_at_their_bandwidth() -> None:
    host = OffloadTier(name="host", capacity_bytes=80.0, bandwidth_bytes_per_s=16.0, latency_s=0.5)
    disk = OffloadTier(name="disk", capacity_bytes=1e9, bandwidth_bytes_per_s=4.0)
    known = cache(block_bytes=40.0, offload=(host, disk))
    serve(known, prompt(1, 2, 3, 4))
    known.shrink(1)
    # the tail went first: block 4 is the oldest in the host tier and fell to disk
    match = known.match(prompt(1, 2, 3, 4), 17)
    assert match == PrefixMatch(
        tokens=16, pool_tokens=4, live_tokens=0, load_s=(0.5 + 80 / 16) + 40 / 4, drive_tokens=4
    )
    known.insert(prompt(1, 2, 3, 4), known.hold(prompt(1, 2, 3, 4), match))
    assert known.match(prompt(1, 2, 3, 4), 17).load_s == 0.0


def test_a_load_keeps_the_request_waiting_and_nobody_else() -> None:
    host = OffloadTier(name="host", capacity_bytes=1e9, bandwidth_bytes_per_s=8.0)
    workload = requests((17, 1), (70, 1), (17, 1), (8, 2), at=[0, 2, 4, 4])
    for index, keys in ((0, (1, 2, 3, 4)), (2, (1, 2, 3, 4))):
        workload[index].block_hashes, workload[index].block_tokens = keys, 4
    steps, records = trace(pool(CACHING, blocks=18, block_bytes=4.0, offload=(host,)), workload)
    assert steps == [
        (0.0, 1, 17, 0),
        (2.0, 1, 70, 0),  # 18 blocks: nothing of the first prompt can stay
        (4.0, 1, 8, 0),  # the fourth request; the third waits for 16 B at 8 B/s
        (5.0, 1, 0, 1),
        (6.0, 1, 1, 0),
    ]
    assert dict(zip(records.request.tolist(), records.cached_tokens.tolist(), strict=True)) == {
        0: 0,
        1: 0,
        2: 16,
        3: 0,
    }


def test_a_session_finds_its_own_output_again() -> None:
    turns = requests((8, 9), (24, 1))
    link_turns(turns, session=3, think_s=[0.0, 1.0], shared_blocks=(), block_tokens=4)
    _, records = trace(pool(CACHING), turns, closed(1))
    # 8 prompt and 8 output tokens have their KV entries, the last token has none
    assert records.cached_tokens.tolist() == [0, 16]


def test_requests_that_run_together_share_blocks() -> None:
    workload = requests((16, 5), (16, 5), at=[0, 1.5])
    for request in workload:
        request.block_hashes, request.block_tokens = (1, 2, 3), 4
    # 6 blocks for the first (5 with its output, one spare), 2 of its own for the second
    steps, _ = trace(pool(CACHING, blocks=8), workload)
    assert steps[2] == (2.0, 1, 4, 1)


def test_what_moves_needs_a_size() -> None:
    host = OffloadTier(name="host", capacity_bytes=1.0, bandwidth_bytes_per_s=1.0)
    with pytest.raises(UserError, match=r"block_bytes of the KV pool is 0\.0"):
        KvPoolSpec(total_blocks=1, block_tokens=1, offload=(host,))
    with pytest.raises(UserError, match="offload tier 'host' has"):
        OffloadTier(name="host", capacity_bytes=1.0, bandwidth_bytes_per_s=0.0)


def nodes_of(known):
    """All nodes of the tree but its root."""
    queue = [known._tree.root]
    while queue:
        node = queue.pop()
        queue += node.children.values()
        if node is not known._tree.root:
            yield node


def check_tree(known) -> None:
    """The sums are those of the tree, and what depends on something never outlives it."""
    idle = [0] * len(known._idle_tokens)
    held = 0
    for node in nodes_of(known):
        weight = len(node.keys) * 4
        if node.holders:
            assert node.level == 0
            held += weight
        else:
            idle[node.level] += weight
        for state in node.states.values():
            if state.level < len(idle):
                idle[state.level] += known._state_tokens
        if node.parent is not known._tree.root:
            assert node.parent.level <= node.level
            assert node.parent.holders >= node.holders
        assert node.parent.children[node.keys[0]] is node
    assert known._held_tokens == held
    assert known._idle_tokens == idle
    for level in range(1, len(idle)):
        assert idle[level] <= known._room_tokens[level]


PATHS = st.lists(st.integers(0, 2), min_size=1, max_size=7)


def chained(path):
    """Block identities that imply all blocks before."""
    keys, key = [], 0
    for step in path:
        key = key * 3 + step + 1
        keys.append(key)
    return tuple(keys)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("serve"), PATHS),
            st.tuples(st.just("start"), PATHS),
            st.tuples(st.just("chunks"), PATHS),
            st.tuples(st.just("end"), st.integers(0, 5)),
            st.tuples(st.just("shrink"), st.integers(0, 12)),
        ),
        max_size=40,
    ),
    interval=st.sampled_from([None, 0, 8]),
    tiers=st.lists(st.sampled_from([0.0, 20.0, 100.0]), max_size=2),
)
def test_the_tree_stays_consistent(steps, interval, tiers) -> None:
    known = cache(
        block_bytes=4.0,
        fixed_blocks_per_request=1,
        prefix_hit_interval_tokens=interval,
        offload=tuple(
            OffloadTier(name="tier", capacity_bytes=size, bandwidth_bytes_per_s=1.0)
            for size in tiers
        ),
    )
    running = []
    for action, value in steps:
        if action == "shrink":
            known.shrink(value)
            assert known.idle_blocks <= value
        elif action == "end" and running:
            known.release(running.pop(value % len(running)))
        elif action in ("serve", "start", "chunks"):
            request = prompt(*chained(value))
            match = known.match(request, request.prompt_tokens)
            assert match.live_tokens <= match.pool_tokens <= match.tokens
            held = known.hold(request, match)
            if action == "chunks":
                for blocks in range(held.end + 1, len(value)):
                    held = known.extend(request, held, blocks=blocks)
                    assert held.end == blocks
                    check_tree(known)
            held = known.insert(request, held)
            if interval is None:
                again = known.match(request, request.prompt_tokens)
                assert again.live_tokens == len(value) * 4
            if action == "serve":
                known.release(held)
            else:
                running.append(held)
        check_tree(known)
    for held in running:
        known.release(held)
    known.shrink(0)
    check_tree(known)
    assert known.idle_blocks == known.held_blocks == 0


@settings(max_examples=100, deadline=None)
@given(paths=st.lists(PATHS, max_size=12), ends=st.lists(st.integers(0, 11), max_size=12))
def test_prompts_kept_chunk_by_chunk_are_kept_as_whole_ones(paths, ends) -> None:
    at_once, in_chunks = cache(), cache()
    running = []
    for number, path in enumerate(paths):
        request = prompt(*chained(path))
        match = at_once.match(request, request.prompt_tokens)
        assert in_chunks.match(request, request.prompt_tokens) == match
        whole, held = at_once.hold(request, match), in_chunks.hold(request, match)
        for blocks in range(held.end + 1, len(path) + 1):
            whole = at_once.insert(request, whole, blocks=blocks)
            held = in_chunks.extend(request, held, blocks=blocks)
        running.append((at_once.insert(request, whole), in_chunks.insert(request, held)))
        if number < len(ends):
            one, other = running.pop(ends[number] % len(running))
            at_once.release(one)
            in_chunks.release(other)
            free = (at_once.held_blocks + at_once.idle_blocks) // 2
            at_once.shrink(free)
            in_chunks.shrink(free)
        assert in_chunks.held_blocks == at_once.held_blocks
        assert in_chunks.idle_blocks == at_once.idle_blocks


def test_a_match_can_be_held_after_another_prompt_was_looked_up() -> None:
    """What the last look-up left is not taken for another prompt or an older tree."""
    known = cache(prefix_hit_interval_tokens=0)
    serve(known, prompt(1, 2, 3))
    serve(known, prompt(7, 8))
    one, other = prompt(1, 2, 3, 4), prompt(7, 8, 9)
    first, second = known.match(one, 17), known.match(other, 13)
    assert known.match(other, 13) is second
    held = known.hold(one, first)
    assert (held.end, held.keys, held.holders) == (3, (1, 2, 3), 1)
    assert known.match(one, 17).live_tokens == 12
    assert known.match(other, 13) == second
    held = known.insert(one, held)
    known.release(held)
    assert known.match(one, 17).live_tokens == 0


def test_output_that_nobody_repeats_takes_room_beside_its_prompt_and_goes_first() -> None:
    """A prompt that goes on stays one node, and what was generated before it ages alone."""
    cache = PrefixCache(KvPoolSpec(total_blocks=100, block_tokens=4))
    first, longer = requests((16, 9), (40, 1))
    for request in (first, longer):
        request.block_tokens = 4
        request.block_hashes = tuple(range(request.prompt_tokens // 4))
        request.output_recurs = False
    held = cache.insert(first, None)
    cache.keep_output(first)
    cache.release(held)
    assert cache.idle_blocks == 4 + 2
    held = cache.insert(longer, None)
    cache.release(held)
    assert held.keys == longer.block_hashes
    assert cache.idle_blocks == 10 + 2
    cache.shrink(10)
    assert cache.match(longer, 41).tokens == 40
