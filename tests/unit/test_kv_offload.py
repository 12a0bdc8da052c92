"""Host memory behind the KV pool: what is stated, what a SKU has, and what tiers then hold."""

from dataclasses import replace

import pytest
from engine_traces import requests

from hwmodels.sku import load_sku
from simulator.engines.kv_offload import host_tiers, parse_kv_offload
from simulator.engines.registry import bind_engine
from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.prediction.agentic import configure_agentic
from simulator.prediction.assembly import assemble
from simulator.serving.kv_pool import KvPoolSpec, OffloadTier
from simulator.serving.prefix_cache import PrefixCache
from simulator.studies.agentx.request import build_agentx
from workloads.errors import UserError
from workloads.layout import Layout

B200 = load_sku("b200")
DEP8 = Layout(tp=8, ep=8, dp_attention=True)


def tiers(settings, asked=None, sku=B200, pool_bytes=50e9):
    return host_tiers(
        engine=bind_engine(settings),
        asked=None if asked is None else parse_kv_offload(asked),
        sku=sku,
        layout=DEP8,
        pool_bytes=pool_bytes,
    )


def test_recipes_settings_say_how_blocks_are_copied() -> None:
    (eager,), note = tiers(VllmSettings(kv_offloading="eager"))
    assert (eager.inclusive, eager.capacity_bytes) == (True, 356.1e9)
    assert "write-through: 356 GB a chip" in note
    (lazy,), _ = tiers(VllmSettings(kv_offloading="lazy"))
    assert not lazy.inclusive
    (hicache,), _ = tiers(SglangSettings(hicache_ratio=3.0, disable_radix_cache=False))
    assert hicache.capacity_bytes == 150e9
    assert tiers(VllmSettings()) == ((), "")


def test_stated_memory_is_of_one_server_and_bounded_by_what_it_has() -> None:
    (tier,), _ = tiers(VllmSettings(), "cpu:1600GB:lazy")
    assert (tier.capacity_bytes, tier.inclusive) == (200e9, False)
    assert tiers(VllmSettings(kv_offloading="eager"), "none")[0] == ()
    with pytest.raises(UserError, match="a server of 8 x b200 has 2849 GB of host memory"):
        tiers(VllmSettings(), "cpu:4TB")
    with pytest.raises(UserError, match="states no host_memory_bytes"):
        tiers(VllmSettings(kv_offloading="eager"), sku=load_sku("a100"))


def test_drives_are_a_tier_behind_host_memory() -> None:
    (host, drives), note = tiers(VllmSettings(kv_offloading="eager"), "cpu,nvme:30TB")
    assert (host.name, drives.name) == ("host", "nvme")
    assert drives.capacity_bytes == 30e12 / 8
    assert drives.bandwidth_bytes_per_s < host.bandwidth_bytes_per_s
    assert not drives.inclusive
    assert "3,750 GB of local drives a chip" in note
    with pytest.raises(UserError, match="kv_offload"):
        parse_kv_offload("none,nvme:30TB")


@pytest.mark.parametrize(
    "text", ["cpu,nvme", "cpu,disk:3TB", "dram", "cpu:12", "cpu:3GB:sometimes", "cpu:-3GB"]
)
def test_unreadable_memory_is_refused(text) -> None:
    with pytest.raises(UserError, match="kv_offload"):
        parse_kv_offload(text)


def cache_with(tier):
    pool = KvPoolSpec(total_blocks=10, block_tokens=4, block_bytes=4.0, offload=(tier,))
    cache = PrefixCache(pool)
    prompts = requests(*[(16, 1)] * 4)
    for number, request in enumerate(prompts):
        request.block_tokens = 4
        request.block_hashes = tuple(range(100 * number, 100 * number + 4))
        cache.release(cache.insert(request, None))
        cache.shrink(8)
    return cache, prompts


def test_a_write_back_tier_adds_its_room_to_the_pools() -> None:
    tier = OffloadTier(name="host", capacity_bytes=16.0, bandwidth_bytes_per_s=1.0)
    cache, prompts = cache_with(tier)
    # 32 tokens in the pool and 16 behind it: of four prompts the first is gone but for its start
    found = [cache.match(request, 17).tokens for request in prompts]
    assert found == [0, 16, 16, 16]
    assert cache.match(prompts[1], 17).pool_tokens == 0


def test_tokens_behind_the_first_tier_are_told_apart() -> None:
    host = OffloadTier(name="host", capacity_bytes=8.0, bandwidth_bytes_per_s=2.0)
    nvme = OffloadTier(name="nvme", capacity_bytes=1e3, bandwidth_bytes_per_s=1.0)
    pool = KvPoolSpec(total_blocks=10, block_tokens=4, block_bytes=4.0, offload=(host, nvme))
    cache = PrefixCache(pool)
    (prompt,) = requests((16, 1))
    prompt.block_tokens, prompt.block_hashes = 4, tuple(range(4))
    cache.release(cache.insert(prompt, None))
    cache.shrink(1)  # of four blocks one stays, two fit the host, and the oldest lies on drives
    match = cache.match(prompt, 17)
    assert (match.tokens, match.pool_tokens, match.drive_tokens) == (16, 4, 4)
    assert match.load_s == pytest.approx(8 / 2.0 + 4 / 1.0)


@pytest.mark.parametrize(("capacity", "second"), [(32.0, 0), (48.0, 16)])
def test_a_write_through_tier_first_holds_what_the_pool_holds(capacity, second) -> None:
    tier = OffloadTier(
        name="host", capacity_bytes=capacity, bandwidth_bytes_per_s=1.0, inclusive=True
    )
    cache, prompts = cache_with(tier)
    assert cache.match(prompts[1], 17).tokens == second
    assert cache.match(prompts[3], 17).tokens == 16


def test_state_at_the_end_of_a_prompt_grows_old_as_blocks_do() -> None:
    """An older prompt goes before the state at the end of one that has since been extended."""
    pool = KvPoolSpec(
        total_blocks=40,
        block_tokens=4,
        fixed_blocks_per_request=6,
        prefix_hit_interval_tokens=0,
        state_blocks=3,
    )
    cache = PrefixCache(pool)
    other, first, longer = requests((16, 1), (16, 1), (32, 1))
    for request, base in ((other, 500), (first, 0), (longer, 0)):
        request.block_tokens = 4
        request.block_hashes = tuple(range(base, base + request.prompt_tokens // 4))
        cache.release(cache.insert(request, None))
    assert cache.idle_blocks == 4 + 8 + 3 * 3
    fork = replace(longer, prompt_tokens=20, block_hashes=(*range(4), 77))
    cache.shrink(4 + 8 + 3 * 3 - 3)  # three blocks are wanted: the older prompt's state goes
    assert cache.match(replace(other, prompt_tokens=17), 17).tokens == 0
    assert cache.match(fork, 21).tokens == 16
    cache.shrink(8 + 3)  # and its blocks, and then the state of the first prompt
    assert cache.match(fork, 21).tokens == 0
    whole = replace(longer, prompt_tokens=36, block_hashes=tuple(range(9)))
    assert cache.match(whole, 37).tokens == 32


@pytest.mark.parametrize("kept", [False, True])
def test_state_at_the_end_of_what_was_generated_is_that_of_linear_layers(kept) -> None:
    pool = KvPoolSpec(
        total_blocks=40,
        block_tokens=4,
        prefix_hit_interval_tokens=0,
        state_blocks=3,
        keeps_output_state=kept,
    )
    cache = PrefixCache(pool)
    (request,) = requests((16, 9))
    request.block_tokens, request.block_hashes = 4, tuple(range(4))
    held = cache.insert(request, None)
    cache.keep_output(request)
    cache.release(held)
    assert cache.idle_blocks == 4 + 2 + 3 + (3 if kept else 0)


def test_a_prompt_resumes_below_the_end_of_a_pool_block_that_its_blocks_do_not_divide() -> None:
    pool = KvPoolSpec(
        total_blocks=400,
        block_tokens=10,
        fixed_blocks_per_request=1,
        prefix_hit_interval_tokens=20,
    )
    cache = PrefixCache(pool)
    (prompt,) = requests((36, 1))
    prompt.block_tokens, prompt.block_hashes = 4, tuple(range(9))
    cache.release(cache.insert(prompt, None))
    longer = replace(prompt, prompt_tokens=44, block_hashes=tuple(range(11)))
    assert cache.match(longer, 45).tokens == 28  # the end of the third pool block, at 30
    fork = replace(prompt, block_hashes=(*range(6), 70, 71, 72))
    assert cache.match(fork, 37).tokens == 20  # of the second, at 20


def test_vllm_keeps_the_state_of_linear_layers_where_chunks_end() -> None:
    flags = {"model": "kimi-k3", "tp": 8, "ep": 1, "dp_attention": False, "concurrency": (16,)}
    asked = build_agentx(["b300:vllm"], flags={**flags, "spec": "dspark:7"})
    configuration, _ = configure_agentic(
        asked.systems[0].scenario,
        pools=asked.systems[0].pools(),
        sessions=16,
        workload=asked.workload,
    )
    pool = assemble(configuration).pools[0].kv_pool
    assert pool.prefix_hit_interval_tokens == 8192 // pool.block_tokens * pool.block_tokens
    assert pool.fixed_blocks_per_request == 8 * pool.state_blocks == 24
    assert pool.keeps_output_state
