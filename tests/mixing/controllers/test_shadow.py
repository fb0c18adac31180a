"""Shadow mode: what is written down, and that it cannot touch the run."""

import json

import numpy as np
import pytest

from dmix.mixing.controllers import ControllerEvent, Proposal
from dmix.mixing.controllers.interface import context_of
from dmix.mixing.controllers.shadow import ShadowController

NATURAL, TARGET = [0.3, 0, 0.5, 0.2], [0, 0, 0.8, 0.2]


class Fixed:
    def __init__(self, mixture, *, name="fixed", **values):
        self.name = name
        self.proposal = Proposal(np.array(mixture, float), **values)

    def propose(self, history):
        return self.proposal


class Broken:
    name = "broken"
    context = 200

    def propose(self, history):
        raise RuntimeError("no mixture today")


def shadow_of(proposal):
    (event,) = [event for event in proposal.events if event.kind == "shadow"]
    return json.loads(event.detail)


def test_the_other_mixture_is_recorded_by_name_and_never_used(history):
    acting = Fixed(NATURAL, events=(ControllerEvent(kind="alarm", detail="x"),))
    made = ShadowController(acting, Fixed(TARGET, name="other", note="a score is missing"))
    proposal = made.propose(history(1))
    assert made.name == "fixed"
    assert proposal.mixture_N is acting.proposal.mixture_N
    assert proposal.note == "" and proposal.events[0].kind == "alarm"
    assert shadow_of(proposal) == {
        "controller": "other",
        "total_variation": pytest.approx(0.3),
        "mixture": {"target/News": 0.8, "target/Law": 0.2},
        "fallback": "a score is missing",
    }


def test_a_shadow_that_fails_is_recorded_too(history, caplog):
    made = ShadowController(Fixed(NATURAL), Broken())
    assert context_of(made) == 200
    proposal = made.propose(history(1))
    assert proposal.mixture_N.tolist() == NATURAL
    assert shadow_of(proposal) == {"controller": "broken", "error": "RuntimeError: no mixture today"}
    assert "shadow controller broken failed" in caplog.text


def test_a_shadow_that_is_not_finite_is_recorded_as_a_failure(history):
    proposal = ShadowController(Fixed(NATURAL), Fixed([np.nan] * 4)).propose(history(1))
    assert "not JSON compliant" in shadow_of(proposal)["error"]
