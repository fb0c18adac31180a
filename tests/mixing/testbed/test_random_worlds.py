"""Synthetic worlds are what they say."""

import numpy as np
import pytest
from tests.mixing.testbed.random_worlds import HIDDEN, random_world


def world(seed, hidden=None):
    rng = np.random.default_rng([seed, 7])
    return random_world(rng, hidden=hidden, forgetting=False, most_labels=4, most_steps=12), rng


def test_same_seed_gives_the_same_world_and_others_differ():
    first, second, other = world(3)[0], world(3)[0], world(4)[0]
    np.testing.assert_array_equal(first.true.response_KN, second.true.response_KN)
    assert first.hidden == second.hidden
    assert first.true.response_KN.shape != other.true.response_KN.shape or not np.array_equal(
        first.true.response_KN, other.true.response_KN
    )


@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_is_hidden_changes_the_run_and_not_the_promise(hidden):
    drawn, _ = world(5, hidden)
    assert np.array_equal(drawn.true.response_KN, drawn.promised.response_KN) == (hidden == "nothing")
    natural = np.tile(drawn.space.natural_N, (1, drawn.steps, 1))
    same = np.allclose(drawn.true.scores(natural), drawn.promised.scores(natural))
    assert same == (hidden in ("nothing", "scale", "direction"))  # natural mixing tells the level alone


def test_clairvoyant_is_best_and_promises_are_of_final_scores():
    drawn, rng = world(6, "direction")
    best = drawn.utility(drawn.clairvoyant())
    assert best >= drawn.utility(drawn.open_loop()) - 1e-3
    assert best >= drawn.utility(np.tile(drawn.space.natural_N, (drawn.steps, 1)))
    assert drawn.prediction(rng).gains(drawn.space.natural_N) == pytest.approx(0, abs=1e-9)
