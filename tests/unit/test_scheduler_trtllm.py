"""TensorRT-LLM's rules as traces: (start, steps, prefill tokens, decode requests)."""

import pytest
from engine_traces import finishes, pool, requests, trace

from simulator.engines.trtllm.engine import TrtllmSettings
from workloads.errors import UserError


def trtllm(**settings):
    return TrtllmSettings(
        **{"max_num_tokens": 16, "max_batch_size": 8, "tokens_per_block": 4, **settings}
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
    engine = trtllm(attention_dp_batching_wait_iters=5)
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
    assert alone[2:4] == [(2.0, 5, (0, 0), (1, 1)), (7.0, 1, (4, 0), (1, 1))]
