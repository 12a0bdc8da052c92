"""TensorRT-LLM's rules as traces: (start, steps, prefill tokens, decode requests)."""

import pytest
from engine_traces import finishes, pool, requests, trace

from simulator.engines.trtllm.engine import TrtllmSettings
from workloads.errors import UserError


def trtllm(**settings):
    return TrtllmSettings(
        **{
            "disable_overlap_scheduler": True,
            "max_num_tokens": 16,
            "max_batch_size": 8,
            "tokens_per_block": 4,
            **settings,
        }
    )


def test_context_and_generation_share_a_step_and_prompts_wait_to_fit_whole() -> None:
    steps, records = trace(pool(trtllm()), requests((10, 4), (8, 2), (15, 1)))
    assert steps == [
        (0.0, 1, 10, 0),  # 8 more would exceed 16
        (1.0, 1, 8, 1),
        (2.0, 1, 0, 2),  # 2 + 15 would exceed 16
        (3.0, 1, 15, 1),
    ]
    assert finishes(records) == [(3.0, 1), (4.0, 0), (4.0, 2)]


def test_chunked_context_is_cut_at_blocks() -> None:
    steps, _ = trace(pool(trtllm(enable_chunked_prefill=True)), requests((10, 3), (20, 1)))
    assert steps == [(0.0, 1, 14, 0), (1.0, 1, 12, 1), (2.0, 1, 4, 1)]


def test_a_prompt_beyond_the_budget_is_refused() -> None:
    with pytest.raises(UserError, match="17 tokens exceeds max_num_tokens 16"):
        trace(pool(trtllm()), requests((17, 1)))


def test_max_batch_size_bounds_admission() -> None:
    steps, _ = trace(pool(trtllm(max_batch_size=1)), requests((4, 3), (4, 1)))
    assert steps == [(0.0, 1, 4, 0), (1.0, 2, 0, 1), (3.0, 1, 4, 0)]


def test_guaranteed_no_evict_reserves_whole_lives() -> None:
    # each life takes 4 blocks of 4 (7 + 8 + 1); prompts alone take 2
    steps, records = trace(pool(trtllm(), blocks=7), requests((7, 8), (7, 8)))
    assert steps == [(0.0, 1, 7, 0), (1.0, 7, 0, 1), (8.0, 1, 7, 0), (9.0, 7, 0, 1)]
    assert records.preemptions.tolist() == [0, 0]


def test_max_utilization_admits_and_pauses_the_last() -> None:
    engine = trtllm(capacity_policy="max_utilization")
    steps, records = trace(pool(engine, blocks=7), requests((7, 8), (7, 8)))
    assert steps == [
        (0.0, 1, 14, 0),
        (1.0, 5, 0, 2),  # contexts up to 12: 3 blocks each
        (6.0, 1, 0, 1),  # 13 would take 4 each
        (7.0, 1, 0, 1),
        (8.0, 1, 13, 0),  # 7 + 6 tokens again
        (9.0, 1, 0, 1),
    ]
    assert finishes(records) == [(8.0, 0), (10.0, 1)]
    assert records.preemptions.tolist() == [0, 1]


def test_ranks_wait_to_start_prompts_together() -> None:
    engine = trtllm(attention_dp_enable_balance=True, attention_dp_timeout_iters=5)
    workload = requests((4, 12), (4, 12), (4, 1), (4, 1), at=[0, 0, 1.5, 4.5])
    steps, _ = trace(pool(engine, dp=2), workload)
    assert steps == [
        (0.0, 1, (4, 4), (0, 0)),
        (1.0, 1, (0, 0), (1, 1)),
        (2.0, 3, (0, 0), (1, 1)),
        (5.0, 1, (4, 4), (1, 1)),  # decode goes on beside the prompts
        (6.0, 6, (0, 0), (1, 1)),
    ]
    alone, _ = trace(pool(engine, dp=2), workload[:3])
    # the count goes on while no rank has a prompt: 1 to 5 since step 1
    assert alone[2:4] == [(2.0, 3, (0, 0), (1, 1)), (5.0, 1, (4, 0), (1, 1))]
    more = engine.model_copy(update={"attention_dp_batching_wait_iters": 2})
    steps, _ = trace(pool(more, dp=2), workload)
    assert [start for start, _, prompts, _ in steps if any(prompts)] == [0.0, 7.0]


def test_prompts_beside_decode_wait_until_they_fill_a_share_of_the_budget() -> None:
    waits = {"batch_wait_timeout_iters": 3, "batch_wait_max_tokens_ratio": 0.5}
    workload = requests((4, 12), (3, 2), (3, 2), at=[0, 1.5, 2.5])
    steps, _ = trace(pool(trtllm(**waits)), workload)
    # 1 + 3 + 3 tokens are less than 8, so that the bound of three steps ends the wait
    assert [start for start, _, prompt, _ in steps if prompt] == [0.0, 5.0]
    filled = requests((4, 12), (3, 2), (4, 2), at=[0, 1.5, 2.5])
    steps, _ = trace(pool(trtllm(**waits)), filled)
    assert [start for start, _, prompt, _ in steps if prompt] == [0.0, 3.0]
