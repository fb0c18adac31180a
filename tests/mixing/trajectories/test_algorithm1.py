"""Algorithm 1 against values worked by hand and against a literal transcription of the paper."""

import dataclasses

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.simplex import kl
from dmix.mixing.trajectories.algorithm1 import (
    EarlierPaths,
    PathProblem,
    choose,
    sample_path,
    score_coefficients,
)
from dmix.mixing.trajectories.candidates import HierarchicalDistribution, UniformDistribution
from dmix.warehouse_schema.errors import InputError

HALF = np.array([0.5, 0.5])


def problem(space, **changes):
    values = {
        "start_A": space.start_N[space.active_N],
        "target_A": space.target_state_N[space.active_N],
        "steps": 6,
        "target_steps": 100.0,
        "alpha": 1.0,
        "beta": 1.0,
        "gamma": 1.0,
        "step_offset": 1,
        "distribution": HierarchicalDistribution(space),
        "candidates": 500,
        "seed": 0,
    }
    return PathProblem(**{**values, **changes})


def earlier_of(paths, steps):
    earlier = EarlierPaths(steps=steps, domains=paths[0].shape[1])
    for path in paths:
        earlier.add(path)
    return earlier


def buffer_for(problem):
    return np.empty((len(problem.start_A), problem.candidates), np.float32)


@pytest.fixture
def coin():
    return DomainSpace(("a",), np.array([40, 60]))


@pytest.fixture
def space():
    rng = np.random.default_rng(5)
    return DomainSpace(tuple("abcd"), rng.integers(10, 100, 8))


def score(candidate, *, current, step, problem, earlier):
    coefficients, constant = score_coefficients(current, step=step, problem=problem, earlier=earlier)
    return constant - coefficients @ np.log(candidate)


def test_score_of_a_coin_worked_by_hand(coin):
    # rho = (1/2, 1/2), rho' = (1/4, 3/4), rho_t = (0, 1), d = 0, no earlier path:
    # KL(rho || rho') = 1/2 ln(4/3); sigmoid(0) KL(rho_t || rho') = 1/2 ln(4/3); together ln(4/3)
    found = score(
        np.array([0.25, 0.75]),
        current=HALF,
        step=0,
        problem=problem(coin),
        earlier=EarlierPaths(steps=6, domains=2),
    )
    assert found == pytest.approx(np.log(4 / 3))


def test_earlier_paths_push_away_worked_by_hand(coin):
    # one earlier path that stood at (1/4, 3/4) at step 1: KL to the candidate (1/4, 3/4) is 0, so
    # the score keeps the ln(4/3) of above; to the candidate (1/2, 1/2) it is
    # 1/4 ln(1/2) + 3/4 ln(3/2), and KL(rho || rho') = 0, 1/2 KL(rho_t || rho') = 1/2 ln 2
    earlier = earlier_of([np.array([[1.0, 0.0], [0.25, 0.75]])], steps=6)
    given = {"current": HALF, "step": 0, "problem": problem(coin), "earlier": earlier}
    assert score(np.array([0.25, 0.75]), **given) == pytest.approx(np.log(4 / 3))
    away = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert score(HALF, **given) == pytest.approx(0.5 * np.log(2) - away)


def test_pull_of_the_target_grows_as_a_sigmoid_of_steps(coin):
    nothing = EarlierPaths(steps=20, domains=2)
    only_pull = problem(coin, alpha=0.0, steps=20)
    for step, weight in ((0, 0.5), (5, 1 / (1 + np.exp(-1))), (10, 1 / (1 + np.exp(-2)))):
        found = score(HALF, current=HALF, step=step, problem=only_pull, earlier=nothing)
        assert found == pytest.approx(weight * np.log(2))


def test_in_paper_the_first_step_from_the_start_cancels_after_the_first_path(coin):
    # every path stands at rho_s at entry 0, so alpha KL(rho_s || .) - gamma KL(rho_s || .) = 0
    start = np.array([1.0, 0.0])
    earlier = earlier_of([np.array([start, HALF])], steps=6)
    coefficients, constant = score_coefficients(
        start, step=0, problem=problem(coin, step_offset=0), earlier=earlier
    )
    assert coefficients == pytest.approx([0, 0.5])
    assert constant == 0


def test_paths_that_ended_before_a_step_do_not_count_there(coin):
    short, long = np.array([[1.0, 0], [0.9, 0.1]]), np.array([[1.0, 0], [0.5, 0.5], [0.2, 0.8]])
    earlier = earlier_of([short, long], steps=6)
    assert earlier.mean(1)[0] == pytest.approx([0.7, 0.3])
    assert earlier.mean(2)[0] == pytest.approx([0.2, 0.8])
    assert earlier.mean(3) == (pytest.approx([0, 0]), 0.0)


def literal_algorithm_1(problem, *, top_k, paths):
    """The listing as it stands, in float64 and with a loop for every sum."""
    finished = []
    for path in range(paths):
        tau = [problem.start_A]
        drawn = 0.0
        for d in range(problem.steps):
            rng = np.random.Generator(
                np.random.SFC64(np.random.SeedSequence(problem.seed, spawn_key=(top_k, path, d)))
            )
            logs = np.empty((len(problem.start_A), problem.candidates), np.float32)
            problem.distribution.fill(rng, logs)
            scores = []
            for log_candidate in logs.T:
                candidate = np.exp(log_candidate.astype(np.float64))
                entry = d + problem.step_offset
                repelling = [kl(other[entry], candidate) for other in finished if entry < len(other)]
                scores.append(
                    problem.alpha * kl(tau[-1], candidate)
                    + problem.beta / (1 + np.exp(-d / 5)) * kl(problem.target_A, candidate)
                    - problem.gamma * (sum(repelling) / len(repelling) if repelling else 0)
                )
            rank = 0 if top_k == 1 else int(rng.integers(top_k))
            chosen = np.exp(logs[:, np.argsort(scores)[rank]].astype(np.float64))
            tau.append(chosen / chosen.sum())
            drawn += tau[-1][problem.target_A > 0].sum()
            if drawn >= problem.target_steps:
                break
        finished.append(np.stack(tau))
    return finished


@pytest.mark.parametrize(("offset", "uniform"), [(0, True), (1, False)])
@pytest.mark.parametrize("top_k", [1, 20])
def test_same_candidates_give_the_choices_of_the_literal_listing(space, offset, uniform, top_k):
    distribution = UniformDistribution() if uniform else HierarchicalDistribution(space)
    given = problem(
        space,
        step_offset=offset,
        distribution=distribution,
        steps=4,
        candidates=60,
        target_steps=2.2,
        alpha=0.7,
        gamma=1.3,
    )
    earlier = EarlierPaths(steps=4, domains=8)
    for path, wanted in enumerate(literal_algorithm_1(given, top_k=top_k, paths=4)):
        found = sample_path(given, top_k=top_k, path=path, earlier=earlier, buffer_AC=buffer_for(given))
        earlier.add(found)
        assert found.shape == wanted.shape
        assert found == pytest.approx(wanted, abs=1e-7)


def test_first_path_of_k_1_drifts_from_start_to_target(space):
    given = problem(space, steps=12, candidates=5_000)
    earlier = EarlierPaths(steps=12, domains=8)
    path = sample_path(given, top_k=1, path=0, earlier=earlier, buffer_AC=buffer_for(given))
    assert path[0] == pytest.approx(space.start_N)
    shares = path[:, 4:].sum(1)
    assert (np.diff(shares) > -0.01).all()
    assert shares[1] < 0.45
    assert shares[-1] > 0.95
    assert kl(path[-1], np.maximum(space.target_state_N, 1e-8)) < 0.3


def test_larger_k_chooses_more_widely(space):
    def spread(top_k):
        given = problem(space, steps=1, candidates=1_000, gamma=0.0)
        nothing, buffer = EarlierPaths(steps=1, domains=8), buffer_for(given)
        first = [
            sample_path(given, top_k=top_k, path=p, earlier=nothing, buffer_AC=buffer)[1, 4:].sum()
            for p in range(30)
        ]
        return np.std(first)

    assert spread(1) < spread(100) < spread(1_000)


def test_candidates_depend_on_seed_k_path_and_step(space):
    nothing = EarlierPaths(steps=6, domains=8)

    def second(seed=0, top_k=1, path=0):
        given = problem(space, seed=seed, gamma=0.0)
        buffer = buffer_for(given)
        return sample_path(given, top_k=top_k, path=path, earlier=nothing, buffer_AC=buffer)

    assert np.array_equal(second(), second())
    for other in (second(seed=1), second(top_k=2), second(path=1)):
        assert not np.array_equal(second()[1], other[1])


def test_path_stops_after_the_step_that_uses_up_the_target(space):
    given = problem(space, steps=6)
    nothing = EarlierPaths(steps=6, domains=8)
    full = sample_path(given, top_k=1, path=0, earlier=nothing, buffer_AC=buffer_for(given))
    drawn = np.cumsum(full[1:, 4:].sum(1))
    for supply, steps in ((drawn[1] - 1e-6, 2), (drawn[1] + 1e-6, 3), (0.01, 1), (50.0, 6)):
        limited = dataclasses.replace(given, target_steps=float(supply))
        path = sample_path(limited, top_k=1, path=0, earlier=nothing, buffer_AC=buffer_for(given))
        assert np.array_equal(path, full[: steps + 1])


def test_choose_takes_each_of_the_k_lowest_about_equally_often():
    scores = np.array([5, 1, 4, 0, 3, 2], np.float32)
    rng = np.random.default_rng(0)
    chosen = [choose(scores, top_k=3, rng=rng) for _ in range(600)]
    assert sorted(set(chosen)) == [1, 3, 5]
    assert all(150 < chosen.count(index) < 250 for index in (1, 3, 5))
    assert choose(scores, top_k=1, rng=rng) == 3


def test_choose_refuses_more_than_there_are():
    with pytest.raises(InputError, match="K is 3, but there are 2 candidates"):
        choose(np.zeros(2, np.float32), top_k=3, rng=np.random.default_rng(0))
