"""Whole runs of siblings at equal software and layout: a chip with more of everything is no slower.

Steps are `tests/theory/test_siblings.py`; here queues, KV pools and prefill take part, as in
``simulate compare --same-software``.
"""

import itertools

import pytest

from hwmodels.sku import load_sku
from simulator.engines.pools import DoesNotFitError, parse_deployment
from simulator.prediction.run import simulate_run
from simulator.scenario.configure import ClosedLoad, configure
from simulator.scenario.settings import build_scenario
from simulator.scenario.target import resolve_target

CHAINS = [
    ("b200", "gb200", "gb300", "vr200"),
    ("b200", "b300", "gb300"),
    ("h100", "h200"),
    ("mi300x", "mi325x", "mi355x", "mi455x"),
]
PAIRS = sorted({pair for chain in CHAINS for pair in itertools.pairwise(chain)})
MODELS = ("deepseek-r1", "deepseek-v4-pro", "gpt-oss-120b", "qwen3.5", "llama-3.1-8b")
CLIENTS = (1, 16, 128)
DENSE = ("llama-3.1-8b",)
TOLERANCE = 2e-3
"""Requests of another length at a run's end: a faster run drains at another point."""
OTHER_FORMAT = 0.015
"""Chips that multiply FP4 weights in other formats run other kernels: MI355X, with units for FP4,
converts activations to FP8 first, MI325X does not. At one client that launch is a hundredth."""


def throughput(sku, *, pair, engine, model, deployment, clients):
    """Total throughput per GPU of one run at the pair's shared software. [tok/s]"""
    scenario = build_scenario(
        flags={
            "sku": sku,
            "model": model,
            "engine": f"{engine}+as-{'.'.join(pair)}",
            "isl": 2048,
            "osl": 128,
            "length_distribution": "fixed",
        }
    ).scenario
    load = ClosedLoad.of(scenario, concurrency=clients)
    configuration, _ = configure(
        resolve_target(scenario), pools=parse_deployment(deployment), load=load
    )
    return simulate_run(configuration).metrics.total_tput_per_gpu


def both(pair, **work):
    try:
        return [throughput(sku, pair=pair, **work) for sku in pair]
    except DoesNotFitError as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.mark.parametrize("clients", [1, 32])
def test_gb200_is_no_slower_than_b200(clients):
    work = {"engine": "vllm", "model": "gpt-oss-120b", "deployment": "TP8"}
    pair = ("b200", "gb200")
    less, more = (throughput(sku, pair=pair, clients=clients, **work) for sku in pair)
    assert more >= less * (1 - TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("deployment", ["TP8", "DEP8"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("pair", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_more_of_everything_is_never_slower(pair, model, deployment, clients):
    engines = ("vllm", "sglang") if load_sku(pair[0]).vendor == "amd" else ("vllm", "sglang", "trt")
    if model in DENSE and "E" in deployment:
        pytest.skip(f"{model} has no experts to divide")
    formats = {load_sku(sku).flops_fp4 is None for sku in pair}
    tolerance = OTHER_FORMAT if len(formats) > 1 and clients == 1 else TOLERANCE
    for engine in engines:
        work = {"engine": engine, "model": model, "deployment": deployment, "clients": clients}
        less, more = both(pair, **work)
        assert more >= less * (1 - tolerance), engine
