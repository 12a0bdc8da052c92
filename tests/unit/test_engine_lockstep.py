"""What a step of several ranks or stages takes, and what ends a run of steps."""

import pytest
from engine_traces import OneSecondSteps, closed, finishes, pool, requests, trace

from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.step_cost import Line
from workloads.errors import UserError

VLLM = VllmSettings(async_scheduling=False, max_num_batched_tokens=64, max_num_seqs=8)


class CountedCost(OneSecondSteps):
    """Notes what it is asked, and charges contexts and prompts by the token."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def fixed_s(self, *, rank_tokens, group_tokens, rank_samples, group_samples, has_prefill):
        self.asked.append((rank_tokens, group_tokens, rank_samples, group_samples, has_prefill))
        return 1.0

    def decode_attention(self, *, requests, context_sum):
        return Line(0.01 * context_sum, 0.01, float("inf"))

    def prefill_attention_s(self, *, new_tokens, prefix_tokens):
        return 0.1 * new_tokens


def test_the_fullest_rank_and_the_group_set_the_fixed_cost() -> None:
    cost = CountedCost()
    trace(pool(VLLM, dp=4, cost=cost), requests((8, 2), (4, 2), (2, 1)))
    # the fourth rank joins idle; the third has nothing left to decode
    assert cost.asked == [(8, 14, 1, 3, True), (1, 2, 1, 2, False)]


def test_the_slowest_rank_sets_the_attention() -> None:
    steps, records = trace(pool(VLLM, dp=2, cost=CountedCost()), requests((8, 3), (2, 3)))
    assert [run[:2] for run in steps] == [(0.0, 1), (pytest.approx(1.8), 2)]
    # contexts of the longer request: 9 and 10
    assert records.finish_s.tolist() == pytest.approx([1.8 + 1.09 + 1.10] * 2)


def test_a_mixed_step_adds_prefill_and_decode_attention_of_a_rank() -> None:
    steps, _ = trace(pool(VLLM, cost=CountedCost()), requests((8, 3), (4, 1), at=[0, 0.5]))
    assert [run[0] for run in steps] == pytest.approx([0.0, 1.8, 1.8 + 1.0 + 0.4 + 0.09])


def test_an_arrival_ends_a_run_at_the_next_step() -> None:
    steps, records = trace(pool(VLLM), requests((4, 50), (4, 2), at=[0, 20.25]))
    assert steps == [
        (0.0, 1, 4, 0),
        (1.0, 20, 0, 1),
        (21.0, 1, 4, 1),
        (22.0, 1, 0, 2),
        (23.0, 27, 0, 1),
    ]
    assert records.scheduled_s.tolist() == [21.0, 0.0]


def test_an_arrival_at_a_boundary_is_seen_there() -> None:
    steps, _ = trace(pool(VLLM), requests((4, 50), (4, 1), at=[0, 21]))
    assert steps[2] == (21.0, 1, 4, 1)


def test_an_arrival_that_cannot_start_does_not_end_a_run() -> None:
    one_at_a_time = VllmSettings(async_scheduling=False, max_num_batched_tokens=64, max_num_seqs=1)
    steps, _ = trace(pool(one_at_a_time), requests((4, 50), (4, 1), at=[0, 20.25]))
    assert steps == [(0.0, 1, 4, 0), (1.0, 49, 0, 1), (50.0, 1, 4, 0)]


def test_a_run_ends_with_its_cost_segment() -> None:
    class Bent(OneSecondSteps):
        """A second a step up to a context of 10, two beyond."""

        def decode_attention(self, *, requests, context_sum):
            if context_sum <= 10:
                return Line(0.0, 0.0, 10)
            return Line(1.0, 0.0, float("inf"))

    steps, records = trace(pool(VLLM, cost=Bent()), requests((4, 10)))
    # contexts 5 to 10 at one second, 11 to 13 at two
    assert steps == [(0.0, 1, 4, 0), (1.0, 6, 0, 1), (7.0, 3, 0, 1)]
    assert records.finish_s.tolist() == [13.0]


def test_pipeline_stages_each_have_a_micro_batch_in_flight() -> None:
    two = VllmSettings(async_scheduling=False, max_num_batched_tokens=64, max_num_seqs=2)
    steps, _ = trace(pool(two, pp=2), requests((8, 3), (4, 3), (2, 1)))
    # one request a micro-batch; both advance once per pass through all stages
    assert steps == [
        (0.0, 1, (8, 4), (0, 0)),
        (1.0, 2, (0, 0), (1, 1)),
        (3.0, 1, (2, 0), (0, 0)),
    ]
    cost = CountedCost()
    trace(pool(two, pp=2, cost=cost), requests((8, 2), (4, 2)))
    # each micro-batch is timed by itself, the slower sets the pace
    assert cost.asked == [(8, 8, 1, 1, True), (4, 4, 1, 1, True), (1, 1, 1, 1, False)]


def test_stages_share_the_blocks() -> None:
    with pytest.raises(UserError, match=r"needs 6 KV blocks of 4 tokens .* has 5"):
        trace(pool(VLLM, pp=2, blocks=10), requests((20, 4)))


def test_single_token_outputs_finish_with_their_prompt() -> None:
    for settings in (VLLM, SglangSettings(disable_overlap_schedule=True)):
        steps, records = trace(pool(settings), requests((8, 1), (8, 1)))
        assert steps == [(0.0, 1, 16, 0)]
        assert finishes(records) == [(1.0, 0), (1.0, 1)]


def test_a_request_that_never_fits_is_refused_with_the_figures() -> None:
    with pytest.raises(UserError, match=r"8 \+ 9 tokens needs 5 KV blocks of 4 tokens .* has 4"):
        trace(pool(VLLM, blocks=4), requests((8, 9)))


@pytest.mark.parametrize(
    ("prompt", "output", "steps"), [(0, 1, 0), (4, 0, 0), (4, 1, 1), (4, 2, 0)]
)
def test_impossible_lengths_are_refused(prompt, output, steps) -> None:
    workload = requests((prompt, output))
    workload[0].decode_steps = steps
    with pytest.raises(UserError, match="request 0 has prompt_tokens"):
        trace(pool(VLLM), workload)


def test_a_closed_loop_starts_with_a_burst_and_ends_with_a_drain() -> None:
    steps, records = trace(pool(VLLM), requests(*[(4, 3)] * 5), closed(2))
    assert steps == [
        (0.0, 1, 8, 0),
        (1.0, 2, 0, 2),
        (3.0, 1, 8, 0),
        (4.0, 2, 0, 2),
        (6.0, 1, 4, 0),
        (7.0, 2, 0, 1),
    ]
    assert records.arrival_s.tolist() == [0.0, 0.0, 3.0, 3.0, 6.0]


def test_speculation_advances_contexts_by_the_tokens_of_a_step() -> None:
    workload = requests((8, 9))
    workload[0].decode_steps = 2
    cost = CountedCost()
    cost.queries_per_request = 5
    _, records = trace(pool(VLLM, cost=cost), workload)
    # contexts 8 + 5 and 8 + 5 + 4
    assert records.finish_s.tolist() == pytest.approx([1.8 + 1.13 + 1.17])
    assert cost.asked[1] == (5, 5, 1, 1, False)
    assert records.accepted_drafts.tolist() == [6]
