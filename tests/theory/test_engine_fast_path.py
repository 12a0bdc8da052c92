"""Sleeping through runs of steps gives what waking at every step gives, to the last bit."""

import numpy as np
from engine_scenarios import scenarios
from hypothesis import given, settings

from simulator.serving.deployment import run_deployment
from simulator.serving.records import Records


@settings(max_examples=60, deadline=None)
@given(scenario=scenarios())
def test_runs_of_steps_equal_single_steps(scenario) -> None:
    deployment, requests, load = scenario
    fast = run_deployment(deployment=deployment, requests=requests, load=load)
    slow = run_deployment(deployment=deployment, requests=requests, load=load, step_by_step=True)
    assert len(fast) == len(requests)
    for name in Records.names:
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name), err_msg=name)
