"""A chip with more of everything is never slower at equal software, layout and load."""

import itertools

import pytest

from hwmodels.sku import load_sku
from hwmodels.software import load_software
from simulator.prediction.step_breakdown import time_step
from workloads.architectures.catalog import load_architecture
from workloads.costmodel import PrefillChunk, StepBatch
from workloads.layout import Layout
from workloads.models import bind

CHAINS = [
    ("b200", "gb200", "gb300", "vr200"),
    ("b200", "b300", "gb300"),
    ("h100", "h200"),
    ("mi300x", "mi325x", "mi355x", "mi455x"),
]
PAIRS = sorted({pair for chain in CHAINS for pair in itertools.pairwise(chain)})
LAYOUTS = [Layout(tp=8), Layout(tp=8, ep=8, dp_attention=True)]
BATCHES = [
    *(StepBatch(decode_requests=n, decode_context=4096.0) for n in (1, 8, 64, 256)),
    StepBatch(prefill=(PrefillChunk(new_tokens=4096),)),
]


def engines_of(sku):
    return ("vllm", "sglang") if sku.vendor == "amd" else ("vllm", "sglang", "trtllm")


def step_s(*, sku, software, model, layout, batch):
    bound = bind(architecture=load_architecture(model), layout=layout, plan=software.plan)
    return time_step(model=bound, sku=sku, software=software, batch=batch).step_s


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.label)
@pytest.mark.parametrize("model", ["deepseek-r1", "deepseek-v4-pro", "gpt-oss-120b"])
@pytest.mark.parametrize(("less", "more"), PAIRS, ids=[f"{a}-{b}" for a, b in PAIRS])
def test_more_of_everything_is_never_slower(less, more, model, layout):
    small, large = load_sku(less), load_sku(more)
    for engine in engines_of(small):
        software = load_software(engine=engine, sku=small, model=model, specification=True)
        for batch in BATCHES:
            work = {"software": software, "model": model, "layout": layout, "batch": batch}
            assert step_s(sku=large, **work) <= step_s(sku=small, **work) * (1 + 1e-9), engine


def test_a_chip_with_less_bandwidth_is_slower():
    """The comparison tells chips apart: without memory bandwidth the order turns."""
    large = load_sku("h200")
    less = large.override({"hbm_bytes_per_s": 1e12})
    software = load_software(engine="vllm", sku=large, model="deepseek-r1", specification=True)
    work = {"model": "deepseek-r1", "layout": LAYOUTS[0], "batch": BATCHES[1]}
    assert step_s(sku=less, software=software, **work) > step_s(
        sku=large, software=software, **work
    )
