"""Synthetic worlds are what they say, and listening closes a part of the gap that only scores reveal."""

import numpy as np
import pytest

from dmix.mixing.controllers.effect import EffectController
from dmix.mixing.effects.belief import BeliefSettings
from dmix.mixing.world_model.random_worlds import HIDDEN, gap_closed, random_world

WORLDS = 12
BELIEF = BeliefSettings(direction=8.0, scale=0.7, noise=0.2)


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


def test_gap_by_hand():
    assert gap_closed([(0.0, 1.0, 2.0), (1.0, 1.0, 2.0)]) == pytest.approx(1 / 3)


def test_listening_closes_a_part_of_the_gap_from_the_plan_and_silence_none():
    """The plan is the agent's own mixture at step 1, kept; the clairvoyant knows the run's simulator."""
    heard, silent = [], []
    for seed in range(WORLDS):
        drawn, rng = world(seed, "scale")
        controller = EffectController(drawn.prediction(rng), belief=BELIEF)

        def policy(history, controller=controller):
            return controller.propose(history).mixture_N

        def nothing(scores_TD):
            return np.vstack([scores_TD[:1], np.full_like(scores_TD[1:], np.nan)])

        noise = rng.integers(2**32)
        run = drawn.run(policy, np.random.default_rng(noise))
        mute = drawn.run(policy, np.random.default_rng(noise), heard=nothing)
        ends = drawn.utility(np.tile(mute[0], (drawn.steps, 1))), drawn.utility(drawn.clairvoyant())
        heard.append((ends[0], drawn.utility(run), ends[1]))
        silent.append((ends[0], drawn.utility(mute), ends[1]))
    assert gap_closed(heard) > 0.3
    assert abs(gap_closed(silent)) < 0.02
