"""A controller, asked or in shadow, changes nothing of the run but what it answers."""

import random
import sys

import numpy as np
import pytest
import torch

from dmix.mixing.controllers import Proposal
from dmix.mixing.controllers.isolation import asked, unchanged_process
from dmix.mixing.controllers.shadow import ShadowController
from dmix.warehouse_schema.errors import InputError


class Answers:
    name = "python:Answers"

    def __init__(self, answer):
        self.answer = answer

    def propose(self, history):
        return self.answer(history)


def natural(history):
    return Proposal(history.space.natural_N.copy())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda h: {}["weights"], "KeyError: 'weights'.*test_isolation.py, line"),
        (lambda h: sys.exit(), "SystemExit"),
        (lambda h: Proposal(["a"]), "ValueError"),
        (lambda h: Proposal(np.array([0.5, 0.5])), r"shape \(2,\), expected \(4,\)"),
        (lambda h: Proposal(np.array([1.2, -0.2, 0, 0])), "weight -0.2 for source/Law"),
        (lambda h: Proposal(np.ones(4)), "sum to 4, expected 1"),
        (lambda h: h.space.natural_N, "proposed a ndarray"),
        (lambda h: Proposal(h.space.natural_N, note=3), "note is not text"),
        (lambda h: (_ for _ in ()).throw(InputError("bad file")), "step 1: bad file"),
        (lambda h: np.divide(h.space.natural_N, 2, out=h.space.natural_N), "read-only"),
    ],
)
def test_a_slip_of_a_controller_is_named_with_the_controller(history, answer, said):
    with pytest.raises(InputError, match=f"(?s)controller python:Answers.*{said}"):
        asked(Answers(answer), history(1))


def test_weights_that_are_not_finite_are_for_the_run_to_replace(history):
    assert np.isnan(asked(Answers(lambda h: Proposal(np.full(4, np.nan))), history(1)).mixture_N).all()


@pytest.mark.parametrize(
    "name", ["mixtures_TN", "feedback_TD", "counts_TN", "remaining_samples_N", "scales_D"]
)
def test_arrays_of_a_history_cannot_be_written(history, name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(history(2), name)[...] = 0


@pytest.mark.parametrize(
    "name", ["samples_N", "active_N", "natural_N", "start_N", "target_state_N", "target_N"]
)
def test_arrays_of_a_space_cannot_be_written(space, name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(space, name)[...] = 0


def test_what_a_controller_draws_and_sets_does_not_reach_the_run(history):
    def draws(history):
        random.random(), np.random.rand(), torch.rand(2)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        return natural(history)

    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = state()
    asked(Answers(draws), history(1))
    ShadowController(Answers(natural), Answers(draws)).propose(history(1))
    assert state() == before
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    with pytest.raises(ZeroDivisionError), unchanged_process():
        torch.rand(1)
        raise ZeroDivisionError
    assert state() == before


def test_a_shadow_works_on_copies_and_may_even_exit(history, space):
    def writes(history):
        for array in (history.mixtures_TN, history.space.samples_N):
            array.flags.writeable = True
            array[...] = 7
        return sys.exit()

    run = history(2)
    before = run.mixtures_TN.copy(), space.samples_N.copy()
    proposal = ShadowController(Answers(natural), Answers(writes)).propose(run)
    np.testing.assert_array_equal(run.mixtures_TN, before[0])
    np.testing.assert_array_equal(run.space.samples_N, before[1])
    assert "error" in proposal.events[-1].detail
