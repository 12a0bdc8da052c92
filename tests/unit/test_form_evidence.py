"""Predictions are calibrated where runs of the deployment's very form were fitted."""

import pytest

from hwmodels.evidence import fitted_forms, runs_of_form
from simulator.studies.load.run import run_load


def asked(engine, deployment, spec):
    return run_load(sku="b300", engine=engine, deployment=deployment, concurrency=1, spec=spec)


@pytest.mark.parametrize(
    ("engine", "deployment", "spec"), [("sglang", "TEP8", "mtp"), ("vllm", "TEP8", "none")]
)
def test_forms_that_ran_on_the_sku_are_calibrated(engine, deployment, spec):
    known = {"model": "deepseek-v4-pro", "sku": "b300", "engine": engine, "speculation": spec}
    assert runs_of_form(**known, disaggregated=False) > 0
    found = asked(engine, deployment, spec)
    assert found.kind == "calibrated"
    assert not any("no run of" in message for message in found.messages)


def test_a_form_that_did_not_run_on_the_sku_is_transferred_and_says_so():
    """SGLang's kernels are fitted on B300, and disaggregated SGLang is not."""
    forms = [
        each
        for each in fitted_forms()
        if each.model == "deepseek-v4-pro" and each.sku == "b300" and each.disaggregated
    ]
    assert not any(each.engine == "dynamo-sglang" and each.speculation == "mtp" for each in forms)
    found = asked("dynamo-sglang", "1xDEP4+1xDEP8", "mtp")
    assert found.kind == "transferred"
    told = "under dynamo-sglang with mtp, disaggregated, on b300 was fitted"
    assert any(told in message for message in found.messages)
