import numpy as np
import pytest

from dmix.mixing.controllers import ControllerEvent, Proposal
from dmix.mixing.controllers.fixed import natural
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.training.run.decisions import Decision, decide, log_controller_events, recorded_decisions
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.events import EventLog

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
        return Proposal(np.array([np.nan, 1.0]))


def test_a_controller_is_asked_when_the_step_is_new():
    decision = decide(natural(), history(), {1: Decision(np.array([1.0, 0.0]))})
    assert decision.asked_N.tolist() == [0.75, 0.25] and not decision.replayed


def test_a_recorded_decision_is_replayed_whatever_the_controller_says():
    decision = decide(Nonsense(), history(), {2: Decision(np.array([0.9, 0.1]), replayed=True)})
    assert decision.asked_N.tolist() == [0.9, 0.1] and decision.replayed


def test_weights_that_are_not_finite_give_way_to_the_last_mixture():
    decision = decide(Nonsense(), history(), {})
    assert decision.asked_N.tolist() == [0.6, 0.4]
    why = "nonsense proposed weights that are not finite; dmix uses the last mixture again"
    assert decision.events == (ControllerEvent(kind="fallback", detail=why),)


def test_why_a_controller_fell_back_is_kept_beside_its_other_remarks():
    class Careful:
        name = "careful"

        def propose(self, history):
            other = ControllerEvent(kind="alarm", detail="too fast")
            return Proposal(history.space.natural_N, note="no score", events=(other,))

    decision = decide(Careful(), history(), {})
    assert [(r.kind, r.detail) for r in decision.events] == [("fallback", "no score"), ("alarm", "too fast")]


def test_a_bare_vector_is_no_proposal():
    class Bare:
        name = "bare"

        def propose(self, history):
            return history.space.natural_N

    with pytest.raises(InputError, match=r"bare proposed a ndarray, .* return Proposal\(mixture_N\)"):
        decide(Bare(), history(), {})


def test_decisions_are_read_back_to_the_last_bit(tmp_path):
    third = np.array([1 / 3, 2 / 3])
    for attempt, asked in enumerate([np.array([1.0, 0.0]), third], start=1):
        log = EventLog(tmp_path / "events.jsonl", run_id="r", attempt=attempt)
        remarks = [{"kind": "guard", "detail": "held"}]
        log.write(
            "decision",
            step=1,
            asked_N=asked.tolist(),
            planned_N=asked.tolist(),
            remarks=remarks,
            decided_to=1,
        )
    recorded = recorded_decisions(tmp_path / "events.jsonl")
    assert list(recorded) == [1] and (recorded[1].asked_N == third).all() and recorded[1].replayed
    assert recorded[1].events == (ControllerEvent(kind="guard", detail="held"),)
    assert recorded_decisions(tmp_path / "absent.jsonl") == {}


def test_decisions_after_a_step_are_found_in_every_attempt_that_took_it(tmp_path):
    path, decided_to = tmp_path / "events.jsonl", 0
    # decided to step 6, resumed from 2 and cut off in step 4, resumed from 3
    for attempt, steps in enumerate([range(1, 7), range(3, 5), range(4, 5)], start=1):
        log = EventLog(path, run_id="r", attempt=attempt)
        for step in steps:
            decided_to = max(decided_to, step)
            shares = {"asked_N": [attempt], "planned_N": [1.0]}
            log.write("decision", step=step, remarks=[], decided_to=decided_to, **shares)
            log.write("step_done", step=step, delivered_samples_N=[8], delivered_tokens_N=[64], seconds=1.0)
    for after, wanted in ((3, {4: 3, 5: 1, 6: 1}), (0, {1: 1, 2: 1, 3: 2, 4: 3, 5: 1, 6: 1}), (6, {})):
        found = recorded_decisions(path, after=after)
        assert {step: int(decision.asked_N[0]) for step, decision in found.items()} == wanted


@pytest.mark.parametrize(
    "change",
    [
        {"asked_N": [float("nan"), 1.0]},
        {"asked_N": [1.0]},
        {"asked_N": "much"},
        {"asked_N": [[0.5, 0.5]]},
        {"asked_N": [10**400, 1]},
        {"remarks": [{"color": "red"}]},
        {"remarks": [3]},
    ],
)
def test_a_decision_that_no_run_makes_is_named_by_its_file(tmp_path, change):
    path = tmp_path / "events.jsonl"
    event = {"step": 3, "asked_N": [0.5, 0.5], "remarks": [], "decided_to": 3}
    EventLog(path, run_id="r", attempt=1).write("decision", **event | change)
    with pytest.raises(InputError, match=r"events\.jsonl(, line| has a decision on step 3)"):
        recorded_decisions(path, domains=2)


def test_reading_decisions_goes_no_further_back_than_the_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    log = EventLog(path, run_id="r", attempt=1)
    path.write_bytes(b"what was written long ago is not looked at\n" * 10_000)
    for step in (9_998, 9_999, 10_000):
        log.write("decision", step=step, asked_N=[1.0], remarks=[], decided_to=step)
    monkeypatch.setattr("dmix.warehouse_schema.files.events._BLOCK_BYTES", 100)
    assert list(recorded_decisions(path, after=9_998)) == [9_999, 10_000]


def test_each_kind_of_remark_is_warned_of_once_in_a_run(caplog):
    said = set()
    with caplog.at_level("INFO", logger="dmix.training.run.decisions"):
        for step in (1, 2):
            remarks = (
                ControllerEvent(kind="alarm", detail=f"oscillation: {step} to and fro"),
                ControllerEvent(kind="guard", detail=f"moved by 0.{step}"),
                ControllerEvent(kind="shadow", detail="[1.0]"),
            )
            log_controller_events(remarks, step=step, said=said)
        log_controller_events(
            (ControllerEvent(kind="alarm", detail="collapse: 1 domain"),), step=3, said=said
        )
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == [
        "step 1, alarm: oscillation: 1 to and fro (the view run_events lists later events of this kind)",
        "step 1, guard: moved by 0.1 (the view run_events lists later events of this kind)",
        "step 3, alarm: collapse: 1 domain (the view run_events lists later events of this kind)",
    ]
    assert len(caplog.records) == 7
