"""Sleeping through runs of steps gives what waking at every step gives, to the last bit."""

import numpy as np
import pytest
from engine_scenarios import scenarios
from hypothesis import assume, given, settings

from simulator.engines.atom.engine import AtomSettings
from simulator.serving.deployment import run_deployment
from simulator.serving.records import Records


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


@settings(max_examples=60, deadline=None)
@given(scenario=scenarios())
def test_runs_of_steps_equal_single_steps(scenario) -> None:
    deployment, requests, load = scenario
    assume(not delays_prompts(deployment))
    fast = run_deployment(deployment=deployment, requests=requests, load=load)
    slow = run_deployment(deployment=deployment, requests=requests, load=load, step_by_step=True)
    assert len(fast) == len(requests)
    assert_equal(fast, slow)


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="where a rule holds prompts back to align data-parallel ranks, whether a rank could "
    "start may change while a run is slept through: two scenarios were seen that start a prompt "
    "one step apart (ATOM's coalescer, TensorRT-LLM's balance). Neither the cause nor how often "
    "is known",
)
@settings(max_examples=400, deadline=None, derandomize=True)
@given(scenario=scenarios())
def test_runs_of_steps_equal_single_steps_under_prefill_delays(scenario) -> None:
    deployment, requests, load = scenario
    assume(delays_prompts(deployment))
    fast = run_deployment(deployment=deployment, requests=requests, load=load)
    slow = run_deployment(deployment=deployment, requests=requests, load=load, step_by_step=True)
    assert_equal(fast, slow)
