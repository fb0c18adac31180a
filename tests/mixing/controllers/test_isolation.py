"""A controller, asked or in shadow, changes nothing of the run but what it answers."""

import os
import random
import sys
import warnings
from asyncio import CancelledError
from pathlib import Path

import numpy as np
import pytest
import torch

from dmix.mixing.controllers import ControllerEvent, Proposal
from dmix.mixing.controllers.interface import context_of
from dmix.mixing.controllers.isolation import asked
from dmix.mixing.controllers.process_state import unchanged_process
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
        (lambda h: (_ for _ in ()).throw(CancelledError("own")), "CancelledError: own"),
        (lambda h: Proposal(h.space.natural_N, events=None), "ControllerEvent"),
        (
            lambda h: Proposal(h.space.natural_N, events=(ControllerEvent(kind="a", detail=1),)),
            "events that are not ControllerEvent",
        ),
        (lambda h: Proposal(["a"]), "ValueError"),
        (lambda h: Proposal(np.array([0.5, 0.5])), r"shape \(2,\), expected \(4,\)"),
        (lambda h: Proposal(np.array([1.2, -0.2, 0, 0])), "weight -0.2 for source/Law"),
        (lambda h: Proposal(np.ones(4)), "sum to 4, expected 1"),
        (lambda h: h.space.natural_N, "proposed a ndarray"),
        (lambda h: Proposal(h.space.natural_N, note=3), "note that is not text"),
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


@pytest.mark.parametrize("way", ["asked", "shadow"])
def test_modes_that_a_controller_leaves_on_do_not_reach_the_run(history, tmp_path, way):
    def sets(history):
        os.chdir(tmp_path)
        sys.setrecursionlimit(500)
        np.seterr(all="raise")
        warnings.simplefilter("ignore")
        torch.set_default_device("meta")
        torch.use_deterministic_algorithms(True)
        held.extend((torch.inference_mode(), torch.autocast("cpu")))
        for mode in held:
            mode.__enter__()
        return natural(history)

    def state():
        modes = (
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            (torch.autocast_increment_nesting(), torch.autocast_decrement_nesting()),
            torch.ones(1).device,
        )
        kept = np.geterr(), list(warnings.filters), torch.are_deterministic_algorithms_enabled()
        return Path.cwd(), sys.getrecursionlimit(), *modes, *kept

    held, before = [], state()
    if way == "asked":
        asked(Answers(sets), history(1))
    else:
        ShadowController(Answers(natural), Answers(sets)).propose(history(1))
    assert len(held) == 2 and state() == before
    assert torch.ones(1, requires_grad=True).mul(2).requires_grad


def test_a_copy_of_the_process_that_a_controller_forked_ends(history):
    def forks(history):
        children.append(os.fork())
        return natural(history)

    children = []
    asked(Answers(forks), history(1))
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


@pytest.mark.parametrize("context", ["many", -3, 10**30, 90.5])
def test_a_context_that_is_no_number_of_steps_is_refused(context):
    controller = Answers(natural)
    controller.context = context
    with pytest.raises(InputError, match="expected a number of steps"):
        context_of(controller)


def test_a_shadow_that_raises_what_is_no_exception_is_recorded(history):
    def cancels(history):
        raise CancelledError

    proposal = ShadowController(Answers(natural), Answers(cancels)).propose(history(2))
    assert "CancelledError" in proposal.events[-1].detail


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
