"""Sleeping through runs of steps gives what waking at every step gives, to the last bit."""

import numpy as np
import pytest
from engine_scenarios import SegmentedCost, scenarios
from hypothesis import HealthCheck, given, settings

from simulator.engines.atom.engine import AtomSettings
from simulator.engines.registry import bind_engine
from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.sglang.scheduler import SglangScheduler
from simulator.engines.vllm.engine import VllmSettings
from simulator.engines.vllm.scheduler import VllmScheduler
from simulator.serving.client import ClosedLoop, OpenLoop
from simulator.serving.deployment import Deployment, run_deployment
from simulator.serving.kv_pool import KvPoolSpec
from simulator.serving.kv_transfer import TransferLink
from simulator.serving.records import Records
from simulator.serving.router import WorkerPool
from workloads.layout import Layout
from workloads.requests.request import Request


def delays_prompts(deployment):
    """Whether a rule of the engine holds prompts back to align data-parallel ranks."""
    pools = (deployment.aggregated, deployment.prefill, deployment.decode)
    return any(
        pool.layout.dp_attention
        and (
            isinstance(pool.engine.settings, AtomSettings)
            or getattr(pool.engine.settings, "attention_dp_enable_balance", False)
            or getattr(pool.engine.settings, "enable_prefill_delayer", False)
        )
        for pool in pools
        if pool is not None
    )


def assert_equal(fast, slow):
    for name in Records.names:
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name), err_msg=name)


def assert_same_run(scenario):
    deployment, requests, load = scenario
    fast = run_deployment(deployment=deployment, requests=requests, load=load)
    slow = run_deployment(deployment=deployment, requests=requests, load=load, step_by_step=True)
    assert len(fast) == len(requests)
    assert_equal(fast, slow)


@settings(max_examples=60, deadline=None)
@given(scenario=scenarios())
def test_runs_of_steps_equal_single_steps(scenario) -> None:
    assert_same_run(scenario)


def test_a_decode_worker_goes_on_when_its_last_decoding_request_is_preempted() -> None:
    """Prompts that it computes again are held back until nobody decodes, which is then."""
    lengths = (
        *((165, 44), (38, 42), (124, 65), (99, 93), (281, 95), (296, 63), (247, 49), (176, 15)),
        *((93, 20), (164, 66), (74, 15), (195, 92), (31, 3), (28, 32), (130, 55), (3, 13)),
        *((16, 3), (257, 81)),
    )
    workload = [
        Request(index=i, prompt_tokens=p, output_tokens=o, decode_steps=o - 1, arrival_s=0.0)
        for i, (p, o) in enumerate(lengths)
    ]
    prefill = SglangSettings(chunked_prefill_size=128, max_prefill_tokens=75, page_size=1)
    decode = AtomSettings(
        max_num_batched_tokens=40,
        max_num_seqs=9,
        enable_chunked_prefill=False,
        deferred_output=False,
        prefill_alignment="full_budget",
        prefill_align_max_ticks=38,
        data_parallel_routing="round_robin",
    )
    deployment = Deployment(
        prefill=WorkerPool(
            layout=Layout(tp=2, ep=2, dp_attention=True),
            engine=bind_engine(prefill),
            kv_pool=KvPoolSpec(total_blocks=218, block_tokens=4),
            cost=SegmentedCost(),
            workers=2,
            routing="kv_aware",
        ),
        decode=WorkerPool(
            layout=Layout(tp=4, ep=4, dp_attention=True),
            engine=bind_engine(decode),
            kv_pool=KvPoolSpec(total_blocks=31, block_tokens=16),
            cost=SegmentedCost(),
            rank_routing="kv_aware",
        ),
        transfer=TransferLink(
            bandwidth_bytes_per_s=1000.0,
            token_bytes=0.0,
            request_bytes=0.0,
            block_tokens=16,
            latency_s=0.0,
            descriptor_s=1e-5,
        ),
        first_token_at="prefill",
    )
    assert_same_run((deployment, workload, OpenLoop()))


@pytest.mark.slow
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(scenario=scenarios().filter(lambda scenario: delays_prompts(scenario[0])))
def test_runs_of_steps_equal_single_steps_under_prefill_delays(scenario) -> None:
    """Rules that hold prompts back count passes, slept through or not."""
    assert_same_run(scenario)


def chunked(engine, *, ranks, ahead):
    """Settings under which a rank computes 16 tokens of prompts a step."""
    if engine == "vllm":
        return VllmSettings(max_num_batched_tokens=16, max_num_seqs=8, async_scheduling=ahead)
    return SglangSettings(
        chunked_prefill_size=16 * ranks,
        page_size=16,
        max_running_requests=8 * ranks,
        enable_prefill_delayer=engine == "sglang with delayer",
        disable_overlap_schedule=not ahead,
    )


@pytest.mark.parametrize("engine", ["vllm", "sglang", "sglang with delayer"])
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("ahead", [False, True])
def test_steps_that_take_the_same_prompts_on_are_composed_once(
    engine, ranks, ahead, monkeypatch
) -> None:
    """A prompt cut into many chunks, beside a batch or before it: few decisions, the same times."""
    pool = WorkerPool(
        layout=Layout(tp=ranks, ep=ranks, dp_attention=ranks > 1),
        engine=bind_engine(chunked(engine, ranks=ranks, ahead=ahead)),
        kv_pool=KvPoolSpec(total_blocks=10_000, block_tokens=16),
        cost=SegmentedCost(),
    )
    requests = [
        Request(index=n, prompt_tokens=700 + 37 * n, output_tokens=90, decode_steps=89)
        for n in range(3 * ranks)
    ]
    # with one client a rank has no prompt, for which the delayer holds those of the other back
    clients = 1 if engine == "sglang with delayer" else 2 * ranks
    decisions = []
    cls = VllmScheduler if engine == "vllm" else SglangScheduler
    schedule = cls.schedule

    def counted(scheduler):
        decisions.append(scheduler)
        return schedule(scheduler)

    monkeypatch.setattr(cls, "schedule", counted)

    def served(*, step_by_step):
        decisions.clear()
        records = run_deployment(
            deployment=Deployment(aggregated=pool),
            requests=requests,
            load=ClosedLoop(concurrency=clients),
            step_by_step=step_by_step,
        )
        return records, len(decisions)

    fast, few = served(step_by_step=False)
    slow, many = served(step_by_step=True)
    assert_equal(fast, slow)
    assert few < many / 5
