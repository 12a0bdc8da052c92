"""What binds two pools: the one whose share of a request takes its ranks longer."""

from dataclasses import replace

import pytest

from simulator.prediction.assembly import assemble
from simulator.prediction.bottleneck import name_bottleneck
from simulator.prediction.step_breakdown import time_ops
from simulator.scenario.table_rows import configure_row

PROMPT, OUTPUT = 8192.0, 1024.0


@pytest.fixture(scope="module")
def assembly():
    row = {"model": "deepseek-r1", "sku": "b200", "engine": "dynamo-trt", "precision": "fp4"}
    configuration, _ = configure_row(
        row | {"isl": 8192, "osl": 1024, "concurrency": 256, "label": "1xDEP8+1xDEP8"}
    )
    return assemble(configuration)


def named(assembly, *, prefill_ranks, requests_per_rank=16.0):
    prefill, decode = assembly.phases
    return name_bottleneck(
        prefill=replace(prefill, ranks=prefill_ranks),
        decode=decode,
        pool=assembly.pools[-1],
        drafts=0,
        requests_per_rank=requests_per_rank,
        prompt_tokens=PROMPT,
        output_tokens=OUTPUT,
    )


def test_prefill_binds_where_its_ranks_take_longer_than_a_decode_step(assembly):
    """R_p / R_d below D t_p / (output tokens x t_d) leaves the prefill pool behind."""
    prefill, decode = assembly.phases
    ranks = decode.model.layout.attention_dp

    def seconds(of, ops):
        return sum(time.seconds for time in time_ops(ops=ops, sku=of.sku, software=of.software))

    t_p = seconds(
        prefill,
        [
            *prefill.model.token_ops(rank_tokens=PROMPT, group_tokens=PROMPT * ranks),
            *prefill.model.prefill_attention_ops(new_tokens=PROMPT, prefix_tokens=0.0),
        ],
    )
    context = PROMPT + OUTPUT / 2.0
    t_d = seconds(
        decode,
        [
            *decode.model.token_ops(rank_tokens=16.0, group_tokens=16.0 * ranks),
            *decode.model.decode_attention_ops(
                requests=16.0, queries_per_request=1, context=context
            ),
            *decode.model.head_ops(samples=16.0),
        ],
    )
    even = decode.ranks * 16.0 * t_p / (OUTPUT * t_d)
    assert named(assembly, prefill_ranks=0.9 * even).startswith("prefill: ")
    assert named(assembly, prefill_ranks=1.1 * even).startswith("decode: ")


def test_a_slower_chip_of_the_prefill_pool_binds_earlier(assembly):
    """The prefill pool is judged on its own chip, not on that of the decode pool."""
    prefill, decode = assembly.phases
    rates = ("flops_fp4", "flops_fp8", "flops_bf16")
    slow = prefill.sku.model_copy(update={n: 0.02 * getattr(prefill.sku, n) for n in rates})
    fast_at = named(assembly, prefill_ranks=2.0 * decode.ranks)
    slowed = replace(assembly, phases=(replace(prefill, sku=slow), decode))
    assert fast_at.startswith("decode: ")
    assert named(slowed, prefill_ranks=2.0 * decode.ranks) == "prefill: compute"
