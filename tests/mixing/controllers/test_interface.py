"""How far back controllers look, and what a proposal holds."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.mixing.controllers.interface import Proposal, context_of
from dmix.mixing.space.history import CONTEXT
from dmix.warehouse_schema.errors import InputError


def controller(**attributes):
    return SimpleNamespace(name="mine", **attributes)


@pytest.mark.parametrize(
    ("contexts", "held"),
    [([3], CONTEXT), ([CONTEXT + 1, 2], CONTEXT + 1), ([0, None], None)],
)
def test_a_run_holds_what_the_most_curious_controller_needs(contexts, held):
    assert context_of(*(controller(context=context) for context in contexts)) == held


def test_a_controller_that_says_nothing_looks_back_as_the_paper_s():
    assert context_of(controller()) == CONTEXT


@pytest.mark.parametrize("context", [-1, 1.5, "8", 2**31])
def test_a_context_that_is_no_number_of_steps_is_refused(context):
    with pytest.raises(InputError, match="controller mine has the context"):
        context_of(controller(context=context))


def test_a_proposal_is_numbers_whatever_the_controller_gave():
    assert Proposal([1, 0]).mixture_N.dtype == np.float64
