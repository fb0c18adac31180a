import numpy as np

from dmix.mixing.controllers.natural import NaturalController
from dmix.mixing.domains import DomainSpace
from dmix.mixing.history import History
from dmix.training.decisions import decide, recorded_decisions
from dmix.warehouse_schema.events import EventLog

SPACE = DomainSpace(("A",), np.array([30, 10], np.int64))


def history():
    return History(
        space=SPACE,
        mixtures_TN=np.array([[1.0, 0.0], [0.6, 0.4]]),
        feedback_TD=np.zeros((2, 1)),
        objectives=("o",),
        weights_D=np.ones(1),
        scales_D=np.ones(1),
        steps=4,
        step_samples=8,
        remaining_samples_N=SPACE.samples_N,
        seed=0,
    )


class Nonsense:
    name = "nonsense"

    def propose(self, history):
        return np.array([np.nan, 1.0])


def test_a_controller_is_asked_when_the_step_is_new():
    decision = decide(NaturalController(), history(), {1: np.array([1.0, 0.0])})
    assert decision.asked_N.tolist() == [0.75, 0.25] and not decision.replayed


def test_a_recorded_decision_is_replayed_whatever_the_controller_says():
    decision = decide(Nonsense(), history(), {2: np.array([0.9, 0.1])})
    assert decision.asked_N.tolist() == [0.9, 0.1] and decision.replayed


def test_weights_that_are_not_finite_give_way_to_the_last_mixture():
    decision = decide(Nonsense(), history(), {})
    assert decision.asked_N.tolist() == [0.6, 0.4]
    assert decision.note == "nonsense proposed weights that are not finite; the last mixture stays"


def test_decisions_are_read_back_to_the_last_bit(tmp_path):
    third = np.array([1 / 3, 2 / 3])
    for attempt, asked in enumerate([np.array([1.0, 0.0]), third], start=1):
        log = EventLog(tmp_path / "events.jsonl", run_id="r", attempt=attempt)
        log.write("decision", step=1, asked_N=asked.tolist())
    recorded = recorded_decisions(tmp_path / "events.jsonl")
    assert list(recorded) == [1] and (recorded[1] == third).all()
    assert recorded_decisions(tmp_path / "absent.jsonl") == {}
