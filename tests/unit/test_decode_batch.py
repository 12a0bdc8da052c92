"""Sums over a decode batch equal those over its requests, one by one."""

from math import ceil

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.decode_batch import NEVER, DecodeBatch
from simulator.serving.kv_pool import KvPoolSpec
from simulator.serving.rank import Rank
from simulator.serving.request_state import RequestState
from simulator.serving.step_cost import Line
from workloads.requests.request import Request


class FreeSteps:
    queries_per_request = 1

    def fixed_s(self, **counts):
        return 0.0

    def decode_attention(self, *, requests, context_sum):
        return Line(1e-6 * context_sum, 1e-6, 1000.0 * (context_sum // 1000.0 + 1.0))

    def prefill_attention_s(self, **tokens):
        return 0.0


def sequence(order, *, prompt, output, steps, queries=1, done=0):
    request = Request(
        index=order, prompt_tokens=prompt, output_tokens=output, decode_steps=steps, arrival_s=0.0
    )
    found = RequestState(request, 0.0, queries)
    found.order = order
    found.steps_done = done
    return found


@st.composite
def histories(draw):
    """Requests that join and leave a batch: (step, request) or (step, position)."""
    drafts = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    step = 0
    size = 0
    changes = []
    for order in range(draw(st.integers(1, 90))):
        step += int(rng.integers(0, 30))
        if size and rng.random() < 0.4:
            changes.append((step, int(rng.integers(size))))
            size -= 1
        output = int(rng.integers(2, 400))
        steps = int(rng.integers(-(-(output - 1) // 4), output)) if drafts else output - 1
        done = int(rng.integers(steps)) if rng.random() < 0.2 else 0
        new = sequence(
            order,
            prompt=int(rng.integers(1, 3000)),
            output=output,
            steps=steps,
            queries=4 if drafts else 1,
            done=done,
        )
        changes.append((step, new))
        size += 1
    return changes


@settings(max_examples=100, deadline=None)
@given(
    changes=histories(), block=st.sampled_from([1, 16, 100, 256]), asked_first=st.integers(0, 40)
)
def test_columns_follow_the_requests_to_the_last_bit(changes, block, asked_first) -> None:
    batch = DecodeBatch(cost=FreeSteps(), block_tokens=block)
    members = []
    for number, (step, change) in enumerate(changes):
        if isinstance(change, RequestState):
            batch.join(change, step)
            members.append(change)
        else:
            left = batch.leave(change, step)
            members.remove(left)
            assert left.steps_done == step - left.start
        assert batch.size == len(members)
        assert batch.running == sorted(batch.running)
        assert batch.next_finish() == min(
            (s.start + s.request.decode_steps for s in members), default=NEVER
        )
        if number < asked_first:
            continue  # columns are made when they are first asked for
        for later in (step, step + 7):
            contexts = [s.context_at(later) for _, _, s in batch.running]
            assert batch.contexts(later).tolist() == contexts
            assert batch.final_contexts().tolist() == [s.final_tokens for _, _, s in batch.running]
            assert batch.blocks(later) == sum(ceil(context / block) for context in contexts)
            assert np.isclose(batch.context_at(later), sum(contexts), rtol=1e-12)


def cover_of_each(states, fixed):
    """Tokens freed before each leaves less what is written by then, the nearest to its end first.

    Requests that leave together need the same, whichever is counted first, or more.
    """
    states = sorted(states, key=lambda state: state[1])
    freed = 0
    for position, (context, left) in enumerate(states):
        yield freed - (left + 1) * (len(states) - position)
        freed += context + fixed


@settings(max_examples=100, deadline=None)
@given(
    changes=histories(),
    seed=st.integers(0, 2**32 - 1),
    block=st.sampled_from([1, 16, 100]),
    fixed=st.sampled_from([0, 48]),
    asked_first=st.integers(0, 40),
)
def test_the_outlook_follows_the_requests(changes, seed, block, fixed, asked_first) -> None:
    rng = np.random.default_rng(seed)
    batch = DecodeBatch(cost=FreeSteps(), block_tokens=block)
    for number, (step, change) in enumerate(changes):
        if isinstance(change, RequestState):
            batch.join(change, step)
        else:
            batch.leave(change, step)
        members = [s for _, _, s in batch.running]
        assert batch.uneven == sum(s.rate != 1.0 for s in members)
        if batch.uneven or number < asked_first:
            continue
        joining = [
            (int(rng.integers(1, 3000)), int(rng.integers(0, 500)))
            for _ in range(int(rng.integers(1, 5)))
        ]
        states = [(s.context_at(step), s.final_tokens - s.context_at(step)) for s in members]
        found = batch.least_cover(step, joining=joining, fixed_tokens=fixed)
        assert found == min(cover_of_each([*states, *joining], fixed))


def test_an_empty_batch_has_nothing() -> None:
    batch = DecodeBatch(cost=FreeSteps(), block_tokens=16)
    assert batch.blocks(5) == 0
    assert batch.next_finish() == NEVER
    assert batch.last_admitted() is None


def test_a_cost_line_serves_until_it_ends_or_the_batch_changes() -> None:
    asked = []

    class Noting(FreeSteps):
        def decode_attention(self, *, requests, context_sum):
            asked.append((requests, context_sum))
            return super().decode_attention(requests=requests, context_sum=context_sum)

    batch = DecodeBatch(cost=Noting(), block_tokens=16)
    batch.join(sequence(0, prompt=900, output=500, steps=499), 0)
    assert batch.attention_s(0) == 901e-6
    assert np.isclose(batch.attention_s(99), 1000e-6, rtol=1e-12)
    assert asked == [(1, 901.0)]
    batch.attention_s(100)
    assert asked == [(1, 901.0), (1, 1001.0)]
    batch.join(sequence(1, prompt=99, output=10, steps=9), 100)
    batch.attention_s(100)
    assert asked[2:] == [(2, 1101.0)]


@settings(max_examples=40, deadline=None)
@given(changes=histories(), block=st.sampled_from([1, 16, 256]), blocks=st.integers(-5, 1500))
def test_a_rank_says_when_its_pool_is_used_as_a_count_does(changes, block, blocks) -> None:
    """Bounds settle most questions; where they do not, blocks are counted."""
    pool = KvPoolSpec(block_tokens=block, total_blocks=2000, fixed_blocks_per_request=2)
    rank = Rank(index=0, pool=pool, cost=FreeSteps(), caches_prefixes=False)
    rank.held = 7
    for step, change in changes:
        if isinstance(change, RequestState):
            rank.batch.join(change, step)
        else:
            rank.batch.leave(change, step)
    counted = [rank.used_blocks(step + ahead) >= blocks for ahead in range(401)]
    assert [rank.uses(blocks, step + ahead) for ahead in range(401)] == counted
    if counted[-1]:
        assert rank.steps_to_use(blocks, step, 400) == max(counted.index(True), 1)
