"""What holds at the edges of rules: the first pass, none left, exactly at a limit."""

import json
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter, ValidationError

from hwmodels.calibration_files import _Finite
from hwmodels.sku import load_sku
from simulator.engines.kv_accounting_hybrid import sglang_hybrid_pool
from simulator.engines.prefill_delay import SlotDelayer
from simulator.engines.registry import bind_engine
from simulator.engines.sglang.engine import SglangSettings
from simulator.prediction.bounds import TTFT_SLACK, DeploymentBounds
from simulator.prediction.notes import COMPARED, beyond_compared
from simulator.prediction.steady import _mixed
from simulator.prediction.transfer_link import _check_pair
from simulator.serving.chrome_trace import TraceWriter
from simulator.serving.radix_tree import PrefixNode, PrefixTree
from simulator.serving.request_state import RequestState
from simulator.serving.router import session_hash
from workloads.architectures.base import CacheLayers
from workloads.errors import UserError
from workloads.layout import Layout
from workloads.models.deepseek_v4_attention import AttentionLayers
from workloads.models.moe import Moe


def test_a_prompt_that_one_rank_has_waits_a_pass_less_than_the_most_from_the_start():
    delayer = SlotDelayer(max_passes=3, slots=8, bounded=True, window=None, ranks=2)
    one = {"ready": [True, False], "running": [0, 0], "waiting": [1, 0]}
    assert [delayer.allows(**one) for _ in range(6)] == [False, False, True] * 2


@pytest.mark.parametrize(("parted_at", "runs"), [(0, 1), (1, 2)])
def test_runs_of_blocks_are_joined_if_they_were_released_together(parted_at, runs):
    tree = PrefixTree()
    lower = tree.root.children[1] = PrefixNode((1, 2, 3, 4), tree.root)
    upper = tree.split(lower, 2)
    upper.time = parted_at
    tree.join(lower)
    assert len(tree.walk((1, 2, 3, 4))) == runs


def test_each_new_token_adds_a_share_of_a_row_and_of_its_key_to_what_is_gathered():
    """One compressed entry and one indexer key for every four tokens."""
    layers = AttentionLayers(
        architecture=SimpleNamespace(head_dim=512, sliding_window=128, qk_rope_head_dim=64),
        layout=Layout(tp=8),
        plan=SimpleNamespace(kv_storage="bf16", index_storage="bf16"),
        ratio=4,
        layers=1,
    )
    none, some = (
        layers.context_exchange(new_tokens=tokens, context_ranks=8)[0].message_bytes
        for tokens in (0.0, 4000.0)
    )
    assert none == 2 * 8 * 128 * 512 * 2
    assert some - none == 1000 * (512 * 2 + 128 * 2)


def test_a_lone_prompt_is_allowed_the_limit_and_its_slack():
    def words(ttft_s):
        alone = SimpleNamespace(alone_tokens_per_s=100.0, alone_ttft_s=ttft_s)
        return DeploymentBounds.excludes(alone, least_speed=0.0, ttft_limit_s=4.0)

    assert words(4.0 * TTFT_SLACK) == ""
    assert "4 s are allowed" in words(4.0 * TTFT_SLACK + 0.01)


def test_a_transfer_and_its_track_lie_at_the_worker_that_receives(tmp_path):
    with TraceWriter(tmp_path / "trace.json") as trace:
        trace.transfer(request=0, source=1, destination=2, start_s=0.0, end_s=1.0, size_bytes=1.0)
    events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    track, slices = (
        {(each["pid"], each["tid"]) for each in events if match(each)}
        for match in (
            lambda each: each.get("args", {}).get("name") == "KV from worker 1",
            lambda each: each["name"] == "request 0",
        )
    )
    assert track == slices != set()


def test_a_restart_computes_again_what_was_generated_from_time_zero_on():
    """100 tokens of prompt, the first token and three more."""
    sequence = SimpleNamespace(
        request=SimpleNamespace(prompt_tokens=100),
        first_token_s=0.0,
        rate=1.0,
        steps_done=3,
        preemptions=0,
    )
    RequestState.restart(sequence)
    assert sequence.target == 104


def test_lengths_at_the_ends_of_what_was_compared_are_not_beyond_it():
    for end in (0, 1):
        lengths = SimpleNamespace(
            traffic="fixed", isl=COMPARED["prompt"][end], osl=COMPARED["output"][end]
        )
        assert beyond_compared(lengths) == ()
    low = SimpleNamespace(traffic="fixed", isl=COMPARED["prompt"][0] - 1, osl=1000)
    assert len(beyond_compared(low)) == 1


def test_a_chunk_of_fewer_tokens_than_ranks_leaves_each_one():
    engine = bind_engine(SglangSettings(chunked_prefill_size=4))
    assert [engine.step_token_budget(attention_dp=ranks) for ranks in (1, 2, 8)] == [4, 2, 1]


def test_a_request_of_sglang_holds_blocks_for_a_token_and_its_drafts():
    charge = SimpleNamespace(
        request_bytes=0.0,
        default_running=8,
        state_share=1.0,
        fixed_blocks=lambda *, in_flight_tokens: in_flight_tokens,
    )
    reserve = bind_engine(SglangSettings()).pool_reserve(
        charge=charge, layout=Layout(tp=8), drafts=3, longest_context=1, pool_bytes=1e9
    )
    assert reserve.fixed_blocks == 4


def test_without_drafts_a_request_has_one_state():
    layers = CacheLayers(entry_bytes=1000.0, full=10, linear=30, state_bytes=5e6)
    pool = sglang_hybrid_pool(layers=layers, page_tokens=1, swa_full_tokens_ratio=0.8)
    assert pool.request_bytes == 5e6


def test_a_lone_client_of_a_mixed_worker_decodes_in_steps_of_one():
    """0.1 s to the first token and ten steps of 10 ms: five requests a second."""
    bounds = SimpleNamespace(
        last=SimpleNamespace(workers=1),
        prefill_requests_per_s=10.0,
        most_running=100.0,
        alone_ttft_s=0.1,
        decode_steps=10,
        decode_step_s=lambda requests: 0.01 * requests,
    )
    assert _mixed(bounds, clients=1) == pytest.approx((5.0, 1.0))


def test_chips_without_a_common_library_are_told_with_both_of_theirs():
    keeps = SimpleNamespace(plan=SimpleNamespace(kv_storage="fp8", transfer_library=""))
    pair = (load_sku("b200"), load_sku("mi355x"))
    with pytest.raises(UserError, match=r"leave b200 by (\S+) and enter mi355x by (?!\1;)\S+;"):
        _check_pair(pair, sender=keeps, receiver=keeps, orchestrator="sglang-router")


def test_degrees_that_are_offered_are_at_most_twice_what_was_asked():
    """Of 256 experts, six ranks: 4 or 8, and not 16."""
    experts = SimpleNamespace(
        layout=SimpleNamespace(ep=6, moe_tp=1),
        load=SimpleNamespace(redundant_experts=0),
        experts=256,
    )
    with pytest.raises(UserError, match="choose ep 4 or 8,"):
        Moe.validate(experts)


def test_a_session_is_spread_over_64_bits_without_two_alike():
    sessions = [SimpleNamespace(session=number, index=0) for number in range(512)]
    found = [session_hash(each) for each in sessions]
    assert len(set(found)) == 512
    assert max(found) < 1 << 64


def test_an_effect_in_a_file_is_at_most_50_either_way():
    effect = TypeAdapter(_Finite)
    for limit in (-50.0, 50.0):
        assert effect.validate_python(limit) == limit
        with pytest.raises(ValidationError):
            effect.validate_python(limit * 1.01)
