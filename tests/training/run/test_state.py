"""The state of a run: what it keeps of its past, and its JSON form."""

import json

import numpy as np
import pytest

from dmix.mixing.delivery.step_plan import MixerState
from dmix.training.run.state import RunState

N, D = 52, 3


def state_after(steps, *, context, seed=0):
    """A run of so many steps over drawn mixtures and scores."""
    rng = np.random.default_rng(seed)
    state = RunState.at_start(MixerState.start(N), rng.dirichlet(np.ones(N)))
    state.feedback.append(rng.normal(size=D).tolist())
    for step in range(1, steps + 1):
        state.consumed.samples_N[:] = rng.integers(0, 2000, N)
        state.consumed.loss_sum_N[:] = 3.1 * state.consumed.samples_N
        after = MixerState(
            step=step, carry_N=rng.normal(size=N), cursor_N=np.full(N, 12345), pass_N=np.full(N, 1)
        )
        state.finish_step(rng.dirichlet(np.ones(N)), state_after=after, digest="ab" * 32)
        state.feedback.append(rng.normal(size=D).tolist())
        state.forget(context)
    return state


def read(text):
    return RunState.from_json(text, planned_ids=lambda mixer, asked_N: np.zeros(0, np.int64))


def test_the_first_row_and_the_last_context_rows_stay():
    whole, held = state_after(30, context=None), state_after(30, context=4)
    rows = [0, 27, 28, 29, 30]
    assert held.steps_done == whole.steps_done == 30 and held.truncated.steps == 26
    assert whole.truncated is None
    for name in ("mixtures_TN", "feedback_TD", "losses_TN", "counts_TN"):
        np.testing.assert_array_equal(getattr(held, name)(), getattr(whole, name)()[rows])
    change = np.array(whole.feedback[1:27]) - whole.feedback[0]
    assert held.truncated.squares_D == pytest.approx((change**2).sum(axis=0))
    assert held.truncated.scores_D.tolist() == [26] * D


def test_nothing_is_forgotten_within_the_context():
    assert state_after(4, context=4).to_json() == state_after(4, context=None).to_json()


def test_forgetting_does_not_depend_on_where_a_run_was_resumed():
    state = state_after(30, context=4)
    again = read(state.to_json())
    assert again.to_json() == state.to_json()
    assert again.steps_done == 30


def test_the_state_is_as_large_after_ten_thousand_steps_as_after_a_hundred():
    early, late = (len(state_after(steps, context=80).to_json()) for steps in (100, 10_000))
    assert late < 1.01 * early
    assert json.loads(state_after(100, context=80).to_json())["forgotten"]["steps"] == 20
