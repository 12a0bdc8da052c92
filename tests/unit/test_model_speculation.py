"""Acceptance distributions: names, bounds, choices."""

import numpy as np
import pytest

from simulator.engines.pools import PoolLayout
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario
from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.speculation import (
    Acceptance,
    acceptance_names,
    acceptance_of_length,
    best_drafts,
    draw_decode_steps,
    expected_decode_steps,
    published_acceptance,
    synthetic_acceptance,
    verification_budget,
)


def test_every_published_distribution_is_one():
    for name in acceptance_names():
        for drafts in range(1, 9):
            try:
                acceptance = published_acceptance(name=name, drafts=drafts)
            except UserError:
                assert drafts > 1
                break
            assert acceptance.probabilities.sum() == pytest.approx(1.0)
            assert np.all(acceptance.probabilities >= -1e-12)


def test_names_and_ranges_that_do_not_exist():
    with pytest.raises(UserError, match="deepseek-v4-pro-mtp-thinking"):
        published_acceptance(name="deepseek-v4-pro-mtp-thinkin", drafts=1)
    with pytest.raises(UserError, match="published for 1 to 2 drafts"):
        published_acceptance(name="deepseek-v4-flash-mtp-random", drafts=3)
    with pytest.raises(UserError, match="deepseek-v4-pro"):
        verification_budget(model="deepseek-r1", concurrency_per_gpu=10)


@pytest.mark.parametrize("build", [acceptance_of_length, synthetic_acceptance])
@pytest.mark.parametrize(("length", "drafts"), [(0.9, 2), (3.1, 2), (1.0, 0)])
def test_impossible_lengths(build, length, drafts):
    with pytest.raises(UserError, match=r"acceptance_length is|drafts is"):
        build(acceptance_length=length, drafts=drafts)


@pytest.mark.parametrize("survival", [(0.5, 0.6), (1.1,), (-0.1,)])
def test_survival_never_rises(survival):
    with pytest.raises(UserError, match="draft position"):
        Acceptance(survival=survival)


def test_synthetic_length_is_the_whole_numbers_around_it():
    acceptance = synthetic_acceptance(acceptance_length=2.27, drafts=3)
    np.testing.assert_allclose(acceptance.probabilities, [0.0, 0.73, 0.27, 0.0], atol=1e-12)


def test_truncation_verifies_the_first_drafts():
    acceptance = Acceptance(survival=(0.8, 0.5, 0.2))
    assert acceptance.truncated(drafts=1).acceptance_length == pytest.approx(1.8)
    assert acceptance.truncated(drafts=0).drafts == 0


def test_empty_and_single_token_outputs():
    acceptance = Acceptance(survival=(0.5,))
    rng = np.random.default_rng(0)
    for lengths in ([], [1, 1, 1]):
        steps = draw_decode_steps(rng=rng, output_tokens=lengths, acceptance=acceptance)
        np.testing.assert_array_equal(steps, np.zeros(len(lengths)))
    np.testing.assert_array_equal(
        expected_decode_steps(output_tokens=[1], acceptance=acceptance), [0.0]
    )


def test_best_drafts_follow_the_cost_of_verifying():
    acceptance = Acceptance(survival=(0.8, 0.6, 0.4, 0.2))
    assert best_drafts(acceptance=acceptance, step_s=[1.0] * 5) == 4
    assert best_drafts(acceptance=acceptance, step_s=[1, 2, 3, 4, 5]) == 0
    assert best_drafts(acceptance=acceptance, step_s=[1.0, 1.1, 1.3, 1.7, 2.5]) == 2
    with pytest.raises(UserError, match="need 5"):
        best_drafts(acceptance=acceptance, step_s=[1.0])


def test_budget_is_constant_outside_the_published_range():
    ends = [verification_budget(model="deepseek-v4-flash", concurrency_per_gpu=c) for c in (1, 20)]
    assert ends[0] == ends[1]
    assert verification_budget(model="deepseek-v4-flash", concurrency_per_gpu=1e4) == 3.48


def test_an_eagle_head_is_one_dense_layer_a_draft():
    """A pass reads the layer's matrices once: attention, network, and the 2 h by h input."""
    architecture = load_architecture("gpt-oss-120b")
    head = architecture.eagle3
    model = bind(architecture=architecture, layout=Layout(tp=1), plan=ExecutionPlan(), drafts=3)
    hidden, width = architecture.hidden_size, head.heads * head.head_dim
    kv = 2 * head.kv_heads * head.head_dim
    matrices = hidden * (2 * width + kv) + 3 * hidden * head.width + 2 * hidden**2
    ops = model.draft_ops(requests=1.0, group_requests=1.0, drafts=3)
    passes = sum(op.flops * op.layers for op in ops if op.name.startswith("draft.next"))
    assert passes == pytest.approx(2 * 2 * matrices, rel=0.01)
    heads = sum(op.flops * op.layers for op in ops if op.name.startswith("draft.head"))
    assert heads == pytest.approx(3 * 2 * hidden * head.vocabulary, rel=0.01)


@pytest.mark.parametrize(
    ("model", "spec", "said"),
    [
        ("kimi-k2.6", "mtp:2", "write --spec eagle3:K"),
        ("ling-3.0-flash", "dspark:3", "write --spec mtp:K"),
        ("kimi-k3", "mtp:1", "write --spec dspark:K"),
    ],
)
def test_a_model_drafts_with_the_module_that_it_has(model, spec, said):
    scenario = Scenario(sku="b300", model=model, spec=spec)
    with pytest.raises(UserError, match=said):
        configure_run(scenario, pools=(PoolLayout(layout=Layout(tp=8)),), concurrency=4)
