"""Steps that take the same prompts on: how many, the room they need, and what each takes."""

from types import SimpleNamespace

import pytest

from simulator.engines.vllm.scheduler import VllmScheduler
from simulator.prediction.kv_capacity import kv_capacity
from simulator.serving.rank_room import RankRoom
from simulator.serving.step_timing import StepTiming
from workloads.models.weights_v3 import _v3_experts


def scheduler_with(prompt, *, grown, asked):
    """A scheduler one of whose ranks takes 16 tokens of a prompt a step."""

    def growth(sequence, end):
        asked.append(end)
        return 0

    rank = SimpleNamespace(
        batch=SimpleNamespace(size=0),
        chunks=[(prompt, 16)],
        waiting=[],
        incoming=[],
        lag=0,
        cache=None,
        growth=growth,
        is_roomy=lambda growth, step: True,
        grow=lambda sequence, end, step: grown.append(end),
    )
    return SimpleNamespace(
        interval=1,
        queries=1,
        budget=16,
        charges_chunks=False,
        worker=SimpleNamespace(ranks=[rank], steps=0, engine_steps=0),
    )


@pytest.mark.parametrize("done", [0, 16])
def test_a_prompt_goes_on_alike_until_its_last_full_chunk(done):
    """97 tokens are six chunks of 16 and a last one of 1; room is asked for all six."""
    grown, asked = [], []
    prompt = SimpleNamespace(target=97, computed=done)
    scheduler = scheduler_with(prompt, grown=grown, asked=asked)
    assert VllmScheduler.alike_steps(scheduler) == 5 - done // 16
    assert asked == [96]


def test_blocks_reach_to_the_end_of_the_chunk_after_steps_taken_together():
    grown, asked = [], []
    prompt = SimpleNamespace(target=97, computed=64)
    VllmScheduler.repeated(scheduler_with(prompt, grown=grown, asked=asked), 3)
    assert grown == [80]


def test_another_step_is_timed_at_the_context_of_its_rank():
    """100 tokens in step 4, two more a step; of ten steps the rank stood still in three."""
    batch = SimpleNamespace(
        size=2,
        context_sum=100.0,
        rate_sum=2.0,
        mark=4,
        line_stale=False,
        line_limit=1000.0,
        line_value_s=0.0,
        line_slope_s=1.0,
        line_x0=0.0,
    )
    chunk = (SimpleNamespace(computed=32), 16)
    rank = SimpleNamespace(batch=batch, chunks=[chunk], lag=3)
    timing = SimpleNamespace(lanes=[[rank]], _prefill_memo={(16, 32): 7.0}, _last_fixed_s=0.5)
    found = StepTiming.prefill_step_again_s(timing, 10, mixes=True, joint_prefill=False)
    assert found == 0.5 + 7.0 + 100.0 + 2.0 * (10 - 3 - 4)


def test_a_rank_uses_as_many_blocks_as_are_counted():
    """Ten held and one of a request with 16 tokens."""
    rank = SimpleNamespace(
        held=10,
        batch=SimpleNamespace(size=1, context_at=lambda step: 16.0),
        pool=SimpleNamespace(fixed_blocks_per_request=0, block_tokens=16),
        used_blocks=lambda step: 11,
    )
    for blocks in range(1, 20):
        assert RankRoom.uses(rank, blocks, 0) == (blocks <= 11)


def test_without_tiers_a_host_holds_nothing():
    spec = SimpleNamespace(
        total_blocks=10, block_tokens=16, offload=(), prefix_hit_interval_tokens=None
    )
    layout = SimpleNamespace(attention_dp=2, pp=1)
    pool = SimpleNamespace(kv_pool=spec, workers=1, layout=layout)
    found = kv_capacity(SimpleNamespace(pools=[pool], kv_tokens=[160]))
    assert (found.pool_tokens, found.host_tokens) == (320.0, 0.0)


def test_each_layer_has_all_of_its_shared_experts():
    """Four layers with two of three matrices of 2 by 3."""
    arch = SimpleNamespace(
        hidden_size=2,
        moe_intermediate_size=3,
        n_routed_experts=8,
        n_shared_experts=2,
        num_experts_per_tok=4,
        native_draft_path=None,
        native_feed_path=None,
        native_dense_path="fp8",
        native_expert_path="fp8",
    )
    weights = {each.name: each for each in _v3_experts(arch, layers=4, module="main")}
    assert weights["shared expert"].parameters == 4 * 2 * 3 * 2 * 3
