"""Problem A: two domains, six steps, where a grid and the certified optimum give the answer."""

import numpy as np
import pytest
from tests.mixing import known_answers
from tests.mixing.known_answers import (
    QUICK,
    SMALL,
    Scale,
    grid_optimum,
    judged,
    learnt,
    problem_a,
    sft_policy,
)
from tests.mixing.testbed.simulated_learning import policy_of
from tests.mixing.testbed.simulator import best_schedule

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def result():
    """An agent of 0.02M parameters, trained in less than a minute."""
    return learnt([problem_a()], **QUICK)


def test_grid_and_certificate_agree_on_the_optimum():
    optimum = best_schedule(problem_a())
    grid = grid_optimum(problem_a(), points=9)
    assert optimum.gap < 1e-4
    assert optimum.gain - 0.002 < grid <= optimum.gain + optimum.gap


def test_agent_trained_by_cql_comes_within_a_twentieth_of_the_optimum(result):
    simulator = problem_a()
    scale = Scale.of(simulator)
    assert scale.n(judged(result.policy, [simulator])) >= 0.95


def test_the_clone_that_it_started_from_was_far_below(result):
    simulator = problem_a()
    assert Scale.of(simulator).n(judged(policy_of(result.cloned), [simulator])) < 0.6


def test_agent_is_small(result):
    parameters = sum(np.prod(weights.shape) for weights in result.result.agent.parameters())
    assert parameters <= 100_000


def test_the_fine_tuned_agent_of_the_long_problems_can_be_made(monkeypatch):
    monkeypatch.setattr(known_answers, "_SFT_PATHS", 2)
    monkeypatch.setattr(known_answers, "_SFT_CANDIDATES", 50)
    assert np.isfinite(judged(sft_policy(problem_a(), SMALL), [problem_a()]))
