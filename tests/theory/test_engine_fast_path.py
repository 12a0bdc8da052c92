"""Sleeping through runs of steps gives what waking at every step gives, to the last bit."""

import numpy as np
import pytest
from engine_scenarios import scenarios
from hypothesis import HealthCheck, given, settings

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
