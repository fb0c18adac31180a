"""A controller within guard rails: what it may do, and what is remarked on."""

import numpy as np
import pytest

from dmix.mixing.controllers import ControllerEvent, Proposal
from dmix.mixing.controllers.guarded import GuardedController, load_limits
from dmix.mixing.controllers.interface import context_of
from dmix.mixing.trajectories.guard import farm_limits
from dmix.mixing.trajectories.store import read_trajectories
from dmix.warehouse_schema.errors import InputError, NotFoundError


class Fixed:
    name = "fixed"
    context = None

    def __init__(self, mixture, **values):
        self.proposal = Proposal(np.array(mixture, float), **values)

    def propose(self, history):
        return self.proposal


@pytest.fixture
def limits(farm_warehouse):
    return farm_limits(read_trajectories(farm_warehouse, "farm"))


def test_a_wild_proposal_is_held_and_remarked_on(limits, history):
    # the farm holds the last domain between 2/7 of .2 and 2/7 of .8
    wild = Fixed([0, 0, 0, 1], events=(ControllerEvent(kind="own", detail="word"),), note="why")
    kept = GuardedController(wild, limits).propose(history(1))
    assert kept.mixture_N[3] <= 0.8 * 2 / 7 + 1e-9
    assert kept.mixture_N.sum() == pytest.approx(1)
    assert kept.note == "why"
    kinds = [event.kind for event in kept.events]
    assert kinds[0] == "own" and kinds[-1] == "guard" and "alarm" in kinds
    assert "the guard rails moved " in kept.events[-1].detail


def test_a_mixture_of_the_farm_passes_to_the_last_bit(limits, history, space):
    middle = space.expand(np.array([0.5, 0.5]))
    kept = GuardedController(Fixed(middle), limits).propose(history(mixtures=[middle]))
    assert kept.events == ()
    assert (kept.mixture_N == middle).all()


def test_it_goes_by_the_name_and_looks_as_far_back_as_the_other(limits):
    made = GuardedController(Fixed([1, 0, 0, 0]), limits)
    assert made.name == "fixed"
    assert context_of(made) is None


def test_what_is_not_finite_is_left_to_the_fall_back_of_the_run(limits, history):
    assert np.isnan(GuardedController(Fixed([np.nan] * 4), limits).propose(history(1)).mixture_N).all()


def test_limits_by_name_and_quantile(farm_warehouse, space):
    tight = load_limits("farm:0.5", warehouse=farm_warehouse, space=space)
    wide = load_limits("farm", warehouse=farm_warehouse, space=space)
    assert (tight.ceilings_N <= wide.ceilings_N).all()
    assert wide.ceilings_N[2] > tight.ceilings_N[2]


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("farm:high", InputError, "write for example farm:0.99"),
        ("farm:0.2", InputError, r"quantile is 0\.2"),
        ("form", NotFoundError, "set 'form' is not in"),
    ],
)
def test_what_limits_refuse(farm_warehouse, space, spec, error, message):
    with pytest.raises(error, match=message):
        load_limits(spec, warehouse=farm_warehouse, space=space)


def test_limits_of_other_domains_are_refused(farm_warehouse, limits, history):
    other = history(1).space.__class__(("a",), np.array([1, 1]))
    with pytest.raises(InputError, match=r"set 'farm' has other domains .*same taxonomy"):
        load_limits("farm", warehouse=farm_warehouse, space=other)
    seen = history(1, space=other, mixtures_TN=np.array([[1.0, 0]]))
    with pytest.raises(InputError, match=r"for 4 domains, but the run has 2; use a set .*--guard"):
        GuardedController(Fixed([1, 0]), limits).propose(seen)
