"""Figures of models, engines and short runs are those written down; see ``pins.py``."""

import pytest
from pins import (
    AGENTS,
    DEPLOYMENTS,
    MODELS,
    RUNS,
    agent_figures,
    deployment_figures,
    model_figures,
    pinned,
    run_figures,
)

MOVED = "moved; if that is meant: python tests/regression/pins.py --write, and CHANGELOG.md"


def compare(found, expected):
    assert set(found) == set(expected)
    moved = [
        f"{name}: {expected[name]:.6g} -> {value:.6g}"
        for name, value in found.items()
        if value != pytest.approx(expected[name], rel=1e-8)
    ]
    assert not moved, f"{MOVED}: {moved[:5]}"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_computes_moves_and_stores_what_it_did(name):
    compare(model_figures(name), pinned("models")[name])


@pytest.mark.parametrize("first", range(0, DEPLOYMENTS, 10))
def test_requests_of_random_deployments_start_and_finish_as_they_did(first):
    expected = pinned("deployments")
    for seed in range(first, first + 10):
        compare(deployment_figures(seed), expected[str(seed)])


@pytest.mark.parametrize("name", RUNS)
def test_short_runs_give_the_figures_that_they_gave(name):
    compare(run_figures(name), pinned("runs")[name])


@pytest.mark.parametrize("name", AGENTS)
def test_replays_of_agents_give_the_figures_that_they_gave(name):
    compare(agent_figures(name), pinned("agents")[name])
