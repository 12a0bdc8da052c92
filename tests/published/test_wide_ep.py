"""Wide EP in a rack against islands of eight GPUs, and what the fabric between islands does to it.

InferenceX, 2026-05-22: DeepSeek-R1 FP4, 1,024/1,024, MTP, Dynamo and TensorRT-LLM. GB200 NVL72 over
B200 is 1.35 at 75 tok/s/user, 4.39 at 125, 1.30 at 200 and 0.97 at 250; the reason given is the
exchange of tokens at 900 against 50 GB/s a GPU. Compared here at equal software.
"""

import numpy as np
import pytest

from simulator.analysis.pareto import Frontier
from simulator.engines.pools import parse_deployment
from simulator.prediction.assembly import assemble
from simulator.prediction.run import simulate_run
from simulator.prediction.step_breakdown import time_step
from simulator.scenario.configure import ClosedLoad, configure
from simulator.scenario.settings import build_scenario
from simulator.scenario.target import resolve_target
from workloads.costmodel import StepBatch

ISLANDS = [
    *(("1xDEP4+5xTEP8", clients) for clients in (90, 180, 360, 540, 875)),
    ("1xDEP4+2xDEP8", 1214),
]
WIDE = [
    *(("1xDEP4+1xDEP32", clients) for clients in (180, 400)),
    ("2xDEP4+1xDEP32", 900),
    ("3xDEP4+1xDEP32", 2253),
]
"""Deployments of the published curves, with loads between the published ones."""
RACK = {"scaleup_world": 72}


def configured(sku, deployment, clients, overrides):
    scenario = build_scenario(
        flags={
            "sku": sku,
            "model": "deepseek-r1",
            "engine": "dynamo-trt+as-b200.gb200@2026-05",
            "precision": "fp4",
            "spec": "mtp",
            "isl": 1024,
            "osl": 1024,
            "overrides": overrides,
        }
    ).scenario
    load = ClosedLoad.of(scenario, concurrency=clients)
    configuration, _ = configure(
        resolve_target(scenario), pools=parse_deployment(deployment), load=load
    )
    return configuration


def decode_step_s(sku, overrides=None):
    """A decode step of DEP32 with six requests a rank, three drafts each."""
    built = assemble(configured(sku, "1xDEP4+1xDEP32", 180, overrides or {}))
    batch = StepBatch(decode_requests=6, decode_context=1400.0, queries_per_request=4)
    return time_step(
        model=built.models[1], sku=built.sku, software=built.software, batch=batch
    ).step_s


def test_a_decode_step_of_wide_ep_waits_for_the_fabric_between_islands():
    rack, islands = decode_step_s("gb200"), decode_step_s("b200")
    assert islands > 1.2 * rack
    assert decode_step_s("b200", RACK) == pytest.approx(rack, rel=0.05)


def frontier(sku, cells, overrides=None):
    found = []
    for deployment, clients in cells:
        metrics = simulate_run(configured(sku, deployment, clients, overrides or {})).metrics
        found.append((1.0 / metrics.tpot.median_s, metrics.total_tput_per_gpu))
    return Frontier.of(*np.array(found).T)


@pytest.mark.slow
def test_the_bell_of_wide_ep_and_that_the_fabric_is_its_reason():
    """A bell in the published place, half as high; gone where B200 has the rack's fabric.

    `docs/background/communication.md` says what keeps it low.
    """
    rack, islands = frontier("gb200", WIDE), frontier("b200", ISLANDS)
    joined = frontier("b200", ISLANDS + WIDE, RACK)

    def ratio(other, speed):
        return rack.at(speed) / other.at(speed)

    top = ratio(islands, 125.0)
    assert top > 1.5
    assert top > 1.15 * ratio(islands, 95.0)
    assert top > 1.05 * ratio(islands, 140.0)
    assert ratio(joined, 125.0) < 1.2
    assert ratio(joined, 125.0) < 0.75 * top
